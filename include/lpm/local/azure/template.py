"""Reads an ARM template with its parameters: what would be deployed, in which order, and the outputs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from lpm.local.azure.errors import bad_request
from lpm.local.azure.expressions import Scope, evaluate, provider_path
from lpm.local.azure.resource_types import BODY_PARTS, resource_type
from lpm.local.azure.store import Group, Json, ResourceId

_TOP = {"$schema", "contentVersion", "metadata", "parameters", "variables", "resources", "outputs"}
_RESOURCE = {"type", "apiVersion", "name", "scope", "condition", "dependsOn", *BODY_PARTS}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "array": list,
}
MAX_RESOURCES = 800
MAX_TEMPLATE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Planned:
    """One resource of a template; its body still holds expressions."""

    id: ResourceId
    api_version: str
    body: Json
    wanted: bool  # its condition; one that is not wanted is left as it is


@dataclass(frozen=True)
class Plan:
    """A template that has been read: its resources in an order that respects ``dependsOn``."""

    resources: tuple[Planned, ...]
    outputs: Json
    scope: Scope

    def body(self, planned: Planned, keep_unknown: bool = False) -> Json:
        """A resource's body with its expressions computed."""
        return evaluate(planned.body, self.scope, keep_unknown)  # type: ignore[no-any-return]  # a dict stays one


def plan(template: Any, parameters: Any, group: Group, reference: Callable[[str, bool], Any]) -> Plan:
    """Read a template.

    Raises:
        AzureError: the template or the parameters are not valid, or use something the stand-in does not know.
    """
    if not isinstance(template, dict):
        raise _invalid("'template' is missing or not an object")
    _refuse_unknown("template", template, _TOP)
    if "deploymentTemplate.json" not in str(template.get("$schema")) or "contentVersion" not in template:
        raise _invalid("'$schema' and 'contentVersion' must be set")
    subscription = group.id.split("/")[2]
    scope = Scope(
        subscription_id=subscription,
        group=group.document(),
        parameters=_parameters(template.get("parameters", {}), parameters or {}),
        variables=template.get("variables", {}),
        reference=reference,
    )
    resources = template.get("resources")
    if not isinstance(resources, list) or len(resources) > MAX_RESOURCES:
        raise _invalid(f"'resources' must be a list of at most {MAX_RESOURCES}")
    naming = replace(scope, reference=_no_reference)
    planned = [(_planned(resource, naming), resource) for resource in resources]
    return Plan(_ordered(planned, naming), template.get("outputs", {}), scope)


def outputs(read: Plan) -> Json:
    """The outputs of a deployment that has run."""
    result: Json = {}
    for name, output in read.outputs.items():
        value = evaluate(output.get("value"), read.scope)
        _check_type(f"output '{name}'", output.get("type"), value)
        result[name] = {"type": str(output["type"]).capitalize(), "value": value}
    return result


def _parameters(defined: Json, given: Json) -> Json:
    for name in given:
        if name not in defined:
            raise _invalid(
                f"The following parameters were supplied, but do not correspond to any parameters defined in the "
                f"template: '{name}'. The parameters defined in the template are: '{', '.join(defined)}'"
            )
    values: Json = {}
    for name, definition in defined.items():
        if name in given:
            if not isinstance(given[name], dict) or "value" not in given[name]:
                raise _invalid(f"the parameter '{name}' must be an object with a 'value'")
            values[name] = given[name]["value"]
        elif "defaultValue" in definition:
            values[name] = definition["defaultValue"]
        else:
            raise _invalid(f"The value for the template parameter '{name}' is not provided")
        _check_type(f"template parameter '{name}'", definition.get("type"), values[name])
    return values


def _check_type(what: str, type_name: Any, value: Any) -> None:
    wanted = _TYPES.get(str(type_name).lower())
    if wanted is None:
        raise _invalid(f"{what} has the type {type_name!r}; expected one of {', '.join(_TYPES)}")
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise _invalid(f"{what} expects a value of type '{type_name}', found {value!r}")


def _planned(resource: Any, scope: Scope) -> Planned:
    if not isinstance(resource, dict):
        raise _invalid(f"a resource is not an object: {resource!r}")
    for required in ("type", "apiVersion", "name"):
        if not isinstance(resource.get(required), str):
            raise _invalid(f"a resource lacks '{required}': {resource.get('name') or resource.get('type')}")
    kind = resource_type(resource["type"])
    _refuse_unknown(f"resource of type {kind.name}", resource, _RESOURCE)
    path = provider_path(kind.name, str(evaluate(resource["name"], scope)).split("/"))
    parent = evaluate(resource["scope"], scope) if "scope" in resource else scope.group["id"]
    body = {key: resource[key] for key in resource if key in BODY_PARTS}
    wanted = evaluate(resource.get("condition", True), scope)
    if not isinstance(wanted, bool):
        raise _invalid(f"the condition of '{path}' is {wanted!r}; expected true or false")
    return Planned(ResourceId.parse(f"{parent}/{path}"), resource["apiVersion"], body, wanted)


def _ordered(planned: list[tuple[Planned, Json]], scope: Scope) -> tuple[Planned, ...]:
    by_key = {resource.id.key: resource for resource, _ in planned}
    if len(by_key) != len(planned):
        raise _invalid("two resources of the template have the same id")
    graph: dict[str, list[str]] = {}
    for resource, raw in planned:
        graph[resource.id.key] = dependencies = [
            str(evaluate(item, scope)).lower() for item in raw.get("dependsOn", [])
        ]
        for dependency in dependencies:
            if dependency not in by_key:
                raise _invalid(f"The resource '{dependency}' is not defined in the template")
    try:
        order = tuple(by_key[key] for key in TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise _invalid(f"Circular dependency detected on resource: {error.args[1][0]}") from error
    return tuple(planned for planned in order if planned.wanted)


def _no_reference(*_: Any) -> Any:
    raise _invalid("The template function 'reference' is not expected at this location")


def _refuse_unknown(what: str, given: Json, known: set[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise _invalid(f"{what} has {', '.join(map(repr, unknown))}, which the stand-in does not know")


def _invalid(message: str) -> Exception:
    return bad_request("InvalidTemplate", f"Deployment template validation failed: '{message}'.")
