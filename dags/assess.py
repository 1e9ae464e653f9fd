"""The procedure assess as Airflow DAGs, one for each enabled environment."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, task
from procedure_dags import Procedure, dags_of, report

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.procedures.outcome import Outcome

FACTS = "facts"  # XCom key


def tasks(config: Config, environment: Environment) -> None:
    def hand_on(ti: Any, facts: Iterable[Any]) -> dict[str, Any]:
        from lpm.procedures.assess.facts import told

        found = list(facts)
        ti.xcom_push(FACTS, [fact.model_dump(mode="json") for fact in found])
        return report(told(found))

    @task
    def source(ti: Any = None) -> dict[str, Any]:
        from lpm.procedures.assess.source import measure_source

        return hand_on(ti, measure_source(config, environment, DatabricksClient.of(environment)))

    @task
    def change_feed(ti: Any = None, params: Any = None) -> dict[str, Any]:
        from lpm.procedures.assess.change_feed import measure_change_feed

        databricks = DatabricksClient.of(environment)
        return hand_on(ti, measure_change_feed(config, environment, databricks, params["window_days"]))

    @task
    def access(ti: Any = None, params: Any = None) -> dict[str, Any]:
        from lpm.procedures.assess.access import measure_access

        databricks = DatabricksClient.of(environment)
        return hand_on(ti, measure_access(config, environment, databricks, params["window_days"]))

    @task
    def targets(ti: Any = None) -> dict[str, Any]:
        from lpm.procedures.assess.targets import measure_targets

        return hand_on(ti, measure_targets(config, environment))

    @task
    def write(ti: Any = None, params: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.config.assessment import load_assessment
        from lpm.config.measures import PARTS
        from lpm.procedures.assess.facts import Baseline, keep
        from lpm.procedures.assess.verdicts import judge_all
        from lpm.render.names import source_table

        baseline = Baseline(
            environment=environment.name,
            table=source_table(config, environment),
            at=datetime.now(UTC),
            window_days=params["window_days"],
            facts=[fact for part in PARTS for fact in ti.xcom_pull(task_ids=part, key=FACTS)],
        )
        name = keep(EvidenceStore(environment), baseline)
        verdicts = judge_all(load_assessment().findings, baseline, config)
        contradicted = [verdict for verdict in verdicts if verdict.judgement == "contradicted"]
        return report(
            Outcome(
                False,
                f"{len(baseline.facts)} facts kept as {name}; they contradict {len(contradicted)} findings",
                tuple(f"contradicted: {each.finding.id}: {each.reason}" for each in contradicted),
            )
        )

    [source(), change_feed(), access(), targets()] >> write()


globals().update(
    dags_of(
        Procedure(
            name="assess",
            title="Assess the source",
            purpose="""Measures the source and its surroundings: size, columns, keys, companies, changes, readers,
                databases. The facts are held against what stakeholders said.""",
            touches="Reads the source, its history and its change feed, and asks each database. Writes only evidence.",
            takes="Minutes: it reads the whole table some times. Run it when the warehouse has time.",
            undo="Nothing to undo: it changes nothing.",
            timeout=timedelta(hours=4),
            tasks=tasks,
            params={
                "window_days": Param(
                    7,
                    type="integer",
                    minimum=1,
                    maximum=90,
                    description="Over how many days changes and reads are counted.",
                ),
            },
        )
    )
)
