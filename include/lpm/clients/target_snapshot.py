"""A company's database as it is at one moment, for reconciliation: sums, keys, rows and what is in flight.

Everything that one snapshot tells belongs together: the database keeps one state for its whole transaction. Only sums
and keys leave the database; they are made by its own engine.
"""

import json
from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from lpm.clients.target_database import TargetDatabase
from lpm.contract.envelope import BUCKETS, bucket_of
from lpm.contract.values import Value, normalised
from lpm.render import names
from lpm.render.reconciliation import HASH_BYTES
from lpm.render.targets import DIALECTS, Dialect

ROWS_AT_ONCE = 1_000
# Of 65,536. For so many the index takes as long as reading the whole table once, measured with 2 million rows in
# PostgreSQL: 0.4 of it for half as many, 1.5 for twice as many.
BUCKETS_BY_INDEX = 4_000


@dataclass(frozen=True)
class BucketSum:
    """Rows of a bucket, or of some, and the sum over them: of the first bytes of row hash, and the bucket."""

    rows: int
    hash_sum: int

    def __add__(self, other: "BucketSum") -> "BucketSum":
        return BucketSum(self.rows + other.rows, self.hash_sum + other.hash_sum)

    def __sub__(self, other: "BucketSum") -> "BucketSum":
        return BucketSum(self.rows - other.rows, self.hash_sum - other.hash_sum)


NOTHING = BucketSum(0, 0)


@dataclass(frozen=True)
class TargetKey:
    """A live row of the target. Hashes in hexadecimal; ``own``: its company column is exactly this company."""

    key_hash: str
    row_hash: str
    version: int
    own: bool


@dataclass(frozen=True)
class _Spelling:
    """How one dialect says what both must say."""

    isolation: str
    hash_sum: str
    tombstone_bucket: str
    bucket_is_one_of: str  # of :buckets, a JSON array
    is_own: str


_SPELLINGS: Mapping[Dialect, _Spelling] = {
    "postgresql": _Spelling(
        isolation="REPEATABLE READ",
        # This cast: PostgreSQL 18.
        hash_sum=f"sum(substring(lpm_row_hash FROM 1 FOR {HASH_BYTES})::bigint + lpm_bucket)",
        tombstone_bucket="get_byte(key_hash, 0) * 256 + get_byte(key_hash, 1)",
        bucket_is_one_of="{bucket} IN (SELECT json_array_elements_text(CAST(:buckets AS json))::integer)",
        is_own="{column} IS NOT DISTINCT FROM :company",
    ),
    "mssql": _Spelling(
        isolation="SNAPSHOT",  # allowed in every Azure SQL database; READ COMMITTED has a new state per statement
        hash_sum=f"SUM(CONVERT(decimal(38,0), CONVERT(bigint, 0x00 + SUBSTRING(lpm_row_hash, 1, {HASH_BYTES})) "
        "+ lpm_bucket))",
        tombstone_bucket="CONVERT(int, SUBSTRING(key_hash, 1, 2))",
        bucket_is_one_of="{bucket} IN (SELECT CONVERT(int, value) FROM OPENJSON(:buckets))",
        # Its = ignores trailing blanks, and case under most collations.
        is_own="CASE WHEN {column} + N'|' COLLATE Latin1_General_BIN2 = :company + N'|' THEN 1 ELSE 0 END",
    ),
}


@contextmanager
def snapshot(database: TargetDatabase) -> "Iterator[TargetSnapshot]":
    """One state of a company's database. Reads only, blocks no writer.

    Raises:
        TargetDatabaseError: it cannot be read; names the company and the next step.
    """
    spelling = _SPELLINGS[database.dialect]
    with database.transaction(spelling.isolation) as connection:
        yield TargetSnapshot(database, connection, spelling)


class TargetSnapshot:
    """What one state of the database says. ``buckets`` None means all of them."""

    def __init__(self, database: TargetDatabase, connection: Connection, spelling: _Spelling) -> None:
        self._database = database
        self._connection = connection
        self._spelling = spelling
        quoted = DIALECTS[database.dialect].name
        self._target = ".".join(map(quoted, names.target_table(database.config).split(".")))
        self._columns = [quoted(column.name) for column in database.config.table.columns]
        self._own = spelling.is_own.format(column=quoted(database.config.table.company_column))

    def watermark(self) -> int:
        """Version through which the database has everything; -1 before the first heartbeat."""
        [(version,)] = self._read(f"SELECT min(version) FROM {names.STATE_SCHEMA}.watermark")
        return -1 if version is None else int(version)

    def sums(self, version: int, buckets: Collection[int] | None = None, width: int = 1) -> dict[int, BucketSum]:
        """The sums of rows whose version is not above ``version``; buckets without rows are absent.

        ``width`` neighbouring buckets have one sum, under the first of them, when all buckets are asked for.
        """
        asked, wanted = _asked(buckets), _wanted(buckets)
        first = f"lpm_bucket - lpm_bucket % {width}"
        query = f"""SELECT {first}, count(*), {self._spelling.hash_sum} FROM {self._target}
            WHERE lpm_version <= :version {self._in("lpm_bucket", asked)} GROUP BY {first}"""
        found = self._read(query, version=version, buckets=asked)
        return {int(bucket): BucketSum(int(rows), int(total)) for bucket, rows, total in found if bucket in wanted}

    def in_flight(self, version: int, buckets: Collection[int] | None = None) -> frozenset[str]:
        """Hashes of the keys that a version above ``version`` has already changed or deleted."""
        asked, wanted = _asked(buckets), _wanted(buckets)
        tombstones = self._in(self._spelling.tombstone_bucket, asked)
        query = f"""SELECT lpm_key_hash FROM {self._target}
            WHERE lpm_version > :version {self._in("lpm_bucket", asked)}
            UNION ALL SELECT key_hash FROM {names.STATE_SCHEMA}.tombstone WHERE version > :version {tombstones}"""
        found = (bytes(key).hex() for (key,) in self._read(query, version=version, buckets=asked))
        return frozenset(key for key in found if bucket_of(key) in wanted)

    def keys(self, buckets: Collection[int]) -> dict[str, TargetKey]:
        """The live rows of some buckets by key hash."""
        query = f"""SELECT lpm_key_hash, lpm_row_hash, lpm_version, {self._own} FROM {self._target}
            WHERE 1 = 1 {self._in("lpm_bucket", buckets)}"""
        found = self._read(query, buckets=buckets, company=self._database.company.id)
        keys = (
            TargetKey(bytes(key).hex(), bytes(row).hex(), int(version), bool(own)) for key, row, version, own in found
        )
        return {key.key_hash: key for key in keys}

    def rows(self, first_bucket: int, last_bucket: int) -> Iterator[tuple[str, tuple[Value, ...]]]:
        """Key hash and typed values, in the contract's order, of the rows of a range of buckets, read in pieces."""
        query = f"""SELECT lpm_key_hash, {", ".join(self._columns)} FROM {self._target}
            WHERE lpm_bucket BETWEEN :first AND :last"""
        result = self._connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
            text(query), {"first": first_bucket, "last": last_bucket}
        )
        for key_hash, *values in result:
            yield bytes(key_hash).hex(), tuple(map(normalised, values))

    def _in(self, bucket: str, buckets: Collection[int] | None) -> str:
        return "" if buckets is None else f"AND {self._spelling.bucket_is_one_of.format(bucket=bucket)}"

    def _read(self, query: str, *, buckets: Collection[int] | None = None, **values: Any) -> list[tuple[Any, ...]]:
        if buckets is not None:
            values["buckets"] = json.dumps(list(buckets))
        return [tuple(row) for row in self._connection.execute(text(query), values)]


def _asked(buckets: Collection[int] | None) -> Collection[int] | None:
    """The buckets that the database is asked for, None for all."""
    return None if buckets is None or len(buckets) > BUCKETS_BY_INDEX else buckets


def _wanted(buckets: Collection[int] | None) -> Container[int]:
    return range(BUCKETS) if buckets is None else frozenset(buckets)
