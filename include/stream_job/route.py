"""Which hub and which partition an event goes to."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from stream_job.settings import Settings

_ROUTES = "company STRING, route_topic STRING, route_partitions ARRAY<INT>"


def table(spark: SparkSession, settings: Settings) -> DataFrame:
    """One line for each configured company. Small: it is broadcast."""
    lines = [(route.company, route.topic, list(route.partitions)) for route in settings.routes]
    return spark.createDataFrame(lines, _ROUTES)


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


def partition_of(bucket: int, partitions: Sequence[int]) -> int:
    """The rule of :func:`routed` in Python."""
    return partitions[bucket % len(partitions)]
