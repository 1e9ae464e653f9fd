"""The procedure go_live as Airflow DAGs, one for each enabled environment."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused, TriggerDagRunOperator
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, chain
from airflow.sdk.exceptions import AirflowException
from procedure_dags import BEFORE, FAILURE, RESULT, Procedure, as_list, dags_of, failures_of_task

from lpm.config import Config, Environment
from lpm.procedures.outcome import Outcome

STEPS = ("bootstrap", "enable_cdf", "deploy_router", "deploy_stream")  # the router listens before the stream sends
POKE_SECONDS = 2

# Only triggering is tried again, such as when Airflow has not read the other DAG yet. A failed run has had its own
# retries; running all of it again is a decision.
TRIGGER_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=AirflowException, action=RetryAction.FAIL, reason="the run failed", match_subclasses=False),
        RetryRule(exception=DagIsPaused, action=RetryAction.FAIL, reason="its DAG is paused in Airflow"),
    ]
)


def tasks(_: Config, environment: Environment) -> None:
    chain(
        *(
            TriggerDagRunOperator(
                task_id=step,
                trigger_dag_id=f"{step}__{environment.name}",
                conf={"reason": "{{ params.reason or 'no reason given' }} (go_live {{ run_id }})"},
                wait_for_completion=True,
                poke_interval=POKE_SECONDS,
                fail_when_dag_is_paused=True,  # else it would wait in silence until its time is over
                openlineage_inject_parent_info=False,  # procedures refuse conf keys they do not know
                retry_policy=TRIGGER_POLICY,
                retry_delay=timedelta(seconds=5),
                doc_md=f"Triggers `{step}__{environment.name}` and waits for it; its Details tab links to the run.",
            )
            for step in STEPS
        )
    )


def triggered(ti: Any, step: str) -> dict[str, str]:
    """Where the result of a step's own run is: the arguments of an XCom pull; empty when the step was not triggered."""
    run_id = ti.xcom_pull(task_ids=step, key="trigger_run_id")
    environment = ti.dag_id.partition("__")[2]
    return {"dag_id": f"{step}__{environment}", "run_id": run_id, "task_ids": RESULT} if run_id else {}


def outcomes(ti: Any, step: str) -> list[Outcome]:
    """The outcome of the run that a step triggered: one line for each of its tasks, their details are in the run."""
    where = triggered(ti, step)
    found = [Outcome.from_json(data) for data in as_list(ti.xcom_pull(**where))] if where else []
    return [replace(outcome, details=tuple(filter(is_main, outcome.details))) for outcome in found]


def is_main(detail: str) -> bool:
    """Whether a line is about a task, and no detail of one."""
    return not detail.startswith(" ")


def failures(ti: Any, step: str) -> list[str]:
    """Why the run that a step triggered failed, with its name and address; else why it was not triggered."""
    where = triggered(ti, step)
    if not where:
        return failures_of_task(ti, step)
    link = ti.xcom_pull(task_ids=step, key="_link_TriggerDagRunLink")
    reasons = [reason.partition(f"\n{BEFORE}")[0] for reason in as_list(ti.xcom_pull(**where, key=FAILURE))]
    return [f"{where['run_id']} ({link}): {reason}" for reason in reasons]


globals().update(
    dags_of(
        Procedure(
            name="go_live",
            title="Go live",
            purpose="Runs bootstrap, enable_cdf, deploy_router and deploy_stream in this order and waits for each.",
            touches="What the four procedures touch, nothing else. What is there already is left as it is.",
            takes="10 to 20 minutes on Azure the first time, 1 to 3 minutes when nothing changes.",
            undo="Pause the stream and the router with control; for the rest see the page of each procedure.",
            timeout=timedelta(hours=4),
            tasks=tasks,
            outcomes=outcomes,
            failures=failures,
        )
    )
)
