"""A look at one company's database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from lpm.clients.target_database import TargetDatabase
from lpm.config import Company
from lpm.procedures.alerts.observations import Observation, Subject, unknown
from lpm.procedures.monitor.looks import FIRST_LOOK, CompanyLook, Positions, Seen, attempt, reason

LATENCY_SECONDS = 600.0  # how far the percentiles look back
LATENCY_DAYS = 8  # what was counted before is forgotten
SIGNALS = ("watermark_age_seconds", "latency_p95_seconds", "quarantine_new", "inbox_rows")


def look_at_company(
    database: Callable[[], TargetDatabase], company: Company, positions: Positions | None, seen: Seen, now: datetime
) -> CompanyLook:
    """How far a company's database is and what it has refused; drains an inbox that is not empty.

    Args:
        database: Connects to it.
        company: Whose it is.
        positions: Where the source is; None when that could not be found out.
        seen: How far the rounds before have looked.
        now: This moment (UTC).
    """
    subject = Subject(kind="company", name=company.id)
    try:
        with database() as connected:
            return _Look(connected, subject, now).all(positions, seen)
    except Exception as error:  # no driver, no connection: the other companies are looked at all the same
        return CompanyLook(company=company.id, observations=tuple(unknown(SIGNALS, subject, reason(error))))


class _Look:
    def __init__(self, database: TargetDatabase, subject: Subject, now: datetime) -> None:
        self._database, self._subject, self._now = database, subject, now
        self._watermark: int | None = None
        self._latencies: tuple[float, float] | None = None
        self._quarantine_until: datetime | None = None

    def all(self, positions: Positions | None, seen: Seen) -> CompanyLook:
        observations = (
            *attempt(SIGNALS[:1], self._subject, lambda: self._age(positions)),
            *attempt(SIGNALS[1:2], self._subject, self._latency),
            *attempt(SIGNALS[2:3], self._subject, lambda: self._quarantine(seen)),
            *attempt(SIGNALS[3:], self._subject, self._inbox),
        )
        p50, p95 = self._latencies or (None, None)
        return CompanyLook(
            company=self._subject.name,
            observations=observations,
            watermark=self._watermark,
            latency_p50=p50,
            latency_p95=p95,
            quarantine_until=self._quarantine_until,
        )

    def _age(self, positions: Positions | None) -> Iterator[Observation]:
        # Before the source: what is committed meanwhile must not look as if it were missing.
        partitions = self._database.query("SELECT partition_id, version, advanced_at FROM lpm.watermark")
        self._watermark = min((int(version) for _, version, _ in partitions), default=-1)
        if positions is None:
            raise LookupError("where the source is could not be found out")
        slowest = next((part for part in partitions if part[1] == self._watermark), None)
        moved = slowest[2].replace(tzinfo=UTC) if slowest and slowest[2] else None
        where = f"partition {slowest[0]}" if slowest else "no partition"
        detail = f"watermark {self._watermark} ({where}), the source is at {positions.latest}"
        age = positions.age(self._watermark + 1, self._now)
        yield self._observation("watermark_age_seconds", age, detail, moved)

    def _latency(self) -> Iterator[Observation]:
        self._database.forget_latencies(LATENCY_DAYS)
        found = self._database.latency_percentiles(LATENCY_SECONDS)
        if found is None:
            detail = f"nothing was applied in the last {LATENCY_SECONDS / 60:.0f} minutes"
            yield self._observation("latency_p95_seconds", 0, detail)
            return
        self._latencies = found[:2]
        yield self._observation("latency_p95_seconds", found[1], f"half within {found[0]:.1f} seconds")

    def _quarantine(self, seen: Seen) -> Iterator[Observation]:
        since = seen.quarantine_until.get(self._subject.name) or self._now - FIRST_LOOK
        rows = self._database.query(
            "SELECT reason, count(*), max(last_seen) FROM lpm.quarantine WHERE last_seen > :since GROUP BY reason "
            "ORDER BY reason",
            {"since": since.astimezone(UTC).replace(tzinfo=None)},
        )
        self._quarantine_until = max((row[2].replace(tzinfo=UTC) for row in rows), default=since)
        counts = ", ".join(f"{row[0]}: {row[1]}" for row in rows)
        yield self._observation("quarantine_new", sum(row[1] for row in rows), counts)

    def _inbox(self) -> Iterator[Observation]:
        rows = self._database.inbox_count()
        drained = f"drained {self._database.drain_inbox()} rows" if rows else ""
        yield self._observation("inbox_rows", rows, drained)

    def _observation(
        self, signal: str, value: float, detail: str = "", last_good: datetime | None = None
    ) -> Observation:
        return Observation(signal=signal, subject=self._subject, value=float(value), detail=detail, last_good=last_good)
