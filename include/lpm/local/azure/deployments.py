"""Deployments of templates: validate, what-if and the deployment itself."""

from dataclasses import replace
from typing import Any

from lpm.local.azure import what_if
from lpm.local.azure.errors import AzureError, bad_request, conflict, not_found
from lpm.local.azure.expressions import UnknownValueError
from lpm.local.azure.operations import Operation, Operations
from lpm.local.azure.resource_types import kept, resource_type
from lpm.local.azure.resources import Resources
from lpm.local.azure.store import Deployment, Group, Json, Resource, ResourceId, Store, now
from lpm.local.azure.template import Plan, Planned, outputs, plan

SEE_DETAILS = (
    "At least one resource deployment operation failed. Please list deployment operations for details. "
    "Please see https://aka.ms/arm-deployment-operations for usage details."
)
_PROPERTIES = {"mode", "template", "parameters", "whatIfSettings", "debugSetting"}


class Deployments:
    """Deploys templates into resource groups."""

    def __init__(self, resources: Resources, store: Store, operations: Operations) -> None:
        self._resources = resources
        self._store = store
        self._operations = operations

    def validate(self, group: Group, body: Json) -> Json:
        """Check a template without deploying it.

        Raises:
            AzureError: what is wrong with it.
        """
        read = self._checked(group, _properties(body))
        return {
            "properties": {
                "provisioningState": "Succeeded",
                "validatedResources": [{"id": planned.id.text} for planned in read.resources],
            }
        }

    def what_if(self, group: Group, body: Json) -> Operation:
        """Begin to work out what a deployment would change."""
        properties = _properties(body)
        return self._operations.start(lambda _: self._changes(group, properties))

    def put(self, group: Group, name: str, body: Json) -> tuple[Deployment, bool]:
        """Begin a deployment; also says whether the name is new.

        Raises:
            AzureError: the template is wrong, or a deployment of that name still runs.
        """
        properties, store = _properties(body), self._store
        deployment_id = f"{group.id}/providers/Microsoft.Resources/deployments/{name}"
        with store.lock:
            known = store.state.deployments.get(deployment_id.lower())
            if known and known.properties["provisioningState"] == "Running":
                message = f"Unable to edit or replace deployment '{name}': previous deployment is still active."
                raise conflict(message, deployment_id, "DeploymentActive")
            read = self._checked(group, properties)
            deployment = Deployment(
                id=deployment_id,
                name=name,
                operation="",
                properties={
                    "provisioningState": "Running",
                    "mode": "Incremental",
                    "timestamp": now(),
                    "parameters": properties.get("parameters", {}),
                },
            )
            store.state.deployments[deployment_id.lower()] = deployment
            live = replace(read, scope=replace(read.scope, reference=self._reference))
            operation = self._operations.start(lambda _: self._run(deployment, live))
            deployment.operation = operation.id
            store.save()
        return deployment, known is None

    def get(self, group: Group, name: str) -> Deployment:
        """A deployment.

        Raises:
            AzureError: there is none of that name.
        """
        key = f"{group.id}/providers/Microsoft.Resources/deployments/{name}".lower()
        with self._store.lock:
            if key not in self._store.state.deployments:
                raise not_found(f"Deployment '{name}' could not be found.", name, "DeploymentNotFound")
            return self._store.state.deployments[key]

    def give_up_interrupted(self) -> None:
        """Mark deployments that ran when the stand-in stopped as failed."""
        store = self._store
        with store.lock:
            for deployment in store.state.deployments.values():
                if deployment.properties["provisioningState"] == "Running":
                    error = AzureError(500, "InternalServerError", "The stand-in stopped during the deployment.")
                    self._finish(deployment, "Failed", error=error.detail())

    def _run(self, deployment: Deployment, read: Plan) -> Json | None:
        """Deploy one resource after the other, in the order of their dependencies."""
        for planned in read.resources:
            try:
                self._resources.put(planned.id, planned.api_version, read.body(planned))
            except AzureError as error:
                detail = {"target": planned.id.text, **error.detail()}
                failure = {"code": "DeploymentFailed", "target": deployment.id, "message": SEE_DETAILS}
                self._finish(deployment, "Failed", error={**failure, "details": [detail]})
                raise DeploymentFailedError(deployment.id, detail) from error
        values = outputs(read)
        self._finish(
            deployment,
            "Succeeded",
            outputs=values,
            outputResources=[{"id": planned.id.text} for planned in read.resources],
        )
        return None

    def _finish(self, deployment: Deployment, state: str, **more: Any) -> None:
        with self._store.lock:
            deployment.properties = {**deployment.properties, "provisioningState": state, "timestamp": now(), **more}
            self._store.save()

    def _changes(self, group: Group, properties: Json) -> Json:
        read = self._checked(group, properties)
        changes = [self._change(read, planned) for planned in read.resources]
        mentioned = {planned.id.key for planned in read.resources}
        rest = [resource for resource in self._store.in_group(group) if resource.id.lower() not in mentioned]
        changes += [what_if.ignored(resource) for resource in rest]
        return {"status": "Succeeded", "properties": {"correlationId": "", "changes": changes}}

    def _change(self, read: Plan, planned: Planned) -> Json:
        after = kept(read.body(planned, keep_unknown=True))
        existing: Resource | None = self._store.find(planned.id)
        return what_if.compared(existing, after) if existing else what_if.created(planned.id, after)

    def _checked(self, group: Group, properties: Json) -> Plan:
        """Read a template and check every body that is known before deploying."""
        read = plan(properties.get("template"), properties.get("parameters"), group, _not_yet_known)
        for planned in read.resources:
            kind = resource_type(planned.id.type)
            try:
                kind.read(planned.id, planned.api_version, read.body(planned))
            except UnknownValueError:
                continue
        return read

    def _reference(self, resource_id: str, whole: bool) -> Any:
        document = self._store.resource(ResourceId.parse(resource_id)).document()
        return document if whole else document["properties"]


class DeploymentFailedError(AzureError):
    """A resource of a deployment failed; ``details`` say which."""

    def __init__(self, deployment_id: str, detail: Json) -> None:
        super().__init__(409, "DeploymentFailed", SEE_DETAILS, deployment_id)
        self._details = [detail]

    def detail(self) -> Json:
        return {**super().detail(), "details": self._details}


def _not_yet_known(*_: Any) -> Any:
    """Like Azure, neither preflight nor what-if reads resources, not even those that exist already."""
    raise UnknownValueError


def _properties(body: Json) -> Json:
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise bad_request("InvalidRequestContent", "The request content has no 'properties'.")
    if unknown := sorted(set(properties) - _PROPERTIES):
        raise bad_request("InvalidRequestContent", f"The stand-in does not know {', '.join(unknown)} of a deployment.")
    if properties.get("mode") != "Incremental":
        raise bad_request("InvalidDeploymentMode", "The stand-in deploys with mode 'Incremental' only.")
    return properties
