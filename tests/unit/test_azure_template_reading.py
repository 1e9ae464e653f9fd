"""Templates that the stand-in refuses, as Azure would, before it deploys anything."""

from copy import deepcopy
from typing import Any

import pytest

from lpm.local.azure.errors import AzureError
from lpm.local.azure.resource_types import resource_type
from lpm.local.azure.store import Group, ResourceId
from lpm.local.azure.template import plan

GROUP = Group(id="/subscriptions/s/resourceGroups/rg", name="rg", location="local")
HUB = {
    "type": "Microsoft.EventHub/namespaces/eventhubs",
    "apiVersion": "2024-01-01",
    "name": "[format('{0}/hub', parameters('namespace'))]",
    "dependsOn": ["[resourceId('Microsoft.EventHub/namespaces', parameters('namespace'))]"],
    "properties": {
        "partitionCount": 2,
        "retentionDescription": {"cleanupPolicy": "Delete", "retentionTimeInHours": 24},
    },
}
NAMESPACE = {
    "type": "Microsoft.EventHub/namespaces",
    "apiVersion": "2024-01-01",
    "name": "[parameters('namespace')]",
    "location": "local",
    "sku": {"name": "Standard", "tier": "Standard", "capacity": 1},
    "properties": {},
}
TEMPLATE: dict[str, Any] = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {"namespace": {"type": "string"}},
    "resources": [HUB, NAMESPACE],
}
PARAMETERS = {"namespace": {"value": "evhns-test"}}


def refuse(*_: Any) -> Any:
    raise AssertionError("nothing is read here")


def refused(template: Any, parameters: Any = PARAMETERS) -> str:
    with pytest.raises(AzureError) as caught:
        plan(template, parameters, GROUP, refuse)
    assert caught.value.status == 400
    return caught.value.message


def changed(position: int, **parts: Any) -> dict[str, Any]:
    template = deepcopy(TEMPLATE)
    template["resources"][position] = {**template["resources"][position], **parts}
    return template


def test_resources_come_after_what_they_depend_on() -> None:
    found = plan(TEMPLATE, PARAMETERS, GROUP, refuse)
    assert [planned.id.name for planned in found.resources] == ["evhns-test", "hub"]
    assert found.resources[1].id.text.endswith("/providers/Microsoft.EventHub/namespaces/evhns-test/eventhubs/hub")


def test_a_child_of_another_resource_keeps_its_scope() -> None:
    assignment = {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": "[guid('x')]",
        "scope": "[resourceId('Microsoft.EventHub/namespaces/eventhubs', 'evhns-test', 'hub')]",
        "properties": {},
    }
    found = plan({**TEMPLATE, "resources": [assignment]}, PARAMETERS, GROUP, refuse).resources[0].id
    assert found.type == "Microsoft.Authorization/roleAssignments"
    assert ResourceId.parse(found.scope).name == "hub"


def test_a_resource_whose_condition_is_false_is_left_alone_but_may_be_depended_on() -> None:
    template = changed(1, condition="[contains(parameters('namespace'), 'other')]")
    assert [planned.id.name for planned in plan(template, PARAMETERS, GROUP, refuse).resources] == ["hub"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (changed(1, condition="yes"), "expected true or false"),
        (None, "'template' is missing"),
        ({**TEMPLATE, "resource": []}, "'resource'"),
        ({**TEMPLATE, "$schema": "x"}, "'$schema'"),
        ({**TEMPLATE, "resources": {}}, "'resources' must be a list"),
        (changed(0, type="Microsoft.Web/sites"), "'Microsoft.Web/sites' is not one"),
        (changed(0, copy={"name": "x", "count": 2}), "'copy'"),
        (changed(0, name="hub"), "2 segments but 1 names"),
        (changed(0, dependsOn=["/subscriptions/s/nothing"]), "is not defined in the template"),
        (
            changed(1, dependsOn=["[resourceId('Microsoft.EventHub/namespaces/eventhubs', 'evhns-test', 'hub')]"]),
            "Circular dependency",
        ),
        (changed(0, name="[reference('x')]"), "'reference' is not expected at this location"),
        ({**TEMPLATE, "resources": [NAMESPACE, NAMESPACE]}, "same id"),
    ],
)
def test_a_wrong_template_is_refused(template: Any, said: str) -> None:
    assert said in refused(template)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "'namespace' is not provided"),
        ({**PARAMETERS, "other": {"value": 1}}, "'other'"),
        ({"namespace": {"value": 5}}, "expects a value of type 'string', found 5"),
        ({"namespace": "evhns"}, "must be an object with a 'value'"),
    ],
)
def test_wrong_parameters_are_refused(parameters: Any, said: str) -> None:
    assert said in refused(TEMPLATE, parameters)


@pytest.mark.parametrize(
    ("type_name", "name", "version", "body", "code", "said"),
    [
        (
            "Microsoft.EventHub/namespaces",
            "evhns-test",
            "1999-01-01",
            NAMESPACE,
            "NoRegisteredProviderFound",
            "2024-01-01",
        ),
        ("Microsoft.EventHub/namespaces", "1", "2024-01-01", NAMESPACE, "InvalidResourceName", "'1' is not a name"),
        (
            "Microsoft.EventHub/namespaces",
            "evhns-test",
            "2024-01-01",
            {**NAMESPACE, "properties": {"disableLocalAuht": True}},
            "InvalidRequestContent",
            "properties.disableLocalAuht",
        ),
        (
            "Microsoft.EventHub/namespaces",
            "evhns-test",
            "2024-01-01",
            {"location": "local", "properties": {}},
            "InvalidRequestContent",
            "sku: Field required",
        ),
        (
            "Microsoft.EventHub/namespaces",
            "evhns-test",
            "2024-01-01",
            {**NAMESPACE, "properties": {"isAutoInflateEnabled": True, "maximumThroughputUnits": 0}},
            "InvalidRequestContent",
            "less than the capacity",
        ),
        (
            "Microsoft.EventHub/namespaces/eventhubs",
            "hub",
            "2024-01-01",
            {"properties": {**HUB["properties"], "partitionCount": 33}},  # type: ignore[dict-item]  # it is a dict
            "InvalidRequestContent",
            "properties.partitionCount",
        ),
    ],
)
def test_a_wrong_body_is_refused(
    type_name: str, name: str, version: str, body: dict[str, Any], code: str, said: str
) -> None:
    path = f"{type_name}/{name}" if type_name.count("/") == 1 else f"Microsoft.EventHub/namespaces/n/eventhubs/{name}"
    resource_id = ResourceId.parse(f"{GROUP.id}/providers/{path}")
    with pytest.raises(AzureError) as caught:
        resource_type(type_name).read(resource_id, version, body)
    assert caught.value.code == code
    assert said in caught.value.message
