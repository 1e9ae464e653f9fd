"""Stories played on real databases, with events that real Spark made, and held against the source.

The events of every row at every version are computed once, in one Spark job; a story then picks those it needs.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa

from deliveries import Arrival, Computed, Heartbeat, Message, Poison, Repair, Story
from lpm.clients.target_database import TargetDatabase
from lpm.config import load_config
from lpm.contract.envelope import spark_type
from lpm.contract.values import normalised
from lpm.local.postgres import Server
from lpm.local.router.job import SqlSink
from lpm.local.router.sinks import SqlWriter
from lpm.render import names
from lpm.render import stream_job as rendering
from lpm.render.targets import INBOX_FIELDS
from row_contents import CONTENTS
from source_histories import COMPANIES, KEYS, LAST_VERSION, STRANGER, Event, Key, Place, Row, Version
from stream_job import events, route
from stream_job.settings import Settings, parse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BEGIN = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
EMITTED = "2026-11-24T09:00:00.000000Z"
SENT_KEYS = KEYS[:-1]
DIGESTED = ("event_id", "op", "info_companyid", "key_hash", "version", "row_hash", "partition_id", "payload")


def committed_at(version: int) -> datetime:
    """Commit time: several versions have the same."""
    return BEGIN + timedelta(seconds=version // 3)


# Spark's part


def job_settings(spark: "SparkSession") -> Settings:
    """The settings of the stream job as rendered, with its session settings in force."""
    config = load_config()
    found = parse(rendering.settings(config, config.environment("local")))
    for name, value in found.session.items():
        spark.conf.set(name, value)
    return found


def contents(spark: "SparkSession") -> "DataFrame":
    """All contents, a row each: all columns of the contract but key and company, and ``content``, the place."""
    columns = [each for each in load_config().table.columns if each.name not in (*Key._fields, "info_companyid")]
    schema = ", ".join(f"`{each.name}` {spark_type(each.type)}" for each in columns)
    rows = [(number, *(content.values.get(each.name) for each in columns)) for number, content in enumerate(CONTENTS)]
    return spark.createDataFrame(rows, f"content INT, {schema}").coalesce(1)


def envelopes(spark: "SparkSession") -> dict[Event, Mapping[str, Any]]:
    """The events of every row of the model at every version, as the stream job makes them."""
    settings = job_settings(spark)
    keys = ", ".join(f"({route.literal(str(key.trade_id))}, {key.leg_no})" for key in SENT_KEYS)
    companies = ", ".join(f"({route.literal(company)})" for company in (*COMPANIES, STRANGER))
    versions = ", ".join(
        f"({version}L, TIMESTAMP '{committed_at(version):%Y-%m-%d %H:%M:%S.%f}')"
        for version in range(1, LAST_VERSION + 2)  # a repair's delete is one further
    )
    feed = (
        contents(spark)
        .crossJoin(spark.sql(f"SELECT * FROM VALUES {keys} AS keys(trade_id, leg_no)"))
        .crossJoin(spark.sql(f"SELECT * FROM VALUES {companies} AS companies(info_companyid)"))
        .crossJoin(spark.sql(f"SELECT * FROM VALUES {versions} AS v(_commit_version, _commit_timestamp)"))
    )
    upserts = events.upserts(feed.selectExpr("*", "'insert' AS _change_type"), settings)
    deletes = events.deletes(events.folded(feed.selectExpr("*", "'delete' AS _change_type"), settings), settings)
    both = upserts.where("reason IS NULL").select("value").unionAll(deletes.select("value"))
    bodies = [json.loads(row.value) for row in both.collect()]
    return {_event(body): body for body in bodies}


def _event(body: Mapping[str, Any]) -> Event:
    key = json.loads(body["key"])
    content = None
    if body["op"] == "upsert":
        content = CONTENT_BY_QUANTITY[json.loads(body["payload"])["quantity"]]
    return Event(body["info_companyid"], Key(key["trade_id"], int(key["leg_no"])), body["version"], content)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


CONTENT_BY_QUANTITY = {_text(content.values.get("quantity")): number for number, content in enumerate(CONTENTS)}


# What a database must hold, and what it holds


@dataclass(frozen=True)
class Stored:
    """A row of a target."""

    version: int
    row_hash: str
    bucket: int
    committed_at: datetime
    values: Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """All that a database stores. ``quarantine``: deliveries by reason and digested fields."""

    rows: Mapping[str, Stored]  # by key hash
    tombstones: Mapping[str, int]
    watermarks: Mapping[int, int]
    quarantine: Mapping[tuple[Any, ...], int]
    inbox: int


class World:
    """One real database for each company of the model, and the envelopes."""

    def __init__(self, spark: "SparkSession", postgres: Server, mark: str) -> None:
        self.config = load_config()
        self.bodies = envelopes(spark)
        self.companies = {each.id: each for each in self.config.companies if each.id in COMPANIES}
        self.key_hashes = {key: _sha256(key_text(key)) for key in SENT_KEYS}
        self.keys = {key_hash: key for key, key_hash in self.key_hashes.items()}
        self._hashes = {
            Row(event.company, event.key, event.content): body["row_hash"]
            for event, body in self.bodies.items()
            if event.content is not None
        }
        self._rows = {row_hash: row for row, row_hash in self._hashes.items()}
        self.computed = Computed(
            row_hash=self._hashes.__getitem__,
            partition_of=self.partition_of,
            partitions={company: each.partitions for company, each in self.companies.items()},
        )
        self._connections: dict[str, psycopg.Connection[Any]] = {}
        self._writers: dict[str, SqlWriter] = {}
        for number, (company_id, company) in enumerate(self.companies.items()):
            database = f"{mark}_{number}"
            postgres.create_database(database)
            url = postgres.url(database)
            with TargetDatabase(self.config, company, url, "postgresql") as target:
                target.apply_schema()
            self._writers[company_id] = SqlWriter(
                SqlSink(alias=company.slug or company_id, url=url, table=names.inbox_table(self.config))
            )
            self._connections[company_id] = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)

    def close(self) -> None:
        for opened in (*self._connections.values(), *self._writers.values()):
            opened.close()

    def partition_of(self, company: str, key: Key) -> int:
        """The partition of a company's events of a key; 0 for a company that has none."""
        partitions = self.companies[company].partitions if company in self.companies else (0,)
        return route.partition_of(int(self.key_hashes[key][:4], 16), partitions)

    # Playing

    def empty(self) -> None:
        """Every database as it is after its schema was made."""
        target = names.target_table(self.config)
        for connection in self._connections.values():
            connection.execute(
                f"DELETE FROM {target}; DELETE FROM lpm.tombstone; DELETE FROM lpm.quarantine;"
                "UPDATE lpm.watermark SET version = -1, advanced_at = NULL WHERE version <> -1"
            )

    def deliver(self, arrival: Arrival) -> None:
        """Insert the messages as the router does: one COPY, so one call of the trigger."""
        rows = [self.inbox_row(message) for message in arrival.messages]
        columns = {name: pa.array([row[name] for row in rows]) for name in INBOX_FIELDS}
        self._writers[arrival.company].write(pa.table(columns))

    def inbox_row(self, message: Message) -> dict[str, Any]:
        """What the router inserts for a message."""
        if isinstance(message, Heartbeat):
            body = {
                "event_id": f"{message.version}-heartbeat-{message.company}-{message.partition}",
                "op": "heartbeat",
                "info_companyid": message.company,
                "version": message.version,
                "emitted_at": EMITTED,
                "schema_version": 1,
                "partition_id": message.partition,
            }
            return {name: body.get(name) for name in INBOX_FIELDS}
        if isinstance(message, Poison):
            row = self.inbox_row(message.event)
            if message.values:
                row["payload"] = _json({**json.loads(row["payload"]), **message.values})
            return row | message.fields
        if isinstance(message, Repair):
            return self.inbox_row(message.event)
        return {**self.bodies[message], "partition_id": self.partition_of(message.company, message.key)}

    # Checking

    def check_end(self, story: Story) -> None:
        """Bring everything, then hold every database against the newest version of the source."""
        self.empty()
        for arrival in story.arrivals:
            self.deliver(arrival)
        self._check_all(story)

    def check_every_watermark(self, story: Story) -> None:
        """Bring everything, and look after each delivery whether the database keeps what its watermark says."""
        self.empty()
        for number, arrival in enumerate(story.arrivals, 1):
            self.deliver(arrival)
            faults = self._cut_differences(story.versions, arrival.company)
            assert not faults, "\n".join([f"after delivery {number} to the database of {arrival.company!r}", *faults])
        self._check_all(story)

    def _check_all(self, story: Story) -> None:
        faults = [
            f"database of {company!r}: {fault}"
            for company in COMPANIES
            for fault in self._differences(self.expected(story, company), self.found(company))
        ]
        assert not faults, "\n".join(faults)

    # Comparing

    def expected(self, story: Story, company: str) -> State:
        """What a company's database must hold in the end: the source's newest version, whatever came how."""
        rows, tombstones = self.source(story.versions, company)
        messages = [message for arrival in story.arrivals if arrival.company == company for message in arrival.messages]
        for repaired in (message.event for message in messages if isinstance(message, Repair)):
            self._repaired(repaired, rows, tombstones)
        watermarks = dict.fromkeys(self.companies[company].partitions, -1)
        for beat in (message for message in messages if isinstance(message, Heartbeat)):
            watermarks[beat.partition] = max(watermarks[beat.partition], beat.version)
        refused = Counter(
            (message.reason, *(self.inbox_row(message)[name] for name in DIGESTED))
            for message in messages
            if isinstance(message, Poison)
        )
        return State(rows, tombstones, watermarks, refused, 0)

    def _repaired(self, event: Event, rows: dict[str, Stored], tombstones: dict[str, int]) -> None:
        """A repair changes no row, and no key that is gone comes back. It may leave a higher version."""
        key_hash = self.key_hashes[event.key]
        if key_hash not in rows and event.content is None:
            tombstones[key_hash] = max(tombstones.get(key_hash, -1), event.version)
        elif key_hash in rows and event.content is not None and event.version > rows[key_hash].version:
            same = self._rows[rows[key_hash].row_hash].content
            rows[key_hash] = self._stored(event.company, event.key, event.version, same)

    def source(self, versions: Sequence[Version], company: str) -> tuple[dict[str, Stored], dict[str, int]]:
        """A company's rows, and the versions of its deletions, as the source is after these versions."""
        live: dict[Key, tuple[int, int]] = {}
        gone: dict[Key, int] = {}
        for version in versions:
            for key in {change.row.key for change in version.changes if change.row.company == company}:
                if key.trade_id is None:
                    continue
                found = version.table.get(Place(company, key))
                if found is None:
                    live.pop(key, None)
                    gone[key] = version.number
                else:
                    gone.pop(key, None)
                    best = max(found, key=lambda content: self.computed.row_hash(Row(company, key, content)))
                    live[key] = (version.number, best)
        return (
            {self.key_hashes[key]: self._stored(company, key, *found) for key, found in live.items()},
            {self.key_hashes[key]: version for key, version in gone.items()},
        )

    def _stored(self, company: str, key: Key, version: int, content: int) -> Stored:
        values = {each.name: CONTENTS[content].values.get(each.name) for each in self.config.table.columns}
        values |= {"trade_id": key.trade_id, "leg_no": key.leg_no, "info_companyid": company}
        payload = self.bodies[Event(company, key, version, content)]["payload"]
        return Stored(
            version=version,
            row_hash=_sha256(payload),
            bucket=int(self.key_hashes[key][:4], 16),
            committed_at=committed_at(version).replace(tzinfo=None),
            values={name: _as_stored(value) for name, value in values.items()},
        )

    def found(self, company: str) -> State:
        """What a company's database holds."""
        connection = self._connections[company]
        columns = [each.name for each in self.config.table.columns]
        listed = ", ".join(f'"{name}"' for name in columns)
        target, inbox = names.target_table(self.config), names.inbox_table(self.config)
        rows = connection.execute(
            f"SELECT encode(lpm_key_hash, 'hex'), lpm_version, encode(lpm_row_hash, 'hex'), lpm_bucket,"
            f" lpm_committed_at, {listed} FROM {target}"
        )
        state = connection.execute(
            "SELECT 'tombstone', encode(key_hash, 'hex'), version FROM lpm.tombstone"
            " UNION ALL SELECT 'watermark', CAST(partition_id AS text), version FROM lpm.watermark"
            f" UNION ALL SELECT 'inbox', NULL, count(*) FROM {inbox}"
        ).fetchall()
        rows_by_key = {
            key_hash: Stored(
                version, row_hash, bucket, moment, dict(zip(columns, map(normalised, values), strict=True))
            )
            for key_hash, version, row_hash, bucket, moment, *values in rows
        }
        refused = connection.execute(f"SELECT deliveries, reason, {', '.join(DIGESTED)} FROM lpm.quarantine")
        return State(
            rows=rows_by_key,
            tombstones={key_hash: version for kind, key_hash, version in state if kind == "tombstone"},
            watermarks={int(partition): version for kind, partition, version in state if kind == "watermark"},
            quarantine={tuple(fields): deliveries for deliveries, *fields in refused},
            inbox=next(count for kind, _, count in state if kind == "inbox"),
        )

    def _cut_differences(self, versions: Sequence[Version], company: str) -> list[str]:
        """The database at its watermark against the source at that version, keys in flight aside (DESIGN 6)."""
        found = self.found(company)
        watermark = min(found.watermarks.values())
        source, _ = self.source(versions[: max(watermark, 0)], company)
        stored = {key: row.version for key, row in found.rows.items()}
        in_flight = {key for key, version in (stored | found.tombstones).items() if version > watermark}
        return [
            f"{self._key(key)} is {self._row(source.get(key))} in the source at watermark {watermark},"
            f" but {self._row(found.rows.get(key))} in the database"
            for key in sorted({*source, *found.rows} - in_flight)
            if source.get(key) != found.rows.get(key)
        ]

    def _differences(self, expected: State, found: State) -> list[str]:
        faults = []
        for key in sorted({*expected.rows, *found.rows}):
            wanted, stored = expected.rows.get(key), found.rows.get(key)
            if wanted != stored:
                faults.append(f"{self._key(key)} should be {self._row(wanted)}, but is {self._row(stored)}")
                faults += _fields_that_differ(wanted, stored) if wanted and stored else []
        for key in sorted({*expected.tombstones, *found.tombstones}):
            gone, buried = expected.tombstones.get(key), found.tombstones.get(key)
            if gone != buried:
                faults.append(f"{self._key(key)} should have a tombstone of version {gone}, but it is of {buried}")
        for name in ("watermarks", "inbox"):
            if getattr(expected, name) != getattr(found, name):
                faults.append(f"{name} should be {getattr(expected, name)}, but are {getattr(found, name)}")
        for fields in sorted({*expected.quarantine, *found.quarantine}, key=str):
            due, came = expected.quarantine.get(fields, 0), found.quarantine.get(fields, 0)
            if due != came:
                event = dict(zip(("reason", *DIGESTED), fields, strict=True))
                faults.append(f"refused {came} times instead of {due}: {event}")
        return faults

    def _key(self, key_hash: str) -> str:
        return str(self.keys.get(key_hash, f"the unknown key hash {key_hash}"))

    def _row(self, stored: Stored | None) -> str:
        if stored is None:
            return "absent"
        row = self._rows.get(stored.row_hash)
        return f"{str(row) if row else f'an unknown row hash {stored.row_hash}'} of version {stored.version}"


def key_text(key: Key) -> str:
    """The canonical key text."""
    return _json({"trade_id": key.trade_id, "leg_no": str(key.leg_no)})


def _fields_that_differ(wanted: Stored, stored: Stored) -> list[str]:
    pairs = [(name, getattr(wanted, name), getattr(stored, name)) for name in ("row_hash", "bucket", "committed_at")]
    pairs += [(name, value, stored.values[name]) for name, value in wanted.values.items()]
    return [f"its {name} should be {one!r}, but is {other!r}" for name, one, other in pairs if one != other]


def _as_stored(value: Any) -> Any:
    """A value of the source as a target has it: no NaN, no infinity, moments without a zone."""
    if isinstance(value, float) and not isfinite(value):
        return None
    return normalised(value)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
