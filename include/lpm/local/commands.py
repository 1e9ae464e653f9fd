"""The commands ``lpm local …`` as people see them."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lpm.local import jars, toolchain
from lpm.local.cloud import control
from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.status import Status, log_of, status


def run(options: argparse.Namespace) -> int:
    """Run one command; the result is the exit code.

    Raises:
        ConfigError, JarError, CloudError, OSError: with a message that says what to do.
    """
    commands = {
        "prepare": _prepare,
        "lock-jars": _lock_jars,
        "up": _up,
        "status": _status,
        "logs": _logs,
        "down": _down,
        "reset": _reset,
    }
    return commands[options.action](options)


def say(text: str) -> None:
    """Print at once, also into a pipe, and whole lines when several threads talk."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _prepare(_: argparse.Namespace) -> int:
    toolchain.prepare(say)
    return 0


def _lock_jars(_: argparse.Namespace) -> int:
    say(f"wrote {jars.write_lock(say)}")
    return 0


def _up(_: argparse.Namespace) -> int:
    cloud = control.up(say)
    airflow = cloud.endpoints.airflow
    logins = ", ".join(f"{login.user}/{login.password}" for login in airflow.logins)
    say(f"Airflow: {airflow.url} (logins {logins}); every address is in {cloud.folder / 'endpoints.json'}")
    return 0


def _down(_: argparse.Namespace) -> int:
    control.down(say)
    return 0


def _reset(_: argparse.Namespace) -> int:
    control.reset(say)
    return 0


def _status(options: argparse.Namespace) -> int:
    cloud = control.open_cloud()
    if cloud is None:
        print(json.dumps({"state": "down", "parts": []}) if options.json else "the local cloud was never started")
        return 1
    found = status(cloud)
    print(json.dumps(found.to_dict(), indent=2) if options.json else "\n".join(_table(cloud, found)))
    return 0 if found.state == "up" else 1


def _table(cloud: Cloud, found: Status) -> Iterator[str]:
    yield f"{'PART':<26} {'STATE':<9} {'ADDRESS':<23} {'MEMORY':>8}  LOG"
    for part in found.parts:
        yield f"{part.name:<26} {part.state:<9} {part.address:<23} {_mebibytes(part.memory_bytes)}  {part.log}"
        for child in part.children:
            yield f"  {child.name:<24} {'ready':<9} {'':<23} {_mebibytes(child.memory_bytes)}  {child.log}"
    yield f"{'the local cloud':<26} {found.state:<9} {'':<23} {_mebibytes(found.memory_bytes)}  {cloud.folder}"
    if found.orphans:
        yield f"{len(found.orphans)} processes run without their supervisor; `lpm local up` or `down` ends them"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:4.0f} MiB" if count else f"{'-':>8}"


def _logs(options: argparse.Namespace) -> int:
    cloud = control.open_cloud()
    if cloud is None:
        print("the local cloud was never started", file=sys.stderr)
        return 1
    try:
        log = log_of(cloud, options.part)
    except KeyError as error:
        print(f"lpm local logs: {error.args[0]}", file=sys.stderr)
        return 1
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in lines[-options.lines :]:
        print(line)
    if options.follow:
        _follow(log)
    return 0


def _follow(log: Path) -> None:
    """Print what is added, until interrupted. Begins anew when the log is rotated."""
    position = log.stat().st_size if log.exists() else 0
    while True:
        size = log.stat().st_size if log.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with log.open("rb") as file:
                file.seek(position)
                added = file.read()
            position += len(added)
            sys.stdout.write(added.decode(errors="replace"))
            sys.stdout.flush()
        time.sleep(0.2)
