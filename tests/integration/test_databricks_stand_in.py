"""The stand-in as a process, called by the vendor's SDK, by Airflow's hook and by our client; runs are real wheels."""

import contextlib
import datetime
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from airflow.providers.databricks.hooks.databricks import DatabricksHook
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, PermissionDenied, ResourceAlreadyExists
from databricks.sdk.service import jobs, sql

from lpm.clients.databricks import DatabricksClient, DatabricksError, StatementFailed

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "the-token"
VOLUME = "/Volumes/lpm/streaming/files"
CONNECTION = "stand_in"

# What the wheel of these tests does: it says what it sees, then stays, fails or ends.
PROBE = """
import json, os, pathlib, sys, time

def main():
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    options = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
    settings = json.loads(pathlib.Path(options["settings"]).read_text())
    seen = {
        "secret": os.environ.get("PROBE_SECRET"),
        "token": os.environ.get("LPM_DATABRICKS_TOKEN"),
        "greeting": settings["greeting"],
        "conf": spark.conf.get("spark.probe.colour", None),
        "tables": [row.tableName for row in spark.sql("SHOW TABLES IN gold").collect()],
        "pid": os.getpid(),
    }
    out = pathlib.Path(settings["out"])
    out.with_suffix(".part").write_text(json.dumps(seen))
    out.with_suffix(".part").rename(out)
    print("the probe was here")
    if settings["then"] == "fail":
        raise ValueError("the probe failed as told")
    if settings["then"] == "stay":
        time.sleep(600)
"""


class StandInProcess:
    """The stand-in in a process of its own. Its folder has a blank in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.log = (self.folder.parent / "stand-in.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lpm.local.databricks.serve", "--port", str(self.port), "--folder", self.folder],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "include"),
                "LPM_DATABRICKS_TOKEN": TOKEN,
                "LPM_DATABRICKS_BACKOFF_CAP_SECONDS": "1",
                "LPM_DATABRICKS_CANCEL_SECONDS": "5",
            },
            stdout=self.log,
            stderr=self.log,
        )
        until(self.is_ready, 120)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, (self.folder.parent / "stand-in.log").read_text()
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/stand-in/health", timeout=5).ok
        return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        self.log.close()

    def fault(self, **fault: Any) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        requests.post(f"{self.url}/stand-in/faults", json=fault, headers=headers, timeout=5).raise_for_status()

    def file(self, name: str) -> Path:
        return self.folder / VOLUME.lstrip("/") / name


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.05)
    return found


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; where nobody collects orphans, it stays as a zombie."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInProcess]:
    process = StandInProcess(tmp_path_factory.mktemp("databricks") / "a folder")
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def sdk(stand_in: StandInProcess) -> WorkspaceClient:
    return WorkspaceClient(host=stand_in.url, token=TOKEN)


@pytest.fixture(scope="module")
def connection(stand_in: StandInProcess) -> Iterator[str]:
    """An Airflow connection from the environment alone."""
    about = {
        "conn_type": "databricks",
        "schema": "http",
        "host": "127.0.0.1",
        "port": stand_in.port,
        "password": TOKEN,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(about))
        yield CONNECTION


@pytest.fixture(scope="module")
def client(connection: str) -> DatabricksClient:
    client = DatabricksClient(connection, "local")
    client.sql("CREATE SCHEMA IF NOT EXISTS spark_catalog.gold")
    client.sql("CREATE TABLE IF NOT EXISTS spark_catalog.gold.seen (a INT) USING DELTA")
    client.sql("CREATE VOLUME IF NOT EXISTS `lpm`.`streaming`.`files`")
    return client


@pytest.fixture(scope="module")
def wheel(client: DatabricksClient) -> str:
    """A wheel in the volume, made as pip would find it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("probe/__init__.py", PROBE)
        archive.writestr("probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
        archive.writestr("probe-1.0.dist-info/entry_points.txt", "[console_scripts]\nprobe-main = probe:main\n")
    path = f"{VOLUME}/wheels/probe-1.0-py3-none-any.whl"
    client.upload(path, content.getvalue())
    client.ensure_scope("lpm-local")
    client.put_secret("lpm-local", "probe", "a secret, with = and '")
    return path


def job_settings(wheel: str, client: DatabricksClient, name: str, then: str, **more: Any) -> dict[str, Any]:
    settings = {"out": f"{VOLUME}/{name}.json", "then": then, "greeting": "hello"}
    client.upload(f"{VOLUME}/settings/{name}.json", json.dumps(settings).encode())
    cluster = {
        "spark_version": "18.x-scala2.13",
        "num_workers": 0,
        "node_type_id": "local",
        "spark_conf": {"spark.probe.colour": "blue"},
        "spark_env_vars": {"PROBE_SECRET": "{{secrets/lpm-local/probe}}"},
    }
    task = {
        "task_key": "probe",
        "job_cluster_key": "main",
        "libraries": [{"whl": wheel}],
        "python_wheel_task": {
            "package_name": "probe",
            "entry_point": "probe-main",
            "named_parameters": {"settings": f"{VOLUME}/settings/{name}.json"},
        },
    }
    return {
        "name": name,
        "job_clusters": [{"job_cluster_key": "main", "new_cluster": cluster}],
        "tasks": [task],
        **more,
    }


def run_sql(sdk: WorkspaceClient, statement: str, **more: Any) -> sql.StatementResponse:
    return sdk.statement_execution.execute_statement(statement, "local", wait_timeout="50s", **more)


# The vendor's SDK


def test_the_sdk_logs_in_and_a_wrong_token_is_refused(sdk: WorkspaceClient, stand_in: StandInProcess) -> None:
    assert sdk.current_user.me().user_name == "local"
    assert sdk.warehouses.get("local").state == sql.State.RUNNING
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        WorkspaceClient(host=stand_in.url, token="wrong").current_user.me()


def test_values_come_as_text_or_null_with_their_types(sdk: WorkspaceClient) -> None:
    answer = run_sql(
        sdk,
        "SELECT 1 AS a, CAST(1.5 AS DECIMAL(38,18)) AS a, TIMESTAMP'1900-01-01 00:00:00.123456' t, X'00ff' b, NULL n, "
        "array(1, 2) l, true o, DATE'9999-12-31' d",
    )
    assert answer.result.data_array == [
        ["1", "1.500000000000000000", "1900-01-01T00:00:00.123Z", "AP8=", None, "[1,2]", "true", "9999-12-31"]
    ]
    columns = answer.manifest.schema.columns
    assert [column.type_name.value for column in columns] == (
        ["INT", "DECIMAL", "TIMESTAMP", "BINARY", "NULL", "ARRAY", "BOOLEAN", "DATE"]
    )
    assert (columns[1].type_text, columns[1].type_precision, columns[1].type_scale) == ("DECIMAL(38,18)", 38, 18)


def test_numbers_and_text_keep_every_digit_and_sign(sdk: WorkspaceClient) -> None:
    answer = run_sql(sdk, "SELECT CAST('NaN' AS DOUBLE), 'é\\'😀', 9007199254740993, CAST('-0.0' AS DOUBLE), -1e-7BD")
    assert answer.result.data_array == [["NaN", "é'😀", "9007199254740993", "-0.0", "-0.0000001"]]
    assert [column.type_name.value for column in answer.manifest.schema.columns][:3] == ["DOUBLE", "STRING", "LONG"]


def test_a_failed_statement_is_an_answer_with_its_error(sdk: WorkspaceClient) -> None:
    status = run_sql(sdk, "SELECT * FROM spark_catalog.gold.none").status
    assert (status.state, status.sql_state) == (sql.StatementState.FAILED, "42P01")
    assert "TABLE_OR_VIEW_NOT_FOUND" in status.error.message


def test_parameters_have_their_declared_types_and_bad_values_are_refused(sdk: WorkspaceClient) -> None:
    parameters = [
        sql.StatementParameterListItem("n", "DECIMAL(10,2)", "12.5"),
        sql.StatementParameterListItem("s", value="o'clock; DROP TABLE x --"),
        sql.StatementParameterListItem("t", "TIMESTAMP", "2026-01-02T03:04:05Z"),
        sql.StatementParameterListItem("nothing", "STRING"),
    ]
    answer = run_sql(sdk, "SELECT :n, typeof(:n), :s, :t, :nothing", parameters=parameters)
    assert answer.result.data_array == [
        ["12.50", "decimal(10,2)", "o'clock; DROP TABLE x --", "2026-01-02T03:04:05.000Z", None]
    ]
    bad = run_sql(sdk, "SELECT :n", parameters=[sql.StatementParameterListItem("n", "INT", "abc")])
    assert "CAST_INVALID_INPUT" in bad.status.error.message


def test_a_large_result_comes_in_chunks_and_a_too_large_one_fails(sdk: WorkspaceClient) -> None:
    answer = run_sql(sdk, "SELECT id, repeat('x', 1000) FROM range(10000)")
    assert (answer.manifest.total_row_count, answer.manifest.total_chunk_count) == (10_000, 3)
    rows, chunk = list(answer.result.data_array), answer.result
    while chunk.next_chunk_index is not None:
        chunk = sdk.statement_execution.get_statement_result_chunk_n(answer.statement_id, chunk.next_chunk_index)
        assert chunk.row_offset == len(rows)
        rows += chunk.data_array
    assert sorted(int(row[0]) for row in rows) == list(range(10_000))
    too_large = run_sql(sdk, "SELECT id, repeat('x', 1000) FROM range(30000)")
    assert "byte limit" in too_large.status.error.message
    limited = run_sql(sdk, "SELECT id FROM range(10)", row_limit=3)
    assert (limited.manifest.total_row_count, limited.manifest.truncated) == (3, True)


def test_a_statement_is_cancelled_while_others_go_on(sdk: WorkspaceClient) -> None:
    slow = "SELECT count(*) FROM range(1000000000000) a WHERE hash(a.id) = 0"
    answer = sdk.statement_execution.execute_statement(slow, "local", wait_timeout="0s")
    assert answer.status.state in (sql.StatementState.PENDING, sql.StatementState.RUNNING)
    assert run_sql(sdk, "SELECT 1").result.data_array == [["1"]]
    sdk.statement_execution.cancel_execution(answer.statement_id)
    assert sdk.statement_execution.get_statement(answer.statement_id).status.state == sql.StatementState.CANCELED


def test_delta_statements_that_the_product_uses_work(client: DatabricksClient) -> None:
    client.sql("CREATE OR REPLACE TABLE gold.source (id INT, v STRING) USING DELTA")
    client.sql("ALTER TABLE gold.source SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')")
    client.sql("INSERT INTO gold.source VALUES (1, 'a'), (2, 'b')")
    client.sql("UPDATE gold.source SET v = 'c' WHERE id = 1")
    client.sql("CREATE OR REPLACE TABLE gold.copied SHALLOW CLONE gold.source")
    version = int(client.sql("DESCRIBE HISTORY gold.source LIMIT 1")[0]["version"] or 0)
    changes = client.sql(f"SELECT id, _change_type FROM table_changes('spark_catalog.gold.source', {version})")
    assert sorted(change["_change_type"] for change in changes) == ["update_postimage", "update_preimage"]
    before = client.sql(f"SELECT v FROM spark_catalog.gold.source VERSION AS OF {version - 1} WHERE id = 1")
    assert before == [{"v": "a"}]
    properties = {row["key"]: row["value"] for row in client.sql("SHOW TBLPROPERTIES gold.source")}
    assert properties["delta.enableChangeDataFeed"] == "true"
    assert client.sql("DESCRIBE DETAIL gold.source")[0]["format"] == "delta"
    client.sql("DROP TABLE gold.copied")
    client.sql("CREATE TABLE gold.copied (other INT) USING DELTA")  # nothing of the dropped one is left
    assert client.sql("SELECT * FROM gold.copied") == []


def test_files_go_to_a_volume_and_back(sdk: WorkspaceClient, client: DatabricksClient) -> None:
    path = f"{VOLUME}/texts/one two.txt"
    assert not client.file_exists(path)
    client.upload(path, b"\x00\xffx")
    assert client.file_exists(path)
    assert sdk.files.download(path).contents.read() == b"\x00\xffx"
    assert sdk.files.get_metadata(path).content_length == 3
    sdk.files.upload(path, io.BytesIO(b"y"), overwrite=True)
    assert [entry.name for entry in sdk.files.list_directory_contents(f"{VOLUME}/texts")] == ["one two.txt"]
    sdk.files.delete(path)
    with pytest.raises(NotFound):
        sdk.files.get_metadata(path)


def test_secrets_through_the_sdk(sdk: WorkspaceClient) -> None:
    sdk.secrets.create_scope("sdk")
    with pytest.raises(ResourceAlreadyExists):
        sdk.secrets.create_scope("sdk")
    sdk.secrets.put_secret("sdk", "k", string_value="v")
    assert [secret.key for secret in sdk.secrets.list_secrets("sdk")] == ["k"]


def test_jobs_are_listed_in_pages_and_found_by_name_whatever_its_case(
    sdk: WorkspaceClient, client: DatabricksClient, wheel: str
) -> None:
    paused = {"continuous": {"pause_status": "PAUSED"}}
    ids = [client.create_job(job_settings(wheel, client, f"page-{n}", "end", **paused)) for n in range(3)]
    assert [job.job_id for job in sdk.jobs.list(limit=1) if job.job_id in ids] == ids[::-1]
    assert [job.job_id for job in sdk.jobs.list(name="PAGE-1")] == [ids[1]]
    for job_id in ids:
        sdk.jobs.delete(job_id)
    assert list(sdk.jobs.list(name="page-1")) == []


def test_a_run_of_the_wheel_sees_what_a_cluster_would_show_it(
    sdk: WorkspaceClient, client: DatabricksClient, wheel: str, stand_in: StandInProcess
) -> None:
    job_id = client.create_job(job_settings(wheel, client, "once", "end"))
    run = sdk.jobs.run_now(job_id).result(datetime.timedelta(minutes=2))
    assert run.state.result_state == jobs.RunResultState.SUCCESS
    assert run.status.termination_details.code == jobs.TerminationCodeCode.SUCCESS
    seen = json.loads(stand_in.file("once.json").read_text())
    seen.pop("pid")
    assert seen.pop("tables").count("seen") == 1
    assert seen == {"secret": "a secret, with = and '", "token": None, "greeting": "hello", "conf": "blue"}
    assert "the probe was here" in (sdk.jobs.get_run_output(run.tasks[0].run_id).logs or "")


def test_a_failed_run_says_why(sdk: WorkspaceClient, client: DatabricksClient, wheel: str) -> None:
    job_id = client.create_job(job_settings(wheel, client, "fails", "fail"))
    run_id = sdk.jobs.run_now(job_id).run_id
    run = until(lambda: (run := client.run(run_id)) and not run.is_active and run, 120)
    assert (run.state, run.result) == ("TERMINATED", "FAILED")
    assert "ValueError: the probe failed as told" in run.message
    assert "probe/__init__.py" in client.run_error(run)


def test_a_run_with_a_missing_wheel_or_secret_fails_at_once_and_names_it(
    sdk: WorkspaceClient, client: DatabricksClient, wheel: str
) -> None:
    missing = job_settings(wheel.replace("probe-1.0", "none-1.0"), client, "no-wheel", "end")
    unknown = job_settings(wheel, client, "no-secret", "end")
    unknown["job_clusters"][0]["new_cluster"]["spark_env_vars"] = {"X": "{{secrets/lpm-local/none}}"}
    for settings, names in ((missing, "none-1.0-py3-none-any.whl"), (unknown, "key: none")):
        run_id = sdk.jobs.run_now(client.create_job(settings)).run_id
        run = until(lambda run_id=run_id: (run := client.run(run_id)) and not run.is_active and run)
        assert (run.state, run.result) == ("INTERNAL_ERROR", "FAILED")
        assert names in run.message


# Airflow's hook


def test_the_provider_hook_works_with_a_connection_from_the_environment(
    connection: str, client: DatabricksClient
) -> None:
    hook = DatabricksHook(connection)
    assert hook.test_connection() == (True, "Connection successfully tested")
    statement = {"statement": "SELECT 1", "warehouse_id": "local", "wait_timeout": "0s"}
    statement_id = hook.post_sql_statement(statement)
    until(lambda: hook.get_sql_statement_state(statement_id).is_terminal)
    assert hook.get_sql_statement_state(statement_id).is_successful
    assert hook.find_job_id_by_name("no such job") is None


# Our client


def test_a_statement_that_fails_names_its_first_line_and_the_next_step(client: DatabricksClient) -> None:
    with pytest.raises(StatementFailed) as failure:
        client.run_sql("SELECT *\nFROM spark_catalog.gold.none")
    text = str(failure.value)
    assert "SELECT *\n" in text
    assert "TABLE_OR_VIEW_NOT_FOUND" in text
    assert "Next step:" in text


def test_python_values_become_typed_parameters(client: DatabricksClient) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC)
    values = {
        "i": 2**40,
        "n": None,
        "b": True,
        "d": Decimal("1E+2"),
        "f": 0.1,
        "s": "'",
        "t": moment,
        "day": moment.date(),
    }
    result = client.run_sql(
        "SELECT :i, :n, :b, :d, :f, :s, date_format(:t, 'yyyy-MM-dd HH:mm:ss.SSSSSS'), :day, typeof(:i)", values
    )
    assert result.rows == (
        (str(2**40), None, "true", "100", "0.1", "'", "2026-01-02 03:04:05.678901", "2026-01-02", "bigint"),
    )


def test_a_slow_statement_is_cancelled_after_its_timeout(
    client: DatabricksClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpm.clients.databricks.STATEMENT_WAIT_SECONDS", 0)
    with pytest.raises(StatementFailed, match=r"took longer than 0\.5 s and was cancelled"):
        client.run_sql("SELECT count(*) FROM range(1000000000000) a WHERE hash(a.id) = 0", timeout_seconds=0.5)


def test_throttled_calls_are_tried_again_after_the_time_asked_for(
    client: DatabricksClient, stand_in: StandInProcess
) -> None:
    started = time.monotonic()
    stand_in.fault(operation="sql/statements", kind="throttle", seconds=0.3, times=2)
    assert client.sql("SELECT 1 AS one") == [{"one": "1"}]
    assert time.monotonic() - started > 0.6
    stand_in.fault(operation="fs/files", kind="unavailable", seconds=0.01, times=2)
    client.upload(f"{VOLUME}/x", b"x")
    stand_in.fault(operation="scopes/list", kind="throttle", seconds=0.01)
    assert client.ensure_scope("lpm-throttled") is True
    assert client.ensure_scope("lpm-throttled") is False


def test_throttling_without_end_is_given_up(client: DatabricksClient, stand_in: StandInProcess) -> None:
    stand_in.fault(operation="secrets/put", kind="throttle", seconds=0.01, times=5)
    with pytest.raises(DatabricksError, match=r"HTTP 429[\s\S]*Next step: wait") as failure:
        client.put_secret("lpm-throttled", "k", "not in any message")
    assert "not in any message" not in str(failure.value)


def test_a_lost_answer_does_not_make_a_second_job_nor_a_second_insert(
    client: DatabricksClient, stand_in: StandInProcess, wheel: str
) -> None:
    settings = job_settings(wheel, client, "lost", "end")
    stand_in.fault(operation="jobs/create", kind="lose")
    with pytest.raises(DatabricksError, match="HTTP 504"):
        client.create_job(settings)
    job = client.find_job("lost")
    assert job is not None
    client.sql("CREATE OR REPLACE TABLE gold.once (a INT) USING DELTA")
    stand_in.fault(operation="POST /api/2.0/sql/statements", kind="lose")
    with pytest.raises(DatabricksError, match="HTTP 504"):
        client.sql("INSERT INTO gold.once VALUES (1)")
    assert client.sql("SELECT count(*) AS n FROM gold.once") == [{"n": "1"}]
    client.create_job(settings)
    with pytest.raises(DatabricksError, match=f"2 jobs .*'lost'.*{job.id}"):
        client.find_job("lost")


def test_a_lost_answer_to_run_now_starts_no_second_run(
    client: DatabricksClient, stand_in: StandInProcess, wheel: str
) -> None:
    job_id = client.create_job(job_settings(wheel, client, "run once", "end"))
    stand_in.fault(operation="jobs/run-now", kind="lose")
    run_id = client.run_now(job_id, {"settings": f"{VOLUME}/settings/run once.json"})
    until(lambda: not client.run(run_id).is_active)
    assert [run.id for run in client.latest_runs(job_id)] == [run_id]
    assert client.run(run_id).result == "SUCCESS"
    assert client.run_now(job_id, {"settings": f"{VOLUME}/settings/run once.json"}) != run_id, "asked for another one"


def test_a_refused_call_and_a_dead_workspace_say_what_to_check(
    client: DatabricksClient, stand_in: StandInProcess
) -> None:
    stand_in.fault(operation="jobs/list", kind="refuse")
    with pytest.raises(DatabricksError, match=r"list jobs named 'x'[\s\S]*rights of its principal"):
        client.find_job("x")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        about = {"conn_type": "databricks", "schema": "http", "host": "127.0.0.1", "password": "x"}
        patch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps({**about, "port": unused.getsockname()[1]}))
        with pytest.raises(DatabricksError, match=r"nowhere[\s\S]*Next step: check that the workspace can be reached"):
            DatabricksClient("nowhere", "local").sql("SELECT 1")


def test_pausing_keeps_the_rest_of_the_continuous_settings(client: DatabricksClient, wheel: str) -> None:
    continuous = {"pause_status": "PAUSED", "task_retry_mode": "NEVER"}
    job_id = client.create_job(job_settings(wheel, client, "paused", "end", continuous=continuous))
    client.set_paused(job_id, True)
    job = client.job(job_id)
    assert job.is_paused
    assert job.settings["continuous"] == continuous
    client.delete_job(job_id)


def test_a_killed_stand_in_takes_its_run_along_and_the_next_one_starts_it_again(
    client: DatabricksClient, stand_in: StandInProcess, wheel: str
) -> None:
    def new_process(other_than: int = 0) -> int | None:
        out = stand_in.file("stays.json")
        pid = int(json.loads(out.read_text())["pid"]) if out.exists() else 0
        return pid if pid != other_than else None

    job_id = client.create_job(job_settings(wheel, client, "stays", "stay", continuous={"pause_status": "UNPAUSED"}))
    first = until(new_process, 120)
    [run] = client.active_runs(job_id)
    assert run.state == "RUNNING"
    everything = psutil.Process(stand_in.process.pid).children(recursive=True)
    # The stand-in's and the run's; a cancelled run of another test may still be ending.
    assert [process.name() for process in everything].count("java") >= 2

    stand_in.stop(signal.SIGKILL)
    until(lambda: all(is_gone(process) for process in everything))

    stand_in.start()
    second = until(lambda: new_process(first), 120)
    assert client.run(run.id).result == "FAILED"
    client.set_paused(job_id, True)
    for active in client.active_runs(job_id):
        client.cancel_run(active.id)
    until(lambda: not client.active_runs(job_id))
    assert not psutil.pid_exists(second)
    assert client.latest_runs(job_id)[0].result == "CANCELED"
    assert client.sql("SHOW TABLES IN gold LIKE 'seen'")[0]["tableName"] == "seen"
