"""The parts of the stand-in together, and creating and deleting a resource of any type."""

from lpm.local.azure.deployments import Deployments
from lpm.local.azure.errors import AzureError
from lpm.local.azure.hubs import Hubs
from lpm.local.azure.jobs import Jobs
from lpm.local.azure.metrics import Meters
from lpm.local.azure.operations import Operations
from lpm.local.azure.resource_types import Change, kept, resource_type
from lpm.local.azure.settings import Settings
from lpm.local.azure.store import Group, Json, Resource, ResourceId, Store

IMPLICIT = "microsoft.storage/storageaccounts/blobservices"  # 'default' exists in every account


class Platform:
    """One stand-in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.folder)
        self.operations = Operations()
        self.hubs = Hubs(settings.kafka)
        self.deployments = Deployments(self)
        self.jobs = Jobs(self)
        self.meters = Meters(self)

    def open(self) -> None:
        """Take up what ran when the stand-in stopped."""
        self.deployments.give_up_interrupted()
        self.jobs.resume()
        self.meters.open()

    def close(self) -> None:
        """End the workers and write the state."""
        self.meters.close()
        self.jobs.close()
        self.store.save()

    def put_group(self, subscription: str, name: str, location: str, tags: dict[str, str]) -> Group:
        """Create a resource group or change its tags.

        Raises:
            AzureError: it exists in another location.
        """
        group = Group(
            id=f"/subscriptions/{subscription}/resourceGroups/{name}", name=name, location=location, tags=tags
        )
        with self.store.lock:
            known = self.store.state.groups.get(group.id.lower())
            if known and known.location != location:
                message = f"The resource group '{name}' already exists in location '{known.location}'."
                raise AzureError(409, "InvalidResourceGroupLocation", message, group.id)
            self.store.state.groups[group.id.lower()] = group
            self.store.save()
        return group

    def put(self, resource_id: ResourceId, api_version: str, body: Json) -> Resource:
        """Create or replace a resource, with all its effects.

        Raises:
            AzureError: the body is wrong, the parent is missing, or the platform refuses the change.
        """
        kind = resource_type(resource_id.type)
        model = kind.read(resource_id, api_version, body)
        with self.store.lock:
            self.store.group(resource_id.subscription, resource_id.group)
            parent = resource_id.parent()
            if parent is not None:
                if parent.type.lower() == IMPLICIT:
                    parent = ResourceId.parse(parent.text.rsplit("/", 2)[0])
                self.store.resource(parent)
            added = kind.put(Change(self, resource_id, model, self.store.find(resource_id)))
            resource = Resource(
                id=resource_id.text, type=kind.name, api_version=api_version, asked=kept(body), added=added
            )
            self.store.state.resources[resource_id.key] = resource
            self.store.save()
        return resource

    def delete(self, resource_id: ResourceId) -> bool:
        """Delete a resource with its children; says whether there was one."""
        with self.store.lock:
            if self.store.find(resource_id) is None:
                return False
            below = [key for key in self.store.state.resources if key.startswith(f"{resource_id.key}/")]
            for key in [*sorted(below, key=len, reverse=True), resource_id.key]:
                resource = self.store.state.resources.pop(key)
                resource_type(resource.type).remove(self, resource)
            self.store.save()
        return True
