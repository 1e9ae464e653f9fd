"""Creating and deleting a resource of any type."""

from lpm.local.azure.errors import AzureError
from lpm.local.azure.resource_types import Change, Parts, kept, resource_type
from lpm.local.azure.store import Group, Json, Resource, ResourceId

IMPLICIT = "microsoft.storage/storageaccounts/blobservices"  # 'default' exists in every account


class Resources:
    """All resources and their groups."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def put_group(self, subscription: str, name: str, location: str, tags: dict[str, str]) -> Group:
        """Create a resource group or change its tags.

        Raises:
            AzureError: it exists in another location.
        """
        group = Group(
            id=f"/subscriptions/{subscription}/resourceGroups/{name}", name=name, location=location, tags=tags
        )
        with self._store.lock:
            known = self._store.state.groups.get(group.id.lower())
            if known and known.location != location:
                message = f"The resource group '{name}' already exists in location '{known.location}'."
                raise AzureError(409, "InvalidResourceGroupLocation", message, group.id)
            self._store.state.groups[group.id.lower()] = group
            self._store.save()
        return group

    def put(self, resource_id: ResourceId, api_version: str, body: Json) -> Resource:
        """Create or replace a resource, with all its effects.

        Raises:
            AzureError: the body is wrong, the parent is missing, or the platform refuses the change.
        """
        kind = resource_type(resource_id.type)
        model = kind.read(resource_id, api_version, body)
        with self._store.lock:
            self._store.group(resource_id.subscription, resource_id.group)
            parent = resource_id.parent()
            if parent is not None:
                if parent.type.lower() == IMPLICIT:
                    parent = ResourceId.parse(parent.text.rsplit("/", 2)[0])
                self._store.resource(parent)
            added = kind.put(Change(self._parts, resource_id, model, self._store.find(resource_id)))
            resource = Resource(
                id=resource_id.text, type=kind.name, api_version=api_version, asked=kept(body), added=added
            )
            self._store.state.resources[resource_id.key] = resource
            self._store.save()
        return resource

    def delete(self, resource_id: ResourceId) -> bool:
        """Delete a resource with its children; says whether there was one."""
        with self._store.lock:
            if self._store.find(resource_id) is None:
                return False
            below = [key for key in self._store.state.resources if key.startswith(f"{resource_id.key}/")]
            for key in [*sorted(below, key=len, reverse=True), resource_id.key]:
                resource = self._store.state.resources.pop(key)
                resource_type(resource.type).remove(self._parts, resource)
            self._store.save()
        return True
