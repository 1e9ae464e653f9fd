"""The parts of the local cloud: one table of what runs, how it is asked whether it is well, and what it needs first."""

import json
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lpm.config import Config
from lpm.local.cloud import airflow
from lpm.local.cloud.environment import clean_environment
from lpm.local.cloud.state import CloudState
from lpm.local.endpoints import Airflow, Azure, Databricks, Endpoints, EventHubs, Postgres
from lpm.local.event_hubs.server import EventHubsServer, Ports
from lpm.local.kafka import Broker
from lpm.local.postgres import USER, Server
from lpm.local.processes import LOOPBACK

ENVIRONMENT = "local"  # the environment of the configuration that this cloud is


@dataclass(frozen=True)
class Part:
    """One process that supervisord keeps running."""

    name: str
    address: str
    prepare: Callable[[], list[str]]  # does what is needed before the first start, returns the command
    healthy: Callable[[], bool]
    environment: Mapping[str, str]
    depends_on: tuple[str, ...] = ()
    then: Callable[[], None] | None = None  # done once, when the part is healthy
    user: str | None = None  # another account to run as
    stop_signal: signal.Signals = field(default=signal.SIGTERM)


class Cloud:
    """One cloud folder: its services, its addresses and its parts."""

    def __init__(self, folder: Path, state: CloudState, config: Config) -> None:
        self.folder = folder
        self.state = state
        self.config = config
        self.broker = Broker(folder / "kafka", state.ports["kafka"])
        self.server = Server(folder / "postgres", state.ports["postgres"])
        self.event_hubs = EventHubsServer(
            folder / "event-hubs",
            Ports(*(state.ports[f"event-hubs{which}"] for which in ("", "-plain", "-control"))),
            self.broker.bootstrap,
            self.broker.connection_string,
            state.azure_identity_header,
        )
        self.endpoints = Endpoints(
            kafka=self.broker.bootstrap,
            kafka_connection_string=self.broker.connection_string,
            event_hubs=EventHubs(
                endpoint=self.event_hubs.endpoint,
                ca_file=self.event_hubs.ca_file,
                development_connection_string=self.event_hubs.development_connection_string,
                control_url=self.event_hubs.control_url,
            ),
            postgres=Postgres(host=LOOPBACK, port=self.server.port, user=USER, password=self.server.password),
            databricks=Databricks(url=state.url("databricks"), token=state.databricks_token),
            azure=Azure(url=state.url("azure"), identity_header=state.azure_identity_header),
            airflow=Airflow(url=state.url("airflow"), logins=airflow.LOGINS),
        )

    def parts(self) -> tuple[Part, ...]:
        """The table. A part is started when those it depends on are healthy."""
        endpoints, clean = self.endpoints, clean_environment()
        kafka = Part("kafka", endpoints.kafka, self.broker.prepare, self.broker.answers, clean)
        event_hubs = Part(
            "event-hubs",
            endpoints.event_hubs.endpoint,
            self.event_hubs.prepare,
            self.event_hubs.answers,
            {**clean, **self.event_hubs.secrets},
            depends_on=("kafka",),
        )
        postgres = Part(
            "postgres",
            f"{LOOPBACK}:{endpoints.postgres.port}",
            self.server.prepare,
            self.server.answers,
            clean,
            then=self._create_databases,
            user=self.server.user,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
        )
        databricks = Part(
            "databricks",
            endpoints.databricks.url,
            partial(self._stand_in, "databricks"),
            partial(_answers, f"{endpoints.databricks.url}/stand-in/health", endpoints.databricks.token),
            {**clean, "LPM_DATABRICKS_TOKEN": endpoints.databricks.token},
        )
        azure = Part(
            "azure",
            endpoints.azure.url,
            partial(self._stand_in, "azure", *self._azure_options()),
            partial(_answers, f"{endpoints.azure.url}/health"),
            {
                **clean,
                "LPM_KAFKA_CONNECTION_STRING": endpoints.kafka_connection_string,
                "LPM_POSTGRES_PASSWORD": endpoints.postgres.password,
                "IDENTITY_HEADER": endpoints.azure.identity_header,
            },
            depends_on=("kafka", "postgres"),
        )
        return kafka, event_hubs, postgres, databricks, azure, *self._airflow()

    def _airflow(self) -> tuple[Part, ...]:
        folder = self.folder / "airflow"
        environment = airflow.environment(folder, self.state, self.endpoints, self.config, ENVIRONMENT)
        url = self.endpoints.airflow.url

        def command(*arguments: str) -> list[str]:
            folder.mkdir(parents=True, exist_ok=True)
            airflow.prepare(folder, environment)
            return airflow.component_command(*arguments)

        # Their log servers listen on all addresses; the api-server reads the same files without them.
        alone = "--skip-serve-logs"
        commands = {
            "metadatabase": ["api-server"],
            "scheduler": ["scheduler", alone],
            "dag_processor": ["dag-processor"],
            "triggerer": ["triggerer", alone],
        }
        return tuple(
            Part(
                f"airflow-{arguments[0]}",
                url if arguments[0] == "api-server" else "",
                partial(command, *arguments),
                partial(_airflow_says, url, component),
                environment,
            )
            for component, arguments in commands.items()
        )

    def _stand_in(self, name: str, *options: str) -> list[str]:
        place = ["--host", LOOPBACK, "--port", str(self.state.ports[name]), "--folder", str(self.folder / name)]
        return [sys.executable, "-m", f"lpm.local.{name}.serve", *place, *options]

    def _azure_options(self) -> list[str]:
        postgres = self.endpoints.postgres
        hubs = ["--kafka-bootstrap", self.endpoints.kafka, "--event-hubs", self.endpoints.event_hubs.control_url]
        return [*hubs, "--postgres-host", postgres.host, "--postgres-port", str(postgres.port)]

    def _create_databases(self) -> None:
        for database in self.config.environment(ENVIRONMENT).databases.values():
            self.server.create_database(database.database)


def _answers(url: str, token: str = "") -> bool:
    return _get(url, token) is not None


def _airflow_says(url: str, component: str) -> bool:
    answer = _get(f"{url}/api/v2/monitor/health")
    return answer is not None and answer.get(component, {}).get("status") == "healthy"


def _get(url: str, token: str = "") -> dict[str, Any] | None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # An opener of its own: no proxy, whatever the caller's environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=5) as response:  # noqa: S310  our own
            answer: dict[str, Any] = json.load(response)
            return answer
    except (OSError, ValueError):
        return None
