"""What the configuration may say.

Every model refuses unknown keys and is frozen. Rules that need more than one file are in ``rules.py``.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

TypeKind = Literal["string", "int", "bigint", "decimal", "double", "boolean", "date", "timestamp", "binary"]
TYPE_NAMES = "string, string(n), int, bigint, decimal(p,s), double, boolean, date, timestamp, binary"

# Column names that the change feed, the target tables or Stream Analytics claim for themselves.
RESERVED_COLUMNS = frozenset(
    {
        "_change_type",
        "_commit_version",
        "_commit_timestamp",
        "partitionid",
        "eventenqueuedutctime",
        "eventprocessedutctime",
    }
)
NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
CRON = r"^\S+( \S+){4}$"
DNS_LABEL = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
# Streaming jobs are named after the environment and the shard and may have 63 characters, consumer groups 50.
SHARD_NAME = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"


@dataclass(frozen=True)
class ColumnType:
    """A contract type. ``length`` counts UTF-16 units (nvarchar); None means unbounded."""

    kind: TypeKind
    length: int | None = None
    precision: int | None = None
    scale: int | None = None

    @classmethod
    def parse(cls, text: str) -> "ColumnType":
        """Read ``decimal(38,18)``, ``string(40)``, ``date`` and so on.

        Raises:
            ValueError: the text is not one of the contract's types.
        """
        compact = text.replace(" ", "").lower()
        if match := re.fullmatch(r"string\((\d+)\)", compact):
            length = int(match[1])
            if not 1 <= length <= 4000:
                raise ValueError(f"string({length}): the length must be 1 to 4000; use plain string for longer text")
            return cls("string", length=length)
        if match := re.fullmatch(r"decimal\((\d+),(\d+)\)", compact):
            precision, scale = int(match[1]), int(match[2])
            if not (1 <= precision <= 38 and scale <= precision):
                raise ValueError(f"{compact}: expected 1 <= precision <= 38 and scale <= precision")
            return cls("decimal", precision=precision, scale=scale)
        match compact:
            case "string" | "int" | "bigint" | "double" | "boolean" | "date" | "timestamp" | "binary":
                return cls(compact)
        raise ValueError(f"unknown type {text!r}; expected one of {TYPE_NAMES}")

    def __str__(self) -> str:
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        return f"string({self.length})" if self.length else self.kind


def _column_type(value: object) -> ColumnType:
    if isinstance(value, ColumnType):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected one of {TYPE_NAMES}")
    return ColumnType.parse(value)


ColumnTypeField = Annotated[
    ColumnType,
    BeforeValidator(_column_type),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "description": f"One of {TYPE_NAMES}"}),
]


class Model(BaseModel):
    # No docstring: it would be the description of every model that has none, in schemas and on the site.
    # Base of every configuration model: frozen, unknown keys refused.

    # A model is built when it is used first: every task process reads the configuration, and most need few of these.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Column(Model):
    """One column of the source table."""

    name: str = Field(pattern=NAME, description="As in the source, letter for letter")
    type: ColumnTypeField = Field(
        description="One of string, string(n), int, bigint, decimal(p,s), double, boolean, date, timestamp, binary"
    )
    nullable: bool = Field(True, description="Whether the source may have NULL")
    non_finite: Literal["null", "dead_letter"] = Field(
        "null", description="What becomes of NaN and Infinity, which SQL Server's float has not"
    )
    description: str = Field("", description="What the column means")


class TableContract(Model):
    """The source table: its columns, its key and the column that names the company."""

    name: str = Field(pattern=NAME, description="Table in the source schema; the targets have the same name")
    schema_version: int = Field(ge=1, description="Raise it with every change of the columns")
    company_column: str = Field(description="Column whose value is the company")
    key: tuple[str, ...] = Field(min_length=1, description="Columns that make a row unique")
    columns: tuple[Column, ...] = Field(min_length=1, description="Every column that the targets get")

    @model_validator(mode="after")
    def _names_agree(self) -> "TableContract":
        names = [column.name for column in self.columns]
        lowered = [name.lower() for name in names]
        for name in names:
            if lowered.count(name.lower()) > 1:
                raise ValueError(f"column {name!r} is listed twice (column names ignore case)")
            if name.lower() in RESERVED_COLUMNS or name.lower().startswith("lpm_"):
                raise ValueError(f"column {name!r} is reserved; rename it in the source view")
        for role, wanted in [("company_column", self.company_column), *(("key", name) for name in self.key)]:
            if wanted not in names:
                raise ValueError(f"{role} names {wanted!r}, which is not a column; expected one of {', '.join(names)}")
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice")
        if self.column(self.company_column).type.kind != "string":
            raise ValueError(f"company_column {self.company_column!r} must be a string")
        for name in self.key:
            if self.column(name).type.kind in ("double", "binary"):
                raise ValueError(f"key column {name!r} may not be {self.column(name).type}: it has no canonical text")
        return self

    def column(self, name: str) -> Column:
        """The column of that exact name."""
        return next(column for column in self.columns if column.name == name)


class Limits(Model):
    """What the services take."""

    max_event_bytes: int = Field(
        ge=1_000,
        le=1_000_000,
        description="A larger event becomes a dead letter; Event Hubs takes 1 MB, its envelope included",
    )
    companies_per_shard: int = Field(
        ge=1, le=59, description="A streaming job has 60 outputs, one of them for unknown companies"
    )


class Objectives(Model):
    """What the pipeline promises, measured by the monitor."""

    latency_p95_seconds: float = Field(
        gt=0, description="Commit in the source to visible in the database, 95th percentile"
    )


class Retention(Model):
    """How long what is needed to catch up is kept."""

    change_feed_days: int = Field(ge=7, description="How long the source keeps what the stream may still have to read")
    tombstone_days: int = Field(
        ge=7, description="How long a database remembers a deletion: longer than the oldest event that can still arrive"
    )


class Schedules(Model):
    """When the procedures that run by themselves do, as cron expressions in UTC."""

    reconcile: str = Field(pattern=CRON, description="Cron, UTC")
    monitor: str = Field(pattern=CRON, description="Cron, UTC")
    publish_docs: str = Field(
        pattern=CRON, description="Cron, UTC; the site is published besides whenever a deployment changed something"
    )


class Reconciliation(Model):
    """How the hourly comparison works."""

    full_below_rows: int = Field(ge=0, description="A company with fewer rows is compared as a whole in every round")
    ledger_hours: int = Field(ge=1, description="Rounds in which the whole ledger is held against its table")
    deep_hours: int = Field(ge=1, description="Rounds in which every value of every row is compared")
    grace_seconds: float = Field(ge=0, description="After which a difference is looked at again")
    wait_seconds: float = Field(ge=0, description="For a company's watermark to reach the cut of the round")
    evidence_keys: int = Field(
        ge=1, description="Differing keys that are kept with their details, per company and round"
    )
    repair: bool = Field(description="Whether the hourly round repairs what it finds")
    repair_keys: int = Field(
        ge=1, description="More differing keys than that are repaired by a batch run on Databricks"
    )


class Pipeline(Model):
    """``pipeline.yml``."""

    table: TableContract
    limits: Limits
    objectives: Objectives
    retention: Retention
    schedules: Schedules
    reconciliation: Reconciliation


class Company(Model):
    """A tenant. ``id`` is the exact value of the company column, case and blanks included.

    A ``canary`` is a company in all but its owner: the procedure ``validate`` writes rows for canaries and nobody else.
    """

    id: str = Field(min_length=1, max_length=400, description="Value of the company column, case and blanks included")
    name: str = Field(min_length=1, description="For people")
    shard: str = Field(description="Whose hub and streaming job serve it; never changed once it receives data")
    partitions: tuple[int, ...] = Field(
        min_length=1, description="Of its shard's hub, its own; never changed once it receives data"
    )
    slug: str = Field("", description="For names of resources; made from the id when absent")
    canary: bool = Field(False, description="Belongs to nobody: the procedure validate writes rows for it")

    @model_validator(mode="before")
    @classmethod
    def _default_slug(cls, data: object) -> object:
        if isinstance(data, Mapping) and "slug" not in data and isinstance(data.get("id"), str):
            return {**data, "slug": re.sub(r"[^a-z0-9]+", "-", data["id"].lower()).strip("-")}
        return data

    @field_validator("id")
    @classmethod
    def _id_is_printable_text(cls, company_id: str) -> str:
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in company_id):
            raise ValueError("holds a control character, which query text cannot carry")
        return company_id

    @field_validator("slug")
    @classmethod
    def _slug_is_a_name(cls, slug: str) -> str:
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?", slug):
            raise ValueError(
                f"slug {slug!r} must be lower-case letters, digits and inner hyphens, at most 50; set it by hand"
            )
        return slug

    @property
    def output_name(self) -> str:
        """Name of the company's Stream Analytics output."""
        return f"company-{self.slug}"


class Companies(Model):
    """``companies.yml``."""

    shards: tuple[Annotated[str, Field(pattern=SHARD_NAME)], ...] = Field(
        min_length=1, description="Names of the shards; each has a hub and a streaming job"
    )
    companies: tuple[Company, ...] = Field(min_length=1, description="Every tenant")


class Azure(Model):
    """Subscription and identity."""

    connection: str = Field(description="Airflow connection for Resource Manager and Monitor")
    subscription_id: str = Field(
        pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="Subscription"
    )
    resource_group: str = Field(
        pattern=r"^[-\w.()]{1,90}$", description="Resource group of everything that is deployed"
    )
    location: str = Field(description="Azure region")
    airflow_object_id: str = Field(
        description="Object id (not application id) of the identity that the Airflow connection signs in with"
    )
    action_groups: Mapping[str, str] = Field(
        {}, description="Resource ids of Azure Monitor's action groups, by route of alerts.yml"
    )


class Databricks(Model):
    """Workspace, source and job."""

    connection: str = Field(description="Airflow connection for the workspace")
    warehouse_id: str = Field(description="SQL warehouse of the DAGs")
    catalog: str = Field(pattern=NAME, description="Catalog of source and pipeline")
    source_schema: str = Field(pattern=NAME, description="Schema of the source table")
    pipeline_schema: str = Field(pattern=NAME, description="Schema of the pipeline's own tables")
    volume: str = Field(
        pattern=r"^/Volumes/[^/]+/[^/]+/[^/]+$", description="Volume of checkpoint, wheels and settings"
    )
    spark_version: str = Field(description="Runtime of the job clusters")
    node_type: str = Field(description="Machines of the job clusters")
    workers: int = Field(ge=0, description="Workers of the stream job; 0 is a single node")
    run_as: str = Field(description="Application id of the service principal that owns the job")
    run_as_object_id: str = Field(description="Its object id, which role assignments need")


class EventHubs(Model):
    """The hubs."""

    namespace: str = Field(pattern=r"^[a-zA-Z](?:[a-zA-Z0-9-]{4,48})[a-zA-Z0-9]$", description="Event Hubs namespace")
    kafka_bootstrap: str | None = Field(None, description="Kafka address when it is not the namespace's")
    kafka_protocol: Literal["SASL_SSL", "SASL_PLAINTEXT"] = Field(description="Security protocol of the Kafka side")
    kafka_auth: Literal["entra", "connection_string"] = Field(description="How the stream job signs in")
    partitions: int = Field(ge=1, le=32, description="Of each hub; frozen once data flows, else keys lose their order")
    retention_hours: int = Field(ge=1, le=168, description="How long a hub keeps its events")
    throughput_units: int = Field(ge=1, le=40, description="To start with: 1 MB/s in, 2 MB/s out each")
    max_throughput_units: int = Field(ge=1, le=40, description="Most that auto-inflate may reach")


class StreamAnalytics(Model):
    """The streaming jobs."""

    streaming_units: Literal[3, 7, 10, 20, 30, 40, 50, 60] = Field(
        description="Of each streaming job (StandardV2: 10 is one V2 unit)"
    )


class Storage(Model):
    """The storage account."""

    account: str = Field(pattern=r"^[a-z0-9]{3,24}$", description="Storage account for unrouted events and evidence")
    unrouted_container: str = Field(pattern=DNS_LABEL, description="Container for events of unknown companies")


class Evidence(Model):
    """Where status, alert state and evidence are kept. Locally ``LPM_EVIDENCE`` names the folder instead."""

    # The account is the connection's: Airflow would take what stands before an @ for the name of a connection.
    url: str = Field(
        pattern=r"^abfss?://[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])(?:/[A-Za-z0-9._-]+)*$",
        description="Container of status and evidence; without the account, which is the connection's",
    )
    connection: str = Field(description="Airflow connection (adls) with the account")

    @property
    def container(self) -> str:
        """The storage container."""
        return self.url.partition("://")[2].partition("/")[0]


class Sql(Model):
    """How the companies' databases are reached."""

    connection: str = Field(description="Airflow connection for the companies' databases")
    dialect: Literal["mssql", "postgresql"] = Field(description="mssql on Azure")


class Stream(Model):
    """Timing of the stream job."""

    trigger_seconds: float = Field(gt=0, description="Between two micro-batches")
    heartbeat_seconds: float = Field(gt=0, description="Most often that a company is told how far its events have come")
    progress_seconds: float = Field(gt=0, description="Between two lines of the progress table")


class Database(Model):
    """One database."""

    server: str = Field(pattern=DNS_LABEL, description="Name of the SQL server, without domain")
    database: str = Field(min_length=1, max_length=128, description="Name of the database")


class Environment(Model):
    """``environments/<name>.yml``."""

    name: str
    kind: Literal["local", "azure"] = Field(description="local: the local cloud")
    enabled: bool = Field(description="Whether it has DAGs where LPM_ENVIRONMENTS is not set")
    azure: Azure = Field(description="Subscription and identity")
    databricks: Databricks = Field(description="Workspace, source and job")
    event_hubs: EventHubs = Field(description="Hubs")
    stream_analytics: StreamAnalytics = Field(description="Streaming jobs")
    storage: Storage = Field(description="Storage account")
    evidence: Evidence = Field(description="Where status, alert state and evidence are kept")
    sql: Sql = Field(description="How the companies' databases are reached")
    stream: Stream = Field(description="Timing of the stream job")
    databases: Mapping[str, Database] = Field(description="Database of each company, by company id")

    @property
    def source_schema(self) -> str:
        """Schema of the source table, catalog first."""
        return f"{self.databricks.catalog}.{self.databricks.source_schema}"

    @property
    def pipeline_schema(self) -> str:
        """Schema of the pipeline's own tables (dead letters, progress), catalog first."""
        return f"{self.databricks.catalog}.{self.databricks.pipeline_schema}"


class Config(Model):
    """All of ``include/config``, checked together."""

    pipeline: Pipeline
    shards: tuple[str, ...]
    companies: tuple[Company, ...]
    environments: Mapping[str, Environment]

    @property
    def table(self) -> TableContract:
        """The table contract."""
        return self.pipeline.table

    @property
    def canaries(self) -> tuple[Company, ...]:
        """The companies that nobody owns, for validation."""
        return tuple(company for company in self.companies if company.canary)

    @property
    def tenants(self) -> tuple[Company, ...]:
        """The companies that somebody owns."""
        return tuple(company for company in self.companies if not company.canary)

    def companies_of(self, shard: str) -> tuple[Company, ...]:
        """The companies of one shard, in the order of the file."""
        return tuple(company for company in self.companies if company.shard == shard)

    def environment(self, name: str) -> Environment:
        """One environment by its name.

        Raises:
            KeyError: no such environment; the message names those that exist.
        """
        if name not in self.environments:
            raise KeyError(f"unknown environment {name!r}; expected one of {', '.join(self.environments)}")
        return self.environments[name]
