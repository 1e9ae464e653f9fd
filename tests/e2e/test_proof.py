"""Every hour is proven: reconciliation, repair and redrive through Airflow, the hub, the router and the databases."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from databricks.sdk.service.jobs import RunResultState
from sqlalchemy import create_engine, text

from e2e.equality import assert_equal
from lpm.config import Company
from lpm.contract.envelope import literal
from lpm.local.airflow_api import DagRunError
from lpm.local.cloud.parts import Cloud
from lpm.local.demo.faults import FaultMaker
from lpm.local.demo.pipeline import Pipeline, wait_until
from lpm.local.demo.traffic import Traffic
from lpm.procedures.status import Status
from lpm.render import names

QUICK = {"grace_seconds": 1, "every_value": True}


@pytest.fixture(scope="module")
def faults(cloud: Cloud, pipeline: Pipeline) -> Iterator[FaultMaker]:
    maker = FaultMaker(pipeline, pipeline.addresses(cloud))
    yield maker
    maker.close()


def evidence(cloud: Cloud, company: Company) -> dict[str, Any]:
    """The newest evidence about a company."""
    files = (cloud.folder / "airflow" / "evidence" / "reconcile" / "evidence").rglob(f"{company.slug}.json")
    newest = max(files, key=lambda file: file.stat().st_mtime)
    found: dict[str, Any] = json.loads(newest.read_text())
    return found


def status(cloud: Cloud) -> Status:
    return Status.model_validate_json((cloud.folder / "airflow" / "evidence" / "status.json").read_text())


def test_under_traffic_equal_sides_are_proven_equal(cloud: Cloud, pipeline: Pipeline) -> None:
    # Not as fast as it can: on two cores that leaves the round little room.
    traffic = Traffic(pipeline.source, 100_000, rounds=40, inserted=200, seconds=4.0)
    traffic.start()
    result = pipeline.run_dag("reconcile", QUICK)
    traffic.stop()
    traffic.join()
    assert traffic.failure is None
    lines = [line for line in result["details"] if line.startswith("compare: ")]
    assert len(lines) == len(pipeline.databases)
    assert all("equal at version" in line for line in lines), lines
    for line in status(cloud).companies:
        assert line.verified is not None
        assert line.verified.verdict == "pass"
        assert line.verified.verified_through is not None


def test_one_fault_of_every_class_is_found_named_and_repaired(
    cloud: Cloud, pipeline: Pipeline, faults: FaultMaker
) -> None:
    companies = {company.id: company for company in pipeline.databases}
    made = faults.one_of_each(faults.prepare())
    pipeline.run_dag("reconcile", QUICK)
    for fault in made:
        found = evidence(cloud, companies[fault.company])
        assert [(each["key_hash"], each["kind"]) for each in found["differences"]] == [(fault.key_hash, fault.kind)]
        assert found["after_repair"] == []
    assert {alert.subject.name for alert in status(cloud).alerts if alert.alert == "differences"} == {
        company.id for company in pipeline.config.tenants
    }
    assert_equal(pipeline)
    pipeline.run_dag("reconcile", QUICK)
    assert not [alert for alert in status(cloud).alerts if alert.alert == "differences"]


def test_without_repair_the_run_fails_and_repair_by_hand_makes_the_key_right(
    pipeline: Pipeline, faults: FaultMaker
) -> None:
    company = next(iter(pipeline.databases))
    fault = faults.delete(company, faults.prepare(1)[company.id][0])
    with pytest.raises(DagRunError, match="compare"):
        pipeline.run_dag("reconcile", {**QUICK, "repair": False, "companies": [company.id]})
    conf = {"company": company.id, "keys": [fault.key_hash]}
    assert "1 upserts and 0 deletes" in pipeline.run_dag("repair", {**conf, "dry_run": True})["details"][0]
    assert pipeline.run_dag("repair", conf)["changed"] is True
    assert_equal(pipeline)


def test_an_emptied_database_is_filled_again_by_a_backfill(
    cloud: Cloud, pipeline: Pipeline, faults: FaultMaker
) -> None:
    company = list(pipeline.databases)[1]
    with create_engine(pipeline.addresses(cloud)[company.id]).begin() as connection:
        connection.execute(text("TRUNCATE dbo.tdr_streaming, lpm.tombstone"))
    pipeline.run_dag("repair", {"company": company.id})
    wait_until(lambda: pipeline.databases[company].row_count() == rows_of(pipeline, company), "the rows", 120)
    assert_equal(pipeline)


def test_a_large_repair_goes_through_a_batch_run(cloud: Cloud, pipeline: Pipeline) -> None:
    company = list(pipeline.databases)[3]
    with create_engine(pipeline.addresses(cloud)[company.id]).begin() as connection:
        connection.execute(text("TRUNCATE dbo.tdr_streaming, lpm.tombstone"))
    rows = rows_of(pipeline, company)
    conf = {"company": company.id, "batch_above": rows - 1}
    planned = pipeline.run_dag("repair", {**conf, "dry_run": True})["details"][0]
    assert f"would send {rows} rows by a batch run, 0 deletes through the hub" in planned
    before = backfill_runs(pipeline)
    result = pipeline.run_dag("repair", conf)
    assert f"{rows} rows sent, 0 unsendable; 0 deletes" in result["details"][0]
    assert pipeline.databases[company].row_count() == rows, "the repair waited for that"
    assert len(backfill_runs(pipeline)) == len(before) + 1
    assert_equal(pipeline)


def test_reconcile_repairs_many_keys_by_a_batch_run(cloud: Cloud, pipeline: Pipeline, faults: FaultMaker) -> None:
    company = list(pipeline.databases)[4]
    extra = faults.duplicate(company, faults.prepare(2)[company.id][0])
    others = text("DELETE FROM dbo.tdr_streaming WHERE lpm_bucket % 2 = 0 AND lpm_bucket <> :bucket")
    with create_engine(pipeline.addresses(cloud)[company.id]).begin() as connection:
        gone = connection.execute(others, {"bucket": int(extra.key_hash[:4], 16)}).rowcount
    before = backfill_runs(pipeline)
    pipeline.run_dag("reconcile", {**QUICK, "companies": [company.id], "batch_above": 5})
    found = evidence(cloud, company)
    assert found["result"]["differences"] == {"missing": gone, "extra": 1}
    assert found["after_repair"] == []
    assert len(backfill_runs(pipeline)) == len(before) + 1
    assert extra.key_hash not in {key for key, _ in pipeline.databases[company].rows()}
    assert_equal(pipeline)


def backfill_runs(pipeline: Pipeline) -> list[int]:
    """The runs of the backfill job that ended well."""
    jobs = pipeline.source.workspace.jobs
    [job] = jobs.list(name=names.backfill_job_name(pipeline.environment))
    runs = jobs.list_runs(job_id=job.job_id, completed_only=True)
    return [run.run_id or 0 for run in runs if run.state and run.state.result_state is RunResultState.SUCCESS]


def rows_of(pipeline: Pipeline, company: Company) -> int:
    source = pipeline.source
    condition = f"{pipeline.config.table.company_column} = {literal(company.id)}"
    [count] = next(source.sql(f"SELECT count(*) FROM {source.table_name} WHERE {condition}"))
    return int(count or 0)


def test_what_was_refused_arrives_after_the_fix_and_leaves_the_quarantine(pipeline: Pipeline) -> None:
    company = list(pipeline.databases)[2]
    database, table = pipeline.databases[company], pipeline.source.table_name
    values = f"('R-1', 1, {literal(company.id)}, repeat('b', 101))"
    pipeline.source.run(f"INSERT INTO {table} (trade_id, leg_no, info_companyid, book) VALUES {values}")
    pipeline.wait_for_version(pipeline.source.version())
    assert database.quarantine_counts() == {"too_long:book": 1}
    pipeline.source.run(f"UPDATE {table} SET book = 'short' WHERE trade_id = 'R-1'")  # the fix
    pipeline.wait_for_version(pipeline.source.version())
    result = pipeline.run_dag("redrive", {"company": company.id, "event_reason": "too_long:book"})
    assert "  quarantine: 1 too_long:book" in result["details"]
    assert database.quarantine_counts() == {}
    assert_equal(pipeline)


def test_a_database_that_nobody_configured_and_a_stranger_in_the_source_are_told(
    cloud: Cloud, pipeline: Pipeline
) -> None:
    company = next(iter(pipeline.databases))
    address = pipeline.addresses(cloud)[company.id]
    admin = create_engine(address, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE left_behind"))
    stranger = create_engine(address.rpartition("/")[0] + "/left_behind")
    with stranger.begin() as connection:
        connection.execute(text("CREATE SCHEMA lpm"))
        connection.execute(text("CREATE TABLE lpm.watermark (version bigint)"))
    pipeline.source.insert_strays(95_000)
    result = pipeline.run_dag("reconcile", {"grace_seconds": 1, "companies": [company.id]})
    assert "  local/left_behind" in result["details"]
    assert any("unknown company 'C-9999'" in line for line in result["details"])
    assert {"unknown-database", "unknown-company"} <= {alert.alert for alert in status(cloud).alerts}
    stranger.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE left_behind"))
    admin.dispose()
