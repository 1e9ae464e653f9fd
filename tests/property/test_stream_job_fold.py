"""The events that Spark makes of change feeds, against the fold in plain Python that test_convergence.py builds on.

Starting a Spark job costs far more than its rows, so one job holds many histories, kept apart by their keys.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convergence_world import job_settings, key_text
from lpm.config import load_config
from source_histories import COMPANIES, KEYS, OWNERS, Change, Event, Key, Row, fold, histories, micro_batches, play
from stream_job import events, route
from stream_job.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HISTORIES = 300
MOMENT = "2026-01-02 03:04:05.678901"

# Rows of change feeds that no source can leave, too: the fold does not rely on any order or agreement among them.
changes = st.builds(
    Change,
    kind=st.sampled_from(["insert", "update_preimage", "update_postimage", "delete"]),
    row=st.builds(Row, st.sampled_from(OWNERS), st.sampled_from(KEYS), st.integers(0, 3)),
    version=st.integers(1, 3),
)
feeds = st.lists(changes, min_size=1, max_size=12)


@st.composite
def read_histories(draw: st.DrawFn) -> list[list[Change]]:
    """The micro-batches of a history."""
    return draw(micro_batches(play(draw(histories))))


@pytest.fixture(scope="module")
def job(spark: "SparkSession") -> Settings:
    return job_settings(spark)


def examples(strategy: st.SearchStrategy[Any], count: int = HISTORIES) -> list[Any]:
    """As many examples of a strategy, the same ones every time."""
    found = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


def packed(batches: Sequence[Sequence[Change]]) -> list[list[Change]]:
    """The same micro-batches with keys of their own, so that one job can fold all of them at once."""
    return [
        [Change(change.kind, change.row._replace(key=_own(change.row.key, number)), change.version) for change in batch]
        for number, batch in enumerate(batches)
    ]


def _own(key: Key, number: int) -> Key:
    return key if key.trade_id is None else key._replace(trade_id=f"{number}|{key.trade_id}")


def frame(spark: "SparkSession", feed: Sequence[Change]) -> "DataFrame":
    """Changes as Delta's change feed gives them. Of their contents only the number, as the quantity."""
    known = "trade_id STRING, leg_no INT, info_companyid STRING, quantity BIGINT"
    lines = [(*change.row.key, change.row.company, change.row.content, change.kind, change.version) for change in feed]
    rows = spark.createDataFrame(lines, f"{known}, _change_type STRING, _commit_version BIGINT")
    absent = [
        f"CAST(NULL AS {'STRING' if column.type.kind == 'string' else column.type}) AS `{column.name}`"
        for column in load_config().table.columns
        if column.name not in rows.columns
    ]
    return rows.selectExpr("*", f"TIMESTAMP '{MOMENT}' AS _commit_timestamp", *absent)


@dataclass(frozen=True)
class Sent:
    """An event that Spark made, and in which of the job's three steps."""

    step: int
    event: Event
    row_hash: str | None


def sent(batch: "DataFrame", job: Settings) -> list[Sent]:
    """The events of a batch, by the steps in which the job sends them: upserts, deletes, winners."""
    good = events.upserts(batch, job).where("reason IS NULL")
    deletes = events.deletes(events.folded(batch, job), job)
    steps = [good, deletes, events.winners(batch, job)]
    # One Spark job for all three steps: starting a job takes most of the time here.
    rows = [step.selectExpr("value", f"{number} AS step") for number, step in enumerate(steps)]
    return [_sent(row.step, json.loads(row.value)) for row in reduce(type(batch).unionAll, rows).collect()]


def _sent(step: int, body: dict[str, Any]) -> Sent:
    assert body["committed_at"] == MOMENT.replace(" ", "T") + "Z"
    key = json.loads(body["key"])
    content = int(json.loads(body["payload"])["quantity"]) if body["op"] == "upsert" else None
    event = Event(body["info_companyid"], Key(key["trade_id"], int(key["leg_no"])), body["version"], content)
    assert body["key"] == key_text(event.key)
    return Sent(step, event, body["row_hash"])


def expected(batch: Sequence[Change], row_hashes: dict[Row, str]) -> Counter[tuple[int, Event]]:
    """What the fold gives, by steps."""
    made = fold(batch, row_hashes.__getitem__)
    upserts = sum(change.is_upsert and None not in (change.row.company, change.row.key.trade_id) for change in batch)
    return Counter(
        (1 if event.content is None else 0 if number < upserts else 2, event) for number, event in enumerate(made)
    )


def test_spark_makes_the_events_of_the_reference(spark: "SparkSession", job: Settings) -> None:
    batches = packed([*[batch for read in examples(read_histories()) for batch in read], *examples(feeds)])
    batch_of = {change.row.key: number for number, batch in enumerate(batches) for change in batch}
    made = sent(frame(spark, [change for batch in batches for change in batch]), job)
    row_hashes = {
        Row(one.event.company, one.event.key, one.event.content): one.row_hash
        for one in made
        if one.event.content is not None and one.row_hash is not None
    }
    found: dict[int, Counter[tuple[int, Event]]] = {}
    for one in made:
        found.setdefault(batch_of[one.event.key], Counter())[one.step, one.event] += 1
    # The smallest one that differs tells most.
    for number, batch in sorted(enumerate(batches), key=lambda each: len(each[1])):
        wanted, events_found = expected(batch, row_hashes), found.get(number, Counter())
        assert events_found == wanted, "\n".join(
            ["the micro-batch", *(f"  version {change.version}: {change.kind} {change.row}" for change in batch)]
            + [f"  Spark lacks {event} in step {step}" for step, event in wanted - events_found]
            + [f"  Spark adds {event} in step {step}" for step, event in events_found - wanted]
        )
    assert len({one.step for one in made}) == 3
    assert len(batches) > 2 * HISTORIES


def test_inserts_alone_pass_unshuffled_as_the_fold_would_give_them(spark: "SparkSession", job: Settings) -> None:
    feed = [Change("insert", change.row, change.version) for batch in packed(examples(feeds, 100)) for change in batch]
    batch = frame(spark, feed)
    straight = events.upserts(batch, job).where("reason IS NULL")
    plan = straight._jdf.queryExecution().executedPlan().toString()
    assert "Exchange" not in plan
    assert {one.event for one in sent(batch, job) if one.step < 2} == set(fold(feed, str))
    assert events.deletes(events.folded(batch, job), job).isEmpty()


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(["C-1001", *COMPANIES, "nobody"]), st.integers(0, 65535)), min_size=20, max_size=200
    )
)
def test_spark_and_python_choose_the_same_partition(
    spark: "SparkSession", job: Settings, drawn: list[tuple[str, int]]
) -> None:
    rows = spark.createDataFrame(
        [(c, b, f"{n}") for n, (c, b) in enumerate(drawn)], "company STRING, bucket INT, value STRING"
    )
    routes = {line.company: line for line in job.routes}
    for row in route.routed(rows, route.table(spark, job), job).collect():
        company, bucket = drawn[int(row.value)]
        target = routes.get(company, job.unrouted)
        assert (row.topic, row.partition) == (target.topic, route.partition_of(bucket, target.partitions))


def test_a_company_named_like_sql_is_only_text(spark: "SparkSession", job: Settings) -> None:
    names = ["'", '"', "\\", "\\'\"", "a\nb", "%", "\u00e9\U0001f600", "${x}", "', '"]
    text = ", ".join(route.literal(name) for name in names)
    row: Any = spark.sql(f"SELECT array({text}) AS found").head()
    assert row.found == names
