"""The databases of the companies: whether they answer, and how far away they are from Airflow."""

import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Company, Config, Environment
from lpm.procedures.assess.facts import UNAVAILABLE, Answer, Fact
from lpm.procedures.percentile import percentile
from lpm.render.names import STATE_SCHEMA

ROUND_TRIPS = 20  # of each database, after one that opens the connection
AT_ONCE = 8
_HAS_TABLES = {
    "postgresql": f"SELECT to_regclass('{STATE_SCHEMA}.watermark') IS NOT NULL",
    "mssql": f"SELECT CASE WHEN OBJECT_ID(N'{STATE_SCHEMA}.watermark', N'U') IS NULL THEN 0 ELSE 1 END",
}


@dataclass(frozen=True)
class Look:
    """What one database said. Without ``trips`` it did not answer, and ``reason`` says why. Times are milliseconds."""

    trips: tuple[float, ...] = ()
    has_schema: bool = False
    reason: str = ""

    @property
    def p50(self) -> float:
        """Median round trip."""
        return round(statistics.median(self.trips), 2)

    @property
    def p95(self) -> float:
        """95th percentile of the round trips."""
        return round(percentile(sorted(self.trips), 0.95), 2)


def measure_targets(config: Config, environment: Environment) -> list[Fact]:
    """Every fact of the part ``targets``. A database that does not answer is a fact, not an error.

    Raises:
        airflow.exceptions.AirflowNotFoundException: there is no Airflow connection to the databases.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        looks = threads.map(lambda company: look(config, environment, company), config.companies)
        return facts_of({company.id: found for company, found in zip(config.companies, looks, strict=True)})


def look(config: Config, environment: Environment, company: Company) -> Look:
    """Ask one company's database."""
    try:
        with (
            TargetDatabase.connect(config, environment, company) as database,
            database.transaction("AUTOCOMMIT") as connection,  # else each question would be three round trips
        ):
            has_schema = bool(connection.exec_driver_sql(_HAS_TABLES[database.dialect]).scalar())
            trips = []
            for _ in range(ROUND_TRIPS):
                begin = time.perf_counter()
                connection.exec_driver_sql("SELECT 1").scalar()
                trips.append(1000 * (time.perf_counter() - begin))
            return Look(tuple(trips), has_schema)
    except TargetDatabaseError as error:
        return Look(reason=str(error).partition("\n")[0])


def facts_of(looks: Mapping[str, Look]) -> list[Fact]:
    """The facts of all looks, by company."""
    asked = Answer(f"SELECT 1, {ROUND_TRIPS} times, of each company's database from Airflow", datetime.now(UTC), [])
    answering = {company: found for company, found in looks.items() if found.trips}
    ready = [company for company, found in answering.items() if found.has_schema]
    everyone = f"all {len(looks)}"
    return [
        asked.fact(
            "targets_reachable",
            len(answering),
            values={company: found.reason for company, found in looks.items() if not found.trips},
            needed=everyone,
            meets=len(answering) == len(looks),
        ),
        asked.fact(
            "targets_with_schema",
            len(ready),
            values={company: "no tables of the pipeline" for company in answering if company not in ready},
            needed=f"{everyone} (bootstrap does it)",
            meets=len(ready) == len(looks),
        ),
        _slowest(asked, "round_trip_ms_p50", {company: found.p50 for company, found in answering.items()}),
        _slowest(asked, "round_trip_ms_p95", {company: found.p95 for company, found in answering.items()}),
    ]


def _slowest(asked: Answer, name: str, times: Mapping[str, float]) -> Fact:
    if not times:
        return asked.fact(name, None, note=f"{UNAVAILABLE}no database answers")
    slowest: Sequence[str] = sorted(times, key=lambda company: times[company], reverse=True)
    return asked.fact(name, times[slowest[0]], values={company: times[company] for company in slowest})
