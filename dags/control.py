"""The procedure control as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import Procedure, dags_of, report

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment, load_config
from lpm.procedures import control
from lpm.procedures.control import Action, Part
from lpm.procedures.outcome import Outcome

NOT_ASKED_FOR = Outcome(False, "not asked for")


def tasks(config: Config, environment: Environment) -> None:
    @task
    def stream(params: Any = None) -> dict[str, Any]:
        if not Part(params["part"]).covers(Part.STREAM):
            return report(NOT_ASKED_FOR)
        databricks = DatabricksClient.of(environment)
        return report(control.control_stream(environment, databricks, Action(params["action"])))

    @task
    def router(params: Any = None) -> dict[str, Any]:
        if not Part(params["part"]).covers(Part.ROUTER):
            return report(NOT_ASKED_FOR)
        with ResourceManager(environment.azure) as manager:
            action, shards = Action(params["action"]), params["shards"] or ()
            return report(control.control_router(config, environment, manager, action, shards))

    stream()
    router()


globals().update(
    dags_of(
        Procedure(
            name="control",
            title="Pause, resume, restart",
            purpose="Pauses, resumes or restarts the stream job, the router's streaming jobs, or both.",
            touches="""The run of the Databricks job and the state of the streaming jobs; no definition and no data.
                Nothing is lost while the change feed and the hubs keep what has not been delivered.""",
            takes="Up to 5 minutes for each part; longer when a cluster has to start.",
            undo="Run it again with the opposite action.",
            timeout=timedelta(hours=2),
            tasks=tasks,
            params={
                # Resuming what runs changes nothing: the one default that cannot surprise.
                "action": Param(
                    "resume", type="string", enum=[str(action) for action in Action], description="What to do."
                ),
                "part": Param(
                    "all", type="string", enum=[str(part) for part in Part], description="What to do it with."
                ),
                "shards": Param(
                    None,
                    type=["null", "array"],
                    items={"type": "string"},
                    examples=list(load_config().shards),
                    description="Only these shards of the router; all when empty. The stream has no shards.",
                ),
            },
        )
    )
)
