"""Stand-ins as processes of their own."""

import os
import sys
from pathlib import Path

from lpm.local import processes

INCLUDE = Path(__file__).resolve().parents[2] / "include"


def serve(module: str, folder: Path, arguments: list[str], environment: dict[str, str]) -> tuple[str, object]:
    """A stand-in as its own process; its address and the process."""
    port, log = processes.free_port(), folder / "serve.log"
    folder.mkdir()
    process = processes.start(
        [sys.executable, "-m", module, "--port", str(port), "--folder", folder, *arguments],
        log,
        env={**os.environ, "PYTHONPATH": str(INCLUDE), **environment},
    )
    processes.wait_until(lambda: processes.accepts(port), module, 90, process, log)
    return f"http://{processes.LOOPBACK}:{port}", process
