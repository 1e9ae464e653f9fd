"""Spark SQL of reconciliation and repair: the source's sums, keys and events, by the job's own expressions.

The ledger is a journal: one line for each company, bucket and version that changed it, with what the version added
(post-images) and took away (pre-images). A company's sums at version V are the sums of its lines up to V. Every
statement that moves the ledger ends with one line without company, which says through which version it goes; both
arrive in one commit.

A row that the stream job makes a dead letter is in no sum. One that has company and key all the same (not finite, too
large) is among the keys, marked as not sendable: its target may hold an older state.

Versions are pasted as numbers: ``VERSION AS OF`` and ``table_changes`` take no parameters. All else is a parameter.
"""

from collections.abc import Collection, Iterable

from lpm.config import Config, Environment
from lpm.contract.envelope import event_expressions, event_size, row_expressions
from lpm.contract.sequence import Rank
from lpm.render import names

HASH_BYTES = 7  # of row_hash that are summed: the sum of billions of rows fits 38 digits
_HASH = f"CAST(conv(substring(row_hash, 1, {2 * HASH_BYTES}), 16, 10) AS DECIMAL(38,0))"
# What a row adds to the sum of several buckets: the same row under a key of another bucket adds something else.
_WORTH = f"{_HASH} + bucket"
_RANK = f"CASE WHEN _change_type IN ('insert', 'update_postimage') THEN {Rank.UPSERT} ELSE {Rank.DELETE} END"
_SIGN = f"CASE WHEN rank = {Rank.UPSERT} THEN 1 ELSE -1 END"
_ENVELOPE_BYTES = 1_000  # more than an event needs beside company, key and payload
# Half of an event's JSON may be the escapes of its quotes. A row that is small all the same needs no closer look.
_SURELY_FITS = f"2 * (octet_length(payload) + octet_length(key) + octet_length(company)) + {_ENVELOPE_BYTES} <= "


class Queries:
    """The statements for one environment. ``version`` is always a version of the source table."""

    def __init__(self, config: Config, environment: Environment) -> None:
        self._row = row_expressions(config.table)
        self._table = config.table
        self._limit = config.pipeline.limits.max_event_bytes
        self._source = names.source_table(config, environment)
        self._ledger = names.ledger_table(environment)
        self._dead_letters = names.dead_letter_table(environment)

    def create_ledger(self) -> str:
        """Make the ledger's table where it is missing."""
        return f"""CREATE TABLE IF NOT EXISTS {self._ledger} (
            company STRING COMMENT 'NULL in the line that says through which version the ledger goes',
            bucket INT COMMENT 'First two bytes of the key hash',
            version BIGINT NOT NULL COMMENT 'Version of the source table',
            row_count BIGINT NOT NULL COMMENT 'Rows that the version added to the bucket, minus those it took away',
            hash_sum DECIMAL(38,0) NOT NULL COMMENT 'The same for the first {HASH_BYTES} bytes of the row hashes'
            ) USING delta COMMENT 'Sums of {self._source} by company and bucket, for reconciliation'"""

    def latest_version(self) -> str:
        """The source's latest version."""
        return f"DESCRIBE HISTORY {self._source} LIMIT 1"

    def ledger_through(self) -> str:
        """One value: the version through which the ledger goes, NULL when it was never started."""
        return f"SELECT max(version) FROM {self._ledger} WHERE company IS NULL"

    def start_ledger(self, version: int) -> str:
        """Fill the ledger anew from the table at ``version``. Reads the whole table."""
        rows = self._rows(f"{self._source} VERSION AS OF {version}")
        return f"""INSERT OVERWRITE {self._ledger}
            SELECT company, bucket, CAST({version} AS BIGINT), count(*), sum({_HASH}) FROM ({rows})
            WHERE sendable GROUP BY company, bucket {_through(version)}"""

    def advance_ledger(self, first: int, last: int) -> str:
        """Add the versions ``first`` to ``last``, both included, from the change feed."""
        return f"""INSERT INTO {self._ledger}
            SELECT company, bucket, version, sum({_SIGN}), sum({_SIGN} * {_HASH}) FROM ({self._changes(first, last)})
            WHERE sendable GROUP BY company, bucket, version
            HAVING sum({_SIGN}) <> 0 OR sum({_SIGN} * {_HASH}) <> 0 {_through(last)}"""

    def compact_ledger(self, version: int) -> str:
        """Make one line of all lines of a company's bucket up to ``version``. Sums before it are lost."""
        return f"""INSERT OVERWRITE {self._ledger}
            SELECT * FROM (
                SELECT company, bucket, greatest(version, {version}) AS version,
                    sum(row_count) AS row_count, sum(hash_sum) AS hash_sum
                FROM {self._ledger} WHERE company IS NOT NULL GROUP BY company, bucket, greatest(version, {version}))
            WHERE row_count <> 0 OR hash_sum <> 0
            UNION ALL SELECT NULL, NULL, max(version), 0, 0 FROM {self._ledger} WHERE company IS NULL"""

    def ledger_faults(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """Company, bucket, and what to add to the ledger where it does not say what the table at ``version`` says.

        Reads the key columns of every row, and the rest of the rows in those buckets.
        """
        slice_ = f"bucket BETWEEN {first_bucket} AND {last_bucket}"
        rows = self._rows(f"{self._source} VERSION AS OF {version}", condition=_between(first_bucket, last_bucket))
        return f"""SELECT company, bucket, sum(row_count) AS row_count, sum(hash_sum) AS hash_sum FROM (
                SELECT company, bucket, 1L AS row_count, {_HASH} AS hash_sum FROM ({rows}) WHERE sendable
                UNION ALL SELECT company, bucket, -row_count, -hash_sum
                FROM {self._ledger} WHERE version <= {version} AND {slice_})
            GROUP BY company, bucket HAVING sum(row_count) <> 0 OR sum(hash_sum) <> 0"""

    def correct_ledger(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """Add what :meth:`ledger_faults` finds."""
        faults = self.ledger_faults(version, first_bucket, last_bucket)
        return f"""INSERT INTO {self._ledger}
            SELECT company, bucket, CAST({version} AS BIGINT), row_count, hash_sum FROM ({faults})"""

    def sums(self, version: int, since: int, width: int) -> str:
        """First bucket, rows and sum at ``version`` of each ``width`` neighbouring buckets of :company.

        Only of those that a version after ``since`` changed; -1 means all.
        """
        return f"""SELECT bucket - bucket % {width} AS first_bucket,
                sum(IF(version <= {version}, row_count, 0L)) AS row_count,
                sum(IF(version <= {version}, hash_sum + bucket * row_count, CAST(0 AS DECIMAL(38,0)))) AS hash_sum
            FROM {self._ledger} WHERE company = :company GROUP BY 1 HAVING max(version) > {since}"""

    def row_counts(self) -> str:
        """Company and its rows, of every company that the source knows, configured or not."""
        return f"""SELECT company, sum(row_count) FROM {self._ledger} WHERE company IS NOT NULL
            GROUP BY company HAVING sum(row_count) <> 0 ORDER BY company"""

    def still_there(self, version: int, latest: int) -> str:
        """Bucket, rows and sum at ``version`` of those :keys (comma between) of :company that changed after it.

        Read from the change feed: a key's first change after the version has the row as it was, if there was one.
        """
        changes = self._changes(version + 1, latest, "company = :company")
        return f"""SELECT bucket, sum(rows_before) AS row_count, sum(sum_before) AS hash_sum FROM (
                SELECT bucket, count_if(rank = {Rank.DELETE}) AS rows_before,
                    sum(IF(rank = {Rank.DELETE}, {_WORTH}, CAST(0 AS DECIMAL(38,0)))) AS sum_before,
                    row_number() OVER (PARTITION BY key_hash ORDER BY version) AS place
                FROM ({changes}) JOIN (SELECT explode(split(:keys, ',')) AS key_hash) USING (key_hash)
                WHERE sendable GROUP BY key_hash, bucket, version)
            WHERE place = 1 GROUP BY bucket"""

    def keys(self, version: int, firsts: Collection[int], width: int, *, payloads: bool) -> str:
        """Of :company's keys at ``version``: key hash, rows, highest row hash, whether sendable.

        Then its payload, if ``payloads`` are wanted, else NULL. Of the keys in ``width`` buckets from each first one.
        """
        buckets = _one_of(f"bucket div {width}", [first // width for first in firsts])
        payload = "max_by(payload, row_hash)" if payloads else "CAST(NULL AS STRING)"
        return f"""SELECT key_hash, count(*) AS row_count, max(row_hash) AS row_hash, bool_and(sendable) AS sendable,
                {payload} AS payload
            FROM ({self._of_company(version, buckets)}) GROUP BY key_hash"""

    def key_hashes(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """Of :company's keys in a range of buckets, at ``version``: key hash and nothing. Reads key columns only."""
        return f"""SELECT DISTINCT key_hash, CAST(NULL AS STRING) AS nothing
            FROM ({self._of_company(version, _between(first_bucket, last_bucket))})"""

    def count_rows(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """How many rows with a key :company has in a range of buckets, at ``version``. Reads key columns only."""
        return f"""SELECT count(*)
            FROM ({self._of_company(version, _between(first_bucket, last_bucket))})"""

    def sums_of_table(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """Bucket, rows and sum of :company in a range of buckets at ``version``, from the table itself."""
        return f"""SELECT bucket, count(*) AS row_count, sum({_WORTH}) AS hash_sum
            FROM ({self._of_company(version, _between(first_bucket, last_bucket))})
            WHERE sendable GROUP BY bucket"""

    def rows(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """Key hash and payload at ``version`` of the rows of :company in a range of buckets."""
        rows = self._of_company(version, _between(first_bucket, last_bucket))
        return f"SELECT key_hash, payload FROM ({rows}) WHERE sendable"

    def rows_of(self, version: int, key_hashes: Iterable[str]) -> str:
        """Key hash and payload at ``version`` of some keys of :company."""
        keys = _one_of("key_hash", [f"'{key_hash}'" for key_hash in key_hashes])
        return f"SELECT key_hash, payload FROM ({self._of_company(version, keys)})"

    def last_changes(self, first: int, last: int) -> str:
        """Key hash and newest version, from ``first`` to ``last``, that changed each of :keys of :company."""
        return f"""SELECT key_hash, max(version) FROM ({self._changes(first, last, "company = :company")})
            JOIN (SELECT explode(split(:keys, ',')) AS key_hash) USING (key_hash) GROUP BY key_hash"""

    def upserts(self, version: int, key_hashes: Iterable[str]) -> str:
        """Key hash and upsert event, as of ``version``, of some keys of :company; no event for what cannot be sent.

        The event has no commit time: it did not come by the change feed, so it says nothing about latency.
        """
        return self._upserts(version, _one_of("key_hash", [f"'{key_hash}'" for key_hash in key_hashes]))

    def upserts_of_buckets(self, version: int, first_bucket: int, last_bucket: int) -> str:
        """The same for every key in a range of buckets."""
        return self._upserts(version, _between(first_bucket, last_bucket))

    def _upserts(self, version: int, condition: str) -> str:
        event = event_expressions(self._table, f"{version}L", "CAST(NULL AS TIMESTAMP)").upsert
        rows = self._of_company(version, condition)
        return f"SELECT key_hash, CASE WHEN sendable THEN {event} END AS value FROM ({rows})"

    def dead_letters(self) -> str:
        """Reason and key of :company's dead letters; :reason, :since and :until may be NULL for all."""
        return f"""SELECT DISTINCT reason, sha2(key, 256) FROM {self._dead_letters}
            WHERE info_companyid = :company AND key IS NOT NULL AND (:reason IS NULL OR reason = :reason)
            AND (:since IS NULL OR dead_lettered_at >= :since) AND (:until IS NULL OR dead_lettered_at < :until)"""

    def _of_company(self, version: int, condition: str) -> str:
        return self._rows(f"{self._source} VERSION AS OF {version}", condition=f"company = :company AND {condition}")

    def _changes(self, first: int, last: int, condition: str = "true") -> str:
        """Rows of the change feed with ``rank`` and ``version``."""
        feed = f"table_changes('{self._source}', {first}, {last})"
        return self._rows(feed, f", {_RANK} AS rank, _commit_version AS version", ", rank, version", condition)

    def _rows(self, relation: str, taken: str = "", kept: str = "", condition: str = "true") -> str:
        """Rows with company and key: these and key_hash, bucket, payload, row_hash, sendable, and what is ``kept``."""
        row = self._row
        event = event_expressions(self._table, "0L", "TIMESTAMP'2000-01-01'").upsert
        fits = f"({_SURELY_FITS}{self._limit} OR {event_size(event, '0L')} <= {self._limit})"
        return f"""SELECT company, key, key_hash, bucket, payload, row_hash{kept},
            early_reason IS NULL AND {fits} AS sendable FROM (
            SELECT *, {row.bucket} AS bucket FROM (
            SELECT *, {row.key_hash} AS key_hash, {row.row_hash} AS row_hash FROM (
            SELECT {row.company} AS company, {row.key} AS key, {row.payload} AS payload,
                {row.dead_letter_reason} AS early_reason{taken} FROM {relation})))
            WHERE company IS NOT NULL AND key IS NOT NULL AND {condition}"""


def _through(version: int) -> str:
    return f"UNION ALL SELECT NULL, NULL, CAST({version} AS BIGINT), 0L, CAST(0 AS DECIMAL(38,0))"


def _between(first_bucket: int, last_bucket: int) -> str:
    """Rows in a range of buckets. Not BETWEEN: Spark hashes each row's key again for each comparison in a filter.

    Measured with a million rows, of which few are in the range: 0.6 of the time.
    """
    return f"width_bucket(bucket, {first_bucket}, {last_bucket + 1}, 1) = 1"


def _one_of(name: str, values: Iterable[object]) -> str:
    return f"{name} IN ({', '.join(map(str, values))})"
