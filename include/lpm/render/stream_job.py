"""What Databricks needs for the stream job and its backfill: settings, two job definitions and two tables."""

import json
from typing import Any

from lpm.config import Config, Environment
from lpm.contract.envelope import dead_letter_reasons, event_expressions, event_size, row_expressions
from lpm.render import names

TASK_KEY, BACKFILL_TASK_KEY = "stream", "backfill"
PACKAGE_NAME = "stream_job"  # of the wheel
ENTRY_POINT, BACKFILL_ENTRY_POINT = "main", "backfill"
BACKFILL_SECONDS = 6 * 3600  # a run that hangs must not hold the job's one place for ever
TOO_LARGE = "too_large"  # the reason that the job itself adds to those of the envelope
# The envelope's expressions mean what they say only under these (lpm.contract.envelope).
SESSION_CONF = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.chunkBase64String.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
}
BACKLOG_FACTOR = 10  # the platform itself warns when the backlog is this many times the latency objective

# The monitor reads these by SQL. Column comments are the reference of their meaning.
_DEAD_LETTER_COLUMNS = """
  reason STRING NOT NULL COMMENT 'no_company, no_key, too_large or non_finite:<column>',
  info_companyid STRING COMMENT 'Company of the row, NULL when it has none',
  key STRING COMMENT 'Canonical key text (JSON), NULL when a key column is NULL',
  version BIGINT NOT NULL COMMENT 'Delta version of the source table',
  change_type STRING NOT NULL COMMENT 'As the change feed says: insert or update_postimage',
  committed_at TIMESTAMP NOT NULL COMMENT 'Commit time of that version',
  event_bytes BIGINT COMMENT 'Size of the event that the row would have made; NULL when it could not make one',
  row_json STRING NOT NULL COMMENT 'The whole row as JSON, every value as text',
  batch_id BIGINT NOT NULL COMMENT 'Micro-batch of the stream job',
  dead_lettered_at TIMESTAMP NOT NULL COMMENT 'When the stream job wrote this line'"""

_PROGRESS_COLUMNS = """
  recorded_at TIMESTAMP NOT NULL COMMENT 'When the stream job wrote this line',
  run_id STRING NOT NULL COMMENT 'Run of the streaming query; another one after each restart',
  batch_id BIGINT COMMENT 'Newest completed micro-batch, NULL before the first one',
  batches BIGINT NOT NULL COMMENT 'Micro-batches completed since the line before',
  source_version BIGINT COMMENT 'Every version up to this one is sent, NULL during the initial snapshot',
  snapshot_running BOOLEAN COMMENT 'Whether the initial snapshot is still being sent',
  input_rows BIGINT NOT NULL COMMENT 'Rows of the change feed since the line before',
  emitted_upserts BIGINT NOT NULL COMMENT 'Upserts sent since the line before',
  emitted_deletes BIGINT NOT NULL COMMENT 'Deletes sent since the line before',
  dead_lettered BIGINT NOT NULL COMMENT 'Rows put into the dead-letter table since the line before',
  dead_letter_reasons MAP<STRING, BIGINT> NOT NULL COMMENT 'The same by reason',
  ambiguous BIGINT NOT NULL COMMENT 'Keys with several different upserts in one version since the line before',
  batch_seconds DOUBLE COMMENT 'Longest micro-batch since the line before',
  committed_at TIMESTAMP COMMENT 'Commit time of the newest row read since the line before',
  batch_ended_at TIMESTAMP COMMENT 'When the newest micro-batch was complete'"""

# Small commits all day long: keep the log and the files that replaced ones leave behind short, and read it seldom.
_PROGRESS_PROPERTIES = """
  'delta.logRetentionDuration' = 'interval 2 days',
  'delta.deletedFileRetentionDuration' = 'interval 2 days',
  'delta.checkpointInterval' = '100'"""


def render(config: Config) -> dict[str, str]:
    """Files ``include/infra/<environment>/stream_job.{job,settings}.json`` and ``backfill.job.json``.

    The job files show placeholders where deploying puts the content hashes of the wheel and of the settings.
    """
    files = {}
    for environment in config.environments.values():
        folder = f"include/infra/{environment.name}"
        wheel = f"{names.wheels_folder(environment)}/stream_job-<version>-py3-none-any.whl"
        paths = wheel, names.settings_path(environment, "<digest>")
        files[f"{folder}/stream_job.job.json"] = _json(job(config, environment, *paths))
        files[f"{folder}/backfill.job.json"] = _json(backfill_job(config, environment, *paths))
        files[f"{folder}/stream_job.settings.json"] = settings(config, environment)
    return files


def settings(config: Config, environment: Environment, kafka_bootstrap: str | None = None) -> str:
    """The settings document that the job reads (``stream_job.settings``), as JSON text.

    Args:
        config: The whole configuration.
        environment: The environment to run in.
        kafka_bootstrap: Address of the hubs; the configured one when absent.
    """
    table = config.table
    row, event = row_expressions(table), event_expressions(table)
    stream = environment.stream
    document = {
        "environment": environment.name,
        "query_name": names.STREAM_QUERY_NAME,
        "source_table": names.source_table(config, environment),
        "dead_letter_table": names.dead_letter_table(environment),
        "progress_table": names.progress_table(environment),
        "checkpoint": names.checkpoint_path(environment),
        "trigger_seconds": stream.trigger_seconds,
        "heartbeat_seconds": stream.heartbeat_seconds,
        "progress_seconds": stream.progress_seconds,
        "max_event_bytes": config.pipeline.limits.max_event_bytes,
        "company_column": table.company_column,
        "key_columns": list(table.key),
        "columns": [column.name for column in table.columns],
        "expressions": {
            "key": row.key,
            "key_hash": row.key_hash,
            "bucket": row.bucket,
            "payload": row.payload,
            "row_hash": row.row_hash,
            "dead_letter_reason": row.dead_letter_reason,
            "row_json": row.row_json,
            "upsert": event.upsert,
            "delete": event.delete,
            "heartbeat": event.heartbeat,
            "size": event_size("value", "version"),
        },
        "dead_letter_reasons": [*dead_letter_reasons(table), TOO_LARGE],
        "routes": [
            {"company": company.id, "topic": names.hub_name(company.shard), "partitions": list(company.partitions)}
            for company in config.companies
        ],
        "unrouted": {
            "topic": names.hub_name(names.unrouted_shard(config)),
            "partitions": list(range(environment.event_hubs.partitions)),
        },
        "kafka": {
            "bootstrap": kafka_bootstrap or names.rendered_kafka_bootstrap(environment),
            "protocol": environment.event_hubs.kafka_protocol,
            "auth": environment.event_hubs.kafka_auth,
            "secret_variable": names.EVENT_HUBS_SECRET_VARIABLE,
            "client_id_variable": names.EVENT_HUBS_CLIENT_ID_VARIABLE,
            "tenant_id_variable": names.EVENT_HUBS_TENANT_ID_VARIABLE,
        },
        "session": SESSION_CONF,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def job(config: Config, environment: Environment, wheel_path: str, settings_path: str) -> dict[str, Any]:
    """The job as the Jobs API 2.2 takes it: body of create, ``new_settings`` of reset.

    One continuous run of one task. It has no retries: a run that fails is started again by the platform.

    Args:
        config: The whole configuration.
        environment: The environment to run in.
        wheel_path: Volume path of the wheel.
        settings_path: Volume path of the settings document.
    """
    backlog_seconds = round(config.pipeline.objectives.latency_p95_seconds * BACKLOG_FACTOR)
    return {
        "name": names.stream_job_name(environment),
        "description": f"Sends the change feed of {names.source_table(config, environment)} to Event Hubs.",
        "tags": _tags(environment),
        "max_concurrent_runs": 1,
        "queue": {"enabled": False},
        "continuous": {"pause_status": "UNPAUSED", "task_retry_mode": "NEVER"},
        **_one_task(environment, TASK_KEY, ENTRY_POINT, wheel_path, settings_path),
        "health": {"rules": [{"metric": "STREAMING_BACKLOG_SECONDS", "op": "GREATER_THAN", "value": backlog_seconds}]},
        "notification_settings": {"no_alert_for_canceled_runs": True},
    }


def backfill_job(config: Config, environment: Environment, wheel_path: str, settings_path: str) -> dict[str, Any]:
    """The job of large repairs, in the same form. It runs only when asked to, one run at a time; others wait.

    A run takes company, version, first_bucket and last_bucket as named parameters beside the settings.
    """
    return {
        "name": names.backfill_job_name(environment),
        "description": f"Sends rows of one company of {names.source_table(config, environment)} to Event Hubs again.",
        "tags": _tags(environment),
        "max_concurrent_runs": 1,
        "queue": {"enabled": True},
        "timeout_seconds": BACKFILL_SECONDS,
        **_one_task(environment, BACKFILL_TASK_KEY, BACKFILL_ENTRY_POINT, wheel_path, settings_path),
        "notification_settings": {"no_alert_for_canceled_runs": True},
    }


def _one_task(
    environment: Environment, task_key: str, entry_point: str, wheel_path: str, settings_path: str
) -> dict[str, Any]:
    """One task of the wheel on a cluster of its own."""
    return {
        "run_as": {"service_principal_name": environment.databricks.run_as},
        "job_clusters": [{"job_cluster_key": "main", "new_cluster": _cluster(environment)}],
        "tasks": [
            {
                "task_key": task_key,
                "job_cluster_key": "main",
                "libraries": [{"whl": wheel_path}],
                "python_wheel_task": {
                    "package_name": PACKAGE_NAME,
                    "entry_point": entry_point,
                    "named_parameters": {"settings": settings_path},
                },
            }
        ],
    }


def _cluster(environment: Environment) -> dict[str, Any]:
    databricks = environment.databricks
    spark_conf = dict(SESSION_CONF)
    if environment.kind == "azure" and databricks.workers == 0:
        spark_conf |= {"spark.databricks.cluster.profile": "singleNode", "spark.master": "local[*]"}
    return {
        "spark_version": databricks.spark_version,
        "node_type_id": databricks.node_type,
        "num_workers": databricks.workers,
        "data_security_mode": "DATA_SECURITY_MODE_DEDICATED",
        "single_user_name": databricks.run_as,
        "azure_attributes": {"availability": "ON_DEMAND_AZURE"},
        "spark_conf": spark_conf,
        "spark_env_vars": secret_variables(environment),
        "cluster_log_conf": {"volumes": {"destination": f"{databricks.volume}/cluster-logs"}},
    }


def _tags(environment: Environment) -> dict[str, str]:
    return {"pipeline": "lpm-streaming", "environment": environment.name}


def _json(definition: dict[str, Any]) -> str:
    return json.dumps(definition, indent=2, ensure_ascii=False) + "\n"


def secret_variables(environment: Environment) -> dict[str, str]:
    """Environment variables of the cluster, each a reference to a secret of the pipeline's scope."""
    keys = {names.EVENT_HUBS_SECRET_VARIABLE: names.EVENT_HUBS_SECRET_KEY}
    if environment.event_hubs.kafka_auth == "entra":
        keys[names.EVENT_HUBS_CLIENT_ID_VARIABLE] = names.EVENT_HUBS_CLIENT_ID_KEY
        keys[names.EVENT_HUBS_TENANT_ID_VARIABLE] = names.EVENT_HUBS_TENANT_ID_KEY
    return {variable: names.secret_reference(environment, key) for variable, key in keys.items()}


def tables_sql(config: Config, environment: Environment) -> list[str]:
    """Statements that make the pipeline's schema and tables where they are missing. Running them twice is harmless."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {environment.pipeline_schema}",
        f"CREATE TABLE IF NOT EXISTS {names.dead_letter_table(environment)} ({_DEAD_LETTER_COLUMNS}\n) USING delta\n"
        f"COMMENT 'Rows of {names.source_table(config, environment)} that could not become a change event'",
        f"CREATE TABLE IF NOT EXISTS {names.progress_table(environment)} ({_PROGRESS_COLUMNS}\n) USING delta\n"
        "COMMENT 'Progress of the stream job; it removes lines older than a week itself'\n"
        f"TBLPROPERTIES ({_PROGRESS_PROPERTIES}\n)",
    ]
