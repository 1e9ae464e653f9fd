"""The status of an environment: one JSON document for the site and the Airflow panel.

``monitor`` and ``reconcile`` run side by side, so each writes a part of its own. Whoever has written its part puts the
document together anew from both.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from croniter import croniter
from pydantic import ValidationError

from lpm.clients.evidence import EvidenceStore
from lpm.config import Config, Environment
from lpm.config.alerts import Alerts, Severity
from lpm.config.signals import SIGNALS
from lpm.procedures.alerts.observations import Observation, Subject
from lpm.procedures.alerts.rounds import open_incidents
from lpm.procedures.alerts.state import Incident
from lpm.procedures.monitor.looks import CompanyLook, StreamLook
from lpm.procedures.record import Record

STATUS, MONITOR_PART, RECONCILE_PART = "status.json", "status/monitor.json", "status/reconcile.json"
TREND = timedelta(days=14)
MISSED_ROUNDS = 3  # of the monitor, before its status is late: one may take its time, one may fail

PartT = TypeVar("PartT", bound=Record)


class StreamStatus(Record):
    """Source and stream job. Versions are the source's; None is what is not known."""

    running: bool | None = None
    source_version: int | None = None
    sent_version: int | None = None  # None also during the initial snapshot
    lag_seconds: float | None = None


class ShardStatus(Record):
    """Router and hub of a shard."""

    running: bool | None = None
    backlog_events: float | None = None
    delay_seconds: float | None = None


class CompanyStatus(Record):
    """A company's database as the monitor saw it."""

    watermark: int | None = None
    watermark_age_seconds: float | None = None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None


class Verified(Record):
    """What the reconciliation knows of a company.

    Attributes:
        verdict: pass, differ, skipped or error.
        at: When the comparison was made (UTC).
        verified_through: Version of the source through which the company is proven equal; None before the first proof.
        verified_at: When that was proven.
        rows: Rows of the company at that version.
        differences: Keys by class, in this comparison.
    """

    verdict: str
    at: datetime
    verified_through: int | None = None
    verified_at: datetime | None = None
    rows: int | None = None
    differences: Mapping[str, int] = {}


class Hour(Record):
    """The worst of an hour; the trend has one for each."""

    hour: datetime
    source_lag_seconds: float | None = None
    watermark_age_seconds: float | None = None
    latency_p95_seconds: float | None = None
    open_alerts: int = 0


class OpenAlert(Record):
    """An alert that people were told of and that is not over."""

    alert: str
    title: str
    severity: Severity
    subject: Subject
    value: float
    unit: str
    detail: str
    since: datetime
    fired_at: datetime
    acknowledged_by: str | None
    acknowledged_until: datetime | None
    runbook: str


class MonitorPart(Record):
    """What the monitor contributes."""

    at: datetime
    stream: StreamStatus
    shards: Mapping[str, ShardStatus]
    companies: Mapping[str, CompanyStatus]
    trend: tuple[Hour, ...] = ()


class ReconcilePart(Record):
    """What the reconciliation contributes, by company."""

    companies: Mapping[str, Verified] = {}


class CompanyLine(Record):
    """Everything about one company."""

    id: str
    name: str
    shard: str
    now: CompanyStatus
    verified: Verified | None


class Status(Record):
    """The document.

    Attributes:
        looked_at: When the monitor looked last.
        late_at: When it should long have looked again, by its schedule: from then on nobody is watching.
    """

    environment: str
    written_at: datetime
    looked_at: datetime | None
    late_at: datetime | None = None
    stream: StreamStatus
    shards: Mapping[str, ShardStatus]
    companies: tuple[CompanyLine, ...]
    alerts: tuple[OpenAlert, ...]
    trend: tuple[Hour, ...]


def report_monitor(
    store: EvidenceStore, config: Config, environment: Environment, settings: Alerts, seen: MonitorPart
) -> Status:
    """Keep what the monitor saw, with the trend of the rounds before, and put the status together.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    before = _part(store, MONITOR_PART, MonitorPart)
    trend = _trend(before.trend if before else (), seen, len(open_incidents(store)))
    store.write(MONITOR_PART, seen.model_copy(update={"trend": trend}).model_dump_json(indent=1))
    return write_status(store, config, environment, settings, seen.at)


def report_reconciliation(
    store: EvidenceStore,
    config: Config,
    environment: Environment,
    settings: Alerts,
    verified: Mapping[str, Verified],
) -> Status:
    """Keep what a reconciliation proved of some companies, and put the status together. The others stay as they were.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    before = _part(store, RECONCILE_PART, ReconcilePart) or ReconcilePart()
    part = ReconcilePart(companies={**before.companies, **verified})
    store.write(RECONCILE_PART, part.model_dump_json(indent=1))
    return write_status(store, config, environment, settings, datetime.now(UTC))


def write_status(
    store: EvidenceStore, config: Config, environment: Environment, settings: Alerts, now: datetime
) -> Status:
    """Put the document together from both parts and the open alerts, and write it.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    monitor = _part(store, MONITOR_PART, MonitorPart)
    reconcile = _part(store, RECONCILE_PART, ReconcilePart) or ReconcilePart()
    status = Status(
        environment=environment.name,
        written_at=now,
        looked_at=monitor.at if monitor else None,
        late_at=_late_at(config, monitor.at) if monitor else None,
        stream=monitor.stream if monitor else StreamStatus(),
        shards=monitor.shards if monitor else {},
        companies=tuple(
            CompanyLine(
                id=company.id,
                name=company.name,
                shard=company.shard,
                now=(monitor.companies.get(company.id) if monitor else None) or CompanyStatus(),
                verified=reconcile.companies.get(company.id),
            )
            for company in config.companies
        ),
        alerts=tuple(_alert(incident, settings) for incident in open_incidents(store)),
        trend=monitor.trend if monitor else (),
    )
    store.write(STATUS, status.model_dump_json(indent=1))
    return status


def read_status(store: EvidenceStore) -> Status | None:
    """The document as it was written last, None before the first time."""
    return _part(store, STATUS, Status)


def monitor_part(
    environment: Environment,
    now: datetime,
    stream: StreamLook | None,
    shards: Sequence[Observation],
    companies: Sequence[CompanyLook],
) -> MonitorPart:
    """What a round of the monitor has seen."""
    known = _values(
        [*(stream.observations if stream else ()), *shards, *(o for c in companies for o in c.observations)]
    )
    positions = stream.positions if stream else None

    def value(signal: str, subject: Subject) -> float | None:
        return known.get((signal, subject))

    def running(signal: str, subject: Subject) -> bool | None:
        down = known.get((signal, subject))
        return None if down is None else not down

    here = Subject(kind="environment", name=environment.name)
    return MonitorPart(
        at=now,
        stream=StreamStatus(
            running=running("stream_job_down", here),
            source_version=positions.latest if positions else None,
            sent_version=positions.sent if positions else None,
            lag_seconds=value("source_lag_seconds", here),
        ),
        shards={
            subject.name: ShardStatus(
                running=running("router_down", subject),
                backlog_events=value("hub_backlog_events", subject),
                delay_seconds=value("router_watermark_delay_seconds", subject),
            )
            for subject in dict.fromkeys(found.subject for found in shards)
        },
        companies={
            look.company: CompanyStatus(
                watermark=look.watermark,
                watermark_age_seconds=value("watermark_age_seconds", Subject(kind="company", name=look.company)),
                latency_p50_seconds=look.latency_p50,
                latency_p95_seconds=look.latency_p95,
            )
            for look in companies
        },
    )


def _late_at(config: Config, looked_at: datetime) -> datetime:
    times = croniter(config.pipeline.schedules.monitor, looked_at)
    late: datetime = [times.get_next(datetime) for _ in range(MISSED_ROUNDS)][-1]
    return late


def _values(observations: Sequence[Observation]) -> dict[tuple[str, Subject], float]:
    return {(found.signal, found.subject): found.value for found in observations if found.value is not None}


def _trend(before: tuple[Hour, ...], seen: MonitorPart, open_alerts: int) -> tuple[Hour, ...]:
    """The hours so far, with the worst of this round taken into the running hour."""
    hour = seen.at.replace(minute=0, second=0, microsecond=0)
    running = next((one for one in before if one.hour == hour), Hour(hour=hour))
    companies = seen.companies.values()
    worst = Hour(
        hour=hour,
        source_lag_seconds=_most(running.source_lag_seconds, seen.stream.lag_seconds),
        watermark_age_seconds=_most(running.watermark_age_seconds, *(one.watermark_age_seconds for one in companies)),
        latency_p95_seconds=_most(running.latency_p95_seconds, *(one.latency_p95_seconds for one in companies)),
        open_alerts=max(running.open_alerts, open_alerts),
    )
    return (*(one for one in before if hour - TREND <= one.hour < hour), worst)


def _most(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _alert(incident: Incident, settings: Alerts) -> OpenAlert:
    alert = next((known for known in settings.alerts if known.id == incident.alert), None)
    acknowledged = incident.acknowledged
    return OpenAlert(
        alert=incident.alert,
        title=alert.title if alert else incident.alert,
        severity=alert.severity if alert else "info",
        subject=incident.subject,
        value=incident.value,
        unit=SIGNALS[alert.signal].unit if alert else "",
        detail=incident.detail,
        since=incident.since,
        fired_at=incident.fired_at or incident.since,
        acknowledged_by=acknowledged.who if acknowledged else None,
        acknowledged_until=acknowledged.until if acknowledged else None,
        runbook=alert.runbook if alert else "",
    )


def _part(store: EvidenceStore, name: str, model: type[PartT]) -> PartT | None:
    """A part as it was written; None when there is none, or an older version wrote something else."""
    text = store.read(name)
    try:
        return model.model_validate_json(text) if text else None
    except ValidationError:
        return None
