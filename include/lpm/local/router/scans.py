"""SELECTs that can share one pass over their step.

A router's query has up to 60 SELECTs ``WHERE company = '…'`` over one step. Each as a query of its own costs about a
millisecond and a pass over the batch, whatever it finds; one pass with a CASE costs a fraction, and says the same.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass

from sqlglot import exp

ORDINAL = "lpm_ordinal"  # first column of a scan's rows: which of its outputs the row is for


@dataclass(frozen=True)
class Scan:
    """One query that fills one or more outputs; a row's ordinal is the position of its output in ``outputs``."""

    outputs: tuple[str, ...]
    select: exp.Select


def scans(selects: Iterable[tuple[str, exp.Select]], text_columns: Set[tuple[str, str]]) -> list[Scan]:
    """Group the SELECTs of named outputs. ``text_columns`` are the (table, column) that hold text."""
    groups: dict[tuple[str, str], dict[str, tuple[str, exp.Select]]] = {}
    alone: list[Scan] = []
    for name, select in selects:
        column, text = _equality(_condition(select))
        table = select.find(exp.Table)
        group = groups.setdefault((_without_where(select).sql(), column), {})
        if table and (table.name, column) in text_columns and text not in group:
            group[text] = (name, select)  # different texts in one column: no row can be for two of them
        else:
            alone.append(_scan([(name, select)]))
    return [*(_scan(list(group.values())) for group in groups.values() if group), *alone]


def _equality(condition: exp.Expression) -> tuple[str, str]:
    """Column and text of ``column = 'text'``; empty for any other condition."""
    if isinstance(condition, exp.EQ):
        left, right = condition.this, condition.expression
        if isinstance(left, exp.Column) and isinstance(right, exp.Literal) and right.is_string:
            return left.name, right.this
    return "", ""


def _condition(select: exp.Select) -> exp.Expression:
    where: exp.Where | None = select.args.get("where")
    return where.this if where else exp.true()


def _without_where(select: exp.Select) -> exp.Select:
    bare = select.copy()
    bare.set("where", None)
    return bare


def _scan(branches: list[tuple[str, exp.Select]]) -> Scan:
    case = exp.Case()
    for position, (_, select) in enumerate(branches):
        case = case.when(_condition(select).copy(), exp.Literal.number(position))
    rows = _without_where(branches[0][1])
    # In front: a CASE behind the columns could see their aliases, which a WHERE cannot.
    rows.set("expressions", [exp.alias_(case, ORDINAL, quoted=True), *rows.expressions])
    taken = exp.column(ORDINAL, quoted=True).is_(exp.null()).not_()
    return Scan(tuple(name for name, _ in branches), exp.select("*").from_(rows.subquery("rows")).where(taken))
