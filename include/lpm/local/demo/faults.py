"""One fault of every class, made by hand in the companies' databases, as an accident or a person would."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, create_engine, text

from lpm.config import Company
from lpm.local.demo.pipeline import Pipeline
from lpm.procedures.reconciliation.comparison import Kind
from lpm.render import names

FIRST_NUMBER = 1_000_000_000  # of rows that the traffic never touches: what was broken stays broken until repaired
ROWS = 80


@dataclass(frozen=True)
class Fault:
    """What reconciliation has to find: a key in a company's database and the class of its difference."""

    company: str
    key_hash: str
    kind: Kind


class FaultMaker:
    """Makes faults on rows of its own. ``addresses``: the databases' URLs by company id."""

    def __init__(self, pipeline: Pipeline, addresses: Mapping[str, str]) -> None:
        self._pipeline = pipeline
        self._target = names.target_table(pipeline.config)
        self._columns = [column.name for column in pipeline.config.table.columns]
        self._engines = {company: create_engine(url) for company, url in addresses.items()}

    def prepare(self, number: int = 0) -> dict[str, list[str]]:
        """Insert rows that nothing else touches, and wait until they arrived. Key hashes by company.

        Args:
            number: How often that was done before; each time makes other rows.
        """
        source = self._pipeline.source
        first = FIRST_NUMBER + number * ROWS
        source.insert(first, ROWS, generation=0)
        self._pipeline.wait_for_version(source.version())
        keys: dict[str, list[str]] = {}
        for company, key_hash in source.keys_of(first, ROWS):
            keys.setdefault(company, []).append(key_hash)
        return keys

    def one_of_each(self, keys: Mapping[str, list[str]]) -> list[Fault]:
        """A fault of every class, spread over the companies."""
        companies = self._pipeline.config.companies
        return [
            self.delete(companies[0], keys[companies[0].id][0]),
            self.set_back(companies[1], keys[companies[1].id][0]),
            self.duplicate(companies[2], keys[companies[2].id][0]),
            self.edit(companies[3], keys[companies[3].id][0]),
            self.edit_hash(companies[4], keys[companies[4].id][0]),
            self.copy(companies[0], keys[companies[0].id][1], companies[5]),
        ]

    def delete(self, company: Company, key: str) -> Fault:
        """A row is gone, as when its event was lost."""
        self._change(company, f"DELETE FROM {self._target} WHERE lpm_key_hash = decode(:key, 'hex')", key)
        return Fault(company.id, key, Kind.MISSING)

    def set_back(self, company: Company, key: str) -> Fault:
        """A row is as it was before its last change, as when that event was lost."""
        statement = f"""UPDATE {self._target} SET lpm_version = lpm_version - 1, lpm_row_hash = sha256(lpm_row_hash)
            WHERE lpm_key_hash = decode(:key, 'hex')"""
        self._change(company, statement, key)
        return Fault(company.id, key, Kind.STALE)

    def edit(self, company: Company, key: str) -> Fault:
        """A value was changed by hand."""
        free = next(
            c for c in self._pipeline.config.table.columns if c.type.kind == "string" and not self._is_key(c.name)
        )
        statement = f"""UPDATE {self._target} SET "{free.name}" = 'by hand' WHERE lpm_key_hash = decode(:key, 'hex')"""
        self._change(company, statement, key)
        return Fault(company.id, key, Kind.CORRUPT)

    def edit_hash(self, company: Company, key: str) -> Fault:
        """A row claims to be what the source never had."""
        statement = f"""UPDATE {self._target} SET lpm_row_hash = sha256(lpm_row_hash)
            WHERE lpm_key_hash = decode(:key, 'hex')"""
        self._change(company, statement, key)
        return Fault(company.id, key, Kind.CORRUPT)

    def duplicate(self, company: Company, key: str) -> Fault:
        """A row is there twice, under another key."""
        other = key[:4] + key[4:][::-1]
        self._insert(company, self._row(company, key), other)
        return Fault(company.id, other, Kind.EXTRA)

    def copy(self, giver: Company, key: str, taker: Company) -> Fault:
        """A row of one company is in another company's database."""
        self._insert(taker, self._row(giver, key), key)
        return Fault(taker.id, key, Kind.MISROUTED)

    def close(self) -> None:
        """End the connections."""
        for engine in self._engines.values():
            engine.dispose()

    def _is_key(self, column: str) -> bool:
        table = self._pipeline.config.table
        return column in (*table.key, table.company_column)

    def _engine(self, company: Company) -> Engine:
        return self._engines[company.id]

    def _change(self, company: Company, statement: str, key: str) -> None:
        with self._engine(company).begin() as connection:
            changed = connection.execute(text(statement), {"key": key}).rowcount
        if changed != 1:
            raise RuntimeError(f"company {company.id!r} has {changed} rows of key {key}; expected 1")

    def _row(self, company: Company, key: str) -> dict[str, object]:
        columns = [*self._columns, "lpm_bucket", "lpm_version", "lpm_row_hash", "lpm_committed_at", "lpm_applied_at"]
        listed = ", ".join(f'"{name}"' for name in columns)
        query = f"SELECT {listed} FROM {self._target} WHERE lpm_key_hash = decode(:key, 'hex')"
        with self._engine(company).connect() as connection:
            return dict(zip(columns, connection.execute(text(query), {"key": key}).one(), strict=True))

    def _insert(self, company: Company, row: dict[str, object], key: str) -> None:
        values = list({**row, "lpm_key_hash": bytes.fromhex(key), "lpm_bucket": int(key[:4], 16)}.items())
        listed = ", ".join(f'"{name}"' for name, _ in values)
        markers = ", ".join(f":v{index}" for index in range(len(values)))
        parameters = {f"v{index}": value for index, (_, value) in enumerate(values)}
        with self._engine(company).begin() as connection:
            connection.execute(text(f"INSERT INTO {self._target} ({listed}) VALUES ({markers})"), parameters)
