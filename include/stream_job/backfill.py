"""Entry point of a large repair: send one company's rows in a range of buckets, as they are at a version of the source.

The same events as the stream job would send, by the same way, except that no commit caused them: they have no commit
time. Sending them again changes nothing. A row that cannot be sent is counted; its dead letter is the stream job's.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as sf

from stream_job import events, route, sink
from stream_job.main import reported_in_one_line, require_columns
from stream_job.metrics import metrics
from stream_job.settings import Settings, load


@dataclass(frozen=True)
class Wanted:
    """Which rows: of one company, at a version of the source, in a range of buckets with both ends."""

    company: str
    version: int
    first_bucket: int
    last_bucket: int


@dataclass(frozen=True)
class Sent:
    """Rows that went to the hub, and rows that cannot."""

    sent: int
    unsendable: int


def main() -> None:
    """Send what the arguments ask for, and print one line about it.

    Raises:
        SystemExit: it failed; the message is one line with the reason and the next step.
    """
    parser = argparse.ArgumentParser(prog="backfill", description="Sends rows of one company to Event Hubs.")
    parser.add_argument("--settings", required=True, type=Path, help="path of the settings document")
    parser.add_argument("--company", required=True, help="value of the company column")
    parser.add_argument("--version", required=True, type=int, help="version of the source table")
    parser.add_argument("--first_bucket", required=True, type=int, help="first bucket, from 0")
    parser.add_argument("--last_bucket", required=True, type=int, help="last bucket, at most 65535")
    given = parser.parse_args()
    wanted = Wanted(given.company, given.version, given.first_bucket, given.last_bucket)
    with reported_in_one_line("backfill"):
        done = run(SparkSession.builder.getOrCreate(), load(given.settings), os.environ, wanted)
    print(f"backfill: {done.sent} rows sent, {done.unsendable} unsendable")  # the run's output, which the caller reads


def run(spark: SparkSession, settings: Settings, variables: Mapping[str, str], wanted: Wanted) -> Sent:
    """Send the rows and wait until the hub has acknowledged every one.

    Raises:
        SourceError: the source table lacks a column of the contract.
        SecretMissingError: a secret's environment variable is not set.
        PySparkException, Py4JError: the source cannot be read or the hub refused.
    """
    for name, value in settings.session.items():
        spark.conf.set(name, value)
    sink.use_new_writer(spark)
    kafka_options = sink.options(settings.kafka, variables)
    routes = route.table(spark, settings)
    rows, in_range = source_rows(spark, settings, wanted), sf.col("bucket").between(*_range(wanted))

    def send(chosen: DataFrame) -> None:
        sink.write(route.routed(chosen, routes, settings), kafka_options)

    seen, folded = Observation(), Observation()
    upserts = events.upserts(rows, settings).where(in_range)
    sendable = sf.count_if(sf.col("reason").isNull()).alias("sent")
    unsendable = sf.count_if(sf.col("reason").isNotNull()).alias("unsendable")
    send(upserts.observe(seen, sendable, unsendable).where("reason IS NULL"))
    lines = events.folded(rows, settings).observe(folded, sf.count_if(events.has_several_upserts()).alias("suspects"))
    lines.write.format("noop").mode("overwrite").save()
    if metrics(folded)["suspects"]:  # a key that the source has several times: the one that the stream job sends last
        send(events.winners(rows, settings).where(in_range))
    counts = metrics(seen)
    return Sent(counts["sent"], counts["unsendable"])


def source_rows(spark: SparkSession, settings: Settings, wanted: Wanted) -> DataFrame:
    """The company's rows at the version, in the form of the change feed: as if that version had inserted them.

    Raises:
        SourceError: the source table lacks a column of the contract.
    """
    table = spark.sql(f"SELECT * FROM {settings.source_table} VERSION AS OF {wanted.version}")
    require_columns(table, settings)
    return table.where(sf.col(events.quoted(settings.company_column)) == sf.lit(wanted.company)).selectExpr(
        "*",
        "'insert' AS _change_type",
        f"CAST({wanted.version} AS BIGINT) AS _commit_version",
        "CAST(NULL AS TIMESTAMP) AS _commit_timestamp",
    )


def _range(wanted: Wanted) -> tuple[int, int]:
    return wanted.first_bucket, wanted.last_bucket


if __name__ == "__main__":
    main()
