"""A change committed to the source appears in the right company's database and nowhere else, whatever dies on the way.

One local cloud serves all end-to-end tests, in their order: each leaves the pipeline running.
"""

import os
import signal

import pytest

from e2e.equality import assert_equal
from killing import child, kill_tree
from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.supervision import Supervisor
from lpm.local.demo.pipeline import Pipeline, wait_until
from lpm.local.demo.traffic import Traffic

RECOVERY_SECONDS = 120


def traffic(pipeline: Pipeline, first_number: int, rounds: int) -> Traffic:
    """Traffic that has begun."""
    started = Traffic(pipeline.source, first_number, rounds)
    started.start()
    return started


def ends_well(pipeline: Pipeline, running: Traffic) -> None:
    """Wait for the traffic's end; nothing it did is lost."""
    running.join()
    assert running.failure is None
    assert_equal(pipeline)


def test_go_live_brings_the_rows_that_were_there_before(pipeline: Pipeline) -> None:
    assert_equal(pipeline)


def test_a_second_go_live_changes_nothing(pipeline: Pipeline) -> None:
    result = pipeline.run_dag("go_live", {"reason": "again"})
    assert result["changed"] is False, result


def test_inserts_updates_moves_deletes_and_compaction_end_exactly_right(pipeline: Pipeline) -> None:
    ends_well(pipeline, traffic(pipeline, 10_000, rounds=9))


def test_rows_that_no_company_owns_reach_no_company(pipeline: Pipeline) -> None:
    pipeline.source.insert_strays(90_000)
    assert_equal(pipeline)
    wait_until(lambda: pipeline.strays().kept, "the strays", RECOVERY_SECONDS)
    strays = pipeline.strays()
    assert strays.unknown_company_rows > 0
    assert strays.rows_without_company > 0


def test_hostile_rows_arrive_exactly_or_are_kept_with_a_reason(pipeline: Pipeline) -> None:
    table = pipeline.source.table_name

    def insert(key: str, company: str, **values: str) -> None:
        columns = ["trade_id", "leg_no", "info_companyid", *values]
        row = ", ".join([f"'{key}'", "1", company, *values.values()])
        pipeline.source.run(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({row})")

    insert(
        "H-1", "'C-1001'", comment='"O\'Brien; DROP TABLE x; -- \\\\ 🚀 \\u0001 \\n"', book="''", ratio="double('NaN')"
    )
    insert("H-2", '"O\'Neill 07"', price=f"CAST('-{'9' * 20}.{'9' * 18}' AS DECIMAL(38,18))")
    insert("H-3", "'C-1001'", trade_date="DATE'1900-01-01'", booked_at="TIMESTAMP'1900-01-01 00:00:00.000001'")
    insert("H-4", "'C-1001'", trade_date="DATE'9999-12-31'", booked_at="TIMESTAMP'9999-12-31 23:59:59.999999'")
    insert("H-5", "'C-1001'", comment="repeat('x', 1000000)")
    insert("H-6", "'c-1001'")
    insert("H-7", "'C-1001 '")
    insert("H-8", "''")
    version = pipeline.source.version()
    pipeline.wait_for_version(version)

    verdicts = {verdict.company: verdict for verdict in pipeline.catch_up()}
    missing = [difference for verdict in verdicts.values() for difference in verdict.differences]
    assert [(each.column, each.expected, each.found) for each in missing] == [("", "a row", None)]  # H-5, too large
    [[reason, company]] = [
        list(row)
        for row in pipeline.source.sql(
            "SELECT reason, info_companyid FROM spark_catalog.lpm_streaming.dead_letter WHERE key LIKE '%H-5%'"
        )
    ]
    assert (reason, company) == ("too_large", "C-1001")
    for key in ("H-6", "H-7", "H-8"):
        wait_until(lambda key=key: bool(pipeline.unrouted_events(key)), f"{key} unrouted", RECOVERY_SECONDS)
    assert all(database.foreign_rows() == 0 for database in pipeline.databases.values())
    pipeline.source.run(f"DELETE FROM {table} WHERE trade_id LIKE 'H-%'")
    assert_equal(pipeline)


@pytest.mark.parametrize("victim", ["run-", "asa-lpm-local-shard-01"])
def test_nothing_is_lost_when_the_job_or_a_router_is_killed(cloud: Cloud, pipeline: Pipeline, victim: str) -> None:
    running = traffic(pipeline, 20_000 if victim == "run-" else 30_000, rounds=6)
    before = child(cloud, victim)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: child(cloud, victim) not in (0, before), f"a new {victim}", RECOVERY_SECONDS)
    ends_well(pipeline, running)


@pytest.mark.parametrize("victim", ["postgres", "kafka", "azure"])
def test_nothing_is_lost_when_a_part_is_killed(cloud: Cloud, pipeline: Pipeline, victim: str) -> None:
    first = {"postgres": 40_000, "kafka": 50_000, "azure": 60_000}[victim]
    running = traffic(pipeline, first, rounds=5)
    kill_tree(Supervisor(cloud.folder, cloud.state).programs()[victim].pid)
    ends_well(pipeline, running)


@pytest.mark.parametrize("part", ["stream", "router"])
def test_what_is_paused_waits_and_is_delivered_after_resume(pipeline: Pipeline, part: str) -> None:
    assert pipeline.run_dag("control", {"action": "pause", "part": part})["changed"] is True
    watermarks = [database.watermark() for database in pipeline.databases.values()]
    ends = traffic(pipeline, 70_000 if part == "stream" else 80_000, rounds=3)
    ends.join()
    assert [database.watermark() for database in pipeline.databases.values()] == watermarks
    assert pipeline.run_dag("control", {"action": "resume", "part": part})["changed"] is True
    ends_well(pipeline, ends)


def test_an_unknown_parameter_is_refused_by_name(pipeline: Pipeline) -> None:
    with pytest.raises(RuntimeError, match="control"):
        pipeline.run_dag("control", {"action": "pause", "shard": "shard-01"})
