"""A real Apache Kafka broker (KRaft, one process) that a client cannot tell from an Event Hubs namespace."""

import base64
import json
import secrets
import subprocess
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from lpm.local import java, processes
from lpm.local.files import write_atomically
from lpm.local.jars import kafka_libraries
from lpm.local.service import Service

USER = "$ConnectionString"  # the literal user name that Event Hubs asks for; the password is the connection string
PROTOCOL = "SASL_PLAINTEXT"
MECHANISM = "PLAIN"

_LOG4J = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True)
class BrokerState:
    """What a broker keeps between starts."""

    port: int
    controller_port: int
    cluster_id: str
    connection_string: str


class Broker(Service):
    """One broker with its data, configuration and log in ``folder``. Loopback only.

    A port of 0 means the one of the last start, or any free one. The connection string stays the same over restarts.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "kafka.log"
        state = self._load() or self._new_state(port)
        self._state = replace(state, port=port or state.port)

    @property
    def port(self) -> int:
        """Port of the clients' listener."""
        return self._state.port

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"{processes.LOOPBACK}:{self.port}"

    @property
    def connection_string(self) -> str:
        """The connection string of the namespace; it is the password of the user ``$ConnectionString``."""
        return self._state.connection_string

    def client_settings(self) -> dict[str, str]:
        """Settings for a confluent_kafka client."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": PROTOCOL,
            "sasl.mechanism": MECHANISM,
            "sasl.username": USER,
            "sasl.password": self.connection_string,
        }

    def prepare(self) -> list[str]:
        """Write the configuration, format the log folder on first use, and return the command that runs the broker."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._state = replace(
            self._state, controller_port=processes.free_port(self._state.controller_port, taken=[self.port])
        )
        self._save()
        write_atomically(self.folder / "log4j2.properties", _LOG4J.encode())
        properties = self.folder / "kraft.properties"
        write_atomically(properties, self._properties().encode(), mode=0o600)
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(properties)
        logging = f"-Dlog4j2.configurationFile={(self.folder / 'log4j2.properties').as_uri()}"
        options = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", logging]
        return [*self._java(*options), "kafka.Kafka", str(properties)]

    def start(self) -> Self:
        """Start and wait until a client gets an answer.

        Raises:
            RuntimeError: it ended or did not answer; the message has the end of its log.
        """
        command = self.prepare()
        self._process = processes.start(command, self.log)
        processes.wait_until(self.answers, f"Kafka on {self.bootstrap}", 60, self._process, self.log)
        return self

    def answers(self) -> bool:
        """Whether the broker answers a client that has logged in."""
        if not processes.accepts(self.port):
            return False
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            AdminClient({**self.client_settings(), "log_level": "0"}).list_topics(timeout=2)
        except KafkaException:
            return False
        return True

    def _load(self) -> BrokerState | None:
        path = self.folder / "broker.json"
        return BrokerState(**json.loads(path.read_text())) if path.exists() else None

    def _save(self) -> None:
        write_atomically(self.folder / "broker.json", json.dumps(asdict(self._state)).encode(), mode=0o600)

    def _new_state(self, port: int) -> BrokerState:
        port = port or processes.free_port()
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        return BrokerState(
            port=port,
            controller_port=processes.free_port(taken=[port]),
            cluster_id=base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
            connection_string=f"Endpoint=sb://{processes.LOOPBACK}/;SharedAccessKeyName=local;SharedAccessKey={key}",
        )

    def _properties(self) -> str:
        clients, controller = f"{processes.LOOPBACK}:{self.port}", f"{processes.LOOPBACK}:{self._state.controller_port}"
        # The broker is a client of itself too (transactions, group metadata), hence username and password.
        login = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="{USER}" password="{self.connection_string}" user_{USER}="{self.connection_string}";'
        )
        return _properties_text(
            {
                "process.roles": "broker,controller",
                "node.id": "1",
                "controller.quorum.voters": f"1@{controller}",
                "listeners": f"CLIENTS://{clients},CONTROLLER://{controller}",
                "advertised.listeners": f"CLIENTS://{clients}",
                "listener.security.protocol.map": f"CLIENTS:{PROTOCOL},CONTROLLER:PLAINTEXT",
                "controller.listener.names": "CONTROLLER",
                "inter.broker.listener.name": "CLIENTS",
                "sasl.enabled.mechanisms": MECHANISM,
                "sasl.mechanism.inter.broker.protocol": MECHANISM,
                "listener.name.clients.plain.sasl.jaas.config": login,
                "log.dirs": str(self.folder / "data"),
                "auto.create.topics.enable": "false",  # a hub exists only when it was deployed
                "offsets.topic.replication.factor": "1",
                "offsets.topic.num.partitions": "4",
                "transaction.state.log.replication.factor": "1",
                "transaction.state.log.min.isr": "1",
                "transaction.state.log.num.partitions": "4",
                "share.coordinator.state.topic.replication.factor": "1",
                "share.coordinator.state.topic.min.isr": "1",
                "group.initial.rebalance.delay.ms": "0",
                "broker.session.timeout.ms": "5000",  # so long a killed broker waits before it may come back
                "broker.heartbeat.interval.ms": "1000",
                "log.cleaner.dedupe.buffer.size": "8388608",  # the default is a quarter of the heap
                "num.network.threads": "2",
                "num.io.threads": "4",
                "background.threads": "2",
            }
        )

    def _format(self, properties: Path) -> None:
        command = self._java("-Xmx128m", "-XX:+UseSerialGC")
        done = subprocess.run(
            # One argument with "=": an id may begin with "-", one in 64 does.
            [
                *command,
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={self._state.cluster_id}",
                "-c",
                str(properties),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"Kafka could not format {self.folder}: {done.stdout}{done.stderr}")

    @staticmethod
    def _java(*options: str) -> list[str]:
        # Kafka's own jars lack the bridge from slf4j to log4j; pyspark has it, with the slf4j that it belongs to.
        shipped = java.package_folder("pyspark") / "jars"
        bridge = sorted(jar for name in ("slf4j-api-2", "log4j-slf4j2-impl") for jar in shipped.glob(f"{name}*.jar"))
        classes = [*map(str, bridge), f"{kafka_libraries()}/*"]
        return [str(java.java()), *options, "-cp", ":".join(classes)]


def _properties_text(settings: dict[str, str]) -> str:
    return "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in settings.items())
