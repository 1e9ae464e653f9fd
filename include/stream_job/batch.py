"""One micro-batch: send its events, keep its dead letters, count."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as sf

from stream_job import events, offsets, route, sink
from stream_job.metrics import metrics
from stream_job.settings import Settings


@dataclass(frozen=True)
class BatchCounts:
    """What one micro-batch did. ``committed_at`` is the commit time of its newest row, None without rows."""

    input_rows: int
    emitted_upserts: int
    emitted_deletes: int
    dead_letters: Mapping[str, int]  # by reason, only those that occurred
    ambiguous: int
    committed_at: datetime | None


@dataclass(frozen=True)
class Deletes:
    """What the pass over versions with deletes found."""

    emitted: int
    ambiguous: int


class BatchProcessor:
    """Turns micro-batches into messages. When :meth:`process` returns, the hub has acknowledged all of them.

    Processing a batch again sends the same events again, which the targets ignore, and writes no dead letter twice.
    """

    def __init__(self, settings: Settings, routes: DataFrame, kafka_options: Mapping[str, str]) -> None:
        self._settings = settings
        self._routes = routes
        self._kafka_options = kafka_options

    def process(self, batch: DataFrame, batch_id: int) -> BatchCounts:
        """Send one micro-batch of the change feed."""
        read, sent = Observation(), Observation()
        upserts = events.upserts(events.observed_input(batch, read), self._settings)
        self._send(upserts.observe(sent, *self._verdicts()).where("reason IS NULL"))
        seen, verdicts = metrics(read), metrics(sent)
        deletes = Deletes(0, 0)
        if seen["delete_rows"]:
            changed = sf.col("_commit_version").between(seen["first_delete_version"], seen["last_delete_version"])
            deletes = self._send_deletes(batch.where(changed))
        dead_letters = {reason: verdicts[reason] for reason in self._settings.dead_letter_reasons if verdicts[reason]}
        if dead_letters:
            self._keep_dead_letters(batch, batch_id)
        return BatchCounts(
            input_rows=seen["input_rows"],
            emitted_upserts=verdicts["upserts"] - sum(dead_letters.values()),
            emitted_deletes=deletes.emitted,
            dead_letters=dead_letters,
            ambiguous=deletes.ambiguous,
            committed_at=seen["committed_at"],
        )

    def _send(self, rows: DataFrame) -> None:
        sink.write(route.routed(rows, self._routes, self._settings), self._kafka_options)

    def _verdicts(self) -> list[sf.Column]:
        reasons = self._settings.dead_letter_reasons
        return [
            sf.count(sf.lit(1)).alias("upserts"),
            *[sf.count_if(sf.col("reason") == sf.lit(reason)).alias(reason) for reason in reasons],
        ]

    def _send_deletes(self, changed: DataFrame) -> Deletes:
        folded, emitted = Observation(), Observation()
        lines = events.folded(changed, self._settings).observe(
            folded, sf.count_if(events.has_several_upserts()).alias("suspects")
        )
        deletes = events.deletes(lines, self._settings).observe(emitted, sf.count(sf.lit(1)).alias("deletes"))
        self._send(deletes)
        ambiguous = self._send_winners(changed) if metrics(folded)["suspects"] else 0
        return Deletes(metrics(emitted)["deletes"], ambiguous)

    def _send_winners(self, changed: DataFrame) -> int:
        sent = Observation()
        self._send(events.winners(changed, self._settings).observe(sent, sf.count(sf.lit(1)).alias("winners")))
        return int(metrics(sent)["winners"])

    def _keep_dead_letters(self, batch: DataFrame, batch_id: int) -> None:
        (
            events.dead_letters(batch, self._settings)
            .selectExpr("*", f"CAST({batch_id} AS BIGINT) AS batch_id", "current_timestamp() AS dead_lettered_at")
            .write.format("delta")
            .mode("append")
            # Delta skips a transaction that this application has already committed: a batch that is run again.
            .option("txnAppId", offsets.query_id(Path(self._settings.checkpoint)))
            .option("txnVersion", batch_id)
            .saveAsTable(self._settings.dead_letter_table)
        )
