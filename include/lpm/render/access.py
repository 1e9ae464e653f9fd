"""Who may do what: the roles that the templates assign, the grants in the databases, and the reasons."""

from collections.abc import Iterator
from dataclasses import dataclass

from lpm.config import Config, Environment
from lpm.render import names


@dataclass(frozen=True)
class Right:
    """One right. ``given_by`` is the procedure that gives it; empty when a person has to, before bootstrap."""

    who: str
    may: str
    on: str
    because: str
    given_by: str = "bootstrap"


def rights(config: Config, environment: Environment) -> Iterator[Right]:
    """Every right that the pipeline needs in an environment, and no other."""
    yield from _azure(config, environment)
    yield from _databases(config, environment)
    yield from _given_by_people(config, environment)


def _azure(config: Config, environment: Environment) -> Iterator[Right]:
    """The role assignments of the templates, in their order."""
    job, airflow = environment.databricks.run_as_object_id, environment.azure.airflow_object_id
    namespace = environment.event_hubs.namespace
    for shard in config.shards:
        hub = f"hub {namespace}/{names.hub_name(shard)}"
        yield Right(f"stream job ({job})", "Azure Event Hubs Data Sender", hub, "sends what changed")
        if airflow != job:
            yield Right(f"Airflow ({airflow})", "Azure Event Hubs Data Sender", hub, "sends repairs")
    evidence = f"container {environment.storage.account}/{environment.evidence.container}"
    contributor = "Storage Blob Data Contributor"
    yield Right(f"Airflow ({airflow})", contributor, evidence, "keeps status, alert state and evidence")
    unrouted = f"container {environment.storage.account}/{environment.storage.unrouted_container}"
    reader = "Storage Blob Data Reader"
    yield Right(f"Airflow ({airflow})", reader, unrouted, "sees that events of unknown companies are kept (validate)")
    for shard in config.shards:
        job_name, hub = names.streaming_job_name(environment, shard), f"hub {namespace}/{names.hub_name(shard)}"
        yield Right(
            f"managed identity of {job_name}", "Azure Event Hubs Data Receiver", hub, "reads the shard's events"
        )
    router = names.streaming_job_name(environment, names.unrouted_shard(config))
    yield Right(f"managed identity of {router}", contributor, unrouted, "writes events of unknown companies")


def _databases(config: Config, environment: Environment) -> Iterator[Right]:
    every = f"each company's database ({len(config.companies)})"
    yield Right(
        f"role lpm_reader, for consumers in {environment.name}",
        "SELECT",
        f"{names.target_table(config)} in their own database",
        "reads the rows; has no right to change them, nor to see another company",
    )
    yield Right(
        "role lpm_router, for the managed identities of the streaming jobs",
        "SELECT, INSERT",
        f"{names.inbox_table(config)} in {every}",
        "delivers events; SELECT is what Stream Analytics' test of its output needs",
    )


def _given_by_people(config: Config, environment: Environment) -> Iterator[Right]:
    airflow, nobody = f"Airflow (connection {environment.azure.connection})", ""
    group = f"resource group {environment.azure.resource_group}"
    yield Right(airflow, "Contributor, Role Based Access Control Administrator", group, "deploys the templates", nobody)
    yield Right(
        f"Airflow (connection {environment.sql.connection})",
        "db_owner",
        "each company's database",
        "makes tables and trigger, reads sums and values for reconciliation",
        nobody,
    )
    table = names.source_table(config, environment)
    yield Right(
        f"Airflow (connection {environment.databricks.connection})",
        f"SELECT and MODIFY on {table}; CREATE TABLE and CREATE VOLUME in {environment.pipeline_schema}; "
        f"CAN USE on warehouse {environment.databricks.warehouse_id}; may make jobs",
        "Databricks",
        "switches the change feed on, deploys the job, compares rows, writes the rows of validation",
        nobody,
    )
    yield Right(
        f"stream job ({environment.databricks.run_as})",
        f"SELECT on {table}; ALL PRIVILEGES on {environment.pipeline_schema}; "
        f"READ on scope {names.secret_scope(environment)}",
        "Databricks",
        "reads the change feed, keeps checkpoint, progress and dead letters",
        nobody,
    )
