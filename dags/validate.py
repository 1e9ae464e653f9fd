"""The procedure validate as Airflow DAGs, one for each enabled environment."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException
from procedure_dags import DRY_RUN, Procedure, as_list, dags_of, failures_of_task, links, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.procedures.outcome import Outcome, ProcedureError

RESULT_OF_CASE, BEGAN = "result_of_case", "began"  # XCom keys


def tasks(config: Config, environment: Environment) -> None:
    def runner() -> Any:
        from lpm.config.test_plan import load_test_plan
        from lpm.procedures.validation.run import Runner

        return Runner(config, environment, DatabricksClient.of(environment), load_test_plan())

    @task(doc_md="Refuses unknown cases, sees that stream and router run, removes what an earlier run left.")
    def chosen(params: Any = None, ti: Any = None) -> list[str]:
        run = runner()
        cases: list[str] = run.chosen(params["cases"])
        if params["dry_run"]:
            return cases
        run.require_running()
        run.clean_up(disruptive=False)
        ti.xcom_push(BEGAN, datetime.now(UTC).isoformat())
        return cases

    # One line for each case, with its name. One after the other: a burst beside a measurement would spoil it.
    @task(map_index_template="{{ task.op_kwargs['case'] }}", max_active_tis_per_dagrun=1, retries=0)
    def run_case(case: str, params: Any = None, ti: Any = None) -> dict[str, Any]:
        if params["dry_run"]:
            raise AirflowSkipException(f"case {case}: dry run")
        result = runner().run(case, disruptive=params["disruptive"])
        ti.xcom_push(RESULT_OF_CASE, result.model_dump(mode="json"))
        if result.verdict == "skipped":
            raise AirflowSkipException(f"case {case}: {result.reason}")
        if result.verdict == "failed":
            raise ProcedureError(
                f"case {case}: {result.reason}\n"
                "Next step: see what it expects on the page validation/plan, and whether the monitor has an alert."
            )
        return report(Outcome(False, f"case {case}: passed in {result.seconds:g} s", result.seen))

    @task(trigger_rule=TriggerRule.ALL_DONE, doc_md="Removes every row of validation, whatever failed, and sees that.")
    def clean_up(params: Any = None, ti: Any = None) -> dict[str, Any]:
        if params["dry_run"] or not ti.xcom_pull(task_ids="chosen"):
            return report(Outcome(False, "nothing was written"))
        return report(runner().clean_up(disruptive=params["disruptive"]))

    @task(trigger_rule=TriggerRule.ALL_DONE, doc_md="Keeps a result for every case of the plan as evidence.")
    def keep(params: Any = None, dag_run: Any = None, ti: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.procedures.validation.results import CaseResult
        from lpm.procedures.validation.run import Asked, finish

        cases = ti.xcom_pull(task_ids="chosen")
        if not cases:
            raise ProcedureError("the request was refused; nothing was validated")
        if params["dry_run"]:
            return report(runner().would_run(cases, disruptive=params["disruptive"]))
        found = as_list(ti.xcom_pull(task_ids="run_case", key=RESULT_OF_CASE))
        began = datetime.fromisoformat(ti.xcom_pull(task_ids="chosen", key=BEGAN))
        asked = Asked(tuple(cases), params["disruptive"], links(dag_run).run, began)
        not_clean = "\n".join(failures_of_task(ti, "clean_up"))
        results = [CaseResult.model_validate(one) for one in found]
        return report(finish(runner(), EvidenceStore(environment), asked, results, not_clean))

    run_case.expand(case=chosen()) >> clean_up() >> keep()


globals().update(
    dags_of(
        Procedure(
            name="validate",
            title="Validate",
            purpose="""Proves end to end, with rows of canary companies, that what the test plan promises is so: changes
                arrive, what must not arrive does not, nothing is lost, nobody sees what is not theirs.""",
            touches="""Rows of the canary companies in the source and in their databases, which are removed at the end.
                A consumer's login for some seconds. With disruptive, stream job and router are stopped for minutes.""",
            takes="Some minutes; with disruptive, as long as a cluster and a streaming job take to start as well.",
            undo="Nothing to undo: clean_up removes every row, and fails when one is left.",
            timeout=timedelta(hours=3),
            tasks=tasks,
            params={
                "cases": Param(
                    None,
                    type=["null", "array"],
                    items={"type": "string"},
                    description="Only these cases, by their ids in include/config/test_plan.yml; all when empty.",
                ),
                "disruptive": Param(
                    False,
                    type="boolean",
                    description="Also the cases that stop a part which other companies share; their rows wait.",
                ),
                "dry_run": DRY_RUN,
            },
        )
    )
)
