"""Brings rows to one output, as stubbornly as Stream Analytics does."""

import logging
import threading
from typing import Literal

import pyarrow as pa

from lpm.local.router.board import Board
from lpm.local.router.hub import MOST_RETRY_SECONDS, Stopped
from lpm.local.router.job import Sink, SqlSink
from lpm.local.router.sinks import TRANSIENT, Refused, open_writer

FIRST_RETRY_SECONDS = 0.1

log = logging.getLogger(__name__)


class Delivery:
    """One output of the job. A transient fault is retried for ever, which holds up the whole job: so it is in Azure."""

    def __init__(self, sink: Sink, policy: Literal["Drop", "Stop"], board: Board, stop: threading.Event) -> None:
        self._alias = sink.alias
        self._most = sink.max_batch_count if isinstance(sink, SqlSink) else None
        self._writer = open_writer(sink)
        self._policy = policy
        self._board = board
        self._stop = stop

    def deliver(self, rows: pa.Table) -> None:
        """Return when the output has taken every row, or dropped what it cannot hold.

        Raises:
            Stopped: the worker was asked to stop while the output was refusing.
        """
        size = self._most or max(1, rows.num_rows)
        for start in range(0, rows.num_rows, size):
            self._deliver(rows.slice(start, size))

    def close(self) -> None:
        """Let go of the output."""
        self._writer.close()

    def _deliver(self, rows: pa.Table) -> None:
        delay = FIRST_RETRY_SECONDS
        while True:
            problem = self._attempt(rows)
            if problem is None:
                return
            if isinstance(problem, Refused) and rows.num_rows > 1:  # find the rows that do not fit
                half = rows.num_rows // 2
                self._deliver(rows.slice(0, half))
                self._deliver(rows.slice(half))
                return
            if isinstance(problem, Refused) and self._policy == "Drop":
                log.error("output %s: dropped a row: %s", self._alias, problem)
                self._board.dropped(self._alias, str(problem))
                return
            log.warning("output %s: trying again in %.1f s: %s", self._alias, delay, problem)
            self._board.failing(self._alias, str(problem), refused=isinstance(problem, Refused))
            if self._stop.wait(delay):
                raise Stopped
            delay = min(delay * 2, MOST_RETRY_SECONDS)

    def _attempt(self, rows: pa.Table) -> Exception | None:
        try:
            self._writer.write(rows)
        except (Refused, *TRANSIENT) as problem:
            return problem
        self._board.delivered(self._alias, rows.num_rows)
        return None
