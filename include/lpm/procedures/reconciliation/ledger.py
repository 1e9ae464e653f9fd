"""The ledger: move it forward with the change feed, and hold it against its table slice by slice."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from lpm.clients.databricks import DatabricksClient
from lpm.contract.envelope import BUCKETS, bucket_of
from lpm.procedures.reconciliation.source import Source
from lpm.procedures.record import Record


@dataclass(frozen=True)
class Slice:
    """A range of buckets, both ends included."""

    first: int
    last: int

    @classmethod
    def of_hour(cls, moment: datetime, hours: int) -> "Slice":
        """The slice whose turn it is: the same hour of every round of ``hours`` has the same one."""
        turn = int(moment.timestamp() // 3600) % hours
        return cls(turn * BUCKETS // hours, (turn + 1) * BUCKETS // hours - 1)

    @classmethod
    def everything(cls) -> "Slice":
        """All buckets."""
        return cls(0, BUCKETS - 1)

    @classmethod
    def around(cls, keys: Collection[str]) -> "Slice":
        """The smallest range that has the buckets of all those keys (hashes in hexadecimal), at least one."""
        return cls(bucket_of(min(keys)), bucket_of(max(keys)))

    @property
    def buckets(self) -> range:
        """Its buckets."""
        return range(self.first, self.last + 1)

    def pieces(self, rows: int, rows_at_once: int) -> "Iterator[Slice]":
        """The range in pieces of about so many rows, when ``rows`` lie in all buckets; hashes spread evenly."""
        width = max(1, BUCKETS * rows_at_once // max(rows, 1))
        for first in range(self.first, self.last + 1, width):
            yield Slice(first, min(first + width - 1, self.last))


class LedgerFault(Record):
    """A bucket whose ledger did not say what its table says."""

    company: str
    bucket: int
    rows: int  # by how many rows the ledger was short


class Ledger(Record):
    """What the ledger says after it was moved. ``through``: the version it goes through; it is the cut of a round."""

    through: int
    advanced_from: int | None  # None when it was started anew
    faults: tuple[LedgerFault, ...]
    row_counts: Mapping[str, int]  # of every company that the source knows, configured or not

    def unknown_rows(self, known: Collection[str]) -> dict[str, int]:
        """Rows of companies that are not among the known ones."""
        return {company: rows for company, rows in self.row_counts.items() if company not in known}

    @property
    def summary(self) -> str:
        """One line for people."""
        moved = "started anew" if self.advanced_from is None else f"moved from version {self.advanced_from}"
        return f"ledger {moved} to version {self.through}; {len(self.faults)} buckets disagreed with the table"


def bring_forward(source: Source, databricks: DatabricksClient, check: Slice | None, *, anew: bool = False) -> Ledger:
    """Move the ledger to the source's latest version, and compare a slice of it with the table itself.

    What the slice finds wrong is put right at once and told: nobody may trust a sum that its table does not give.

    Raises:
        StatementFailed: the source cannot be read; when the change feed no longer has what the ledger needs, start it
            anew (parameter ``ledger_anew``).
    """
    queries = source.queries
    databricks.run_sql(queries.create_ledger())
    [(found,)] = databricks.run_sql(queries.ledger_through()).rows
    before = None if found is None or anew else int(found)
    latest = source.latest_version()
    if before is None:
        databricks.run_sql(queries.start_ledger(latest), timeout_seconds=3600)
    elif latest > before:
        databricks.run_sql(queries.advance_ledger(before + 1, latest), timeout_seconds=3600)
    faults = _faults(source, databricks, latest, check) if check else ()
    return Ledger(through=latest, advanced_from=before, faults=faults, row_counts=source.row_counts())


def _faults(source: Source, databricks: DatabricksClient, version: int, check: Slice) -> tuple[LedgerFault, ...]:
    statement = source.queries.ledger_faults(version, check.first, check.last)
    found = databricks.run_sql(statement, timeout_seconds=3600).rows
    if found:
        databricks.run_sql(source.queries.correct_ledger(version, check.first, check.last), timeout_seconds=3600)
    return tuple(
        LedgerFault(company=str(company), bucket=int(bucket or 0), rows=int(rows or 0))
        for company, bucket, rows, _ in found
    )
