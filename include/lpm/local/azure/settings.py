"""What the stand-in is started with."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

CONNECTION_STRING_USER = "$ConnectionString"  # literally; Event Hubs' own way of passing one over Kafka


@dataclass(frozen=True)
class Kafka:
    """The local broker. The password is a connection string, as with Event Hubs."""

    bootstrap: str
    protocol: str = "SASL_PLAINTEXT"
    connection_string: str = field(default="", repr=False)

    def client_settings(self) -> dict[str, str | int | float | bool]:
        """Settings of a confluent-kafka client."""
        settings: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.protocol,
        }
        if self.protocol.startswith("SASL"):
            settings |= {
                "sasl.mechanism": "PLAIN",
                "sasl.username": CONNECTION_STRING_USER,
                "sasl.password": self.connection_string,
            }
        return settings


@dataclass(frozen=True)
class Postgres:
    """The local server that stands for the logical SQL server ``local``."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)

    def url(self, database: str) -> str:
        """Address of a database, password included."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(database, safe='')}"


@dataclass(frozen=True)
class Settings:
    """All of it. ``folder`` keeps state, containers and the workers' files."""

    folder: Path
    kafka: Kafka
    postgres: Postgres
    identity_header: str = field(repr=False)
    event_hubs: str = ""  # HTTP interface of the Event Hubs stand-in; without one no request was ever throttled
    restart_seconds: tuple[float, ...] = (0.5, 1, 2, 5, 10, 30)  # back-off of a worker that keeps dying

    @property
    def storage(self) -> Path:
        """Folder of the storage accounts."""
        return self.folder / "storage"

    @property
    def workers(self) -> Path:
        """Folder of the workers' job files, progress and logs."""
        return self.folder / "workers"

    def container(self, account: str, name: str) -> Path:
        """Folder of a storage container."""
        return self.storage / account / name
