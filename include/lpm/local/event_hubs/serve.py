"""Runs the stand-in: ``python -m lpm.local.event_hubs.serve --port … --plain-port … --control-port … --folder …``.

``--folder`` has the certificates that :class:`lpm.local.event_hubs.certificates.Certificates` made. Secrets come from
the environment: LPM_KAFKA_CONNECTION_STRING, whose policy and key clients must show, and IDENTITY_HEADER.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from lpm.local.azure.settings import Kafka
from lpm.local.event_hubs.app import Settings, create_app
from lpm.local.event_hubs.certificates import Certificates

SECRETS = ("LPM_KAFKA_CONNECTION_STRING", "IDENTITY_HEADER")


def settings(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """The settings that a command line and an environment say.

    Raises:
        SystemExit: a secret is missing.
    """
    if missing := [name for name in SECRETS if name not in environment]:
        raise SystemExit(f"set {', '.join(missing)} in the environment before starting the Event Hubs stand-in")
    connection_string, identity_header = (environment[name] for name in SECRETS)
    return Settings(
        host=arguments.host,
        port=arguments.port,
        plain_port=arguments.plain_port,
        certificates=Certificates(arguments.folder),
        kafka=Kafka(arguments.kafka_bootstrap, connection_string=connection_string),
        identity_header=identity_header,
    )


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Stand-in for the AMQP side of Event Hubs.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="AMQP over TLS")
    parser.add_argument("--plain-port", type=int, required=True, help="AMQP without TLS, for development")
    parser.add_argument("--control-port", type=int, required=True, help="HTTP: health and faults")
    parser.add_argument("--folder", type=Path, required=True, help="certificates")
    parser.add_argument("--kafka-bootstrap", required=True, help="host:port of the local broker")
    options = parser.parse_args(arguments)
    uvicorn.run(
        create_app(settings(options, os.environ)),
        host=options.host,
        port=options.control_port,
        loop="asyncio",
        log_level="warning",
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
