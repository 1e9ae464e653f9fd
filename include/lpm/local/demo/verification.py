"""Source against targets, row by row and value by value.

This reads both sides whole, so it is for the demo's amount of data. Production reconciles inside the two engines.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, TableContract
from lpm.contract.envelope import row_expressions
from lpm.contract.values import Value, normalised, typed_row
from lpm.local.demo.source import Source

ROWS_AT_ONCE = 20_000  # of all companies; Databricks refuses a result of more than 25 MiB

Rows = Mapping[str, Mapping[str, Value]]  # by key hash


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be. ``column`` is empty when the whole row is missing or too much."""

    key_hash: str
    column: str
    expected: Value
    found: Value


@dataclass(frozen=True)
class Verdict:
    """What the comparison of one company found."""

    company: str
    rows: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether source and target hold the same rows with the same values."""
        return not self.differences


def verify(source: Source, databases: Mapping[Company, TargetDatabase], version: int) -> list[Verdict]:
    """Compare each company's rows of the source at ``version`` with its database."""
    expected = _source_rows(source, version)
    return [
        _verdict(source.table, company, expected.get(company.id, {}), database)
        for company, database in databases.items()
    ]


def _verdict(table: TableContract, company: Company, expected: Rows, database: TargetDatabase) -> Verdict:
    names = [column.name for column in table.columns]
    found = {key_hash: {name: normalised(row[name]) for name in names} for key_hash, row in database.rows(table)}
    return Verdict(company.id, len(expected), tuple(_differences(table, expected, found)))


def _source_rows(source: Source, version: int) -> Mapping[str, Rows]:
    """By company: each statement reads the whole table, so one brings the rows of all."""
    row, table = row_expressions(source.table), f"{source.table_name} VERSION AS OF {version}"
    found: dict[str, dict[str, Mapping[str, Value]]] = {}
    [count] = next(source.sql(f"SELECT count(*) FROM {table}"))
    pieces = 1 + int(count or 0) // ROWS_AT_ONCE
    for piece in range(pieces):
        statement = f"""
            SELECT company, {row.key_hash}, payload
            FROM (SELECT {row.key} AS key, {row.payload} AS payload, {row.company} AS company FROM {table})
            WHERE company IS NOT NULL AND key IS NOT NULL AND pmod(xxhash64(key), {pieces}) = {piece}"""
        for company, key_hash, payload in source.sql(statement):
            assert company is not None
            assert key_hash is not None
            assert payload is not None
            found.setdefault(company, {})[key_hash] = typed_row(source.table, json.loads(payload))
    return found


def _differences(table: TableContract, expected: Rows, found: Rows) -> Iterator[Difference]:
    for key_hash in sorted(expected.keys() | found.keys()):
        if key_hash not in found:
            yield Difference(key_hash, "", "a row", None)
        elif key_hash not in expected:
            yield Difference(key_hash, "", None, "a row")
        else:
            for column in table.columns:
                wanted, actual = expected[key_hash][column.name], found[key_hash][column.name]
                if wanted != actual or type(wanted) is not type(actual):
                    yield Difference(key_hash, column.name, wanted, actual)
