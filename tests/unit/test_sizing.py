"""What a load takes: never less than what its services document, and no more than a unit too much."""

from hypothesis import given
from hypothesis import strategies as st

from lpm.config import load_config
from lpm.render.sizing import (
    BYTES_KEPT_PER_UNIT,
    BYTES_PER_UNIT,
    BYTES_PER_V2_UNIT,
    EVENTS_PER_UNIT,
    STANDARD_UNITS,
    Load,
    size,
)

CONFIG = load_config()
LOADS = st.builds(
    Load,
    companies=st.integers(1, 2_000),
    changes_per_second=st.floats(0, 200_000),
    average_share=st.floats(0.01, 1),
    event_bytes=st.integers(200, 64_000),
    heartbeat_seconds=st.floats(1, 60),
)


@given(load=LOADS, hours=st.integers(1, 168))
def test_the_units_carry_the_load_and_one_less_would_not(load: Load, hours: int) -> None:
    need = size(CONFIG, hours, load)
    rate = need.events_per_second * load.event_bytes

    def carries(units: int) -> bool:
        kept = load.average_share * rate * hours * 3_600
        room = (units * EVENTS_PER_UNIT, units * BYTES_PER_UNIT, units * BYTES_KEPT_PER_UNIT)
        return all(wanted <= most for wanted, most in zip((need.events_per_second, rate, kept), room, strict=True))

    assert carries(need.throughput_units)
    assert need.throughput_units == 1 or not carries(need.throughput_units - 1)
    assert need.standard_is_enough == (need.throughput_units <= STANDARD_UNITS)
    assert need.v2_units_per_job * need.shards * BYTES_PER_V2_UNIT >= rate


@given(load=LOADS)
def test_every_company_has_a_place_and_no_shard_more_than_the_limit(load: Load) -> None:
    need, limit = size(CONFIG, 24, load), CONFIG.pipeline.limits.companies_per_shard
    assert need.shards * limit >= load.companies > (need.shards - 1) * limit
    assert need.partitions_per_hub <= 32


def test_idle_companies_cost_their_heartbeats_only() -> None:
    need = size(CONFIG, 24, Load(companies=1_000, changes_per_second=0))
    assert (need.events_per_second, need.throughput_units, need.shards) == (100, 1, 50)
