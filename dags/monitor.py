"""The procedure monitor as Airflow DAGs, one for each enabled environment."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.sdk import TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException
from procedure_dags import CHECK, Procedure, as_list, dags_of, links, report

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment, load_config

LOOK = "look"  # XCom key of what a task has seen
# A look does not fail because of what it looks at; one that dies makes the round blind, and the next is minutes away.
ONE_LOOK = {"retries": 0, "execution_timeout": timedelta(minutes=4)}


def tasks(config: Config, environment: Environment) -> None:
    companies = {company.id: company for company in config.companies}

    @task(**ONE_LOOK)
    def stream(ti: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.procedures.monitor import looks
        from lpm.procedures.monitor.stream import look_at_stream

        seen = looks.read_seen(EvidenceStore(environment))
        found = look_at_stream(config, environment, DatabricksClient.of(environment), seen, datetime.now(UTC))
        ti.xcom_push(LOOK, found.model_dump(mode="json"))
        return report(looks.told("stream and source", found.observations))

    @task(**ONE_LOOK)
    def definitions(ti: Any = None) -> dict[str, Any]:
        from lpm.config.alerts import load_alerts
        from lpm.procedures.monitor import looks
        from lpm.procedures.monitor.definitions import look_at_credentials, look_at_definitions

        with ResourceManager(environment.azure) as manager:
            found = look_at_definitions(config, environment, manager, DatabricksClient.of(environment))
        found += look_at_credentials(environment, load_alerts(), datetime.now(UTC))
        ti.xcom_push(LOOK, [one.model_dump(mode="json") for one in found])
        return report(looks.told("definitions and credentials", found))

    @task(**ONE_LOOK, map_index_template="{{ task.op_kwargs['shard'] }}")
    def shard(shard: str, ti: Any = None) -> dict[str, Any]:
        from lpm.procedures.monitor import looks
        from lpm.procedures.monitor.shard import look_at_shard

        with ResourceManager(environment.azure) as manager:
            found = look_at_shard(environment, shard, manager, datetime.now(UTC))
        ti.xcom_push(LOOK, [one.model_dump(mode="json") for one in found])
        return report(looks.told(f"shard {shard}", found))

    # Also when the stream could not be looked at: a database has more to say than how far it is behind the source.
    @task(**ONE_LOOK, trigger_rule=TriggerRule.ALL_DONE, map_index_template="{{ task.op_kwargs['company'] }}")
    def company(company: str, ti: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.clients.target_database import TargetDatabase
        from lpm.procedures.monitor import looks
        from lpm.procedures.monitor.company import look_at_company

        only_when_checked(ti)
        seen = looks.read_seen(EvidenceStore(environment))
        before = ti.xcom_pull(task_ids="stream", key=LOOK)
        positions = looks.StreamLook.model_validate(before).positions if before else None
        one = companies[company]
        connect = partial(TargetDatabase.connect, config, environment, one)
        found = look_at_company(connect, one, positions, seen, datetime.now(UTC))
        ti.xcom_push(LOOK, found.model_dump(mode="json"))
        return report(looks.told(f"company {company}", found.observations))

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def tell(ti: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from lpm.clients.evidence import EvidenceStore
        from lpm.config.alerts import load_alerts
        from lpm.procedures.alerts.evaluation import Rules
        from lpm.procedures.alerts.observations import Observation
        from lpm.procedures.monitor import looks
        from lpm.procedures.monitor.round import Looks, finish_round

        only_when_checked(ti)

        def seen_by(step: str) -> list[Any]:
            return as_list(ti.xcom_pull(task_ids=step, key=LOOK))

        def observations(lists: list[Any]) -> list[Observation]:
            flat = [one for found in lists for one in (found if isinstance(found, list) else [found])]
            return [Observation.model_validate(one) for one in flat]

        found = Looks(
            stream=next((looks.StreamLook.model_validate(one) for one in seen_by("stream")), None),
            shards=observations(seen_by("shard")),
            companies=[looks.CompanyLook.model_validate(one) for one in seen_by("company")],
            others=observations(seen_by("definitions")),
        )
        rules = Rules(config, load_alerts(), environment, "monitor")
        return report(finish_round(rules, EvidenceStore(environment), found, links(dag_run), datetime.now(UTC)))

    looked = stream() >> company.expand(company=list(companies))
    [looked, definitions(), shard.expand(shard=list(config.shards))] >> tell()


def only_when_checked(ti: Any) -> None:
    """Skip a task that runs whatever failed before it, when it was the check of the request that failed."""
    if not ti.xcom_pull(task_ids=CHECK):
        raise AirflowSkipException(f"{CHECK} failed; nothing was looked at")


globals().update(
    dags_of(
        Procedure(
            name="monitor",
            title="Monitor",
            purpose="Looks at every part of the pipeline, tells people what is wrong, and writes the status.",
            touches="Reads only, but for rows that stayed in a company's inbox: it drains them.",
            takes="Half a minute to two minutes.",
            undo="Nothing to undo.",
            timeout=timedelta(minutes=15),
            tasks=tasks,
            schedule=load_config().pipeline.schedules.monitor,
        )
    )
)
