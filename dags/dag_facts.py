"""Writes what the DAG files say of themselves to standard output, as JSON: ``lpm.site.dag_facts.read_procedures``."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TriggerRule
from procedure_dags import PROCEDURES, Procedure, enabled_environments
from pydantic import TypeAdapter

from lpm.config import load_config
from lpm.site.dag_facts import ParameterFacts, ProcedureFacts, TaskFacts

FOLDER = Path(__file__).parent


def main() -> None:
    """Load every DAG file; each of their procedures is described once."""
    environments = enabled_environments(load_config())
    found: dict[str, ProcedureFacts] = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in (Path(__file__).stem, "procedure_dags"):
            module = importlib.import_module(path.stem)
            procedure = PROCEDURES[path.stem]
            found[procedure.name] = _facts(procedure, vars(module), environments)
    sys.stdout.write(TypeAdapter(dict[str, ProcedureFacts]).dump_json(found).decode())


def _facts(procedure: Procedure, module: dict[str, Any], environments: list[str]) -> ProcedureFacts:
    ids = {name: f"{procedure.name}__{name}" for name in environments}
    dag: DAG = module[ids[environments[0]]]
    return ProcedureFacts(
        name=procedure.name,
        title=procedure.title,
        **{name: _line(getattr(procedure, name)) for name in ("purpose", "touches", "takes", "undo")},
        schedule=procedure.schedule,
        timeout_seconds=int(procedure.timeout.total_seconds()),
        parameters=tuple(_parameters(procedure)),
        tasks=tuple(_task(task) for task in dag.topological_sort()),
        dag_ids=ids,
    )


def _parameters(procedure: Procedure) -> Iterator[ParameterFacts]:
    for name, param in procedure.all_params.items():
        yield ParameterFacts(
            name=name,
            default=param.dump()["value"],
            description=_line(param.description or ""),
            schema_of_value=param.schema,
        )


def _task(task: Any) -> TaskFacts:
    mapped = getattr(task, "partial_kwargs", None)
    rule = mapped.get("trigger_rule") if mapped is not None else task.trigger_rule
    over = next(iter(task.op_kwargs_expand_input.value), "") if mapped is not None else ""
    return TaskFacts(
        name=task.task_id,
        doc=_line(task.doc_md or ""),
        after=tuple(sorted(task.upstream_task_ids)),
        mapped_over=over,
        retries=(mapped.get("retries", 0) if mapped is not None else task.retries) or 0,
        always_runs=rule in (TriggerRule.ALL_DONE, "all_done"),
    )


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
