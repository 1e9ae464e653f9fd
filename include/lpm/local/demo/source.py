"""The source system of the demo: the table `tdr_streaming` and the traffic on it.

It stands for EDG, so it talks to Databricks with Databricks' own SDK. Rows are made by Spark from a number, for any
table contract.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import Disposition, Format, StatementState

from lpm.config import Column, Company, TableContract
from lpm.contract.envelope import literal, quoted, row_expressions, spark_type

ATTEMPTS, CONFLICT = 10, "io.delta.exceptions.Concurrent"
ROWS_OF_A_FILE = 100_000
UNKNOWN_COMPANY = "C-9999"  # configured nowhere: its rows belong into the unrouted output


@dataclass(frozen=True)
class Source:
    """The source table on one Databricks workspace."""

    workspace: WorkspaceClient
    warehouse_id: str
    table_name: str
    table: TableContract
    companies: tuple[Company, ...]

    def sql(self, statement: str) -> Iterator[Sequence[str | None]]:
        """Run one statement and yield its rows as text.

        Raises:
            RuntimeError: the statement failed, with the engine's message.
        """
        api = self.workspace.statement_execution
        response = api.execute_statement(
            statement, self.warehouse_id, wait_timeout="50s", format=Format.JSON_ARRAY, disposition=Disposition.INLINE
        )
        identifier, status = response.statement_id or "", response.status
        while status and status.state in (StatementState.PENDING, StatementState.RUNNING):
            response = api.get_statement(identifier)
            status = response.status
        if status is None or status.state is not StatementState.SUCCEEDED:
            message = status.error.message if status and status.error else status
            raise RuntimeError(f"{statement[:120]} … failed: {message}")
        chunk = response.result
        while chunk is not None:
            yield from chunk.data_array or []
            if chunk.next_chunk_index is None:
                return
            chunk = api.get_statement_result_chunk_n(identifier, chunk.next_chunk_index)

    def run(self, statement: str) -> None:
        """Run one statement for its effect; again when another commit came between, as Delta asks for.

        Raises:
            RuntimeError: the statement failed, with the engine's message.
        """
        for attempt in range(ATTEMPTS):
            try:
                for _ in self.sql(statement):
                    pass
            except RuntimeError as error:
                if CONFLICT not in str(error) or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def create(self, rows: int) -> None:
        """Create the table with its first rows, unless it is there. Change data feed is left to the DAG."""
        schema = self.table_name.rsplit(".", 1)[0]
        self.run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        columns = ", ".join(f"{quoted(column.name)} {spark_type(column.type)}" for column in self.table.columns)
        self.run(f"CREATE TABLE IF NOT EXISTS {self.table_name} ({columns}) USING DELTA")
        if next(self.sql(f"SELECT count(*) FROM {self.table_name}"))[0] == "0":
            self.insert(0, rows, generation=0)

    def version(self) -> int:
        """The table's latest version."""
        newest = next(self.sql(f"DESCRIBE HISTORY {self.table_name} LIMIT 1"))
        return int(newest[0] or 0)

    def insert(self, first: int, count: int, generation: int) -> None:
        """New rows with the numbers ``first`` to ``first + count - 1``."""
        self.run(f"INSERT INTO {self.table_name} {self._rows(first, count, generation)}")

    def keys_of(self, first: int, count: int) -> list[tuple[str, str]]:
        """Company and key hash of the rows that :meth:`insert` makes of these numbers at generation 0."""
        row = row_expressions(self.table)
        rows = f"SELECT {row.company} AS company, {row.key} AS key FROM ({self._rows(first, count, 0)})"
        found = self.sql(f"SELECT company, {row.key_hash} FROM ({rows}) ORDER BY 1, 2")
        return [(str(company), str(key_hash)) for company, key_hash in found]

    def merge(self, first: int, count: int, generation: int) -> None:
        """Change rows: new values for all, every fifth moves to another company, every seventh is deleted."""
        on = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in self.table.key)
        columns = [quoted(column.name) for column in self.table.columns]
        update = ", ".join(f"{name} = s.{name}" for name in columns)
        rows = self._rows(first, count, generation, with_number=True)
        self.run(
            f"MERGE INTO {self.table_name} t USING ({rows}) s ON {on} "
            f"WHEN MATCHED AND s.number % 7 = 0 THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {update} "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{name}' for name in columns)})"
        )

    def row_of(self, first: int, count: int, key_hash: str) -> str:
        """The condition that names one of the rows that :meth:`insert` made of these numbers, by its key columns."""
        row, key = row_expressions(self.table), [c for c in self.table.columns if c.name in self.table.key]
        columns = ", ".join(quoted(column.name) for column in key)
        rows = f"SELECT {columns}, {row.company} AS company, {row.key} AS key FROM ({self._rows(first, count, 0)})"
        [values] = self.sql(f"SELECT {columns} FROM ({rows}) WHERE {row.key_hash} = {literal(key_hash)}")
        return " AND ".join(
            f"{quoted(column.name)} = CAST({literal(str(value))} AS {spark_type(column.type)})"
            for column, value in zip(key, values, strict=True)
        )

    def update(self, row: str, column: str) -> None:
        """A new value in a text column of the row that :meth:`row_of` named."""
        value = literal(f"changed at {time.time():.0f}")
        self.run(f"UPDATE {self.table_name} SET {quoted(column)} = {value} WHERE {row}")

    def delete(self, row: str) -> None:
        """One row less: that which :meth:`row_of` named."""
        self.run(f"DELETE FROM {self.table_name} WHERE {row}")

    def insert_strays(self, number: int) -> None:
        """One row of an unknown company and one without a company: neither may reach any company's database."""
        for offset, company in enumerate((literal(UNKNOWN_COMPANY), "CAST(NULL AS STRING)")):
            self.run(f"INSERT INTO {self.table_name} {self._rows(number + offset, 1, 0, company=company)}")

    def compact(self) -> None:
        """Rewrite small files, as the owner of the table would; it changes no row."""
        self.run(f"OPTIMIZE {self.table_name}")

    def _rows(
        self, first: int, count: int, generation: int, *, with_number: bool = False, company: str | None = None
    ) -> str:
        ids = ", ".join(literal(each.id) for each in self.companies)
        # A new generation moves every fifth row on to the next company.
        shift = f"(CASE WHEN id % 5 = 0 THEN {generation} ELSE 0 END)"
        company = company or f"array({ids})[CAST(pmod(xxhash64(id) + {shift}, {len(self.companies)}) AS INT)]"
        values = [
            company if column.name == self.table.company_column else _value(self.table, column, generation)
            for column in self.table.columns
        ]
        named = [f"{value} AS {quoted(column.name)}" for value, column in zip(values, self.table.columns, strict=True)]
        number = ["id AS number"] if with_number else []
        files = 1 + count // ROWS_OF_A_FILE  # Spark writes one for each processor otherwise, however few the rows
        return f"SELECT {', '.join(named + number)} FROM range({first}, {first + count}, 1, {files})"


def _value(table: TableContract, column: Column, generation: int) -> str:
    """A value that depends on the row's number and, outside the key, on how often the row has changed."""
    position = [other.name for other in table.columns].index(column.name)
    if column.name in table.key:
        own = "id" if column.name == table.key[0] else "(id % 3 + 1)"
        return f"concat('T-', {own})" if column.type.kind == "string" else f"CAST({own} AS {spark_type(column.type)})"
    number = f"xxhash64(id, {position}, {generation})"
    value = _typed(column, number)
    if not column.nullable:
        return value
    return f"CASE WHEN pmod({number}, 13) = 0 THEN NULL ELSE {value} END"


def _typed(column: Column, number: str) -> str:  # noqa: PLR0911  # one return for each type
    kind = column.type
    match kind.kind:
        case "string":
            text = f"concat('Zoë \"O''Hara\" 🚀 ', hex({number}), repeat(' ', CAST(pmod({number}, 3) AS INT)))"
            return f"left({text}, {kind.length})" if kind.length else text
        case "int":
            return f"CAST(pmod({number}, 1000000) - 500000 AS INT)"
        case "bigint":
            return number
        case "decimal":
            assert kind.precision is not None and kind.scale is not None
            digits = f"lpad(CAST(pmod({number}, 999999999999999999) AS STRING), {kind.precision}, '7315502')"
            whole = kind.precision - kind.scale
            text = f"concat('-', left({digits}, {whole}), '.', right({digits}, {kind.scale}))" if kind.scale else digits
            return f"CAST({text} AS {spark_type(column.type)})"
        case "double":
            return f"CASE WHEN pmod({number}, 31) = 1 THEN double('NaN') ELSE {number} / 1e7D END"
        case "boolean":
            return f"pmod({number}, 2) = 0"
        case "date":
            return f"date_add(DATE'1900-01-01', CAST(pmod({number}, 2958463) AS INT))"  # up to 9999-12-31
        case "timestamp":
            return f"timestamp_micros(pmod({number}, 4000000000000000))"
        case "binary":
            return f"unhex(sha2(CAST({number} AS STRING), 256))"
