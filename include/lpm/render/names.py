"""Every name that more than one part of the product must spell the same way.

Pure functions of the configuration: rendering, clients and procedures ask here, nobody spells a name twice.
"""

import os

from lpm.config import Company, Config, Environment
from lpm.contract.envelope import quoted

UNROUTED_OUTPUT = "unrouted"  # alias of the Stream Analytics output for companies nobody configured
TARGET_SCHEMA = "dbo"  # what consumers read in a company's database
STATE_SCHEMA = "lpm"  # the pipeline's own tables in a company's database
STREAM_QUERY_NAME = "lpm-stream"  # the streaming query's name in Spark's metrics and in the progress table

EVENT_HUBS_SECRET_KEY = "event-hubs"  # noqa: S105  # name of the key; connection string, or the Entra client secret
EVENT_HUBS_CLIENT_ID_KEY = "event-hubs-client-id"  # Entra only
EVENT_HUBS_TENANT_ID_KEY = "event-hubs-tenant-id"  # Entra only
EVENT_HUBS_SECRET_VARIABLE = "LPM_EVENT_HUBS_SECRET"  # noqa: S105  # name of the variable, not its value
EVENT_HUBS_CLIENT_ID_VARIABLE = "LPM_EVENT_HUBS_CLIENT_ID"
EVENT_HUBS_TENANT_ID_VARIABLE = "LPM_EVENT_HUBS_TENANT_ID"
EVIDENCE_VARIABLE = "LPM_EVIDENCE"  # folder of the local environment's status, alert state and evidence
UNROUTED_VARIABLE = "LPM_UNROUTED"  # folder of the local environment's unrouted events
LOCAL_KAFKA_VARIABLE = "LPM_LOCAL_KAFKA_BOOTSTRAP"  # the local broker's address when its configured port was taken


def hub_name(shard: str) -> str:
    """Event Hub (Kafka topic) of a shard."""
    return f"tdr-streaming-{shard}"


def consumer_group(shard: str) -> str:
    """Consumer group of the shard's router."""
    return f"router-{shard}"


def streaming_job_name(environment: Environment, shard: str) -> str:
    """Stream Analytics job of a shard."""
    return f"asa-lpm-{environment.name}-{shard}"


def stream_job_name(environment: Environment) -> str:
    """Databricks job that reads the change feed."""
    return f"lpm-stream-{environment.name}"


def backfill_job_name(environment: Environment) -> str:
    """Databricks job that sends a company's rows again when a repair is large."""
    return f"lpm-backfill-{environment.name}"


def unrouted_shard(config: Config) -> str:
    """The shard whose hub takes the events of companies that are not configured."""
    return config.shards[0]


def unrouted_folder(config: Config) -> str:
    """Folder of the unrouted events in their container; one folder below it for each day: ``2026/11/24``."""
    return unrouted_shard(config)


def source_table(config: Config, environment: Environment) -> str:
    """The source table, catalog first. Its parts are plain names (the configuration check holds that): no quoting."""
    return f"{environment.source_schema}.{config.table.name}"


def dead_letter_table(environment: Environment) -> str:
    """Delta table of the rows that could not become an event."""
    return f"{environment.pipeline_schema}.dead_letter"


def progress_table(environment: Environment) -> str:
    """Delta table of the stream job's progress, for the monitor."""
    return f"{environment.pipeline_schema}.stream_progress"


def ledger_table(environment: Environment) -> str:
    """Delta table of the source's sums by company and bucket, for reconciliation."""
    return f"{environment.pipeline_schema}.ledger"


def inbox_table(config: Config) -> str:
    """Table of a company's database that Stream Analytics inserts into."""
    return f"{STATE_SCHEMA}.{config.table.name}_inbox"


def target_table(config: Config) -> str:
    """Table of a company's database that consumers read."""
    return f"{TARGET_SCHEMA}.{config.table.name}"


def database(environment: Environment, company: Company) -> str:
    """Name of a company's database.

    Raises:
        KeyError: the environment has no database for that company (the configuration check refuses this).
    """
    return environment.databases[company.id].database


def checkpoint_path(environment: Environment) -> str:
    """Checkpoint of the stream job's query. Deleting it means a new initial snapshot."""
    return f"{environment.databricks.volume}/checkpoints/stream"


def wheels_folder(environment: Environment) -> str:
    """Volume folder of the stream job's wheels; each wheel's name holds the hash of its content."""
    return f"{environment.databricks.volume}/wheels"


def settings_path(environment: Environment, digest: str = "") -> str:
    """Volume path of the stream job's settings. With a digest of its text, one that never changes its content."""
    return f"{environment.databricks.volume}/settings/stream_job{f'-{digest}' if digest else ''}.settings.json"


def volume_table_name(path: str) -> str:
    """``catalog.schema.volume`` of a volume path, each part quoted, for ``CREATE VOLUME``."""
    catalog, schema, volume = path.removeprefix("/Volumes/").split("/")[:3]
    return ".".join(map(quoted, (catalog, schema, volume)))


def secret_scope(environment: Environment) -> str:
    """Databricks secret scope of the pipeline."""
    return f"lpm-{environment.name}"


def secret_reference(environment: Environment, key: str) -> str:
    """How a Databricks job refers to a secret of the pipeline."""
    return f"{{{{secrets/{secret_scope(environment)}/{key}}}}}"


def event_hubs_host(environment: Environment) -> str:
    """Host name of the Event Hubs namespace."""
    return f"{environment.event_hubs.namespace}.servicebus.windows.net"


def rendered_kafka_bootstrap(environment: Environment) -> str:
    """Kafka address as the configuration says it: the namespace's, or the one that is set by hand."""
    return environment.event_hubs.kafka_bootstrap or f"{event_hubs_host(environment)}:9093"


def kafka_bootstrap(environment: Environment) -> str:
    """Kafka address to connect to now. The running local cloud may have had to choose another port."""
    if environment.kind == "local" and (chosen := os.environ.get(LOCAL_KAFKA_VARIABLE)):
        return chosen
    return rendered_kafka_bootstrap(environment)
