"""The T-SQL guards decide as the PostgreSQL ones do, on the same values.

No SQL Server runs here, so the guards' text is read by sqlglot and computed by the documented meaning of the few
functions it uses. What ``TRY_CONVERT`` and XML do with a text that passed its guard is taken from their documentation.
"""

import base64
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from lpm.config import ColumnType, load_config
from lpm.contract.values import typed_value
from lpm.render.targets import mssql
from target_events import ACCEPTED, REFUSED, key_hash

COLUMNS = {column.name: column.type for column in load_config().table.columns}
TYPED_ACCEPTED = [(column, text) for column, text in ACCEPTED if COLUMNS[column].kind != "string"]


def compute(node: exp.Expression, x: str | None) -> Any:  # one branch for each kind of node
    """The value of a T-SQL expression over the one text ``x``. NULL is None, with SQL's three-valued logic."""
    match node:
        case exp.Column():
            return b"" if node.name == "0x" else x
        case exp.National() | exp.Literal(is_string=True):
            return node.name
        case exp.Literal():
            return int(node.name)
        case exp.Neg():
            return -compute(node.this, x)
        case exp.Paren() | exp.Collate() | exp.Cast(to=exp.DataType(this=exp.DataType.Type.TEXT)):
            return compute(node.this, x)
        case exp.Case():
            for branch in node.args["ifs"]:
                if compute(branch.this, x) is True:
                    return compute(branch.args["true"], x)
            return compute(node.args["default"], x) if node.args.get("default") else None
        case exp.And() | exp.Or():
            sides = (compute(node.this, x), compute(node.expression, x))
            decisive = isinstance(node, exp.Or)
            return decisive if decisive in sides else None if None in sides else not decisive
        case exp.Not():
            inner = compute(node.this, x)
            return None if inner is None else not inner
        case exp.Like():
            text, pattern = compute(node.this, x), compute(node.expression, x)
            return (
                None
                if text is None
                else (pattern_of(pattern).fullmatch(text) is not None) != bool(node.args.get("negate"))
            )
        case exp.Convert():
            text = compute(node.expression, x)
            return None if text is None else convert(node.this, text)
        case exp.Dot():
            return None if x is None else base64.b64decode(x, validate=True)
        case exp.Between():
            return compute(
                exp.And(
                    this=exp.GTE(this=node.this, expression=node.args["low"]),
                    expression=exp.LTE(this=node.this, expression=node.args["high"]),
                ),
                x,
            )
    if function := FUNCTIONS.get(type(node).__name__ if not isinstance(node, exp.Anonymous) else node.name.upper()):
        arguments = [compute(each, x) for each in children(node)]
        return None if None in arguments else function(*arguments)
    raise NotImplementedError(f"{type(node).__name__}: {node}")


def children(node: exp.Expression) -> list[exp.Expression]:
    """The arguments of a function or operator, in the order of its parameters."""
    if isinstance(node, exp.Anonymous):
        return list(node.expressions)
    return [value for value in node.args.values() if isinstance(value, exp.Expression)]


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass"))


def pattern_index(pattern: str, text: str) -> int:
    found = re.search(pattern_of(pattern).pattern.removeprefix(".*").removesuffix(".*"), text, re.DOTALL)
    return found.start() + 1 if found else 0


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "DATALENGTH": units,
    "PATINDEX": pattern_index,
    "StrPosition": lambda text, part: text.find(part) + 1,
    "Substring": lambda text, start, length: text[start - 1 : start - 1 + length],
    "Left": lambda text, length: text[:length],
    "Replace": lambda text, old, new: text.replace(old, new),
    "Add": lambda left, right: left + right,
    "Sub": lambda left, right: left - right,
    "Mod": lambda left, right: left % right,
    "EQ": lambda left, right: left.rstrip(" ") == right.rstrip(" ") if isinstance(left, str) else left == right,
    "LT": lambda left, right: left < right,
    "LTE": lambda left, right: left <= right,
    "GTE": lambda left, right: left >= right,
}


@cache
def pattern_of(like: str) -> re.Pattern[str]:
    """A LIKE pattern as a regular expression over code points."""
    parts = re.findall(r"\[[^\]]+\]|.", like, re.DOTALL)
    return re.compile(
        "".join({"%": ".*", "_": "."}.get(part, part if len(part) > 1 else re.escape(part)) for part in parts),
        re.DOTALL,
    )


def convert(kind: exp.DataType, text: Any) -> Any:
    """TRY_CONVERT of a text that passed its guard: None when it is out of range or no such day."""
    name, sizes = kind.this.name, [int(size.name) for size in kind.expressions]
    try:
        match name:
            case "INT" | "BIGINT":
                value = int(text)
                return (
                    value
                    if -(2 ** (31 if name == "INT" else 63)) <= value < 2 ** (31 if name == "INT" else 63)
                    else None
                )
            case "DECIMAL":
                rounded = Decimal(text).quantize(Decimal(1).scaleb(-sizes[1]), context=Context(120, ROUND_HALF_UP))
                return rounded if rounded.copy_abs() < Decimal(10) ** (sizes[0] - sizes[1]) else None
            case "DOUBLE" | "FLOAT":
                return float(text) if abs(float(text)) != float("inf") else None
            case "DATE":
                return date.fromisoformat(text)
            case "DATETIME2":
                return datetime.fromisoformat(text + "Z").astimezone(UTC).replace(tzinfo=None)
            case "BIT" | "BOOLEAN":
                return bool(text)
            case "BINARY":
                return bytes.fromhex(text)
    except ValueError:
        return None
    raise NotImplementedError(name)


@cache
def guard(column_type: ColumnType) -> exp.Expression:
    statement = sqlglot.parse_one("SELECT " + mssql.guarded(column_type, "x", mssql.unsigned("x")), read="tsql")
    return statement.selects[0]


@pytest.mark.parametrize(("column", "text"), TYPED_ACCEPTED)
def test_t_sql_takes_what_postgresql_takes(column: str, text: str | None) -> None:
    assert compute(guard(COLUMNS[column]), text) == typed_value(COLUMNS[column], text)


@pytest.mark.parametrize(("column", "text"), REFUSED)
def test_t_sql_refuses_what_postgresql_refuses(column: str, text: str) -> None:
    assert compute(guard(COLUMNS[column]), text) is None


@pytest.mark.parametrize(
    "text", [key_hash()[:-1], key_hash() + "0", key_hash()[:-1] + "g", key_hash()[:-2] + "  ", "", None]
)
def test_t_sql_takes_no_text_but_64_hexadecimal_letters_as_a_hash(text: str | None) -> None:
    digest = sqlglot.parse_one("SELECT " + mssql.digest("x"), read="tsql").selects[0]
    assert compute(digest, key_hash()) == compute(digest, key_hash().upper()) == bytes.fromhex(key_hash())
    assert compute(digest, text) is None


@pytest.mark.parametrize(("other", "same"), [("C-1", True), ("C-1 ", False), ("c-1", False), ("", False), (None, None)])
def test_t_sql_compares_text_to_the_letter(other: str | None, same: bool | None) -> None:
    condition = sqlglot.parse_one(
        "SELECT CASE WHEN " + mssql.equal("x", "N'C-1'") + " THEN 1 END", read="tsql"
    ).selects[0]
    assert (compute(condition, other) == 1) is bool(same)
