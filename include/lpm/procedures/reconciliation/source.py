"""The source side: sums from the ledger, keys, rows and events from the table, all made by Databricks itself."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from lpm.clients.databricks import DatabricksClient, SqlResult, StatementFailed
from lpm.clients.target_snapshot import NOTHING, BucketSum
from lpm.config import Config, Environment
from lpm.render.reconciliation import Queries

KEYS_AT_ONCE = 5_000  # in one statement
TOO_MUCH = "Inline byte limit exceeded"  # how Databricks refuses a result of more than 25 MiB

Part = TypeVar("Part")


@dataclass(frozen=True)
class SourceKey:
    """A key of the source. ``rows`` above 1: the source has the key more than once. ``payload``: if asked for."""

    key_hash: str
    row_hash: str
    rows: int
    sendable: bool = True  # False: the stream job makes it a dead letter
    payload: str | None = None


class Source:
    """The source table of an environment, read through its SQL warehouse."""

    def __init__(self, config: Config, environment: Environment, databricks: DatabricksClient) -> None:
        self._databricks = databricks
        self.queries = Queries(config, environment)

    def latest_version(self) -> int:
        """The newest version of the table."""
        [(version, *_)] = self._databricks.run_sql(self.queries.latest_version()).rows
        return int(version or 0)

    def sums(self, company: str, version: int, since: int = -1, width: int = 1) -> dict[int, BucketSum]:
        """Sums at ``version``, from the ledger, of the buckets that changed after ``since``.

        ``width`` neighbouring buckets have one sum, under the first of them.
        """
        return self._sums(self.queries.sums(version, since, width), company=company)

    def sums_of_table(self, company: str, version: int, first: int, last: int) -> dict[int, BucketSum]:
        """Sums at ``version`` of a range of buckets, from the table itself: it needs no ledger and reads every row."""
        statement = self.queries.sums_of_table(version, first, last)
        return _bucket_sums(self._databricks.run_sql(statement, {"company": company}, timeout_seconds=3600))

    def still_there(self, company: str, version: int, keys: Collection[str], width: int = 1) -> dict[int, BucketSum]:
        """What those keys, which have changed since, were worth at ``version``; summed as by :meth:`sums`."""
        latest, total = self.latest_version(), dict[int, BucketSum]()
        if latest == version:
            return total
        for part in in_parts(sorted(keys), KEYS_AT_ONCE):
            statement = self.queries.still_there(version, latest)
            for bucket, found in self._sums(statement, company=company, keys=",".join(part)).items():
                first = bucket - bucket % width
                total[first] = total.get(first, NOTHING) + found
        return total

    def keys(
        self, company: str, version: int, firsts: Sequence[int], width: int = 1, *, payloads: bool = False
    ) -> dict[str, SourceKey]:
        """The company's keys at ``version`` in ``width`` buckets from each first one.

        With their ``payloads`` if that is wanted, and those of each first one fit into one result.
        """
        try:
            found = self._in_halves(
                lambda part: self.queries.keys(version, part, width, payloads=payloads), company, firsts
            )
        except StatementFailed as error:
            if TOO_MUCH not in str(error) or not payloads:
                raise
            return self.keys(company, version, firsts, width)
        keys = (
            SourceKey(str(key), str(row_hash), int(rows or 0), sendable == "true", payload)
            for key, rows, row_hash, sendable, payload in found
        )
        return {key.key_hash: key for key in keys}

    def key_hashes(self, company: str, version: int, first: int, last: int) -> set[str]:
        """Hashes of the company's keys in a range of buckets at ``version``."""
        pieces = self._in_pieces(self.queries.key_hashes, company, version, first, last)
        return {key for _, _, found in pieces for key in found}

    def count_rows(self, company: str, version: int, first: int, last: int) -> int:
        """How many rows the company has in a range of buckets at ``version``, from the table itself."""
        statement = self.queries.count_rows(version, first, last)
        [(rows,)] = self._databricks.run_sql(statement, {"company": company}).rows
        return int(rows or 0)

    def rows(
        self, company: str, version: int, first: int, last: int
    ) -> Iterator[tuple[int, int, dict[str, str | None]]]:
        """Payloads by key hash at ``version`` in pieces that fit one result: first bucket, last bucket, payloads."""
        yield from self._in_pieces(self.queries.rows, company, version, first, last)

    def rows_of(self, company: str, version: int, keys: Sequence[str]) -> dict[str, str | None]:
        """Payloads by key hash of some keys at ``version``."""
        found = self._in_halves(lambda part: self.queries.rows_of(version, part), company, keys)
        return {str(key): payload for key, payload in found}

    def _in_halves(
        self, query: Callable[[Sequence[Part]], str], company: str, wanted: Sequence[Part]
    ) -> tuple[tuple[str | None, ...], ...]:
        """The rows that the query has for all that is wanted, asked in as many parts as it takes for each to fit."""
        try:
            return self._databricks.run_sql(query(wanted), {"company": company}).rows
        except StatementFailed as error:
            if TOO_MUCH not in str(error) or len(wanted) < 2:
                raise
        half = len(wanted) // 2
        return self._in_halves(query, company, wanted[:half]) + self._in_halves(query, company, wanted[half:])

    def _in_pieces(
        self, query: Callable[[int, int, int], str], company: str, version: int, first: int, last: int
    ) -> Iterator[tuple[int, int, dict[str, str | None]]]:
        try:
            found = self._databricks.run_sql(query(version, first, last), {"company": company}).rows
        except StatementFailed as error:
            if TOO_MUCH not in str(error) or first == last:
                raise
            middle = (first + last) // 2
            yield from self._in_pieces(query, company, version, first, middle)
            yield from self._in_pieces(query, company, version, middle + 1, last)
        else:
            yield first, last, {str(key): value for key, value in found}

    def last_changes(self, company: str, first: int, last: int, keys: Collection[str]) -> dict[str, int]:
        """The newest version from ``first`` to ``last`` that changed each of the keys; absent when none did."""
        changes: dict[str, int] = {}
        for part in in_parts(sorted(keys), KEYS_AT_ONCE):
            statement = self.queries.last_changes(first, last)
            found = self._databricks.run_sql(statement, {"company": company, "keys": ",".join(part)}).rows
            changes |= {str(key): int(version or 0) for key, version in found}
        return changes

    def upserts(self, company: str, version: int, keys: Sequence[str]) -> dict[str, str | None]:
        """The events that make those keys what they are at ``version``; None for one that cannot be sent."""
        found = self._databricks.run_sql(self.queries.upserts(version, keys), {"company": company}).rows
        return {str(key): value for key, value in found}

    def upserts_of_buckets(
        self, company: str, version: int, first: int, last: int
    ) -> Iterator[tuple[int, int, dict[str, str | None]]]:
        """The same for a range of buckets, in pieces that fit one result: first bucket, last bucket, events."""
        yield from self._in_pieces(self.queries.upserts_of_buckets, company, version, first, last)

    def dead_letters(
        self, company: str, reason: str | None, since: datetime | None, until: datetime | None
    ) -> list[tuple[str, str]]:
        """Reason and key hash of the company's dead letters that have a key; None for all."""
        wanted = {"company": company, "reason": reason, "since": since, "until": until}
        found = self._databricks.run_sql(self.queries.dead_letters(), wanted).rows
        return [(str(why), str(key)) for why, key in found]

    def row_counts(self) -> dict[str, int]:
        """Rows of every company that the ledger knows, configured or not."""
        found = self._databricks.run_sql(self.queries.row_counts()).rows
        return {str(company): int(rows or 0) for company, rows in found}

    def _sums(self, statement: str, **parameters: str) -> dict[int, BucketSum]:
        return _bucket_sums(self._databricks.run_sql(statement, parameters))


def _bucket_sums(found: SqlResult) -> dict[int, BucketSum]:
    return {int(bucket or 0): BucketSum(int(rows or 0), int(total or 0)) for bucket, rows, total in found.rows}


def in_parts(values: Sequence[Part], size: int) -> Iterator[Sequence[Part]]:
    """The values in their order, at most ``size`` at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
