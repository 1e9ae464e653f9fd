"""Ports and child processes."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lpm.local import processes
from lpm.local.cloud import remains

SLEEPER = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
]


def _await(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def _gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_taken_port_is_replaced_and_a_free_one_is_kept() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        other = processes.free_port(taken)
        assert other != taken
    assert processes.free_port(other) == other
    assert processes.free_port(other, taken=[other]) != other


def test_a_child_that_ignores_the_polite_signal_is_ended_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = processes.start(STUBBORN, log)
    processes.wait_until(lambda: "ready" in processes.tail(log), "the child", 10, child, log)
    processes.stop(child, seconds=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = processes.start([sys.executable, "-c", "print('no such hub')"], log)
    with pytest.raises(RuntimeError, match=r"(?s)the child ended with code 0.*no such hub"):
        processes.wait_until(lambda: False, "the child", 10, child, log)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_a_child_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lpm.local import processes;"
        f"print(processes.start({SLEEPER!r}, Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    include = str(Path(processes.__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "log"], stdout=subprocess.PIPE, env={"PYTHONPATH": include}
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    _await(lambda: _gone(child))


def test_remains_are_found_by_mark_or_session_and_nothing_else_is() -> None:
    marked = subprocess.Popen(SLEEPER, env={remains.MARK: "this-cloud"}, stdout=subprocess.PIPE)
    in_session = subprocess.Popen(SLEEPER, start_new_session=True, stdout=subprocess.PIPE)
    foreign = subprocess.Popen(SLEEPER, env={remains.MARK: "another-cloud"}, stdout=subprocess.PIPE)
    try:
        for each in (marked, in_session, foreign):  # exec has happened: the environment is the new one
            assert each.stdout is not None
            each.stdout.readline()
        started = psutil.Process(in_session.pid).create_time()
        assert {process.pid for process in remains.find("this-cloud", in_session.pid, started)} == {
            marked.pid,
            in_session.pid,
        }
        # The number of a session that was given to a later process says nothing.
        later = remains.find("this-cloud", in_session.pid, started - 100)
        assert {process.pid for process in later} == {marked.pid}
        remains.end(remains.find("this-cloud", in_session.pid, started))
        assert foreign.poll() is None
        assert marked.wait(5) != 0
        assert in_session.wait(5) != 0
    finally:
        for each in (marked, in_session, foreign):
            each.kill()
            each.wait()
