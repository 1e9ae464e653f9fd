"""The job definition and the statements for its tables."""

import json

import pytest

from lpm.config import load_config
from lpm.render import names, stream_job

CONFIG = load_config()
AZURE = CONFIG.environment("prod")


def test_the_job_is_one_continuous_run_of_one_task_without_retries() -> None:
    job = stream_job.job(CONFIG, AZURE, "/Volumes/a/b/c/x.whl", "/Volumes/a/b/c/s.json")
    assert job["continuous"] == {"pause_status": "UNPAUSED", "task_retry_mode": "NEVER"}
    assert job["max_concurrent_runs"] == 1
    (task,) = job["tasks"]
    assert "max_retries" not in task
    assert task["libraries"] == [{"whl": "/Volumes/a/b/c/x.whl"}]
    assert task["python_wheel_task"]["named_parameters"] == {"settings": "/Volumes/a/b/c/s.json"}
    assert job["run_as"] == {"service_principal_name": AZURE.databricks.run_as}
    cluster = job["job_clusters"][0]["new_cluster"]
    assert cluster["data_security_mode"] == "DATA_SECURITY_MODE_DEDICATED"
    assert cluster["spark_conf"]["spark.sql.session.timeZone"] == "UTC"


def test_the_backfill_job_runs_on_demand_one_at_a_time_with_the_wheel_and_cluster_of_the_stream_job() -> None:
    stream, backfill = (render(CONFIG, AZURE, "w", "s") for render in (stream_job.job, stream_job.backfill_job))
    assert backfill["name"] == "lpm-backfill-prod"
    assert "continuous" not in backfill
    assert (backfill["max_concurrent_runs"], backfill["queue"]) == (1, {"enabled": True})
    assert backfill["timeout_seconds"] > 0
    assert backfill["job_clusters"] == stream["job_clusters"]
    assert backfill["run_as"] == stream["run_as"]
    (task,) = backfill["tasks"]
    assert task["libraries"] == [{"whl": "w"}]
    assert task["python_wheel_task"]["entry_point"] == "backfill"
    assert task["python_wheel_task"]["named_parameters"] == {"settings": "s"}


@pytest.mark.parametrize("environment", list(CONFIG.environments))
def test_secrets_are_references(environment: str) -> None:
    chosen = CONFIG.environment(environment)
    cluster = stream_job.job(CONFIG, chosen, "w", "s")["job_clusters"][0]["new_cluster"]
    variables = cluster["spark_env_vars"]
    assert variables["LPM_EVENT_HUBS_SECRET"] == f"{{{{secrets/lpm-{environment}/event-hubs}}}}"
    assert len(variables) == (3 if chosen.event_hubs.kafka_auth == "entra" else 1)


def test_rendering_gives_three_files_an_environment_and_is_deterministic() -> None:
    files = stream_job.render(CONFIG)
    assert set(files) == {
        f"include/infra/{name}/{file}.json"
        for name in CONFIG.environments
        for file in ("stream_job.job", "stream_job.settings", "backfill.job")
    }
    assert files == stream_job.render(CONFIG)
    assert all(json.loads(text) and text.endswith("}\n") for text in files.values())


def test_rendered_files_ignore_the_running_local_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    local = CONFIG.environment("local")
    before = stream_job.settings(CONFIG, local)
    monkeypatch.setenv("LPM_LOCAL_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert stream_job.settings(CONFIG, local) == before
    assert names.kafka_bootstrap(local) == "127.0.0.1:1"
    assert names.kafka_bootstrap(AZURE) == f"{AZURE.event_hubs.namespace}.servicebus.windows.net:9093"


def test_tables_are_made_only_where_they_are_missing() -> None:
    statements = stream_job.tables_sql(CONFIG, AZURE)
    assert all("IF NOT EXISTS" in statement for statement in statements)
    text = "\n".join(statements)
    assert names.dead_letter_table(AZURE) in text
    assert names.progress_table(AZURE) in text
