"""Whether the query has read everything there is."""

import time
from collections.abc import Callable, Mapping
from typing import Any

GAP_SECONDS = 0.1


class IdleWatch:
    """Judges from the status of a streaming query that nothing is left to read after a batch.

    Spark says "waiting, no data" also for a moment before it looks for data. That moment is far shorter than the time
    between two looks of ours, and a look of Spark's that finds data changes the status or the newest batch: so two
    looks that agree are certain.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._clock = clock
        self._first: tuple[int, float] | None = None  # batch and time of the first of two looks

    def nothing_after(self, batch_id: int) -> bool:
        """Whether everything is read with this batch, the newest committed one. Ask again after False."""
        status = self._status()
        if status["isDataAvailable"] or status["isTriggerActive"] or not status["message"].startswith("Waiting for"):
            self._first = None
            return False
        if self._first is None or self._first[0] != batch_id:
            self._first = (batch_id, self._clock())
        return self._clock() - self._first[1] >= GAP_SECONDS
