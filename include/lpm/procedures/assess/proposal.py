"""Propose the table contract of a table that the product has never seen, from the table itself."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import yaml

from lpm.clients.databricks import DatabricksClient, StatementFailed
from lpm.config import ColumnType, Config
from lpm.config.models import NAME, RESERVED_COLUMNS
from lpm.contract.envelope import quoted
from lpm.procedures.assess.facts import ask, reason_of
from lpm.procedures.assess.key_guess import MOST_COLUMNS_OF_KEY, candidates, combinations, primary_key_of
from lpm.procedures.assess.source import utf16_units
from lpm.procedures.assess.spark_columns import SourceColumn, columns_of, mapped
from lpm.procedures.outcome import ProcedureError

COMPANY_WORDS = ("company", "tenant", "mandant", "entity", "client", "customer")
MOST_TESTS = 12  # of sets of columns, each a scan
_NESTED = ("array", "map", "struct", "variant")


@dataclass(frozen=True)
class Proposal:
    """What the contract could be. ``decisions`` is what a person has to decide before it is one."""

    table: str  # catalog first
    columns: tuple[tuple[SourceColumn, ColumnType], ...]
    key: tuple[str, ...]
    company: str  # empty when no column looks like it
    decisions: tuple[str, ...]

    @property
    def text(self) -> str:
        """The ``table:`` block of ``pipeline.yml``, with the decisions as a comment above it."""
        decisions = "".join(f"#   - {_printable(decision)}\n" for decision in self.decisions)
        columns = "".join(f"    - {{{_column(column, kind)}}}\n" for column, kind in self.columns)
        return (
            f"# Proposed from the columns of {self.table}. A person has to decide:\n{decisions}"
            f"table:\n  name: {_scalar(self.table.rpartition('.')[2])}\n  schema_version: 1\n"
            f"  company_column: {_scalar(self.company)}\n  key: [{', '.join(map(_scalar, self.key))}]\n"
            f"  columns:\n{columns}"
        )


def propose(config: Config, databricks: DatabricksClient, table: str) -> Proposal:
    """Read a table's columns, test what could be its key, and propose a contract. Reads the whole table some times.

    Args:
        config: The configuration; the present contract tells which company column to look for first.
        databricks: The workspace.
        table: Catalog, schema and name with dots between them.

    Raises:
        ProcedureError: the name is no such name, there is no such table, or no column of it can be carried.
        StatementFailed: reading its rows failed.
    """
    parts = table.split(".")
    if len(parts) != 3 or not all(parts) or "`" in table:
        raise ProcedureError(f"{table!r} is no name of a table\nNext step: give catalog, schema and table: c.s.t")
    name = ".".join(map(quoted, parts))
    columns = read_columns(databricks, name, table)
    draft = draft_of(table, columns, config.table.company_column)
    if not draft.columns:
        raise ProcedureError(f"no column of {table} can be carried:\n" + "\n".join(f"  - {d}" for d in draft.decisions))
    return _with_key(draft, databricks, name)


def read_columns(databricks: DatabricksClient, name: str, table: str) -> list[SourceColumn]:
    """The columns of a table.

    Raises:
        ProcedureError: there is no such table, or it may not be seen.
    """
    try:
        [row] = ask(databricks, f"DESCRIBE TABLE EXTENDED {name} AS JSON").rows
    except StatementFailed as error:
        raise ProcedureError(
            f"{table} cannot be described: {reason_of(error)}\n"
            "Next step: check the name, and that the connection's principal has USE CATALOG, USE SCHEMA and SELECT."
        ) from error
    return columns_of(json.loads(row["json_metadata"] or "{}"))


def draft_of(table: str, columns: Sequence[SourceColumn], company_column: str) -> Proposal:
    """A proposal without a key, from the columns alone."""
    found = [(column, kind) for column in columns if not _bad_name(column) and (kind := mapped(column.kind))]
    company, why = _company([column.name for column, kind in found if kind.kind == "string"], company_column)
    decisions = (why, *_left_out(columns), *_remarks(found))
    return Proposal(table, tuple(found), (), company, decisions)


def _with_key(draft: Proposal, databricks: DatabricksClient, name: str) -> Proposal:
    declared = _primary_key(databricks, name)
    known = [column.name for column, _ in draft.columns]
    if declared and set(declared) <= set(known):
        return _decided(draft, declared, f"key: {', '.join(declared)} is the primary key that the table declares")
    names, open_texts = (
        candidates(draft.columns, draft.company),
        [column.name for column, kind in draft.columns if _is_open(kind)],
    )
    counts = "".join(f", approx_count_distinct({quoted(each)}) AS d{n}" for n, each in enumerate(names))
    lengths = "".join(f", max({utf16_units(each)}) AS l{n}" for n, each in enumerate(open_texts))
    about = ask(databricks, f"SELECT count(*) AS row_count{counts}{lengths} FROM {name}")
    rows = about.number("row_count")
    if open_texts:
        longest = ", ".join(f"{each} ({about.number(f'l{n}')})" for n, each in enumerate(open_texts))
        draft = replace(
            draft,
            decisions=(*draft.decisions, f"lengths: give string(n) where a text has a limit; longest today: {longest}"),
        )
    if rows == 0:
        guess = tuple(each for each in names if each != draft.company)[:MOST_COLUMNS_OF_KEY] or tuple(names[:1])
        return _decided(draft, guess, f"key: {', '.join(guess)} is a guess; the table has no rows to test it with")
    distinct = {each: about.number(f"d{n}") for n, each in enumerate(names)}
    for chosen in itertools.islice(combinations(names, distinct, rows), MOST_TESTS):
        if _is_unique(databricks, name, chosen):
            why = (
                f"key: {', '.join(chosen)} is unique and never NULL in the {rows:,} rows of today; nothing declares it"
            )
            return _decided(draft, chosen, why)
    why = f"key: none of {', '.join(names)} together is unique and never NULL in {rows:,} rows; name the right columns"
    return _decided(draft, (), why)


def _decided(draft: Proposal, key: Sequence[str], why: str) -> Proposal:
    return replace(draft, key=tuple(key), decisions=(why, *draft.decisions))


def _primary_key(databricks: DatabricksClient, name: str) -> tuple[str, ...]:
    rows = ask(databricks, f"DESCRIBE TABLE EXTENDED {name}").rows
    return primary_key_of(row["data_type"] or "" for row in rows)


def _is_unique(databricks: DatabricksClient, name: str, columns: Sequence[str]) -> bool:
    listed = ", ".join(map(quoted, columns))
    null = " OR ".join(f"{quoted(column)} IS NULL" for column in columns)
    statement = f"SELECT 1 AS repeated FROM {name} GROUP BY {listed} HAVING count(*) > 1 OR {null} LIMIT 1"
    return not ask(databricks, statement).rows


def _company(texts: Sequence[str], present: str) -> tuple[str, str]:
    """The column that names the company, and why it is proposed."""
    for name in texts:
        if name.lower() == present.lower():
            return name, f"company_column: {name} has the name that the present contract uses"
    likely = [name for word in COMPANY_WORDS for name in texts if word in name.lower()]
    if not likely:
        return "", "company_column: no text column sounds like a company; name the one that does"
    others = [name for name in dict.fromkeys(likely) if name != likely[0]]
    besides = f"; it could also be {', '.join(others)}" if others else ""
    return likely[0], f"company_column: {likely[0]} sounds like it{besides}"


def _left_out(columns: Iterable[SourceColumn]) -> Iterator[str]:
    for column in columns:
        shown = json.dumps(column.name, ensure_ascii=False)
        if reason := _bad_name(column):
            yield f"left out: column {shown}: {reason}; rename it in the table, or leave it out"
        elif mapped(column.kind) is None:
            nested = column.kind.startswith(_NESTED)
            advice = (
                f"add a text column to the table that holds to_json({column.name}), or leave it out"
                if nested
                else "add a text column to the table that holds it, or leave it out"
            )
            yield f"left out: column {shown} is {column.kind}, which no type of the contract carries: {advice}"


def _remarks(found: Iterable[tuple[SourceColumn, ColumnType]]) -> Iterator[str]:
    kinds = {column.name: column.kind for column, _ in found}

    def of(*beginnings: str) -> str:
        return ", ".join(name for name, kind in kinds.items() if kind.startswith(beginnings))

    if names := of("varchar", "char"):
        yield f"lengths of {names}: the contract counts UTF-16 units, in which an emoji is two; is there room?"
    if names := of("string collate"):
        yield f"{names}: the collation is not carried; the databases compare as they are set up"
    if names := of("timestamp_ntz"):
        yield f"{names}: a moment without a time zone is taken for UTC; is it?"
    if names := of("double", "float"):
        yield f"{names}: NaN and Infinity become NULL; set non_finite: dead_letter where they must not"
    if names := of("float"):
        yield f"{names}: a float is carried as the double nearest to it"


def _bad_name(column: SourceColumn) -> str:
    lowered = column.name.lower()
    if not re.fullmatch(NAME, column.name):
        return "its name is not made of letters, digits and underscores"
    return "its name is reserved" if lowered in RESERVED_COLUMNS or lowered.startswith("lpm_") else ""


def _is_open(kind: ColumnType) -> bool:
    return kind.kind == "string" and kind.length is None


def _column(column: SourceColumn, kind: ColumnType) -> str:
    pairs = {"name": _scalar(column.name), "type": _scalar(str(kind))}
    if not column.nullable:
        pairs["nullable"] = "false"
    if column.comment:
        pairs["description"] = _in_quotes(column.comment)
    return ", ".join(f"{name}: {value}" for name, value in pairs.items())


def _scalar(text: str) -> str:
    """A text as YAML that is read as the same text."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_()]*", text) and yaml.safe_load(text) == text
    return text if plain else _in_quotes(text)


def _in_quotes(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")


def _printable(text: str) -> str:
    """A text for a comment: YAML refuses a file with a control character, wherever it is."""
    return "".join(character if character.isprintable() else "?" for character in text)
