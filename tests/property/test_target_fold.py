"""Any history, in any order, repeated and cut in any way, ends in the state that a fold in plain Python gives."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, text

from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, TableContract, load_config
from lpm.contract.sequence import Rank, Sequence
from lpm.contract.values import Value, typed_row
from lpm.local.postgres import Server
from target_events import ACCEPTED, COMPANY, PARTITIONS, REFUSED, Event, delete, heartbeat, upsert

KEYS = [{"trade_id": f"T-{number}", "leg_no": str(number)} for number in range(4)]
VERSIONS = st.integers(0, 7)
# Values of columns that are not part of the key: the key's text must stay one per key.
TAKEN = [
    (column, value) for column, value in ACCEPTED if column not in ("trade_id", "leg_no") and len(value or "") < 9_000
]
NOT_TAKEN = [(column, value) for column, value in REFUSED if column not in ("trade_id", "leg_no")]


@dataclass(frozen=True)
class Delivered:
    """An event and the reason for which the target must refuse it, None when it must take it."""

    event: Event
    reason: str | None = None


@st.composite
def good_events(draw: st.DrawFn) -> Delivered:
    """An event that must be applied. Key, version and rank decide its content, as they do in the source."""
    key, version = draw(st.sampled_from(KEYS)), draw(VERSIONS)
    if draw(st.booleans()):
        return Delivered(delete(version, key))
    place = version * len(KEYS) + KEYS.index(key)
    values = dict(TAKEN[(place * 5 + offset) % len(TAKEN)] for offset in range(5))
    return Delivered(upsert(version, {**key, "comment": f"version {version}", **values}))


@st.composite
def poison_events(draw: st.DrawFn) -> Delivered:
    """An event that must be refused. Its own id tells it from all others, as its content does."""
    key, version = draw(st.sampled_from(KEYS)), draw(VERSIONS)
    column, value = draw(st.sampled_from(NOT_TAKEN))
    event, reason = draw(
        st.sampled_from(
            [
                (upsert(version, {**key, column: value}), f"unconvertible:{column}"),
                (upsert(version, {**key, "currency": "EUROS"}), "too_long:currency"),
                (upsert(version, {**key, "comment": [1]}), "unconvertible:nested"),
                (upsert(version, key, payload='{"leg_no":'), "malformed_json"),
                (upsert(version, key, row_hash=None), "bad_row_hash"),
                (upsert(version, key, info_companyid=COMPANY + " "), "wrong_company"),
                (upsert(version, {**key, "info_companyid": "C-1001"}), "wrong_company"),
                (delete(version, key, info_companyid="C-1001"), "wrong_company"),
                (delete(version, key, key_hash="x"), "bad_key_hash"),
                (delete(-1 - version, key), "bad_version"),
                (upsert(version, key, op="Upsert"), "unknown_op"),
                (heartbeat(version, 1), "bad_heartbeat"),
            ]
        )
    )
    return Delivered(event | {"event_id": f"{reason} {column} {value!r} {event['event_id']}"}, reason)


HEARTBEATS = st.builds(
    lambda version, partition: Delivered(heartbeat(version, partition)), VERSIONS, st.sampled_from(PARTITIONS)
)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Delivered]]:
    """A history as at-least-once delivery may bring it: in any order, with copies, cut into batches anywhere."""
    weights = st.sampled_from([good_events()] * 6 + [poison_events()] * draw(st.integers(0, 2)) + [HEARTBEATS])
    history = draw(st.lists(weights.flatmap(lambda strategy: strategy), min_size=1, max_size=30))
    copies = draw(st.lists(st.sampled_from(history), max_size=10))
    whole = draw(st.permutations([*history, *copies, *(history if draw(st.booleans()) else [])]))
    cuts = sorted(draw(st.lists(st.integers(1, len(whole)), max_size=8)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) if start < end]


@dataclass(frozen=True)
class State:
    """All that a target stores."""

    rows: Mapping[str, tuple[Mapping[str, Value], int, str, int]]  # key hash: values, version, row hash, bucket
    tombstones: Mapping[str, int]
    watermarks: Mapping[int, int]
    quarantine: Mapping[tuple[str, str], int]
    inbox: int = 0


def expected(table: TableContract, batches: list[list[Delivered]]) -> State:
    """The fold: the highest sequence of each key counts, nothing else."""
    best: dict[str, tuple[Sequence, Event]] = {}
    watermarks = dict.fromkeys(PARTITIONS, -1)
    quarantine: Counter[tuple[str, str]] = Counter()
    for delivered in (one for batch in batches for one in batch):
        event = delivered.event
        if delivered.reason is not None:
            quarantine[event["event_id"], delivered.reason] += 1
        elif event["op"] == "heartbeat":
            watermarks[event["partition_id"]] = max(watermarks[event["partition_id"]], event["version"])
        else:
            sequence = Sequence(event["version"], Rank.UPSERT if event["op"] == "upsert" else Rank.DELETE)
            if event["key_hash"] not in best or sequence >= best[event["key_hash"]][0]:
                best[event["key_hash"]] = (sequence, event)
    return State(
        rows={
            key: (typed_row(table, json_of(event)), sequence.version, event["row_hash"], int(key[:4], 16))
            for key, (sequence, event) in best.items()
            if sequence.rank is Rank.UPSERT
        },
        tombstones={key: sequence.version for key, (sequence, _) in best.items() if sequence.rank is Rank.DELETE},
        watermarks=watermarks,
        quarantine=quarantine,
    )


def json_of(event: Event) -> Mapping[str, str | None]:

    payload: Mapping[str, str | None] = json.loads(event["payload"])
    return payload


def found(database: TargetDatabase) -> State:
    values = dict(database.rows())
    query = "SELECT lpm_key_hash, lpm_version, lpm_row_hash, lpm_bucket FROM dbo.tdr_streaming"
    return State(
        rows={
            bytes(key).hex(): (values[bytes(key).hex()], version, bytes(row).hex(), bucket)
            for key, version, row, bucket in database.query(query)
        },
        tombstones={
            bytes(key).hex(): version for key, version in database.query("SELECT key_hash, version FROM lpm.tombstone")
        },
        watermarks=database.watermarks(),
        quarantine={
            (event_id, reason): deliveries
            for event_id, reason, deliveries in database.query(
                "SELECT event_id, reason, deliveries FROM lpm.quarantine"
            )
        },
        inbox=database.inbox_count(),
    )


@pytest.fixture(scope="module")
def database(postgres: Server) -> Iterator[TargetDatabase]:
    postgres.create_database("lpm_property")
    company = Company(id=COMPANY, name="Example", shard="shard-01", partitions=PARTITIONS, slug="oneill")
    with TargetDatabase(load_config(), company, postgres.url("lpm_property"), "postgresql") as opened:
        opened.apply_schema()
        yield opened


@pytest.fixture(scope="module")
def engine(postgres: Server, database: TargetDatabase) -> Iterator[Engine]:
    created = create_engine(postgres.url("lpm_property"))
    yield created
    created.dispose()


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(batches=deliveries())
def test_every_delivery_of_a_history_ends_in_the_fold_of_its_events(
    database: TargetDatabase, engine: Engine, batches: list[list[Delivered]]
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM dbo.tdr_streaming"))
        connection.execute(text("DELETE FROM lpm.tombstone"))
        connection.execute(text("DELETE FROM lpm.quarantine"))
        connection.execute(text("UPDATE lpm.watermark SET version = -1"))
    for batch in batches:
        database.insert_inbox([delivered.event for delivered in batch])
    assert found(database) == expected(database.config.table, batches)
