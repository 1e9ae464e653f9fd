"""The real Airflow with its four components, tuned for one machine: LocalExecutor, SQLite, loopback only."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from lpm.clients.event_hubs import CA_FILE, ENDPOINT
from lpm.clients.event_hubs_secrets import CONNECTION_STRING
from lpm.config import Config, Environment
from lpm.local import paths, processes
from lpm.local.cloud.environment import clean_environment
from lpm.local.cloud.state import CloudState
from lpm.local.endpoints import Endpoints, Login
from lpm.local.files import write_atomically
from lpm.render.names import EVIDENCE_VARIABLE, LOCAL_KAFKA_VARIABLE, UNROUTED_VARIABLE

LOGINS = (
    Login(user="admin", password="admin", role="admin"),  # noqa: S106  this Airflow listens on loopback only
    Login(user="ops", password="ops", role="op"),  # noqa: S106  as above
    Login(user="viewer", password="viewer", role="viewer"),  # noqa: S106  as above
)
_migrating = threading.Lock()


def environment(folder: Path, state: CloudState, endpoints: Endpoints, config: Config, name: str) -> dict[str, str]:
    """Environment of every Airflow component, for the environment ``name`` of the configuration."""
    local = config.environment(name)
    return {
        **clean_environment(),
        **_settings(folder, state),
        **_connections(local, endpoints),
        # azure-identity asks this address for tokens, as it would on an Azure machine with a managed identity.
        "IDENTITY_ENDPOINT": endpoints.azure.identity_endpoint,
        "IDENTITY_HEADER": endpoints.azure.identity_header,
        "LPM_ENVIRONMENTS": name,
        LOCAL_KAFKA_VARIABLE: endpoints.kafka,
        EVIDENCE_VARIABLE: str(folder / "evidence"),
        # Where the stand-in for Azure keeps the container (lpm.local.azure.settings).
        UNROUTED_VARIABLE: str(
            folder.parent / "azure" / "storage" / local.storage.account / local.storage.unrouted_container
        ),
    }


def prepare(folder: Path, environment: Mapping[str, str]) -> None:
    """Write the passwords and bring the database to this version of Airflow. Quick when nothing changed.

    Raises:
        RuntimeError: ``airflow db migrate`` failed; the message has the end of its output.
    """
    with _migrating:  # all components ask for it at the same time
        marker, wanted = folder / "migrated", version("apache-airflow-core")
        if marker.exists() and marker.read_text() == wanted and (folder / "airflow.db").exists():
            return
        if not marker.exists():  # a first migration that was killed leaves a database that no other can finish
            (folder / "airflow.db").unlink(missing_ok=True)
        passwords = {login.user: login.password for login in LOGINS}
        write_atomically(folder / "passwords.json", json.dumps(passwords).encode(), mode=0o600)
        log = folder / "migrate.log"
        with log.open("wb") as output:
            command = component_command("db", "migrate")
            done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"airflow db migrate failed. End of {log}:\n{processes.tail(log)}")
        write_atomically(marker, wanted.encode())


def metadata_database(folder: Path) -> str:
    """Address of Airflow's SQLite database in a folder. Who writes waits for others who do, up to a minute: on busy
    processors somebody has kept the lock for more than SQLite's own 5 s, and a trigger was refused."""
    return f"sqlite:///{folder / 'airflow.db'}?timeout=60"


def component_command(*arguments: str) -> list[str]:
    """The command of an Airflow component."""
    return [sys.executable, "-m", "airflow", *arguments]


def _settings(folder: Path, state: CloudState) -> dict[str, str]:
    checkout = paths.checkout()
    sections: dict[str, dict[str, object]] = {
        "CORE": {
            "DAGS_FOLDER": checkout / "dags",
            "PLUGINS_FOLDER": checkout / "plugins",
            "EXECUTOR": "LocalExecutor",
            "LOAD_EXAMPLES": False,
            "DAGS_ARE_PAUSED_AT_CREATION": False,
            "PARALLELISM": 4,  # so many workers are started beforehand
            "FERNET_KEY": state.airflow_fernet_key,
            "SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{login.user}:{login.role}" for login in LOGINS),
            "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": folder / "passwords.json",
        },
        "DATABASE": {"SQL_ALCHEMY_CONN": metadata_database(folder)},
        "SCHEDULER": {"SCHEDULER_IDLE_SLEEP_TIME": 0.5},
        "WORKERS": {"MIN_HEARTBEAT_INTERVAL": 1},
        # A changed file is parsed at the next refresh all the same. All of them every 10 s took a quarter of two cores.
        "DAG_PROCESSOR": {"REFRESH_INTERVAL": 10, "MIN_FILE_PROCESS_INTERVAL": 120},
        "API": {
            "HOST": processes.LOOPBACK,
            "PORT": state.ports["airflow"],
            "BASE_URL": state.url("airflow"),
            "SECRET_KEY": state.airflow_secret_key,
        },
        "API_AUTH": {"JWT_SECRET": state.airflow_jwt_secret},
        "LOGGING": {"BASE_LOG_FOLDER": folder / "logs"},
        "USAGE_DATA_COLLECTION": {"ENABLED": False},
    }
    values = {
        f"AIRFLOW__{section}__{name}": str(value)
        for section, names in sections.items()
        for name, value in names.items()
    }
    return {"AIRFLOW_HOME": str(folder), **values}


def _connections(local: Environment, endpoints: Endpoints) -> dict[str, str]:
    postgres = endpoints.postgres
    host, _, port = endpoints.databricks.url.removeprefix("http://").partition(":")
    connections = {
        local.databricks.connection: {
            "conn_type": "databricks",
            "schema": "http",
            "host": host,
            "port": int(port),
            "password": endpoints.databricks.token,
        },
        local.azure.connection: {
            "conn_type": "azure",
            "host": endpoints.azure.url,
            "extra": {
                "use_azure_identity_object": True,
                CONNECTION_STRING: endpoints.kafka_connection_string,  # bootstrap puts it into Databricks' secrets
                ENDPOINT: endpoints.event_hubs.endpoint,
                CA_FILE: str(endpoints.event_hubs.ca_file),
            },
        },
        local.sql.connection: {
            "conn_type": "generic",
            "host": postgres.host,
            "port": postgres.port,
            "login": postgres.user,
            "password": postgres.password,
        },
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
