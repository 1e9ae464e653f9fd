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
    """Base of every configuration model: frozen, unknown keys refused."""

    # A model is built when it is used first: every task process reads the configuration, and most need few of these.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Column(Model):
    """One column of the source table."""

    name: str = Field(pattern=NAME)
    type: ColumnTypeField
    nullable: bool = True
    non_finite: Literal["null", "dead_letter"] = "null"  # SQL Server's float has neither NaN nor Infinity
    description: str = ""


class TableContract(Model):
    """The source table: its columns, its key and the column that names the company."""

    name: str = Field(pattern=NAME)
    schema_version: int = Field(ge=1)
    company_column: str
    key: tuple[str, ...] = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)

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
    max_event_bytes: int = Field(ge=1_000, le=1_000_000)
    companies_per_shard: int = Field(ge=1, le=59)  # 60 outputs per job, one of them unrouted


class Objectives(Model):
    latency_p95_seconds: float = Field(gt=0)


class Retention(Model):
    change_feed_days: int = Field(ge=7)
    tombstone_days: int = Field(ge=7)


class Schedules(Model):
    """When the procedures that run by themselves do, as cron expressions in UTC."""

    reconcile: str = Field(pattern=CRON)
    monitor: str = Field(pattern=CRON)


class Reconciliation(Model):
    full_below_rows: int = Field(ge=0)  # a company with fewer rows is compared as a whole in every round
    ledger_hours: int = Field(ge=1)  # rounds in which the whole ledger is held against its table
    deep_hours: int = Field(ge=1)  # rounds in which every value of every row is compared
    grace_seconds: float = Field(ge=0)  # after which a difference is looked at again
    wait_seconds: float = Field(ge=0)  # for a company's watermark to reach the cut of the round
    evidence_keys: int = Field(ge=1)  # differing keys that are kept with their details, per company and round
    repair: bool  # whether the hourly round repairs what it finds
    repair_keys: int = Field(ge=1)  # more differing keys than that are repaired by a batch run on Databricks


class Pipeline(Model):
    """``pipeline.yml``."""

    table: TableContract
    limits: Limits
    objectives: Objectives
    retention: Retention
    schedules: Schedules
    reconciliation: Reconciliation


class Company(Model):
    """A tenant. ``id`` is the exact value of the company column, case and blanks included."""

    id: str = Field(min_length=1, max_length=400)
    name: str = Field(min_length=1)
    shard: str
    partitions: tuple[int, ...] = Field(min_length=1)
    slug: str = ""

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

    shards: tuple[Annotated[str, Field(pattern=SHARD_NAME)], ...] = Field(min_length=1)
    companies: tuple[Company, ...] = Field(min_length=1)


class Azure(Model):
    connection: str
    subscription_id: str = Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
    resource_group: str = Field(pattern=r"^[-\w.()]{1,90}$")
    location: str
    airflow_object_id: str  # of the identity that the Airflow connection signs in with; not its application id
    action_groups: Mapping[str, str] = {}  # resource ids of Azure Monitor's action groups, by route of alerts.yml


class Databricks(Model):
    connection: str
    warehouse_id: str
    catalog: str = Field(pattern=NAME)
    source_schema: str = Field(pattern=NAME)
    pipeline_schema: str = Field(pattern=NAME)
    volume: str = Field(pattern=r"^/Volumes/[^/]+/[^/]+/[^/]+$")
    spark_version: str
    node_type: str
    workers: int = Field(ge=0)
    run_as: str  # application id of the service principal that owns the job
    run_as_object_id: str  # its object id: role assignments need this one


class EventHubs(Model):
    namespace: str = Field(pattern=r"^[a-zA-Z](?:[a-zA-Z0-9-]{4,48})[a-zA-Z0-9]$")
    kafka_bootstrap: str | None = None
    kafka_protocol: Literal["SASL_SSL", "SASL_PLAINTEXT"]
    kafka_auth: Literal["entra", "connection_string"]
    partitions: int = Field(ge=1, le=32)  # Standard tier; frozen once data flows, else keys lose their order
    retention_hours: int = Field(ge=1, le=168)
    throughput_units: int = Field(ge=1, le=40)
    max_throughput_units: int = Field(ge=1, le=40)


class StreamAnalytics(Model):
    streaming_units: Literal[3, 7, 10, 20, 30, 40, 50, 60]  # StandardV2: 10 is one V2 unit


class Storage(Model):
    account: str = Field(pattern=r"^[a-z0-9]{3,24}$")
    unrouted_container: str = Field(pattern=DNS_LABEL)


class Evidence(Model):
    """Where status, alert state and evidence are kept. Locally ``LPM_EVIDENCE`` names the folder instead."""

    # The account is the connection's: Airflow would take what stands before an @ for the name of a connection.
    url: str = Field(pattern=r"^abfss?://[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])(?:/[A-Za-z0-9._-]+)*$")
    connection: str

    @property
    def container(self) -> str:
        """The storage container."""
        return self.url.partition("://")[2].partition("/")[0]


class Sql(Model):
    connection: str
    dialect: Literal["mssql", "postgresql"]


class Stream(Model):
    trigger_seconds: float = Field(gt=0)
    heartbeat_seconds: float = Field(gt=0)
    progress_seconds: float = Field(gt=0)


class Database(Model):
    server: str = Field(pattern=DNS_LABEL)
    database: str = Field(min_length=1, max_length=128)


class Environment(Model):
    """``environments/<name>.yml``."""

    name: str
    kind: Literal["local", "azure"]
    enabled: bool
    azure: Azure
    databricks: Databricks
    event_hubs: EventHubs
    stream_analytics: StreamAnalytics
    storage: Storage
    evidence: Evidence
    sql: Sql
    stream: Stream
    databases: Mapping[str, Database]

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
