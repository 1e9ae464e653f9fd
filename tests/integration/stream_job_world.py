"""A source table, hubs and settings of the stream job for one test, on real Delta and Kafka; and what a target does."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lpm.config import Config, Environment, load_config
from lpm.local.kafka import Broker
from lpm.render import names
from lpm.render import stream_job as rendering
from stream_job import main, route, sink
from stream_job import settings as job_settings
from stream_job.batch import BatchCounts, BatchProcessor
from stream_job.heartbeat import Heartbeat
from stream_job.idle import IdleWatch
from stream_job.settings import Settings

PARTITIONS = load_config().environment("local").event_hubs.partitions
_SPARK_TYPES = {"string": "STRING", "int": "INT", "bigint": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN"}


@dataclass(frozen=True)
class Event:
    """One message of a hub."""

    topic: str
    partition: int
    offset: int
    body: dict[str, Any]

    @property
    def kind(self) -> tuple[str, str, str | None, int]:
        """Operation, company, key and version."""
        return self.body["op"], self.body["info_companyid"], self.body["key"], self.body["version"]


class World:
    """Everything one test needs. Table names, topics and checkpoint are its own."""

    def __init__(self, spark: SparkSession, kafka: Broker, folder: Path) -> None:
        self.spark, self.kafka = spark, kafka
        self.config: Config = load_config()
        self.id = f"w{uuid4().hex[:8]}"
        local = self.config.environment("local")
        self.environment: Environment = local.model_copy(
            update={
                "databricks": local.databricks.model_copy(
                    update={"source_schema": f"{self.id}_gold", "pipeline_schema": f"{self.id}_lpm"}
                )
            }
        )
        self.table = names.source_table(self.config, self.environment)
        self.settings = self._settings(folder)
        self.variables = {"LPM_EVENT_HUBS_SECRET": kafka.connection_string}
        self.counts: dict[int, BatchCounts] = {}
        self.topics = sorted({route.topic for route in self.settings.routes})
        self.admin = AdminClient(kafka.client_settings())
        made = self.admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS) for topic in self.topics])
        for done in made.values():
            done.result()
        for statement in rendering.tables_sql(self.config, self.environment):
            spark.sql(statement)
        spark.sql(f"CREATE SCHEMA {self.environment.source_schema}")

    def _settings(self, folder: Path) -> Settings:
        text = rendering.settings(self.config, self.environment, self.kafka.bootstrap)
        settings = job_settings.parse(text)
        return replace(
            settings,
            checkpoint=str(folder / "check point"),
            query_name=f"query-{self.id}",
            trigger_seconds=0.05,
            heartbeat_seconds=0.05,
            routes=tuple(replace(line, topic=f"{self.id}-{line.topic}") for line in settings.routes),
            unrouted=replace(settings.unrouted, topic=f"{self.id}-{settings.unrouted.topic}"),
        )

    def create_source(self, properties: str = "delta.enableChangeDataFeed = true") -> None:
        """The source table of the contract, without NOT NULL: hostile rows must get in."""
        columns = ", ".join(
            f"`{column.name}` {_SPARK_TYPES.get(column.type.kind, str(column.type))}"
            for column in self.config.table.columns
        )
        self.spark.sql(f"CREATE TABLE {self.table} ({columns}) USING delta TBLPROPERTIES ({properties})")

    def insert(self, *rows: dict[str, Any]) -> None:
        """Insert rows in one commit; absent columns are NULL."""
        self.frame(*rows).write.format("delta").mode("append").saveAsTable(self.table)

    def frame(self, *rows: dict[str, Any]) -> DataFrame:
        """Rows of the source table's schema in one partition."""
        schema = self.spark.table(self.table).schema
        lines = [tuple(row.get(name) for name in schema.names) for row in rows]
        return self.spark.createDataFrame(lines, schema).coalesce(1)

    def version(self) -> int:
        """Newest version of the source table."""
        newest: int = self.spark.sql(f"DESCRIBE HISTORY {self.table} LIMIT 1").head()["version"]
        return newest

    def processor(self) -> BatchProcessor:
        return BatchProcessor(self.settings, route.table(self.spark, self.settings), self.kafka_options)

    @property
    def kafka_options(self) -> dict[str, str]:
        return sink.options(self.settings.kafka, self.variables)

    def heartbeat(self, query: StreamingQuery | None = None) -> Heartbeat:
        """Heartbeats as the job sends them; without a query, as if it were busy."""
        return Heartbeat(self.spark, self.settings, self.kafka_options, nothing_after(query))

    @contextmanager
    def running(self) -> Iterator[StreamingQuery]:
        """The query, as the job starts it."""
        for name, value in self.settings.session.items():
            self.spark.conf.set(name, value)
        sink.use_new_writer(self.spark)
        query = main.start(main.change_feed(self.spark, self.settings), self.settings, self.processor(), self.counts)
        try:
            yield query
        finally:
            query.stop()

    def drain(self) -> list[Event]:
        """Run the query until it has read everything, and return all events so far except heartbeats."""
        with self.running() as query:
            query.processAllAvailable()
        return self.events()

    def events(self) -> list[Event]:
        """All events of all hubs, in the order of each partition, without heartbeats."""
        return [event for event in self.messages() if event.body["op"] != "heartbeat"]

    def heartbeats(self) -> list[Event]:
        return [event for event in self.messages() if event.body["op"] == "heartbeat"]

    def messages(self) -> list[Event]:
        """All messages of all hubs until now, hub by hub, partition by partition, in their order."""
        ends = self._ends()
        consumer = Consumer({**self.kafka.client_settings(), "group.id": self.id, "enable.auto.commit": False})
        try:
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in ends])
            found = list(_read(consumer, ends))
        finally:
            consumer.close()
        return sorted(found, key=lambda event: (event.topic, event.partition, event.offset))

    def _ends(self) -> dict[tuple[str, int], int]:
        """The offset after the last message of each partition that has one."""
        partitions = [TopicPartition(topic, partition) for topic in self.topics for partition in range(PARTITIONS)]
        asked = self.admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()))
        ends = {(place.topic, place.partition): answer.result().offset for place, answer in asked.items()}
        return {place: end for place, end in ends.items() if end}

    def dead_letters(self) -> list[Any]:
        return self.spark.table(self.settings.dead_letter_table).collect()

    def expected(self) -> dict[str, dict[str, str]]:
        """What the targets must hold: payload by key for each company, from the source table itself."""
        expressions = self.settings.expressions
        rows = self.spark.table(self.table).selectExpr(
            f"{self.settings.company_column} AS company",
            f"{expressions.key} AS key",
            f"{expressions.payload} AS payload",
        )
        state: dict[str, dict[str, str]] = {}
        for row in rows.collect():
            state.setdefault(row.company, {})[row.key] = row.payload
        return state


def nothing_after(query: StreamingQuery | None) -> Callable[[int], bool]:
    """Whether the query has read everything, as the job asks; no query has not."""
    return IdleWatch(lambda: query.status).nothing_after if query else lambda _: False


def applied(events: list[Event]) -> dict[str, dict[str, str]]:
    """What guarded targets hold after these events, in any order: payload by key for each company."""
    newest: dict[tuple[str, str], tuple[tuple[int, int], str | None]] = {}
    for event in events:
        body = event.body
        place, sequence = (body["info_companyid"], body["key"]), (body["version"], body["rank"])
        if place not in newest or sequence >= newest[place][0]:
            newest[place] = (sequence, body["payload"])
    state: dict[str, dict[str, str]] = {}
    for (company, key), (_, payload) in newest.items():
        if payload is not None:
            state.setdefault(company, {})[key] = payload
    return state


def _read(consumer: Consumer, ends: Mapping[tuple[str, int], int]) -> Iterator[Event]:
    missing = dict(ends)
    while missing:
        message = consumer.poll(10)
        assert message is not None, f"nothing arrives any more; expected the messages before {missing}"
        assert message.error() is None, message.error()
        event = Event(message.topic(), message.partition(), message.offset(), json.loads(message.value()))
        place = event.topic, event.partition
        if event.offset < ends[place]:
            yield event
        if event.offset >= ends[place] - 1:
            missing.pop(place, None)
