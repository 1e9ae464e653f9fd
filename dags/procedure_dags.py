"""From one description of a procedure to its Airflow DAGs, one for each enabled environment.

Every task process parses its DAG file again, so nothing heavy is imported here: no cloud SDK, no provider hook. What a
task needs it imports itself, when it runs (docs/operations/index.md).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pendulum
from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AssetAny,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    TriggerRule,
    get_parsing_context,
    task,
)
from airflow.sdk.exceptions import AirflowNotFoundException

from lpm.clients.event_hubs_secrets import SecretMissing
from lpm.config import Config, ConfigError, Environment, enabled_environments, load_config
from lpm.procedures.outcome import Outcome, ProcedureError, together

OWNER = "edg-lpm"
CHECK, RESULT = "check_request", "result"  # the first and the last task of every procedure
DEFAULT_RETRIES = 2
PROCEDURES: dict[str, "Procedure"] = {}  # those whose DAG file was loaded in this process, by name
BEFORE = "before that, "  # begins the list of what was done before a failure
FAILURE = "failure"  # XCom key of why a task failed
log = logging.getLogger(__name__)


def optional_text(description: str) -> Param:
    """A parameter that may stay empty: a plain string parameter would disable the Trigger button."""
    return Param(None, type=["null", "string"], description=description)


REASON = optional_text("Why, for the record: a ticket or a sentence.")
DRY_RUN = Param(False, type="boolean", description="Only say what would change.")


def outcomes_of_task(ti: Any, step: str) -> list[Outcome]:
    """The outcomes of a task of this run: none when it did not finish, one for each company when it is mapped.

    A task that only chooses what to map over returns texts: it has no outcome.
    """
    return [Outcome.from_json(data) for data in as_list(ti.xcom_pull(task_ids=step)) if isinstance(data, dict)]


def failures_of_task(ti: Any, step: str) -> list[str]:
    """Why a task of this run failed; one reason for each company when it is mapped."""
    return as_list(ti.xcom_pull(task_ids=step, key=FAILURE))


def as_list(found: Any) -> list[Any]:
    """What an XCom pull found, which is one value, a list of values or nothing."""
    return [value for value in (found if isinstance(found, list) else [found]) if value]


@dataclass(frozen=True)
class Procedure:
    """One procedure as its operators see it. ``tasks`` makes its tasks inside the DAG of one environment."""

    name: str
    title: str
    purpose: str
    touches: str
    takes: str  # how long, in words
    undo: str
    timeout: timedelta
    tasks: Callable[[Config, Environment], None]
    params: Mapping[str, Param] = field(default_factory=dict)
    schedule: str | None = None  # cron in UTC; such a DAG is paused until someone wants it to run by itself
    deploys: bool = False  # a run that changed something says so, see deployed()
    after_deployments: bool = False  # runs, besides its schedule, when such a run said so
    outcomes: Callable[[Any, str], list[Outcome]] = outcomes_of_task  # of a step, asked with the result's task instance
    failures: Callable[[Any, str], list[str]] = failures_of_task

    @property
    def all_params(self) -> dict[str, Param]:
        """Its parameters and the one that every procedure has."""
        return {**self.params, "reason": REASON}

    @property
    def page(self) -> str:
        """Its page in the repository and, later, on the runbook site."""
        return f"docs/operations/{self.name}.md"

    @property
    def doc(self) -> str:
        """The text behind the book icon."""
        sections = {"Purpose": self.purpose, "Touches": self.touches, "Takes": self.takes, "Undo": self.undo}
        body = "\n\n".join(f"**{name}**: {' '.join(text.split())}" for name, text in sections.items())
        return f"{body}\n\n**When it fails**: `{self.page}` says for each task what to clear and what to trigger again."


def dags_of(procedure: Procedure) -> dict[str, DAG]:
    """The DAGs of a procedure by their id; in a task process only the one that runs."""
    PROCEDURES[procedure.name] = procedure
    wanted = get_parsing_context().dag_id
    config = load_config()
    ids = {f"{procedure.name}__{name}": name for name in enabled_environments(config)}
    return {dag_id: _dag(dag_id, procedure, config, name) for dag_id, name in ids.items() if wanted in (None, dag_id)}


def deployed(environment: str) -> Asset:
    """What stands for "a deployment changed something there" in Airflow's schedules."""
    return Asset(f"lpm-deployed-{environment}")


def report(outcome: Outcome) -> dict[str, Any]:
    """Write an outcome to the task's log and hand it on."""
    log.info("%s", outcome.text)
    return outcome.as_json()


def links(dag_run: Any) -> Any:
    """Where messages about a run lead: Airflow, the run, and the runbooks that Airflow serves."""
    from airflow.sdk.configuration import conf

    from lpm.procedures.alerts.telling import Links

    base = conf.get("api", "base_url", fallback="") or "http://localhost:8080"
    return Links(base=base, run=f"{base.rstrip('/')}/dags/{dag_run.dag_id}/runs/{quote(dag_run.run_id)}")


def retries(environment: Environment, azure: int) -> int:
    """How often to try again on Azure; locally nothing takes minutes to come true, so waiting longer is of no use."""
    return azure if environment.kind == "azure" else DEFAULT_RETRIES


def _dag(dag_id: str, procedure: Procedure, config: Config, environment: str) -> DAG:
    schedule = _schedule(procedure, config, environment)
    with DAG(
        dag_id,
        dag_display_name=f"{procedure.title} ({environment})",
        description=" ".join(procedure.purpose.split()).split(". ")[0].rstrip(".") + ".",
        doc_md=procedure.doc,
        schedule=schedule,
        is_paused_upon_creation=True if schedule else None,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=procedure.timeout,
        tags=["lpm", f"env:{environment}", f"procedure:{procedure.name}"],
        params=procedure.all_params,
        default_args={
            "owner": OWNER,
            "retries": DEFAULT_RETRIES,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": 3.0,
            "retry_policy": _retry_policy(),
            "execution_timeout": procedure.timeout,
            "on_failure_callback": _keep_failure,
        },
    ) as dag:
        procedure.tasks(config, config.environment(environment))
        steps = [step.task_id for step in dag.topological_sort()]
        roots, leaves = list(dag.roots), list(dag.leaves)
        _check_request(procedure, environment) >> roots
        leaves >> _result(procedure, environment, steps)
    return dag


def _schedule(
    procedure: Procedure, config: Config, environment: str
) -> CronDataIntervalTimetable | AssetOrTimeSchedule | None:
    # In the local cloud nothing runs by itself: whoever uses it, a test perhaps, says when.
    if procedure.schedule is None or config.environment(environment).kind != "azure":
        return None
    times = CronDataIntervalTimetable(procedure.schedule, timezone="UTC")
    if not procedure.after_deployments:
        return times
    anywhere = AssetAny(*(deployed(name) for name in enabled_environments(config)))
    return AssetOrTimeSchedule(timetable=times, assets=anywhere)


def _retry_policy() -> ExceptionRetryPolicy:
    """Try again after anything but a verdict: networks and services recover, a wrong parameter does not."""
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(exception=ProcedureError, action=RetryAction.FAIL, reason="a person has to act"),
            RetryRule(
                exception=AirflowNotFoundException, action=RetryAction.FAIL, reason="an Airflow connection is missing"
            ),
            RetryRule(exception=SecretMissing, action=RetryAction.FAIL, reason="a secret is missing"),
            RetryRule(exception=ConfigError, action=RetryAction.FAIL, reason="the configuration is wrong"),
        ]
    )


def _check_request(procedure: Procedure, environment: str) -> Any:
    @task(
        task_id=CHECK, doc_md="Refuses unknown parameters and a configuration with faults, before anything is touched."
    )
    def check_request(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        # Not against params: Airflow has merged the conf into them.
        if unknown := sorted(set(dag_run.conf or {}) - set(procedure.all_params)):
            raise ProcedureError(
                f"unknown parameters: {', '.join(unknown)}; expected some of {', '.join(procedure.all_params)}\n"
                "Next step: trigger again without them."
            )
        given = tuple(f"{name}: {value}" for name, value in sorted(params.items()) if value is not None)
        return report(Outcome(False, f"the configuration has no faults; environment {environment}", given))

    return check_request()


def _result(procedure: Procedure, environment: str, steps: list[str]) -> Any:
    # A task's own assets are told of whenever it succeeds; through an alias it says when there is something to tell.
    changes = AssetAlias(f"lpm-deployments-{environment}")

    @task(
        task_id=RESULT,
        outlets=[changes] if procedure.deploys else [],
        trigger_rule=TriggerRule.ALL_DONE,
        retries=0,
        doc_md="What the run changed, step by step. Fails when a step failed, and repeats why.",
    )
    def result(ti: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        outcome = together((step, found) for step in steps for found in procedure.outcomes(ti, step))
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
        if failed := [name for name, state in states.items() if state == "failed" and name != RESULT]:
            ti.xcom_push("return_value", outcome.as_json())  # what was done before, for whoever reads the run
            reasons = [f"{step}: {reason}" for step in [CHECK, *steps] for reason in procedure.failures(ti, step)]
            done = [f"{BEFORE}{outcome.text}"] if outcome.details else []
            raise ProcedureError("\n".join([f"failed: {', '.join(sorted(failed))}", *reasons, *done]))
        if procedure.deploys and outcome.changed:
            outlet_events[changes].add(deployed(environment))
        return report(outcome)

    return result()


def _keep_failure(context: Any) -> None:
    """Keep why a task failed where the result task finds it: its log is not readable from another task."""
    error = context.get("exception")
    context["ti"].xcom_push(FAILURE, "\n".join([str(error), *getattr(error, "__notes__", [])]))
