"""The process of one running Stream Analytics job: ``python -m lpm.local.router.worker <job.json>``.

Reads the hub in small batches, runs the query, and commits the offsets once every output has taken the batch: at least
once, in no order across outputs, and an output that refuses holds up all of them. SIGTERM finishes the batch at hand;
one that no output takes is given up, and the next worker reads it again.
"""

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import KafkaException
from pydantic import ValidationError

from lpm.local.router.board import Board
from lpm.local.router.compiling import NotSimulated, compile_query
from lpm.local.router.delivery import Delivery
from lpm.local.router.engine import Engine, Routed
from lpm.local.router.hub import Batch, Hub, Stopped
from lpm.local.router.job import Progress, RouterJob

log = logging.getLogger(__name__)


class Worker:
    """One job. :meth:`run` returns after ``stop`` is set."""

    def __init__(self, job: RouterJob, stop: threading.Event) -> None:
        """Compile the query and check that it names exactly the job's outputs.

        Raises:
            NotSimulated: the query uses what the local engine does not know, or an output is missing or unused.
        """
        self._job = job
        self._stop = stop
        query = compile_query(job.query, job.input_alias)
        named, given = set(query.outputs), {sink.alias for sink in job.outputs}
        if named != given:
            raise NotSimulated(f"the query writes to {sorted(named)}; the job has outputs {sorted(given)}")
        earlier = _earlier(job)
        self._resume = earlier is not None
        self._engine = Engine(query)
        self._board = Board(job, earlier)
        self._hub = Hub(job, stop)
        self._deliveries = {sink.alias: Delivery(sink, job.error_policy, self._board, stop) for sink in job.outputs}

    def run(self) -> None:
        """Route until asked to stop.

        Raises:
            duckdb.Error: the query failed on its data; the job cannot go on.
        """
        error = ""
        try:
            self._hub.open(self._resume)
            self._board.begin(self._hub.lag)  # the file now names the run: from here on a restart resumes it
            log.info("%s: started, %s", self._job.name, "resumed" if self._resume else f"from {self._job.start}")
            with ThreadPoolExecutor(len(self._deliveries), "output") as pool:
                while not self._stop.is_set():
                    if batch := self._hub.next_batch():
                        self._process(batch, pool)
        except Stopped:
            log.info("%s: stopped while waiting; the batch at hand will be read again", self._job.name)
        except Exception as problem:
            error = str(problem)
            raise
        finally:
            self._board.end(error)
            for delivery in self._deliveries.values():
                delivery.close()
            self._hub.close()

    def _process(self, batch: Batch, pool: ThreadPoolExecutor) -> None:
        self._board.read(batch)
        routed = self._engine.run(batch.bodies, batch.partition_ids)
        if routed.malformed:
            log.error("%s: dropped %d messages that are no JSON", self._job.name, routed.malformed)
        self._deliver(routed, pool)
        self._board.left(batch, routed.malformed)
        try:
            self._hub.commit(batch.next_offsets)
        except KafkaException as error:
            log.warning("%s: offsets not committed, the next batch will do it: %s", self._job.name, error)
            self._board.failed(f"offsets not committed: {error}")

    def _deliver(self, routed: Routed, pool: ThreadPoolExecutor) -> None:
        running = [pool.submit(self._deliveries[alias].deliver, rows) for alias, rows in routed.outputs.items()]
        for result in running:
            result.result()


def _earlier(job: RouterJob) -> Progress | None:
    """The progress of this very run, left by a worker that died."""
    try:
        progress = Progress.read(job.progress_file)
    except (OSError, ValidationError):
        return None
    return progress if progress.run == job.run else None


def main(arguments: Sequence[str]) -> int:
    """Run the job of the one file named. 0 after a stop, 1 when the job cannot run, 2 when it is not described well."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if len(arguments) != 1:
        log.error("expected one argument, the file of the job; got %d", len(arguments))
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        worker = Worker(RouterJob.read(Path(arguments[0])), stop)
    except (OSError, ValidationError, NotSimulated) as error:
        log.error("%s: %s", arguments[0], error)
        return 2
    try:
        worker.run()
    except Exception:
        log.exception("%s: the job failed", arguments[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
