"""What our DAGs cost each task process, beside a DAG file that holds nothing.

A task process parses its DAG file before it works, so an import too many at the top is paid by every task. Parsing is
measured in fresh processes, in CPU time beyond ``import airflow``; running in one process, with ``dag.test()``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.result import Result, result

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = "local,devtest,prod"
PARSES, RUNS = 5, 8
COMMAND = "python -m bench dags"

# The floor: the least that a DAG file with one task can be.
TRIVIAL = """
from airflow.sdk import DAG, task

with DAG("trivial", schedule=None):

    @task
    def nothing() -> dict[str, str]:
        return {"done": "nothing"}

    nothing()
"""

PARSE = """
import json, sys, time
import airflow
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk.definitions._internal import dag_parsing_context as context
start = time.process_time()
if len(sys.argv) > 3:
    with context._airflow_parsing_context_manager(dag_id=sys.argv[3], task_id="check_request"):
        bag = BundleDagBag(sys.argv[2], bundle_path=sys.argv[1], bundle_name="bench")
else:
    bag = BundleDagBag(sys.argv[2], bundle_path=sys.argv[1], bundle_name="bench")
seconds = time.process_time() - start
assert bag.dags and not bag.import_errors, bag.import_errors
print(json.dumps(seconds))
"""

RUN = """
import json, sys
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.utils.db import initdb
initdb()
bag = BundleDagBag(sys.argv[1], bundle_path=sys.argv[1], bundle_name="bench")
assert not bag.import_errors, bag.import_errors
times = {"trivial": [], "control__local": []}
for _ in range(int(sys.argv[2]) + 1):  # the first one starts Airflow's API in this process
    for dag_id, task_id in (("trivial", "nothing"), ("control__local", "check_request")):
        run = bag.dags[dag_id].test(mark_success_pattern="stream|router|result")
        assert run.state == "success", run.state
        times[dag_id].append(run.get_task_instance(task_id).duration)
print(json.dumps({dag_id: found[1:] for dag_id, found in times.items()}))
"""


def run() -> list[Result]:
    """CPU time of parsing everything, and one file as a task does; and the time of a task that does nothing."""
    with tempfile.TemporaryDirectory(prefix="lpm-bench-dags-") as name:
        folder = Path(name)
        dags = Path(shutil.copytree(ROOT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__")))
        trivial = dags / "trivial.py"
        trivial.write_text(TRIVIAL)

        def parse(target: Path, *dag_id: str) -> float:
            seconds: float = _python(folder, PARSE, str(dags), str(target), *dag_id) * 1000
            return seconds

        parse(dags)  # writes the byte code
        every, one, floor = [], [], []
        for _ in range(PARSES):  # side by side, so that a busy moment hits all three
            every.append(parse(ROOT / "dags"))
            one.append(parse(dags / "bootstrap.py", "bootstrap__prod"))
            floor.append(parse(trivial))
        times: dict[str, list[float]] = _python(folder, RUN, str(dags), str(RUNS))
        ours, least = ([value * 1000 for value in times[key]] for key in ("control__local", "trivial"))
    return [
        result("DAGs: parse all files of three environments", "ms CPU", every, floor, COMMAND),
        result("DAGs: parse one file, as each task does", "ms CPU", one, floor, COMMAND),
        result("DAGs: a task that does nothing", "ms", ours, least, COMMAND),
    ]


def _python(folder: Path, code: str, *arguments: str) -> Any:
    """What a fresh process that has Airflow to itself prints as its last line of JSON."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LPM_"))},
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "LPM_ENVIRONMENTS": ENVIRONMENTS,
        "PYTHONPATH": str(ROOT / "include"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"benchmark process failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
