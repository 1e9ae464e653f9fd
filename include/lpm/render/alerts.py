"""Alerts as rules of Azure Monitor: the entries of ``alerts.yml`` that name ``azure_monitor``, one rule for each shard.

A rule compares what Azure Monitor aggregates over the alert's ``for``: the sum of a count, the greatest of anything
else. The DAGs compare each look instead, so with the same limit a rule fires earlier than a DAG does.
"""

from datetime import timedelta

from lpm.config import Config, Environment
from lpm.config.alerts import COMPARISONS, Alert, Alerts, load_alerts, threshold
from lpm.config.signals import SIGNALS, PlatformMetric
from lpm.render import names
from lpm.render.arm import parameters_path, template_path
from lpm.render.arm.document import Json, Parameter, Template, expression, parameter, quoted, resource_id
from lpm.render.arm.foundation import NAMESPACE, NAMESPACES, tags

ALERTS = "alerts"
METRIC_ALERTS = "Microsoft.Insights/metricAlerts"
METRIC_ALERTS_VERSION = "2018-03-01"
SEVERITIES = {"critical": 0, "warning": 2, "info": 3}
OPERATORS = dict(zip(COMPARISONS, ("GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"), strict=True))
LONGEST_BETWEEN_LOOKS = timedelta(minutes=5)


def render(config: Config) -> dict[str, str]:
    """Files ``include/infra/<environment>/alerts.{template,parameters}.json``."""
    files = {}
    for environment in config.environments.values():
        template = alert_rules(config, environment, load_alerts())
        files[template_path(environment.name, ALERTS)] = template.text()
        files[parameters_path(environment.name, ALERTS)] = template.parameters_text()
    return files


def alert_rules(config: Config, environment: Environment, alerts: Alerts) -> Template:
    """The template of the rules. What they watch must exist.

    The action groups, with the addresses of people, are the organisation's: the configuration names them by route.
    """
    chosen = [alert for alert in alerts.alerts if "azure_monitor" in alert.evaluated_in]
    groups = environment.azure.action_groups
    actions = {route: [{"actionGroupId": groups[route]}] if route in groups else [] for route in alerts.routes}
    return Template(
        description="Rules of Azure Monitor for what it can see by itself.",
        parameters=(
            Parameter("tags", "object", tags(environment), "Tags of every rule."),
            Parameter("prefix", "string", f"lpm-{environment.name}", "Begins the name of every rule."),
            Parameter("eventHubsNamespace", "string", environment.event_hubs.namespace, "Event Hubs namespace."),
            Parameter(
                "streamingJobs",
                "object",
                {shard: names.streaming_job_name(environment, shard) for shard in config.shards},
                "Name of each shard's streaming job.",
            ),
            Parameter("actions", "object", actions, "Action groups by route."),
        ),
        resources=tuple(_rule(config, alert, shard) for alert in chosen for shard in config.shards),
    )


def _rule(config: Config, alert: Alert, shard: str) -> Json:
    metric = SIGNALS[alert.signal].metric
    assert metric is not None  # the configuration check holds that
    return {
        "type": METRIC_ALERTS,
        "apiVersion": METRIC_ALERTS_VERSION,
        "name": expression(f"format('{{0}}-{alert.id}-{shard}', {parameter('prefix')})"),
        "location": "global",
        "tags": expression(parameter("tags")),
        "properties": {
            "description": f"{alert.title}: {shard}. Runbook: docs/{alert.runbook}",
            "severity": SEVERITIES[alert.severity],
            "enabled": True,
            "scopes": [expression(_scope(metric, shard))],
            "evaluationFrequency": _iso(min(alert.lasting, LONGEST_BETWEEN_LOOKS)),
            "windowSize": _iso(alert.lasting),
            "criteria": {
                "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
                "allOf": [_criterion(config, alert, metric, shard)],
            },
            "autoMitigate": True,  # says when it is over
            "actions": expression(f"{parameter('actions')}[{quoted(alert.route)}]"),
        },
    }


def _criterion(config: Config, alert: Alert, metric: PlatformMetric, shard: str) -> Json:
    hub = [{"name": metric.dimension, "operator": "Include", "values": [names.hub_name(shard)]}]
    return {
        "criterionType": "StaticThresholdCriterion",
        "name": "limit",
        "metricNamespace": metric.namespace,
        "metricName": metric.name,
        "dimensions": hub if metric.dimension else [],
        "timeAggregation": metric.aggregation,
        "operator": OPERATORS[alert.when.comparison],
        "threshold": threshold(alert.when, config),
    }


def _scope(metric: PlatformMetric, shard: str) -> str:
    if metric.namespace == NAMESPACES:
        return resource_id(NAMESPACES, NAMESPACE)
    return resource_id(metric.namespace, f"{parameter('streamingJobs')}[{quoted(shard)}]")


def _iso(duration: timedelta) -> str:
    """``PT5M``, ``PT1H``, ``P1D``: as Azure spells its windows."""
    minutes = int(duration.total_seconds()) // 60
    if minutes % 1440 == 0:
        return f"P{minutes // 1440}D"
    return f"PT{minutes // 60}H" if minutes % 60 == 0 else f"PT{minutes}M"
