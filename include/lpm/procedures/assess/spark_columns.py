"""Columns as Databricks describes them, and the contract's types for them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lpm.config import ColumnType

LONGEST_TEXT = 4000  # of string(n)
_SAME = ("boolean", "date", "binary", "double", "bigint", "int", "timestamp", "string")
_WIDER = {"tinyint": "int", "smallint": "int", "integer": "int", "float": "double", "timestamp_ntz": "timestamp"}


@dataclass(frozen=True)
class SourceColumn:
    """A column as the table has it. ``kind`` is Spark's text: ``varchar(64)``, ``array<int>``."""

    name: str
    kind: str
    nullable: bool = True
    comment: str = ""


def columns_of(metadata: Mapping[str, Any]) -> list[SourceColumn]:
    """The columns in the document that ``DESCRIBE TABLE EXTENDED … AS JSON`` gives."""
    return [
        SourceColumn(
            name=column["name"],
            kind=_kind(column["type"]),
            nullable=column.get("nullable", True),
            comment=column.get("comment") or "",
        )
        for column in metadata["columns"]
    ]


def mapped(kind: str) -> ColumnType | None:
    """The contract's type for a Spark type; it holds every value of it. None when there is no such type."""
    if text := re.fullmatch(r"(?:var)?char\((\d+)\)", kind):
        return ColumnType("string", length=int(text[1]) if int(text[1]) <= LONGEST_TEXT else None)
    if kind.startswith("string collate"):
        return ColumnType("string")
    if kind.startswith("decimal("):
        return ColumnType.parse(kind)
    known = _WIDER.get(kind, kind)
    return ColumnType.parse(known) if known in _SAME else None


def _kind(found: Mapping[str, Any]) -> str:  # noqa: PLR0911  # one return for each type
    """Spark's text of a type from its JSON."""
    match found["name"]:
        case "decimal":
            return f"decimal({found['precision']},{found['scale']})"
        case "char" | "varchar" as name:
            return f"{name}({found['length']})"
        case "timestamp_ltz":
            return "timestamp"
        case "string" if found.get("collation", "UTF8_BINARY") != "UTF8_BINARY":
            return f"string collate {found['collation']}"
        case "array":
            return f"array<{_kind(found['element_type'])}>"
        case "map":
            return f"map<{_kind(found['key_type'])},{_kind(found['value_type'])}>"
        case "struct":
            fields = (f"{field['name']}:{_kind(field['type'])}" for field in found["fields"])
            return f"struct<{','.join(fields)}>"
        case name:
            return str(name)
