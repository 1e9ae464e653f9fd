"""The processes behind streaming jobs: kept alive, restarted with growing pauses, gone when their parent is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lpm.local.azure.workers import Command, Workers

ROOT = Path(__file__).resolve().parents[2]
STAYS = "import time\nwhile True: time.sleep(1)"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)  # between two looks at the condition
    raise AssertionError(f"not within {seconds} s: {what}")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def workers() -> Iterator[Workers]:
    found = Workers((0.05, 0.1))
    yield found
    found.close()


def command(tmp_path: Path, code: str) -> Command:
    return Command((sys.executable, "-c", code), tmp_path / "worker.log")


def pid(workers: Workers) -> int | None:
    health = workers.health("a")
    return health.pid if health else None


def test_a_worker_that_is_killed_comes_back(workers: Workers, tmp_path: Path) -> None:
    workers.want("a", command(tmp_path, STAYS))
    first = eventually(lambda: pid(workers), "a process")
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: pid(workers) not in (None, first) and pid(workers), "another process")
    assert alive(second)
    health = workers.health("a")
    assert health is not None
    assert health.deaths == 1


def test_a_worker_that_keeps_dying_is_counted_and_its_output_kept(workers: Workers, tmp_path: Path) -> None:
    workers.want("a", command(tmp_path, "print('dying'); raise SystemExit(3)"))
    eventually(lambda: workers.health("a").deaths >= 3, "three deaths")  # type: ignore[union-attr]
    assert (tmp_path / "worker.log").read_text().count("dying") >= 3


def test_a_stopped_worker_is_gone_and_stays_gone(workers: Workers, tmp_path: Path) -> None:
    workers.want("a", command(tmp_path, STAYS))
    running = eventually(lambda: pid(workers), "a process")
    workers.stop("a")
    assert not alive(running)
    assert workers.health("a") is None
    workers.stop("a")  # not wanted: nothing happens


def test_a_new_command_replaces_the_old_process(workers: Workers, tmp_path: Path) -> None:
    workers.want("a", command(tmp_path, STAYS))
    first = eventually(lambda: pid(workers), "a process")
    workers.want("a", command(tmp_path, STAYS))
    eventually(lambda: not alive(first), "the end of the old process")
    assert eventually(lambda: pid(workers), "a new process") != first


def test_a_program_that_cannot_be_started_does_not_stop_the_others(workers: Workers, tmp_path: Path) -> None:
    workers.want("b", Command((tmp_path / "nothing",), tmp_path / "b.log"))
    eventually(lambda: workers.health("b").deaths >= 1, "a failed start")  # type: ignore[union-attr]
    workers.want("a", command(tmp_path, STAYS))
    assert eventually(lambda: pid(workers), "a process")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from lpm.local.azure.workers import Command, Workers
workers = Workers((1,))
workers.want("a", Command((sys.executable, "-c", {STAYS!r}), Path({str(tmp_path / "worker.log")!r})))
while (health := workers.health("a")) is None or health.pid is None: time.sleep(0.02)
print(health.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "include")}
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    eventually(lambda: not alive(child), "the end of the worker")
