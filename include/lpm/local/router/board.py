"""The running counters of a worker, written to its progress file once a second."""

import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime

from confluent_kafka import KafkaException

from lpm.local.router.hub import Batch
from lpm.local.router.job import OutputProgress, Progress, RouterJob, now

WRITE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Board:
    """Counters that several threads write and one thread saves. A worker that resumes a run goes on counting."""

    def __init__(self, job: RouterJob, earlier: Progress | None) -> None:
        self._path = job.progress_file
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pending: datetime | None = None  # enqueued time of the oldest event read that has not left
        kept = (
            earlier.model_copy(deep=True) if earlier else Progress(name=job.name, run=job.run, pid=0, updated_at=now())
        )
        outputs = {sink.alias: kept.outputs.get(sink.alias, OutputProgress()) for sink in job.outputs}
        self._progress = kept.model_copy(update={"pid": os.getpid(), "outputs": outputs})
        self._thread: threading.Thread | None = None

    def begin(self, lag: Callable[[], int]) -> None:
        """Write the file now and once a second until :meth:`end`. ``lag`` is asked each time."""
        self._save(lag)
        self._thread = threading.Thread(target=self._keep_saving, args=[lag], name="progress", daemon=True)
        self._thread.start()

    def end(self, error: str = "") -> None:
        """Write the file a last time. ``error`` says why the worker cannot go on."""
        if not self._thread:
            return  # never began: a file that names this run would make the next worker resume what never started
        self._closed.set()
        self._thread.join()
        if error:
            self.failed(error)
        self._write()

    def read(self, batch: Batch) -> None:
        """A batch was read and is on its way."""
        with self._lock:
            self._pending = batch.oldest
            self._progress.input_events += len(batch.bodies)
            self._progress.input_bytes += sum(map(len, batch.bodies))

    def left(self, batch: Batch, malformed: int) -> None:
        """Every output has taken the batch."""
        with self._lock:
            self._pending = None
            self._progress.malformed += malformed
            self._progress.last_event_at = max(batch.newest, self._progress.last_event_at or batch.newest)

    def delivered(self, alias: str, rows: int) -> None:
        """An output took rows."""
        with self._lock:
            output = self._progress.outputs[alias]
            output.events += rows
            output.last_output_at = now()
            output.failing_since, output.error = None, ""

    def dropped(self, alias: str, error: str) -> None:
        """A row did not fit and is gone."""
        with self._lock:
            output = self._progress.outputs[alias]
            output.dropped += 1
            output.failing_since, output.error = None, ""
            self._progress.last_error = f"{alias}: dropped a row: {error}"

    def failing(self, alias: str, error: str, *, refused: bool = False) -> None:
        """An output did not take something and will be tried again; ``refused`` when it is what was in it."""
        with self._lock:
            output = self._progress.outputs[alias]
            output.refused += refused
            output.failing_since = output.failing_since or now()
            output.error = error
            self._progress.errors += 1
            self._progress.last_error = f"{alias}: {error}"

    def failed(self, error: str) -> None:
        """Something outside the outputs went wrong."""
        with self._lock:
            self._progress.errors += 1
            self._progress.last_error = error

    def _keep_saving(self, lag: Callable[[], int]) -> None:
        while not self._closed.wait(WRITE_SECONDS):
            self._save(lag)

    def _save(self, lag: Callable[[], int]) -> None:
        try:
            count = lag()
        except KafkaException as error:
            log.warning("the lag is not known now: %s", error)
            count = None
        if count is not None:
            with self._lock:
                self._progress.lag = count
        self._write()

    def _write(self) -> None:
        with self._lock:
            self._progress.updated_at = now()
            waiting = (self._progress.updated_at - self._pending).total_seconds() if self._pending else 0.0
            self._progress.watermark_delay_seconds = max(0.0, waiting)
            snapshot = self._progress.model_copy(deep=True)
        try:
            snapshot.write(self._path)
        except OSError as error:  # the work matters more than the report of it
            log.warning("%s cannot be written: %s", self._path, error)
