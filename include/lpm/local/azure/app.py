"""The stand-in's HTTP interface: thin handlers over the platform.

Fixed parts of a path are matched whatever their case, as Azure does.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lpm.local.azure import faults
from lpm.local.azure.errors import AzureError, bad_request, not_found
from lpm.local.azure.faults import Fault, Faults
from lpm.local.azure.identity import API_VERSION, Identity
from lpm.local.azure.operations import Operation
from lpm.local.azure.platform import Platform
from lpm.local.azure.resource_types import resource_type
from lpm.local.azure.settings import Settings
from lpm.local.azure.start_checks import query_faults
from lpm.local.azure.store import Group, Json, Resource, ResourceId
from lpm.local.azure.type_names import STREAMING_JOBS

GROUP = "/subscriptions/{subscription}/resourcegroups/{group}"
DEPLOYMENT = GROUP + "/providers/microsoft.resources/deployments/{name}"
JOB = GROUP + "/providers/microsoft.streamanalytics/streamingjobs/{job}"
LOCATION = "/subscriptions/{subscription}/providers/microsoft.streamanalytics/locations/{location}"
_FIXED = (
    {
        part
        for path in (DEPLOYMENT, JOB, LOCATION)
        for part in [*path.split("/"), "validate", "whatif", "operationstatuses", "operationresults", "resources"]
        if "{" not in part
    }
    | {"microsoft.insights", "metrics"}
    | {"start", "stop", "inputs", "outputs", "transformations", "functions", "compilequery"}
)
RETRY = {"Retry-After": "1"}
JsonBody = Annotated[Json, Body()]
management = APIRouter()


class AnyCase:
    """Matches the fixed parts of a path whatever their case."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the path and pass the request on."""
        if scope["type"] == "http":
            parts = [part.lower() if part.lower() in _FIXED else part for part in scope["path"].split("/")]
            scope = {**scope, "path": re.sub("/+", "/", "/".join(parts))}  # a base URL may end with a slash
        await self._app(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The stand-in for one folder. Workers start with it and end with it."""
    platform = Platform(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(platform.open)
        yield
        await asyncio.to_thread(platform.close)

    app = FastAPI(title="Azure stand-in", lifespan=life, openapi_url=None)
    app.state.platform = platform
    app.state.identity = Identity(settings.identity_header)
    app.state.faults = Faults()
    app.add_middleware(AnyCase)
    app.add_exception_handler(AzureError, _azure_error)
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(FaultAnswerError, _fault_answer)
    app.add_api_route("/health", _health, methods=["GET"])
    app.add_api_route("/msi/token", _token, methods=["GET"], name="token", dependencies=[Depends(_fault)])
    app.add_api_route("/stand-in/faults", _add_fault, methods=["POST"], status_code=201)
    app.add_api_route("/stand-in/faults", _clear_faults, methods=["DELETE"], status_code=204)
    app.include_router(management, dependencies=[Depends(_admitted), Depends(_fault)])
    return app


class FaultAnswerError(Exception):
    """A fault is due: answer with it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


def _platform(request: Request) -> Platform:
    found: Platform = request.app.state.platform
    return found


Here = Annotated[Platform, Depends(_platform)]


def _group(platform: Here, subscription: str, group: str) -> Group:
    return platform.store.group(subscription, group)


ThatGroup = Annotated[Group, Depends(_group)]
Version = Annotated[str, Query(alias="api-version")]
Expand = Annotated[str, Query(alias="$expand")]


def _resource_id(group: ThatGroup, path: str) -> ResourceId:
    """The id of a resource, with group and types spelled as Azure spells them."""
    text = group.id
    for part in re.split("/providers/", path, flags=re.IGNORECASE):
        pieces = part.split("/")
        known = resource_type("/".join([pieces[0], *pieces[1::2]])).name.split("/")
        pairs = "/".join(f"{kind}/{name}" for kind, name in zip(known[1:], pieces[2::2], strict=False))
        text = f"{text}/providers/{known[0]}/{pairs}"
    return ResourceId.parse(text)


def _job_id(group: ThatGroup, job: str) -> ResourceId:
    return _resource_id(group, f"{STREAMING_JOBS}/{job}")


ThatId = Annotated[ResourceId, Depends(_resource_id)]
ThatJobId = Annotated[ResourceId, Depends(_job_id)]


def _job(platform: Here, job_id: ThatJobId) -> Resource:
    return platform.store.resource(job_id)


ThatJob = Annotated[Resource, Depends(_job)]


def _admitted(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,
    api_version: Annotated[str | None, Query(alias="api-version")] = None,
) -> None:
    request.app.state.identity.check(authorization)
    if not api_version:
        raise bad_request(
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )


async def _fault(request: Request) -> None:
    fault = request.app.state.faults.take(request.scope["route"].name)
    if fault is None:
        return
    if fault.kind != "stall":
        raise FaultAnswerError(fault)
    await asyncio.sleep(fault.seconds)


async def _azure_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AzureError)
    return JSONResponse(error.body(), error.status)


async def _wrong_request(_: Request, error: Exception) -> Response:
    return JSONResponse(bad_request("InvalidRequestContent", f"The request content was invalid: {error}").body(), 400)


async def _fault_answer(_: Request, error: Exception) -> Response:
    assert isinstance(error, FaultAnswerError)
    return faults.answer(error.fault)


def _health() -> Json:
    return {"status": "ok"}


def _token(
    request: Request,
    resource: str,
    api_version: Annotated[str, Query(alias="api-version")],
    x_identity_header: Annotated[str | None, Header()] = None,
) -> Response:
    """The App Service identity endpoint."""
    identity: Identity = request.app.state.identity
    if not identity.admits(x_identity_header):
        return JSONResponse({"statusCode": 401, "message": "X-IDENTITY-HEADER is missing or wrong"}, 401)
    if api_version != API_VERSION:
        return JSONResponse({"statusCode": 400, "message": f"api-version must be {API_VERSION}"}, 400)
    return JSONResponse(identity.token(resource))


def _add_fault(request: Request, fault: Fault) -> Fault:
    request.app.state.faults.add(fault)
    return fault


def _clear_faults(request: Request) -> None:
    request.app.state.faults.clear()


@management.put(GROUP, name="group.put")
def put_group(platform: Here, subscription: str, group: str, body: JsonBody, response: Response) -> Json:
    """Create or update a resource group."""
    if not isinstance(body.get("location"), str):
        raise bad_request("LocationRequired", "The location property is required for this definition.", group)
    known = group.lower() in {known.name.lower() for known in platform.store.state.groups.values()}
    response.status_code = 200 if known else 201
    return platform.resources.put_group(subscription, group, body["location"], body.get("tags") or {}).document()


@management.get(GROUP, name="group.get")
def get_group(group: ThatGroup) -> Json:
    """A resource group."""
    return group.document()


@management.head(GROUP, name="group.head")
def has_group(_: ThatGroup) -> Response:
    """Whether a resource group exists."""
    return Response(status_code=204)


@management.get(GROUP + "/resources", name="group.resources")
def list_resources(platform: Here, group: ThatGroup) -> Json:
    """All resources of a group."""
    documents = [resource.document() for resource in platform.store.in_group(group)]
    for document in documents:
        document.pop("properties", None)  # as Azure does, which has them only in the resource's own answer
    return {"value": documents}


@management.put(DEPLOYMENT, name="deployment.put")
def put_deployment(platform: Here, request: Request, group: ThatGroup, name: str, body: JsonBody) -> Response:
    """Begin a deployment."""
    deployment, created = platform.deployments.put(group, name, body)
    address = f"{deployment.id}/operationStatuses/{deployment.operation}"
    headers = {"Azure-AsyncOperation": _address(request, address), **RETRY}
    return JSONResponse(deployment.document(), 201 if created else 200, headers)


@management.get(DEPLOYMENT, name="deployment.get")
def get_deployment(platform: Here, group: ThatGroup, name: str) -> Json:
    """A deployment."""
    return platform.deployments.get(group, name).document()


@management.get(DEPLOYMENT + "/operationstatuses/{operation}", name="operation.get")
def get_deployment_status(platform: Here, operation: str) -> Response:
    """How a deployment is getting on."""
    found = platform.operations.get(operation)
    return JSONResponse(found.document(), headers=RETRY if found.status == "Running" else {})


@management.post(DEPLOYMENT + "/validate", name="deployment.validate")
def validate(platform: Here, group: ThatGroup, body: JsonBody) -> Json:
    """Check a template."""
    return platform.deployments.validate(group, body)


@management.post(DEPLOYMENT + "/whatif", name="deployment.whatIf")
def what_if(platform: Here, request: Request, group: ThatGroup, body: JsonBody) -> Response:
    """Begin to work out what a deployment would change."""
    operation = platform.deployments.what_if(group, body)
    subscription = group.id.rsplit("/", 2)[0]
    location = _address(request, f"{subscription}/operationresults/{operation.id}")
    return Response(status_code=202, headers={"Location": location, **RETRY})


@management.get("/subscriptions/{subscription}/operationresults/{operation}", name="operation.result")
def operation_result(platform: Here, request: Request, operation: str) -> Response:
    """The result of an operation: 202 while it runs, then its own answer."""
    return _result(request, platform.operations.get(operation))


@management.get(LOCATION + "/operationstatuses/{operation}", name="operation.get")
def job_operation(platform: Here, operation: str) -> Response:
    """How starting or stopping a job is getting on."""
    found = platform.operations.get(operation)
    return JSONResponse(found.document(), headers=RETRY if found.status == "Running" else {})


@management.get(LOCATION + "/operationresults/{operation}", name="operation.result")
def job_result(platform: Here, request: Request, operation: str) -> Response:
    """The result of starting or stopping a job."""
    return _result(request, platform.operations.get(operation))


@management.post(LOCATION + "/compilequery", name="query.compile")
def compile_query(body: JsonBody) -> Json:
    """Compile a query without a job."""
    inputs = [source.get("name", "") for source in body.get("inputs", [])]
    found = query_faults(str(body.get("query", "")), inputs)
    errors = [{"message": message, "startLine": 0, "startColumn": 0, "isGlobal": True} for message in found]
    return {"errors": errors, "warnings": [], "inputs": inputs, "functions": []}


@management.put(JOB, name="job.put")
def put_job(platform: Here, job_id: ThatJobId, version: Version, body: JsonBody, response: Response) -> Json:
    """Create or replace a streaming job."""
    response.status_code = 200 if platform.store.find(job_id) else 201
    resource = platform.resources.put(job_id, version, body)
    return platform.jobs.document(resource, "inputs,outputs,functions,transformation")


@management.get(JOB, name="job.get")
def get_job(platform: Here, job: ThatJob, expand: Expand = "") -> Json:
    """A streaming job."""
    return platform.jobs.document(job, expand)


@management.patch(JOB, name="job.patch")
def patch_job(platform: Here, job: ThatJob, version: Version, body: JsonBody) -> Json:
    """Change tags and properties of a streaming job, but not its inputs, outputs, functions and query."""
    properties = body.get("properties", {})
    for part in ("inputs", "outputs", "functions", "transformation"):
        if part in properties:
            raise bad_request("BadRequest", f"'{part}' cannot be changed with PATCH on the job.", job.id)
    asked = {**job.asked, **({"tags": body["tags"]} if "tags" in body else {})}
    asked["properties"] = {**job.asked["properties"], **properties}
    return platform.jobs.document(platform.resources.put(ResourceId.parse(job.id), version, asked))


@management.delete(JOB, name="job.delete")
def delete_job(platform: Here, job_id: ThatJobId) -> Response:
    """Delete a streaming job."""
    return Response(status_code=200 if platform.resources.delete(job_id) else 204)


@management.post(JOB + "/start", name="job.start")
def start_job(platform: Here, request: Request, job: ThatJob, body: Annotated[Json | None, Body()] = None) -> Response:
    """Begin to start a streaming job."""
    return _accepted(request, job, platform.jobs.start(job, body or {}))


@management.post(JOB + "/stop", name="job.stop")
def stop_job(platform: Here, request: Request, job: ThatJob) -> Response:
    """Begin to stop a streaming job."""
    return _accepted(request, job, platform.jobs.stop(job))


@management.get(JOB + "/{kind}", name="job.children")
def list_children(platform: Here, job: ThatJob, kind: str) -> Json:
    """All inputs, outputs, functions or queries of a streaming job."""
    return {"value": platform.jobs.children(job, _kind(kind))}


@management.get(JOB + "/{kind}/{name}", name="job.child")
def get_child(platform: Here, job: ThatJob, kind: str, name: str) -> Json:
    """One input, output, function or query of a streaming job."""
    return platform.jobs.child(job, _kind(kind), name)


@management.get(GROUP + "/providers/microsoft.streamanalytics/streamingjobs", name="job.list")
def list_jobs(platform: Here, group: ThatGroup, expand: Expand = "") -> Json:
    """All streaming jobs of a group."""
    found = [resource for resource in platform.store.in_group(group) if resource.type == STREAMING_JOBS]
    return {"value": [platform.jobs.document(job, expand) for job in found]}


@management.get(GROUP + "/providers/{path:path}/providers/microsoft.insights/metrics", name="metrics.list")
def list_metrics(platform: Here, request: Request, resource_id: ThatId) -> Json:
    """Platform metrics of a resource."""
    return platform.meters.answer(platform.store.resource(resource_id), dict(request.query_params))


@management.get(GROUP + "/providers/{path:path}", name="resource.get")
def get_resource(platform: Here, resource_id: ThatId) -> Json:
    """A resource of any type."""
    return platform.store.resource(resource_id).document()


@management.put(GROUP + "/providers/{path:path}", name="resource.put")
def put_resource(platform: Here, resource_id: ThatId, version: Version, body: JsonBody) -> Json:
    """Create or replace a resource of any type."""
    return platform.resources.put(resource_id, version, body).document()


@management.delete(GROUP + "/providers/{path:path}", name="resource.delete")
def delete_resource(platform: Here, resource_id: ThatId) -> Response:
    """Delete a resource of any type and all below it."""
    return Response(status_code=200 if platform.resources.delete(resource_id) else 204)


def _kind(kind: str) -> str:
    if kind not in ("inputs", "outputs", "functions", "transformations"):
        raise not_found(f"No route was found for '{kind}'.", kind, "InvalidResourceType")
    return kind


def _accepted(request: Request, resource: Resource, operation: Operation) -> Response:
    """202 with the two ways in which a client may follow the operation."""
    subscription = resource.id.split("/")[2]
    location = str(resource.asked["location"]).replace(" ", "").lower()
    base = f"/subscriptions/{subscription}/providers/Microsoft.StreamAnalytics/locations/{location}"
    headers = {
        "Azure-AsyncOperation": _address(request, f"{base}/operationStatuses/{operation.id}"),
        "Location": _address(request, f"{base}/operationResults/{operation.id}"),
        **RETRY,
    }
    return Response(status_code=202, headers=headers)


def _result(request: Request, operation: Operation) -> Response:
    if operation.status == "Running":
        return Response(status_code=202, headers={"Location": str(request.url), **RETRY})
    if operation.error is not None:
        return JSONResponse(operation.error.body(), operation.error.status)
    return JSONResponse(operation.result) if operation.result is not None else Response(status_code=200)


def _address(request: Request, path: str) -> str:
    return f"{str(request.base_url).rstrip('/')}{path}?api-version={request.query_params['api-version']}"
