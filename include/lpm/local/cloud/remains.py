"""Processes of a local cloud that outlived their supervisor, found by what was recorded about it, never by a name."""

import contextlib
import os
import time

import psutil

MARK = "LPM_CLOUD_ID"  # in the environment of every process of a cloud


def find(identity: str, session: int | None, started: float) -> list[psutil.Process]:
    """The processes of a cloud whose supervisor is gone.

    Args:
        identity: The cloud's mark.
        session: Process id of the supervisor, which led the session of all parts; None if unknown.
        started: When that supervisor was started, in seconds since 1970.
    """
    if session is not None and _is_somebody_else(session, started):
        session = None
    return [process for process in psutil.process_iter() if _belongs(process, identity, session, started)]


def end(processes: list[psutil.Process], seconds: float = 4) -> None:
    """End processes, politely first."""
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                ask(process)
        if _wait(processes, seconds):
            return


def _wait(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all of them ended in time. A zombie has ended: in a container nobody may collect it."""
    limit = time.monotonic() + seconds
    while any(_runs(process) for process in processes):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_somebody_else(pid: int, started: float) -> bool:
    """Whether the number was given to a later process."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) > 1)
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, identity: str, session: int | None, started: float) -> bool:
    if process.pid == os.getpid() or not _runs(process):
        return False
    with contextlib.suppress(psutil.Error, OSError):
        if session is not None and os.getsid(process.pid) == session:
            return bool(process.create_time() >= started - 1)
        # Some parts leave the session; some overwrite their environment (they set a process title). None does both.
        return bool(process.environ().get(MARK) == identity)
    return False
