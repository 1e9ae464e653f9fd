"""Rules of Azure Monitor come from the same entries as the DAGs' alerts, and are what Azure takes."""

import json
import re
from typing import Any

import pytest

from lpm.config import Environment, load_config
from lpm.config.alerts import load_alerts
from lpm.local.azure.resource_types import resource_type
from lpm.local.azure.store import Group
from lpm.local.azure.template import plan
from lpm.render import alerts as rendered
from lpm.render import names
from lpm.render.arm import parameters_path, template_path

CONFIG = load_config()
FILES = rendered.render(CONFIG)
CHOSEN = {alert.id: alert for alert in load_alerts().alerts if "azure_monitor" in alert.evaluated_in}
every_environment = pytest.mark.parametrize(
    "environment", CONFIG.environments.values(), ids=lambda environment: environment.name
)


def rules(environment: Environment) -> dict[str, dict[str, Any]]:
    """The bodies that Azure would get, by name. Reading refuses what Azure does not publish."""
    template = json.loads(FILES[template_path(environment.name, rendered.ALERTS)])
    parameters = json.loads(FILES[parameters_path(environment.name, rendered.ALERTS)])
    group = Group(
        id=f"/subscriptions/{environment.azure.subscription_id}/resourceGroups/{environment.azure.resource_group}",
        name=environment.azure.resource_group,
        location=environment.azure.location,
    )
    found = plan(template, parameters["parameters"], group, lambda *_: None)
    bodies = {}
    for planned in found.resources:
        kind = resource_type(planned.id.type)
        assert re.fullmatch(kind.name_pattern, planned.id.name)
        bodies[planned.id.name] = found.body(planned)
        kind.read(planned.id, planned.api_version, bodies[planned.id.name])
    return bodies


@every_environment
def test_each_alert_that_azure_evaluates_is_a_rule_for_each_shard(environment: Environment) -> None:
    assert set(rules(environment)) == {
        f"lpm-{environment.name}-{alert}-{shard}" for alert in CHOSEN for shard in CONFIG.shards
    }
    assert {"router-memory", "router-delay", "hub-throttled"} == set(CHOSEN)


def test_a_rule_of_a_streaming_job_watches_that_job() -> None:
    prod = CONFIG.environment("prod")
    properties = rules(prod)["lpm-prod-router-delay-shard-02"]["properties"]
    [scope] = properties["scopes"]
    assert scope.endswith("/providers/Microsoft.StreamAnalytics/streamingjobs/asa-lpm-prod-shard-02")
    [criterion] = properties["criteria"]["allOf"]
    assert (criterion["metricName"], criterion["timeAggregation"]) == ("OutputWatermarkDelaySeconds", "Maximum")
    assert (criterion["operator"], criterion["threshold"], criterion["dimensions"]) == ("GreaterThan", 120, [])
    assert (properties["windowSize"], properties["evaluationFrequency"]) == ("PT15M", "PT5M")
    assert properties["severity"] == rendered.SEVERITIES[CHOSEN["router-delay"].severity] == 2
    assert properties["description"].endswith("Runbook: docs/runbooks/router-delay.md")


def test_a_rule_of_a_hub_watches_that_hub_alone() -> None:
    prod = CONFIG.environment("prod")
    properties = rules(prod)["lpm-prod-hub-throttled-shard-01"]["properties"]
    assert properties["scopes"][0].endswith(f"/namespaces/{prod.event_hubs.namespace}")
    [criterion] = properties["criteria"]["allOf"]
    assert criterion["dimensions"] == [
        {"name": "EntityName", "operator": "Include", "values": [names.hub_name("shard-01")]}
    ]


def test_the_action_group_of_the_alerts_route_is_told() -> None:
    prod, group = (
        CONFIG.environment("prod"),
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/actionGroups/a",
    )
    azure = prod.azure.model_copy(update={"action_groups": {"team": group}})
    template = rendered.alert_rules(CONFIG, prod.model_copy(update={"azure": azure}), load_alerts())
    actions = template.parameters_document()["parameters"]["actions"]["value"]
    assert actions == {"team": [{"actionGroupId": group}], "duty": [], "lead": []}
    assert {one["properties"]["actions"] for one in template.resources} == {"[parameters('actions')['team']]"}


def test_every_environment_deploys_the_same_template() -> None:
    assert len({FILES[template_path(name, rendered.ALERTS)] for name in CONFIG.environments}) == 1
