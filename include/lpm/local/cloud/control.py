"""Start, stop and delete the local cloud."""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from lpm.config import Config, load_config
from lpm.local import jars, paths, processes
from lpm.local.cloud import remains
from lpm.local.cloud.parts import Cloud, Part
from lpm.local.cloud.state import CloudState
from lpm.local.cloud.supervision import Supervisor, stop_signal

START_SECONDS = 420  # a part that is not healthy by then is reported; on two overloaded cores Airflow took 190
STOP_SECONDS = 40

Report = Callable[[str], None]


class CloudError(RuntimeError):
    """The local cloud could not be started or stopped. The message says which part and where to look."""


def open_cloud(folder: Path | None = None, config: Config | None = None) -> Cloud | None:
    """The cloud of a folder (default: this checkout's), running or not; None if it was never started."""
    folder = folder or paths.cloud_folder()
    state = CloudState.load(folder)
    return Cloud(folder, state, config or load_config()) if state else None


def up(report: Report = print, folder: Path | None = None) -> Cloud:
    """Start the local cloud and wait until every part is healthy. Does nothing when it already is.

    Raises:
        CloudError: a part did not become healthy; the others keep running.
        JarError: the toolchain could not be fetched.
        ConfigError: the configuration is not usable.
    """
    folder = folder or paths.cloud_folder()
    config = load_config()
    with _alone(folder, report):
        cloud = open_cloud(folder, config)
        if cloud is not None and is_up(cloud):
            report(f"the local cloud is up; Airflow is at {cloud.endpoints.airflow.url}")
            return cloud
        begun = time.monotonic()
        jars.prepare(report)
        if cloud is not None and _is_of_another_version(cloud):
            report("the running local cloud has other parts than this version: it is started anew")
            _stop(folder, report)
        if cloud is None or not Supervisor(folder, cloud.state).runs():
            cloud = _fresh(folder, config, report)
        _start_parts(cloud, report)
        report(f"the local cloud is up after {time.monotonic() - begun:.0f} s")
        return cloud


def is_up(cloud: Cloud) -> bool:
    """Whether supervisord runs every part and each of them listens. Quick: asks no part how it feels."""
    programs = Supervisor(cloud.folder, cloud.state).programs()
    return all(
        part.name in programs
        and programs[part.name].state == "RUNNING"
        and (not part.address or processes.accepts(int(part.address.rpartition(":")[2])))
        for part in cloud.parts()
    )


def _is_of_another_version(cloud: Cloud) -> bool:
    """Whether a supervisor runs that does not know every part. Its table of parts is made when it starts."""
    programs = Supervisor(cloud.folder, cloud.state).programs()
    return bool(programs) and any(part.name not in programs for part in cloud.parts())


def down(report: Report = print, folder: Path | None = None) -> None:
    """Stop everything; the state stays.

    Raises:
        ConfigError: the configuration is not usable.
    """
    folder = folder or paths.cloud_folder()
    with _alone(folder, report):
        _stop(folder, report)


def reset(report: Report = print, folder: Path | None = None) -> None:
    """Stop everything and delete the state."""
    folder = folder or paths.cloud_folder()
    with _alone(folder, report):
        _stop(folder, report)
        if cloud := open_cloud(folder):
            cloud.server.delete()
        shutil.rmtree(folder, ignore_errors=True)
        report(f"deleted {folder}")


def _fresh(folder: Path, config: Config, report: Report) -> Cloud:
    """A cloud whose supervisor has just started and whose parts have not."""
    state = CloudState.load(folder) or CloudState.new()
    _end_remains(Supervisor(folder, state), report)
    state = state.with_free_ports()
    folder.mkdir(parents=True, exist_ok=True)
    state.save(folder)
    cloud = Cloud(folder, state, config)
    cloud.endpoints.save(folder)
    Supervisor(folder, state).start({part.name: stop_signal(part.stop_signal) for part in cloud.parts()})
    return cloud


def _start_parts(cloud: Cloud, report: Report) -> None:
    parts = cloud.parts()
    supervisor = Supervisor(cloud.folder, cloud.state)
    started: dict[str, Future[None]] = {}
    given_up = threading.Event()
    with ThreadPoolExecutor(len(parts)) as pool:
        for part in parts:  # those that a part depends on stand above it in the table
            needed = [started[name] for name in part.depends_on]
            started[part.name] = pool.submit(_start_part, part, needed, supervisor, given_up, report)
        try:
            wait(started.values())
        except BaseException:  # Ctrl-C: the threads must not keep this process for minutes
            given_up.set()
            raise
    errors = [f"{name}: {future.exception()}" for name, future in started.items() if future.exception()]
    if errors:
        raise CloudError("the local cloud is not complete\n" + "\n".join(errors))


def _start_part(
    part: Part, needed: list[Future[None]], supervisor: Supervisor, given_up: threading.Event, report: Report
) -> None:
    for each in needed:
        each.result()
    begun = time.monotonic()
    if supervisor.programs()[part.name].state not in ("STARTING", "RUNNING"):
        supervisor.start_part(part.name, part.prepare(), part.environment, part.user)
    while not part.healthy():
        program = supervisor.programs().get(part.name)
        if program is None or program.state == "FATAL" or time.monotonic() - begun > START_SECONDS:
            log = supervisor.log(part.name)
            state = program.state if program else "without its supervisor"
            raise CloudError(
                f"not healthy after {time.monotonic() - begun:.0f} s, is {state}. End of {log}:\n{processes.tail(log)}"
            )
        if given_up.wait(0.1):
            return
    if part.then:
        part.then()
    report(f"  {part.name:<22} {part.address:<24} {time.monotonic() - begun:5.1f} s")


def _stop(folder: Path, report: Report) -> None:
    state = CloudState.load(folder)
    if state is None:
        report("the local cloud was never started")
        return
    supervisor = Supervisor(folder, state)
    if supervisor.runs():
        report("stopping the local cloud")
        _stop_parts(Cloud(folder, state, load_config()), supervisor)
        supervisor.shut_down()
    _end_remains(supervisor, report)
    report("the local cloud is down")


def _stop_parts(cloud: Cloud, supervisor: Supervisor) -> None:
    """Stop the parts that nobody depends on first, so that none loses what it needs while it finishes."""
    parts = cloud.parts()
    needed = {name for part in parts for name in part.depends_on}
    for wave in ([part for part in parts if part.name not in needed], [part for part in parts if part.name in needed]):
        for part in wave:
            supervisor.stop_part(part.name)
        limit = time.monotonic() + STOP_SECONDS
        while any(program.pid for name, program in supervisor.programs().items() if name in {p.name for p in wave}):
            if time.monotonic() > limit:
                break  # supervisord ends them the hard way
            time.sleep(0.05)


def _end_remains(supervisor: Supervisor, report: Report) -> None:
    if left := supervisor.remains():
        report(f"ending {len(left)} processes of this cloud that run without their supervisor")
        remains.end(left)


@contextmanager
def _alone(folder: Path, report: Report) -> Iterator[None]:
    """One command at a time. The kernel drops the lock when its holder ends, however that happens."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another `lpm local` command is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
