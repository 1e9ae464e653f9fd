"""The procedure acknowledge_alert as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import Procedure, dags_of, optional_text, report

from lpm.config import Config, Environment


def tasks(_: Config, environment: Environment) -> None:
    @task
    def acknowledge(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.procedures.acknowledge_alert import Request, acknowledge_alert

        request = Request(
            alert=params["alert"],
            subject=params["subject"],
            who=dag_run.triggering_user_name or "somebody without a name",
            reason=params["reason"] or "no reason given",
            lasting=timedelta(hours=params["hours"]),
        )
        return report(acknowledge_alert(EvidenceStore(environment), request))

    acknowledge()


globals().update(
    dags_of(
        Procedure(
            name="acknowledge_alert",
            title="Acknowledge an alert",
            purpose="Says that somebody looks after an alert, so that it is neither repeated nor escalated meanwhile.",
            touches="The state of the alerts. That it is over is still told.",
            takes="Seconds.",
            undo="Run it again with hours 0: the alert is repeated and escalated as if nobody had acknowledged it.",
            timeout=timedelta(minutes=10),
            tasks=tasks,
            params={
                "alert": optional_text(
                    "Id of the alert, as messages and the status name it. Empty: lists what is open."
                ),
                "subject": optional_text("Only this subject, such as company C-1001; all of the alert when empty."),
                "hours": Param(8, type="number", minimum=0, maximum=336, description="For how many hours."),
            },
        )
    )
)
