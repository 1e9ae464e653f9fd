"""The procedure assess on a real Delta table with every fault it looks for, real databases, and Airflow's own run."""

import argparse
import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from stand_ins import INCLUDE, serve

from lpm import cli
from lpm.clients.databricks import DatabricksClient
from lpm.clients.evidence import EvidenceStore
from lpm.config import Column, Environment, TableContract, load_config
from lpm.config.alerts import load_alerts
from lpm.config.assessment import load_assessment
from lpm.config.contacts import load_contacts
from lpm.config.measures import MEASURES
from lpm.config.models import Database
from lpm.local import processes
from lpm.local.postgres import Server
from lpm.procedures import bootstrap
from lpm.procedures.assess.access import measure_access
from lpm.procedures.assess.change_feed import measure_change_feed
from lpm.procedures.assess.facts import FOLDER, LATEST, UNAVAILABLE, Baseline, Fact, latest
from lpm.procedures.assess.source import measure_source
from lpm.procedures.assess.targets import measure_targets
from lpm.procedures.assess.verdicts import judge_all
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.render.names import EVIDENCE_VARIABLE, source_table
from lpm.site.facts import Facts
from lpm.site.pages import baseline as page

CONFIG = load_config()
LOCAL = CONFIG.environment("local")
SOURCE = source_table(CONFIG, LOCAL)
FIRST, SECOND, *OTHERS = CONFIG.companies
CLEAN: Environment = LOCAL.model_copy(
    update={"databricks": LOCAL.databricks.model_copy(update={"source_schema": "clean"})}
)


def spark_type(column: Column) -> str:
    return f"VARCHAR({column.type.length})" if column.type.length else str(column.type)


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabricksClient]:
    """A workspace, a server of databases, the folder for evidence, and the Airflow connections that lead there."""
    token, folder = secrets.token_hex(16), tmp_path_factory.mktemp("assess")
    address, process = serve("lpm.local.databricks.serve", folder / "databricks", [], {"LPM_DATABRICKS_TOKEN": token})
    workspace = {"conn_type": "databricks", "schema": "http", "host": "127.0.0.1", "password": token}
    with Server(folder / "postgres") as postgres, pytest.MonkeyPatch.context() as patch:
        server = {"conn_type": "generic", "host": "127.0.0.1", "login": "postgres", "password": postgres.password}
        for database in LOCAL.databases.values():
            postgres.create_database(database.database)
        for name, connection in (
            (LOCAL.databricks.connection, {**workspace, "port": httpx.URL(address).port}),
            (LOCAL.sql.connection, {**server, "port": postgres.port}),
        ):
            patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        patch.setenv(EVIDENCE_VARIABLE, str(folder / "evidence"))
        bootstrap.create_target(CONFIG, LOCAL, FIRST)
        yield DatabricksClient.of(LOCAL)
    processes.stop(process)
    postgres.delete()


@pytest.fixture(scope="module")
def faulty(databricks: DatabricksClient) -> DatabricksClient:
    """A source with one fault of each kind, whose feed is on and whose log is kept too short."""
    wrong = {"quantity": "STRING", "surplus": "ARRAY<INT>"}
    kinds = {column.name: spark_type(column).replace("VARCHAR(3)", "STRING") for column in CONFIG.table.columns} | wrong
    del kinds["document"]
    columns = ", ".join(f"`{name}` {kind}" for name, kind in kinds.items())
    databricks.sql(f"CREATE SCHEMA {LOCAL.source_schema}")
    databricks.sql(
        f"CREATE TABLE {SOURCE} ({columns}) USING DELTA TBLPROPERTIES "
        "(delta.enableChangeDataFeed = true, delta.logRetentionDuration = 'interval 10 days')"
    )

    def insert(*rows: str) -> None:
        values = {"first": FIRST.id, "second": SECOND.id}
        names = "(trade_id, leg_no, info_companyid, currency)"
        databricks.sql(f"INSERT INTO {SOURCE} {names} VALUES {', '.join(rows)}", values)

    insert(*(f"('T-{number}', 1, :first, 'EUR')" for number in range(6)), "('S-1', 1, :second, 'EUR')")
    insert(
        "('T-0', 1, :first, 'EUR')",  # a key that the company has twice
        "('T-1', 1, :second, 'EUR')",  # a key that two companies have
        "('N-1', 1, NULL, 'EUR')",
        "('U-1', 1, 'C-9999', 'EUR'), ('U-2', 1, 'c-1001', 'EUR')",  # case counts
        "('K-1', NULL, :first, 'EUR')",
        "('L-1', 1, :first, 'EURO'), ('L-2', 1, :first, '😀😀')",  # three UTF-16 units are allowed
    )
    databricks.sql(f"UPDATE {SOURCE} SET info_companyid = :second WHERE trade_id = 'T-2'", {"second": SECOND.id})
    databricks.sql(f"DELETE FROM {SOURCE} WHERE trade_id = 'T-3'")
    databricks.sql(f"OPTIMIZE {SOURCE}")
    return databricks


@pytest.fixture(scope="module")
def run(faulty: DatabricksClient) -> Any:
    """The DAG's run."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.utils.db import initdb

    folder = INCLUDE.parent / "dags"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LPM_ENVIRONMENTS", "local")
        initdb()
        dags = BundleDagBag(str(folder), bundle_path=folder, bundle_name="testing").dags
        finished = dags["assess__local"].test(run_conf={"window_days": 3, "reason": "a test"})
    assert finished.state == "success"
    return finished


@pytest.fixture(scope="module")
def measured(run: Any) -> Baseline:
    found = latest(EvidenceStore(LOCAL))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def clean(databricks: DatabricksClient) -> str:
    """A table made from the contract itself, letter by letter."""
    table = source_table(CONFIG, CLEAN)
    columns = ", ".join(
        f"`{column.name}` {spark_type(column)}{'' if column.nullable else ' NOT NULL'}"
        for column in CONFIG.table.columns
    )
    databricks.sql(f"CREATE SCHEMA {CLEAN.source_schema}")
    databricks.sql(f"CREATE TABLE {table} ({columns}) USING DELTA")
    databricks.sql(
        f"INSERT INTO {table} (trade_id, leg_no, info_companyid) VALUES "
        "('T-1', 1, :company), ('T-1', 2, :company), ('T-2', 1, :company)",
        {"company": FIRST.id},
    )
    return table


def fact(baseline: Baseline, name: str) -> Fact:
    found = baseline.fact(name)
    assert found is not None, f"{name} was not measured"
    return found


def test_everything_that_can_be_measured_is_in_the_evidence_with_its_statement(measured: Baseline) -> None:
    assert {each.name for each in measured.facts} == set(MEASURES)
    assert len(measured.facts) == len(MEASURES)
    assert all(each.how for each in measured.facts)
    assert all(each.value is not None or each.note for each in measured.facts)
    assert (measured.environment, measured.table, measured.window_days) == ("local", SOURCE, 3)
    kept = EvidenceStore(LOCAL).names(FOLDER)
    assert [f"{FOLDER}/{measured.at:%Y-%m-%dT%H-%M-%S}.json", LATEST] == kept


def test_measuring_changes_nothing(run: Any, faulty: DatabricksClient) -> None:
    [newest] = faulty.sql(f"DESCRIBE HISTORY {SOURCE} LIMIT 1")
    assert newest["operation"] == "OPTIMIZE"
    assert [row["tableName"] for row in faulty.sql(f"SHOW TABLES IN {LOCAL.source_schema}")] == [CONFIG.table.name]
    schemas = {next(iter(row.values())) for row in faulty.sql("SHOW SCHEMAS")}
    assert LOCAL.databricks.pipeline_schema not in schemas


def test_each_fault_of_the_table_is_found(measured: Baseline) -> None:
    for name, value, values in (
        ("table_rows", 14, {}),
        ("missing_columns", 1, {"document": "binary"}),
        ("incompatible_columns", 1, {"quantity": "is string, the contract says bigint"}),
        ("extra_columns", 1, {"surplus": "array<int>"}),
        ("null_company_rows", 1, {}),
        ("unknown_company_rows", 2, {"'C-9999'": 1, "'c-1001'": 1}),
        ("duplicate_keys", 1, {}),
        ("shared_keys", 1, {}),
        ("null_key_rows", 1, {}),
        ("null_in_required", 2, {"leg_no": 1, "info_companyid": 1}),
        ("too_long_values", 2, {"currency": 2}),
        ("companies_with_rows", 2, {FIRST.id: 8, SECOND.id: 3}),
    ):
        assert (fact(measured, name).value, fact(measured, name).values) == (value, values), name
        assert fact(measured, name).meets in (None, False), name
    assert fact(measured, "largest_company_percent").value == round(100 * 8 / 14, 1)
    assert fact(measured, "table_bytes").value > 1000
    event = fact(measured, "largest_event_bytes")
    assert event.value is None
    assert event.note.endswith("columns that are missing or of another type: quantity, document")


def test_how_the_table_changes_is_counted_from_history_and_feed(measured: Baseline) -> None:
    for name, value in (
        ("commits", 4),
        ("overwrites", 0),
        ("hours_with_changes_percent", 100),
        ("rows_per_hour_p95", 17),
        ("rows_per_hour_max", 17),
        ("inserted_percent", 88.2),
        ("updated_percent", 5.9),
        ("deleted_percent", 5.9),
        ("feed_changes", 17),
        ("busiest_company_per_hour", 11),
        ("company_moves", 1),
    ):
        assert fact(measured, name).value == value, name
    assert fact(measured, "commits").values == {"WRITE": 2, "UPDATE": 1, "DELETE": 1}, "OPTIMIZE changes no row"
    assert fact(measured, "feed_changes").values == {
        "insert": 15, "update_preimage": 1, "update_postimage": 1, "delete": 1,
    }  # fmt: skip


def test_feed_and_retention_are_held_against_what_the_design_needs(measured: Baseline) -> None:
    on, files, log = (fact(measured, name) for name in ("feed_on", "change_file_days", "log_days"))
    assert (on.text, on.meets) == ("yes (legacy)", True)
    assert (files.value, files.meets, log.value, log.meets) == (7, False, 10, False)
    assert "at least 30 days" in log.needed
    obstacles = fact(measured, "feed_obstacles")
    assert obstacles.value == 2
    assert "'document' of pipeline.yml is missing" in " ".join(map(str, obstacles.values.values()))


def test_what_this_workspace_does_not_have_is_said_and_is_no_error(measured: Baseline) -> None:
    for name in ("grants", "readers", "openers"):
        assert fact(measured, name).value is None
        assert fact(measured, name).note.startswith(UNAVAILABLE), name
    assert "PARSE_SYNTAX_ERROR" in fact(measured, "grants").note
    assert "names nobody" in fact(measured, "writers").note


def test_databases_are_asked_and_their_distance_is_measured(measured: Baseline) -> None:
    assert (fact(measured, "targets_reachable").value, fact(measured, "targets_reachable").meets) == (
        len(CONFIG.companies),
        True,
    )
    assert FIRST.id not in fact(measured, "targets_with_schema").values
    p50, p95 = fact(measured, "round_trip_ms_p50"), fact(measured, "round_trip_ms_p95")
    assert 0 < p50.value <= p95.value
    assert set(p95.values) == {company.id for company in CONFIG.companies}


def test_a_database_that_does_not_answer_is_a_fact_with_its_reason(databricks: DatabricksClient) -> None:
    databases = {**LOCAL.databases, SECOND.id: Database(server="local", database="lpm_nowhere")}
    found = {each.name: each for each in measure_targets(CONFIG, LOCAL.model_copy(update={"databases": databases}))}
    reachable = found["targets_reachable"]
    assert (reachable.value, reachable.meets) == (len(CONFIG.companies) - 1, False)
    assert list(reachable.values) == [SECOND.id]
    assert "lpm_nowhere" in str(reachable.values[SECOND.id])
    assert SECOND.id not in found["round_trip_ms_p95"].values


def test_the_run_says_which_findings_the_facts_contradict(run: Any, measured: Baseline) -> None:
    verdicts = judge_all(load_assessment().findings, measured, CONFIG)
    judged = {verdict.finding.id: verdict.judgement for verdict in verdicts if verdict.finding.measured}
    assert {name for name, judgement in judged.items() if judgement == "contradicted"} >= {
        *("F-07", "F-08", "F-09", "F-12", "F-17")
    }
    assert {judged["F-15"], judged["F-18"], judged["F-21"]} == {"confirmed"}
    assert {judged["F-04"], judged["F-06"], judged["F-10"], judged["F-11"]} == {"cannot be judged"}
    result = Outcome.from_json(run.get_task_instance("result").xcom_pull(task_ids="result"))
    assert (result.changed, result.summary) == (False, "no change")
    assert any("contradicted: F-07: duplicate_keys is 1 key;" in line for line in result.details)


def test_the_page_shows_the_contradictions_of_this_run(measured: Baseline) -> None:
    facts = Facts(
        config=CONFIG,
        alerts=load_alerts(),
        contacts=load_contacts(),
        procedures={},
        commands=argparse.ArgumentParser(),
        environments=("local",),
        evidence={"local": EvidenceStore(LOCAL)},
    )
    [shown] = page.pages(facts)
    box = shown.text.partition('!!! danger "Facts contradict what was said"')[2].partition("\n## ")[0]
    assert "[F-08](#f-08) in **local**" in box
    assert "null\\_company\\_rows is 1 row;" in box


def test_a_table_as_the_contract_says_has_no_fault(databricks: DatabricksClient, clean: str) -> None:
    found = {each.name: each for each in measure_source(CONFIG, CLEAN, databricks)}
    assert not [each.name for each in found.values() if each.meets is False]
    assert found["table_rows"].value == 3
    assert 300 < found["largest_event_bytes"].value < 2000


def test_while_the_feed_is_off_its_facts_are_missing_and_the_history_speaks(
    databricks: DatabricksClient, clean: str
) -> None:
    found = {each.name: each for each in measure_change_feed(CONFIG, CLEAN, databricks, 7)}
    assert (found["feed_on"].value, found["feed_on"].meets) == (0, False)
    assert found["feed_changes"].note == "not available here: the change data feed is off"
    assert found["rows_per_hour_max"].value == 3


def test_a_source_that_is_not_there_is_a_message_with_the_next_step(databricks: DatabricksClient) -> None:
    nowhere = LOCAL.model_copy(update={"databricks": LOCAL.databricks.model_copy(update={"source_schema": "nowhere"})})
    for measure in (
        lambda: measure_source(CONFIG, nowhere, databricks),
        lambda: measure_change_feed(CONFIG, nowhere, databricks, 7),
        lambda: measure_access(CONFIG, nowhere, databricks, 7),
    ):
        with pytest.raises(ProcedureError, match=r"nowhere.*does not exist.*\nNext step: "):
            measure()


def test_the_proposal_for_a_table_made_from_the_contract_is_the_contract(
    clean: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["contract", "propose", clean, "--environment", "local"]) == 0
    printed = capsys.readouterr().out
    proposed = TableContract.model_validate(yaml.safe_load(printed)["table"])
    assert [(column.name, column.type, column.nullable) for column in proposed.columns] == [
        (column.name, column.type, column.nullable) for column in CONFIG.table.columns
    ]
    assert (proposed.name, proposed.key, proposed.company_column) == (
        CONFIG.table.name,
        CONFIG.table.key,
        CONFIG.table.company_column,
    )
    assert "# Proposed from the columns of" in printed


def test_a_proposal_that_cannot_be_made_says_why_and_what_next(
    databricks: DatabricksClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for table, environment, message in (
        ("spark_catalog.clean.nowhere", "local", "TABLE_OR_VIEW_NOT_FOUND"),
        ("tdr_streaming", "local", "'tdr_streaming' is no name of a table"),
        ("a.b.c", "lokal", "unknown environment 'lokal'; expected one of devtest, local, prod"),
        ("a.b.c", "prod", f"there is no Airflow connection '{CONFIG.environment('prod').databricks.connection}'"),
    ):
        assert cli.main(["contract", "propose", table, "--environment", environment]) == 1
        assert message in capsys.readouterr().err
