"""The procedure reconcile as Airflow DAGs, one for each enabled environment."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException
from procedure_dags import Procedure, as_list, dags_of, links, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment, load_config
from lpm.config.errors import nearest
from lpm.procedures.outcome import Outcome, ProcedureError

LEDGER, RESULT_OF_COMPANY, UNKNOWN = "ledger", "result_of_company", "unknown_databases"  # XCom keys


def tasks(config: Config, environment: Environment) -> None:
    companies = {company.id: company for company in config.companies}

    def round_of(dag_run: Any, params: Any) -> Any:
        from lpm.clients.evidence import EvidenceStore
        from lpm.procedures.reconciliation.round import Round, Wanted

        return Round(
            config,
            environment,
            DatabricksClient.of(environment),
            EvidenceStore(environment),
            Wanted(
                run_id=dag_run.run_id,
                moment=dag_run.data_interval_end or dag_run.run_after,
                every_bucket=params["every_bucket"],
                every_value=params["every_value"],
                repair=params["repair"],
                ledger_anew=params["ledger_anew"],
                grace_seconds=params["grace_seconds"],
                batch_above=params["batch_above"],
            ),
        )

    @task
    def ledger(params: Any = None, dag_run: Any = None, ti: Any = None) -> dict[str, Any]:
        found = round_of(dag_run, params).bring_ledger_forward()
        ti.xcom_push(LEDGER, found.model_dump(mode="json"))
        faults = tuple(f"company {fault.company}, bucket {fault.bucket}: put right" for fault in found.faults)
        strangers = found.unknown_rows(companies)
        unknown = tuple(f"unknown company {name!r}: {rows} rows" for name, rows in strangers.items())
        return report(Outcome(bool(faults), found.summary, (*faults, *unknown)))

    @task
    def chosen(params: Any = None) -> list[str]:
        for company in params["companies"] or ():
            if company not in companies:
                near = nearest(company, companies)
                raise ProcedureError(f"unknown company {company!r}" + (f"; did you mean {near!r}?" if near else ""))
        return list(params["companies"] or companies)

    @task(map_index_template="{{ task.op_kwargs['company'] }}")  # one line for each company, with its name
    def compare(company: str, params: Any = None, dag_run: Any = None, ti: Any = None) -> dict[str, Any]:
        from lpm.procedures.reconciliation.ledger import Ledger

        this_round = round_of(dag_run, params)
        moved = Ledger.model_validate(ti.xcom_pull(task_ids="ledger", key=LEDGER))
        try:
            result = this_round.reconcile(companies[company], moved)
        except Exception as error:
            failed = this_round.error(companies[company], str(error).partition("\n")[0])
            ti.xcom_push(RESULT_OF_COMPANY, failed.model_dump(mode="json"))
            raise
        ti.xcom_push(RESULT_OF_COMPANY, result.model_dump(mode="json"))
        if result.verdict == "skipped":
            raise AirflowSkipException(f"company {company}: {result.summary}")
        if sum(result.differences.values()) > result.repaired:
            raise ProcedureError(
                f"company {company} {result.summary}\nNext step: read the evidence, then trigger reconcile with repair."
            )
        return report(Outcome(result.repaired > 0, f"company {company}: {result.summary}"))

    @task
    def strangers(ti: Any = None) -> dict[str, Any]:
        from lpm.clients.target_servers import unknown_databases

        found = tuple(unknown_databases(environment))
        ti.xcom_push(UNKNOWN, list(found))
        return report(Outcome(False, f"{len(found)} databases belong to no configured company", found))

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def tell(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.config.alerts import load_alerts
        from lpm.procedures.alerts.evaluation import Rules
        from lpm.procedures.reconciliation.ledger import Ledger
        from lpm.procedures.reconciliation.result import CompanyResult
        from lpm.procedures.reconciliation.telling import Found, finish_round

        asked = ti.xcom_pull(task_ids="chosen")
        if not asked:
            raise ProcedureError("the request was refused; nothing was compared")
        moved = ti.xcom_pull(task_ids="ledger", key=LEDGER)
        found = Found(
            ledger=Ledger.model_validate(moved) if moved else None,
            companies=tuple(asked),
            results=[
                CompanyResult.model_validate(one)
                for one in as_list(ti.xcom_pull(task_ids="compare", key=RESULT_OF_COMPANY))
            ],
            unknown_databases=ti.xcom_pull(task_ids="strangers", key=UNKNOWN),
        )
        rules = Rules(config, load_alerts(), environment, "reconcile")
        return report(finish_round(rules, EvidenceStore(environment), found, links(dag_run), datetime.now(UTC)))

    moved, end = ledger(), tell()
    compared = compare.expand(company=chosen())
    moved >> [compared, strangers()] >> end


globals().update(
    dags_of(
        Procedure(
            name="reconcile",
            title="Reconcile",
            purpose="""Proves for each company that its database is what the source says at an exact version, and
                repairs what is not.""",
            touches="""Reads source and databases. Moves the ledger forward, keeps evidence, and with repair sends
                events through the hub.""",
            takes="A minute, and the grace period where something differs.",
            undo="Nothing to undo: a repair makes a row what the source says.",
            timeout=timedelta(minutes=55),
            tasks=tasks,
            schedule=load_config().pipeline.schedules.reconcile,
            params={
                "companies": Param(
                    None,
                    type=["null", "array"],
                    items={"type": "string"},
                    examples=[company.id for company in load_config().companies],
                    description="Only these companies; all when empty.",
                ),
                "every_bucket": Param(
                    False, type="boolean", description="Compare every bucket, not only those that changed; reads more."
                ),
                "every_value": Param(
                    False, type="boolean", description="Compare every value of every row, not only this hour's slice."
                ),
                "repair": Param(
                    load_config().pipeline.reconciliation.repair, type="boolean", description="Repair what differs."
                ),
                "batch_above": Param(
                    load_config().pipeline.reconciliation.repair_keys,
                    type="integer",
                    minimum=0,
                    description="More differing keys of a company than that go through a batch run on Databricks.",
                ),
                "grace_seconds": Param(
                    None, type=["null", "number"], minimum=0, description="Seconds after which to look again."
                ),
                "ledger_anew": Param(
                    False, type="boolean", description="Fill the ledger anew from the table; reads all of it."
                ),
            },
        )
    )
)
