"""The procedure deploy_router as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import task
from procedure_dags import DRY_RUN, Procedure, dags_of, report, retries

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.config import Config, Environment
from lpm.procedures import deploy_router


def tasks(config: Config, environment: Environment) -> None:
    @task(retries=retries(environment, azure=5))  # a new role may take Azure 8 minutes, and a job needs it to start
    def deploy(params: Any = None) -> dict[str, Any]:
        with ResourceManager(environment.azure) as manager:
            return report(deploy_router.deploy_router(config, environment, manager, dry_run=params["dry_run"]))

    deploy()


globals().update(
    dags_of(
        Procedure(
            name="deploy_router",
            title="Deploy the router",
            purpose="Brings the Stream Analytics jobs to what the configuration says and has all of them run.",
            touches="""The streaming jobs and the rights of their identities. Only jobs that change are stopped; their
                companies get their rows some minutes later, and none is lost.""",
            takes="About 5 minutes for each job that changes; half a minute when nothing does.",
            undo="Deploy the earlier configuration with this procedure. To stop the jobs, run control.",
            timeout=timedelta(hours=3),
            tasks=tasks,
            deploys=True,
            params={"dry_run": DRY_RUN},
        )
    )
)
