"""The model of the source, against a real Delta table that is taken through the same histories.

A commit costs far more than its rows, so all histories share the table and its versions, kept apart by their keys.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from source_histories import Commit, Row, Version, play, steps

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HISTORIES, VERSIONS = 100, 4
OVERWRITTEN = 3  # the version in which the whole table is, for all histories
COLUMNS = "action STRING, old_company STRING, old_trade STRING, old_leg INT, company STRING, trade STRING, leg INT"
MERGE = """
    MERGE INTO {table} AS t USING edits AS s
    ON s.action <> 'insert' AND t.company <=> s.old_company AND t.trade <=> s.old_trade AND t.leg <=> s.old_leg
    WHEN MATCHED AND s.action = 'delete' THEN DELETE
    WHEN MATCHED THEN UPDATE SET company = s.company, trade = s.trade, leg = s.leg,
        content = coalesce(s.content, t.content)
    WHEN NOT MATCHED THEN INSERT (company, trade, leg, content) VALUES (s.company, s.trade, s.leg, s.content)"""


@pytest.fixture(scope="module")
def table(spark: "SparkSession") -> Iterator[str]:
    spark.sql("CREATE SCHEMA source_model")
    spark.sql(
        "CREATE TABLE source_model.rows (company STRING, trade STRING, leg INT, content INT) USING delta"
        " TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )
    yield "source_model.rows"
    spark.sql("DROP SCHEMA source_model CASCADE")


def drawn_histories() -> list[list[Version]]:
    """Histories of the same length that overwrite the table in the same version."""
    found: list[list[Version]] = []
    each = st.lists(st.lists(steps, max_size=8), min_size=VERSIONS, max_size=VERSIONS)

    @settings(
        max_examples=HISTORIES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(each)
    def collect(history: list[Any]) -> None:
        found.append(play(Commit(tuple(made), number == OVERWRITTEN) for number, made in enumerate(history, 1)))

    collect()
    return found


def edits(version: Version, number: int) -> Iterator[tuple[Any, ...]]:
    """What MERGE has to do for a version: one line for each row that it inserts and each place that it changes."""
    runs = [(kind, list(run)) for kind, run in groupby(version.changes, lambda change: (change.kind, change.place))]
    for place, ((kind, _), run) in enumerate(runs):
        old = _place(run[0].row, number)
        if kind == "insert":
            yield from (("insert", None, None, None, *_place(change.row, number), change.row.content) for change in run)
        elif kind == "delete":
            yield ("delete", *old, None, None, None, None)
        elif kind == "update_preimage":
            images = [change.row.content for change in run], [change.row.content for change in runs[place + 1][1]]
            content = None if images[0] == images[1] else images[1][0]
            yield ("update", *old, *_place(runs[place + 1][1][0].row, number), content)


def _place(row: Row, number: int) -> tuple[str | None, str | None, int]:
    return row.company, row.key.trade_id, number * 10 + row.key.leg_no


def feed(versions: Iterable[tuple[int, Version]]) -> Counter[tuple[Any, ...]]:
    """The change feed of one version of all histories."""
    return Counter(
        (change.kind, *_place(change.row, number), change.row.content)
        for number, version in versions
        for change in version.changes
    )


def test_delta_leaves_the_change_feed_that_the_model_says(spark: "SparkSession", table: str) -> None:
    drawn = drawn_histories()
    for version in range(VERSIONS):
        made = [(number, history[version]) for number, history in enumerate(drawn)]
        if version + 1 == OVERWRITTEN:
            rows = [
                (*_place(Row(*place, content), number), content)
                for number, each in made
                for place, contents in each.table.items()
                for content in contents
            ]
            after = spark.createDataFrame(rows, "company STRING, trade STRING, leg INT, content INT")
            after.write.insertInto(table, overwrite=True)
        else:
            lines = [line for number, each in made for line in edits(each, number)]
            spark.createDataFrame(lines, f"{COLUMNS}, content INT").createOrReplaceTempView("edits")
            spark.sql(MERGE.format(table=table))
    found: dict[int, Counter[tuple[Any, ...]]] = {number: Counter() for number in range(1, VERSIONS + 1)}
    for row in spark.sql(f"SELECT * FROM table_changes('{table}', 1)").collect():
        found[row._commit_version][row._change_type, row.company, row.trade, row.leg, row.content] += 1
    for version in range(VERSIONS):
        assert found[version + 1] == feed((number, history[version]) for number, history in enumerate(drawn))
    kinds = Counter(change[0] for counter in found.values() for change in counter)
    assert set(kinds) == {"insert", "update_preimage", "update_postimage", "delete"}
