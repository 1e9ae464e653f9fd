"""Validation on a live cloud: every case of the plan, also those that stop parts; and it leaves nothing behind."""

import pytest
from sqlalchemy import create_engine, text

from e2e.equality import assert_equal
from lpm.config.test_plan import load_test_plan
from lpm.contract.envelope import literal
from lpm.local.airflow_api import DagRunError
from lpm.local.cloud.parts import Cloud
from lpm.local.demo.pipeline import Pipeline
from lpm.procedures.validation.results import Validation, Verdict

PLAN = load_test_plan()
SAFE = [case.id for case in PLAN.cases if not case.disruptive]
DISRUPTIVE = [case.id for case in PLAN.cases if case.disruptive]
ALL_CASES_SECONDS = 1500.0
pytestmark = pytest.mark.timeout(1800)  # sixteen cases, one after the other, on a machine with other work


def latest(cloud: Cloud) -> Validation:
    folder = cloud.folder / "airflow" / "evidence" / "validate"
    return Validation.model_validate_json((folder / "latest.json").read_text())


def verdicts(found: Validation, cases: list[str]) -> dict[str, str]:
    """Verdict and, where it did not pass, the reason of some cases."""
    results = {result.case: result for result in found.results}
    return {case: f"{results[case].verdict} {results[case].reason}".strip() for case in cases}


def assert_nothing_is_left(pipeline: Pipeline) -> None:
    """No row of validation is in the source or in any database, and no login of it on the server."""
    column, key = pipeline.config.table.company_column, pipeline.config.table.key[0]
    companies = [*(company.id for company in pipeline.config.canaries), PLAN.rows.unknown_company]
    ours = f"{column} IN ({', '.join(map(literal, companies))}) OR startswith({key}, {literal(PLAN.rows.key_prefix)})"
    [count] = next(pipeline.source.sql(f"SELECT count(*) FROM {pipeline.source.table_name} WHERE {ours}"))
    assert count == "0"
    assert_equal(pipeline)  # also: every canary has no row and nothing in its quarantine
    database = next(iter(pipeline.databases.values()))
    assert database.query("SELECT rolname FROM pg_roles WHERE rolname LIKE 'lpm!_check!_%' ESCAPE '!'") == []


def test_every_case_that_disturbs_nobody_passes_and_leaves_nothing(cloud: Cloud, pipeline: Pipeline) -> None:
    pipeline.run_dag("validate", {"reason": "end-to-end test"}, seconds=ALL_CASES_SECONDS)
    found = latest(cloud)
    assert verdicts(found, SAFE) == dict.fromkeys(SAFE, "passed")
    assert {found.of(case).verdict for case in DISRUPTIVE} == {Verdict.SKIPPED}, "nobody asked for them"  # type: ignore[union-attr]
    assert found.not_clean == ""
    burst = found.of("burst")
    assert burst is not None
    assert burst.measured["rows"] == PLAN.limits.burst_rows
    assert 0 < burst.measured["p95_seconds"] <= pipeline.config.pipeline.objectives.latency_p95_seconds
    assert_nothing_is_left(pipeline)


def test_every_case_that_stops_a_part_passes_and_leaves_all_running(cloud: Cloud, pipeline: Pipeline) -> None:
    pipeline.run_dag("validate", {"cases": DISRUPTIVE, "disruptive": True}, seconds=ALL_CASES_SECONDS)
    found = latest(cloud)
    assert verdicts(found, DISRUPTIVE) == dict.fromkeys(DISRUPTIVE, "passed")
    earlier = found.of("insert")
    assert earlier is not None
    assert (earlier.verdict, earlier.last_run and earlier.last_run.verdict) == (Verdict.SKIPPED, Verdict.PASSED)
    assert_nothing_is_left(pipeline)


def test_a_promise_that_does_not_hold_is_told_and_hides_no_other_case(cloud: Cloud, pipeline: Pipeline) -> None:
    canary = pipeline.config.canaries[0]
    engine = create_engine(pipeline.addresses(cloud)[canary.id])
    with engine.begin() as connection:
        connection.execute(text("GRANT UPDATE ON dbo.tdr_streaming TO lpm_reader"))
    try:
        with pytest.raises(DagRunError, match="run_case"):
            pipeline.run_dag("validate", {"cases": ["reader-cannot-write", "reader-stays-home", "insert"]})
    finally:
        with engine.begin() as connection:
            connection.execute(text("REVOKE UPDATE ON dbo.tdr_streaming FROM lpm_reader"))
        engine.dispose()
    found = verdicts(latest(cloud), ["insert", "reader-cannot-write", "reader-stays-home"])
    assert found.pop("reader-cannot-write").startswith(
        "failed expected: a consumer may not update\nseen: it may: UPDATE"
    )
    assert found == {"insert": "passed", "reader-stays-home": "passed"}
    assert_nothing_is_left(pipeline)


def test_rows_that_a_killed_run_left_are_removed_by_the_next(pipeline: Pipeline) -> None:
    canary, table = pipeline.config.canaries[0], pipeline.source.table_name
    for number, company in enumerate((canary.id, PLAN.rows.unknown_company)):
        row = f"('{PLAN.rows.key_prefix}dead-{number}', 1, {literal(company)}, repeat('b', 101))"
        pipeline.source.run(f"INSERT INTO {table} (trade_id, leg_no, info_companyid, book) VALUES {row}")
    pipeline.wait_for_version(pipeline.source.version())
    assert pipeline.databases[canary].quarantine_counts() == {"too_long:book": 1}
    pipeline.run_dag("validate", {"cases": ["insert"]})
    assert_nothing_is_left(pipeline)


def test_a_dry_run_says_what_would_run_and_writes_nothing(cloud: Cloud, pipeline: Pipeline) -> None:
    version, before = pipeline.source.version(), latest(cloud)
    result = pipeline.run_dag("validate", {"cases": ["burst", "stream-pause"], "dry_run": True})
    assert f"keep: dry run: would run 1 of {len(PLAN.cases)} cases" in result["details"]
    assert (pipeline.source.version(), latest(cloud)) == (version, before)


def test_an_unknown_case_and_a_stopped_part_are_refused_before_anything_is_written(pipeline: Pipeline) -> None:
    version = pipeline.source.version()
    with pytest.raises(DagRunError, match="chosen"):
        pipeline.run_dag("validate", {"cases": ["insrt"]})
    pipeline.run_dag("control", {"action": "pause", "part": "router", "shards": [pipeline.config.canaries[1].shard]})
    try:
        with pytest.raises(DagRunError, match="chosen"):
            pipeline.run_dag("validate", {"cases": ["insert"]})
    finally:
        pipeline.run_dag("control", {"action": "resume"})
    assert pipeline.source.version() == version
    assert_equal(pipeline)
