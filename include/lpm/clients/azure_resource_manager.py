"""Azure Resource Manager: resource groups, deployments of templates and what they would change.

Signs in through the Airflow provider's Azure hook. The connection's host, when it is an address, replaces Azure's
endpoint; that is how the local cloud is reached.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlsplit

import httpx

from lpm.config.models import Azure

log = logging.getLogger(__name__)

PUBLIC_ENDPOINT = "https://management.azure.com"
SCOPE = f"{PUBLIC_ENDPOINT}/.default"
RESOURCES_VERSION = "2024-03-01"  # of resource groups and deployments
REQUEST_TIMEOUT_SECONDS = 60.0
TRIES = 6  # of one call
LONGEST_PAUSE_SECONDS = 60.0
DEPLOYMENT_TIMEOUT_SECONDS = 3600.0
TOKEN_MARGIN_SECONDS = 300.0
REFUSED = frozenset({429, 503})  # nothing was done: any call may be repeated
UNSURE = frozenset({500, 502, 504})  # something may have been done: only a call that may happen twice is repeated

# Parts of a streaming job that Azure answers only when they are asked for with $expand.
NOT_READ_WITH_THE_JOB = frozenset(f"properties.{part}" for part in ("inputs", "outputs", "functions", "transformation"))

Json = dict[str, Any]  # ARM's own documents: sent and compared, never interpreted


class AzureError(RuntimeError):
    """Azure refused a call, failed an operation or could not be reached.

    ``code`` is Azure's error code (empty without an answer), ``target`` the resource it is about, ``status`` the HTTP
    status. The text names all of them and the next step.
    """

    def __init__(
        self, what: str, code: str = "", message: str = "", target: str = "", status: int | None = None
    ) -> None:
        self.code, self.message, self.target, self.status = code, message, target, status
        about = f" ({target})" if target else ""
        step = NEXT_STEPS.get(code) or (NEXT_STEPS["AuthorizationFailed"] if status == 403 else "")
        super().__init__(f"{what}{about}: {code}: {message}" + (f"\nNext step: {step}" if step else ""))


NEXT_STEPS = {
    "AuthenticationFailed": "check the login of the Airflow connection; the managed identity must be reachable.",
    "AuthorizationFailed": "give the identity of the Airflow connection the roles Contributor and Role Based Access "
    "Control Administrator on the resource group (and Contributor on the subscription to create the group).",
    "ResourceGroupNotFound": "run the bootstrap DAG, which creates the resource group.",
    "InvalidTemplate": "run `lpm render --check`; deploy only rendered templates.",
    "InvalidRequestContent": "compare the value with the limits in the configuration, then run `lpm render`.",
    "DeploymentActive": "wait for the running deployment of that name, or cancel it in the portal.",
    "Conflict": "if the target is a streaming job it must be stopped before it is changed: run the control DAG with "
    "action pause, deploy, then resume.",
    "RoleAssignmentUpdateNotPermitted": "a streaming job was deleted and created again and has a new identity: delete "
    "the old role assignment named as the target, then deploy again.",
    "MessagingGatewayBadRequest": "partition counts are frozen: set event_hubs.partitions back to the deployed number.",
    "Unauthorized": "deploy the router template again (it assigns the roles); a new role takes up to 8 minutes.",
}


class Login(Protocol):
    """Where Resource Manager is and how to sign in."""

    def endpoint(self) -> str:
        """Base address without a slash at its end."""

    def token(self) -> tuple[str, float]:
        """A bearer token and when it ends, in seconds since 1970."""


class AirflowLogin:
    """Signs in as an Airflow connection of type ``azure`` says (extra ``use_azure_identity_object`` must be true)."""

    def __init__(self, connection_id: str) -> None:
        from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

        self._hook = AzureBaseHook(conn_id=connection_id)
        self._connection_id = connection_id

    def endpoint(self) -> str:
        """The connection's host if it is an address, else Azure's public endpoint."""
        host = self._hook.get_connection(self._connection_id).host or ""
        return host.rstrip("/") if host.startswith("http") else PUBLIC_ENDPOINT

    def token(self) -> tuple[str, float]:
        """A token for Resource Manager.

        Raises:
            AzureError: the login failed.
        """
        try:
            found = self._hook.get_token(SCOPE)
        except Exception as error:  # the hook passes on whatever azure-identity and the older libraries raise
            what = f"cannot sign in with the Airflow connection {self._connection_id!r}"
            raise AzureError(what, "AuthenticationFailed", str(error)) from error
        return found.token, float(found.expires_on)


@dataclass(frozen=True)
class Change:
    """What a deployment would do to one resource. ``properties`` are dotted paths, empty when all of it is new."""

    kind: str  # Create, Modify, Delete, Deploy, Unsupported: Azure's own words
    resource_id: str
    properties: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_id}" + (f": {', '.join(self.properties)}" if self.properties else "")


@dataclass(frozen=True)
class Deployed:
    """A deployment that succeeded, with the template's outputs by name."""

    name: str
    outputs: Mapping[str, Any]
    seconds: float


class ResourceManager:
    """One resource group. Close it, or use it in a ``with`` statement."""

    def __init__(self, azure: Azure, login: Login | None = None) -> None:
        self._login = login or AirflowLogin(azure.connection)
        self._endpoint = self._login.endpoint()
        self._token, self._token_ends = "", 0.0
        self.subscription = f"/subscriptions/{azure.subscription_id}"
        self.group = f"{self.subscription}/resourceGroups/{azure.resource_group}"
        local = urlsplit(self._endpoint).hostname in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(timeout=REQUEST_TIMEOUT_SECONDS, trust_env=not local)  # no proxy reaches loopback

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ensure_resource_group(self, location: str, tags: Mapping[str, str]) -> bool:
        """Create the resource group if it is missing; says whether it was.

        Raises:
            AzureError: it cannot be read or created.
        """
        try:
            self.call("GET", self.group, RESOURCES_VERSION)
        except AzureError as error:
            if error.status != 404:
                raise
            self.call("PUT", self.group, RESOURCES_VERSION, {"location": location, "tags": dict(tags)})
            return True
        return False

    def what_if(self, template: Json, parameters: Json, name: str) -> list[Change]:
        """What deploying would change; empty when nothing.

        Left out is what Azure reports without meaning it, see :func:`meant_changes`.

        Args:
            template: the template document.
            parameters: the parameter document, as in a parameter file.
            name: name of the deployment.

        Raises:
            AzureError: the template is wrong, or the resources cannot be read.
        """
        body = {"properties": _deployment(template, parameters)}
        response = self.call("POST", f"{self._deployment_id(name)}/whatIf", RESOURCES_VERSION, body)
        answer = self.wait(response, f"what-if of {name}", DEPLOYMENT_TIMEOUT_SECONDS).json()
        if error := answer.get("error"):
            raise _error(f"what-if of {name}", error, None)
        return meant_changes(answer["properties"]["changes"])

    def deploy(self, template: Json, parameters: Json, name: str) -> Deployed:
        """Deploy and wait until it is done; arguments as for :meth:`what_if`.

        Raises:
            AzureError: the template is wrong, or a resource could not be deployed; names the resource.
        """
        began = time.monotonic()
        address = self._deployment_id(name)
        body = {"properties": _deployment(template, parameters)}
        response = self.call("PUT", address, RESOURCES_VERSION, body)
        self.wait(response, f"deployment {name}", DEPLOYMENT_TIMEOUT_SECONDS)
        properties = self.call("GET", address, RESOURCES_VERSION).json()["properties"]
        if properties["provisioningState"] != "Succeeded":
            raise _error(f"deployment {name}", properties.get("error") or {}, None)
        outputs = {key: output["value"] for key, output in (properties.get("outputs") or {}).items()}
        return Deployed(name, outputs, time.monotonic() - began)

    def call(  # noqa: PLR0913  one for each part of a request
        self,
        method: str,
        path: str,
        api_version: str,
        body: Json | None = None,
        twice: bool = True,
        *,
        query: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One call, repeated while Azure is busy.

        Args:
            method: HTTP method.
            path: path below the endpoint, or a whole address that Azure gave.
            api_version: the resource provider's version; empty when the address has it.
            body: JSON to send.
            twice: whether the call may take effect twice, so that it may be repeated after an unclear failure.
            query: what the address asks for besides its version.

        Raises:
            AzureError: Azure refused it, or was busy or out of reach for too long.
        """
        address = path if path.startswith("http") else f"{self._endpoint}{path}"
        what = f"{method} {urlsplit(address).path}"
        parameters = {**(query or {}), **({"api-version": api_version} if api_version else {})} or None
        for pause in _pauses():
            try:
                response = self._http.request(
                    method, address, params=parameters, json=body, headers={"Authorization": f"Bearer {self._bearer()}"}
                )
            except httpx.TransportError as error:
                connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if (connected and not twice) or pause is None:
                    message = f"{type(error).__name__}: {error}. Check the network and the connection's host."
                    raise AzureError(what, "Unreachable", message, self._endpoint) from error
                log.warning("%s: %s; next try in %.1f s", what, error, pause)
                time.sleep(pause)
                continue
            again = response.status_code in REFUSED or (twice and response.status_code in UNSURE)
            if not again or pause is None:
                return _checked(response, what)
            wait = max(pause, _retry_after(response, 0.0))
            log.warning("%s: HTTP %s; next try in %.1f s", what, response.status_code, wait)
            time.sleep(wait)
        raise AssertionError("the last pause is None")

    def wait(self, response: httpx.Response, what: str, timeout_seconds: float) -> httpx.Response:
        """Follow a long-running operation to its end; returns its last answer.

        Raises:
            AzureError: it failed, was cancelled or took too long.
        """
        status_address = response.headers.get("Azure-AsyncOperation")
        address = status_address or response.headers.get("Location")
        if address is None or response.status_code not in (200, 201, 202):
            return response
        end = time.monotonic() + timeout_seconds
        while True:
            time.sleep(_retry_after(response, 5.0))
            response = self.call("GET", address, "")
            if status_address is None:
                if response.status_code != 202:
                    return response
            else:
                content = response.json()
                if content["status"] == "Succeeded":
                    return response
                if content["status"] in ("Failed", "Canceled"):
                    raise _error(what, content.get("error") or {"code": content["status"]}, None)
            if time.monotonic() > end:
                message = f"not done after {timeout_seconds:.0f} s. It may still end well: look at it in the portal."
                raise AzureError(what, "Timeout", message)

    def _deployment_id(self, name: str) -> str:
        return f"{self.group}/providers/Microsoft.Resources/deployments/{name}"

    def _bearer(self) -> str:
        if time.time() > self._token_ends - TOKEN_MARGIN_SECONDS:
            self._token, self._token_ends = self._login.token()
        return self._token


def meant_changes(changes: list[Json]) -> list[Change]:
    """The changes of a what-if answer that a deployment would really make.

    Azure reports more. Left out are: resources the template does not mention; values computed with ``reference``, which
    what-if cannot know; values that Azure added to a resource and the template does not speak of (reported as deleted);
    a streaming job's inputs, outputs and query that seem new because Azure reads the job without them. A change of
    those shows in the job's tag ``lpm-definition``.
    """
    found = []
    for change in changes:
        kind = change["changeType"]
        if kind in ("NoChange", "Ignore", "NoEffect"):
            continue
        if kind != "Modify":
            found.append(Change(kind, change["resourceId"]))
        elif paths := tuple(_meant_paths(change.get("delta") or [], _is_streaming_job(change["resourceId"]))):
            found.append(Change(kind, change["resourceId"], paths))
    return found


def _meant_paths(delta: list[Json], streaming_job: bool, prefix: str = "", inside_array: bool = False) -> Iterator[str]:
    for item in delta:
        path, kind = f"{prefix}{item['path']}", item["propertyChangeType"]
        if children := item.get("children"):
            inside = inside_array or kind == "Array"
            yield from _meant_paths(children, streaming_job, f"{path}.", inside)
            continue
        computed = str(item.get("after")).startswith("[reference(")
        added_by_azure = kind == "Delete" and not inside_array and not path.startswith("tags.")
        not_read = streaming_job and kind == "Create" and path in NOT_READ_WITH_THE_JOB
        if kind != "NoEffect" and not (computed or added_by_azure or not_read):
            yield path


def _is_streaming_job(resource_id: str) -> bool:
    return "/providers/microsoft.streamanalytics/streamingjobs/" in resource_id.lower()


def _deployment(template: Json, parameters: Json) -> Json:
    mode: Literal["Incremental"] = "Incremental"  # never Complete: it deletes what a template does not mention
    return {"mode": mode, "template": template, "parameters": parameters["parameters"]}


def _checked(response: httpx.Response, what: str) -> httpx.Response:
    if response.is_success:
        return response
    try:
        error = response.json().get("error") or {}
    except ValueError:
        error = {"message": response.text[:500]}
    raise _error(what, error, response.status_code)


def _error(what: str, error: Json, status: int | None) -> AzureError:
    """The innermost cause: Azure wraps the reason of a failed deployment in general words."""
    target = error.get("target") or ""
    while details := error.get("details"):
        error = details[0]
        target = error.get("target") or target
    return AzureError(what, error.get("code") or str(status), error.get("message") or "(no message)", target, status)


def _pauses() -> Iterator[float | None]:
    """Pause after each failed try; None after the last."""
    yield from (min(2.0**attempt / 2, LONGEST_PAUSE_SECONDS) for attempt in range(TRIES - 1))
    yield None


def _retry_after(response: httpx.Response, default: float) -> float:
    try:
        return min(float(response.headers["Retry-After"]), LONGEST_PAUSE_SECONDS)
    except (KeyError, ValueError):  # absent, or the date that HTTP allows as well
        return default
