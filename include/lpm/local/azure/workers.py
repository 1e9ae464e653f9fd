"""Keeps one process alive per wanted key, restarting those that die with a growing pause.

One thread starts and watches all of them: the kernel ties a child's life to the thread that started it.
"""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lpm.local import paths, processes

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
STABLE_SECONDS = 20  # a worker that lived this long has not "died again"


@dataclass(frozen=True)
class Command:
    """What to run and where its output goes."""

    arguments: Sequence[str | Path]
    log: Path


@dataclass
class _Worker:
    command: Command
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0  # time.monotonic()
    deaths: int = 0  # in a row
    next_start: float = 0.0
    stopped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Health:
    """How a wanted worker is. ``pid`` is None while it waits to be started again."""

    pid: int | None
    deaths: int


class Workers:
    """The wanted processes."""

    def __init__(self, restart_seconds: Sequence[float]) -> None:
        self._restart_seconds = restart_seconds
        self._lock = threading.Lock()
        self._wanted: dict[str, _Worker] = {}
        self._unwanted: list[_Worker] = []
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="workers")
        self._thread.start()

    def want(self, key: str, command: Command) -> None:
        """Run a command until :meth:`stop`; replaces what ran under the same key."""
        with self._lock:
            if old := self._wanted.pop(key, None):
                self._unwanted.append(old)
            self._wanted[key] = _Worker(command)
        self._wake.set()

    def stop(self, key: str) -> None:
        """End a worker and wait until it is gone; nothing happens if it is not wanted."""
        with self._lock:
            worker = self._wanted.pop(key, None)
            if worker is None:
                return
            self._unwanted.append(worker)
        self._wake.set()
        worker.stopped.wait()

    def health(self, key: str) -> Health | None:
        """How a worker is, or None if it is not wanted."""
        with self._lock:
            worker = self._wanted.get(key)
            if worker is None:
                return None
            alive = worker.process is not None and worker.process.poll() is None
            return Health(worker.process.pid if alive and worker.process else None, worker.deaths)

    def close(self) -> None:
        """End all workers and the watching thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            with self._lock:
                unwanted, self._unwanted = self._unwanted, []
                wanted = list(self._wanted.values())
            for worker in unwanted:
                self._end(worker)
            for worker in wanted:
                self._keep(worker)
        with self._lock:
            rest = [*self._unwanted, *self._wanted.values()]
        for worker in rest:
            self._end(worker)

    def _keep(self, worker: _Worker) -> None:
        moment = time.monotonic()
        if worker.process is None:
            if moment >= worker.next_start:
                self._begin(worker, moment)
        elif worker.process.poll() is not None:
            lived = moment - worker.started
            worker.deaths = 1 if lived > STABLE_SECONDS else worker.deaths + 1
            pause = self._restart_seconds[min(worker.deaths, len(self._restart_seconds)) - 1]
            log.warning(
                "%s ended with code %s; next start in %s s", worker.command.log, worker.process.returncode, pause
            )
            worker.process, worker.next_start = None, moment + pause
        elif worker.deaths and moment - worker.started > STABLE_SECONDS:
            worker.deaths = 0

    def _begin(self, worker: _Worker, moment: float) -> None:
        try:
            worker.command.log.parent.mkdir(parents=True, exist_ok=True)
            worker.process, worker.started = _start(worker.command), moment
        except OSError:
            log.exception("cannot start %s", worker.command.arguments)
            worker.deaths += 1
            worker.next_start = moment + self._restart_seconds[-1]

    @staticmethod
    def _end(worker: _Worker) -> None:
        if worker.process is not None:
            processes.stop(worker.process)
        worker.stopped.set()


def _start(command: Command) -> subprocess.Popen[bytes]:
    source = str(paths.checkout() / "include")
    search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return processes.start(command.arguments, command.log, {**os.environ, "PYTHONPATH": search})
