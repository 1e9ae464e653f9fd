"""Entry point: read the settings, start the query, look after it until it ends.

A failure ends the process with the reason as its last line. Nothing is retried here: the platform starts the run again,
and the checkpoint makes it go on where it stopped.
"""

import argparse
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from stream_job import route, sink
from stream_job.batch import BatchCounts, BatchProcessor
from stream_job.heartbeat import Heartbeat
from stream_job.idle import IdleWatch
from stream_job.metrics import MetricsMissingError
from stream_job.offsets import CheckpointError
from stream_job.progress import ProgressListener, ProgressTable
from stream_job.settings import Settings, SettingsError, load

TICK_SECONDS = 0.25  # how often the main thread looks whether a heartbeat or a progress line is due

# Delta's error classes that a person has to act upon, and how. Looked for in this order.
_ADVICE = {
    "DELTA_STREAMING_INCOMPATIBLE_SCHEMA_CHANGE": (
        "a column of the source was renamed, dropped or changed its type: adapt the table contract in pipeline.yml, "
        "deploy, then start with a new checkpoint"
    ),
    "DELTA_SCHEMA_CHANGED": (
        "the source's schema changed: after added columns the next run goes on by itself; add them to the table "
        "contract in pipeline.yml to stream them"
    ),
    "DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE": (
        "the source table was dropped and made anew: start with a new checkpoint, which sends a new initial snapshot"
    ),
    "DELTA_MISSING_CHANGE_DATA": (
        "the change feed was switched off for a while: run enable_cdf, then start with a new checkpoint"
    ),
    "DELTA_FILE_NOT_FOUND": (
        "the job was down for longer than the source keeps its change files: start with a new checkpoint"
    ),
    "TABLE_OR_VIEW_NOT_FOUND": "the table does not exist or the job may not read it: run bootstrap and enable_cdf",
    "TopicAuthorizationException": "the job may not write to the hub: run bootstrap, which gives it the sender's role",
    "SaslAuthenticationException": "the hub refused the login: renew the secret, then run bootstrap",
    "UnknownTopicOrPartition": "a hub or partition does not exist: run bootstrap, which deploys the hubs",
    "not present in metadata": "a hub or partition does not exist or cannot be reached: run bootstrap, check port 9093",
    "TimeoutException": "the hub did not answer in time: check that it is up, port 9093 and its throughput units",
}

log = logging.getLogger(__name__)


class SourceError(RuntimeError):
    """The source table is not what the settings say."""


def main() -> None:
    """Run the job of ``--settings=<path>`` until it fails.

    Raises:
        SystemExit: it failed; the message is one line with the reason and the next step.
    """
    parser = argparse.ArgumentParser(prog="stream_job", description="Sends the change feed to Event Hubs.")
    parser.add_argument("--settings", required=True, type=Path, help="path of the settings document")
    path = parser.parse_args().settings
    with reported_in_one_line("stream job"):
        run(SparkSession.builder.getOrCreate(), load(path), os.environ)


@contextmanager
def reported_in_one_line(what: str) -> Iterator[None]:
    """Log as an entry point does, and turn a failure that can be explained into one line.

    Raises:
        SystemExit: what is done in it failed; the message has the reason and the next step.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        yield
    except (
        SettingsError,
        SourceError,
        CheckpointError,
        MetricsMissingError,
        sink.SecretMissingError,
        PySparkException,
        Py4JError,
    ) as error:
        raise SystemExit(f"{what} failed: {explained(error)}") from error


def run(spark: SparkSession, settings: Settings, variables: Mapping[str, str]) -> None:
    """Run until the query ends.

    Raises:
        SourceError: the source table lacks a column of the contract.
        SecretMissingError: a secret's environment variable is not set.
        CheckpointError: the checkpoint is of an unknown format.
        PySparkException, Py4JError: the query or a write beside it failed.
    """
    for name, value in settings.session.items():
        spark.conf.set(name, value)
    sink.use_new_writer(spark)
    kafka_options = sink.options(settings.kafka, variables)
    processor = BatchProcessor(settings, route.table(spark, settings), kafka_options)
    listener = ProgressListener()
    counts: dict[int, BatchCounts] = {}
    spark.streams.addListener(listener)
    try:
        query = start(change_feed(spark, settings), settings, processor, counts)
        idle = IdleWatch(lambda: query.status)
        progress = ProgressTable(spark, settings, query.runId, idle.nothing_after)
        heartbeat = Heartbeat(spark, settings, kafka_options, idle.nothing_after)
        while not query.awaitTermination(TICK_SECONDS):
            if (version := heartbeat.beat()) is not None:
                log.info("everything up to version %d is sent", version)
            progress.write_when_due(listener.completed, counts)
    finally:
        spark.streams.removeListener(listener)


def change_feed(spark: SparkSession, settings: Settings) -> DataFrame:
    """The source table's change feed as a stream: a snapshot of the table first, then every change.

    Raises:
        SourceError: the table lacks a column of the contract.
    """
    feed = spark.readStream.option("readChangeFeed", "true").table(settings.source_table)
    require_columns(feed, settings)
    return feed


def require_columns(source: DataFrame, settings: Settings) -> None:
    """See that the source has every column of the contract.

    Raises:
        SourceError: it lacks some; names them.
    """
    present = {name.lower() for name in source.columns}
    if missing := [name for name in settings.columns if name.lower() not in present]:
        raise SourceError(
            f"{settings.source_table} has no column {', '.join(missing)}, which the table contract names; "
            "correct pipeline.yml or the table, then run deploy_stream"
        )


def start(
    feed: DataFrame, settings: Settings, processor: BatchProcessor, counts: dict[int, BatchCounts]
) -> StreamingQuery:
    """Start the query. ``counts`` receives what each batch did."""

    def process(batch: DataFrame, batch_id: int) -> None:
        counts[batch_id] = processor.process(batch, batch_id)

    return (
        feed.writeStream.queryName(settings.query_name)
        .foreachBatch(process)
        .option("checkpointLocation", settings.checkpoint)
        .trigger(processingTime=f"{round(settings.trigger_seconds * 1000)} milliseconds")
        .start()
    )


def explained(error: BaseException) -> str:
    """One line: what happened, and what to do next where that is known."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    what = causes[-1] if causes else lines[0] if lines else type(error).__name__
    advice = next((step for sign, step in _ADVICE.items() if sign in text), None)
    return f"{what} -- next: {advice}" if advice else what


if __name__ == "__main__":
    main()
