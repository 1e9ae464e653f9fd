"""Whatever happens to the source and however its events arrive, every database ends as the source is.

The events are made by the fold of ``source_histories``, which test_stream_job_fold.py holds against Spark's, with the
bodies that Spark's expressions give them. The databases and the router's way of writing to them are real.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convergence_world import World
from deliveries import replayed, scrambled
from lpm.local.postgres import Server

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

thorough = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


@pytest.fixture(scope="module")
def world(spark: "SparkSession", postgres: Server) -> Iterator[World]:
    opened = World(spark, postgres, "lpm_convergence")
    yield opened
    opened.close()


@settings(thorough, max_examples=300)
@given(data=st.data())
def test_events_in_any_order_and_number_end_in_the_state_of_the_source(world: World, data: st.DataObject) -> None:
    world.check_end(data.draw(scrambled(world.computed)))


@settings(thorough, max_examples=120)
@given(data=st.data())
def test_at_every_watermark_a_database_holds_the_source_at_that_version(world: World, data: st.DataObject) -> None:
    world.check_every_watermark(data.draw(replayed(world.computed)))
