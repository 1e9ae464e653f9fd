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

from lpm.local.router.scans import scans

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
class Step:
    """A step of the WITH clause, and its DuckDB text."""

    name: str
    sql: str


@dataclass(frozen=True)
class Pass:
    """One query over a step, which fills ``outputs``: its first column says which of them a row is for, by position."""

    outputs: tuple[str, ...]
    sql: str


@dataclass(frozen=True)
class CompiledQuery:
    """``steps`` come before ``passes`` and in this order. ``fields`` are what the query reads of a message's body."""

    source: str
    fields: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]  # as the query names them
    passes: tuple[Pass, ...]


def compile_query(text: str, source: str) -> CompiledQuery:
    """Compile a query whose only input has the alias ``source``.

    Raises:
        NotSimulated: naming the construct, when the query uses more than the simulated part of the language.
    """
    compiler = _Compiler(source)
    for statement in _statements(text):
        compiler.add(statement)
    return compiler.finished()


class _Compiler:
    """Collects the parts of one query, statement by statement."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._fields: dict[str, None] = {}
        self._steps: list[Step] = []
        self._outputs: dict[str, exp.Select] = {}
        self._text_columns: set[tuple[str, str]] = set()

    def add(self, statement: str) -> None:
        select = _parse(statement)
        for step in _take_steps(select):
            if step.alias in self._tables():
                raise NotSimulated(f"step [{step.alias}] has the name of an input or of another step")
            translated = self._translate(step.alias, step.this)
            for column in translated.expressions:
                if isinstance(column.unalias(), exp.Cast) and column.unalias().is_type("text"):  # TryCast is a Cast
                    self._text_columns.add((step.alias, column.alias))
            self._steps.append(Step(step.alias, _duckdb(step.alias, translated)))
        into = select.args.pop("into", None)
        if into is None:
            raise NotSimulated(f"a SELECT without INTO; expected SELECT … INTO [output]: {_short(statement)}")
        if into.this.name in self._outputs:
            raise NotSimulated(f"two SELECTs INTO [{into.this.name}]")
        self._outputs[into.this.name] = self._translate(into.this.name, select)

    def finished(self) -> CompiledQuery:
        text_columns = self._text_columns | {(self._source, field) for field in self._fields}
        return CompiledQuery(
            source=self._source,
            fields=tuple(self._fields),
            steps=tuple(self._steps),
            outputs=tuple(self._outputs),
            passes=tuple(
                Pass(scan.outputs, _duckdb(scan.outputs[0], scan.select))
                for scan in scans(self._outputs.items(), text_columns)
            ),
        )

    def _tables(self) -> set[str]:
        return {self._source, *(step.name for step in self._steps)}

    def _translate(self, name: str, select: exp.Expression) -> exp.Select:
        """Check every part, and replace the types by DuckDB's."""
        if not isinstance(select, exp.Select):
            raise NotSimulated(f"[{name}]: {select.key.upper()} is not simulated")
        for node in select.walk():
            _check(node)
        tables = {table.name for table in select.find_all(exp.Table)}
        if len(tables) != 1 or not tables <= self._tables():
            raise NotSimulated(f"[{name}] reads {sorted(tables)}; expected exactly one of {sorted(self._tables())}")
        if tables == {self._source}:
            columns = (column.name for column in select.find_all(exp.Column))
            self._fields |= dict.fromkeys(column for column in columns if column != PARTITION_ID)
        translated: exp.Select = select.transform(_types)
        return translated


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


def _duckdb(name: str, select: exp.Select) -> str:
    try:
        text: str = select.sql("duckdb", identify=True, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise NotSimulated(f"[{name}]: {error}") from None
    return text


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
