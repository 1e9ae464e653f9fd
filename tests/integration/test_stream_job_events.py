"""The stream job on real Delta and real Kafka: which events a change makes."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from stream_job_world import PARTITIONS, Event, World, applied

from lpm.contract.envelope import EVENT_FIELDS
from stream_job.route import partition_of


@pytest.fixture
def world(spark: Any, kafka: Any, tmp_path: Path) -> World:
    world = World(spark, kafka, tmp_path)
    world.create_source()
    return world


def trade(number: int, company: str | None = "C-1001", **values: Any) -> dict[str, Any]:
    return {"trade_id": f"T-{number}", "leg_no": 1, "info_companyid": company, "comment": "first", **values}


def key(number: int) -> str:
    return json.dumps({"trade_id": f"T-{number}", "leg_no": "1"}, separators=(",", ":"))


def kinds(events: list[Event]) -> list[tuple[str, str, str | None, int]]:
    return sorted(event.kind for event in events)


def test_a_snapshot_and_then_every_change_arrive_as_their_events(world: World) -> None:
    world.insert(*[trade(number) for number in range(4)])
    snapshot = world.version()
    assert kinds(world.drain()) == [("upsert", "C-1001", key(number), snapshot) for number in range(4)]

    steps: list[tuple[str, list[tuple[str, str, str]]]] = [
        (
            "INSERT INTO {t} (trade_id, leg_no, info_companyid) VALUES ('T-9', 1, 'C-2001')",
            [("upsert", "C-2001", key(9))],
        ),
        ("UPDATE {t} SET comment = 'second' WHERE trade_id = 'T-1'", [("upsert", "C-1001", key(1))]),
        ("DELETE FROM {t} WHERE trade_id = 'T-2'", [("delete", "C-1001", key(2))]),
        (
            "UPDATE {t} SET info_companyid = 'C-1002' WHERE trade_id = 'T-3'",
            [("delete", "C-1001", key(3)), ("upsert", "C-1002", key(3))],
        ),
        (
            "UPDATE {t} SET trade_id = 'T-30' WHERE trade_id = 'T-3'",
            [("delete", "C-1002", key(3)), ("upsert", "C-1002", key(30))],
        ),
        (
            "MERGE INTO {t} t USING (SELECT * FROM {t} WHERE trade_id IN ('T-0', 'T-1') UNION ALL "
            "SELECT 'T-50', 1, 'C-1003', * EXCEPT (trade_id, leg_no, info_companyid) FROM {t} WHERE trade_id = 'T-9') "
            "AS s ON t.trade_id = s.trade_id WHEN MATCHED AND t.trade_id = 'T-0' THEN DELETE "
            "WHEN MATCHED THEN UPDATE SET comment = 'merged' WHEN NOT MATCHED THEN INSERT *",
            [("delete", "C-1001", key(0)), ("upsert", "C-1001", key(1)), ("upsert", "C-1003", key(50))],
        ),
        ("OPTIMIZE {t}", []),
        (
            "INSERT OVERWRITE {t} SELECT * FROM {t} WHERE trade_id <> 'T-9'",
            [
                ("delete", "C-2001", key(9)),
                ("upsert", "C-1001", key(1)),
                ("upsert", "C-1002", key(30)),
                ("upsert", "C-1003", key(50)),
            ],
        ),
    ]
    expected_kinds = kinds(world.events())
    with world.running() as query:
        for statement, expected in steps:
            world.spark.sql(statement.format(t=world.table))
            version = world.version()
            query.processAllAvailable()
            expected_kinds = sorted([*expected_kinds, *((*kind, version) for kind in expected)])
            assert kinds(world.events()) == expected_kinds, statement
    assert applied(world.events()) == world.expected()


def test_an_event_has_every_field_and_goes_to_its_company_and_partition(world: World) -> None:
    world.insert(trade(1, "C-1003"), trade(2, "C-1003"), trade(3, "O'Neill 07"), trade(4, "nobody"), trade(5, "nobody"))
    events = world.drain()
    by_company = {"C-1003": ("shard-01", (2, 3)), "O'Neill 07": ("shard-02", (2,))}
    assert len(events) == 5
    for event in events:
        body = event.body
        assert tuple(body) == EVENT_FIELDS
        assert body["key_hash"] == sha256(body["key"].encode()).hexdigest()
        assert body["row_hash"] == sha256(body["payload"].encode()).hexdigest()
        assert body["bucket"] == int(body["key_hash"][:4], 16)
        assert body["event_id"] == f"{body['version']}-1-{body['key_hash']}"
        assert (body["op"], body["rank"], body["schema_version"]) == ("upsert", 1, 1)
        for moment in (body["committed_at"], body["emitted_at"]):
            assert datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ")
        shard, partitions = by_company.get(body["info_companyid"], ("shard-01", tuple(range(PARTITIONS))))
        assert event.topic == f"{world.id}-tdr-streaming-{shard}"
        assert event.partition == partition_of(body["bucket"], partitions)


def test_hostile_values_arrive_exactly(world: World) -> None:
    text = "quote \" ' backslash \\ tab \t line \n null \x00 bell \x07 \U0001f600 \u00e9 \u2028 \u202e [x] {{y}}"
    hostile = {
        "trade_id": text,
        "leg_no": -2147483648,
        "info_companyid": "C-1001",
        "book": "",
        "counterparty": text,
        "quantity": -9223372036854775808,
        "price": Decimal("99999999999999999999.999999999999999999"),
        "notional": Decimal("-9999999999999999.99"),
        "ratio": 1.7976931348623157e308,
        "is_active": False,
        "trade_date": date(1900, 1, 1),
        "booked_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "document": b"\x00\xff" * 100,
        "comment": "é" * 400_000,
    }
    small = {
        **trade(1),
        "price": Decimal("0.000000000000000001"),
        "ratio": float("nan"),
        "trade_date": date(9999, 12, 31),
        "booked_at": datetime(1900, 1, 1, tzinfo=UTC),
    }
    infinite = {**trade(2), "ratio": float("-inf"), "comment": None}
    world.insert(hostile, small, infinite)
    payloads = {event.body["key"]: json.loads(event.body["payload"]) for event in world.drain()}
    assert payloads[
        json.dumps({"trade_id": text, "leg_no": "-2147483648"}, separators=(",", ":"), ensure_ascii=False)
    ] == {
        **hostile,
        "leg_no": "-2147483648",
        "quantity": "-9223372036854775808",
        "price": "99999999999999999999.999999999999999999",
        "notional": "-9999999999999999.99",
        "currency": None,
        "ratio": "1.7976931348623157E308",
        "is_active": "false",
        "trade_date": "1900-01-01",
        "booked_at": "9999-12-31T23:59:59.999999Z",
        "document": b64encode(b"\x00\xff" * 100).decode(),
    }
    assert payloads[key(1)] == {
        **dict.fromkeys(payloads[key(1)]),
        **trade(1, leg_no="1"),
        "price": "0.000000000000000001",
        "trade_date": "9999-12-31",
        "booked_at": "1900-01-01T00:00:00.000000Z",
    }
    assert payloads[key(2)]["ratio"] is None
    assert world.dead_letters() == []


def test_ids_that_differ_only_in_case_or_blanks_are_different(world: World) -> None:
    world.insert(trade(1, "C-1001"), trade(1, "c-1001"), trade(1, "C-1001 "), trade(1, " C-1001"))
    world.insert({**trade(1), "trade_id": "t-1"}, {**trade(1), "trade_id": "T-1 "})
    events = world.drain()
    assert len({event.body["info_companyid"] for event in events}) == 4
    assert len({event.body["key_hash"] for event in events}) == 3
    assert len(events) == 6
    routed = [event for event in events if event.body["info_companyid"] == "C-1001"]
    assert {event.partition for event in routed} == {0}
    assert applied(events) == world.expected()


def test_rows_that_cannot_be_sent_become_dead_letters_without_loss(world: World) -> None:
    big = "\u20ac" * 350_000
    world.insert(
        trade(1, None, ratio=float("nan")),
        {**trade(2), "leg_no": None},
        trade(3, comment=big),
        trade(4),
        trade(5, None),
    )
    assert [event.body["key"] for event in world.drain()] == [key(4)]
    letters = {row.reason: row for row in world.dead_letters() if row.key != key(5)}
    assert set(letters) == {"no_company", "no_key", "too_large"}
    assert json.loads(letters["too_large"].row_json)["comment"] == big
    assert letters["too_large"].event_bytes > world.settings.max_event_bytes
    assert json.loads(letters["no_company"].row_json)["ratio"] == "NaN"
    assert letters["no_company"].key == key(1)
    assert (letters["no_key"].key, letters["no_key"].info_companyid) == (None, "C-1001")
    assert {row.change_type for row in world.dead_letters()} == {"insert"}
    # Their removal removes nothing anywhere: no event and no further letter.
    world.spark.sql(f"DELETE FROM {world.table} WHERE info_companyid IS NULL OR leg_no IS NULL")
    assert len(world.drain()) == 1
    assert len(world.dead_letters()) == 4
    assert [counts.dead_letters for counts in world.counts.values()] == [
        {"no_company": 2, "no_key": 1, "too_large": 1},
        {},
    ]


def test_a_row_that_loses_its_company_leaves_the_old_one(world: World) -> None:
    world.insert(trade(1))
    world.drain()
    world.spark.sql(f"UPDATE {world.table} SET info_companyid = NULL")
    assert kinds(world.drain())[0][:3] == ("delete", "C-1001", key(1))
    assert [row.reason for row in world.dead_letters()] == ["no_company"]
    assert applied(world.events()) == {}


def test_of_several_rows_of_one_key_in_a_folded_version_the_highest_row_hash_comes_last(world: World) -> None:
    world.insert(trade(1), trade(2))
    world.drain()
    doubled = world.frame(*[trade(1, comment=f"copy {number}") for number in range(5)], trade(2, comment="single"))
    doubled.write.format("delta").mode("overwrite").saveAsTable(world.table)
    events = [event for event in world.drain() if event.body["version"] == world.version()]
    last = [event for event in events if event.body["key"] == key(1)][-1]
    assert last.body["row_hash"] == max(event.body["row_hash"] for event in events if event.body["key"] == key(1))
    assert {event.body["op"] for event in events} == {"upsert"}
    assert next(iter(reversed(world.counts.values()))).ambiguous == 1


@pytest.mark.parametrize("files_per_batch", [1, 1000])
def test_a_commit_ends_the_same_however_it_is_cut(
    world: World, files_per_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.insert(*[trade(number) for number in range(20)])
    world.drain()
    rows = [trade(number, "C-1002" if number % 3 else "C-1001", comment="new") for number in range(5, 25)]
    world.frame(*rows).repartition(5).write.format("delta").mode("overwrite").saveAsTable(world.table)
    cut: Callable[[Any, Any], Any] = _feed_with(files_per_batch)
    monkeypatch.setattr("stream_job.main.change_feed", cut)
    batches = len(world.counts)
    events = world.drain()
    assert applied(events) == world.expected()
    assert len(world.counts) - batches >= (5 if files_per_batch == 1 else 1)


def _feed_with(files_per_batch: int) -> Callable[[Any, Any], Any]:
    def change_feed(spark: Any, settings: Any) -> Any:
        reader = spark.readStream.option("readChangeFeed", "true").option("maxFilesPerTrigger", files_per_batch)
        return reader.table(settings.source_table)

    return change_feed
