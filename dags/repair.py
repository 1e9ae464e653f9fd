"""The procedure repair as Airflow DAGs, one for each enabled environment."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import DRY_RUN, Procedure, dags_of, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment, load_config
from lpm.contract.envelope import BUCKETS

LAST_BUCKET = BUCKETS - 1
BUCKET: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": LAST_BUCKET}


def tasks(config: Config, environment: Environment) -> None:
    companies = {company.id: company for company in config.companies}

    @task
    def send(params: Any = None) -> dict[str, Any]:
        from lpm.procedures.reconciliation.by_hand import repair_company

        return report(
            repair_company(
                config,
                environment,
                DatabricksClient.of(environment),
                companies[params["company"]],
                keys=params["keys"],
                buckets=(params["first_bucket"], params["last_bucket"]),
                batch_above=params["batch_above"],
                dry_run=params["dry_run"],
            )
        )

    send()


globals().update(
    dags_of(
        Procedure(
            name="repair",
            title="Repair or backfill",
            purpose="Makes rows of one company what the source says: some keys, a range of buckets, or all.",
            touches="""The company's database, through the hub and the router as every change. Rows that the source has
                are sent as they are now, rows that it has not are deleted. Many rows are sent by a batch run.""",
            takes="""Seconds for some keys; a backfill about a minute for each 300,000 rows, and some minutes for the
                cluster of a batch run.""",
            undo="Nothing to undo: the database is what the source says.",
            timeout=timedelta(hours=6),
            tasks=tasks,
            params={
                "company": Param(
                    load_config().companies[0].id,
                    type="string",
                    enum=[company.id for company in load_config().companies],
                    description="Whose rows.",
                ),
                "keys": Param(
                    None,
                    type=["null", "array"],
                    items={"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    description="Key hashes, as evidence names them. All rows of the buckets below when empty.",
                ),
                "first_bucket": Param(0, **BUCKET, description="First bucket of a backfill."),
                "last_bucket": Param(LAST_BUCKET, **BUCKET, description="Last bucket of a backfill."),
                "batch_above": Param(
                    load_config().pipeline.reconciliation.repair_keys,
                    type="integer",
                    minimum=0,
                    description="More rows of the buckets than that go through a batch run on Databricks.",
                ),
                "dry_run": DRY_RUN,
            },
        )
    )
)
