"""The events that Spark makes of random change feeds, against a reference in plain Python.

Starting a Spark job costs far more than its rows, so one example packs many histories, kept apart by their keys.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpm.config import load_config
from lpm.render import stream_job as rendering
from stream_job import events, route
from stream_job.settings import Settings, parse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COMPANIES = ["C-1001", "c-1001", "C-1003", "O'Neill 07", "nobody", None]
UPSERTS = ("insert", "update_postimage")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@dataclass(frozen=True)
class Change:
    """One row of a change feed. ``batch`` is the micro-batch it falls into when the commit is cut."""

    trade: str | None
    company: str | None
    content: int
    kind: str
    version: int
    batch: int


@dataclass(frozen=True)
class Made:
    """An event, without what the reference does not compute."""

    op: str
    company: str
    key: str
    version: int
    quantity: str | None
    row_hash: str | None

    @property
    def rank(self) -> int:
        return int(self.op == "upsert")


changes = st.builds(
    Change,
    trade=st.sampled_from(["a", "A", "a ", None]),
    company=st.sampled_from(COMPANIES),
    content=st.integers(0, 3),
    kind=st.sampled_from(["insert", "update_preimage", "update_postimage", "delete"]),
    version=st.integers(1, 3),
    batch=st.integers(0, 1),
)
histories = st.lists(st.lists(changes, min_size=1, max_size=12), min_size=30, max_size=60)
several_jobs = settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def job_settings(spark: "SparkSession") -> Settings:
    config = load_config()
    found = parse(rendering.settings(config, config.environment("local")))
    for name, value in found.session.items():
        spark.conf.set(name, value)
    return found


def packed(histories_: list[list[Change]], *, consistent: bool) -> list[Change]:
    """All histories as one feed, their keys made different. Consistent: a key has one content in a version."""
    feed = []
    for number, history in enumerate(histories_):
        contents: dict[tuple[object, ...], int] = {}
        for change in history:
            trade = None if change.trade is None else f"{number}{change.trade}"
            place = (trade, change.company, change.version)
            content = contents.setdefault(place, change.content) if consistent else change.content
            feed.append(Change(trade, change.company, content, change.kind, change.version, change.batch))
    return feed


def frame(spark: "SparkSession", job: Settings, feed: list[Change]) -> "DataFrame":
    """The feed as Delta's change feed would give it."""
    columns = "trade_id STRING, info_companyid STRING, quantity BIGINT, _change_type STRING, _commit_version BIGINT"
    rows = spark.createDataFrame([(c.trade, c.company, c.content, c.kind, c.version) for c in feed], columns)
    config = load_config()
    types = {"int": "INT", "bigint": "BIGINT", "decimal": "DECIMAL(38,18)"}
    absent = [
        f"CAST(NULL AS {types.get(column.type.kind, column.type.kind)}) AS `{column.name}`"
        for column in config.table.columns
        if column.name not in ("trade_id", "info_companyid", "quantity", "leg_no")
    ]
    return rows.selectExpr(
        "*", "1 AS leg_no", f"TIMESTAMP '{MOMENT:%Y-%m-%d %H:%M:%S.%f}' AS _commit_timestamp", *absent
    )


def made(rows: "DataFrame") -> list[Made]:
    bodies = [json.loads(row.value) for row in rows.select("value").collect()]
    assert all(body["committed_at"] == "2026-01-02T03:04:05.678901Z" for body in bodies)
    return [
        Made(
            body["op"],
            body["info_companyid"],
            body["key"],
            body["version"],
            json.loads(body["payload"])["quantity"] if body["payload"] else None,
            body["row_hash"],
        )
        for body in bodies
    ]


def sent(batch: "DataFrame", job: Settings) -> list[Made]:
    """The events of a batch in the order in which the job sends them."""
    good = events.upserts(batch, job).where("reason IS NULL")
    deletes = events.deletes(events.folded(batch, job), job)
    steps = [good, deletes, events.winners(batch, job)]
    # One Spark job for all three steps: starting a job takes most of the time here.
    rows = [step.selectExpr("value", f"{number} AS step") for number, step in enumerate(steps)]
    return made(reduce(type(batch).unionAll, rows).orderBy("step"))


def key_of(change: Change) -> str:
    return json.dumps({"trade_id": change.trade, "leg_no": "1"}, separators=(",", ":"))


def reference(feed: Iterable[Change]) -> set[tuple[object, ...]]:
    """(op, company, key, version, quantity) that a fold by company, key and version must give, every upsert kept."""
    groups: dict[tuple[str, str, int], list[Change]] = defaultdict(list)
    for change in feed:
        if change.company is not None and change.trade is not None:
            groups[change.company, key_of(change), change.version].append(change)
    expected: set[tuple[object, ...]] = set()
    for (company, key, version), members in groups.items():
        upserts = [member for member in members if member.kind in UPSERTS]
        if upserts:
            expected |= {("upsert", company, key, version, str(member.content)) for member in upserts}
        else:
            expected.add(("delete", company, key, version, None))
    return expected


def unfolded(feed: Iterable[Change]) -> list[Made]:
    """One event for each row, as if nothing were folded."""
    return [
        Made("upsert", change.company, key_of(change), change.version, str(change.content), None)
        if change.kind in UPSERTS
        else Made("delete", change.company, key_of(change), change.version, None, None)
        for change in feed
        if change.company is not None and change.trade is not None
    ]


def guarded(sequence: Iterable[Made]) -> dict[tuple[str, str], str | None]:
    """Quantity by company and key in targets that refuse what is older than what they hold."""
    state: dict[tuple[str, str], Made] = {}
    for event in sequence:
        held = state.get((event.company, event.key))
        if held is None or (event.version, event.rank) >= (held.version, held.rank):
            state[event.company, event.key] = event
    return {place: event.quantity for place, event in state.items() if event.op == "upsert"}


@several_jobs
@given(histories)
def test_spark_makes_the_events_of_the_reference(
    spark: "SparkSession", job_settings: Settings, drawn: list[list[Change]]
) -> None:
    feed = packed(drawn, consistent=False)
    found = sent(frame(spark, job_settings, feed), job_settings)
    assert {(event.op, event.company, event.key, event.version, event.quantity) for event in found} == reference(feed)
    best: dict[tuple[str, str, int], str] = {}
    for event in found:
        if event.row_hash:
            place = (event.company, event.key, event.version)
            best[place] = max(best.get(place, ""), event.row_hash)
    last = {(event.company, event.key, event.version): event.row_hash for event in found if event.row_hash}
    assert last == best


@several_jobs
@given(histories)
def test_folded_unfolded_and_cut_feeds_end_the_same(
    spark: "SparkSession", job_settings: Settings, drawn: list[list[Change]]
) -> None:
    feed = packed(drawn, consistent=True)
    whole = guarded(sent(frame(spark, job_settings, feed), job_settings))
    assert whole == guarded(unfolded(feed))
    halves = [
        sent(frame(spark, job_settings, [change for change in feed if change.batch == half]), job_settings)
        for half in (0, 1)
        if any(change.batch == half for change in feed)
    ]
    for order in (halves, halves[::-1]):
        assert guarded(event for half in order for event in half) == whole
    replayed = [event for half in (*halves, *halves) for event in half]
    assert guarded(replayed) == whole


@several_jobs
@given(histories)
def test_inserts_alone_pass_unshuffled_as_the_fold_would_give_them(
    spark: "SparkSession", job_settings: Settings, drawn: list[list[Change]]
) -> None:
    feed = [
        Change(change.trade, change.company, change.content, "insert", change.version, 0)
        for change in dict.fromkeys(packed(drawn, consistent=True))
    ]
    batch = frame(spark, job_settings, feed)
    straight = events.upserts(batch, job_settings).where("reason IS NULL")
    plan = straight._jdf.queryExecution().executedPlan().toString()
    assert "Exchange" not in plan
    assert guarded(made(straight)) == guarded(unfolded(feed))
    assert made(events.deletes(events.folded(batch, job_settings), job_settings)) == []


@several_jobs
@given(st.lists(st.tuples(st.sampled_from(COMPANIES[:-1]), st.integers(0, 65535)), min_size=20, max_size=200))
def test_spark_and_python_choose_the_same_partition(
    spark: "SparkSession", job_settings: Settings, drawn: list[tuple[str, int]]
) -> None:
    rows = spark.createDataFrame(
        [(c, b, f"{n}") for n, (c, b) in enumerate(drawn)], "company STRING, bucket INT, value STRING"
    )
    routes = {line.company: line for line in job_settings.routes}
    for row in route.routed(rows, route.table(spark, job_settings), job_settings).collect():
        company, bucket = drawn[int(row.value)]
        target = routes.get(company, job_settings.unrouted)
        assert (row.topic, row.partition) == (target.topic, route.partition_of(bucket, target.partitions))


def test_a_company_named_like_sql_is_only_text(spark: "SparkSession", job_settings: Settings) -> None:
    names = ["'", '"', "\\", "\\'\"", "a\nb", "%", "\u00e9\U0001f600", "${x}", "', '"]
    text = ", ".join(route.literal(name) for name in names)
    row: Any = spark.sql(f"SELECT array({text}) AS found").head()
    assert row.found == names
