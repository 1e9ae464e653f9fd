"""The backfill of a large repair on real Delta and real Kafka: which rows it sends, as which events, to where."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from stream_job_world import Event, World, applied

from stream_job import backfill
from stream_job.backfill import Sent, Wanted

LAST_BUCKET = 65_535


@pytest.fixture
def world(spark: Any, kafka: Any, tmp_path: Path) -> World:
    world = World(spark, kafka, tmp_path)
    world.create_source()
    return world


def trade(number: int, company: str | None = "C-1003", **values: Any) -> dict[str, Any]:
    return {"trade_id": f"T-{number}", "leg_no": 1, "info_companyid": company, "comment": "first", **values}


def bucket(number: int) -> int:
    key = json.dumps({"trade_id": f"T-{number}", "leg_no": "1"}, separators=(",", ":"))
    return int(sha256(key.encode()).hexdigest()[:4], 16)


def send(world: World, version: int, first: int = 0, last: int = LAST_BUCKET, company: str = "C-1003") -> Sent:
    return backfill.run(world.spark, world.settings, world.variables, Wanted(company, version, first, last))


def bodies(events: list[Event]) -> list[dict[str, Any]]:
    """What is in the events, without the moment at which each was made."""
    return sorted(
        ({**event.body, "emitted_at": "", "where": (event.topic, event.partition)} for event in events),
        key=lambda body: body["event_id"],
    )


def test_the_rows_of_a_company_at_a_version_become_the_events_of_the_stream_job_without_commit_time(
    world: World,
) -> None:
    world.insert(*[trade(number) for number in range(12)], trade(50, "C-1001"), trade(51, "nobody"))
    version = world.version()
    streamed = [event for event in world.drain() if event.body["info_companyid"] == "C-1003"]
    assert len({event.partition for event in streamed}) == 2, "the company has two partitions, and both are used"
    world.spark.sql(f"UPDATE {world.table} SET comment = 'later' WHERE trade_id = 'T-1'")
    world.insert(trade(99))
    before = len(world.events())

    assert send(world, version) == Sent(12, 0)
    found = world.events()
    assert len(found) == before + 12
    repaired = [event for event in found if event.body["committed_at"] is None]
    assert bodies(repaired) == [{**body, "committed_at": None} for body in bodies(streamed)]
    assert world.dead_letters() == []


def test_only_the_buckets_of_the_range_are_sent(world: World) -> None:
    world.insert(*[trade(number) for number in range(20)])
    buckets = sorted(bucket(number) for number in range(20))
    first, last = buckets[5], buckets[9]
    assert send(world, world.version(), first, last) == Sent(5, 0)
    assert sorted(event.body["bucket"] for event in world.events()) == buckets[5:10]


def test_rows_that_cannot_be_sent_are_counted_and_make_no_dead_letter(world: World) -> None:
    world.insert(trade(1), trade(2, comment="\u20ac" * 350_000), trade(3, None), {**trade(4), "leg_no": None})
    assert send(world, world.version()) == Sent(1, 1)  # a row without key is in no bucket
    assert [event.body["payload"] is not None for event in world.events()] == [True]
    assert world.dead_letters() == []


def test_of_several_rows_of_one_key_the_highest_row_hash_comes_last(world: World) -> None:
    world.insert(*[trade(1, comment=f"copy {number}") for number in range(5)], trade(2))
    assert send(world, world.version()).sent == 6
    of_key = [event for event in world.events() if event.body["bucket"] == bucket(1)]
    assert of_key[-1].body["row_hash"] == max(event.body["row_hash"] for event in of_key)
    assert len(of_key) == 6


def test_a_company_with_a_quote_in_its_name_is_sent_and_the_targets_end_equal(world: World) -> None:
    world.insert(*[trade(number, "O'Neill 07") for number in range(4)])
    world.spark.sql(f"DELETE FROM {world.table} WHERE trade_id = 'T-0'")
    assert send(world, world.version(), company="O'Neill 07") == Sent(3, 0)
    assert applied(world.events()) == world.expected()


def test_a_version_that_is_not_there_fails_and_says_so(world: World) -> None:
    world.insert(trade(1))
    with pytest.raises(PySparkException, match="version"):
        send(world, 77)
