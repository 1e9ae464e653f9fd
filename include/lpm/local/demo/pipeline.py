"""The running pipeline as the demo and the end-to-end tests talk to it."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient

from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Company, Config, Environment
from lpm.local.airflow_api import AirflowApi, TaskState
from lpm.local.cloud.parts import ENVIRONMENT, Cloud
from lpm.local.demo.screen import CompanyState
from lpm.local.demo.source import UNKNOWN_COMPANY, Source
from lpm.local.demo.verification import Verdict, verify
from lpm.render import names

LATENCY_WINDOW_SECONDS = 30
DAG_SECONDS = 600
CATCH_UP_SECONDS = 240


@dataclass(frozen=True)
class Strays:
    """Rows that belong into no company's database, in the source and where they ended."""

    unknown_company_rows: int
    unrouted_events: int
    rows_without_company: int
    dead_letters: int

    @property
    def kept(self) -> bool:
        """Whether none was lost. Delivery is at least once, so there may be more events than rows."""
        return self.unrouted_events >= self.unknown_company_rows and self.dead_letters >= self.rows_without_company


@dataclass(frozen=True)
class Pipeline:
    """Everything between the source and the companies' databases of one local cloud."""

    folder: Path
    config: Config
    environment: Environment
    airflow: AirflowApi
    source: Source
    databases: dict[Company, TargetDatabase]

    @classmethod
    def of(cls, cloud: Cloud) -> "Pipeline":
        """The pipeline of a cloud that is up."""
        config, endpoints = cloud.config, cloud.endpoints
        environment = config.environment(ENVIRONMENT)
        os.environ["DATABRICKS_CONFIG_FILE"] = os.devnull  # no profile of the user may steer the SDK elsewhere
        # The stand-in has no host metadata; the SDK then takes what it is given, and says so at length.
        logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
        login = endpoints.airflow.logins[0]
        return cls(
            cloud.folder,
            config,
            environment,
            AirflowApi(endpoints.airflow.url, login.user, login.password),
            Source(
                WorkspaceClient(host=endpoints.databricks.url, token=endpoints.databricks.token),
                environment.databricks.warehouse_id,
                names.source_table(config, environment),
                config.table,
                config.tenants,  # the canaries are for validation alone
            ),
            {
                company: TargetDatabase(
                    config,
                    company,
                    endpoints.postgres.url(names.database(environment, company)),
                    environment.sql.dialect,
                )
                for company in config.companies
            },
        )

    def run_dag(
        self,
        procedure: str,
        conf: dict[str, Any],
        on_change: Callable[[TaskState], None] | None = None,
        seconds: float = DAG_SECONDS,
    ) -> dict[str, Any]:
        """Run a procedure through Airflow and return what its result task says.

        Raises:
            DagRunError: it failed. TimeoutError: it did not end.
        """
        dag_id = f"{procedure}__{self.environment.name}"
        wait_until(lambda: self.airflow.known(dag_id), f"Airflow to read {dag_id}", 120)
        run_id = self.airflow.trigger(dag_id, conf)
        self.airflow.wait(dag_id, run_id, seconds, on_change)
        result: dict[str, Any] = self.airflow.result(dag_id, run_id)
        return result

    def addresses(self, cloud: Cloud) -> dict[str, str]:
        """URL of each company's database."""
        return {
            company.id: cloud.endpoints.postgres.url(names.database(self.environment, company))
            for company in self.databases
        }

    def wait_for_version(self, version: int) -> None:
        """Wait until every company's watermark has reached a version of the source.

        Raises:
            TimeoutError: the message names the companies that have not.
        """
        behind: list[str] = []

        def reached() -> bool:
            behind[:] = [company.id for company, database in self.databases.items() if not _has(database, version)]
            return not behind

        try:
            wait_until(reached, f"version {version}", CATCH_UP_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; behind: {', '.join(behind)}. See `lpm local status`") from None

    def catch_up(self) -> list[Verdict]:
        """Wait until every company has the source's latest version, then compare every value."""
        version = self.source.version()
        self.wait_for_version(version)
        return verify(self.source, self.databases, version)

    def company_states(self, pool: ThreadPoolExecutor, source_version: int) -> list[CompanyState]:
        """The state of every company, asked at the same time."""
        return list(pool.map(lambda company: self._company_state(company, source_version), self.databases))

    def strays(self) -> Strays:
        """Where the rows are that no company gets."""
        table, company = self.source.table_name, self.config.table.company_column
        return Strays(
            self._count(table, f"{company} = '{UNKNOWN_COMPANY}'"),
            len(self.unrouted_events(UNKNOWN_COMPANY)),
            self._count(table, f"{company} IS NULL"),
            self._count(names.dead_letter_table(self.environment), "reason = 'no_company'"),
        )

    def unrouted_events(self, containing: str = "") -> list[str]:
        """Events in the unrouted container, as JSON text."""
        files = (self.folder / "azure").rglob(f"{names.UNROUTED_OUTPUT}.json")
        return [line for file in files for line in file.read_text("utf-8").splitlines() if containing in line]

    def _count(self, table: str, condition: str) -> int:
        [count] = next(self.source.sql(f"SELECT count(*) FROM {table} WHERE {condition}"))
        return int(count or 0)

    def _company_state(self, company: Company, source_version: int) -> CompanyState:
        database = self.databases[company]
        try:
            version = database.watermark()
            return CompanyState(
                company.id,
                rows=database.row_count(),
                version=version,
                lag_versions=max(0, source_version - version),
                latency=database.latency_percentiles(LATENCY_WINDOW_SECONDS),
                foreign_rows=database.foreign_rows(),
                quarantined=sum(database.quarantine_counts().values()),
            )
        except TargetDatabaseError as error:
            return CompanyState(company.id, problem=f"not reachable: {str(error)[:80]}")


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.3)


def _has(database: TargetDatabase, version: int) -> bool:
    try:
        return database.watermark() >= version
    except TargetDatabaseError:  # it is away for a moment, or its tables are not made yet
        return False
