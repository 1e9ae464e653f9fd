"""supervisord (PyPI) keeps the parts running: its configuration, its start and its answers."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ServerProxy

import psutil
from pydantic import BaseModel, ConfigDict

from lpm.local import paths, processes
from lpm.local.cloud import remains
from lpm.local.cloud.state import CloudState
from lpm.local.files import write_atomically

_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None)
STOP_SECONDS = 25

# Paths are relative to the cloud folder, where supervisord is started: it expands % in them, some twice, some once.
_CONFIGURATION = """\
[supervisord]
nodaemon = true
logfile = logs/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = supervisord.pid
childlogdir = logs
silent = true

[inet_http_server]
port = {address}
username = lpm
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command = "{python}" -m lpm.local.cloud.launch parts/{name}.json
autostart = false
autorestart = true
startsecs = 1
startretries = 100
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = logs/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 1
"""


class Identity(BaseModel):
    """The supervisor that was started last."""

    model_config = ConfigDict(frozen=True)
    pid: int
    started: float  # seconds since 1970


@dataclass(frozen=True)
class Program:
    """What supervisord says about a part."""

    name: str
    state: str  # STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL, UNKNOWN
    pid: int
    message: str


class Supervisor:
    """The supervisor of one cloud folder."""

    def __init__(self, folder: Path, state: CloudState) -> None:
        self.folder = folder
        self._state = state
        address = f"{processes.LOOPBACK}:{state.ports['supervisor']}"
        self.url = f"http://lpm:{state.supervisor_password}@{address}/RPC2"
        self._address = address

    def log(self, part: str) -> Path:
        """Log of a part."""
        return self.folder / "logs" / f"{part}.log"

    def runs(self) -> bool:
        """Whether the supervisor of this folder answers."""
        with contextlib.suppress(OSError, Error):
            return bool(self._call("getIdentification"))
        return False

    def start(self, parts: Mapping[str, str]) -> None:
        """Start supervisord with the parts (signal that stops each, by name), none of them running yet.

        Raises:
            RuntimeError: it did not come up; the message has the end of its log.
        """
        for name in ("logs", "parts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "supervisord.conf"
        write_atomically(configuration, self._configuration(parts).encode(), mode=0o600)
        output = self.folder / "logs" / "supervisord.out"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", configuration.name],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=_environment(self._state),
                start_new_session=True,  # all parts share it: that is how a killed supervisor's parts are found
                preexec_fn=_adopt_orphans,  # noqa: PLW1509  one system call, no lock taken
            )
        identity = Identity(pid=process.pid, started=psutil.Process(process.pid).create_time())
        write_atomically(self.folder / "supervisor.json", identity.model_dump_json().encode())
        processes.wait_until(self.runs, "supervisord", 30, process, output)

    def start_part(self, name: str, command: Sequence[str], environment: Mapping[str, str], user: str | None) -> None:
        """Write how a part is started, and start it."""
        part = {
            "command": list(command),
            "environment": {**environment, remains.MARK: self._state.identity},
            "folder": "/" if user else str(self.folder),
            "user": user,
            "supervisor": self.url,
        }
        write_atomically(self.folder / "parts" / f"{name}.json", json.dumps(part, indent=1).encode(), mode=0o600)
        with contextlib.suppress(Fault):  # it runs by now
            self._call("startProcess", name, False)

    def stop_part(self, name: str) -> None:
        """Ask a part to stop, without waiting for it."""
        with contextlib.suppress(Fault):  # it does not run
            self._call("stopProcess", name, False)

    def programs(self) -> dict[str, Program]:
        """What supervisord says about each part; nothing when it does not run."""
        try:
            answer = self._call("getAllProcessInfo")
        except (OSError, Error):
            return {}
        return {
            each["name"]: Program(each["name"], each["statename"], each["pid"], each["spawnerr"] or each["description"])
            for each in answer
        }

    def shut_down(self, seconds: float = 60) -> None:
        """End supervisord, and with it what still runs."""
        identity = self.identity()
        with contextlib.suppress(OSError, Error):
            self._call("shutdown")
        limit = time.monotonic() + seconds
        while identity and _is_alive(identity) and time.monotonic() < limit:
            time.sleep(0.05)

    def identity(self) -> Identity | None:
        """The supervisor that was started last, running or not."""
        path = self.folder / "supervisor.json"
        return Identity.model_validate_json(path.read_text()) if path.exists() else None

    def remains(self) -> list[psutil.Process]:
        """Processes of this cloud that run without their supervisor. Asked only when it does not run."""
        identity = self.identity()
        pid, started = (identity.pid, identity.started) if identity else (None, 0.0)
        return remains.find(self._state.identity, pid, started)

    def _configuration(self, parts: Mapping[str, str]) -> str:
        text = _CONFIGURATION.format(address=self._address, password=self._state.supervisor_password)
        return text + "".join(
            _PROGRAM.format(
                name=name,
                python=sys.executable.replace("%", "%%"),
                stop_signal=stop_signal,
                stop_seconds=STOP_SECONDS,
            )
            for name, stop_signal in parts.items()
        )

    def _call(self, method: str, *arguments: object) -> Any:
        # A proxy of its own for each call: they come from several threads.
        with ServerProxy(self.url, allow_none=True) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


def _environment(state: CloudState) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(paths.checkout() / "include"), remains.MARK: state.identity}


def _adopt_orphans() -> None:
    """For ``preexec_fn``: orphans among this child's descendants become its children (see ``launch``)."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _is_alive(identity: Identity) -> bool:
    try:
        process = psutil.Process(identity.pid)
        alive: bool = process.status() != psutil.STATUS_ZOMBIE
        return alive and abs(process.create_time() - identity.started) < 1
    except psutil.NoSuchProcess:
        return False


def stop_signal(how: signal.Signals) -> str:
    """A signal as supervisord names it."""
    return how.name.removeprefix("SIG")
