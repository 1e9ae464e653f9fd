"""What counts as a change: the stand-in's what-if answer, and what the client makes of Azure's."""

from typing import Any

import pytest

from lpm.clients.azure_resource_manager import Change, meant_changes
from lpm.local.azure import what_if
from lpm.local.azure.store import Resource, ResourceId

JOB = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.StreamAnalytics/streamingjobs/asa"
HUB = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/n/eventhubs/h"


def seen(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    resource = Resource(
        id=JOB, type="t", api_version="v", asked=before, added={"properties": {"provisioningState": "x"}}
    )
    return meant_changes([what_if.compared(resource, after)])


def test_an_equal_resource_is_no_change() -> None:
    body = {"tags": {"a": "1"}, "properties": {"x": [1, {"y": 2}]}}
    assert seen(body, body) == []


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"tags": {"a": "1"}}, {"tags": {"a": "2"}}, ("tags.a",)),
        ({"tags": {"a": "1"}}, {"tags": {}}, ("tags.a",)),
        ({"properties": {"x": 1}}, {"properties": {"x": 1, "y": 2}}, ("properties.y",)),
        (
            {"properties": {"outputs": [{"name": "a", "properties": {"server": "s"}}]}},
            {"properties": {"outputs": [{"name": "a", "properties": {"server": "t"}}]}},
            ("properties.outputs.0.properties.server",),
        ),
        (
            {"properties": {"outputs": [{"name": "a"}, {"name": "b"}]}},
            {"properties": {"outputs": [{"name": "a"}]}},
            ("properties.outputs.1",),
        ),
        (
            {"properties": {"outputs": [{"name": "a"}]}},
            {"properties": {"outputs": [{"name": "a"}, {"name": "b"}]}},
            ("properties.outputs.1",),
        ),
        (
            {"properties": {"transformation": {"properties": {"query": "a"}}}},
            {"properties": {"transformation": {"properties": {"query": "b"}}}},
            ("properties.transformation.properties.query",),
        ),
    ],
)
def test_a_change_is_named_by_its_path(before: dict[str, Any], after: dict[str, Any], paths: tuple[str, ...]) -> None:
    assert seen(before, after) == [Change("Modify", JOB, paths)]


def test_new_resources_are_changes_and_unmentioned_ones_are_not() -> None:
    other = Resource(id=HUB, type="t", api_version="v", asked={})
    answer = [what_if.created(ResourceId.parse(JOB), {"properties": {}}), what_if.ignored(other)]
    assert meant_changes(answer) == [Change("Create", JOB)]


@pytest.mark.parametrize(
    ("resource_id", "delta"),
    [
        # documented: what-if cannot resolve reference() and reports the property as changing every time
        (
            HUB,
            {
                "path": "properties.principalId",
                "propertyChangeType": "Modify",
                "before": "0000",
                "after": "[reference(resourceId('A/b', 'c'), '2021-10-01-preview', 'Full').identity.principalId]",
            },
        ),
        # documented: values that Azure sets and the template does not mention are shown as deleted
        (HUB, {"path": "properties.messageRetentionInDays", "propertyChangeType": "Delete", "before": 7}),
        # a streaming job is read without these
        (JOB, {"path": "properties.inputs", "propertyChangeType": "Create", "after": [{"name": "hub"}]}),
        (JOB, {"path": "properties.transformation", "propertyChangeType": "Create", "after": {}}),
        (HUB, {"path": "properties.status", "propertyChangeType": "NoEffect", "after": "Active"}),
    ],
)
def test_what_azure_reports_without_meaning_it_is_no_change(resource_id: str, delta: dict[str, Any]) -> None:
    assert meant_changes([{"resourceId": resource_id, "changeType": "Modify", "delta": [delta]}]) == []


def test_a_real_change_beside_a_false_one_is_kept() -> None:
    delta = [
        {"path": "properties.outputs", "propertyChangeType": "Create", "after": []},
        {"path": "tags.lpm-definition", "propertyChangeType": "Modify", "before": "a", "after": "b"},
    ]
    answer = [{"resourceId": JOB, "changeType": "Modify", "delta": delta}]
    assert meant_changes(answer) == [Change("Modify", JOB, ("tags.lpm-definition",))]
