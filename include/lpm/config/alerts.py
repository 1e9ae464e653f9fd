"""What ``alerts.yml`` may say: who is told what, when, and which page helps.

Not part of :func:`lpm.config.load_config`, because every task process would pay for it while it parses a DAG file.
"""

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from lpm.config.errors import nearest
from lpm.config.loading import load_checked
from lpm.config.models import DNS_LABEL, Config, Model
from lpm.config.rules import Fault, listed_twice, unknown
from lpm.config.signals import SIGNALS, Signal

FILE = "alerts.yml"
DOCS = Path(__file__).resolve().parents[3] / "docs"
UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
DURATION = re.compile(r"(\d+) ?(s|min|h|d)")
COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
CONDITION = re.compile(r"(>=|<=|>|<) ?(-?\d+(?:\.\d+)?|objectives\.\w+)")
OBJECTIVE = "objectives."
# Azure Monitor knows only these windows for a metric alert.
WINDOWS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 360, 720, 1440))

Severity = Literal["critical", "warning", "info"]
Place = Literal["dag", "azure_monitor"]


def parse_duration(text: object) -> timedelta:
    """Read ``30 s``, ``5 min``, ``4 h`` or ``2 d``.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(text, timedelta):
        return text
    if text == 0:
        return timedelta()
    match = DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("expected a number and a unit: 30 s, 5 min, 4 h or 2 d; or 0")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def duration_text(duration: timedelta) -> str:
    """The same as text, in the largest unit that has no fraction."""
    seconds = int(duration.total_seconds())
    unit = next((unit for unit in reversed(UNITS) if seconds and seconds % UNITS[unit] == 0), "s")
    return f"{seconds // UNITS[unit]} {unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(duration_text),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\d+ ?(s|min|h|d)$", "description": "5 min, 4 h, 2 d"}),
]


@dataclass(frozen=True)
class Condition:
    """``> 60`` or ``> objectives.latency_p95_seconds``: when a value is too much or too little."""

    comparison: str
    threshold: float | str  # the name of an objective of pipeline.yml when it is text

    @classmethod
    def parse(cls, text: object) -> "Condition":
        """Read a comparison and a number or an objective.

        Raises:
            ValueError: it is something else.
        """
        if isinstance(text, Condition):
            return text
        match = CONDITION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError("expected a comparison and a number or an objective: > 0, <= 3 or > objectives.<name>")
        named = match[2].startswith(OBJECTIVE)
        return cls(match[1], match[2].removeprefix(OBJECTIVE) if named else float(match[2]))

    def __str__(self) -> str:
        named = isinstance(self.threshold, str)
        return f"{self.comparison} {f'{OBJECTIVE}{self.threshold}' if named else f'{self.threshold:g}'}"


ConditionField = Annotated[
    Condition,
    BeforeValidator(Condition.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": f"^{CONDITION.pattern}$", "description": "> 0, <= 3"}),
]


class Channel(Model):
    """One way to reach people. Addresses and secrets are in its Airflow connection."""

    kind: Literal["log", "email", "teams", "webhook"] = Field(description="How people are reached")
    connection: str | None = Field(None, description="Airflow connection with address and secret")
    environments: tuple[str, ...] | None = Field(None, description="Only for these; all when absent")


class Escalation(Model):
    """Who else is told when nobody has acknowledged the alert for so long."""

    after: Duration = Field(description="Without acknowledgement")
    route: str = Field(description="Who is told then")


class Alert(Model):
    """One thing that people have to know of."""

    id: str = Field(pattern=DNS_LABEL, description="Name of the alert and of its page")
    title: str = Field(min_length=1, description="What is wrong, in words")
    severity: Severity = Field(description="critical: data is late or wrong, or will be")
    signal: str = Field(description="One of the closed list of signals")
    when: ConditionField = Field(description="The value that is wrong: a comparison with a number or an objective")
    lasting: Duration = Field(alias="for", default=timedelta())
    route: str = Field(description="Who is told")
    repeat: Duration = Field(description="While it stays")
    escalate: Escalation | None = Field(None, description="Who else is told, and when")
    runbook: str = Field(pattern=r"^runbooks/[a-z0-9-]+\.md$", description="Its page below docs/")
    evaluated_in: tuple[Place, ...] = Field(
        default=("dag",), min_length=1, description="By monitor or reconcile (dag), as a rule of Azure Monitor, or both"
    )


class Alerts(Model):
    """``alerts.yml``."""

    channels: Mapping[str, Channel] = Field(description="Ways to reach people")
    routes: Mapping[str, tuple[str, ...]] = Field(description="Names of channels, by name of the route")
    alerts: tuple[Alert, ...] = Field(description="Every alert")

    def evaluated_by(self, dag: Literal["monitor", "reconcile"]) -> tuple[Alert, ...]:
        """The alerts that a DAG evaluates: those of the signals it observes, and those about watching itself."""
        return tuple(
            alert
            for alert in self.alerts
            if "dag" in alert.evaluated_in and SIGNALS[alert.signal].observed_by in (dag, "each")
        )

    def channels_of(self, route: str, environment: str) -> tuple[str, ...]:
        """Names of a route's channels that serve an environment."""
        names = self.routes[route]
        return tuple(
            name for name in names if (served := self.channels[name].environments) is None or environment in served
        )


@cache
def load_alerts(folder: Path | None = None, docs: Path = DOCS) -> Alerts:
    """The checked alerts. Read once per process and folder.

    Args:
        folder: Where the configuration is; found as :func:`lpm.config.load_config` does when absent.
        docs: Where the runbooks are; they are not looked for when it does not exist, as in an image without them.

    Raises:
        ConfigError: with every problem of the file and of the rest of the configuration.
    """
    return load_checked(folder, FILE, Alerts, partial(check_alerts, docs=docs))


def threshold(condition: Condition, config: Config) -> float:
    """The number that a condition compares with."""
    if isinstance(condition.threshold, str):
        return float(getattr(config.pipeline.objectives, condition.threshold))
    return condition.threshold


def is_met(condition: Condition, value: float, config: Config) -> bool:
    """Whether a value is too much, or too little."""
    return bool(COMPARISONS[condition.comparison](value, threshold(condition, config)))


def check_alerts(alerts: Alerts, config: Config, docs: Path) -> Iterator[Fault]:
    """Every broken rule that needs more than one entry, or the rest of the configuration."""
    yield from _channels(alerts, config)
    yield from _routes(alerts, config)
    yield from _action_groups(alerts, config)
    yield from listed_twice(FILE, "alerts", [alert.id for alert in alerts.alerts], "alert {!r} is listed twice")
    for index, alert in enumerate(alerts.alerts):
        place = ("alerts", index)
        yield from _references(alert, index, alerts, config)
        if docs.is_dir() and not (docs / alert.runbook).is_file():
            known = [path.relative_to(docs).as_posix() for path in (docs / "runbooks").glob("*.md")]
            message = f"the runbook docs/{alert.runbook} does not exist; write it"
            yield Fault(FILE, (*place, "runbook"), message, nearest(alert.runbook, known))


def _channels(alerts: Alerts, config: Config) -> Iterator[Fault]:
    for name, channel in alerts.channels.items():
        place = ("channels", name)
        if (channel.kind == "log") == (channel.connection is not None):
            wanted = "must have no connection" if channel.kind == "log" else "needs a connection"
            yield Fault(FILE, place, f"channel {name!r} of kind {channel.kind} {wanted}")
        for environment in channel.environments or ():
            if environment not in config.environments:
                where = (*place, "environments")
                yield unknown(FILE, where, "environment", environment, config.environments, several=True)


def _routes(alerts: Alerts, config: Config) -> Iterator[Fault]:
    for name, channels in alerts.routes.items():
        for channel in channels:
            if channel not in alerts.channels:
                yield unknown(FILE, ("routes", name), "channel", channel, alerts.channels, several=True)
        if any(channel not in alerts.channels for channel in channels):
            continue
        for environment in config.environments:
            if not alerts.channels_of(name, environment):
                yield Fault(FILE, ("routes", name), f"route {name!r} reaches nobody in environment {environment!r}")


def _action_groups(alerts: Alerts, config: Config) -> Iterator[Fault]:
    for environment in config.environments.values():
        for route in environment.azure.action_groups:
            if route not in alerts.routes:
                message = f"environment {environment.name!r} has an action group for the unknown route {route!r}"
                yield Fault(FILE, ("routes",), message, nearest(route, alerts.routes))


def _references(alert: Alert, index: int, alerts: Alerts, config: Config) -> Iterator[Fault]:
    place = ("alerts", index)
    routes = [("route", alert.route), *([("escalate", alert.escalate.route)] if alert.escalate else [])]
    for key, route in routes:
        if route not in alerts.routes:
            yield unknown(FILE, (*place, key), "route", route, alerts.routes)
    objectives = type(config.pipeline.objectives).model_fields
    if isinstance(alert.when.threshold, str) and alert.when.threshold not in objectives:
        yield unknown(FILE, (*place, "when"), "objective", alert.when.threshold, objectives)
    if alert.signal not in SIGNALS:
        yield unknown(FILE, (*place, "signal"), "signal", alert.signal, SIGNALS)
    else:
        yield from _place_of_evaluation(alert, SIGNALS[alert.signal], index)


def _place_of_evaluation(alert: Alert, signal: Signal, index: int) -> Iterator[Fault]:
    place = ("alerts", index, "evaluated_in")
    if "dag" in alert.evaluated_in and signal.observed_by == "azure":
        yield Fault(FILE, place, f"signal {signal.name!r} is observed by Azure Monitor only: expected [azure_monitor]")
    if "azure_monitor" not in alert.evaluated_in:
        return
    if signal.metric is None:
        yield Fault(FILE, place, f"signal {signal.name!r} is no metric of Azure Monitor: expected [dag]")
    if alert.lasting not in WINDOWS:
        allowed = ", ".join(map(duration_text, WINDOWS))
        yield Fault(FILE, ("alerts", index, "for"), f"Azure Monitor takes one of {allowed}")
