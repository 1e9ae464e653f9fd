"""Addresses and logins of the running local cloud, for whoever talks to it (demo, tests, people)."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lpm.local import paths
from lpm.local.files import write_atomically


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Postgres(_Model):
    """The server with one database per company."""

    host: str
    port: int
    user: str
    password: str

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one database, for the driver psycopg."""
        return f"postgresql+psycopg://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


class Databricks(_Model):
    """The workspace."""

    url: str
    token: str


class Azure(_Model):
    """Resource Manager, and the secret that its managed-identity endpoint wants."""

    url: str
    identity_header: str

    @property
    def identity_endpoint(self) -> str:
        """Value of ``IDENTITY_ENDPOINT`` for azure-identity."""
        return f"{self.url}/msi/token"


class EventHubs(_Model):
    """The AMQP side of the hubs. Their policy and key are those of the connection string for Kafka."""

    endpoint: str  # host:port of AMQP over TLS
    ca_file: Path  # certificate of the authority that clients have to trust
    development_connection_string: str  # for clients that come without TLS
    control_url: str  # HTTP: health and faults


class Login(_Model):
    """A person who can log in to Airflow."""

    user: str
    password: str
    role: Literal["admin", "op", "user", "viewer"]


class Airflow(_Model):
    """The Airflow UI and API. The first login is the administrator."""

    url: str
    logins: tuple[Login, ...]


class Endpoints(_Model):
    """Everything that has an address."""

    kafka: str  # host:port
    kafka_connection_string: str
    event_hubs: EventHubs
    postgres: Postgres
    databricks: Databricks
    azure: Azure
    airflow: Airflow

    @classmethod
    def load(cls, folder: Path | None = None) -> "Endpoints":
        """Those of the local cloud in ``folder`` (default: this checkout's).

        Raises:
            FileNotFoundError: it was never started; the message says how to.
        """
        path = endpoints_file(folder)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist: start the local cloud with `lpm local up`")
        return cls.model_validate_json(path.read_text())

    def save(self, folder: Path | None = None) -> None:
        """Write the file that :meth:`load` reads. It holds passwords: only its owner may read it."""
        write_atomically(endpoints_file(folder), self.model_dump_json(indent=2).encode(), mode=0o600)


def endpoints_file(folder: Path | None = None) -> Path:
    """``endpoints.json`` of a cloud folder."""
    return (folder or paths.cloud_folder()) / "endpoints.json"
