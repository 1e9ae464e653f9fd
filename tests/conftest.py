"""Fixtures that every test may use. Services start when the first test asks for them and serve the whole session."""

import atexit
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lpm.local import paths
from lpm.local import spark as local_spark
from lpm.local.event_hubs.server import EventHubsServer, Ports
from lpm.local.kafka import Broker
from lpm.local.postgres import Server

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]

# Airflow reads its environment at the first import, so it is set before any test module is. No test may touch the
# AIRFLOW_HOME of the person who runs the tests, nor connections that they have in their environment.
for name in [name for name in os.environ if name.startswith(("AIRFLOW", "LPM_"))]:
    if not name.startswith("LPM_TEST_") and name != "LPM_HOME":
        del os.environ[name]
AIRFLOW_HOME = tempfile.mkdtemp(prefix="lpm-airflow-")
atexit.register(shutil.rmtree, AIRFLOW_HOME, ignore_errors=True)
os.environ.update(
    {
        "AIRFLOW_HOME": AIRFLOW_HOME,
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME}/airflow.db",
        "NO_MKDOCS_2_WARNING": "1",
    }
)
for name in ("NO_PROXY", "no_proxy"):  # a company proxy does not know our loopback
    os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))

# Tests of these folders start services; `make check` leaves them out.
SLOW_FOLDERS = ("integration", "e2e")

# Without these, a browser in a closed network tries to reach its maker at every start.
QUIET = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

AIRFLOW_WARNINGS = (
    "airflow.utils.deprecation_tools.DeprecatedImportWarning",
    "airflow.exceptions.RemovedInAirflow4Warning",
    "airflow.sdk.exceptions.RemovedInAirflow4Warning",
)


def pytest_configure(config: pytest.Config) -> None:
    for folder in SLOW_FOLDERS:
        config.addinivalue_line("markers", f"{folder}: tests of tests/{folder}, which start services")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in SLOW_FOLDERS:
            item.add_marker(folder)
        if folder == "dags":  # only there: a filter of Airflow's own classes costs five seconds to import
            for warning in AIRFLOW_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"error::{warning}"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running Kafka broker."""
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def event_hubs(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventHubsServer]:
    """The AMQP side of Event Hubs over the broker of ``kafka``. Take back the faults that you ask for."""
    folder, header = tmp_path_factory.mktemp("event-hubs"), secrets.token_hex(16)
    with EventHubsServer(folder, Ports.free(), kafka.bootstrap, kafka.connection_string, header) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running PostgreSQL server. Make a database of your own with ``create_database``."""
    with Server(tmp_path_factory.mktemp("postgres")) as server:
        yield server
    server.delete()


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """A Spark session with Delta and Kafka, and a warehouse folder of its own. One JVM for all tests."""
    session = local_spark.session(tmp_path_factory.mktemp("warehouse"), "lpm-tests")
    yield session
    session.stop()


@pytest.fixture(scope="module")  # while Playwright runs, nothing else in this process can run an event loop
def browser() -> Iterator[Any]:
    """A headless Chromium: the machine's own, else one that Playwright fetches; skipped where neither can be had."""
    from playwright.sync_api import Error, sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        _fetch_chromium()
    with sync_playwright() as playwright:
        arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        try:
            chromium = playwright.chromium.launch(executable_path=found, args=arguments)
        except Error as error:
            pytest.skip(f"no Chromium: none is installed, and fetching one failed ({str(error).splitlines()[0]})")
        yield chromium
        chromium.close()


def _fetch_chromium() -> None:
    """Let Playwright fetch a Chromium into the state folder, where it then looks for it, as does the next run."""
    os.environ["PLAYWRIGHT_BROWSERS_PATH"] = str(paths.home() / "browsers")
    command = [sys.executable, "-m", "playwright", "install", "chromium", "--only-shell"]
    with contextlib.suppress(subprocess.TimeoutExpired):  # the launch then says what is missing
        subprocess.run(command, capture_output=True, check=False, timeout=120)
