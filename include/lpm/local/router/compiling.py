"""Stream Analytics query text to DuckDB SQL, for the small part of the language that the router uses.

Everything else raises :class:`NotSimulated`: a query that runs here must mean the same there. Known differences that no
query of ours can tell: text holding a fraction or an exponent becomes a bigint here, and ``true`` becomes the text
``true``; Stream Analytics' answers are not documented.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError
from sqlglot.tokens import TokenType

PARTITION_ID = "PartitionId"  # the hub's own column: number of the partition the message came from
_OTHER_HUB_COLUMNS = {"eventenqueuedutctime", "eventprocessedutctime"}
_TYPES = {"NVARCHAR(MAX)": "TEXT", "BIGINT": "BIGINT", "FLOAT": "DOUBLE"}
_SIMULATED = (
    exp.Select,
    exp.From,
    exp.Where,
    exp.Table,
    exp.Identifier,
    exp.Column,
    exp.Alias,
    exp.Literal,
    exp.Null,
    exp.Is,
    exp.In,
    exp.EQ,
    exp.NEQ,
    exp.And,
    exp.Or,
    exp.Paren,
    exp.Cast,
    exp.TryCast,
    exp.DataType,
    exp.Coalesce,
    exp.Case,
    exp.If,
)


class NotSimulated(ValueError):  # noqa: N818  # the name says what happened, in the words of the reader
    """The query uses something this engine does not know to behave as Stream Analytics does."""


@dataclass(frozen=True)
class Select:
    """One SELECT: the step or output it fills, and its DuckDB text."""

    name: str
    sql: str


@dataclass(frozen=True)
class CompiledQuery:
    """``steps`` come before ``outputs`` and in this order. ``fields`` are what the query reads of a message's body."""

    source: str
    fields: tuple[str, ...]
    steps: tuple[Select, ...]
    outputs: tuple[Select, ...]


def compile_query(text: str, source: str) -> CompiledQuery:
    """Compile a query whose only input has the alias ``source``.

    Raises:
        NotSimulated: naming the construct, when the query uses more than the simulated part of the language.
    """
    steps: list[Select] = []
    outputs: list[Select] = []
    fields: dict[str, None] = {}
    for statement in _statements(text):
        select = _parse(statement)
        for step in _take_steps(select):
            if step.alias in {source, *(known.name for known in steps)}:
                raise NotSimulated(f"step [{step.alias}] has the name of an input or of another step")
            steps.append(_compiled(step.alias, step.this, source, steps, fields))
        into = select.args.pop("into", None)
        if into is None:
            raise NotSimulated(f"a SELECT without INTO; expected SELECT … INTO [output]: {_short(statement)}")
        if into.this.name in {output.name for output in outputs}:
            raise NotSimulated(f"two SELECTs INTO [{into.this.name}]")
        outputs.append(_compiled(into.this.name, select, source, steps, fields))
    return CompiledQuery(source, tuple(fields), tuple(steps), tuple(outputs))


def _statements(text: str) -> Iterator[str]:
    """Cut before each SELECT outside brackets: unlike T-SQL, Stream Analytics puts nothing between statements."""
    try:
        tokens = sqlglot.tokenize(text, read="tsql")
    except TokenError as error:
        raise NotSimulated(f"the query cannot be read: {error}") from None
    depth = 0
    pieces: list[list[int]] = [[0, 0]]  # start and end of each statement; a WITH in front belongs to the first
    selects = 0
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if token.token_type == TokenType.SELECT and depth == 0:
            selects += 1
            if selects > 1:
                pieces.append([token.start, 0])
        if token.token_type != TokenType.SEMICOLON:
            pieces[-1][1] = token.end + 1
    if not selects:
        raise NotSimulated("the query has no SELECT")
    for start, end in pieces:
        yield text[start:end]


def _parse(statement: str) -> exp.Select:
    try:
        parsed = sqlglot.parse_one(statement, read="tsql")
    except ParseError as error:
        fault = error.errors[0] if error.errors else {}
        found = fault.get("highlight") or _short(statement)
        raise NotSimulated(f"{found!r} is not simulated here: {fault.get('description', error)}") from None
    if not isinstance(parsed, exp.Select):
        raise NotSimulated(f"{parsed.key.upper()} is not simulated: {_short(statement)}")
    return parsed


def _take_steps(select: exp.Select) -> list[exp.CTE]:
    steps = select.args.pop("with_", None)
    return list(steps.expressions) if steps else []


def _compiled(name: str, select: exp.Expression, source: str, steps: list[Select], fields: dict[str, None]) -> Select:
    for node in select.walk():
        _check(node)
    known = {source, *(step.name for step in steps)}
    tables = {table.name for table in select.find_all(exp.Table)}
    if len(tables) != 1 or not tables <= known:
        raise NotSimulated(f"[{name}] reads {sorted(tables)}; expected exactly one of {sorted(known)}")
    if tables == {source}:
        columns = (column.name for column in select.find_all(exp.Column))
        fields |= dict.fromkeys(column for column in columns if column != PARTITION_ID)
    try:
        sql = select.transform(_types).sql("duckdb", identify=True, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise NotSimulated(f"[{name}]: {error}") from None
    return Select(name, sql)


def _check(node: exp.Expression) -> None:
    if isinstance(node, exp.DataTypeParam | exp.Var) and isinstance(node.find_ancestor(exp.DataType), exp.DataType):
        return  # the max of nvarchar(max); the type as a whole is checked below
    if isinstance(node, exp.Not) and isinstance(node.this, exp.Is | exp.In):
        return  # any other NOT differs: a comparison with NULL is false there, so that NOT of it is true
    if not isinstance(node, _SIMULATED):
        raise NotSimulated(f"{type(node).__name__} is not simulated: {_short(node.sql('tsql'))}")
    if isinstance(node, exp.Column) and (node.table or node.name.lower() in _OTHER_HUB_COLUMNS):
        raise NotSimulated(f"the column {node.sql('tsql')} is not simulated; expected a bare field name")
    if isinstance(node, exp.Table) and (node.alias or node.args.get("db") or node.args.get("joins")):
        raise NotSimulated(f"{node.sql('tsql')} is not simulated; expected FROM [name] without an alias")
    if isinstance(node, exp.Table | exp.Select):
        _check_clauses(node)
    if isinstance(node, exp.DataType) and node.sql("tsql").upper() not in _TYPES:
        raise NotSimulated(f"the type {node.sql('tsql')} is not simulated; expected one of {', '.join(_TYPES)}")


def _check_clauses(node: exp.Expression) -> None:
    expected = {"this", "expressions", "from_", "where", "into", "with_"}
    for clause, value in node.args.items():
        if value and clause not in expected:
            raise NotSimulated(f"{clause.strip('_').upper()} is not simulated: {_short(node.sql('tsql'))}")


def _types(node: exp.Expression) -> exp.Expression:
    return exp.DataType.build(_TYPES[node.sql("tsql").upper()]) if isinstance(node, exp.DataType) else node


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 120 else flat[:117] + "…"
