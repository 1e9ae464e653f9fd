"""A streaming job as its worker is told it."""

import re
from pathlib import Path

from lpm.local.azure import bodies
from lpm.local.azure.errors import bad_request
from lpm.local.azure.settings import CONNECTION_STRING_USER, Settings
from lpm.local.azure.store import Job, Resource, ResourceId
from lpm.local.router.job import BlobSink, KafkaInput, RouterJob, SqlSink

LOCAL_SERVER = "local"  # the logical SQL server that stands for the local PostgreSQL
# Mode of the start action -> where the worker begins. For CustomTime it begins at the oldest event whatever the time:
# more than Azure would re-read, never less, and the targets ignore what they know.
START = {"JobStartTime": "latest", "CustomTime": "earliest", "LastOutputEventTime": "last"}


def job_file(settings: Settings, resource: Resource) -> Path:
    """What the worker reads."""
    return settings.workers / f"{ResourceId.parse(resource.id).name}.job.json"


def progress_file(settings: Settings, resource: Resource) -> Path:
    """What the worker reports."""
    return settings.workers / f"{ResourceId.parse(resource.id).name}.progress.json"


def log_file(settings: Settings, resource: Resource) -> Path:
    """What the worker prints."""
    return settings.workers / f"{ResourceId.parse(resource.id).name}.log"


def source(resource: Resource) -> bodies.EventHubSourceProperties:
    """The hub and the consumer group that a job reads."""
    return bodies.StreamingJob.model_validate(resource.asked).properties.inputs[0].properties.datasource.properties


def input_alias(resource: Resource) -> str:
    """The job's name for its input."""
    return str(resource.asked["properties"]["inputs"][0]["name"])


def router_job(settings: Settings, resource: Resource, job: Job) -> RouterJob:
    """The worker's orders.

    Raises:
        AzureError: an output names a SQL server that is not there.
    """
    properties = bodies.StreamingJob.model_validate(resource.asked).properties
    source, kafka = properties.inputs[0], settings.kafka
    hub = source.properties.datasource.properties
    secured = kafka.protocol.startswith("SASL")
    return RouterJob.model_validate(
        {
            "name": ResourceId.parse(resource.id).name,
            "run": job.run,
            "query": properties.transformation.properties.query if properties.transformation else "",
            "input_alias": source.name,
            "kafka": KafkaInput(
                bootstrap=kafka.bootstrap,
                topic=hub.event_hub_name,
                group=hub.consumer_group_name,
                username=CONNECTION_STRING_USER if secured else "",
                password=kafka.connection_string if secured else "",
            ),
            "start": START[job.start_mode or "JobStartTime"],
            "error_policy": properties.output_error_policy,
            "outputs": tuple(_sink(settings, output) for output in properties.outputs),
            "progress_file": progress_file(settings, resource),
        }
    )


def _sink(settings: Settings, output: bodies.Output) -> SqlSink | BlobSink:
    target = output.properties.datasource
    if isinstance(target, bodies.BlobTarget):
        blob = target.properties
        container = settings.container(blob.storage_accounts[0].account_name, blob.container)
        prefix = re.split(r"/?\{(?:date|time)\}", blob.path_pattern)[0]  # the dated folders are the worker's
        return BlobSink(alias=output.name, folder=container / prefix)
    sql = target.properties
    if sql.server.lower() != LOCAL_SERVER:
        raise bad_request(
            "OutputUnreachable",
            f"Output '{output.name}': server '{sql.server}.database.windows.net' was not found. Locally there is one "
            f"logical SQL server, '{LOCAL_SERVER}'.",
            output.name,
        )
    return SqlSink(
        alias=output.name,
        url=settings.postgres.url(sql.database),
        table=sql.table,
        max_batch_count=int(sql.max_batch_count),
    )
