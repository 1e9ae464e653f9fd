"""What DAG files say of themselves: written by ``dags/dag_facts.py``, which may import Airflow, read by the site."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lpm.config import config_folder
from lpm.procedures.record import Record

CHECKOUT = Path(__file__).resolve().parents[3]
DAGS, INCLUDE = CHECKOUT / "dags", str(CHECKOUT / "include")


class TaskFacts(Record):
    """One task. ``mapped_over`` is what it is repeated for: company or shard; empty when it runs once."""

    name: str
    doc: str
    after: tuple[str, ...]  # tasks that end before it
    mapped_over: str
    retries: int
    always_runs: bool  # also when a task before it failed


class ParameterFacts(Record):
    """One parameter. ``schema_of_value`` is JSON Schema."""

    name: str
    default: Any
    description: str
    schema_of_value: Mapping[str, Any]


class ProcedureFacts(Record):
    """One procedure: the same in each environment but for the names. ``dag_ids`` is by environment."""

    name: str
    title: str
    purpose: str
    touches: str
    takes: str
    undo: str
    schedule: str | None  # cron, UTC
    timeout_seconds: int
    parameters: tuple[ParameterFacts, ...]
    tasks: tuple[TaskFacts, ...]  # in the order in which they run
    dag_ids: Mapping[str, str]

    def parameter(self, name: str) -> ParameterFacts:
        """The parameter of that name.

        Raises:
            KeyError: there is none; the message names those that exist.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        if name not in known:
            raise KeyError(f"{self.name} has no parameter {name!r}; expected one of {', '.join(known)}")
        return known[name]


_ALL = TypeAdapter(dict[str, ProcedureFacts])


def read_procedures(environments: tuple[str, ...], cache: Path) -> dict[str, ProcedureFacts]:
    """The procedures by name, for these environments.

    Importing Airflow takes seconds, so the answer is kept in ``cache`` under a hash of all it depends on.

    Raises:
        RuntimeError: the DAG files cannot be loaded; the message has the reason.
    """
    kept = cache / f"procedures-{_digest(environments)}.json"
    if not kept.exists():
        done = subprocess.run(
            [sys.executable, str(DAGS / "dag_facts.py")],
            env={**_outside_of_a_task(), "LPM_ENVIRONMENTS": ",".join(environments), "PYTHONPATH": INCLUDE},
            stdin=subprocess.DEVNULL,  # that of a task is its line to Airflow
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the DAG files cannot be loaded:\n{done.stderr[-3000:]}")
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout[done.stdout.index("{") :], encoding="utf-8")
    return _ALL.validate_json(kept.read_text(encoding="utf-8"))


def _outside_of_a_task() -> dict[str, str]:
    """The environment of this process without what Airflow tells a task: to load its own DAG only, and no database.

    Loading the DAG files needs none; the address that a task is given is one that Airflow itself cannot read.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("_AIRFLOW_")}
    return {**kept, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite://"}


def _digest(environments: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr(environments).encode())
    package = Path(__file__).resolve().parents[1]
    for folder, pattern in ((DAGS, "*.py"), (package, "**/*.py"), (config_folder(), "**/*.yml")):
        for path in sorted(folder.glob(pattern)):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
