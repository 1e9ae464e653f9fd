"""``lpm demo``: bring the local cloud up, go live through Airflow, keep traffic running, show and check it."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from databricks.sdk import WorkspaceClient
from rich.console import Console
from rich.live import Live

from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Company, Config, Environment, load_config
from lpm.local import paths
from lpm.local.airflow_api import AirflowApi, TaskState
from lpm.local.cloud import control
from lpm.local.demo.screen import CompanyState, Summary, screen
from lpm.local.demo.source import UNKNOWN_COMPANY, Source
from lpm.local.demo.traffic import INSERTED, Traffic
from lpm.local.demo.verification import Verdict, verify
from lpm.local.endpoints import Endpoints
from lpm.render import names

FIRST_ROWS = 5_000
ONCE_ROUNDS = 60  # about a minute of traffic
GO_LIVE_SECONDS = 600
CATCH_UP_SECONDS = 180
LATENCY_WINDOW_SECONDS = 30

console = Console()


@dataclass(frozen=True)
class Pipeline:
    """Everything the demo talks to."""

    config: Config
    environment: Environment
    source: Source
    databases: dict[Company, TargetDatabase]

    def company_states(self, pool: ThreadPoolExecutor, source_version: int) -> list[CompanyState]:
        """The state of every company, asked at the same time."""
        return list(pool.map(lambda company: self._company_state(company, source_version), self.databases))

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


def demo(*, once: bool) -> int:
    """Run until Ctrl-C, or with ``once`` a fixed amount of traffic: then 0 says that source and targets are equal.

    Raises:
        CloudError, RuntimeError, TimeoutError: a part did not do its work; the message says which and where to look.
    """
    started = time.monotonic()
    os.environ["DATABRICKS_CONFIG_FILE"] = os.devnull  # no profile of the user may steer the SDK elsewhere
    cloud = control.up(console.print)
    endpoints = cloud.endpoints
    pipeline = _pipeline(endpoints)
    console.print(f"source: {pipeline.source.table_name} with its first rows")
    pipeline.source.create(FIRST_ROWS)
    _go_live(endpoints, pipeline.environment.name)
    _wait_for_version(pipeline, 0, "first rows")
    console.print(f"[green]first rows visible after {time.monotonic() - started:.0f} s[/]")
    _print_addresses(endpoints)
    version = pipeline.source.version()
    traffic = Traffic(pipeline.source, FIRST_ROWS + version * INSERTED, ONCE_ROUNDS if once else None)
    traffic.start()
    try:
        _watch(pipeline, traffic)
    except KeyboardInterrupt:
        console.print("stopping the traffic; the local cloud keeps running (`.venv/bin/lpm local down` stops it)")
        traffic.stop()
        traffic.join()
        return 0
    return _verdict(pipeline, traffic)


def _pipeline(endpoints: Endpoints) -> Pipeline:
    config = load_config()
    environment = config.environment("local")
    # The stand-in has no host metadata; the SDK then takes what it is given, and says so at length.
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
    workspace = WorkspaceClient(host=endpoints.databricks.url, token=endpoints.databricks.token)
    source = Source(
        workspace,
        environment.databricks.warehouse_id,
        names.source_table(config, environment),
        config.table,
        config.companies,
    )
    databases = {
        company: TargetDatabase(
            config, company, endpoints.postgres.url(environment.databases[company.id].database), "postgresql"
        )
        for company in config.companies
    }
    return Pipeline(config, environment, source, databases)


def _go_live(endpoints: Endpoints, environment: str) -> None:
    login = endpoints.airflow.logins[0]
    airflow = AirflowApi(endpoints.airflow.url, login.user, login.password)
    dag_id = f"go_live__{environment}"
    _await(lambda: airflow.known(dag_id), f"Airflow to read {dag_id}", 120)
    run_id = airflow.trigger(dag_id, {"reason": "make demo"})
    console.print(f"go_live: {airflow.page(dag_id, run_id)}", soft_wrap=True)  # an address must stay on one line
    begun = time.monotonic()

    def show(task: TaskState) -> None:
        if task.state in ("success", "failed", "up_for_retry"):
            console.print(f"  {time.monotonic() - begun:5.1f} s  {task.task:<24} {task.state}")

    airflow.wait(dag_id, run_id, GO_LIVE_SECONDS, show)
    console.print(airflow.result(dag_id, run_id).get("summary", ""), markup=False)


def _print_addresses(endpoints: Endpoints) -> None:
    logins = ", ".join(f"{login.user}/{login.password} ({login.role})" for login in endpoints.airflow.logins)
    console.print(f"Airflow: [bold]{endpoints.airflow.url}[/]   logins: {logins}")
    console.print("every part, its log and memory: .venv/bin/lpm local status")


def _watch(pipeline: Pipeline, traffic: Traffic) -> None:
    """Show the screen until the traffic ends."""
    begun = time.monotonic()
    source_version = pipeline.source.version()
    # A terminal is redrawn every second; a log gets a picture every fifteen.
    pause = 1.0 if console.is_terminal else 15.0
    with ThreadPoolExecutor(8) as pool, Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            running = traffic.is_alive()
            with contextlib.suppress(RuntimeError, OSError, httpx.HTTPError):  # away for a moment: show what is known
                source_version = pipeline.source.version()
            seconds = time.monotonic() - begun
            summary = Summary(source_version, traffic.rows, traffic.rows / seconds, seconds)
            picture = screen(summary, pipeline.company_states(pool, source_version))
            if console.is_terminal:
                live.update(picture, refresh=True)
            else:
                console.print(picture)
            if not running:
                return
            traffic.join(pause)


def _verdict(pipeline: Pipeline, traffic: Traffic) -> int:
    if traffic.failure:
        console.print(f"[red]the traffic failed: {traffic.failure}[/]")
        return 1
    version = pipeline.source.version()
    console.print(f"waiting until every company has reached version {version}")
    _wait_for_version(pipeline, version, f"version {version}")
    verdicts = [verify(pipeline.source, company, database, version) for company, database in pipeline.databases.items()]
    for verdict in verdicts:
        _print_verdict(verdict)
    strays = _check_strays(pipeline, version)
    equal = all(verdict.equal for verdict in verdicts) and strays
    console.print("[green]source = targets[/]" if equal else "[red]source and targets differ[/]")
    return 0 if equal else 1


def _print_verdict(verdict: Verdict) -> None:
    if verdict.equal:
        console.print(f"  [green]{verdict.company}: {verdict.rows} rows, every value equal[/]")
        return
    console.print(f"  [red]{verdict.company}: {len(verdict.differences)} differences[/]")
    for difference in verdict.differences[:5]:
        console.print(f"    {difference}", markup=False)


def _check_strays(pipeline: Pipeline, version: int) -> bool:
    """Rows of the unknown company lie in the unrouted output, rows without a company in the dead-letter table."""
    table, company = pipeline.source.table_name, pipeline.config.table.company_column
    count = "SELECT count(*) FROM {} WHERE {}"
    [unknown] = next(
        pipeline.source.sql(count.format(f"{table} VERSION AS OF {version}", f"{company} = '{UNKNOWN_COMPANY}'"))
    )
    [without] = next(pipeline.source.sql(count.format(f"{table} VERSION AS OF {version}", f"{company} IS NULL")))
    dead_letters = names.dead_letter_table(pipeline.environment)
    [dead] = next(pipeline.source.sql(count.format(dead_letters, "reason = 'no_company'")))
    unrouted = _unrouted_events()
    console.print(f"  unknown company: {unknown} rows in the source, {unrouted} events unrouted")
    console.print(f"  no company: {without} rows in the source, {dead} dead letters")
    # Delivery is at least once: more events than rows is right, fewer is a loss.
    return unrouted >= int(unknown or 0) and int(dead or 0) >= int(without or 0)


def _unrouted_events() -> int:
    files = (paths.cloud_folder() / "azure").rglob(f"{names.UNROUTED_OUTPUT}.json")
    return sum(
        line.count(f'"{UNKNOWN_COMPANY}"') > 0
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
    )


def _wait_for_version(pipeline: Pipeline, version: int, what: str) -> None:
    behind: Sequence[str] = [company.id for company in pipeline.databases]

    def reached() -> bool:
        nonlocal behind
        behind = [company.id for company, database in pipeline.databases.items() if database.watermark() < version]
        return not behind

    try:
        _await(reached, what, CATCH_UP_SECONDS)
    except TimeoutError as error:
        raise TimeoutError(f"{error}; behind: {', '.join(behind)}. See `lpm local status`") from None


def _await(condition: Callable[[], bool], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.3)
