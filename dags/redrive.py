"""The procedure redrive as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import DRY_RUN, Procedure, dags_of, optional_text, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment, load_config

MOMENT: dict[str, Any] = {"type": ["null", "string"], "format": "date-time"}


def tasks(config: Config, environment: Environment) -> None:
    companies = {company.id: company for company in config.companies}

    @task
    def chosen(params: Any = None) -> list[str]:
        return [params["company"]] if params["company"] else list(companies)

    @task(map_index_template="{{ task.op_kwargs['company'] }}")  # one line for each company, with its name
    def send(company: str, params: Any = None) -> dict[str, Any]:
        from lpm.procedures.reconciliation.by_hand import redrive_company

        return report(
            redrive_company(
                config,
                environment,
                DatabricksClient.of(environment),
                companies[company],
                reason=params["event_reason"],
                times=(params["since"], params["until"]),
                dry_run=params["dry_run"],
            )
        )

    send.expand(company=chosen())


globals().update(
    dags_of(
        Procedure(
            name="redrive",
            title="Redrive",
            purpose="""Sends again, after a fix, what a database refused (quarantine) and what the stream job could not
                send (dead letters).""",
            touches="""The company's database, through the hub and the router. What is right afterwards leaves the
                quarantine; dead letters stay as a record.""",
            takes="A minute; two where something is refused again.",
            undo="Nothing to undo: the row is sent as the source has it now.",
            timeout=timedelta(hours=2),
            tasks=tasks,
            params={
                "company": Param(
                    None,
                    type=["null", "string"],
                    enum=[None, *(company.id for company in load_config().companies)],
                    description="Whose events; those of all companies when empty.",
                ),
                "event_reason": optional_text("Only events refused for this reason, such as too_long:book."),
                "since": Param(None, **MOMENT, description="Only events that came at or after this moment (UTC)."),
                "until": Param(None, **MOMENT, description="Only events that came before this moment (UTC)."),
                "dry_run": DRY_RUN,
            },
        )
    )
)
