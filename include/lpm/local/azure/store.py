"""What exists: resource groups, resources and deployments, in one JSON file that survives a restart."""

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from lpm.local.azure.errors import bad_request, not_found

Json = dict[str, Any]  # a body as Azure defines it
JobState = Literal[
    "Created", "Starting", "Running", "Stopping", "Stopped", "Failed", "Degraded", "Restarting"
]  # those of Azure's that can happen here
_ID = re.compile(r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/", re.IGNORECASE)


def now() -> str:
    """This moment, ISO-8601 UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class ResourceId:
    """A resource's id, taken apart. Azure's ids ignore case; ``key`` is what to compare."""

    text: str
    subscription: str
    group: str
    type: str  # namespace and types, without names
    names: tuple[str, ...]  # of the parents and the resource itself

    @classmethod
    def parse(cls, text: str) -> "ResourceId":
        """Take an id apart; an extension resource (role assignment) counts as itself, not as its scope's child.

        Raises:
            AzureError: the text is not the id of a resource in a resource group.
        """
        match = _ID.match(text)
        path = re.split("/providers/", text, flags=re.IGNORECASE)[-1].split("/")
        if match is None or len(path) < 3 or len(path) % 2 == 0:
            raise bad_request("InvalidResourceId", f"'{text}' is not the id of a resource in a resource group.")
        return cls(text, match["subscription"], match["group"], "/".join([path[0], *path[1::2]]), tuple(path[2::2]))

    @property
    def name(self) -> str:
        """The resource's own name."""
        return self.names[-1]

    @property
    def key(self) -> str:
        """The id as it is compared."""
        return self.text.lower()

    @property
    def scope(self) -> str:
        """The resource that this one extends or belongs to."""
        return self.text[: self.text.lower().rindex("/providers/")]

    def parent(self) -> "ResourceId | None":
        """The resource of which this one is a child."""
        return ResourceId.parse(self.text.rsplit("/", 2)[0]) if len(self.names) > 1 else None


class Record(BaseModel):
    """Base of what is kept on disk."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Group(Record):
    """A resource group."""

    id: str
    name: str
    location: str
    tags: dict[str, str] = Field(default_factory=dict)

    def document(self) -> Json:
        """As Azure answers it."""
        return {
            **self.model_dump(),
            "type": "Microsoft.Resources/resourceGroups",
            "properties": {"provisioningState": "Succeeded"},
        }


class Resource(Record):
    """A resource: what was asked for, and beside it what the platform added."""

    id: str
    type: str
    api_version: str
    asked: Json  # the body as it was sent
    added: Json = Field(default_factory=dict)  # read-only values, merged over the body in an answer

    def document(self) -> Json:
        """As Azure answers it."""
        name = "/".join(ResourceId.parse(self.id).names[-1:])
        return _merged({"id": self.id, "name": name, "type": self.type, **self.asked}, self.added)


class Job(Record):
    """The running side of a streaming job."""

    state: JobState = "Created"
    start_mode: str | None = None  # of the last start, as is start_time
    start_time: str | None = None
    run: str = ""  # a new text for each start; the worker resumes within a run
    last_output_event_time: str | None = None


class Deployment(Record):
    """A deployment and how it went."""

    id: str
    name: str
    properties: Json
    operation: str  # id of its asynchronous operation

    def document(self) -> Json:
        """As Azure answers it."""
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Resources/deployments",
            "properties": self.properties,
        }


class State(Record):
    """Everything; keys are lower-case ids."""

    groups: dict[str, Group] = Field(default_factory=dict)
    resources: dict[str, Resource] = Field(default_factory=dict)
    deployments: dict[str, Deployment] = Field(default_factory=dict)
    jobs: dict[str, Job] = Field(default_factory=dict)


class Store:
    """The state behind one lock. Callers hold ``lock`` over a read and the write that depends on it."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._file = folder / "state.json"
        self.state = State.model_validate_json(self._file.read_text()) if self._file.exists() else State()

    def save(self) -> None:
        """Write the state so that a reader sees all of it or none."""
        with self.lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.with_suffix(".new")
            temporary.write_text(self.state.model_dump_json(indent=1))
            temporary.replace(self._file)

    def group(self, subscription: str, name: str) -> Group:
        """A resource group.

        Raises:
            AzureError: it does not exist.
        """
        key = f"/subscriptions/{subscription}/resourcegroups/{name}".lower()
        with self.lock:
            if key not in self.state.groups:
                raise not_found(f"Resource group '{name}' could not be found.", name, "ResourceGroupNotFound")
            return self.state.groups[key]

    def find(self, resource_id: ResourceId) -> Resource | None:
        """A resource, or None."""
        with self.lock:
            return self.state.resources.get(resource_id.key)

    def resource(self, resource_id: ResourceId) -> Resource:
        """A resource.

        Raises:
            AzureError: it does not exist.
        """
        if (found := self.find(resource_id)) is None:
            raise not_found(
                f"The Resource '{resource_id.type}/{'/'.join(resource_id.names)}' under resource group "
                f"'{resource_id.group}' was not found.",
                resource_id.text,
            )
        return found

    def of_type(self, type_name: str) -> list[Resource]:
        """All resources of a type."""
        with self.lock:
            return [
                resource for resource in self.state.resources.values() if resource.type.lower() == type_name.lower()
            ]

    def in_group(self, group: Group) -> list[Resource]:
        """All resources of a resource group."""
        with self.lock:
            return [
                resource
                for key, resource in self.state.resources.items()
                if key.startswith(f"{group.id.lower()}/providers/")
            ]


class Body(BaseModel):
    """Base of the request bodies that are understood: a property Azure does not publish is refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True)


def _merged(base: Json, over: Json) -> Json:
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
