"""Runs: one process each, with its own JVM, its own folder and its own log.

A run outlives nothing: its process dies with the stand-in (``launch.py``), and a run counts as ended only when the
last process of its group is gone, so that the next run never meets the JVM of the one before.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict

import lpm
from lpm.local.databricks.errors import ApiError
from lpm.local.databricks.jobs import Settings, cluster
from lpm.local.databricks.launch import ERROR_FILE, STARTED_FILE, Launch
from lpm.local.databricks.secret_scopes import SecretScopes
from lpm.local.databricks.volumes import Volumes
from lpm.local.files import write_atomically

LifeCycle = Literal["QUEUED", "PENDING", "RUNNING", "TERMINATING", "TERMINATED", "SKIPPED", "INTERNAL_ERROR"]
Result = Literal["SUCCESS", "FAILED", "CANCELED"]
LOG_BYTES = 5 * 1024 * 1024  # of a log that get-output returns
POLL_SECONDS = 0.1
TOKEN_VARIABLE = "LPM_DATABRICKS_TOKEN"  # noqa: S105  name of the variable, not its value


class Run(BaseModel):
    """One run of a job and how it went. Times in milliseconds since 1970; ``end_time`` 0 while it is active."""

    model_config = ConfigDict(frozen=True)
    run_id: int
    task_run_id: int
    job_id: int
    name: str
    trigger: Literal["CONTINUOUS", "ONE_TIME"]
    settings: Settings
    start_time: int
    end_time: int = 0
    life_cycle_state: LifeCycle = "PENDING"
    result_state: Result | None = None
    code: str = ""  # termination_details.code
    message: str = ""
    process_id: int = 0
    process_started: float = 0.0  # tells the process from a later one with the same id

    @property
    def is_active(self) -> bool:
        """Whether it is queued, pending, running or terminating."""
        return self.life_cycle_state in ("QUEUED", "PENDING", "RUNNING", "TERMINATING")

    @property
    def takes_a_place(self) -> bool:
        """Whether it counts against the job's ``max_concurrent_runs``."""
        return self.is_active and self.life_cycle_state != "QUEUED"


class StartError(Exception):
    """A run that fails before its process starts. ``code`` is its termination code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class RunFolders:
    """Where runs keep their files, and what they share."""

    folder: Path  # the stand-in's
    volumes: Volumes
    scopes: SecretScopes
    job_memory: str

    @property
    def warehouse(self) -> Path:
        """The tables."""
        return self.folder / "warehouse"

    def of(self, run: Run) -> Path:
        """A run's own folder."""
        return self.folder / "runs" / str(run.run_id)

    def log(self, run: Run) -> Path:
        """What a run printed."""
        return self.folder / "logs" / f"job-{run.job_id}" / f"run-{run.run_id}.log"

    def forget(self, run: Run) -> None:
        """Remove a run's files and its log."""
        shutil.rmtree(self.of(run), ignore_errors=True)
        self.log(run).unlink(missing_ok=True)

    def save(self, run: Run) -> None:
        """Write the run's state."""
        write_atomically(self.of(run) / "run.json", run.model_dump_json(indent=1).encode(), mode=0o600)

    def stored(self) -> list[Run]:
        """Every run that was written, oldest first."""
        files = self.folder.glob("runs/*/run.json")
        return sorted((Run.model_validate_json(file.read_bytes()) for file in files), key=lambda run: run.start_time)

    def has_started(self, run: Run) -> bool:
        """Whether Spark is up and the task's code is running."""
        return (self.of(run) / STARTED_FILE).exists()

    def error(self, run: Run) -> dict[str, str]:
        """``error`` and ``error_trace`` of a failed run, as its process left them."""
        return _read_error(self.of(run) / ERROR_FILE)

    def logs(self, run: Run) -> tuple[str, bool]:
        """The end of the log, and whether it is only the end."""
        if not self.log(run).exists():
            return "", False
        content = self.log(run).read_bytes()
        return content[-LOG_BYTES:].decode(errors="replace"), len(content) > LOG_BYTES


class RunProcess:
    """The processes of one run, from start to the last one's end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.id = process.pid
        with contextlib.suppress(psutil.NoSuchProcess):
            self.started = psutil.Process(process.pid).create_time()

    started: float = 0.0

    @classmethod
    async def start(cls, run: Run, folders: RunFolders) -> "RunProcess":
        """Start the process of a run.

        It is forked by the event loop's own thread, which lives as long as the stand-in: the signal that ends a child
        with its parent is sent when the *thread* ends that forked it.

        Raises:
            StartError: a library, a settings file or a secret is missing.
        """
        launch = _prepare(run, folders)
        environment = _environment(run.settings, folders.scopes)
        file = folders.of(run) / "launch.json"
        write_atomically(file, launch.model_dump_json(indent=1).encode(), mode=0o600)
        folders.log(run).parent.mkdir(parents=True, exist_ok=True)
        with folders.log(run).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lpm.local.databricks.launch",
                str(file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                cwd=folders.of(run),
                start_new_session=True,  # its group is what a cancel ends
            )
        return cls(process)

    async def wait(self, grace_seconds: float) -> int:
        """Wait for the process, then for its group; the exit code of the process."""
        code = await self._process.wait()
        await end_group(self.id, grace_seconds)
        return code

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM to the whole group, SIGKILL to those still there after the grace."""
        await end_group(self.id, grace_seconds)


async def end_group(group: int, grace_seconds: float) -> None:
    """End every process of a group: asked first, killed after the grace."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        if not _members(group):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        deadline = asyncio.get_running_loop().time() + seconds
        while _members(group) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)


async def end_left_over(run: Run, grace_seconds: float) -> None:
    """End what a killed stand-in may have left of a run."""
    try:
        process = psutil.Process(run.process_id)
        if run.process_id and process.create_time() == run.process_started:
            await end_group(run.process_id, grace_seconds)
    except psutil.NoSuchProcess:
        return


def _members(group: int) -> list[int]:
    """Ids of the living processes of a group. Zombies are dead, even where nobody collects them."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


def _prepare(run: Run, folders: RunFolders) -> Launch:
    folder = folders.of(run)
    task = run.settings["tasks"][0]
    wheel_task = task["python_wheel_task"]
    copies = folder / "volumes"
    named = wheel_task.get("named_parameters") or {}
    try:
        arguments = [folders.volumes.mounted(value, copies) for value in wheel_task.get("parameters") or []]
        arguments += [f"--{name}={folders.volumes.mounted(value, copies)}" for name, value in named.items()]
    except (ApiError, ValueError) as error:
        raise StartError("INVALID_RUN_CONFIGURATION", str(error)) from error
    try:
        conf = folders.scopes.resolved(cluster(run.settings).get("spark_conf") or {})
    except KeyError as error:
        raise StartError("CLUSTER_ERROR", str(error.args[0])) from error
    return Launch(
        parent=os.getpid(),
        folder=folder,
        libraries=[_unpacked(library, folders.volumes, folder) for library in task.get("libraries") or []],
        package_name=wheel_task["package_name"],
        entry_point=wheel_task["entry_point"],
        arguments=arguments,
        warehouse=folders.warehouse,
        app=run.name,
        memory=folders.job_memory,
        spark_conf=conf,
    )


def _unpacked(library: Mapping[str, Any], volumes: Volumes, folder: Path) -> Path:
    """Install a wheel for one run: unpacked into the run's folder, which is what pip does with a pure wheel."""
    if list(library) != ["whl"]:
        raise StartError(
            "LIBRARY_INSTALLATION_ERROR", f"{dict(library)}: the local stand-in installs only whl from a volume"
        )
    path = library["whl"]
    try:
        wheel = volumes.local(path)
        target = folder / "libraries" / wheel.stem
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    except (ApiError, OSError, zipfile.BadZipFile) as error:
        raise StartError("LIBRARY_INSTALLATION_ERROR", f"Library installation failed for {path}: {error}") from error
    return target


def _environment(settings: Settings, scopes: SecretScopes) -> dict[str, str]:
    """The stand-in's environment without its token, and the cluster's variables."""
    try:
        variables = scopes.resolved(cluster(settings).get("spark_env_vars") or {})
    except KeyError as error:
        raise StartError("CLUSTER_ERROR", str(error.args[0])) from error
    inherited = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    return {**inherited, "PYTHONPATH": str(Path(lpm.__file__).parents[1]), "PYTHONUNBUFFERED": "1", **variables}


def _read_error(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    error, _, trace = file.read_text("utf-8").partition("\n")
    return {"error": error, "error_trace": trace}
