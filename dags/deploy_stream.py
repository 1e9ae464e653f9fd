"""The procedure deploy_stream as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import task
from procedure_dags import DRY_RUN, Procedure, dags_of, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.procedures import deploy_stream
from lpm.procedures.outcome import Outcome


def tasks(config: Config, environment: Environment) -> None:
    @task
    def deploy(params: Any = None) -> dict[str, Any]:
        databricks = DatabricksClient.of(environment)
        return report(deploy_stream.deploy_stream(config, environment, databricks, dry_run=params["dry_run"]))

    @task
    def await_progress(params: Any = None) -> dict[str, Any]:
        if params["dry_run"]:
            return report(Outcome(False, "not asked for"))
        return report(deploy_stream.await_progress(config, environment, DatabricksClient.of(environment)))

    deploy() >> await_progress()


globals().update(
    dags_of(
        Procedure(
            name="deploy_stream",
            title="Deploy the stream job",
            purpose="Ships the stream job to Databricks and waits until a run of it makes progress.",
            touches="""Wheel and settings in the volume, the Databricks job, and its run when the job changes. The new
                run goes on where the old one was: nothing is lost, some events are sent twice and applied once.""",
            takes="5 to 10 minutes when the job changes, because a cluster starts; else half a minute.",
            undo="Deploy the earlier version of this repository. To stop the job, run control.",
            timeout=timedelta(hours=1),
            tasks=tasks,
            deploys=True,
            params={"dry_run": DRY_RUN},
        )
    )
)
