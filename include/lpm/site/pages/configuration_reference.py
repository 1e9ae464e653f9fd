"""Every key that a configuration file may have, from the models themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lpm.config.everything import ENVIRONMENT_FILE, FILES
from lpm.site.facts import Facts
from lpm.site.page import Page, code, table, text

Schema = Mapping[str, Any]
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "nothing"}
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "at most {} characters",
}


@dataclass(frozen=True)
class Key:
    """One key. ``name`` has the keys above it, dots between; ``[]`` is each of a list, ``<name>`` any name."""

    name: str
    value: str
    default: str  # empty: it has to be given
    meaning: str


def pages(_: Facts) -> Iterator[Page]:
    """One page."""
    parts = [
        "# Configuration reference\n\nEvery key of `include/config`, from the models that read it. Unknown keys are "
        "refused, with the nearest valid name. JSON Schemas for editors are in `include/config/schemas`. "
        "How to change what: "
        "[configuration](../configuration.md).\n"
    ]
    for name, model in FILES.items():
        rows: list[list[object]] = [
            [code(key.name), text(key.value), code(key.default) if key.default else "", text(key.meaning)]
            for key in keys(model.model_json_schema())
            if (name, key.name) != (ENVIRONMENT_FILE, "name")  # the name of the file itself
        ]
        parts += [f"## {name}\n", table(["Key", "Value", "Default", "Meaning"], rows)]
    yield Page("reference/configuration.md", "\n".join(parts))


def keys(schema: Schema, definitions: Schema | None = None, above: str = "") -> Iterator[Key]:
    """The keys of a model's JSON Schema and of those within it, in their order."""
    definitions = definitions or schema.get("$defs", {})
    for name, given in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        inner, suffix = _inner(given, definitions)
        here = f"{above}{name}{suffix}"
        default = "" if required else _default(given)
        value = "keys below" if inner else _value(given, definitions)
        meaning = given.get("description") or (inner or {}).get("description", "")
        yield Key(here, value, default, meaning)
        if inner:
            yield from keys(inner, definitions, f"{here}.")


def _inner(given: Schema, definitions: Schema) -> tuple[Schema | None, str]:
    """The object with keys of its own that a value is or holds, and how its keys are reached."""
    given = _followed(given, definitions)
    if "properties" in given:
        return given, ""
    for choice in given.get("anyOf", ()):
        if (found := _inner(choice, definitions))[0]:
            return found
    for holder, suffix in (("items", "[]"), ("additionalProperties", ".<name>")):
        held = given.get(holder)
        if isinstance(held, Mapping) and (inner := _inner(held, definitions)[0]):
            return inner, suffix
    return None, ""


def _followed(given: Schema, definitions: Schema) -> Schema:
    return definitions[given["$ref"].rpartition("/")[2]] if "$ref" in given else given


def _value(given: Schema, definitions: Schema) -> str:
    """What may stand there, in words."""
    given = _followed(given, definitions)
    if "enum" in given:
        return "one of " + ", ".join(map(str, given["enum"]))
    if "const" in given:
        return str(given["const"])
    if "anyOf" in given:
        return " or ".join(_value(choice, definitions) for choice in given["anyOf"] if choice.get("type") != "null")
    if given.get("type") == "array":
        return f"list: {_value(given.get('items', {}), definitions)}"
    if given.get("type") == "object":
        return f"names, each with: {_value(given.get('additionalProperties', {}), definitions)}"
    bounds = [words.format(given[name]) for name, words in BOUNDS.items() if name in given]
    kinds = [given["type"]] if isinstance(given.get("type"), str) else given.get("type", [])
    return ", ".join([" or ".join(TYPES.get(kind, kind) for kind in kinds) or "value", *bounds])


def _default(given: Schema) -> str:
    default = given.get("default")
    return "none" if default in (None, "", [], {}, "PT0S") else str(default)
