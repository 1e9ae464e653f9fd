"""The bodies of the resources that can be deployed here, with Azure's published names and limits.

Only what the templates use is listed. A property that is missing, misspelt or not listed is refused.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lpm.local.azure.store import Body

Tags = dict[str, str]
Guid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Authentication = Literal["Msi", "ConnectionString", "UserToken"]


class NamespaceSku(Body):
    name: Literal["Basic", "Standard", "Premium"]
    tier: Literal["Basic", "Standard", "Premium"]
    capacity: int = Field(ge=1, le=40)


class NamespaceProperties(Body):
    disable_local_auth: bool = False
    is_auto_inflate_enabled: bool = False
    maximum_throughput_units: int = Field(default=0, ge=0, le=40)
    minimum_tls_version: Literal["1.0", "1.1", "1.2"] = "1.2"
    public_network_access: Literal["Enabled", "Disabled", "SecuredByPerimeter"] = "Enabled"
    zone_redundant: bool = False


class Namespace(Body):
    """Microsoft.EventHub/namespaces."""

    location: str
    tags: Tags = Field(default_factory=dict)
    sku: NamespaceSku
    properties: NamespaceProperties

    @model_validator(mode="after")
    def _auto_inflate_has_room(self) -> "Namespace":
        most, inflates = self.properties.maximum_throughput_units, self.properties.is_auto_inflate_enabled
        if inflates and most < self.sku.capacity:
            raise ValueError(f"maximumThroughputUnits {most} is less than the capacity {self.sku.capacity}")
        if most and not inflates:
            raise ValueError("maximumThroughputUnits must be 0 when isAutoInflateEnabled is false")
        return self


class RetentionDescription(Body):
    cleanup_policy: Literal["Delete"]
    retention_time_in_hours: int = Field(ge=1, le=168)  # Standard tier


class HubProperties(Body):
    partition_count: int = Field(ge=1, le=32)  # Standard tier
    retention_description: RetentionDescription


class Hub(Body):
    """Microsoft.EventHub/namespaces/eventhubs."""

    properties: HubProperties


class ConsumerGroupProperties(Body):
    user_metadata: str = ""


class ConsumerGroup(Body):
    """Microsoft.EventHub/namespaces/eventhubs/consumergroups."""

    properties: ConsumerGroupProperties


class StorageSku(Body):
    name: Literal["Standard_LRS", "Standard_ZRS", "Standard_GRS", "Standard_GZRS"]


class StorageProperties(Body):
    access_tier: Literal["Hot", "Cool"] = "Hot"
    allow_blob_public_access: bool = False
    allow_shared_key_access: bool = True
    default_to_oauth_authentication: bool = Field(default=False, alias="defaultToOAuthAuthentication")
    minimum_tls_version: Literal["TLS1_0", "TLS1_1", "TLS1_2"] = "TLS1_2"
    supports_https_traffic_only: bool = True


class StorageAccount(Body):
    """Microsoft.Storage/storageAccounts."""

    location: str
    tags: Tags = Field(default_factory=dict)
    sku: StorageSku
    kind: Literal["StorageV2"]
    properties: StorageProperties


class ContainerProperties(Body):
    public_access: Literal["None", "Blob", "Container"] = "None"


class Container(Body):
    """Microsoft.Storage/storageAccounts/blobServices/containers."""

    properties: ContainerProperties


class RoleAssignmentProperties(Body):
    role_definition_id: str = Field(
        pattern=r"(?i)^/subscriptions/[^/]+/providers/Microsoft.Authorization/roleDefinitions/"
    )
    principal_id: Guid
    principal_type: Literal["User", "Group", "ServicePrincipal"] = "User"


class RoleAssignment(Body):
    """Microsoft.Authorization/roleAssignments."""

    properties: RoleAssignmentProperties


class MetricDimension(Body):
    name: str
    operator: Literal["Include", "Exclude"]
    values: tuple[str, ...] = Field(min_length=1)


class MetricCriterion(Body):
    criterion_type: Literal["StaticThresholdCriterion"]
    name: str
    metric_namespace: str
    metric_name: str
    dimensions: tuple[MetricDimension, ...] = ()
    time_aggregation: Literal["Average", "Count", "Minimum", "Maximum", "Total"]
    operator: Literal["Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]
    threshold: float


class MetricCriteria(Body):
    kind: Literal["Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"] = Field(alias="odata.type")
    all_of: tuple[MetricCriterion, ...] = Field(min_length=1, max_length=5)


class ActionGroup(Body):
    action_group_id: str = Field(pattern=r"(?i)/providers/Microsoft.Insights/actionGroups/")


class MetricAlertProperties(Body):
    description: str = ""
    severity: int = Field(ge=0, le=4)
    enabled: bool
    scopes: tuple[str, ...] = Field(min_length=1, max_length=1)
    evaluation_frequency: Literal["PT1M", "PT5M", "PT15M", "PT30M", "PT1H"]
    window_size: Literal["PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D"]
    criteria: MetricCriteria
    auto_mitigate: bool = True
    actions: tuple[ActionGroup, ...] = ()


class MetricAlert(Body):
    """Microsoft.Insights/metricAlerts. Kept and compared; nothing evaluates it here."""

    location: Literal["global"]
    tags: Tags = Field(default_factory=dict)
    properties: MetricAlertProperties


class JsonSerializationProperties(Body):
    encoding: Literal["UTF8"]
    format: Literal["LineSeparated", "Array"] | None = None


class JsonSerialization(Body):
    type: Literal["Json"]
    properties: JsonSerializationProperties


class EventHubSourceProperties(Body):
    service_bus_namespace: str
    event_hub_name: str
    consumer_group_name: str = "$Default"
    authentication_mode: Authentication = "ConnectionString"
    shared_access_policy_name: str | None = None
    shared_access_policy_key: str | None = None


class EventHubSource(Body):
    type: Literal["Microsoft.ServiceBus/EventHub", "Microsoft.EventHub/EventHub"]
    properties: EventHubSourceProperties


class Compression(Body):
    type: Literal["None", "GZip", "Deflate"]


class InputProperties(Body):
    type: Literal["Stream"]
    datasource: EventHubSource
    serialization: JsonSerialization
    compression: Compression = Compression(type="None")


class Input(Body):
    """An input of a streaming job."""

    name: str = Field(min_length=3, max_length=63)
    properties: InputProperties


class SqlTargetProperties(Body):
    server: str
    database: str
    table: str
    authentication_mode: Authentication = "ConnectionString"
    user: str | None = None
    password: str | None = None
    max_batch_count: int | float = Field(default=10_000, ge=1)
    max_writer_count: int | float = Field(default=1, ge=0, le=1)


class SqlTarget(Body):
    type: Literal["Microsoft.Sql/Server/Database"]
    properties: SqlTargetProperties


class StorageAccountName(Body):
    account_name: str
    account_key: str | None = None


class BlobTargetProperties(Body):
    storage_accounts: tuple[StorageAccountName, ...] = Field(min_length=1, max_length=1)
    container: str
    path_pattern: str
    date_format: str | None = None
    time_format: str | None = None
    authentication_mode: Authentication = "ConnectionString"


class BlobTarget(Body):
    type: Literal["Microsoft.Storage/Blob"]
    properties: BlobTargetProperties


class OutputProperties(Body):
    datasource: Annotated[SqlTarget | BlobTarget, Field(discriminator="type")]
    serialization: JsonSerialization | None = None

    @model_validator(mode="after")
    def _blobs_need_a_serialization(self) -> "OutputProperties":
        if isinstance(self.datasource, BlobTarget) and self.serialization is None:
            raise ValueError("a blob output needs 'serialization'")
        return self


class Output(Body):
    """An output of a streaming job."""

    name: str = Field(min_length=3, max_length=63)
    properties: OutputProperties


class TransformationProperties(Body):
    streaming_units: Literal[3, 7, 10, 20, 30, 40, 50, 60]  # StandardV2
    query: str = Field(min_length=1)


class Transformation(Body):
    """The query of a streaming job."""

    name: str
    properties: TransformationProperties


class JobSku(Body):
    name: Literal["Standard", "StandardV2"]


class Identity(Body):
    type: Literal["SystemAssigned"]


class StreamingJobProperties(Body):
    sku: JobSku
    job_type: Literal["Cloud"] = "Cloud"
    compatibility_level: Literal["1.0", "1.2"] = "1.0"
    data_locale: str = "en-US"
    content_storage_policy: Literal["SystemAccount"] = "SystemAccount"
    output_error_policy: Literal["Stop", "Drop"] = "Stop"
    events_out_of_order_policy: Literal["Adjust", "Drop"] = "Adjust"
    events_out_of_order_max_delay_in_seconds: int = Field(default=0, ge=0)
    events_late_arrival_max_delay_in_seconds: int = Field(default=5, ge=-1, le=1_814_399)
    inputs: tuple[Input, ...] = Field(default=(), max_length=60)
    outputs: tuple[Output, ...] = Field(default=(), max_length=60)
    functions: tuple[Any, ...] = Field(default=(), max_length=0)  # none of ours has any
    transformation: Transformation | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> "StreamingJobProperties":
        names = [part.name.lower() for part in self.inputs] + [part.name.lower() for part in self.outputs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' is the name of more than one input or output")
        return self


class StreamingJob(Body):
    """Microsoft.StreamAnalytics/streamingjobs."""

    location: str
    tags: Tags = Field(default_factory=dict)
    identity: Identity | None = None
    properties: StreamingJobProperties
