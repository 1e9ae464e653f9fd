"""The resource types that can be deployed here, and what deploying one does."""

import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from lpm.local.azure import bodies
from lpm.local.azure.errors import bad_request, conflict, not_found
from lpm.local.azure.hubs import Hubs
from lpm.local.azure.jobs import Jobs
from lpm.local.azure.settings import Settings
from lpm.local.azure.store import Json, Resource, ResourceId, Store, now
from lpm.local.azure.type_names import (
    CONSUMER_GROUPS,
    CONTAINERS,
    HUBS,
    NAMESPACES,
    ROLE_ASSIGNMENTS,
    STREAMING_JOBS,
)

TENANT = "00000000-0000-0000-0000-00000000000f"
_PRINCIPALS = uuid.UUID("6f0f3c58-6c2f-4d0a-9a53-0d3c7a3f7a11")  # so that ids are stable within one creation
BODY_PARTS = (
    "location",
    "tags",
    "sku",
    "kind",
    "identity",
    "properties",
)  # what a resource is made of, beside its name


@dataclass(frozen=True)
class Parts:
    """The parts of the stand-in that a resource is made in: a topic of the hubs, a folder, a streaming job."""

    settings: Settings
    store: Store
    hubs: Hubs
    jobs: Jobs


@dataclass(frozen=True)
class Change:
    """A resource that is to be created or replaced; its body has been checked."""

    parts: Parts
    id: ResourceId
    body: Any  # the type's model
    existing: Resource | None


# What a type adds to an answer: read-only values over the body that was sent.
Put = Callable[[Change], Json]
Remove = Callable[[Parts, Resource], None]


@dataclass(frozen=True)
class ResourceType:
    """One deployable type."""

    name: str
    versions: frozenset[str]
    model: type[BaseModel]
    name_pattern: str
    put: Put
    remove: Remove

    def read(self, resource_id: ResourceId, api_version: str, body: Json) -> BaseModel:
        """Check a body.

        Raises:
            AzureError: version, name, property or value is not one that Azure publishes.
        """
        if api_version not in self.versions:
            raise bad_request(
                "NoRegisteredProviderFound",
                f"No registered resource provider found for type '{self.name}' and API version '{api_version}'. "
                f"The supported api-versions are '{', '.join(sorted(self.versions))}'.",
                resource_id.text,
            )
        if not re.fullmatch(self.name_pattern, resource_id.name):
            raise bad_request(
                "InvalidResourceName",
                f"'{resource_id.name}' is not a name for {self.name}; expected {self.name_pattern}.",
                resource_id.text,
            )
        try:
            return self.model.model_validate({key: value for key, value in body.items() if key in BODY_PARTS})
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise bad_request("InvalidRequestContent", f"{self.name}: {faults}", resource_id.text) from error


def resource_type(name: str) -> ResourceType:
    """A type by its name, whatever its case.

    Raises:
        AzureError: the stand-in has no such type.
    """
    found = _TYPES.get(name.lower())
    if found is None:
        raise bad_request(
            "InvalidResourceType",
            f"The resource type '{name}' is not one the local stand-in deploys; it knows "
            f"{', '.join(kind.name for kind in _TYPES.values())}.",
        )
    return found


def kept(body: Json) -> Json:
    """The parts of a body that are stored."""
    return {key: body[key] for key in BODY_PARTS if key in body}


def _put_namespace(change: Change) -> Json:
    if (
        change.existing
        and change.existing.asked["properties"].get("zoneRedundant", False) != change.body.properties.zone_redundant
    ):
        raise bad_request("BadRequest", "zoneRedundant cannot be changed after a namespace is created.", change.id.text)
    host = f"https://{change.id.name}.servicebus.windows.net:443/"
    return {"properties": {"provisioningState": "Succeeded", "status": "Active", "serviceBusEndpoint": host}}


def _put_hub(change: Change) -> Json:
    properties = change.body.properties
    change.parts.hubs.put(
        change.id.name, properties.partition_count, properties.retention_description.retention_time_in_hours
    )
    partitions = [str(partition) for partition in range(properties.partition_count)]
    return {"properties": {"status": "Active", "partitionIds": partitions}}


def _remove_hub(parts: Parts, resource: Resource) -> None:
    parts.hubs.delete(ResourceId.parse(resource.id).name)


def _put_plain(_: Change) -> Json:
    return {}


def _remove_plain(*_: Any) -> None:
    """Nothing but the record has to go."""


def _put_storage(change: Change) -> Json:
    change.parts.settings.storage.joinpath(change.id.name).mkdir(parents=True, exist_ok=True)
    return {"properties": {"provisioningState": "Succeeded"}}


def _put_container(change: Change) -> Json:
    change.parts.settings.container(change.id.names[0], change.id.name).mkdir(parents=True, exist_ok=True)
    return {}


def _remove_container(parts: Parts, resource: Resource) -> None:
    account, _, name = ResourceId.parse(resource.id).names
    shutil.rmtree(parts.settings.container(account, name), ignore_errors=True)


def _put_metric_alert(change: Change) -> Json:
    for scope in change.body.properties.scopes:
        if change.parts.store.find(ResourceId.parse(scope)) is None:
            raise not_found(f"The scope '{scope}' of the alert rule was not found.", scope)
    return {}


def _put_role_assignment(change: Change) -> Json:
    scope = ResourceId.parse(change.id.scope)
    if change.parts.store.find(scope) is None:
        raise not_found(f"The scope '{scope.text}' of the role assignment was not found.", scope.text)
    wanted = change.body.properties
    if change.existing is not None:
        before = change.existing.asked["properties"]
        if before["principalId"].lower() != wanted.principal_id.lower():
            raise bad_request(
                "RoleAssignmentUpdateNotPermitted",
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
                change.id.text,
            )
        return {}
    for other in change.parts.store.of_type(ROLE_ASSIGNMENTS):
        properties = other.asked["properties"]
        same = (
            ResourceId.parse(other.id).scope.lower() == scope.key
            and properties["principalId"].lower() == wanted.principal_id.lower()
            and properties["roleDefinitionId"].lower() == wanted.role_definition_id.lower()
        )
        if same:
            raise conflict("The role assignment already exists.", change.id.text, "RoleAssignmentExists")
    return {}


def _put_streaming_job(change: Change) -> Json:
    change.parts.jobs.check_may_change(change.id, change.body, change.existing)
    if change.existing is not None:
        return change.existing.added
    created = now()
    principal = str(uuid.uuid5(_PRINCIPALS, f"{change.id.key} {created}"))
    return {
        **({"identity": {"principalId": principal, "tenantId": TENANT}} if change.body.identity else {}),
        "properties": {
            "provisioningState": "Succeeded",
            "createdDate": created,
            "jobId": str(uuid.uuid5(_PRINCIPALS, f"{created} {change.id.key}")),
        },
    }


def _remove_streaming_job(parts: Parts, resource: Resource) -> None:
    parts.jobs.forget(resource)


_EVENT_HUB_VERSIONS = frozenset({"2024-01-01"})
_STORAGE_VERSIONS = frozenset({"2023-05-01"})
_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TYPES = {
    kind.name.lower(): kind
    for kind in (
        ResourceType(
            NAMESPACES,
            _EVENT_HUB_VERSIONS,
            bodies.Namespace,
            r"[a-zA-Z][a-zA-Z0-9-]{4,48}[a-zA-Z0-9]",
            _put_namespace,
            _remove_plain,
        ),
        ResourceType(
            HUBS,
            _EVENT_HUB_VERSIONS,
            bodies.Hub,
            r"[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?",
            _put_hub,
            _remove_hub,
        ),
        ResourceType(
            CONSUMER_GROUPS,
            _EVENT_HUB_VERSIONS,
            bodies.ConsumerGroup,
            r"[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?",
            _put_plain,
            _remove_plain,
        ),
        ResourceType(
            "Microsoft.Storage/storageAccounts",
            _STORAGE_VERSIONS,
            bodies.StorageAccount,
            r"[a-z0-9]{3,24}",
            _put_storage,
            _remove_plain,
        ),
        ResourceType(
            CONTAINERS,
            _STORAGE_VERSIONS,
            bodies.Container,
            r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
            _put_container,
            _remove_container,
        ),
        ResourceType(
            "Microsoft.Insights/metricAlerts",
            frozenset({"2018-03-01"}),
            bodies.MetricAlert,
            r"[^*#&+:<>?@%{}\\/|]{1,259}[^*#&+:<>?@%{}\\/|. ]",
            _put_metric_alert,
            _remove_plain,
        ),
        ResourceType(
            ROLE_ASSIGNMENTS,
            frozenset({"2022-04-01"}),
            bodies.RoleAssignment,
            _GUID,
            _put_role_assignment,
            _remove_plain,
        ),
        ResourceType(
            STREAMING_JOBS,
            frozenset({"2020-03-01", "2021-10-01-preview"}),
            bodies.StreamingJob,
            r"[A-Za-z0-9-]{3,63}",
            _put_streaming_job,
            _remove_streaming_job,
        ),
    )
}
