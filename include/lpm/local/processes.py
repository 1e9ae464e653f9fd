"""Ports and child processes of the local parts."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def free_port(preferred: int = 0, taken: Iterable[int] = ()) -> int:
    """``preferred`` if nobody listens there, else any free port of the loopback address, never one of ``taken``."""
    for port in (preferred, *[0] * 20):
        # Without SO_REUSEADDR a port would be refused for a minute after each stop.
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            found: int = probe.getsockname()[1]
            if found not in set(taken):
                return found
    raise OSError("no free port on the loopback address")


def accepts(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def start(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None, user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a child that writes to ``log`` and ends when this process ends, however that happens."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/" if user else log.parent,  # another account may not be able to read ours
            env=env,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  one system call, no lock taken
            **account(user),
        )


def die_with_parent() -> None:
    """For ``preexec_fn``: the kernel ends this child when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> None:
    """Ask a child of :func:`start` to end, and end its whole group when it does not within ``seconds``."""
    process.send_signal(how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(
    ready: Callable[[], bool], what: str, seconds: float, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Wait for a child to be ready.

    Raises:
        RuntimeError: it ended, or was not ready in time; the message has the end of its log.
    """
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            why = f"ended with code {process.returncode}" if process.returncode is not None else "was not ready"
            raise RuntimeError(f"{what} {why} within {seconds:g} s. End of {log}:\n{tail(log)}")
        time.sleep(0.05)


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def account(user: str | None) -> dict[str, Any]:
    """Options for ``subprocess`` that run a child as another account. Only root may; None is this account."""
    if user is None:
        return {}
    import pwd

    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
