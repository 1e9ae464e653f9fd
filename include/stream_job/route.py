"""Which hub and which partition an event goes to."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from stream_job.settings import Settings


def table(spark: SparkSession, settings: Settings) -> DataFrame:
    """One line for each configured company. Small: it is broadcast."""
    lines = [
        f"({literal(route.company)}, {literal(route.topic)}, array({', '.join(map(str, route.partitions))}))"
        for route in settings.routes
    ]
    return spark.sql(f"SELECT * FROM VALUES {', '.join(lines)} AS routes(company, route_topic, route_partitions)")


def routed(events: DataFrame, routes: DataFrame, settings: Settings) -> DataFrame:
    """Events as messages: value, topic, partition.

    A company's key always goes to the same of its partitions, chosen by the key's bucket. A company that is not
    configured goes to the hub of the unrouted, over all its partitions. Companies are compared byte by byte.
    """
    partitions = sf.coalesce("route_partitions", sf.array(*[sf.lit(number) for number in settings.unrouted.partitions]))
    return (
        events.join(sf.broadcast(routes), "company", "left")
        .withColumn("partitions", partitions)
        .select(
            "value",
            sf.coalesce("route_topic", sf.lit(settings.unrouted.topic)).alias("topic"),
            sf.expr("partitions[bucket % size(partitions)]").alias("partition"),
        )
    )


def targets(spark: SparkSession, settings: Settings) -> DataFrame:
    """One line for each partition of each configured company: company, topic, partition."""
    lines = [
        f"({literal(route.company)}, {literal(route.topic)}, {partition})"
        for route in settings.routes
        for partition in route.partitions
    ]
    return spark.sql(f"SELECT * FROM VALUES {', '.join(lines)} AS targets(company, topic, partition)").coalesce(1)


def literal(text: str) -> str:
    """A Spark SQL string literal. Tables made of literals need no Python worker, unlike ``createDataFrame``."""
    # A dollar sign must not stand there as it is: Spark replaces ${name} by a setting, even inside a literal.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\u0024") + '"'


def partition_of(bucket: int, partitions: Sequence[int]) -> int:
    """The rule of :func:`routed` in Python."""
    return partitions[bucket % len(partitions)]
