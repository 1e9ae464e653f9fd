"""What a target database promises, whatever its dialect: one suite for Azure SQL and its PostgreSQL twin."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Config
from lpm.contract.values import typed_row
from lpm.render.targets import MAX_VERSION, Dialect
from target_events import ACCEPTED, COMPANY, PAYLOAD, REFUSED, Event, delete, heartbeat, key_hash, upsert

Sql = Callable[..., None]  # runs one statement with its parameters

HASH = key_hash()
OTHER = {"trade_id": "T-2"}


def quarantine(database: TargetDatabase) -> dict[tuple[str | None, str], int]:
    return {(event.event_id, event.reason): event.deliveries for event in database.quarantined(1_000)}


def reasons(database: TargetDatabase) -> list[str]:
    return sorted(event.reason for event in database.quarantined(1_000))


def live(database: TargetDatabase) -> dict[str, int]:
    """Version of each live key."""
    return {
        bytes(key).hex(): version
        for key, version in database.query("SELECT lpm_key_hash, lpm_version FROM dbo.tdr_streaming")
    }


def tombstones(database: TargetDatabase) -> dict[str, int]:
    return {bytes(key).hex(): version for key, version in database.query("SELECT key_hash, version FROM lpm.tombstone")}


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


# Refusals

REFUSALS: list[tuple[str, Event]] = [
    ("wrong_company", upsert(1, info_companyid=None)),
    ("wrong_company", upsert(1, info_companyid=COMPANY.lower())),
    ("wrong_company", upsert(1, info_companyid=COMPANY + " ")),
    ("wrong_company", upsert(1, info_companyid="")),
    ("wrong_company", delete(1, info_companyid="C-1001")),
    ("wrong_company", heartbeat(1, 0, info_companyid="C-1001")),
    ("wrong_company", upsert(1, {"info_companyid": "C-1001"})),
    ("wrong_company", upsert(1, {"info_companyid": COMPANY.upper()})),
    ("wrong_company", upsert(1, {"info_companyid": COMPANY + " "})),
    ("wrong_company", upsert(1, {"info_companyid": None})),
    ("unknown_op", upsert(1, op=None)),
    ("unknown_op", upsert(1, op="UPSERT")),
    ("unknown_op", upsert(1, op="upsert ")),
    ("unknown_op", upsert(1, op="merge")),
    ("bad_heartbeat", heartbeat(1, 0) | {"version": None}),
    ("bad_heartbeat", heartbeat(-1, 0)),
    ("bad_heartbeat", heartbeat(MAX_VERSION + 1, 0)),
    ("bad_heartbeat", heartbeat(1, 1)),
    ("bad_heartbeat", heartbeat(1, 0) | {"partition_id": None}),
    ("bad_key_hash", upsert(1, key_hash=None)),
    ("bad_key_hash", upsert(1, key_hash="")),
    ("bad_key_hash", upsert(1, key_hash=HASH[:-1])),
    ("bad_key_hash", upsert(1, key_hash=HASH + "0")),
    ("bad_key_hash", upsert(1, key_hash=HASH[:-1] + "g")),
    ("bad_key_hash", upsert(1, key_hash=HASH[:-2] + "  ")),
    ("bad_key_hash", delete(1, key_hash="0x" + HASH[:-2])),
    ("bad_version", upsert(1) | {"version": None}),
    ("bad_version", upsert(-1)),
    ("bad_version", upsert(MAX_VERSION + 1)),
    ("bad_version", delete(9_000_000_000_000_000_000)),
    ("malformed_json", upsert(1, payload=None)),
    *(
        ("malformed_json", upsert(1, payload=payload))
        for payload in (
            "",
            "x",
            "null",
            "[]",
            '"a"',
            "1",
            " {}",
            "\ufeff{}",
            '{"leg_no":"1"',
            "{}x",
            "{'leg_no':'1'}",
            '{"a":}',
        )
    ),
    ("malformed_json", upsert(1, payload=json.dumps({**PAYLOAD, "comment": "\0"}))),
    ("malformed_json", upsert(1, payload=json.dumps({**PAYLOAD, "comment": "\\\0"}))),
    ("malformed_json", upsert(1, payload=json.dumps({**PAYLOAD, "comment": "half \ud83d"}))),
    ("malformed_json", upsert(1, payload=json.dumps({**PAYLOAD, "unknown": "\udc00"}))),
    ("bad_row_hash", upsert(1, row_hash=None)),
    ("bad_row_hash", upsert(1, row_hash="00")),
    ("unconvertible:nested", upsert(1, {"comment": {"a": 1}})),
    ("unconvertible:nested", upsert(1, {"comment": ["a"]})),
    ("unconvertible:nested", upsert(1, {"comment": []})),
    ("unconvertible:nested", upsert(1, {"price": {}})),
    ("missing:trade_id", upsert(1, {"trade_id": None})),
    ("missing:leg_no", upsert(1, {"leg_no": None})),
    ("missing:leg_no", upsert(1, payload=json.dumps({k: v for k, v in PAYLOAD.items() if k != "leg_no"}))),
    ("too_long:trade_id", upsert(1, {"trade_id": "x" * 65})),
    ("too_long:trade_id", upsert(1, {"trade_id": "\U0001f600" * 33})),
    ("too_long:trade_id", upsert(1, {"trade_id": "a" + " " * 64})),
    ("too_long:currency", upsert(1, {"currency": "EUR "})),
    *((f"unconvertible:{column}", upsert(1, {column: value})) for column, value in REFUSED),
    # two faults: the first reason of the order counts
    ("wrong_company", upsert(1, info_companyid="C-1001", key_hash="x", payload="x")),
    ("bad_key_hash", upsert(-1, key_hash="x", payload="x")),
    ("malformed_json", upsert(1, payload="x", row_hash="x")),
    ("too_long:trade_id", upsert(1, {"trade_id": "x" * 65, "leg_no": "x"})),
    ("unconvertible:leg_no", upsert(1, {"price": "x", "leg_no": "x"})),
]


def test_each_refused_event_is_kept_with_its_reason_and_harms_nobody(database: TargetDatabase, sql: Sql) -> None:
    for number, (reason, event) in enumerate(REFUSALS):
        event_id = f"{number}: {reason}"
        database.insert_inbox([event | {"event_id": event_id}])
        assert quarantine(database).get((event_id, reason)) == 1, (event, quarantine(database))
        sql("DELETE FROM lpm.quarantine")
    assert database.row_count() == database.tombstone_count() == database.inbox_count() == 0
    assert database.watermark() == -1

    events = [event | {"event_id": f"{number}: {reason}"} for number, (reason, event) in enumerate(REFUSALS)]
    database.insert_inbox([*events, upsert(1)])
    assert dict(quarantine(database).keys()) == {
        f"{number}: {reason}": reason for number, (reason, _) in enumerate(REFUSALS)
    }
    assert live(database) == {HASH: 1}


def test_quarantine_keeps_the_event_as_it_came(database: TargetDatabase) -> None:
    event = upsert(3, {"leg_no": "x", "comment": "O'Neill \U0001f600"}, partition_id=2)
    database.insert_inbox([event])
    names = ", ".join(f'"{name}"' for name in event)
    assert database.query(f"SELECT {names} FROM lpm.quarantine") == [tuple(event.values())]


def test_the_same_refused_event_is_kept_once_and_counted(database: TargetDatabase) -> None:
    poison, other = upsert(1, payload="x"), upsert(2, payload=None)
    database.insert_inbox([poison, poison, other])
    first = {event.event_id: event for event in database.quarantined()}
    database.insert_inbox([poison])
    second = {event.event_id: event for event in database.quarantined()}
    assert {event.event_id: event.deliveries for event in second.values()} == {
        poison["event_id"]: 3,
        other["event_id"]: 1,
    }
    assert second[poison["event_id"]].first_seen == first[poison["event_id"]].first_seen
    assert second[poison["event_id"]].last_seen > first[poison["event_id"]].last_seen
    assert database.quarantine_counts() == {"malformed_json": 2}


def test_null_and_empty_are_different_refused_events(database: TargetDatabase) -> None:
    database.insert_inbox(
        [
            upsert(1, payload="", event_id="e"),
            upsert(1, payload=None, event_id="e"),
            upsert(1, payload="-", event_id="e"),
        ]
    )
    assert len(database.quarantined()) == 3


def test_a_poison_newest_event_leaves_the_good_older_one(database: TargetDatabase) -> None:
    database.insert_inbox([upsert(1), upsert(2, {"price": "NaN"})])
    assert live(database) == {HASH: 1}
    database.insert_inbox([upsert(3, {"price": "1E-7"})])
    assert live(database) == {HASH: 1}
    assert reasons(database) == ["unconvertible:price"] * 2


# Values


@pytest.mark.parametrize("companion", [[], [upsert(1, payload="x")]], ids=["alone", "beside poison"])
def test_every_value_that_is_taken_arrives_as_it_left(
    database: TargetDatabase, config: Config, companion: list[Event]
) -> None:
    rows = [{"trade_id": f"T-{number}", column: value} for number, (column, value) in enumerate(ACCEPTED)]
    for row in rows:  # one by one: a canonical value must not hide behind one that is not
        database.insert_inbox([upsert(1, row), *companion])
    assert reasons(database) == ["malformed_json"] * len(companion)
    found = dict(database.rows())
    assert len(found) == len(rows)
    for row in rows:
        expected = typed_row(config.table, {**PAYLOAD, **row})
        assert found[key_hash(row)] == expected
        assert {k: type(v) for k, v in found[key_hash(row)].items()} == {k: type(v) for k, v in expected.items()}


def test_all_values_at_once_arrive_as_they_left(database: TargetDatabase, config: Config) -> None:
    rows = [{"trade_id": f"T-{number}", column: value} for number, (column, value) in enumerate(ACCEPTED)]
    database.insert_inbox([upsert(1, row) for row in rows])
    assert reasons(database) == []
    assert dict(database.rows()) == {key_hash(row): typed_row(config.table, {**PAYLOAD, **row}) for row in rows}


def test_json_numbers_and_booleans_are_taken_by_their_text(database: TargetDatabase, config: Config) -> None:
    row = {"leg_no": 1, "price": 1.25, "is_active": True, "quantity": -7, "ratio": 0.5, "comment": 12, "book": False}
    database.insert_inbox([upsert(1, row)])
    [(_, found)] = database.rows()
    texts = {name: json.dumps(value) for name, value in row.items()}
    assert found == typed_row(config.table, {**PAYLOAD, **texts})


def test_json_numbers_keep_their_text(database: TargetDatabase) -> None:
    payload = json.dumps({**PAYLOAD, "price": 0}).replace('"price": 0', '"price": 1E-7')
    comment = json.dumps({**PAYLOAD, "comment": 0}).replace('"comment": 0', '"comment": 1.50')
    database.insert_inbox([upsert(1, payload=payload), upsert(1, OTHER, payload=comment)])
    assert reasons(database) == ["unconvertible:price"]
    assert [row["comment"] for _, row in database.rows()] == ["1.50"]


def test_an_absent_value_is_null_and_an_unknown_one_is_ignored(database: TargetDatabase, config: Config) -> None:
    row = {k: v for k, v in PAYLOAD.items() if k != "price"} | {"unknown": "x", "Price": "1", "more": {"a": [1]}}
    database.insert_inbox([upsert(1, payload=json.dumps(row))])
    [(_, found)] = database.rows()
    assert found == typed_row(config.table, {**PAYLOAD, "price": None})


def test_escaped_text_is_read_as_what_it_means(database: TargetDatabase) -> None:
    database.insert_inbox([upsert(1, payload=json.dumps({**PAYLOAD, "comment": "\U0001f600 \\u0000 \u2028 é"}))])
    [(_, found)] = database.rows()
    assert found["comment"] == "\U0001f600 \\u0000 \u2028 é"


def test_the_hashes_times_and_bucket_of_the_event_are_stored(database: TargetDatabase) -> None:
    event = upsert(7, rank=0, bucket=1, key_hash=HASH.upper())  # the rank and bucket columns are not trusted
    database.insert_inbox(
        [
            event,
            upsert(1, OTHER, committed_at="2026-11-24T24:00:00.000000Z"),
            upsert(1, {"leg_no": "9"}, committed_at=None),
        ]
    )
    query = "SELECT lpm_key_hash, lpm_bucket, lpm_version, lpm_row_hash, lpm_committed_at FROM dbo.tdr_streaming"
    found = {
        bytes(key).hex(): (bucket, version, bytes(row).hex(), committed)
        for key, bucket, version, row, committed in database.query(query)
    }
    assert found[HASH] == (int(HASH[:4], 16), 7, event["row_hash"], datetime(2026, 11, 24, 8, 0, 7, 1))
    assert found[key_hash(OTHER)][3] is None  # a bad time of commit is no reason to refuse a row
    assert found[key_hash({"leg_no": "9"})][3] is None
    assert reasons(database) == []


# Order


@pytest.mark.parametrize(
    "batches", [lambda events: [events], lambda events: [[event] for event in events]], ids=["one batch", "one by one"]
)
@pytest.mark.parametrize(
    ("events", "expected_live", "expected_tombstone"),
    [
        ([upsert(1), upsert(2)], 2, None),
        ([upsert(2), upsert(1)], 2, None),
        ([upsert(1), delete(2)], None, 2),
        ([delete(2), upsert(1)], None, 2),
        ([delete(1), upsert(1)], 1, None),
        ([upsert(1), delete(1)], 1, None),
        ([delete(1), delete(3), delete(2)], None, 3),
        ([delete(3), upsert(4), delete(2)], 4, None),
        ([upsert(4), delete(3)], 4, None),
        ([delete(5), upsert(5), upsert(5), delete(5)], 5, None),
        ([upsert(10), delete(20), upsert(15), upsert(30), delete(25)], 30, None),
        ([upsert(0), upsert(MAX_VERSION)], MAX_VERSION, None),
    ],
)
def test_the_highest_sequence_wins_in_every_order(
    database: TargetDatabase,
    events: list[Event],
    expected_live: int | None,
    expected_tombstone: int | None,
    batches: Callable[[list[Event]], list[list[Event]]],
) -> None:
    for repetition in range(2):  # the second time everything comes again
        for batch in batches(events):
            database.insert_inbox(batch)
        assert live(database) == ({HASH: expected_live} if expected_live is not None else {}), repetition
        assert tombstones(database) == ({HASH: expected_tombstone} if expected_tombstone is not None else {}), (
            repetition
        )
    assert reasons(database) == []


def test_a_row_that_moves_leaves_the_old_company_and_arrives_in_the_new(database: TargetDatabase) -> None:
    database.insert_inbox([upsert(1), upsert(1, OTHER)])
    database.insert_inbox([delete(2), upsert(2, {**OTHER, "comment": "moved in"})])  # T-1 moved away, T-2 moved back in
    assert live(database) == {key_hash(OTHER): 2}
    assert tombstones(database) == {HASH: 2}


def test_a_batch_of_many_keys_is_applied_whole(database: TargetDatabase) -> None:
    rows = [{"trade_id": f"T-{number}"} for number in range(3_000)]
    database.insert_inbox([upsert(1, row) for row in rows])
    database.insert_inbox([delete(2, row) for row in rows[:1_000]] + [upsert(2, row) for row in rows[500:2_000]])
    versions = live(database)
    assert len(versions) == 2_500
    assert sorted(versions.values()) == [1] * 1_000 + [2] * 1_500
    assert len(tombstones(database)) == 500


def test_a_redelivered_event_keeps_the_moment_it_became_visible(database: TargetDatabase) -> None:
    database.insert_inbox([upsert(1)])
    first = database.last_applied()
    database.insert_inbox([upsert(1)])
    assert database.last_applied() == first
    database.insert_inbox([upsert(2)])
    assert first is not None
    assert (database.last_applied() or first) > first


def test_the_same_version_again_repairs_a_row_that_was_changed_by_hand(database: TargetDatabase, sql: Sql) -> None:
    database.insert_inbox([upsert(1)])
    sql("UPDATE dbo.tdr_streaming SET price = 0, comment = 'x'")
    database.insert_inbox([upsert(1)])
    [(_, row)] = database.rows()
    assert (str(row["price"]), row["comment"]) == ("101.250000000000000000", None)


# Heartbeats


def test_the_watermark_is_the_lowest_of_the_company_s_partitions_and_only_moves_forward(
    database: TargetDatabase,
) -> None:
    assert database.watermarks() == {0: -1, 2: -1}
    database.insert_inbox([heartbeat(5, 0)])
    assert (database.watermark(), database.watermarks()) == (-1, {0: 5, 2: -1})
    database.insert_inbox([heartbeat(4, 2), heartbeat(7, 2), heartbeat(6, 2), heartbeat(3, 0)])
    assert (database.watermark(), database.watermarks()) == (5, {0: 5, 2: 7})
    database.insert_inbox([upsert(99), delete(98, OTHER)])
    assert database.watermark() == 5


# Concurrency


def test_two_writers_end_as_one_would(connect: Callable[..., TargetDatabase], database: TargetDatabase) -> None:
    rows = [{"trade_id": f"T-{number}"} for number in range(40)]
    histories = [
        [
            [
                (upsert if (number * 7 + version * 3 + half) % 4 else delete)(version, rows[number])
                for number in range(40)
            ]
            for version in versions
        ]
        for half, versions in enumerate((range(0, 40, 2), range(39, 0, -2)))
    ]
    writers = [connect() for _ in histories]

    def write(writer: TargetDatabase, batches: list[list[Event]]) -> None:
        for batch in batches:
            writer.insert_inbox(batch)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, writers, histories))
    last = {
        event["key_hash"]: event
        for history in histories
        for batch in history
        for event in batch
        if event["version"] == 39
    }
    assert live(database) == {key: 39 for key, event in last.items() if event["op"] == "upsert"}
    assert tombstones(database) == {key: 39 for key, event in last.items() if event["op"] == "delete"}


@pytest.mark.parametrize(
    ("stored", "first", "second", "expected"),
    [
        ([upsert(1)], delete(10), upsert(5), ({}, {HASH: 10})),
        ([delete(1)], upsert(10), delete(5), ({HASH: 10}, {})),
        ([], upsert(10), upsert(5), ({HASH: 10}, {})),
        ([upsert(1)], upsert(5), delete(10), ({}, {HASH: 10})),
    ],
)
def test_a_second_writer_waits_for_the_first_to_commit(
    connect: Callable[..., TargetDatabase],
    database: TargetDatabase,
    url: str,
    stored: list[Event],
    first: Event,
    second: Event,
    expected: Any,
) -> None:
    database.insert_inbox(stored)
    writer = connect()
    done = threading.Event()

    def write() -> None:
        writer.insert_inbox([second])
        done.set()

    with transaction(url) as connection:
        names = [name for name in first if first[name] is not None]
        listed, values = ", ".join(f'"{name}"' for name in names), ", ".join(f":{name}" for name in names)
        connection.execute(text(f"INSERT INTO lpm.tdr_streaming_inbox ({listed}) VALUES ({values})"), first)
        thread = threading.Thread(target=write)
        thread.start()
        assert not done.wait(0.3)
    thread.join(30)
    assert done.is_set()
    assert (live(database), tombstones(database)) == expected


# Procedures


def test_rows_that_stayed_in_the_inbox_are_drained_through_the_same_code(
    database: TargetDatabase, sql: Sql, dialect: Dialect
) -> None:
    on, off = {
        "postgresql": [
            f"ALTER TABLE lpm.tdr_streaming_inbox {verb} TRIGGER apply_inbox" for verb in ("ENABLE", "DISABLE")
        ],
        "mssql": [
            f"{verb} TRIGGER lpm.apply_tdr_streaming ON lpm.tdr_streaming_inbox" for verb in ("ENABLE", "DISABLE")
        ],
    }[dialect]
    sql(off)
    try:
        database.insert_inbox([upsert(1), upsert(2), delete(1, OTHER), upsert(1, payload="x"), heartbeat(4, 0)])
        assert (database.inbox_count(), database.row_count()) == (5, 0)
    finally:
        sql(on)
    assert database.drain_inbox() == 5
    assert database.inbox_count() == 0
    assert live(database) == {HASH: 2}
    assert tombstones(database) == {key_hash(OTHER): 1}
    assert database.watermarks()[0] == 4
    assert reasons(database) == ["malformed_json"]
    assert database.drain_inbox() == 0


def test_old_tombstones_are_purged_and_young_ones_kept(database: TargetDatabase, sql: Sql, dialect: Dialect) -> None:
    database.insert_inbox([delete(1), delete(1, OTHER)])
    ago = {
        "postgresql": "now() AT TIME ZONE 'UTC' - interval '46 days'",
        "mssql": "DATEADD(day, -46, SYSUTCDATETIME())",
    }[dialect]
    sql(f"UPDATE lpm.tombstone SET deleted_at = {ago} WHERE key_hash = (SELECT MIN(key_hash) FROM lpm.tombstone)")
    assert database.purge_tombstones(47) == 0
    assert database.purge_tombstones(45) == 1
    assert database.tombstone_count() == 1


def test_a_purge_of_everything_is_refused(database: TargetDatabase) -> None:
    database.insert_inbox([delete(1)])
    with pytest.raises(TargetDatabaseError, match="expected 1"):
        database.purge_tombstones(0)
    assert database.tombstone_count() == 1


# Permissions


@contextmanager
def acting_as(url: str, dialect: Dialect, role: str) -> Iterator[Connection]:
    """A connection with the rights of a role and no others."""
    with transaction(url) as connection:
        if dialect == "postgresql":
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            yield connection
        else:
            connection.execute(text(f"CREATE USER test_{role} WITHOUT LOGIN; ALTER ROLE {role} ADD MEMBER test_{role}"))
            connection.execute(text(f"EXECUTE AS USER = 'test_{role}'"))
            yield connection
            connection.execute(text(f"REVERT; DROP USER test_{role}"))


def test_the_router_may_insert_into_the_inbox_and_the_trigger_does_the_rest(
    database: TargetDatabase, url: str, dialect: Dialect
) -> None:
    with acting_as(url, dialect, "lpm_router") as connection:
        values = "(op, info_companyid, key_hash, version) VALUES ('delete', :company, :key, 3)"
        insert = f"INSERT INTO lpm.tdr_streaming_inbox {values}"
        connection.execute(text(insert), {"company": COMPANY, "key": HASH})
        assert connection.execute(text("SELECT * FROM lpm.tdr_streaming_inbox")).all() == []
    assert tombstones(database) == {HASH: 3}


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("lpm_router", "SELECT * FROM dbo.tdr_streaming"),
        ("lpm_router", "DELETE FROM dbo.tdr_streaming"),
        ("lpm_router", "DELETE FROM lpm.tombstone"),
        ("lpm_reader", "DELETE FROM dbo.tdr_streaming"),
        ("lpm_reader", "UPDATE dbo.tdr_streaming SET comment = 'x'"),
        ("lpm_reader", "INSERT INTO lpm.tdr_streaming_inbox (op) VALUES ('x')"),
        ("lpm_reader", "SELECT * FROM lpm.quarantine"),
    ],
)
def test_everything_else_is_denied(
    database: TargetDatabase, url: str, dialect: Dialect, role: str, statement: str
) -> None:
    with pytest.raises(Exception, match=r"(?i)permission"), acting_as(url, dialect, role) as connection:
        connection.execute(text(statement))


def test_consumers_may_read_the_target(database: TargetDatabase, url: str, dialect: Dialect) -> None:
    database.insert_inbox([upsert(1)])
    with acting_as(url, dialect, "lpm_reader") as connection:
        assert connection.scalar(text("SELECT count(*) FROM dbo.tdr_streaming")) == 1


# How it is


def test_rows_of_another_company_are_counted_to_the_letter(database: TargetDatabase, sql: Sql) -> None:
    rows = [{"trade_id": f"T-{number}"} for number in range(4)]
    database.insert_inbox([upsert(1, row) for row in rows])
    assert database.foreign_rows() == 0
    for row, wrong in zip(rows, (COMPANY + " ", COMPANY.lower(), None), strict=False):
        sql(
            "UPDATE dbo.tdr_streaming SET info_companyid = :wrong WHERE trade_id = :trade",
            {"wrong": wrong, "trade": row["trade_id"]},
        )
    assert database.foreign_rows() == 3


def committed(seconds_ago: float) -> str:
    return (
        (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def late(trade: int, seconds_ago: float, version: int = 1) -> Event:
    return upsert(version, {"trade_id": f"T-{trade}"}, committed_at=committed(seconds_ago))


def test_latency_is_counted_from_commit_to_visible(database: TargetDatabase) -> None:
    assert (database.latency_percentiles(60), database.last_applied()) == (None, None)
    database.insert_inbox([late(trade, 20) for trade in range(90)] + [late(trade, 200) for trade in range(90, 100)])
    p50, p95, p99 = database.latency_percentiles(60) or (0, 0, 0)
    assert 20 <= p50 <= 20 * 1.1 + 5, "a step of ten percent, and what this test takes"
    assert 200 <= p95 == p99 <= 200 * 1.1 + 5


def test_latency_counts_what_became_visible_and_nothing_else(database: TargetDatabase) -> None:
    def counted() -> int:
        return int(database.query("SELECT SUM(applied) FROM lpm.latency")[0][0] or 0)

    first, second = late(1, 5), late(1, 2, version=2)
    database.insert_inbox([second])
    assert counted() == 1
    database.insert_inbox([second, first])
    assert counted() == 1, "neither what came again nor what is older became visible"
    database.insert_inbox([delete(3, {"trade_id": "T-1"}), late(2, 1)])
    assert counted() == 2
    database.insert_inbox([upsert(1, {"trade_id": "T-3"}, committed_at=None)])
    assert counted() == 2, "without a time of commit there is nothing to measure"
    database.insert_inbox([late(4, -3600)])
    assert counted() == 3, "a clock that is ahead is no latency, and no error"


def test_latencies_are_forgotten_by_the_day(database: TargetDatabase, sql: Sql) -> None:
    database.insert_inbox([late(1, 5)])
    database.forget_latencies(8)
    assert database.latency_percentiles(60)
    sql("UPDATE lpm.latency SET minute = '2020-01-01T00:00:00'")
    database.forget_latencies(8)
    assert database.latency_percentiles(60) is None
