"""kill -9 of what runs in a local cloud."""

import contextlib

import psutil

from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.status import status


def child(cloud: Cloud, begins: str) -> int:
    """Process id of a run or a router whose name begins so, 0 while there is none."""
    children = [each for part in status(cloud).parts for each in part.children if each.name.startswith(begins)]
    return children[0].pid if children else 0


def kill_tree(pid: int) -> None:
    """Kill a process and what it started, as a machine that loses power does."""
    process = psutil.Process(pid)
    for each in [*process.children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
            each.kill()
