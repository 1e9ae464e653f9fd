"""From notices to what people read, and handing it to the channels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from lpm.clients import notifications
from lpm.clients.notifications import ChannelError, Link, Message
from lpm.config import Config
from lpm.config.alerts import Condition, threshold
from lpm.procedures.alerts.evaluation import Rules
from lpm.procedures.alerts.observations import Subject
from lpm.procedures.alerts.state import Delivery, Notice

PLURALS = {"company": "companies", "shard": "shards", "environment": "environments"}
WORDS = {"fired": "NEW", "repeated": "STILL", "escalated": "ESCALATED", "resolved": "OVER"}


@dataclass(frozen=True)
class Links:
    """Addresses of Airflow. ``run`` is the DAG run that looked; ``base`` is Airflow itself, with the runbook site."""

    base: str
    run: str

    def runbook(self, page: str) -> str:
        """A page of the site, ``runbooks/<name>.md`` below docs/."""
        return f"{self.base.rstrip('/')}/runbooks/{page.removesuffix('.md')}.html"


def deliveries(notices: Sequence[Notice], run: str) -> list[Delivery]:
    """What each channel has to be told: notices of one alert and kind together, so that one cause is one message."""
    pairs = [(channel, notice) for notice in notices for channel in notice.channels]

    def together(pair: tuple[str, Notice]) -> tuple[str, str, str]:
        channel, notice = pair
        return channel, notice.incident.alert, notice.kind

    groups = groupby(sorted(pairs, key=together), key=together)
    return [Delivery(channel=key[0], notices=tuple(notice for _, notice in group), run=run) for key, group in groups]


def deliver(outbox: Sequence[Delivery], rules: Rules, base: str) -> tuple[Delivery, ...]:
    """Hand out everything once; returns what was not taken, to be tried in the next round.

    A channel that is no longer configured takes nothing more: what waits for it is dropped, with a line in the log.
    """
    left = []
    for delivery in outbox:
        channel = rules.settings.channels.get(delivery.channel)
        if channel is None:
            notifications.log.warning("channel %s is no longer configured; not told: %s", delivery.channel, delivery)
            continue
        try:
            notifications.send(delivery.channel, channel, message(delivery, rules.config, rules.environment.name, base))
        except ChannelError as error:
            notifications.log.error("%s; it will be tried again in the next round", error)
            left.append(delivery.model_copy(update={"tries": delivery.tries + 1, "error": str(error)}))
    return tuple(left)


def message(delivery: Delivery, config: Config, environment: str, base: str) -> Message:
    """One delivery as people read it."""
    first, links = delivery.notices[0], Links(base, delivery.run)
    subjects = [notice.incident.subject for notice in delivery.notices]
    about = label(subjects[0], config) if len(subjects) == 1 else _many(subjects)
    late = f" (told late: {delivery.tries} tries)" if delivery.tries else ""
    return Message(
        headline=f"[{environment} {first.severity}] {WORDS[first.kind]}: {first.title}: {about}{late}",
        lines=tuple(line(notice, config) for notice in delivery.notices),
        links=(
            *([Link("Runbook", links.runbook(first.runbook))] if first.runbook else []),
            Link("DAG run", links.run),
        ),
        severity=first.severity,
        good_news=first.kind == "resolved",
        facts=_facts(delivery, config, environment, links),
    )


def _many(subjects: Sequence[Subject]) -> str:
    counts = Counter(PLURALS[subject.kind] for subject in subjects)
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def line(notice: Notice, config: Config) -> str:
    """One incident in one line: who, the numbers, the last good time and what is known besides."""
    incident = notice.incident
    parts = [
        f"{label(incident.subject, config)}: {_number(incident.value, notice.unit)}{_limit(notice, config)}",
        f"since {moment(incident.since)}, last good {moment(incident.last_good)}",
        incident.detail,
        notice.note,
    ]
    return "; ".join(part for part in parts if part)


def label(subject: Subject, config: Config) -> str:
    """A subject as people know it: a company with its name."""
    names = {company.id: company.name for company in config.companies}
    known = names.get(subject.name) if subject.kind == "company" else None
    return f"{subject} ({known})" if known else str(subject)


def moment(when: datetime | None) -> str:
    """A time for people."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else "not known"


def _number(value: float, unit: str) -> str:
    if unit == "yes/no":
        return "yes" if value else "no"
    return f"{value:,.10g} {unit}".strip()


def _limit(notice: Notice, config: Config) -> str:
    if not notice.condition or notice.unit == "yes/no":
        return ""
    condition = Condition.parse(notice.condition)
    return f" (alert at {condition.comparison} {threshold(condition, config):,.10g})"


def _facts(delivery: Delivery, config: Config, environment: str, links: Links) -> Mapping[str, Any]:
    first = delivery.notices[0]
    return {
        "environment": environment,
        "alert": first.incident.alert,
        "kind": first.kind,
        "severity": first.severity,
        "title": first.title,
        "condition": first.condition,
        "unit": first.unit,
        "runbook": links.runbook(first.runbook) if first.runbook else None,
        "dag_run": links.run,
        "incidents": [
            {
                "key": notice.incident.key,
                "subject": str(notice.incident.subject),
                "label": label(notice.incident.subject, config),
                "text": line(notice, config),
                **notice.incident.model_dump(
                    mode="json", include={"value", "detail", "since", "fired_at", "last_good"}
                ),
            }
            for notice in delivery.notices
        ],
    }
