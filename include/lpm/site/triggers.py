"""Procedures that a page offers with their parameters filled in: to paste into Airflow, and as a button."""

import json
from collections.abc import Mapping
from html import escape
from posixpath import dirname, relpath
from typing import Any

from jsonschema import Draft202012Validator

from lpm.config.errors import did_you_mean
from lpm.site.dag_facts import ParameterFacts, ProcedureFacts
from lpm.site.facts import Facts
from lpm.site.page import anchor

ASK = "FILL IN"  # as a parameter's value: only who triggers knows it


def dag(facts: Facts, page: str, name: str, **values: Any) -> str:
    """A procedure with these parameters: links to its DAGs, the text for Airflow's form, and a button.

    Args:
        facts: What pages may say.
        page: Path of the page that offers it.
        name: Of the procedure.
        values: Of its parameters; :data:`ASK` for what the operator fills in. Others keep their default.

    Raises:
        ValueError: no such procedure or parameter, or a value that the parameter does not take.
    """
    procedure = checked(facts, name, values)
    environments = [one for one in facts.environments if one in procedure.dag_ids]
    links = ", ".join(anchor(f"/dags/{procedure.dag_ids[one]}", procedure.dag_ids[one]) for one in environments)
    document = relpath(f"operations/{name}.md", dirname(page) or ".")
    asked = [field(procedure.parameter(key)) for key, value in values.items() if value == ASK]
    fixed = {key: value for key, value in values.items() if value != ASK}
    shown = {key: shown_value(procedure.parameter(key), value) for key, value in values.items()}
    parts = [f"Trigger [{name}]({document}) in Airflow: {links}"]
    if values:
        parts[0] += ", with this as its Configuration JSON:"
        parts.append(f'```json title="Configuration JSON"\n{json.dumps(shown, indent=2, ensure_ascii=False)}\n```')
    else:
        parts[0] += ". It needs no parameters."
    parts.append(
        f'<button type="button" class="lpm-trigger md-button" data-dag="{escape(name)}"'
        f' data-environments="{escape(" ".join(environments))}"'
        f' data-conf="{escape(json.dumps(fixed, ensure_ascii=False))}"'
        f' data-ask="{escape(json.dumps(asked, ensure_ascii=False))}">Trigger {escape(name)} …</button>'
    )
    return "\n\n".join(parts) + "\n"


def runs(facts: Facts, name: str) -> str:
    """Links to the runs of a procedure in Airflow, one for each environment.

    Raises:
        ValueError: no such procedure.
    """
    ids = checked(facts, name, {}).dag_ids
    return ", ".join(
        anchor(f"/dags/{ids[one]}/runs", f"runs of {ids[one]}") for one in facts.environments if one in ids
    )


def checked(facts: Facts, name: str, values: Mapping[str, Any]) -> ProcedureFacts:
    """The procedure of that name, if it takes these values.

    Raises:
        ValueError: it does not, or there is none.
    """
    if name not in facts.procedures:
        raise ValueError(f"unknown procedure {name!r}{_near(name, facts.procedures)}")
    procedure = facts.procedures[name]
    known = {parameter.name: parameter for parameter in procedure.parameters}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{name} has no parameter {key!r}{_near(key, known)}")
        if value == ASK:
            continue
        fault = next(Draft202012Validator(dict(known[key].schema_of_value)).iter_errors(value), None)
        if fault is not None:
            raise ValueError(f"{name}: parameter {key}: {fault.message}")
        unknown = [each for each in value if each not in choices(known[key])] if isinstance(value, list) else []
        if unknown and choices(known[key]):
            raise ValueError(f"{name}: parameter {key}: {unknown[0]!r} is not one of {choices(known[key])}")
    return procedure


def _near(name: str, known: Mapping[str, Any]) -> str:
    return did_you_mean(name, known) or f"; expected one of {', '.join(known)}"


def kind(parameter: ParameterFacts) -> str:
    """Type of a parameter's value, as JSON Schema names it."""
    found = parameter.schema_of_value.get("type", "string")
    return str(next((one for one in found if one != "null"), "string") if isinstance(found, list) else found)


def is_optional(parameter: ParameterFacts) -> bool:
    """Whether it may be left empty."""
    found = parameter.schema_of_value.get("type", "string")
    return isinstance(found, list) and "null" in found


def choices(parameter: ParameterFacts) -> list[Any]:
    """The values that one can choose from; none when it is free."""
    schema = parameter.schema_of_value
    return [value for value in schema.get("enum", schema.get("examples", [])) if value is not None]


def field(parameter: ParameterFacts) -> dict[str, Any]:
    """What the button asks for: ``docs/assets/trigger.js`` makes a field of it."""
    schema = parameter.schema_of_value
    pattern = schema.get("pattern") or schema.get("items", {}).get("pattern", "")
    return {
        "name": parameter.name,
        "label": parameter.description,
        "type": kind(parameter),
        "choices": choices(parameter),
        "pattern": pattern,
        "default": parameter.default,
    }


def shown_value(parameter: ParameterFacts, value: Any) -> Any:
    """What stands in the text to paste: what is to be filled in stands out, and Airflow refuses it where it can."""
    return [ASK] if value == ASK and kind(parameter) == "array" else value
