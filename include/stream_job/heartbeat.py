"""Heartbeats: "everything up to this version has been sent to this partition"."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pyspark.sql import SparkSession

from stream_job import offsets, route, sink
from stream_job.settings import Settings


class Heartbeat:
    """Sends heartbeats from the checkpoint alone, so never more than what is acknowledged.

    They trail the data by at most ``heartbeat_seconds``, also when no further data comes. The first one after a start
    repeats the last committed batch's version. There is none while the initial snapshot is being sent.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        kafka_options: Mapping[str, str],
        nothing_after: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._kafka_options = kafka_options
        self._nothing_after = nothing_after
        self._clock = clock
        self._next = clock()
        self._sent: int | None = None
        self._targets = route.targets(spark, settings)  # in one partition: a round is one small task

    def beat(self) -> int | None:
        """Send a round when one is due and there is news. Returns the version sent, or None.

        Raises:
            CheckpointError: the checkpoint is of a format this job does not know.
        """
        if self._clock() < self._next:
            return None
        position = offsets.position(Path(self._settings.checkpoint), self._nothing_after)
        if position is None or position.complete_version in (None, self._sent):
            return None
        version = position.complete_version
        sink.write(
            self._targets.selectExpr("*", f"CAST({version} AS BIGINT) AS version").selectExpr(
                f"{self._settings.expressions.heartbeat} AS value", "topic", "partition"
            ),
            self._kafka_options,
        )
        self._sent = version
        self._next = self._clock() + self._settings.heartbeat_seconds
        return version
