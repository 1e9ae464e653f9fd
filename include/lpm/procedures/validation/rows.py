"""The rows of validation in the source: SQL that writes them, and what the source then says of them.

Every statement that changes rows names the canaries' companies and the key prefix, both: no other row can be meant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lpm.config import Column, Company, Config, Environment
from lpm.config.test_plan import TestPlan, key_column
from lpm.contract.envelope import literal, quoted, row_expressions
from lpm.procedures.outcome import ProcedureError
from lpm.render.names import source_table


@dataclass(frozen=True)
class SourceRow:
    """A row of validation as the source has it. ``payload`` is the JSON text that the target types."""

    company: str
    key_hash: str
    payload: str
    row_hash: str


class Statements:
    """The SQL about the rows of one mark: the key prefix alone for all rows, or followed by a case's own letters.

    Args:
        config: The table contract and the companies.
        environment: Whose source.
        plan: The key prefix and the unknown company.
        mark: What the key of every row begins with.

    Raises:
        ProcedureError: no column of the key is a text, so no row can be told from another's.
    """

    def __init__(self, config: Config, environment: Environment, plan: TestPlan, mark: str) -> None:
        column = key_column(config)
        if column is None:
            raise ProcedureError(
                f"no column of the key ({', '.join(config.table.key)}) is a text: validation could not mark its rows\n"
                "Next step: this table cannot be validated by rows; use reconcile, which compares all of them."
            )
        if not mark.startswith(plan.rows.key_prefix):
            raise ValueError(f"mark {mark!r} does not begin with {plan.rows.key_prefix!r}")
        self._config = config
        self._key = column
        self._mark = mark
        self._source = source_table(config, environment)
        self._companies = [*(company.id for company in config.canaries), plan.rows.unknown_company]

    def insert(self, company: str, first: int, count: int, values: Mapping[str, str] | None = None) -> str:
        """New rows with the numbers ``first`` to ``first + count - 1``. ``values``: SQL by column, instead of ours."""
        if company not in self._companies:
            raise ValueError(f"{company!r} is no company of validation; expected one of {', '.join(self._companies)}")
        columns = self._config.table.columns
        given = {self._config.table.company_column: literal(company), **(values or {})}
        listed = ", ".join(given.get(column.name) or self._value(column, "0") for column in columns)
        names = ", ".join(quoted(column.name) for column in columns)
        return f"INSERT INTO {self._source} ({names}) SELECT {listed} FROM range({first}, {first + count})"

    def update(self, generation: int, numbers: Iterable[int] = ()) -> str:
        """Change every column outside key and company, of some rows, of all when none is named."""
        table = self._config.table
        free = [each for each in table.columns if each.name not in (*table.key, table.company_column)]
        # The row's number is not a column: its key text stands for it.
        number = f"CAST(xxhash64({quoted(self._key)}) % 1000 AS BIGINT)"
        changes = ", ".join(f"{quoted(each.name)} = {_typed(each, number, str(generation))}" for each in free)
        return f"UPDATE {self._source} SET {changes} WHERE {self._mine(numbers)}"

    def move(self, company: Company) -> str:
        """Give the rows to another canary."""
        column = quoted(self._config.table.company_column)
        return f"UPDATE {self._source} SET {column} = {literal(company.id)} WHERE {self._mine()}"

    def delete(self, numbers: Iterable[int] = ()) -> str:
        """Delete some rows, all of the mark when none is named."""
        return f"DELETE FROM {self._source} WHERE {self._mine(numbers)}"

    def rows(self) -> str:
        """Company, key hash, payload and row hash of the rows."""
        row = row_expressions(self._config.table)
        return f"""SELECT company, {row.key_hash} AS key_hash, payload, {row.row_hash} AS row_hash FROM (
            SELECT {row.company} AS company, {row.key} AS key, {row.payload} AS payload
            FROM {self._source} WHERE {self._mine()})"""

    def key(self, number: int) -> str:
        """Text of the key column of a row."""
        return f"{self._mark}{number}"

    def _mine(self, numbers: Iterable[int] = ()) -> str:
        companies = ", ".join(map(literal, self._companies))
        mine = f"{quoted(self._config.table.company_column)} IN ({companies})"
        key = quoted(self._key)
        if keys := ", ".join(literal(self.key(number)) for number in numbers):
            return f"{mine} AND {key} IN ({keys})"
        return f"{mine} AND startswith({key}, {literal(self._mark)})"

    def _value(self, column: Column, generation: str) -> str:
        if column.name == self._key:
            return f"concat({literal(self._mark)}, id)"
        if column.name in self._config.table.key:
            return _typed(column, "1", "0")
        return _typed(column, "id", generation)


def _typed(column: Column, number: str, generation: str) -> str:  # noqa: PLR0911  # one return for each type
    """A small value that every table can hold, different for each number and generation where the type has room."""
    kind = column.type
    match kind.kind:
        case "string":
            text = f"concat('v', {number}, '.', {generation})"
            return f"left({text}, {kind.length})" if kind.length else text
        case "int":
            return f"CAST({number} + {generation} AS INT)"
        case "bigint":
            return f"CAST({number} * 10 + {generation} AS BIGINT)"
        case "decimal":
            assert kind.precision is not None
            assert kind.scale is not None
            whole = f"pmod({number} + {generation}, 10)" if kind.precision > kind.scale else "0"
            return f"CAST({whole} AS DECIMAL({kind.precision},{kind.scale}))"
        case "double":
            return f"({number} / 8.0D + {generation})"
        case "boolean":
            return f"(pmod({number} + {generation}, 2) = 0)"
        case "date":
            return f"date_add(DATE'2000-01-01', CAST(pmod({number} + {generation}, 1000) AS INT))"
        case "timestamp":
            return f"timestamp_micros(CAST(946684800000001 + {number} * 1000 + {generation} AS BIGINT))"
        case "binary":
            return f"encode(concat('v', {number}, '.', {generation}), 'UTF-8')"
