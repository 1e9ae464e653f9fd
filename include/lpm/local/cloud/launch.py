"""Becomes one part of the local cloud: ``python -m lpm.local.cloud.launch <part>.json``, started by supervisord.

First it ends what a killed predecessor left behind: the kernel hands such orphans to supervisord (a "subreaper"), so
they are the children of supervisord that supervisord did not start itself. Then it takes the account and the
environment of the part and turns into it.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy


def main() -> None:
    """Turn into the part that the file named by the first argument describes."""
    part: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    _end_orphans(part["supervisor"])
    os.chdir(part["folder"])
    if user := part["user"]:
        _become(user)
    os.execve(part["command"][0], part["command"], part["environment"])  # noqa: S606  no shell wanted


def _end_orphans(supervisor_url: str) -> None:
    import psutil

    children = psutil.Process(os.getppid()).children()
    with contextlib.suppress(OSError, Error):  # then nobody knows which are orphans: leave them
        # Asked after listing: whatever is listed and was started by supervisord is known to it by now.
        answer: Any = ServerProxy(supervisor_url).supervisor.getAllProcessInfo()
        known = {program["pid"] for program in answer}
        for child in children:
            if child.pid not in known and child.pid != os.getpid():
                _end(child)


def _end(process: Any) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        print(
            f"ending {len(family)} processes that a killed predecessor left: {[each.pid for each in family]}",
            flush=True,
        )
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=5)


def _become(user: str) -> None:
    import pwd

    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


if __name__ == "__main__":
    main()
