"""The router template: one Stream Analytics job per shard and the rights of its identity."""

import hashlib
import json
from collections.abc import Sequence

from lpm.config import Config, Environment
from lpm.render import names
from lpm.render import router as asa
from lpm.render.arm.document import Json, Parameter, Template, expression, literal, parameter, quoted, resource_id
from lpm.render.arm.foundation import ACCOUNT, CONTAINER, NAMESPACE, container_id, hub_id, tags
from lpm.render.arm.roles import role_assignment, role_variables

JOBS = "Microsoft.StreamAnalytics/streamingjobs"
JOBS_VERSION = "2021-10-01-preview"  # the first and only one with the V2 sku
TRANSFORMATION = "Transformation"

# Tag with a hash of everything a job does. What-if reads jobs without their inputs, outputs and query, so this tag is
# what tells for certain that a job has to be deployed again.
DEFINITION_TAG = "lpm-definition"

# As in the rendered project (lpm.render.router): what is sent there and what is deployed here must not differ.
LATE_ARRIVAL_SECONDS = 5  # means nothing without TIMESTAMP BY and with partitioned outputs


def router(config: Config, environment: Environment, shards: Sequence[str] | None = None) -> Template:
    """The template of the streaming jobs. It does not start them.

    Args:
        config: the configuration.
        environment: where to deploy.
        shards: the shards whose jobs are deployed; all if None. A job that runs cannot be deployed, not even unchanged;
            the others can do so while it runs. The rights of all jobs are deployed, so a job left out must exist.
    """
    return Template(
        description="One Stream Analytics job per shard and the rights of its identity. Deploying does not start it.",
        parameters=(
            Parameter("location", "string", environment.azure.location, "Azure region of every resource."),
            Parameter("tags", "object", tags(environment), "Tags of every resource."),
            Parameter("eventHubsNamespace", "string", environment.event_hubs.namespace, "Event Hubs namespace."),
            Parameter("storageAccount", "string", environment.storage.account, "Account for unrouted events."),
            Parameter("unroutedContainer", "string", environment.storage.unrouted_container, "Its container."),
            Parameter(
                "streamingUnits",
                "int",
                environment.stream_analytics.streaming_units,
                "Size of each job; 10 is one V2 streaming unit.",
            ),
            Parameter(
                "shards",
                "array",
                list(config.shards if shards is None else shards),
                "Shards whose jobs are deployed. A job that runs cannot be: leave out what runs and has not changed.",
            ),
            Parameter(
                "jobs",
                "object",
                {shard: _job_values(config, environment, shard) for shard in config.shards},
                "Per shard: name of the job and a hash of all it does.",
            ),
            Parameter(
                "databases",
                "object",
                {alias: at for shard in config.shards for alias, at in _databases(config, environment, shard).items()},
                "Per output: logical SQL server and database of the company.",
            ),
        ),
        variables=role_variables("eventHubsDataReceiver", "storageBlobDataContributor"),
        resources=(
            *(_job(config, environment, shard) for shard in config.shards),
            *(_receiver(shard) for shard in config.shards),
            _unrouted_writer(names.unrouted_shard(config)),
        ),
        outputs={
            "jobIds": {"type": "object", "value": {shard: expression(_job_id(shard)) for shard in config.shards}},
        },
    )


def _job_name(shard: str) -> str:
    return f"{parameter('jobs')}[{quoted(shard)}].name"


def _job_id(shard: str) -> str:
    return resource_id(JOBS, _job_name(shard))


def _job_values(config: Config, environment: Environment, shard: str) -> Json:
    """What is different about a shard's job in this environment."""
    meaning = [
        _job_properties(config, environment, shard),
        environment.event_hubs.namespace,
        [environment.storage.account, environment.storage.unrouted_container],
        environment.stream_analytics.streaming_units,
        _databases(config, environment, shard),
    ]
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
    return {"name": names.streaming_job_name(environment, shard), "definition": digest[:16]}


def _databases(config: Config, environment: Environment, shard: str) -> Json:
    return {
        output.alias: {"server": output.server, "database": output.database}
        for output in asa.outputs(config, environment, shard)
        if isinstance(output, asa.SqlOutput)
    }


def _job(config: Config, environment: Environment, shard: str) -> Json:
    return {
        "condition": expression(f"contains({parameter('shards')}, {quoted(shard)})"),
        "type": JOBS,
        "apiVersion": JOBS_VERSION,
        "name": expression(_job_name(shard)),
        "location": expression(parameter("location")),
        "tags": {
            **{tag: expression(f"{parameter('tags')}[{quoted(tag)}]") for tag in tags(environment)},
            DEFINITION_TAG: expression(f"{parameter('jobs')}[{quoted(shard)}].definition"),
        },
        "identity": {"type": "SystemAssigned"},
        "properties": _job_properties(config, environment, shard),
    }


def _job_properties(config: Config, environment: Environment, shard: str) -> Json:
    return {
        "sku": {"name": "StandardV2"},
        "jobType": "Cloud",
        "compatibilityLevel": "1.2",
        "dataLocale": "en-US",
        "contentStoragePolicy": "SystemAccount",
        "outputErrorPolicy": asa.ERROR_POLICY,
        "eventsOutOfOrderPolicy": "Adjust",
        "eventsOutOfOrderMaxDelayInSeconds": 0,
        "eventsLateArrivalMaxDelayInSeconds": LATE_ARRIVAL_SECONDS,
        "inputs": [_input(shard)],
        "outputs": [_output(output) for output in asa.outputs(config, environment, shard)],
        "functions": [],
        "transformation": {
            "name": TRANSFORMATION,
            "properties": {
                "streamingUnits": expression(parameter("streamingUnits")),
                "query": literal(asa.query(config, shard)),
            },
        },
    }


def _input(shard: str) -> Json:
    return {
        "name": asa.INPUT,
        "properties": {
            "type": "Stream",
            "serialization": {"type": "Json", "properties": {"encoding": "UTF8"}},
            "compression": {"type": "None"},
            "datasource": {
                "type": "Microsoft.ServiceBus/EventHub",
                "properties": {
                    "serviceBusNamespace": expression(NAMESPACE),
                    "eventHubName": names.hub_name(shard),
                    "consumerGroupName": names.consumer_group(shard),
                    "authenticationMode": "Msi",
                },
            },
        },
    }


def _output(output: asa.Output) -> Json:
    return {
        "name": output.alias,
        "properties": _sql_output(output) if isinstance(output, asa.SqlOutput) else _blob_output(output),
    }


def _sql_output(output: asa.SqlOutput) -> Json:
    database = f"{parameter('databases')}[{quoted(output.alias)}]"
    return {
        "datasource": {
            "type": "Microsoft.Sql/Server/Database",
            "properties": {
                "server": expression(f"{database}.server"),
                "database": expression(f"{database}.database"),
                "table": output.table,
                "authenticationMode": "Msi",
                "maxBatchCount": output.max_batch_count,
                "maxWriterCount": output.max_writer_count,
            },
        },
    }


def _blob_output(output: asa.BlobOutput) -> Json:
    return {
        "datasource": {
            "type": "Microsoft.Storage/Blob",
            "properties": {
                "storageAccounts": [{"accountName": expression(ACCOUNT)}],
                "container": expression(CONTAINER),
                "pathPattern": output.path_pattern,
                "dateFormat": output.date_format,
                "timeFormat": output.time_format,
                "authenticationMode": "Msi",
            },
        },
        "serialization": {"type": "Json", "properties": {"encoding": "UTF8", "format": "LineSeparated"}},
    }


def _identity(shard: str) -> str:
    return f"reference({_job_id(shard)}, {quoted(JOBS_VERSION)}, 'Full').identity.principalId"


def _receiver(shard: str) -> Json:
    return role_assignment(
        "eventHubsDataReceiver",
        scope=hub_id(names.hub_name(shard)),
        principal=_identity(shard),
        principal_key=_job_id(shard),
        depends_on=(_job_id(shard),),
    )


def _unrouted_writer(shard: str) -> Json:
    return role_assignment(
        "storageBlobDataContributor",
        scope=container_id(),
        principal=_identity(shard),
        principal_key=_job_id(shard),
        depends_on=(_job_id(shard),),
    )
