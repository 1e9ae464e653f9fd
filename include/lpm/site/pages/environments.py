"""Every environment with all its names, addresses and rights."""

from collections.abc import Iterator

from lpm.config import Environment
from lpm.render import names
from lpm.render.access import rights
from lpm.site.facts import Facts
from lpm.site.page import Page, code, table, text
from lpm.site.tables import of_rights


def pages(facts: Facts) -> Iterator[Page]:
    """An index, and a page for each environment of the configuration."""
    yield _index(facts)
    for environment in facts.config.environments.values():
        yield Page(f"environments/{environment.name}.md", _environment(facts, environment))


def _index(facts: Facts) -> Page:
    rows: list[list[object]] = [
        [
            f"[{each.name}]({each.name}.md)",
            each.kind,
            "yes" if each.enabled else "only where `LPM_ENVIRONMENTS` names it",
            code(each.azure.resource_group),
            code(each.event_hubs.namespace),
            code(names.source_table(facts.config, each)),
        ]
        for each in facts.config.environments.values()
    ]
    header = ["Environment", "Kind", "Has DAGs", "Resource group", "Event Hubs namespace", "Source"]
    return Page(
        "environments/index.md",
        "# Environments\n\nOne page for each file of `include/config/environments`: every resource name, address and "
        "right. What differs between environments is there and nowhere else; the code is the same.\n"
        + table(header, rows),
    )


def _environment(facts: Facts, environment: Environment) -> str:
    return "\n".join(
        [
            f"# Environment {environment.name}\n",
            f"From `include/config/environments/{environment.name}.yml`. Deployed by "
            "[bootstrap](../operations/bootstrap.md), [deploy_router](../operations/deploy_router.md) and "
            "[deploy_stream](../operations/deploy_stream.md).\n",
            "## Resources\n",
            table(["What", "Name or address", "Holds"], list(_resources(facts, environment))),
            "## Hubs and routers\n",
            table(
                ["Shard", "Hub", "Consumer group", "Streaming job", "Companies"],
                [_shard(facts, environment, shard) for shard in facts.config.shards],
            ),
            "## Databases\n",
            table(
                ["Company", "Server", "Database"],
                [
                    [text(company.id), code(place.server), code(place.database)]
                    for company in facts.config.companies
                    if (place := environment.databases[company.id])
                ],
            ),
            "## Rights\n",
            "No other right is needed, and none is wider than it has to be. The roles on hubs and containers are in "
            "the rendered templates; `bootstrap` assigns them. Keys are refused where the namespace allows it "
            f"(here: {_keys(environment)}).\n",
            of_rights(right for right in rights(facts.config, environment) if right.given_by),
            "### What people give once, before bootstrap\n",
            of_rights(right for right in rights(facts.config, environment) if not right.given_by),
            "## Airflow connections and secrets\n",
            table(["Connection", "Reaches"], list(_connections(environment))),
            f"Databricks secret scope {code(names.secret_scope(environment))}: the stream job's login to Event Hubs, "
            "which `bootstrap` puts there. No secret is in a file of this project.\n",
        ]
    )


def _resources(facts: Facts, environment: Environment) -> Iterator[list[object]]:
    azure, databricks, hubs = environment.azure, environment.databricks, environment.event_hubs
    yield ["Subscription", code(azure.subscription_id), ""]
    yield ["Resource group", code(azure.resource_group), f"everything in Azure below, in {azure.location}"]
    yield ["Source table", code(names.source_table(facts.config, environment)), "[the source](../source/table.md)"]
    yield ["Pipeline schema", code(environment.pipeline_schema), "progress, dead letters, ledger, change feed record"]
    yield ["Volume", code(databricks.volume), "checkpoint, wheels, settings"]
    yield [
        "Checkpoint",
        code(names.checkpoint_path(environment)),
        "how far the stream has come; never delete it by hand",
    ]
    compute = f"{databricks.spark_version}, {databricks.node_type}, {databricks.workers} workers"
    yield ["Stream job", code(names.stream_job_name(environment)), compute]
    yield ["Backfill job", code(names.backfill_job_name(environment)), "large repairs"]
    yield ["SQL warehouse", code(databricks.warehouse_id), "statements of the DAGs"]
    capacity = f"{hubs.throughput_units} to {hubs.max_throughput_units} throughput units, kept {hubs.retention_hours} h"
    yield ["Event Hubs namespace", code(hubs.namespace), capacity]
    yield [
        "Kafka endpoint",
        code(names.rendered_kafka_bootstrap(environment)),
        f"{hubs.kafka_protocol}, {hubs.kafka_auth}",
    ]
    yield ["AMQP endpoint", code(names.event_hubs_host(environment)), "Stream Analytics, repairs"]
    account = environment.storage.account
    yield [
        "Unrouted events",
        code(f"{account}/{environment.storage.unrouted_container}"),
        "events of unknown companies",
    ]
    yield ["Evidence", code(environment.evidence.url), f"status, alert state, evidence, this site (account {account})"]


def _shard(facts: Facts, environment: Environment, shard: str) -> list[object]:
    companies = ", ".join(text(company.id) for company in facts.config.companies_of(shard))
    return [
        f"[{shard}](../router/{shard}.md)",
        code(names.hub_name(shard)),
        code(names.consumer_group(shard)),
        code(names.streaming_job_name(environment, shard)),
        companies,
    ]


def _keys(environment: Environment) -> str:
    return "yes" if environment.event_hubs.kafka_auth == "entra" else "no, the stream job signs in with one"


def _connections(environment: Environment) -> Iterator[list[object]]:
    yield [code(environment.azure.connection), "Azure Resource Manager, Azure Monitor, Event Hubs"]
    yield [code(environment.databricks.connection), "the Databricks workspace"]
    yield [code(environment.sql.connection), f"the companies' databases ({environment.sql.dialect})"]
    yield [code(environment.evidence.connection), "the storage account of evidence and status"]
