"""What-if: how a resource would change, in the nested form in which Azure tells it.

https://learn.microsoft.com/rest/api/resources/deployments/what-if
"""

from typing import Any

from lpm.local.azure.store import Json, Resource, ResourceId


def created(resource_id: ResourceId, after: Json) -> Json:
    """A resource that does not exist yet."""
    return {"resourceId": resource_id.text, "changeType": "Create", "after": {"id": resource_id.text, **after}}


def ignored(resource: Resource) -> Json:
    """A resource that the template does not mention; an incremental deployment leaves it alone."""
    return {"resourceId": resource.id, "changeType": "Ignore", "before": resource.document()}


def compared(resource: Resource, after: Json) -> Json:
    """A resource that exists, against what the template asks for."""
    delta = _object_delta(resource.asked, after)
    return {
        "resourceId": resource.id,
        "changeType": "Modify" if delta else "NoChange",
        "before": resource.document(),
        "after": {"id": resource.id, **after},
        "delta": delta,
    }


def _object_delta(before: Json, after: Json, prefix: str = "") -> list[Json]:
    changes: list[Json] = []
    for key in sorted({*before, *after}):
        path = f"{prefix}{key}"
        if key not in before:
            changes.append({"path": path, "propertyChangeType": "Create", "after": after[key]})
        elif key not in after:
            changes.append({"path": path, "propertyChangeType": "Delete", "before": before[key]})
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            changes += _object_delta(before[key], after[key], f"{path}.")
        elif isinstance(before[key], list) and isinstance(after[key], list):
            if children := _array_delta(before[key], after[key]):
                changes.append({"path": path, "propertyChangeType": "Array", "children": children})
        elif before[key] != after[key]:
            changes.append(_modified(path, before[key], after[key]))
    return changes


def _array_delta(before: list[Any], after: list[Any]) -> list[Json]:
    changes: list[Json] = []
    for position in range(max(len(before), len(after))):
        path = str(position)
        if position >= len(before):
            changes.append({"path": path, "propertyChangeType": "Create", "after": after[position]})
        elif position >= len(after):
            changes.append({"path": path, "propertyChangeType": "Delete", "before": before[position]})
        elif isinstance(before[position], dict) and isinstance(after[position], dict):
            if children := _object_delta(before[position], after[position]):
                changes.append({"path": path, "propertyChangeType": "Modify", "children": children})
        elif before[position] != after[position]:
            changes.append(_modified(path, before[position], after[position]))
    return changes


def _modified(path: str, before: Any, after: Any) -> Json:
    return {"path": path, "propertyChangeType": "Modify", "before": before, "after": after}
