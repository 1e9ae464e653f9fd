"""Faults of every class, made in the companies' databases and on the way there, as an accident or a person would."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, create_engine, text

from lpm.config import Company
from lpm.contract.envelope import bucket_of
from lpm.local.demo.pipeline import Pipeline
from lpm.procedures.reconciliation.comparison import Kind
from lpm.render import names

FIRST_NUMBER = 1_000_000_000  # of rows that the traffic never touches: what was broken stays broken until repaired
ROWS = 80
SWALLOW = f"{names.STATE_SCHEMA}.swallow"  # a trigger function: what was to be written is not, and nobody is told


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
        table = pipeline.config.table
        self._columns = [column.name for column in table.columns]
        fixed = {*table.key, table.company_column}
        self._free = next(c.name for c in table.columns if c.type.kind == "string" and c.name not in fixed)
        self._first = FIRST_NUMBER  # of the rows that were prepared last
        self._engines = {company: create_engine(url) for company, url in addresses.items()}

    def prepare(self, number: int = 0) -> dict[str, list[str]]:
        """Insert rows that nothing else touches, and wait until they arrived. Key hashes by company.

        Args:
            number: How often that was done before; each time makes other rows.
        """
        source = self._pipeline.source
        self._first = FIRST_NUMBER + number * ROWS
        source.insert(self._first, ROWS, generation=0)
        self._pipeline.wait_for_version(source.version())
        keys: dict[str, list[str]] = {}
        for company, key_hash in source.keys_of(self._first, ROWS):
            keys.setdefault(company, []).append(key_hash)
        return keys

    def one_of_each(self, keys: Mapping[str, list[str]]) -> list[Fault]:
        """A fault of every class, spread over the companies."""
        companies = self._pipeline.config.companies
        return [
            self.delete(companies[0], keys[companies[0].id][0]),
            self.lose_change(companies[1], keys[companies[1].id][0]),
            self.duplicate(companies[2], keys[companies[2].id][0]),
            self.edit(companies[3], keys[companies[3].id][0]),
            self.edit_hash(companies[4], keys[companies[4].id][0]),
            self.copy(companies[0], keys[companies[0].id][1], companies[5]),
        ]

    def delete(self, company: Company, key: str) -> Fault:
        """A row is gone, as when its event was lost."""
        self._change(company, f"DELETE FROM {self._target} WHERE lpm_key_hash = decode(:key, 'hex')", key)
        return Fault(company.id, key, Kind.MISSING)

    def lose_change(self, company: Company, key: str) -> Fault:
        """A row changes in the source, and the event gets lost on its way into the database."""
        with self._losing(company, key):
            self._pipeline.source.update(self._row_of(key), self._free)
        return Fault(company.id, key, Kind.STALE)

    def lose_delete(self, company: Company, key: str) -> Fault:
        """A row is deleted in the source, and the event gets lost on its way into the database."""
        with self._losing(company, key):
            self._pipeline.source.delete(self._row_of(key))
        return Fault(company.id, key, Kind.EXTRA)

    def edit(self, company: Company, key: str) -> Fault:
        """A value was changed by hand."""
        statement = f"""UPDATE {self._target} SET "{self._free}" = 'by hand' WHERE lpm_key_hash = decode(:key, 'hex')"""
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

    def stopped_watermark(self, company: Company) -> AbstractContextManager[None]:
        """The company's watermark stands still meanwhile, whatever heartbeats arrive; its rows go on."""
        return self._swallowing(company, f"UPDATE ON {names.STATE_SCHEMA}.watermark FOR EACH ROW")

    def close(self) -> None:
        """End the connections."""
        for engine in self._engines.values():
            engine.dispose()

    def _row_of(self, key: str) -> str:
        return self._pipeline.source.row_of(self._first, ROWS, key)

    @contextmanager
    def _losing(self, company: Company, key: str) -> Iterator[None]:
        """What is committed for the key meanwhile gets lost; ends when all else has arrived."""
        inbox = names.inbox_table(self._pipeline.config)
        with self._swallowing(company, f"INSERT ON {inbox} FOR EACH ROW WHEN (NEW.key_hash = '{key}')"):
            yield
            self._pipeline.wait_for_version(self._pipeline.source.version())

    @contextmanager
    def _swallowing(self, company: Company, what: str) -> Iterator[None]:
        function = f"FUNCTION {SWALLOW}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        self._execute(
            company,
            f"CREATE OR REPLACE {function}",
            f"CREATE TRIGGER swallow BEFORE {what} EXECUTE FUNCTION {SWALLOW}()",
        )
        try:
            yield
        finally:
            self._execute(company, f"DROP FUNCTION {SWALLOW}() CASCADE")

    def _execute(self, company: Company, *statements: str) -> None:
        with self._engine(company).begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

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
        values = list({**row, "lpm_key_hash": bytes.fromhex(key), "lpm_bucket": bucket_of(key)}.items())
        listed = ", ".join(f'"{name}"' for name, _ in values)
        markers = ", ".join(f":v{index}" for index in range(len(values)))
        parameters = {f"v{index}": value for index, (_, value) in enumerate(values)}
        with self._engine(company).begin() as connection:
            connection.execute(text(f"INSERT INTO {self._target} ({listed}) VALUES ({markers})"), parameters)
