"""The procedure bootstrap as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import DRY_RUN, Procedure, dags_of, report, retries

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs_secrets import event_hubs_secrets
from lpm.config import Config, Environment
from lpm.config.alerts import load_alerts
from lpm.procedures import bootstrap


def tasks(config: Config, environment: Environment) -> None:
    @task
    def foundation(params: Any = None) -> dict[str, Any]:
        with ResourceManager(environment.azure) as manager:
            return report(bootstrap.create_foundation(config, environment, manager, dry_run=params["dry_run"]))

    # A new role may take Azure 8 minutes; azure-eventhub itself would wait for an answer without end.
    @task(retries=retries(environment, azure=5), execution_timeout=timedelta(minutes=10))
    def hubs(params: Any = None) -> dict[str, Any]:
        return report(bootstrap.verify_hubs(config, environment, dry_run=params["dry_run"]))

    @task
    def router(params: Any = None) -> dict[str, Any]:
        with ResourceManager(environment.azure) as manager:
            return report(bootstrap.create_router(config, environment, manager, dry_run=params["dry_run"]))

    @task
    def alert_rules(params: Any = None) -> dict[str, Any]:
        alerts = load_alerts()
        with ResourceManager(environment.azure) as manager:
            return report(bootstrap.create_alert_rules(config, environment, alerts, manager, dry_run=params["dry_run"]))

    @task
    def tables(params: Any = None) -> dict[str, Any]:
        databricks = DatabricksClient.of(environment)
        return report(bootstrap.create_tables(config, environment, databricks, dry_run=params["dry_run"]))

    @task
    def secrets(params: Any = None) -> dict[str, Any]:
        values = event_hubs_secrets(environment)
        databricks = DatabricksClient.of(environment)
        renew, dry_run = params["renew_secrets"], params["dry_run"]
        return report(bootstrap.store_secrets(environment, databricks, values, renew=renew, dry_run=dry_run))

    companies = {company.id: company for company in config.companies}

    @task(map_index_template="{{ task.op_kwargs['company'] }}")  # one line for each company, with its name
    def target(company: str, params: Any = None) -> dict[str, Any]:
        dry_run = params["dry_run"]
        return report(bootstrap.create_target(config, environment, companies[company], dry_run=dry_run))

    # A database admits the identity of its streaming job, which has to be there.
    made = foundation()
    made >> hubs()
    made >> router() >> [target.expand(company=list(companies)), alert_rules()]
    tables()
    secrets()


globals().update(
    dags_of(
        Procedure(
            name="bootstrap",
            title="Bootstrap",
            purpose="Creates what the pipeline stands on, and brings what is there to what the configuration says.",
            touches="""Hubs, storage, roles and streaming jobs (not started) of the resource group; the schema,
                tables, volume and secrets on Databricks; schema, tables and trigger in each company's database.""",
            takes="About 10 minutes the first time, a minute when nothing changes.",
            undo="""Nothing is deleted by any procedure. Remove by hand what the page lists, in its order; company data
                is in the company databases only.""",
            timeout=timedelta(hours=2),
            tasks=tasks,
            deploys=True,
            params={
                "renew_secrets": Param(
                    False, type="boolean", description="Write the stream job's secrets again, after a rotation."
                ),
                "dry_run": DRY_RUN,
            },
        )
    )
)
