"""The end of a round of the monitor: what all looks together say, who is told, and the status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lpm.clients.evidence import EvidenceStore
from lpm.procedures.alerts.evaluation import Rules
from lpm.procedures.alerts.observations import Observation, Subject, unknown
from lpm.procedures.alerts.rounds import alert_round
from lpm.procedures.alerts.telling import Links
from lpm.procedures.monitor.looks import SEEN, CompanyLook, StreamLook, read_seen, seen_after
from lpm.procedures.outcome import Outcome
from lpm.procedures.status import monitor_part, report_monitor

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Looks:
    """Everything that the tasks of a round have found. None and absent is what a task did not hand over."""

    stream: StreamLook | None = None
    shards: Sequence[Observation] = ()
    companies: Sequence[CompanyLook] = ()
    others: Sequence[Observation] = ()

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All of it."""
        stream = self.stream.observations if self.stream else ()
        companies = [found for look in self.companies for found in look.observations]
        return (*stream, *self.shards, *companies, *self.others)


def finish_round(rules: Rules, store: EvidenceStore, looks: Looks, links: Links, now: datetime) -> Outcome:
    """Evaluate the alerts, tell people, remember how far was looked, and write the status.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    seen = seen_after(read_seen(store), looks.stream, looks.companies)
    observations = (*looks.observations, headroom(rules, looks, now))
    told = alert_round(rules, store, observations, links, now=now)
    store.write(SEEN, seen.model_dump_json(indent=1))  # only now: what was not evaluated is still new
    part = monitor_part(rules.environment, now, looks.stream, looks.shards, looks.companies)
    report_monitor(store, rules.config, rules.environment, rules.settings, part)
    lines = [f"{notice.kind}: {notice.incident.alert}: {notice.incident.subject}" for notice in told.notices]
    waiting = [f"{told.undelivered} messages wait for the next round"] if told.undelivered else []
    summary = f"{len(observations)} observations, {len(told.open)} open alerts, {len(told.notices)} notices"
    return Outcome(bool(told.notices), summary, (*lines, *waiting))


def headroom(rules: Rules, looks: Looks, now: datetime) -> Observation:
    """Days until the change feed forgets what the stream or a company still needs."""
    subject = Subject(kind="environment", name=rules.environment.name)
    signal, positions = "change_feed_headroom_days", looks.stream.positions if looks.stream else None
    if positions is None:
        return unknown([signal], subject, "where source and stream are could not be found out")[0]
    needed = {f"company {look.company}": look.watermark for look in looks.companies if look.watermark is not None}
    if positions.sent is not None:
        needed["the stream job"] = positions.sent
    ages = {who: positions.age(version + 1, now) / SECONDS_PER_DAY for who, version in needed.items()}
    slowest = max(ages, key=lambda who: ages[who], default=None)
    kept = float(rules.config.pipeline.retention.change_feed_days)
    if slowest is None:
        return unknown([signal], subject, "neither the stream nor a company is known")[0]
    detail = f"{slowest} needs version {needed[slowest] + 1}" if ages[slowest] else "everything has arrived"
    return Observation(signal=signal, subject=subject, value=kept - ages[slowest], detail=detail)
