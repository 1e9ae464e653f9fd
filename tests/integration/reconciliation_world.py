"""A source on the Databricks stand-in and one real database per company, with events delivered as the router would."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from lpm.clients.databricks import DatabricksClient
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, Environment, load_config
from lpm.config.models import Database
from lpm.contract.envelope import event_expressions, row_expressions, spark_type
from lpm.contract.sequence import Rank
from lpm.local.demo.source import Source as DemoSource
from lpm.local.postgres import Server
from lpm.procedures.reconciliation.company import CompanyReconciliation, Findings, Request
from lpm.procedures.reconciliation.source import Source
from lpm.render import names

ROWS = 120
COMPANIES = 4  # enough for rows to move between; each costs every round some statements


class World:
    """Names of tables and databases are its own."""

    def __init__(self, databricks: DatabricksClient, postgres: Server) -> None:
        mark = f"r{uuid4().hex[:6]}"
        self.databricks = databricks
        config = load_config()
        self.config: Config = config.model_copy(update={"companies": config.companies[:COMPANIES]})
        local = config.environment("local")
        schemas = {"source_schema": f"{mark}_gold", "pipeline_schema": f"{mark}_lpm"}
        databases = {
            company.id: Database(server="local", database=f"{mark}_{number}")
            for number, company in enumerate(self.config.companies)
        }
        self.environment: Environment = local.model_copy(
            update={"databricks": local.databricks.model_copy(update=schemas), "databases": databases}
        )
        self.source = Source(self.config, self.environment, databricks)
        self.table = names.source_table(self.config, self.environment)
        self.databases: dict[str, TargetDatabase] = {}
        for company in self.config.companies:
            postgres.create_database(databases[company.id].database)
            url = postgres.url(databases[company.id].database)
            self.databases[company.id] = TargetDatabase(self.config, company, url, "postgresql")
            self.databases[company.id].apply_schema()
        for schema in (self.environment.source_schema, self.environment.pipeline_schema):
            self.sql(f"CREATE SCHEMA {schema}")
        # The demo's rows: every type, moves between companies, deletes. It only writes texts here.
        self.rows = DemoSource(None, "", self.table, self.config.table, self.config.companies)  # type: ignore[arg-type]
        columns = ", ".join(f"`{column.name}` {spark_type(column.type)}" for column in self.config.table.columns)
        self.sql(f"CREATE TABLE {self.table} ({columns}) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true)")
        self.insert(0, ROWS)

    @property
    def companies(self) -> tuple[Company, ...]:
        return self.config.companies

    def sql(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, str | None]]:
        return self.databricks.sql(statement, parameters)

    def insert(self, first: int, count: int) -> None:
        self.sql(f"INSERT INTO {self.table} {self.rows._rows(first, count, 0)}")

    def version(self) -> int:
        return self.source.latest_version()

    def events(self, first: int, last: int) -> dict[str, list[dict[str, Any]]]:
        """The events of a range of versions by company, as the stream job sends them."""
        event = event_expressions(self.config.table, "version", "CAST(NULL AS TIMESTAMP)")
        changes = self.source.queries._changes(first, last)
        value = f"IF(rank = {Rank.UPSERT}, {event.upsert}, {event.delete})"
        found = self.sql(f"SELECT company, {value} AS value FROM ({changes}) WHERE sendable")
        events: dict[str, list[dict[str, Any]]] = {}
        for row in found:
            company = self.company(str(row["company"]))
            if company is not None:
                body = json.loads(str(row["value"]))
                partition = company.partitions[body["bucket"] % len(company.partitions)]
                events.setdefault(company.id, []).append({**body, "partition_id": partition})
        return events

    def company(self, company_id: str) -> Company | None:
        return next((each for each in self.companies if each.id == company_id), None)

    def deliver(self, first: int, last: int, *, heartbeat: bool = True) -> None:
        """Bring the events of those versions into the databases, then their heartbeat."""
        for company_id, events in self.events(first, last).items():
            self.databases[company_id].insert_inbox(events)
        if heartbeat:
            self.heartbeat(last)

    def heartbeat(self, version: int, only: Iterable[Company] | None = None) -> None:
        for company in self.companies if only is None else only:
            self.databases[company.id].insert_inbox(
                {"op": "heartbeat", "info_companyid": company.id, "version": version, "partition_id": partition}
                for partition in company.partitions
            )

    def compare(self, company: Company, through: int, **request: Any) -> Findings:
        """One company's reconciliation, without waiting for anything."""
        wanted = Request(**{"grace_seconds": 0.0, "wait_seconds": 0.0, **request})
        return CompanyReconciliation(self.source, self.databases[company.id], through, wanted).run()

    def tamper(self, company: Company, statement: str) -> None:
        """Change a database by hand. ``{target}`` is the company's table."""
        with self.databases[company.id]._transaction() as connection:
            connection.exec_driver_sql(statement.format(target=names.target_table(self.config)))

    def merge_statement(self, first: int, count: int, generation: int) -> str:
        """The demo's merge: updates, moves to other companies, deletes."""
        statements: list[str] = []
        recorder = replace(self.rows)
        object.__setattr__(recorder, "run", statements.append)
        recorder.merge(first, count, generation)
        return statements[0]

    def copy_row(self, giver: Company, key_hash: str, taker: Company, as_key_hash: str) -> None:
        """Put a copy of one company's row into a database, perhaps another one, by hand."""
        target = names.target_table(self.config)
        columns = [each.name for each in self.config.table.columns]
        lpm = ["lpm_bucket", "lpm_version", "lpm_row_hash", "lpm_applied_at"]
        listed = ", ".join([*columns, *lpm])
        [row] = self.databases[giver.id].query(
            f"SELECT {listed} FROM {target} WHERE lpm_key_hash = decode(:key, 'hex')", {"key": key_hash}
        )
        values = dict(zip([*columns, *lpm], row, strict=True))
        values |= {"lpm_key_hash": bytes.fromhex(as_key_hash), "lpm_bucket": int(as_key_hash[:4], 16)}
        with self.databases[taker.id]._transaction() as connection:
            connection.execute(
                text(f"INSERT INTO {target} ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"),
                values,
            )

    def update_by_key(self, company: Company, key_hash: str, column: str, value: str) -> None:
        """Update one row of the source."""
        row = row_expressions(self.config.table)
        self.sql(
            f"UPDATE {self.table} SET {column} = :value WHERE {row.company} = :company AND sha2({row.key}, 256) = :key",
            {"value": value, "company": company.id, "key": key_hash},
        )

    def restore(self) -> None:
        """Every database anew from the source as it is."""
        version = self.version()
        rows = self.source.queries._rows(f"{self.table} VERSION AS OF {version}")
        event = event_expressions(self.config.table, f"{version}L", "CAST(NULL AS TIMESTAMP)").upsert
        events: dict[str, list[dict[str, Any]]] = {}
        for found in self.sql(f"SELECT company, {event} AS value FROM ({rows}) WHERE sendable"):
            events.setdefault(str(found["company"]), []).append(json.loads(str(found["value"])))
        for company in self.companies:
            self.tamper(company, "TRUNCATE {target}, lpm.tombstone, lpm.quarantine")
            bodies = events.get(company.id, [])
            self.databases[company.id].insert_inbox({**body, "partition_id": company.partitions[0]} for body in bodies)
        self.heartbeat(version)

    def a_key(self, company: Company, number: int = 0) -> str:
        """Key hash of the n-th row of a company's database."""
        target = names.target_table(self.config)
        found = self.databases[company.id].query(
            f"SELECT encode(lpm_key_hash, 'hex') FROM {target} ORDER BY lpm_key_hash OFFSET {number} LIMIT 1"
        )
        return str(found[0][0])

    def close(self) -> None:
        for database in self.databases.values():
            database.close()
