"""The stand-in as a process of its own."""

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lpm.local import paths, processes
from lpm.local.event_hubs.certificates import Certificates
from lpm.local.service import Service


@dataclass(frozen=True)
class Ports:
    """Where it listens on the loopback address."""

    secure: int  # AMQP over TLS, as on Azure
    plain: int  # AMQP without, for clients in development mode
    control: int  # HTTP: health and faults

    @classmethod
    def free(cls) -> Self:
        """Any that are free."""
        found: list[int] = []
        for _ in range(3):
            found.append(processes.free_port(taken=found))
        return cls(*found)


@dataclass
class EventHubsServer(Service):
    """One namespace over one broker. Certificates and log are in ``folder``.

    ``connection_string`` is the broker's: it names the policy and the key that clients have to show.
    """

    folder: Path
    ports: Ports
    kafka_bootstrap: str
    connection_string: str = field(repr=False)
    identity_header: str = field(repr=False)

    @property
    def endpoint(self) -> str:
        """``host:port`` of AMQP over TLS."""
        return f"{processes.LOOPBACK}:{self.ports.secure}"

    @property
    def ca_file(self) -> Path:
        """Certificate of the authority that clients have to trust."""
        return Certificates(self.folder).authority

    @property
    def development_connection_string(self) -> str:
        """For clients that come without TLS."""
        _, _, policy = self.connection_string.partition(";")
        return f"Endpoint=sb://{processes.LOOPBACK}:{self.ports.plain};{policy};UseDevelopmentEmulator=true"

    @property
    def control_url(self) -> str:
        """Base address of the HTTP interface."""
        return f"http://{processes.LOOPBACK}:{self.ports.control}"

    @property
    def secrets(self) -> Mapping[str, str]:
        """What the process needs in its environment."""
        return {"LPM_KAFKA_CONNECTION_STRING": self.connection_string, "IDENTITY_HEADER": self.identity_header}

    def prepare(self) -> list[str]:
        """Make the certificates and return the command that serves."""
        Certificates(self.folder).make()
        ports = {"--port": self.ports.secure, "--plain-port": self.ports.plain, "--control-port": self.ports.control}
        return [
            *(sys.executable, "-m", "lpm.local.event_hubs.serve", "--folder", str(self.folder)),
            *(part for name, port in ports.items() for part in (name, str(port))),
            *("--kafka-bootstrap", self.kafka_bootstrap),
        ]

    def answers(self) -> bool:
        """Whether it serves."""
        # An opener of its own: no proxy, whatever the caller's environment says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.control_url}/health", timeout=5) as response:
                return bool(json.load(response)["status"] == "ok")
        except (OSError, ValueError):
            return False

    def start(self) -> Self:
        """Start and wait until it serves.

        Raises:
            RuntimeError: it did not; the message has the end of its log.
        """
        command, log = self.prepare(), self.folder / "event-hubs.log"
        environment = {**os.environ, "PYTHONPATH": str(paths.checkout() / "include"), **self.secrets}
        self._process = processes.start(command, log, environment)
        processes.wait_until(self.answers, f"Event Hubs on {self.endpoint}", 60, self._process, log)
        return self
