"""How much of each service a number of companies and changes needs, from what the services document of themselves.

Sources: Event Hubs quotas (1 throughput unit takes 1 MB/s or 1,000 events/s in and keeps 84 GB; Standard ends at 40
units and 32 partitions a hub), Stream Analytics streaming units (about 1 MB/s of input for each of the old units, six
of which are one V2 unit, written 10 in a template). Prices are not here: they depend on region and contract.
"""

from dataclasses import dataclass
from math import ceil

from lpm.config import Config

EVENTS_PER_UNIT = 1_000  # a second
BYTES_PER_UNIT = 1_000_000  # a second
BYTES_KEPT_PER_UNIT = 84 * 10**9
STANDARD_UNITS, STANDARD_PARTITIONS = 40, 32
BYTES_PER_V2_UNIT = 6_000_000  # a second


@dataclass(frozen=True)
class Load:
    """What has to be carried.

    Attributes:
        companies: Tenants.
        changes_per_second: Rows that change, of all companies together, at the busiest time.
        average_share: The average of a day, as a share of the busiest time.
        event_bytes: Size of an event; the payload is most of it.
        heartbeat_seconds: Between two heartbeats of a company.
    """

    companies: int
    changes_per_second: float
    average_share: float = 0.2
    event_bytes: int = 1_200
    heartbeat_seconds: float = 10


@dataclass(frozen=True)
class Size:
    """What that takes. Hubs and streaming jobs are one for each shard, databases one for each company."""

    shards: int
    events_per_second: float
    throughput_units: int
    standard_is_enough: bool  # else Premium, which counts processing units
    partitions_per_hub: int
    v2_units_per_job: int
    gigabytes_kept: int
    events_per_second_and_company: float


def size(config: Config, retention_hours: int, load: Load) -> Size:
    """What a load takes with the limits of the configuration.

    Args:
        config: Its limit of companies per shard decides how many shards there are.
        retention_hours: How long a hub keeps its events.
        load: What has to be carried.
    """
    limit = min(config.pipeline.limits.companies_per_shard, STANDARD_PARTITIONS)  # each company owns a partition
    shards = ceil(load.companies / limit)
    events = load.changes_per_second + load.companies / load.heartbeat_seconds
    bytes_per_second = events * load.event_bytes
    kept = load.average_share * bytes_per_second * retention_hours * 3_600
    units = max(
        1, ceil(events / EVENTS_PER_UNIT), ceil(bytes_per_second / BYTES_PER_UNIT), ceil(kept / BYTES_KEPT_PER_UNIT)
    )
    return Size(
        shards=shards,
        events_per_second=events,
        throughput_units=units,
        standard_is_enough=units <= STANDARD_UNITS,
        partitions_per_hub=min(load.companies, limit),
        v2_units_per_job=max(1, ceil(bytes_per_second / shards / BYTES_PER_V2_UNIT)),
        gigabytes_kept=ceil(kept / 10**9),
        events_per_second_and_company=load.changes_per_second / load.companies,
    )
