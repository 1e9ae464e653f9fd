"""A look at the stream job, its source and its tables, over the Jobs API and by SQL."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.contract.values import utc
from lpm.procedures.alerts.observations import Observation, Subject
from lpm.procedures.deploy_stream import FAILED
from lpm.procedures.monitor.looks import FIRST_LOOK, Position, Positions, Seen, StreamLook, attempt
from lpm.render import names

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAILURE_WINDOW = timedelta(hours=1)
VERSIONS_LISTED = 200  # of the source's history; what is older is known by the hour from the progress table
RUNS_LISTED = 24  # the most that the Jobs API gives in one answer
JOB_SIGNALS = ("stream_job_down", "stream_job_failures")
LAG_SIGNALS = ("stream_progress_age_seconds", "source_lag_versions", "source_lag_seconds")
DEAD_LETTER_SIGNALS = ("dead_letters_new",)
Row = Mapping[str, str | None]


def look_at_stream(
    config: Config, environment: Environment, databricks: DatabricksClient, seen: Seen, now: datetime
) -> StreamLook:
    """Whether the stream job runs and gets on, where source and stream are, and what could not be sent."""
    look = _Look(config, environment, databricks, Subject(kind="environment", name=environment.name), now)
    observations = (
        *attempt(JOB_SIGNALS, look.subject, look.job),
        *attempt(LAG_SIGNALS, look.subject, look.lag),
        *attempt(DEAD_LETTER_SIGNALS, look.subject, lambda: look.dead_letters(seen)),
    )
    return StreamLook(observations=observations, positions=look.positions, dead_letters_until=look.dead_letters_until)


class _Look:
    """One look. What later tasks need of it stays in its attributes."""

    def __init__(
        self, config: Config, environment: Environment, databricks: DatabricksClient, subject: Subject, now: datetime
    ) -> None:
        self._config, self._environment, self._databricks, self._now = config, environment, databricks, now
        self.subject = subject
        self.positions: Positions | None = None
        self.dead_letters_until: datetime | None = None

    def job(self) -> Iterator[Observation]:
        job = self._databricks.find_job(names.stream_job_name(self._environment))
        if job is None:
            yield self._observation("stream_job_down", 1, "the job does not exist; run deploy_stream")
            yield self._observation("stream_job_failures", 0)
            return
        runs = self._databricks.latest_runs(job.id, RUNS_LISTED)
        states = ", ".join(run.state for run in runs if run.is_active) or "no run is active"
        detail = f"{job.name} is paused; {states}" if job.is_paused else f"{job.name}: {states}"
        yield self._observation("stream_job_down", not any(run.state == "RUNNING" for run in runs), detail)
        failed = [
            run for run in runs if run.result in FAILED and run.ended_at and run.ended_at > self._now - FAILURE_WINDOW
        ]
        error = (self._databricks.run_error(failed[0]) or failed[0].message).strip().splitlines() if failed else []
        told = f"newest error: {error[-1][:200]}; {failed[0].page}" if error else ""
        yield self._observation("stream_job_failures", len(failed), told)

    def lag(self) -> Iterator[Observation]:
        progress = self._databricks.sql(
            "SELECT date_trunc('HOUR', recorded_at) AS hour, max(recorded_at) AS recorded_at, "
            "max_by(source_version, recorded_at) AS newest_version, min(source_version) AS oldest_version, "
            "min(committed_at) AS committed_at "
            f"FROM {names.progress_table(self._environment)} GROUP BY 1 ORDER BY 1"
        )
        source = names.source_table(self._config, self._environment)
        history = self._databricks.sql(f"DESCRIBE HISTORY {source} LIMIT {VERSIONS_LISTED}")
        self.positions = found = positions(progress, history)
        newest = _moment(progress[-1]["recorded_at"]) if progress else None
        if newest is None:
            raise LookupError(f"{names.progress_table(self._environment)} has no line: the stream has never run")
        age = (self._now - newest).total_seconds()
        yield self._observation("stream_progress_age_seconds", age, last_good=newest)
        if found.sent is None:
            detail = "the initial snapshot is being sent"
            yield self._observation("source_lag_versions", 0, detail)
            yield self._observation("source_lag_seconds", 0, detail)
            return
        behind = max(0, found.latest - found.sent)
        detail = f"sent up to version {found.sent}, the source is at {found.latest}"
        yield self._observation("source_lag_versions", behind, detail)
        yield self._observation("source_lag_seconds", found.age(found.sent + 1, self._now), detail)

    def dead_letters(self, seen: Seen) -> Iterator[Observation]:
        since = seen.dead_letters_until or self._now - FIRST_LOOK
        rows = self._databricks.sql(  # a timestamp comes without its microseconds: the newest row would be new for ever
            "SELECT reason, count(*) AS count, unix_micros(max(dead_lettered_at)) AS newest "
            f"FROM {names.dead_letter_table(self._environment)} WHERE dead_lettered_at > :since GROUP BY 1 ORDER BY 1",
            {"since": since},
        )
        newest = max((int(row["newest"] or 0) for row in rows), default=None)
        self.dead_letters_until = since if newest is None else EPOCH + timedelta(microseconds=newest)
        counts = ", ".join(f"{row['reason']}: {row['count']}" for row in rows)
        yield self._observation("dead_letters_new", sum(int(row["count"] or 0) for row in rows), counts)

    def _observation(
        self, signal: str, value: float, detail: str = "", last_good: datetime | None = None
    ) -> Observation:
        return Observation(signal=signal, subject=self.subject, value=float(value), detail=detail, last_good=last_good)


def positions(progress: Sequence[Row], history: Sequence[Row]) -> Positions:
    """Where source and stream are.

    Args:
        progress: The progress table by the hour, oldest first: ``hour``, ``newest_version``, ``oldest_version``,
            ``committed_at`` (of the oldest row read in that hour).
        history: ``DESCRIBE HISTORY`` of the source, in any order.
    """
    exact = [
        Position(version=int(row["version"] or 0), committed_at=moment)
        for row in sorted(history, key=lambda row: int(row["version"] or 0))
        if (moment := _moment(row["timestamp"]))
    ]
    known = [
        Position(version=int(row["oldest_version"] or 0), committed_at=moment)
        for row in progress
        if row["oldest_version"] is not None
        and (moment := _moment(row["committed_at"]) or _moment(row["hour"]))
        and int(row["oldest_version"] or 0) < exact[0].version
    ]
    sent = progress[-1]["newest_version"] if progress else None
    return Positions(latest=exact[-1].version, known=(*known, *exact), sent=None if sent is None else int(sent))


def _moment(text: str | None) -> datetime | None:
    return utc(text) if text else None
