"""The procedure enable_cdf as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import DRY_RUN, Procedure, dags_of, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.procedures import enable_cdf
from lpm.procedures.outcome import Outcome


def tasks(config: Config, environment: Environment) -> None:
    @task
    def check_prerequisites() -> dict[str, Any]:
        return report(enable_cdf.check_prerequisites(config, environment, DatabricksClient.of(environment)))

    @task
    def enable(params: Any = None) -> dict[str, Any]:
        databricks = DatabricksClient.of(environment)
        return report(enable_cdf.enable(config, environment, databricks, dry_run=params["dry_run"]))

    @task
    def validate(params: Any = None) -> dict[str, Any]:
        if params["dry_run"] or not params["validate"]:
            return report(Outcome(False, "not asked for"))
        return report(enable_cdf.validate(config, environment, DatabricksClient.of(environment)))

    @task
    def record(params: Any = None) -> dict[str, Any]:
        if params["dry_run"]:
            return report(Outcome(False, "not asked for"))
        databricks = DatabricksClient.of(environment)
        return report(enable_cdf.record(config, environment, databricks, validated=params["validate"]))

    check_prerequisites() >> enable() >> validate() >> record()


globals().update(
    dags_of(
        Procedure(
            name="enable_cdf",
            title="Enable the change data feed",
            purpose="Switches the change data feed of the source table on and proves that it records every change.",
            touches="""Table properties of the source table, never its rows. A short-lived clone and one entry in the
                pipeline's schema.""",
            takes="A minute. A writer that commits to the source in the same second may have to try again.",
            undo="""Unset delta.enableChangeDataFeed on the source. The stream stops, and what changes until it is set
                again can never be read from the feed.""",
            timeout=timedelta(minutes=30),
            tasks=tasks,
            params={
                "validate": Param(True, type="boolean", description="Prove the feed with test rows in a clone."),
                "dry_run": DRY_RUN,
            },
        )
    )
)
