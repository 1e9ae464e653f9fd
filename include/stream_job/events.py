"""Rows of the change feed as change events: pure functions from DataFrame to DataFrame.

One rule: ``insert`` and ``update_postimage`` are upserts (rank 1), ``delete`` and ``update_preimage`` deletes (rank 0),
each for the company and key in that row. At equal version the upsert wins.

An upsert is therefore always sent, whatever else its version holds, so upserts need no shuffle and versions that only
insert cost one pass. Only a delete has to know whether its key also has an upsert in that version: a second, narrow
pass over the versions that hold any decides that, by company and key columns, without the rest of the row.
"""

from pyspark.sql import Column, DataFrame, Observation, Window
from pyspark.sql import functions as sf

from stream_job.settings import Settings

RANK = "CASE WHEN _change_type IN ('insert', 'update_postimage') THEN 1 ELSE 0 END"
TOO_LARGE = "too_large"  # one of settings.dead_letter_reasons
UPSERT_IDENTITY = ("company", "key", "version")
# Names in the narrow pass, beside the table's own columns; the contract reserves the prefix.
_UPSERTS, _COMMITTED = "lpm_upserts", "lpm_committed_at"


def observed_input(batch: DataFrame, observation: Observation) -> DataFrame:
    """The same rows; counts them and finds the versions that hold rank-0 rows while they pass by."""
    is_delete = sf.expr(f"{RANK} = 0")
    return batch.observe(
        observation,
        sf.count(sf.lit(1)).alias("input_rows"),
        sf.count_if(is_delete).alias("delete_rows"),
        sf.min(sf.when(is_delete, sf.col("_commit_version"))).alias("first_delete_version"),
        sf.max(sf.when(is_delete, sf.col("_commit_version"))).alias("last_delete_version"),
        sf.max("_commit_timestamp").alias("committed_at"),
    )


def upserts(batch: DataFrame, settings: Settings) -> DataFrame:
    """Every rank-1 row with the event it makes.

    Columns: company, key, key_hash, bucket, version, row_hash, value (the event as JSON), reason (why it is a dead
    letter instead, NULL when it is not).
    """
    rows = batch.where(f"{RANK} = 1")
    return _with_event(rows, settings, {})


def dead_letters(batch: DataFrame, settings: Settings) -> DataFrame:
    """The rank-1 rows that cannot become an event, with the whole row.

    Columns of the dead-letter table, without those that describe the batch. A rank-0 row without company or key is
    none: there is nothing to remove anywhere.
    """
    rows = batch.where(f"{RANK} = 1")
    kept = {"change_type": "_change_type", "row_json": settings.expressions.row_json}
    return (
        _with_event(rows, settings, kept)
        .where("reason IS NOT NULL")
        .selectExpr(
            "reason",
            "company AS info_companyid",
            "key",
            "version",
            "change_type",
            "committed_at",
            f"CASE WHEN reason = '{TOO_LARGE}' THEN CAST(octet_length(value) AS BIGINT) END AS event_bytes",
            "row_json",
        )
    )


def folded(batch: DataFrame, settings: Settings) -> DataFrame:
    """One line for each company, key and version: how many upserts it has. Narrow.

    Columns: the company column, the key columns, _commit_version, ``lpm_upserts``, ``lpm_committed_at``.
    """
    identity = [sf.col(quoted(name)) for name in dict.fromkeys((settings.company_column, *settings.key_columns))]
    return (
        batch.select(*identity, "_commit_version", "_commit_timestamp", sf.expr(RANK).alias(_UPSERTS))
        .groupBy(*identity, "_commit_version")
        .agg(sf.sum(_UPSERTS).alias(_UPSERTS), sf.max("_commit_timestamp").alias(_COMMITTED))
    )


def has_several_upserts() -> Column:
    """Of :func:`folded`: the key has more than one upsert in the version, perhaps of different content."""
    return sf.col(_UPSERTS) > 1


def deletes(lines: DataFrame, settings: Settings) -> DataFrame:
    """The delete events of :func:`folded` lines. Columns as of :func:`upserts`, without row_hash and reason."""
    expressions = settings.expressions
    return (
        lines.where(f"{_UPSERTS} = 0")
        .selectExpr(
            f"{quoted(settings.company_column)} AS company",
            f"{expressions.key} AS key",
            "_commit_version AS version",
            f"{_COMMITTED} AS committed_at",
        )
        .where("company IS NOT NULL AND key IS NOT NULL")
        .selectExpr("*", f"{expressions.key_hash} AS key_hash")
        .selectExpr("*", f"{expressions.bucket} AS bucket")
        .selectExpr("company", "key", "key_hash", "bucket", "version", f"{expressions.delete} AS value")
        # The upsert of such a key holds the key twice: it was larger still and never sent.
        .where(f"octet_length(value) <= {settings.max_event_bytes}")
    )


def winners(batch: DataFrame, settings: Settings) -> DataFrame:
    """For each key with several upserts of different content in one version, the one with the highest row hash.

    Sent after all of them, so the target ends with it whatever order they came in.
    """
    suspects = (
        folded(batch, settings)
        .where(has_several_upserts())
        .selectExpr(
            f"{quoted(settings.company_column)} AS company",
            f"{settings.expressions.key} AS key",
            "_commit_version AS version",
        )
    )
    same_key = Window.partitionBy(*UPSERT_IDENTITY)
    return (
        upserts(batch, settings)
        .where("reason IS NULL")
        .join(sf.broadcast(suspects), list(UPSERT_IDENTITY), "left_semi")
        .withColumn("place", sf.row_number().over(same_key.orderBy(sf.desc("row_hash"))))
        .withColumn("lowest", sf.min("row_hash").over(same_key))
        .where("place = 1 AND lowest <> row_hash")
        .drop("place", "lowest")
    )


def _with_event(rows: DataFrame, settings: Settings, kept: dict[str, str]) -> DataFrame:
    """``rows`` as events. Their own columns go in the first step, so no name of the table can meet one of ours."""
    expressions = settings.expressions
    names = [*kept, "company", "key", "key_hash", "bucket", "version", "committed_at", "row_hash", "value"]
    return (
        rows.selectExpr(
            *[f"{expression} AS {name}" for name, expression in kept.items()],
            f"{quoted(settings.company_column)} AS company",
            f"{expressions.key} AS key",
            f"{expressions.payload} AS payload",
            f"{expressions.dead_letter_reason} AS early_reason",
            "_commit_version AS version",
            "_commit_timestamp AS committed_at",
        )
        .selectExpr("*", f"{expressions.key_hash} AS key_hash", f"{expressions.row_hash} AS row_hash")
        .selectExpr("*", f"{expressions.bucket} AS bucket")
        .selectExpr("*", f"{expressions.upsert} AS value")
        .selectExpr(
            *names,
            f"coalesce(early_reason, CASE WHEN {expressions.size} > {settings.max_event_bytes}"
            f" THEN '{TOO_LARGE}' END) AS reason",
        )
    )


def quoted(name: str) -> str:
    """A Spark SQL identifier."""
    return "`" + name.replace("`", "``") + "`"
