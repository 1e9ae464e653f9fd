"""Payload text to typed Python values: what a target column must hold for a given payload."""

import base64
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from lpm.config import ColumnType, TableContract

WIDE = Context(prec=76, rounding=ROUND_HALF_UP)  # the default context refuses more than 28 digits

Value = str | int | Decimal | float | bool | date | datetime | bytes | None


def typed_row(table: TableContract, payload: Mapping[str, str | None]) -> dict[str, Value]:
    """The typed values of a payload that was parsed from JSON. An absent column is NULL.

    Raises:
        ValueError: a value is not of its column's type.
    """
    return {column.name: typed_value(column.type, payload.get(column.name)) for column in table.columns}


def typed_value(column_type: ColumnType, text: str | None) -> Value:  # noqa: PLR0911  # one return for each type
    """One value as the type the target stores. Timestamps are naive UTC, as ``datetime2`` returns them.

    Raises:
        ValueError: the text is not of that type.
    """
    if text is None:
        return None
    match column_type.kind:
        case "string":
            return text
        case "int" | "bigint":
            return int(text)
        case "decimal":
            assert column_type.scale is not None
            return Decimal(text).quantize(Decimal(1).scaleb(-column_type.scale), context=WIDE)
        case "double":
            return float(text)
        case "boolean":
            if text not in ("true", "false"):
                raise ValueError(f"{text!r} is no boolean; expected 'true' or 'false'")
            return text == "true"
        case "date":
            return date.fromisoformat(text)
        case "timestamp":
            return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
        case "binary":
            return base64.b64decode(text, validate=True)


def utc(text: str) -> datetime:
    """A moment as Databricks or a form writes it: without a zone it is UTC, as our sessions are.

    Raises:
        ValueError: it is no moment in ISO 8601.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def text_of(value: Value) -> str | None:
    """A value as evidence shows it: binary as base64, everything else as Python writes it; None stays None."""
    if value is None:
        return None
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def normalised(value: Any) -> Value:
    """A value that a database driver returned, in the form of :func:`typed_value`."""
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    accepted: Value = value
    return accepted
