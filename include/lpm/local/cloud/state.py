"""What a local cloud keeps between starts: its identity, its ports and its secrets."""

import base64
import os
import secrets
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from lpm.local import processes
from lpm.local.files import write_atomically

# Kafka's is the one in environments/local.yml; the others are easy to remember. A taken one is replaced by a free one.
PREFERRED_PORTS = {
    "airflow": 18080,
    "databricks": 18081,
    "azure": 18082,
    "supervisor": 18083,
    "kafka": 19093,
    "event-hubs": 15671,  # 5671 and 5672 are the ports of AMQP
    "event-hubs-plain": 15672,
    "event-hubs-control": 18084,
    "postgres": 15432,
}


class CloudState(BaseModel):
    """One local cloud. The file holds secrets: only its owner may read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str  # marks the processes of this cloud
    ports: dict[str, int]
    supervisor_password: str
    databricks_token: str
    azure_identity_header: str
    airflow_jwt_secret: str
    airflow_secret_key: str
    airflow_fernet_key: str

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The state of the cloud in ``folder``, or None if there never was one."""
        path = folder / "cloud.json"
        if not path.exists():
            return None
        state = cls.model_validate_json(path.read_text())
        # A state that was written before a part was invented has no port for it.
        return state.model_copy(update={"ports": {**PREFERRED_PORTS, **state.ports}})

    @classmethod
    def new(cls) -> Self:
        """A state with fresh secrets and the preferred ports, free or not."""
        return cls(
            identity=secrets.token_hex(16),
            ports=PREFERRED_PORTS,
            supervisor_password=secrets.token_urlsafe(24),
            databricks_token=f"dapi{secrets.token_hex(16)}",
            azure_identity_header=secrets.token_urlsafe(24),
            airflow_jwt_secret=secrets.token_urlsafe(64),
            airflow_secret_key=secrets.token_urlsafe(32),
            airflow_fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
        )

    def with_free_ports(self) -> Self:
        """The same with another port for each one that somebody else holds. Nothing of this cloud may be running."""
        ports: dict[str, int] = {}
        for name, preferred in {**PREFERRED_PORTS, **self.ports}.items():
            ports[name] = processes.free_port(preferred, taken=ports.values())
        return self.model_copy(update={"ports": ports})

    def save(self, folder: Path) -> None:
        """Write the file that :meth:`load` reads."""
        write_atomically(folder / "cloud.json", self.model_dump_json(indent=2).encode(), mode=0o600)

    def url(self, part: str) -> str:
        """HTTP address of a part."""
        return f"http://{processes.LOOPBACK}:{self.ports[part]}"
