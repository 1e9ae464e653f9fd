"""Every command of the site's pages runs, where the page says that it is typed, and shows what the page says.

What needs Azure (``az``) or a running Airflow is read by a shell and held against Airflow's own description in
tests/site/test_runbooks.py.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine

from lpm.cli import parser
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company
from lpm.contract.envelope import spark_type
from lpm.local.postgres import Server
from lpm.procedures.enable_cdf import create_change_feed_table
from lpm.render import names
from lpm.render.reconciliation import Queries
from lpm.render.stream_job import tables_sql
from lpm.site.commands import IN_DATABASE, ON_DATABRICKS, Commands
from lpm.site.facts import Facts
from lpm.site.gathering import gather
from page_commands import Command, commands, rendered
from target_events import COMPANY, PARTITIONS, heartbeat, upsert

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MSSQL = "LPM_TEST_MSSQL_URL"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What the pages of the local environment say; its schemas are this test's own."""
    found = gather(("local",), {}, parser(), tmp_path_factory.mktemp("facts"))
    local, mark = found.environment("local"), f"p{uuid4().hex[:6]}"
    schemas = {"source_schema": f"{mark}_gold", "pipeline_schema": f"{mark}_lpm"}
    own = local.model_copy(update={"databricks": local.databricks.model_copy(update=schemas)})
    environments = {**found.config.environments, "local": own}
    return replace(found, config=found.config.model_copy(update={"environments": environments}))


def runs_all(found: list[Command], run: Any) -> list[str]:
    """What does not run, with its page."""
    failed = []
    for command in found:
        try:
            run(command.text)
        except Exception as error:
            failed.append(f"{command.page}: {str(error).splitlines()[0]}\n{command.text}")
    return failed


# --- in the company's database ---


@pytest.fixture(scope="module", params=["postgresql", "mssql"])
def database(request: pytest.FixtureRequest, facts: Facts) -> Iterator[Any]:
    """A connection to a company's database with a row, a refused event, a heartbeat and nothing else."""
    dialect = request.param
    if dialect == "mssql" and not os.environ.get(MSSQL):
        pytest.skip(f"no SQL Server: set {MSSQL} to the SQLAlchemy URL of an empty database (mssql+pyodbc://…)")
    if dialect == "mssql":
        url = os.environ[MSSQL]
    else:
        server: Server = request.getfixturevalue("postgres")
        server.create_database("lpm_runbook_commands")
        url = server.url("lpm_runbook_commands")
    company = Company(id=COMPANY, name="Example", shard="shard-01", partitions=PARTITIONS, slug="oneill")
    with TargetDatabase(facts.config, company, url, dialect) as target:
        target.apply_schema()
        target.insert_inbox(
            [upsert(3), upsert(4, info_companyid="somebody else"), *(heartbeat(3, p) for p in PARTITIONS)]
        )
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_every_query_of_a_company_s_database_runs(facts: Facts, database: Any) -> None:
    found = list(commands(rendered(facts), IN_DATABASE))
    assert len(found) > 10

    def run(statement: str) -> None:
        with database.begin():
            database.exec_driver_sql(statement).fetchall()

    assert runs_all(found, run) == []


def rows(database: Any, facts: Facts, pattern: str) -> list[tuple[Any, ...]]:
    """What a query of a page finds; ``pattern`` is the query as the page writes it."""
    written = [command for command in commands(rendered(facts), IN_DATABASE) if pattern in command.text]
    assert written, f"no page has {pattern!r}"
    with database.begin():
        return [tuple(row) for row in database.exec_driver_sql(written[0].text).fetchall()]


def test_the_queries_show_what_the_pages_say(facts: Facts, database: Any) -> None:
    assert [(row[0], row[1]) for row in rows(database, facts, "SELECT info_companyid, COUNT(*)")] == [(COMPANY, 1)]
    assert [(row[0], row[1]) for row in rows(database, facts, "SELECT reason, COUNT(*)")] == [("wrong_company", 1)]
    assert {(row[0], row[1]) for row in rows(database, facts, "SELECT partition_id, version")} == {
        (partition, 3) for partition in PARTITIONS
    }
    assert rows(database, facts, "SELECT COUNT(*) AS waiting") == [(0,)]
    assert rows(database, facts, "INFORMATION_SCHEMA.TABLE_CONSTRAINTS") == [], "the inbox has no constraint"
    inbox = rows(database, facts, "INFORMATION_SCHEMA.COLUMNS")
    assert len(inbox) == 14
    assert {row[3] for row in inbox} == {"YES"}, "every column of the inbox is nullable"


def test_the_bucket_of_a_latency_is_shown_in_seconds(facts: Facts, database: Any) -> None:
    """Bucket b holds what took up to 1.1 ^ b seconds: 60.2 for 43."""
    with database.begin():
        database.exec_driver_sql("DELETE FROM lpm.latency")
        moment = "'2026-11-24 12:00:00'"
        database.exec_driver_sql(
            f"INSERT INTO lpm.latency (minute, bucket, applied, newest) VALUES ({moment}, 43, 7, {moment})"
        )
    [found] = rows(database, facts, "EXP(")
    assert found[1] == 7
    assert float(found[2]) == pytest.approx(1.1**43, rel=0.01)


# --- on Databricks ---


@pytest.fixture(scope="module")
def lakehouse(spark: "SparkSession", facts: Facts) -> "Iterator[SparkSession]":
    """The source with its change feed, and the pipeline's tables, as bootstrap, enable_cdf and reconcile make them."""
    config, local = facts.config, facts.environment("local")
    for schema in (local.source_schema, local.pipeline_schema):
        spark.sql(f"CREATE SCHEMA {schema}")
    columns = ", ".join(f"`{column.name}` {spark_type(column.type)}" for column in config.table.columns)
    source = names.source_table(config, local)
    spark.sql(f"CREATE TABLE {source} ({columns}) USING delta TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    statements = [*tables_sql(config, local), create_change_feed_table(local), Queries(config, local).create_ledger()]
    for statement in statements:
        spark.sql(statement)
    for number in range(1, 6):  # a page asks for version 5
        row = f"'T-{number}', 0, '{config.companies[0].id}'"
        spark.sql(f"INSERT INTO {source} (trade_id, leg_no, info_companyid) VALUES ({row})")
    yield spark
    for schema in (local.source_schema, local.pipeline_schema):
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


def test_every_query_of_databricks_runs(facts: Facts, lakehouse: "SparkSession") -> None:
    found = list(commands(rendered(facts), ON_DATABRICKS))
    assert len(found) > 10
    assert runs_all(found, lambda statement: lakehouse.sql(statement).collect()) == []


def test_a_row_is_found_by_the_key_of_the_example(facts: Facts, lakehouse: "SparkSession") -> None:
    block = Commands(facts).source_sql("SELECT info_companyid FROM {source} WHERE {key_is}")
    [statement] = [line.strip() for line in block.splitlines() if line.strip().startswith("SELECT")]
    assert lakehouse.sql(statement).collect() == [], "a key that nobody has"
    [row] = lakehouse.sql(statement.replace("your trade_id", "T-1")).collect()
    assert row[0] == facts.config.companies[0].id


def test_the_properties_that_a_page_tells_to_look_for_are_shown(facts: Facts, lakehouse: "SparkSession") -> None:
    [statement] = [
        command.text for command in commands(rendered(facts), ON_DATABRICKS) if command.text.startswith("SHOW TBLPROP")
    ]
    shown = {row[0]: row[1] for row in lakehouse.sql(statement).collect()}
    assert shown["delta.enableChangeDataFeed"] == "true"


def test_the_local_site_has_no_name_of_another_environment(facts: Facts) -> None:
    others = [name for name in facts.config.environments if name != "local"]
    for page, text in rendered(facts).items():
        if Path(page).parts[0] == "runbooks":
            assert not [name for name in others if f"__{name}" in text], page
