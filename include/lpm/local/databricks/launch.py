"""The process of a run: makes the Spark session, then calls the wheel's entry point as Databricks does.

Started as ``python -m lpm.local.databricks.launch <launch.json>``. A cluster has its session before any task runs; so
has this process, and the wheel's ``SparkSession.builder.getOrCreate()`` returns it.
"""

import ctypes
import importlib
import importlib.metadata
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import lpm

STARTED_FILE = "started"  # made when the task's code begins
ERROR_FILE = "error.txt"  # first line: the error; then its trace
_PR_SET_PDEATHSIG = 1


class Launch(BaseModel):
    """What a run's process is told."""

    model_config = ConfigDict(frozen=True)
    parent: int  # process id of the stand-in
    folder: Path
    libraries: list[Path]
    package_name: str
    entry_point: str
    arguments: list[str]
    warehouse: Path
    app: str
    memory: str
    spark_conf: dict[str, str]


def main() -> None:
    """Run the task of the launch file named by the first argument."""
    launch = Launch.model_validate_json(Path(sys.argv[1]).read_bytes())
    die_with(launch.parent)
    try:
        _run(launch)
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (0, None):
            return
        (launch.folder / ERROR_FILE).write_text(f"{_one_line(error)}\n{traceback.format_exc()}", "utf-8")
        raise


def die_with(parent: int) -> None:
    """Have this process killed when the thread that forked it ends, and with it its JVM, whose input then closes.

    Only Linux can do that. Elsewhere a stand-in that is killed leaves its run behind; the next one ends it.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        sys.exit("the stand-in is gone")


def entry_point(package: str, name: str) -> Callable[[], object]:
    """What a wheel task calls: the entry point that the package declares, else its function of that name.

    Raises:
        ImportError, AttributeError: there is neither.
    """
    try:
        declared = importlib.metadata.distribution(package).entry_points
    except importlib.metadata.PackageNotFoundError:
        declared = importlib.metadata.EntryPoints()
    for candidate in declared.select(name=name):
        function: Callable[[], object] = candidate.load()
        return function
    fallback: Callable[[], object] = getattr(importlib.import_module(package), name)
    return fallback


def _run(launch: Launch) -> None:
    from lpm.local.spark import QUICK_COMPILER, session

    spark = session(launch.warehouse, launch.app, launch.memory, launch.spark_conf, [QUICK_COMPILER])
    # The wheel must bring its own code: this checkout, where the same package lies beside lpm, leaves the path.
    checkout = str(Path(lpm.__file__).parents[1])
    sys.path[:] = [*map(str, launch.libraries), *(path for path in sys.path if path != checkout)]
    importlib.invalidate_caches()
    sys.argv = ["python", *launch.arguments]
    (launch.folder / STARTED_FILE).touch()
    entry_point(launch.package_name, launch.entry_point)()
    spark.stop()


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


if __name__ == "__main__":
    main()
