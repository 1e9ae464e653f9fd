"""Create what the pipeline stands on: Azure resources, Databricks tables and secrets, the SQL of each company."""

from collections.abc import Mapping
from dataclasses import replace

from lpm.clients.azure_resource_manager import AzureError, Change, ResourceManager
from lpm.clients.databricks import DatabricksClient, DatabricksError, StatementFailed
from lpm.clients.event_hubs import EventHub, HubDiffers
from lpm.clients.stream_analytics import StreamingJobs
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, Environment
from lpm.config.alerts import Alerts
from lpm.procedures.deploy_router import DEPLOYMENT as ROUTER_DEPLOYMENT
from lpm.procedures.deploy_router import changed_jobs, deploy_changed, is_started
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.render import names
from lpm.render.alerts import alert_rules
from lpm.render.arm import FOUNDATION, ROUTER, templates
from lpm.render.arm.document import Template
from lpm.render.arm.foundation import tags
from lpm.render.stream_job import tables_sql

FOUNDATION_DEPLOYMENT, ALERTS_DEPLOYMENT = "lpm-foundation", "lpm-alerts"


def create_foundation(
    config: Config, environment: Environment, manager: ResourceManager, *, dry_run: bool = False
) -> Outcome:
    """The resource group, and in it the hubs, the storage and the right to send; deployed only where they differ.

    Raises:
        AzureError: something could not be read or deployed.
    """
    azure = environment.azure
    template = templates(config, environment)[FOUNDATION]
    created: tuple[str, ...] = ()
    if not dry_run and manager.ensure_resource_group(azure.location, tags(environment)):
        created = (f"created resource group {azure.resource_group}",)
    changes = _changes(manager, template, FOUNDATION_DEPLOYMENT, dry_run)
    if changes is None:
        return Outcome(False, f"dry run: would create resource group {azure.resource_group} and all that is in it")
    if changes and not dry_run:
        manager.deploy(template.document(), template.parameters_document(), FOUNDATION_DEPLOYMENT)
    return _told("Event Hubs and storage", len(changes) + len(created), (*created, *map(str, changes)), dry_run)


def verify_hubs(config: Config, environment: Environment, *, dry_run: bool = False) -> Outcome:
    """See with azure-eventhub that each hub is there as configured and that Airflow may send to it. Sends nothing.

    Raises:
        ProcedureError: a hub has another number of partitions, or takes less at once than an event may have.
        EventHubError: a hub cannot be reached, or Airflow may not send; a new role takes minutes to come true.
    """
    hubs = [EventHub.of_shard(environment, shard) for shard in config.shards]
    if dry_run:
        return Outcome(False, f"dry run: would verify {len(hubs)} hubs")
    largest = config.pipeline.limits.max_event_bytes
    lines = []
    for hub in hubs:
        try:
            facts = hub.verify()
        except HubDiffers as error:
            raise ProcedureError(str(error)) from error
        if facts.largest_publication <= largest:
            raise ProcedureError(
                f"{hub} takes {facts.largest_publication} bytes at once; expected more than {largest}, as "
                "limits.max_event_bytes says\nNext step: make the limit smaller, or the namespace's tier Standard."
            )
        lines.append(f"{hub.hub}: {facts.partitions} partitions, takes {facts.largest_publication} bytes at once")
    return Outcome(False, f"{len(hubs)} hubs are as configured and Airflow may send to them", tuple(lines))


def create_router(
    config: Config, environment: Environment, manager: ResourceManager, *, dry_run: bool = False
) -> Outcome:
    """The streaming jobs, not started. A job that runs is left to deploy_router, which stops and starts it.

    Raises:
        AzureError: something could not be read or deployed.
    """
    changes = _changes(manager, templates(config, environment)[ROUTER], ROUTER_DEPLOYMENT, dry_run)
    if changes is None:
        return Outcome(False, f"dry run: would create {len(config.shards)} streaming jobs")
    jobs = StreamingJobs(manager)
    running = [name for name in changed_jobs(config, environment, changes) if is_started(jobs, name)]
    here = [change for change in changes if not set(changed_jobs(config, environment, [change])) & set(running)]
    if here and not dry_run:
        deploy_changed(config, environment, manager, here)
    told = _told("streaming jobs", len(here), tuple(map(str, here)), dry_run)
    left = tuple(f"{name} runs and differs from the configuration: run deploy_router" for name in running)
    return replace(told, details=(*told.details, *left))


def create_alert_rules(
    config: Config, environment: Environment, alerts: Alerts, manager: ResourceManager, *, dry_run: bool = False
) -> Outcome:
    """The alerts that Azure Monitor evaluates by itself. What they watch has to be there.

    Raises:
        AzureError: something could not be read or deployed.
    """
    template = alert_rules(config, environment, alerts)
    changes = _changes(manager, template, ALERTS_DEPLOYMENT, dry_run)
    if changes is None:
        return Outcome(False, f"dry run: would create {len(template.resources)} alert rules")
    if changes and not dry_run:
        manager.deploy(template.document(), template.parameters_document(), ALERTS_DEPLOYMENT)
    return _told("alert rules", len(changes), tuple(map(str, changes)), dry_run)


def create_tables(
    config: Config, environment: Environment, databricks: DatabricksClient, *, dry_run: bool = False
) -> Outcome:
    """The pipeline's schema, its tables and the volume for wheels, settings and checkpoints.

    Raises:
        StatementFailed: the connection's principal may not create one of them.
    """
    known = _known_tables(environment, databricks)
    wanted = [names.dead_letter_table(environment), names.progress_table(environment)]
    missing = tuple(f"table {table}" for table in wanted if table.rpartition(".")[2] not in known)
    if not dry_run:
        for statement in tables_sql(config, environment):
            databricks.sql(statement)
        # Asking whether a volume is there takes a right of its own; making it again is free.
        databricks.sql(f"CREATE VOLUME IF NOT EXISTS {names.volume_table_name(environment.databricks.volume)}")
    return _told(f"tables of {environment.pipeline_schema}", len(missing), missing, dry_run)


def create_target(config: Config, environment: Environment, company: Company, *, dry_run: bool = False) -> Outcome:
    """Schema, tables and trigger in one company's database, and its router's right to insert.

    Raises:
        TargetDatabaseError: the database cannot be reached or refuses; names the company and the next step.
    """
    what = f"database {names.database(environment, company)} of company {company.id}"
    if dry_run:  # only applying tells what is missing
        return Outcome(False, f"dry run: would make {what} what the configuration says")
    with TargetDatabase.connect(config, environment, company) as database:
        changes = database.apply_schema()
        changes += database.admit_router(names.streaming_job_name(environment, company.shard))
    return _told(what, len(changes), tuple(changes), dry_run)


def store_secrets(
    environment: Environment,
    databricks: DatabricksClient,
    secrets: Mapping[str, str],
    *,
    renew: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """The secrets of the stream job in the pipeline's scope. Databricks never gives a value back, so one that is there
    is taken for right unless ``renew`` is set.

    Args:
        environment: Whose scope.
        databricks: The workspace.
        secrets: Values by key; they appear in no outcome.
        renew: Write all of them again, after a rotation.
        dry_run: Only say which would be written.
    """
    scope = names.secret_scope(environment)
    known = _secret_keys(databricks, scope)
    wanted = [key for key in secrets if renew or key not in known]
    if wanted and not dry_run:
        databricks.ensure_scope(scope)
        for key in wanted:
            databricks.put_secret(scope, key, secrets[key])
    return _told(f"secrets in scope {scope}", len(wanted), tuple(wanted), dry_run)


def _changes(manager: ResourceManager, template: Template, name: str, dry_run: bool) -> list[Change] | None:
    """What deploying would change; None when a dry run finds no resource group to compare with."""
    try:
        return manager.what_if(template.document(), template.parameters_document(), name)
    except AzureError as error:
        if dry_run and error.code == "ResourceGroupNotFound":
            return None
        raise


def _known_tables(environment: Environment, databricks: DatabricksClient) -> set[str | None]:
    try:
        return {row["tableName"] for row in databricks.sql(f"SHOW TABLES IN {environment.pipeline_schema}")}
    except StatementFailed as error:
        if "NOT_FOUND" in str(error):  # the schema is not there yet
            return set()
        raise


def _secret_keys(databricks: DatabricksClient, scope: str) -> list[str]:
    try:
        return databricks.secret_keys(scope)
    except DatabricksError as error:
        if error.status == 404:
            return []
        raise


def _told(what: str, changes: int, details: tuple[str, ...], dry_run: bool) -> Outcome:
    if not changes:
        return Outcome(False, f"no change: {what}")
    if dry_run:
        return Outcome(False, f"dry run: {what}: {changes} changes", details)
    return Outcome(True, f"{what}: {changes} changes", details)
