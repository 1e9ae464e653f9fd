"""The foundation template: Event Hubs, the storage for unrouted events and evidence, and the rights to send."""

from lpm.config import Config, Environment
from lpm.render import names
from lpm.render.arm.document import (
    Json,
    Parameter,
    Template,
    child_name,
    expression,
    parameter,
    quoted,
    resource_id,
)
from lpm.render.arm.roles import role_assignment, role_variables

NAMESPACES = "Microsoft.EventHub/namespaces"
HUBS = "Microsoft.EventHub/namespaces/eventhubs"
CONSUMER_GROUPS = "Microsoft.EventHub/namespaces/eventhubs/consumergroups"
STORAGE_ACCOUNTS = "Microsoft.Storage/storageAccounts"
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
EVENT_HUBS_VERSION = "2024-01-01"
STORAGE_VERSION = "2023-05-01"

NAMESPACE = parameter("eventHubsNamespace")
ACCOUNT = parameter("storageAccount")
CONTAINER = parameter("unroutedContainer")
EVIDENCE = parameter("evidenceContainer")
DATABRICKS, AIRFLOW = parameter("databricksPrincipalId"), parameter("airflowPrincipalId")


def tags(environment: Environment) -> Json:
    """Tags of every resource."""
    return {"pipeline": "lpm-streaming", "environment": environment.name, "managed-by": "lpm render"}


def foundation(config: Config, environment: Environment) -> Template:
    """The template of everything the stream job and the router stand on."""
    hubs = environment.event_hubs
    inflates = hubs.max_throughput_units > hubs.throughput_units
    # The stream job sends what changes, Airflow what repairs. They may be one identity, which gets a role only once.
    senders = {environment.databricks.run_as_object_id: DATABRICKS}
    senders.setdefault(environment.azure.airflow_object_id, AIRFLOW)
    return Template(
        description="Event Hubs, storage for unrouted events and evidence, the rights of job and Airflow to send.",
        parameters=(
            Parameter("location", "string", environment.azure.location, "Azure region of every resource."),
            Parameter("tags", "object", tags(environment), "Tags of every resource."),
            Parameter("eventHubsNamespace", "string", hubs.namespace, "Event Hubs namespace."),
            Parameter(
                "throughputUnits",
                "int",
                hubs.throughput_units,
                "Throughput units to start with; a deployment takes an inflated namespace back to this number.",
            ),
            Parameter("autoInflate", "bool", inflates, "Whether the namespace adds throughput units under load."),
            Parameter(
                "maximumThroughputUnits",
                "int",
                hubs.max_throughput_units if inflates else 0,
                "Most throughput units that auto-inflate may reach; 0 without auto-inflate.",
            ),
            Parameter(
                "disableLocalAuth",
                "bool",
                hubs.kafka_auth == "entra",
                "Whether shared access keys are refused; false only where the job signs in with a connection string.",
            ),
            Parameter("partitionCount", "int", hubs.partitions, "Partitions of each hub; frozen once created."),
            Parameter("retentionHours", "int", hubs.retention_hours, "How long a hub keeps its events."),
            Parameter(
                "storageAccount", "string", environment.storage.account, "Account for unrouted events and evidence."
            ),
            Parameter("unroutedContainer", "string", environment.storage.unrouted_container, "Its container."),
            Parameter(
                "evidenceContainer", "string", environment.evidence.container, "Container of status and evidence."
            ),
            Parameter(
                "databricksPrincipalId",
                "string",
                environment.databricks.run_as_object_id,
                "Object id (not application id) of the service principal that runs the stream job.",
            ),
            Parameter(
                "airflowPrincipalId",
                "string",
                environment.azure.airflow_object_id,
                "Object id (not application id) of the identity that Airflow signs in to Azure with.",
            ),
        ),
        variables=role_variables("eventHubsDataSender", "storageBlobDataContributor", "storageBlobDataReader"),
        resources=(
            _namespace(),
            *(resource for shard in config.shards for resource in _hub(names.hub_name(shard), shard)),
            *_storage(),
            *(_sender(names.hub_name(shard), each) for shard in config.shards for each in senders.values()),
            _evidence_writer(),
            _unrouted_reader(),
        ),
        outputs={
            "eventHubsHost": {
                "type": "string",
                "value": expression(f"format('{{0}}.servicebus.windows.net', {NAMESPACE})"),
            },
            "hubs": {"type": "array", "value": [names.hub_name(shard) for shard in config.shards]},
            "unroutedContainerId": {"type": "string", "value": expression(container_id())},
        },
    )


def hub_id(hub: str) -> str:
    """The id of a hub, inside an expression."""
    return resource_id(HUBS, NAMESPACE, quoted(hub))


def container_id(container: str = CONTAINER) -> str:
    """The id of a container, the one for unrouted events by default, inside an expression."""
    return resource_id(CONTAINERS, ACCOUNT, quoted("default"), container)


def _namespace() -> Json:
    return {
        "type": NAMESPACES,
        "apiVersion": EVENT_HUBS_VERSION,
        "name": expression(NAMESPACE),
        "location": expression(parameter("location")),
        "tags": expression(parameter("tags")),
        "sku": {"name": "Standard", "tier": "Standard", "capacity": expression(parameter("throughputUnits"))},
        "properties": {
            "disableLocalAuth": expression(parameter("disableLocalAuth")),
            "isAutoInflateEnabled": expression(parameter("autoInflate")),
            "maximumThroughputUnits": expression(parameter("maximumThroughputUnits")),
            "minimumTlsVersion": "1.2",
            "zoneRedundant": True,  # can only be chosen when the namespace is created
        },
    }


def _hub(hub: str, shard: str) -> tuple[Json, Json]:
    return (
        {
            "type": HUBS,
            "apiVersion": EVENT_HUBS_VERSION,
            "name": child_name(NAMESPACE, quoted(hub)),
            "dependsOn": [expression(resource_id(NAMESPACES, NAMESPACE))],
            "properties": {
                "partitionCount": expression(parameter("partitionCount")),
                "retentionDescription": {
                    "cleanupPolicy": "Delete",
                    "retentionTimeInHours": expression(parameter("retentionHours")),
                },
            },
        },
        {
            "type": CONSUMER_GROUPS,
            "apiVersion": EVENT_HUBS_VERSION,
            "name": child_name(NAMESPACE, quoted(hub), quoted(names.consumer_group(shard))),
            "dependsOn": [expression(hub_id(hub))],
            "properties": {},
        },
    )


def _storage() -> tuple[Json, ...]:
    return (
        {
            "type": STORAGE_ACCOUNTS,
            "apiVersion": STORAGE_VERSION,
            "name": expression(ACCOUNT),
            "location": expression(parameter("location")),
            "tags": expression(parameter("tags")),
            "sku": {"name": "Standard_ZRS"},
            "kind": "StorageV2",
            "properties": {
                "accessTier": "Hot",
                "allowBlobPublicAccess": False,
                "allowSharedKeyAccess": False,
                "defaultToOAuthAuthentication": True,
                "minimumTlsVersion": "TLS1_2",
                "supportsHttpsTrafficOnly": True,
            },
        },
        _container(CONTAINER),
        _container(EVIDENCE),
    )


def _container(name: str) -> Json:
    return {
        "type": CONTAINERS,
        "apiVersion": STORAGE_VERSION,
        "name": child_name(ACCOUNT, quoted("default"), name),
        "dependsOn": [expression(resource_id(STORAGE_ACCOUNTS, ACCOUNT))],
        "properties": {"publicAccess": "None"},
    }


def _sender(hub: str, principal: str) -> Json:
    return role_assignment(
        "eventHubsDataSender",
        scope=hub_id(hub),
        principal=principal,
        principal_key=principal,
        depends_on=(hub_id(hub),),
    )


def _evidence_writer() -> Json:
    """Airflow keeps status, alert state and evidence itself."""
    return role_assignment(
        "storageBlobDataContributor",
        scope=container_id(EVIDENCE),
        principal=AIRFLOW,
        principal_key=AIRFLOW,
        depends_on=(container_id(EVIDENCE),),
    )


def _unrouted_reader() -> Json:
    """Validation looks whether the event of an unknown company was kept."""
    return role_assignment(
        "storageBlobDataReader",
        scope=container_id(),
        principal=AIRFLOW,
        principal_key=AIRFLOW,
        depends_on=(container_id(),),
    )
