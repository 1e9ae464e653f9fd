"""What a runbook is told by the configuration: when its alert fires, who is told, and what has happened before."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from lpm.config.alerts import DOCS, Alert, duration_text
from lpm.config.alerts import threshold as limit_of
from lpm.config.signals import SIGNALS
from lpm.procedures.alerts.ended import Ended, read_ended
from lpm.procedures.alerts.telling import label, moment
from lpm.site.facts import Facts
from lpm.site.page import cell, table, text
from lpm.site.reaching import columns
from lpm.site.reviews import read_approvals

SECTIONS = (
    *("Meaning", "Impact", "First five minutes", "Diagnosis", "Mitigation"),
    *("Verify", "Roll back", "Escalate", "History"),
)
INCIDENTS_SHOWN = 10
DAG_WORD = re.compile(r"\bdag\(\s*[\"'](\w+)[\"']")


def meaning(facts: Facts, alert: Alert) -> str:
    """The signal, the condition and who is told, as alerts.yml and the list of signals say."""
    signal = SIGNALS[alert.signal]
    rows: list[list[object]] = [
        ["Signal", f"`{signal.name}`: {signal.meaning}"],
        ["About", f"each {signal.subject}" if signal.subject != "any" else "each company, shard and environment"],
        ["Fires when", fires_when(facts, alert)],
        ["Severity", alert.severity],
        ["Looked at by", evaluated_by(facts, alert)],
        ["Told", told(facts, alert)],
        ["Told again", f"every {duration_text(alert.repeat)} while it stays and nobody has acknowledged it"],
        ["Escalates", escalates(alert)],
    ]
    return f"**{text(alert.title)}.**\n{table(['What', 'As configured'], rows)}"


def fires_when(facts: Facts, alert: Alert) -> str:
    """The condition, with its number, and how long it has to be so."""
    signal = SIGNALS[alert.signal]
    if signal.unit == "yes/no":
        words = "it is so"
    else:
        origin = f" (`objectives.{alert.when.threshold}`)" if isinstance(alert.when.threshold, str) else ""
        words = f"the value {alert.when.comparison} {threshold(facts, alert)}{origin}"
    return f"{cell(words)}, {lasting_words(alert)}"


def lasting_words(alert: Alert) -> str:
    """How long the condition has to be true."""
    return f"for {duration_text(alert.lasting)}" if alert.lasting else "at the first look"


def evaluated_by(facts: Facts, alert: Alert) -> str:
    """Which DAG evaluates it and when, and whether Azure Monitor does."""
    schedules, seen_by = facts.config.pipeline.schedules, SIGNALS[alert.signal].observed_by
    dags = {"monitor": ["monitor"], "reconcile": ["reconcile"], "each": ["monitor", "reconcile"]}.get(seen_by, [])
    places = [
        f"[{name}](../operations/{name}.md) (cron `{getattr(schedules, name)}`, UTC)"
        for name in dags
        if "dag" in alert.evaluated_in
    ]
    if "azure_monitor" in alert.evaluated_in:
        places.append("a rule of Azure Monitor for each shard")
    return ", and ".join(places)


def told(facts: Facts, alert: Alert) -> str:
    """The route and, for each environment, its channels."""
    parts = [
        f"{name}: {', '.join(facts.alerts.channels_of(alert.route, name)) or 'nobody'}" for name in facts.environments
    ]
    return f"route `{alert.route}` ({'; '.join(parts)})"


def escalates(alert: Alert) -> str:
    """To whom, and after how long."""
    if alert.escalate is None:
        return "to nobody by itself"
    return f"also to route `{alert.escalate.route}`, when nobody has acknowledged it for {_duration(alert)}"


def threshold(facts: Facts, alert: Alert) -> str:
    """The number that the condition compares with, and its unit."""
    number, unit = limit_of(alert.when, facts.config), SIGNALS[alert.signal].unit
    return f"{number:,.10g} {unit}"


def lasting(_facts: Facts, alert: Alert) -> str:
    """How long the condition has to be so before anyone is told."""
    return duration_text(alert.lasting)


def escalate(facts: Facts, alert: Alert) -> str:
    """Whom to tell after how long, with hours and how to reach them."""
    rows = [["at once", f"`{alert.route}`", *columns(facts, alert.route)]]
    if alert.escalate is not None:
        rows.append([f"after {_duration(alert)}", f"`{alert.escalate.route}`", *columns(facts, alert.escalate.route)])
    header = ["When", "Route", "Hours", "Who", "How", "Answers within"]
    call = "[How to call](../escalation.md#what-to-say-when-you-call)"
    words = f"Say: alert `{alert.id}`, the company or shard, since when, what you saw, what you did. {call}."
    return f"{table(header, rows)}{words}"


def history(facts: Facts, alert: Alert) -> str:
    """The newest incidents that have ended, and who approved the page, where the build could read the evidence."""
    known = [name for name in facts.environments if name in facts.evidence]
    parts = [part for name in known for part in (_incidents(facts, name, alert), _approval(facts, name, alert)) if part]
    missing = [name for name in facts.environments if name not in facts.evidence]
    if missing:
        parts.append(f"No incidents are known here for {', '.join(missing)}: this build could not read the evidence.")
    return "\n\n".join(parts)


def _incidents(facts: Facts, environment: str, alert: Alert) -> str:
    found = [one for one in read_ended(facts.evidence[environment]) if one.incident.alert == alert.id]
    if not found:
        return f"No incident of this alert has ended in {environment} among those that are kept."
    rows: list[list[object]] = [
        [
            moment(one.incident.fired_at),
            text(label(one.incident.subject, facts.config)),
            _length(one),
            text(f"{one.incident.value:,.10g} {SIGNALS[alert.signal].unit}; {one.incident.detail}"),
            _looked_after(one),
        ]
        for one in found[:INCIDENTS_SHOWN]
    ]
    words = f"The last {len(rows)} of {len(found)} incidents that ended in {environment}:"
    return words + "\n" + table(["Told", "About", "Lasted", "At its end", "Looked after"], rows).rstrip()


def _approval(facts: Facts, environment: str, alert: Alert) -> str:
    found = read_approvals(facts.evidence[environment]).pages.get(alert.runbook)
    return f"{text(found.name)} approved this page in {environment} on {moment(found.at)}." if found else ""


def _length(one: Ended) -> str:
    lasted: timedelta = one.ended_at - one.incident.since
    return duration_text(timedelta(minutes=max(1, round(lasted.total_seconds() / 60))))


def _looked_after(one: Ended) -> str:
    given = one.incident.acknowledged
    return text(f"{given.who}: {given.reason}") if given else "nobody said so"


def _duration(alert: Alert) -> str:
    return duration_text(alert.escalate.after) if alert.escalate else ""


def source_of(alert: Alert) -> str:
    """The hand-written text of an alert's runbook, before anything is filled in."""
    return (DOCS / alert.runbook).read_text(encoding="utf-8")


def section(source: str, heading: str) -> str:
    """The text under a heading of level 2."""
    return source.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].strip()


def procedures_in(source: str) -> Iterator[str]:
    """Names of the procedures that a text offers to trigger, each once."""
    yield from dict.fromkeys(DAG_WORD.findall(source))


WORDS: Mapping[str, Callable[..., str]] = {
    "meaning": meaning,
    "threshold": threshold,
    "lasting": lasting,
    "escalate": escalate,
    "history": history,
}
