"""What each part of the local cloud is doing."""

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from lpm.local.cloud.parts import Cloud, Part
from lpm.local.cloud.supervision import Program, Supervisor

State = Literal["ready", "starting", "failing", "stopping", "stopped"]
_STATES: dict[str, State] = {"STARTING": "starting", "STOPPING": "stopping", "BACKOFF": "failing", "FATAL": "failing"}


@dataclass(frozen=True)
class Child:
    """A process that a stand-in runs for the cloud it stands for: a run of a job, a router."""

    name: str
    pid: int
    memory_bytes: int  # proportional share: what the processes use, shared pages divided among their users
    log: str


@dataclass(frozen=True)
class PartStatus:
    """One part."""

    name: str
    state: State
    pid: int  # 0 when it does not run
    address: str
    memory_bytes: int  # of its process tree, its children included
    log: str
    children: tuple[Child, ...] = ()


@dataclass(frozen=True)
class Status:
    """The whole local cloud."""

    state: Literal["up", "partly up", "down"]
    parts: tuple[PartStatus, ...]
    memory_bytes: int  # supervisord included
    orphans: tuple[int, ...]  # processes that run without their supervisor; `lpm local up` or `down` ends them

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def status(cloud: Cloud) -> Status:
    """Ask every part. Takes as long as the slowest answer, a few seconds at most."""
    supervisor = Supervisor(cloud.folder, cloud.state)
    programs, parts = supervisor.programs(), cloud.parts()
    with ThreadPoolExecutor(len(parts)) as pool:
        found = tuple(pool.map(lambda part: _part(part, programs.get(part.name), supervisor), parts))
    ready = [each.state == "ready" for each in found]
    identity = supervisor.identity()
    own = _memory([psutil.Process(identity.pid)]) if programs and identity else 0
    return Status(
        "up" if all(ready) else "partly up" if programs else "down",
        found,
        own + sum(each.memory_bytes for each in found),
        () if programs else tuple(process.pid for process in supervisor.remains()),
    )


def log_of(cloud: Cloud, name: str) -> Path:
    """Log of a part or of one of their children.

    Raises:
        KeyError: there is no such part; the message names those that there are.
    """
    supervisor = Supervisor(cloud.folder, cloud.state)
    parts = [part.name for part in cloud.parts()]
    if name in parts:
        return supervisor.log(name)
    children = [child for part in status(cloud).parts for child in part.children]
    for child in children:
        if child.name == name:
            return Path(child.log)
    names = ", ".join([*parts, *(child.name for child in children)])
    raise KeyError(f"no part {name!r}; expected one of {names}")


def _part(part: Part, program: Program | None, supervisor: Supervisor) -> PartStatus:
    log = supervisor.log(part.name)
    if program is None or not program.pid:
        state = _STATES.get(program.state, "stopped") if program else "stopped"
        return PartStatus(part.name, state, 0, part.address, 0, str(log))
    state = _STATES.get(program.state) or ("ready" if part.healthy() else "starting")
    tree = _tree(program.pid)
    children = tuple(child for process in tree[1:] if (child := _child(process)))
    return PartStatus(part.name, state, program.pid, part.address, _memory(tree), str(log), children)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _child(process: psutil.Process) -> Child | None:
    """The process, if it writes a log of its own: that is what makes it more than a helper of its parent."""
    with contextlib.suppress(psutil.Error, OSError):
        log = Path(os.readlink(f"/proc/{process.pid}/fd/1"))
        parent = Path(os.readlink(f"/proc/{process.ppid()}/fd/1"))
        if log.suffix == ".log" and log != parent:
            return Child(log.stem, process.pid, _memory(_tree(process.pid)), str(log))
    return None


def _memory(processes: Sequence[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += _share(process)
    return total


def _share(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):  # not ours to look into, or not Linux
        return int(process.memory_info().rss)
