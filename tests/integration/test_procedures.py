"""The procedures against the Databricks and Azure stand-ins, a real broker, real databases and real Delta tables.

Each procedure runs twice: the second run says that nothing changes.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from stand_ins import INCLUDE, serve

from lpm.clients.azure_resource_manager import AzureError, ResourceManager
from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs_secrets import event_hubs_secrets
from lpm.clients.stream_analytics import StreamingJobs
from lpm.config import Environment, load_config
from lpm.config.models import Database
from lpm.local import processes
from lpm.local.event_hubs.server import EventHubsServer
from lpm.local.kafka import Broker
from lpm.local.postgres import Server
from lpm.procedures import bootstrap, control, deploy_router, deploy_stream, enable_cdf
from lpm.procedures.control import Action
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.procedures.reconciliation.batch import Batch
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.waiting import wait_until
from lpm.render.names import backfill_job_name, source_table, stream_job_name, streaming_job_name

CONFIG = load_config()
LOCAL = CONFIG.environment("local")
SOURCE = source_table(CONFIG, LOCAL)
JOBS = [streaming_job_name(LOCAL, shard) for shard in CONFIG.shards]


def spark_type(kind: str) -> str:
    return "STRING" if kind.startswith("string") else kind


def with_another_database() -> Environment:
    """The environment with the last company's database elsewhere: one shard's job changes, the other does not."""
    last = CONFIG.companies[-1].id
    return LOCAL.model_copy(update={"databases": {**LOCAL.databases, last: Database(server="local", database="other")}})


COLUMNS = ", ".join(f"`{column.name}` {spark_type(str(column.type))}" for column in CONFIG.table.columns)


@pytest.fixture(scope="module")
def cloud(
    kafka: Broker, event_hubs: EventHubsServer, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Both stand-ins, one empty database per company, and the Airflow connections that lead there."""
    folder = tmp_path_factory.mktemp("cloud")
    token, header = secrets.token_hex(16), event_hubs.identity_header  # one identity gives and checks tokens
    for database in LOCAL.databases.values():
        postgres.create_database(database.database)
    databricks, workspace = serve(
        "lpm.local.databricks.serve",
        folder / "databricks",
        [],
        {"LPM_DATABRICKS_TOKEN": token, "LPM_DATABRICKS_BACKOFF_FIRST_SECONDS": "0.5"},
    )
    azure, subscription = serve(
        "lpm.local.azure.serve",
        folder / "azure",
        ["--kafka-bootstrap", kafka.bootstrap, "--postgres-port", str(postgres.port)],
        {
            "LPM_KAFKA_CONNECTION_STRING": kafka.connection_string,
            "LPM_POSTGRES_PASSWORD": postgres.password,
            "IDENTITY_HEADER": header,
        },
    )
    connections = {
        LOCAL.databricks.connection: {
            "conn_type": "databricks", "schema": "http", "host": "127.0.0.1",
            "port": httpx.URL(databricks).port, "password": token,
        },
        LOCAL.azure.connection: {
            "conn_type": "azure", "host": azure,
            "extra": {
                "use_azure_identity_object": True,
                "event_hubs_connection_string": kafka.connection_string,
                "event_hubs_endpoint": event_hubs.endpoint,
                "event_hubs_ca_file": str(event_hubs.ca_file),
            },
        },
        LOCAL.sql.connection: {
            "conn_type": "generic", "host": "127.0.0.1", "port": postgres.port,
            "login": "postgres", "password": postgres.password,
        },
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", f"{azure}/msi/token")
        patch.setenv("IDENTITY_HEADER", header)
        patch.setenv("LPM_LOCAL_KAFKA_BOOTSTRAP", kafka.bootstrap)
        for name, connection in connections.items():
            patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        yield
    processes.stop(subscription)
    processes.stop(workspace)


@pytest.fixture(scope="module")
def databricks(cloud: None) -> DatabricksClient:
    client = DatabricksClient.of(LOCAL)
    for schema in (LOCAL.source_schema, LOCAL.pipeline_schema):
        client.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    return client


@pytest.fixture(scope="module")
def manager(cloud: None) -> Iterator[ResourceManager]:
    with ResourceManager(LOCAL.azure) as client:
        yield client


@pytest.fixture
def source(databricks: DatabricksClient) -> str:
    """A fresh source table with one row of each company."""
    databricks.sql(f"CREATE OR REPLACE TABLE {SOURCE} ({COLUMNS}) USING DELTA")
    rows = ", ".join(f"('T-{n}', {n}, :c{n})" for n in range(len(CONFIG.companies)))
    companies = {f"c{n}": company.id for n, company in enumerate(CONFIG.companies)}
    databricks.sql(f"INSERT INTO {SOURCE} (trade_id, leg_no, info_companyid) VALUES {rows}", companies)
    return SOURCE


def test_enable_cdf_enables_proves_and_records_once(databricks, source):
    before = databricks.sql(f"SELECT * FROM {source} ORDER BY leg_no")
    assert enable_cdf.check_prerequisites(CONFIG, LOCAL, databricks).details[0] == "change feed: off"
    assert not enable_cdf.enable(CONFIG, LOCAL, databricks, dry_run=True).changed
    assert enable_cdf.enable(CONFIG, LOCAL, databricks).changed
    proof = enable_cdf.validate(CONFIG, LOCAL, databricks)
    assert proof.details == ("insert: 2", "update_preimage: 1", "update_postimage: 1", "delete: 1")
    recorded = enable_cdf.record(CONFIG, LOCAL, databricks, validated=True)
    assert recorded.changed
    version = databricks.sql(f"DESCRIBE HISTORY {source} LIMIT 1")[0]["version"]
    assert f"readable from version {version} on" in recorded.summary, "the proof commits nothing to the source"

    assert databricks.sql(f"SELECT * FROM {source} ORDER BY leg_no") == before
    for step in (enable_cdf.check_prerequisites, enable_cdf.enable, enable_cdf.validate):
        assert not step(CONFIG, LOCAL, databricks).changed
    assert enable_cdf.validate(CONFIG, LOCAL, databricks).summary.startswith("no change")
    assert not enable_cdf.record(CONFIG, LOCAL, databricks, validated=True).changed
    tables = databricks.sql(f"SHOW TABLES IN {LOCAL.pipeline_schema}")
    assert "cdf_check" not in [row["tableName"] for row in tables]

    databricks.sql(f"ALTER TABLE {source} ADD COLUMN extra ARRAY<INT>")
    assert enable_cdf.validate(CONFIG, LOCAL, databricks).details[0] == "insert: 2", "a changed table is proven again"


def test_test_rows_that_the_table_refuses_are_a_clear_message(databricks, source):
    databricks.sql(
        f"ALTER TABLE {source} ADD CONSTRAINT positive CHECK (leg_no < 0 OR leg_no > 100 OR trade_id LIKE 'T-%')"
    )
    enable_cdf.enable(CONFIG, LOCAL, databricks)
    with pytest.raises(ProcedureError, match=r"(?s)refuses a test row.*CHECK.*positive.*validate off"):
        enable_cdf.validate(CONFIG, LOCAL, databricks)
    tables = databricks.sql(f"SHOW TABLES IN {LOCAL.pipeline_schema}")
    assert "cdf_check" not in [row["tableName"] for row in tables], "the clone is dropped even then"


def test_reserved_columns_and_missing_ones_are_named_before_anything_is_touched(databricks, source):
    databricks.sql(f"CREATE OR REPLACE TABLE {source} ({COLUMNS}, _change_type STRING) USING DELTA")
    databricks.sql(f"ALTER TABLE {source} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    databricks.sql(f"ALTER TABLE {source} DROP COLUMN book")
    with pytest.raises(ProcedureError, match=r"(?s)column 'book'.*missing.*'_change_type' is reserved") as refusal:
        enable_cdf.check_prerequisites(CONFIG, LOCAL, databricks)
    assert str(refusal.value).count("\n  - ") == 2
    with pytest.raises(ProcedureError, match=r"DELTA_TABLE_ALREADY_CONTAINS_CDC_COLUMNS"):
        enable_cdf.enable(CONFIG, LOCAL, databricks)


def test_a_view_and_a_missing_table_are_told_apart(databricks, source):
    databricks.sql(f"DROP TABLE {source}")
    with pytest.raises(ProcedureError, match=f"{source} does not exist"):
        enable_cdf.check_prerequisites(CONFIG, LOCAL, databricks)
    databricks.sql(f"CREATE VIEW {source} AS SELECT 1 AS trade_id")
    try:
        with pytest.raises(ProcedureError, match="it is a VIEW: only a Delta table"):
            enable_cdf.check_prerequisites(CONFIG, LOCAL, databricks)
    finally:
        databricks.sql(f"DROP VIEW {source}")


def test_bootstrap_creates_azure_resources_once(manager):
    assert (
        bootstrap.create_router(CONFIG, LOCAL, manager, dry_run=True).summary
        == "dry run: would create 2 streaming jobs"
    )
    assert "would create resource group" in bootstrap.create_foundation(CONFIG, LOCAL, manager, dry_run=True).summary
    created = bootstrap.create_foundation(CONFIG, LOCAL, manager)
    assert created.changed
    assert any("eventhubs/tdr-streaming-shard-01" in line for line in created.details)
    assert "dry run: streaming jobs" in bootstrap.create_router(CONFIG, LOCAL, manager, dry_run=True).summary
    assert bootstrap.create_router(CONFIG, LOCAL, manager).changed
    for step in (bootstrap.create_foundation, bootstrap.create_router):
        again = step(CONFIG, LOCAL, manager)
        assert not again.changed
        assert again.summary.startswith("no change")
    assert [StreamingJobs(manager).get(name).state for name in JOBS] == ["Created", "Created"]


def test_bootstrap_verifies_each_hub_with_microsofts_client(manager):
    bootstrap.create_foundation(CONFIG, LOCAL, manager)
    verified = bootstrap.verify_hubs(CONFIG, LOCAL)
    assert not verified.changed
    assert verified.summary == "2 hubs are as configured and Airflow may send to them"
    assert verified.details == tuple(
        f"tdr-streaming-{shard}: 5 partitions, takes 1048576 bytes at once" for shard in CONFIG.shards
    )
    assert bootstrap.verify_hubs(CONFIG, LOCAL, dry_run=True).summary == "dry run: would verify 2 hubs"


def test_with_entra_airflow_sends_with_the_identity_of_its_connection(manager):
    bootstrap.create_foundation(CONFIG, LOCAL, manager)
    entra = LOCAL.model_copy(update={"event_hubs": LOCAL.event_hubs.model_copy(update={"kafka_auth": "entra"})})
    assert len(bootstrap.verify_hubs(CONFIG, entra).details) == len(CONFIG.shards)


def test_a_hub_that_differs_is_a_matter_for_a_person(manager):
    bootstrap.create_foundation(CONFIG, LOCAL, manager)
    more = LOCAL.model_copy(update={"event_hubs": LOCAL.event_hubs.model_copy(update={"partitions": 8})})
    with pytest.raises(ProcedureError, match=r"5 partitions; expected 8.*\nNext step: partition counts are frozen"):
        bootstrap.verify_hubs(CONFIG, more)
    limits = CONFIG.pipeline.limits.model_copy(update={"max_event_bytes": 1024 * 1024})
    larger = CONFIG.model_copy(update={"pipeline": CONFIG.pipeline.model_copy(update={"limits": limits})})
    with pytest.raises(ProcedureError, match=r"1048576 bytes at once; expected more than 1048576.*\nNext step:"):
        bootstrap.verify_hubs(larger, LOCAL)


def test_bootstrap_creates_tables_and_secrets_once(databricks):
    databricks.sql(f"DROP SCHEMA {LOCAL.pipeline_schema} CASCADE")
    assert len(bootstrap.create_tables(CONFIG, LOCAL, databricks, dry_run=True).details) == 2
    assert bootstrap.create_tables(CONFIG, LOCAL, databricks).changed
    assert not bootstrap.create_tables(CONFIG, LOCAL, databricks).changed
    assert not databricks.file_exists(f"{LOCAL.databricks.volume}/nothing"), "the volume is there and empty"

    secrets = event_hubs_secrets(LOCAL)
    assert not bootstrap.store_secrets(LOCAL, databricks, secrets, dry_run=True).changed
    stored = bootstrap.store_secrets(LOCAL, databricks, secrets)
    assert stored.changed
    assert not any(value in stored.text for value in secrets.values())
    assert not bootstrap.store_secrets(LOCAL, databricks, secrets).changed
    assert bootstrap.store_secrets(LOCAL, databricks, secrets, renew=True).changed


def test_deploy_router_starts_stops_and_updates_only_what_it_must(manager):
    jobs = StreamingJobs(manager)
    bootstrap.create_foundation(CONFIG, LOCAL, manager)
    assert "would start" in deploy_router.deploy_router(CONFIG, LOCAL, manager, dry_run=True).text
    first = deploy_router.deploy_router(CONFIG, LOCAL, manager)
    assert first.changed
    assert [line for line in first.details if line.startswith("started")] == [
        f"started {name} at CustomTime" for name in JOBS
    ]
    assert not deploy_router.deploy_router(CONFIG, LOCAL, manager).changed

    moved = with_another_database()
    assert bootstrap.create_router(CONFIG, moved, manager).details == (
        f"{JOBS[1]} runs and differs from the configuration: run deploy_router",
    )
    update = deploy_router.deploy_router(CONFIG, moved, manager)
    assert f"stopped {JOBS[1]}" in update.details
    assert f"stopped {JOBS[0]}" not in update.details
    assert all(jobs.get(name).is_started for name in JOBS)
    assert deploy_router.deploy_router(CONFIG, LOCAL, manager).changed


def test_a_failed_router_deployment_leaves_running_what_can_run(manager):
    deploy_router.deploy_router(CONFIG, LOCAL, manager)
    broken = LOCAL.model_copy(update={"storage": LOCAL.storage.model_copy(update={"unrouted_container": "gone"})})
    with pytest.raises(AzureError, match="deployment lpm-router") as failure:
        deploy_router.deploy_router(CONFIG, broken, manager)
    jobs = StreamingJobs(manager)
    assert not jobs.get(JOBS[0]).is_started, "its container is gone"
    assert "container 'gone'" in "".join(failure.value.__notes__)
    assert jobs.get(JOBS[1]).is_started
    assert deploy_router.deploy_router(CONFIG, LOCAL, manager).changed
    assert all(jobs.get(name).is_started for name in JOBS)


def test_bootstrap_makes_each_companys_database_once(cloud):
    for company in CONFIG.companies:
        assert not bootstrap.create_target(CONFIG, LOCAL, company, dry_run=True).changed
        made = bootstrap.create_target(CONFIG, LOCAL, company)
        assert made.changed
        assert company.id in made.summary
        assert not bootstrap.create_target(CONFIG, LOCAL, company).changed


def test_control_stops_and_starts_the_router(manager):
    jobs = StreamingJobs(manager)
    deploy_router.deploy_router(CONFIG, LOCAL, manager)
    paused = control.control_router(CONFIG, LOCAL, manager, Action.PAUSE, ["shard-02"])
    assert paused.details == (f"stopped {JOBS[1]}",)
    assert [jobs.get(name).is_started for name in JOBS] == [True, False]
    assert not control.control_router(CONFIG, LOCAL, manager, Action.PAUSE, ["shard-02"]).changed
    assert control.control_router(CONFIG, LOCAL, manager, Action.RESUME).changed
    assert not control.control_router(CONFIG, LOCAL, manager, Action.RESUME).changed
    assert len(control.control_router(CONFIG, LOCAL, manager, Action.RESTART).details) == 4
    with pytest.raises(ProcedureError, match=r"unknown shard 'shard-1'; expected some of .*did you mean 'shard-01'"):
        control.control_router(CONFIG, LOCAL, manager, Action.PAUSE, ["shard-1"])


@pytest.fixture
def ready(manager: ResourceManager, databricks: DatabricksClient, source: str) -> None:
    """Everything that the stream job needs: hubs, tables, secrets and the feed."""
    bootstrap.create_foundation(CONFIG, LOCAL, manager)
    bootstrap.create_tables(CONFIG, LOCAL, databricks)
    bootstrap.store_secrets(LOCAL, databricks, event_hubs_secrets(LOCAL))
    enable_cdf.enable(CONFIG, LOCAL, databricks)


def test_the_stream_is_deployed_once_paused_updated_and_restarted(databricks, ready):
    with pytest.raises(ProcedureError, match=r"there is no Databricks job lpm-stream-local\n.*deploy_stream"):
        control.control_stream(LOCAL, databricks, Action.PAUSE)
    with pytest.raises(ProcedureError, match=r"there is no Databricks job lpm-backfill-local\n.*deploy_stream"):
        Batch(LOCAL, databricks, 1.0).send(CONFIG.companies[0].id, 0, Slice.everything())
    planned = deploy_stream.deploy_stream(CONFIG, LOCAL, databricks, dry_run=True)
    assert "the job does not exist" in planned.details
    assert "lpm-backfill-local: the job does not exist" in planned.details
    deployed = deploy_stream.deploy_stream(CONFIG, LOCAL, databricks)
    assert (deployed.changed, deployed.summary) == (True, "deployed lpm-stream-local and lpm-backfill-local")
    assert "makes progress" in deploy_stream.await_progress(CONFIG, LOCAL, databricks).summary

    job = control.stream_job(LOCAL, databricks)
    [first] = databricks.active_runs(job.id)
    again = deploy_stream.deploy_stream(CONFIG, LOCAL, databricks)
    assert (again.changed, again.summary) == (False, "no change: lpm-stream-local is as configured")
    assert not control.control_stream(LOCAL, databricks, Action.RESUME).changed
    assert [run.id for run in databricks.active_runs(job.id)] == [first.id], "the run was left alone"

    assert control.control_stream(LOCAL, databricks, Action.PAUSE).details == (f"cancelled run {first.id}",)
    assert not databricks.active_runs(job.id)
    assert not control.control_stream(LOCAL, databricks, Action.PAUSE).changed
    with pytest.raises(ProcedureError, match=r"is paused\n.*action resume"):
        control.control_stream(LOCAL, databricks, Action.RESTART)

    slower = LOCAL.model_copy(update={"stream": LOCAL.stream.model_copy(update={"trigger_seconds": 2.0})})
    update = deploy_stream.deploy_stream(CONFIG, slower, databricks)
    assert "continuous.pause_status: 'PAUSED', expected 'UNPAUSED'" in update.details
    for begins in ("tasks[0]", "lpm-backfill-local: tasks[0]"):
        assert any(line.startswith(f"{begins}.python_wheel_task.named_parameters.settings") for line in update.details)
    [second] = databricks.active_runs(job.id)
    restarted = control.control_stream(LOCAL, databricks, Action.RESTART)
    assert restarted.details[0] == f"cancelled run {second.id}"
    control.control_stream(LOCAL, databricks, Action.PAUSE)


@pytest.fixture
def deployed(databricks: DatabricksClient, ready: None) -> None:
    """Both jobs are there, and the stream is paused."""
    if databricks.find_job(stream_job_name(LOCAL)) is None:
        deploy_stream.deploy_stream(CONFIG, LOCAL, databricks)
        control.control_stream(LOCAL, databricks, Action.PAUSE)


def test_a_backfill_job_that_differs_is_reset_and_the_stream_is_left_alone(databricks, deployed):
    control.control_stream(LOCAL, databricks, Action.RESUME)
    deploy_stream.deploy_stream(CONFIG, LOCAL, databricks)
    [before] = databricks.active_runs(control.stream_job(LOCAL, databricks).id)
    job = databricks.find_job(backfill_job_name(LOCAL))
    databricks.reset_job(job.id, {**job.settings, "timeout_seconds": 1})
    changed = deploy_stream.deploy_stream(CONFIG, LOCAL, databricks)
    assert changed.summary == "deployed lpm-backfill-local"
    assert changed.details == ("lpm-backfill-local: timeout_seconds: 1, expected 21600",)
    assert not deploy_stream.deploy_stream(CONFIG, LOCAL, databricks).changed
    assert [run.id for run in databricks.active_runs(before.job_id)] == [before.id]
    control.control_stream(LOCAL, databricks, Action.PAUSE)


def test_a_batch_run_sends_a_companys_rows_and_one_that_fails_or_lasts_too_long_says_where_to_look(
    databricks, deployed, source
):
    company = CONFIG.companies[-1].id
    version = int(databricks.sql(f"DESCRIBE HISTORY {source} LIMIT 1")[0]["version"])
    batch = Batch(LOCAL, databricks, 240.0)
    run = batch.send(company, version, Slice.everything())
    assert "backfill: 1 rows sent, 0 unsendable" in databricks.run_output(run).splitlines()
    with pytest.raises(
        ProcedureError, match=rf"(?s)company {company}: run .* ended as FAILED: .*backfill failed.*#job/"
    ):
        batch.send(company, version + 1000, Slice.everything())
    with pytest.raises(ProcedureError, match=r"which was cancelled: not so after 0 s\nNext step: see .*#job/"):
        Batch(LOCAL, databricks, 0.0).send(company, version, Slice.everything())
    [last, *_] = databricks.latest_runs(run.job_id)
    wait_until(lambda: not databricks.run(last.id).is_active, "the cancelled run's end", 60, "see its log")
    assert databricks.run(last.id).result == "CANCELED"


def test_a_stream_that_fails_shows_its_error(databricks, deployed, source):
    databricks.sql(f"ALTER TABLE {source} UNSET TBLPROPERTIES ('delta.enableChangeDataFeed')")
    assert control.control_stream(LOCAL, databricks, Action.RESUME).changed
    with pytest.raises(ProcedureError, match=r"(?s)2 runs of lpm-stream-local failed.*DELTA_"):
        deploy_stream.await_progress(CONFIG, LOCAL, databricks)
    control.control_stream(LOCAL, databricks, Action.PAUSE)


@pytest.fixture
def local_dags(cloud: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The local DAGs, and a database for Airflow."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.utils.db import initdb

    monkeypatch.setenv("LPM_ENVIRONMENTS", "local")
    initdb()
    folder = INCLUDE.parent / "dags"
    return dict(BundleDagBag(str(folder), bundle_path=folder, bundle_name="testing").dags)


def test_the_bootstrap_dag_brings_everything_and_its_second_run_says_no_change(local_dags, databricks, manager):
    deploy_router.deploy_router(CONFIG, LOCAL, manager)  # jobs that run are no obstacle
    for expected in (None, "no change"):
        run = local_dags["bootstrap__local"].test(run_conf={"reason": "a test"})
        assert run.state == "success"
        result = Outcome.from_json(run.get_task_instance("result").xcom_pull(task_ids="result"))
        assert expected in (None, result.summary)
        assert "hubs: 2 hubs are as configured and Airflow may send to them" in result.details
        told = [line for line in result.details if line.startswith("target: ")]
        assert len(told) == len(CONFIG.companies)
        assert all(any(company.id in line for line in told) for company in CONFIG.companies)
