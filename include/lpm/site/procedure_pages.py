"""What the pages of procedures are told by their DAG files: parameters, steps, and the places that diagrams lead to."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from lpm.site import diagrams
from lpm.site.dag_facts import ParameterFacts, ProcedureFacts
from lpm.site.page import anchor, code, table, text
from lpm.site.triggers import choices, is_optional, kind

CHOICES_SHOWN = 12
WORDS_OF_KIND = {"string": "text", "integer": "whole number", "number": "number", "array": "list"}
FAILURES = "## When a task fails"
ROW_OF_TASK = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def parameters(procedure: ProcedureFacts) -> str:
    """The parameters as Airflow's form has them, and where that form is."""
    rows: list[list[object]] = [
        [code(each.name), text(each.description), default(each), text(allowed(each))] for each in procedure.parameters
    ]
    forms = ", ".join(anchor(f"/dags/{dag_id}", dag_id) for dag_id in procedure.dag_ids.values())
    return f"{table(['Parameter', 'Meaning', 'Default', 'Allowed'], rows)}Trigger it in Airflow: {forms}.\n"


def default(parameter: ParameterFacts) -> str:
    """The default of a parameter, as a cell of a table."""
    return "empty" if parameter.default is None else code(json.dumps(parameter.default, ensure_ascii=False))


def allowed(parameter: ParameterFacts) -> str:
    """What a parameter takes, in words."""
    schema = parameter.schema_of_value
    if kind(parameter) == "boolean":
        return "true or false"
    words = _of_choices(choices(parameter)) or _of_kind(schema, kind(parameter))
    if kind(parameter) == "array":
        words = f"a list of {words.removeprefix('one of ')}" if words != "list" else "a list of texts"
    return f"{words}, or empty" if is_optional(parameter) else words


def _of_choices(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:CHOICES_SHOWN]))
    return (
        f"one of {shown}" + (f" and {len(values) - CHOICES_SHOWN} more" if len(values) > CHOICES_SHOWN else "")
        if values
        else ""
    )


def _of_kind(schema: Mapping[str, Any], name: str) -> str:
    if schema.get("format") == "date-time":
        return "a date and time with its zone"
    pattern = schema.get("pattern") or schema.get("items", {}).get("pattern")
    if pattern:
        return f"text like {pattern}"
    least, most = schema.get("minimum"), schema.get("maximum")
    words = WORDS_OF_KIND.get(name, name)
    if least is not None and most is not None:
        return f"{words} from {least} to {most}"
    return f"{words} from {least} up" if least is not None else words


def steps(procedure: ProcedureFacts) -> str:
    """The diagram of the steps; each leads to its row of the table below."""
    return diagrams.steps(procedure)


def with_places(page: str) -> str:
    """The page with a place at each row of the table of failures: ``operations/<procedure>.html#task-<task>``."""
    before, heading, rest = page.partition(f"{FAILURES}\n")
    rows, rule, after = rest.partition("\n## ")
    return before + heading + ROW_OF_TASK.sub(r'| <span id="task-\1"></span>`\1` |', rows) + rule + after


WORDS: Mapping[str, Callable[[ProcedureFacts], str]] = {"parameters": parameters, "steps": steps}
