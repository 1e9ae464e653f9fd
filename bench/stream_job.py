"""Throughput of the stream job: change feed of a real Delta table to a real Kafka broker.

The floor copies the same change rows to Kafka as they are (``to_json(struct(*))``), in the same session and through
the same writer. Both are timed in turn, inside ``foreachBatch`` of one streaming query, on the rows that the job gets.
Needs 4 GB of disk while it runs.

What limits the job, by samples of a profiler on inserts: it writes JSON three times a row (key, payload, event), and
the payload's quotes are escaped once more inside the event: more than half of the time is in the JSON writer, against
one pass in the floor; an event is twice as long as the bare row, so the producer copies twice as much. The two SHA-256
are 3 %. Tried without a clear gain: the event by ``concat``, the payload by ``concat``, escaping by
``replace``, other limits of code generation.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.result import Result, rate, result
from confluent_kafka.admin import AdminClient, NewTopic

from lpm.config import load_config
from lpm.local.kafka import Broker
from lpm.local.spark import session
from lpm.render import names
from lpm.render import stream_job as rendering
from stream_job import route, sink
from stream_job.batch import BatchProcessor
from stream_job.settings import Settings, parse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = 200_000
WARM_UPS = 2
REPETITIONS = 5
FLOOR_TOPIC = "floor"
COMMAND = "python -m bench stream_job"

# Rows as they come in practice: some text, money, times, a small document, and no two alike.
_ROWS = """
SELECT concat('T-', id) AS trade_id, CAST(id % 3 + 1 AS INT) AS leg_no,
  element_at(array('C-1001', 'C-1002', 'C-1003', 'C-2001', 'C-2002', 'nobody'), CAST(id % 6 + 1 AS INT))
    AS info_companyid,
  concat('book ', id % 97) AS book, concat('Counterparty "', id % 1000, '" AG') AS counterparty, id * 7 AS quantity,
  CAST(id / 7 AS DECIMAL(38,18)) AS price, CAST(id * 1.25 AS DECIMAL(18,2)) AS notional, 'EUR' AS currency,
  id / 3.0D AS ratio, id % 2 = 0 AS is_active, date_add(DATE '2020-01-01', CAST(id % 2000 AS INT)) AS trade_date,
  timestamp_micros(1700000000000000 + id * 1000003) AS booked_at, CAST(concat('document ', id) AS BINARY) AS document,
  concat('a comment about trade number ', id) AS comment
FROM range(0, {rows}, 1, 2)"""


@dataclass(frozen=True)
class Case:
    """What is in the version that is measured: inserts, or the update of as many rows as were inserted before."""

    name: str
    rows: int
    update: str | None = None


INSERTS = Case("stream_job_inserts", ROWS)
UPDATES = Case("stream_job_updates", ROWS // 2, "quantity = quantity + 1, comment = concat(comment, '!')")


def run() -> list[Result]:
    """Change rows a second on versions that only insert and on versions that only update (two change rows each)."""
    with tempfile.TemporaryDirectory(prefix="lpm-bench-") as folder, Broker(Path(folder) / "kafka") as broker:
        spark = session(Path(folder) / "warehouse", "lpm-bench", "2g")
        try:
            job = _settings(broker, folder)
            for name, value in job.session.items():
                spark.conf.set(name, value)
            sink.use_new_writer(spark)
            _create_topics(broker)
            kafka = sink.options(job.kafka, {job.kafka.secret_variable: broker.connection_string})
            return [_measure(spark, job, kafka, case) for case in (INSERTS, UPDATES)]
        finally:
            spark.stop()


def _settings(broker: Broker, folder: str) -> Settings:
    config = load_config()
    environment = config.environment("local")
    settings = parse(rendering.settings(config, environment, broker.bootstrap))
    return replace(settings, checkpoint=f"{folder}/checkpoint")


def _create_topics(broker: Broker) -> None:
    config = load_config()
    topics = {FLOOR_TOPIC, *map(names.hub_name, config.shards)}
    partitions = config.environment("local").event_hubs.partitions
    admin = AdminClient(broker.client_settings())
    for made in admin.create_topics([NewTopic(topic, num_partitions=partitions) for topic in topics]).values():
        made.result()


def _measure(spark: "SparkSession", job: Settings, kafka: dict[str, str], case: Case) -> Result:
    table = f"bench.{case.name}"
    rows = _ROWS.format(rows=case.rows)
    spark.sql("CREATE SCHEMA IF NOT EXISTS bench")
    spark.sql(f"CREATE TABLE {table} USING delta TBLPROPERTIES (delta.enableChangeDataFeed = true) AS {rows} LIMIT 0")
    spark.sql(f"INSERT INTO {table} {rows}")
    if case.update:
        spark.sql(f"UPDATE {table} SET {case.update}")
    processor = BatchProcessor(job, route.table(spark, job), kafka)
    jobs: list[float] = []
    floors: list[float] = []

    def measure(batch: "DataFrame", batch_id: int) -> None:
        for repetition in range(WARM_UPS + REPETITIONS):
            floor = rate(ROWS, lambda: _copy(batch, kafka))
            value = rate(ROWS, lambda: processor.process(batch, batch_id))
            if repetition >= WARM_UPS:
                floors.append(floor)
                jobs.append(value)

    feed = (
        spark.readStream.option("readChangeFeed", "true")
        .option("startingVersion", 2 if case.update else 1)
        .table(table)
    )
    query = (
        feed.writeStream.foreachBatch(measure)
        .option("checkpointLocation", f"{job.checkpoint}/{case.name}")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return result(case.name, "change rows/s", jobs, floors, COMMAND)


def _copy(batch: "DataFrame", kafka: dict[str, str]) -> None:
    sink.write(batch.selectExpr("to_json(struct(*)) AS value", f"'{FLOOR_TOPIC}' AS topic"), kafka)


if __name__ == "__main__":
    for line in run():
        print(line)
