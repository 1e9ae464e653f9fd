"""Progress of the job in a Delta table, for the monitor."""

import logging
import queue
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from stream_job import offsets
from stream_job.batch import BatchCounts
from stream_job.settings import Settings

KEEP_DAYS = 7
FIRST_CLEANING_SECONDS = 3_600.0
CLEANING_SECONDS = 86_400.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompletedBatch:
    """Spark's report of a completed micro-batch."""

    batch_id: int
    seconds: float
    ended_at: datetime


class ProgressListener(StreamingQueryListener):  # type: ignore[misc]  # pyspark is not typed here
    """Takes notes of what Spark reports. Spark waits for it, so it does nothing else."""

    def __init__(self) -> None:
        self.completed: queue.SimpleQueue[CompletedBatch] = queue.SimpleQueue()

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802  # Spark's name
        """Nothing to note."""

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802  # Spark's name
        """A batch is complete."""
        report = event.progress
        seconds = report.batchDuration / 1000
        started_at = datetime.fromisoformat(report.timestamp)
        self.completed.put(
            CompletedBatch(
                batch_id=report.batchId,
                seconds=seconds,
                ended_at=started_at + timedelta(seconds=seconds),
            )
        )

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802  # Spark's name
        """Nothing to note."""

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802  # Spark's name
        """The main thread sees that itself."""


@dataclass
class Interval:
    """Sums since the last line of the table."""

    batches: int = 0
    input_rows: int = 0
    emitted_upserts: int = 0
    emitted_deletes: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    ambiguous: int = 0
    batch_seconds: float | None = None
    committed_at: datetime | None = None

    def add(self, batch: CompletedBatch, counts: BatchCounts) -> None:
        """Add one micro-batch."""
        self.batches += 1
        self.input_rows += counts.input_rows
        self.emitted_upserts += counts.emitted_upserts
        self.emitted_deletes += counts.emitted_deletes
        self.dead_letters.update(counts.dead_letters)
        self.ambiguous += counts.ambiguous
        self.batch_seconds = max(batch.seconds, self.batch_seconds or 0.0)
        self.committed_at = counts.committed_at or self.committed_at


class ProgressTable:
    """Appends one line to the progress table every ``progress_seconds``, and removes old lines once a day.

    The table is not needed to move data: when it cannot be written the job goes on, says so, and the next line that
    can be written has the sums of all of them.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        run_id: UUID | str,
        nothing_after: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spark = spark
        self._settings = settings
        self._run_id = str(run_id)
        self._nothing_after = nothing_after
        self._clock = clock
        self._next_line = clock() + settings.progress_seconds
        self._next_cleaning = clock() + FIRST_CLEANING_SECONDS
        self._interval = Interval()
        self._newest: CompletedBatch | None = None

    def write_when_due(self, completed: "queue.SimpleQueue[CompletedBatch]", counts: dict[int, BatchCounts]) -> bool:
        """Append a line when one is due. ``counts`` by batch id; used ones are removed. Returns whether one was."""
        if self._clock() < self._next_line:
            return False
        self._next_line = self._clock() + self._settings.progress_seconds
        while not completed.empty():
            self._newest = completed.get()
            if batch_counts := counts.pop(self._newest.batch_id, None):
                self._interval.add(self._newest, batch_counts)
        try:
            self._line().coalesce(1).write.format("delta").mode("append").saveAsTable(self._settings.progress_table)
            self._interval = Interval()
            self._clean_when_due()
        except (PySparkException, Py4JError) as error:
            log.warning(
                "progress was not written to %s: %s", self._settings.progress_table, str(error).partition("\n")[0]
            )
            return False
        return True

    def _line(self) -> DataFrame:
        interval, newest = self._interval, self._newest
        position = offsets.position(Path(self._settings.checkpoint), self._nothing_after)
        reasons = [sf.lit(item) for pair in interval.dead_letters.items() for item in pair]
        values: dict[str, tuple[object, str]] = {
            "recorded_at": (datetime.now(UTC), "TIMESTAMP"),
            "run_id": (self._run_id, "STRING"),
            "batch_id": (position.batch_id if position else None, "BIGINT"),
            "batches": (interval.batches, "BIGINT"),
            "source_version": (position.complete_version if position else None, "BIGINT"),
            "snapshot_running": (position.complete_version is None if position else None, "BOOLEAN"),
            "input_rows": (interval.input_rows, "BIGINT"),
            "emitted_upserts": (interval.emitted_upserts, "BIGINT"),
            "emitted_deletes": (interval.emitted_deletes, "BIGINT"),
            "dead_lettered": (interval.dead_letters.total(), "BIGINT"),
            "dead_letter_reasons": (sf.create_map(*reasons), "MAP<STRING, BIGINT>"),
            "ambiguous": (interval.ambiguous, "BIGINT"),
            "batch_seconds": (interval.batch_seconds, "DOUBLE"),
            "committed_at": (interval.committed_at, "TIMESTAMP"),
            "batch_ended_at": (newest.ended_at if newest else None, "TIMESTAMP"),
        }
        return self._spark.range(1).select(
            *[sf.lit(value).cast(kind).alias(name) for name, (value, kind) in values.items()]
        )

    def _clean_when_due(self) -> None:
        if self._clock() < self._next_cleaning:
            return
        self._next_cleaning = self._clock() + CLEANING_SECONDS
        table = self._settings.progress_table
        self._spark.sql(f"DELETE FROM {table} WHERE recorded_at < current_timestamp() - INTERVAL {KEEP_DAYS} DAYS")
        self._spark.sql(f"OPTIMIZE {table}")
        self._spark.sql(f"VACUUM {table}")
