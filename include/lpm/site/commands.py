"""Commands to copy, with the names of each environment filled in.

A page writes ``{{ source_sql("SELECT … FROM {progress}") }}``, or several lines between ``{% filter source_sql %}``
and ``{% endfilter %}``; the reader sees one tab for each environment, with the names that the configuration has for it.
What stands in braces is one of :func:`names_of`. A company, a shard or a key that only the reader knows stands there as
an example from the configuration.
"""

import re
import textwrap
from collections.abc import Mapping

from lpm.config import Column, Config, Environment
from lpm.config.errors import nearest
from lpm.procedures.enable_cdf import change_feed_table
from lpm.render import names
from lpm.site.facts import Facts

NAME = re.compile(r"\{([a-z_]+)\}")
ON_DATABRICKS, IN_DATABASE, IN_SHELL = "on Databricks", "in the company's database", "in a shell"
# Values that a reader replaces: every type that a key can have, in a form that Spark, SQL Server and PostgreSQL take.
EXAMPLES = {"int": "0", "bigint": "0", "decimal": "0", "boolean": "'true'", "date": "'2026-01-31'"}
EXAMPLES |= {"timestamp": "'2026-01-31 12:00:00'"}


def names_of(config: Config, environment: Environment) -> dict[str, str]:
    """What a command may name in braces, in one environment.

    Names of a shard's parts hold the shell variable ``$shard``, so a command with them begins with ``shard=…``.
    """
    return {
        "environment": environment.name,
        # Databricks
        "source": names.source_table(config, environment),
        "progress": names.progress_table(environment),
        "dead_letters": names.dead_letter_table(environment),
        "ledger": names.ledger_table(environment),
        "change_feed": change_feed_table(environment),
        "stream_job": names.stream_job_name(environment),
        "backfill_job": names.backfill_job_name(environment),
        "secret_scope": names.secret_scope(environment),
        "volume": environment.databricks.volume,
        "warehouse": environment.databricks.warehouse_id,
        # Azure
        "subscription": environment.azure.subscription_id,
        "resource_group": environment.azure.resource_group,
        "namespace": environment.event_hubs.namespace,
        "streaming_job": names.streaming_job_name(environment, "$shard"),
        "hub": names.hub_name("$shard"),
        "consumer_group": names.consumer_group("$shard"),
        "storage_account": environment.storage.account,
        "unrouted_container": environment.storage.unrouted_container,
        # Sizes and times
        "retention_hours": str(environment.event_hubs.retention_hours),
        "throughput_units": str(environment.event_hubs.throughput_units),
        "max_throughput_units": str(environment.event_hubs.max_throughput_units),
        "streaming_units": str(environment.stream_analytics.streaming_units),
        "workers": str(environment.databricks.workers),
        "heartbeat_seconds": f"{environment.stream.heartbeat_seconds:g}",
        "progress_seconds": f"{environment.stream.progress_seconds:g}",
        # Airflow connections
        "azure_connection": environment.azure.connection,
        "databricks_connection": environment.databricks.connection,
        "sql_connection": environment.sql.connection,
        "evidence_connection": environment.evidence.connection,
    } | common_names(config)


def common_names(config: Config) -> dict[str, str]:
    """What is the same in every environment, also in the database of every company."""
    table = config.table
    return {
        "table": table.name,
        "target": names.target_table(config),
        "target_schema": names.TARGET_SCHEMA,
        "inbox": names.inbox_table(config),
        "inbox_name": names.inbox_table(config).partition(".")[2],
        "state_schema": names.STATE_SCHEMA,
        "company_column": table.company_column,
        "company": config.companies[0].id.replace("'", "''"),
        "key_columns": ", ".join(table.key),
        "key_is": " AND ".join(f"{name} = {_example(table.column(name))}" for name in table.key),
        "shard": config.shards[0],
    }


def _example(column: Column) -> str:
    return EXAMPLES.get(column.type.kind, f"'your {column.name}'")


class Commands:
    """The words with which pages write commands."""

    def __init__(self, facts: Facts) -> None:
        self._common = common_names(facts.config)
        self._names = {name: names_of(facts.config, facts.environment(name)) for name in facts.environments}

    def source_sql(self, statement: str) -> str:
        """Spark SQL for the workspace of each environment."""
        return self._tabs("sql", ON_DATABRICKS, statement)

    def company_sql(self, statement: str) -> str:
        """SQL for a company's database; SQL Server and PostgreSQL take the same text."""
        return _fence("sql", IN_DATABASE, _filled(textwrap.dedent(statement).strip(), self._common))

    def shell(self, command: str) -> str:
        """Lines of a shell. Without a name of an environment in it there is one block, not one for each."""
        try:
            return _fence("bash", IN_SHELL, _filled(_lines(command), self._common))
        except ValueError:
            return self._tabs("bash", IN_SHELL, command)

    def airflow(self, address: str) -> str:
        """A question to Airflow's REST API: ``dags/monitor__{environment}/dagRuns?limit=5``."""
        login = '--header "Authorization: Bearer $AIRFLOW_TOKEN"'
        return self.shell(f'curl --silent --show-error {login} "$AIRFLOW_URL/api/v2/{address}"')

    def each(self, pattern: str) -> str:
        """A name in running text: for each environment, or once when it is the same in all."""
        values = {name: f"`{_filled(pattern, known)}`" for name, known in self._names.items()}
        if len(set(values.values())) == 1:
            return next(iter(values.values()))
        return ", ".join(f"{value} ({name})" for name, value in values.items())

    def _tabs(self, language: str, title: str, command: str) -> str:
        def block(known: Mapping[str, str]) -> str:
            return _fence(language, title, _filled(_lines(command), known))

        return tabs({name: block(known) for name, known in self._names.items()})


def tabs(content: Mapping[str, str]) -> str:
    """One tab for each entry; the reader sees the first."""
    parts = [f'=== "{name}"\n\n{textwrap.indent(text.strip(), "    ")}\n' for name, text in content.items()]
    return "\n".join(parts)


def _lines(command: str) -> str:
    return textwrap.dedent(command).strip()


def _fence(language: str, title: str, body: str) -> str:
    return f'```{language} title="{title}"\n{body}\n```\n'


def _filled(pattern: str, known: Mapping[str, str]) -> str:
    """The pattern with its names filled in. Other braces, such as those of a query of ``az``, stay as they are."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            near = nearest(found[1], known)
            message = f"unknown name {{{found[1]}}} in a command; expected one of {', '.join(sorted(known))}"
            raise ValueError(message + (f"; did you mean {{{near}}}?" if near else ""))
        return known[found[1]]

    return NAME.sub(value, pattern)
