"""Runs the stand-in: ``python -m lpm.local.azure.serve --port … --folder …``.

Secrets come from the environment: LPM_KAFKA_CONNECTION_STRING, LPM_POSTGRES_PASSWORD, IDENTITY_HEADER.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvicorn

from lpm.local.azure.app import create_app
from lpm.local.azure.settings import Kafka, Postgres, Settings

SECRETS = ("LPM_KAFKA_CONNECTION_STRING", "LPM_POSTGRES_PASSWORD", "IDENTITY_HEADER")


def settings(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """The settings that a command line and an environment say.

    Raises:
        SystemExit: a secret is missing.
    """
    missing = [name for name in SECRETS if name not in environment]
    if missing:
        raise SystemExit(f"set {', '.join(missing)} in the environment before starting the Azure stand-in")
    connection_string, password, identity_header = (environment[name] for name in SECRETS)
    return Settings(
        folder=arguments.folder.absolute(),
        kafka=Kafka(arguments.kafka_bootstrap, arguments.kafka_protocol, connection_string),
        postgres=Postgres(arguments.postgres_host, arguments.postgres_port, arguments.postgres_user, password),
        identity_header=identity_header,
        event_hubs=arguments.event_hubs,
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Azure stand-in of the local cloud.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="state, storage containers, workers' files")
    parser.add_argument("--kafka-bootstrap", required=True, help="host:port of the local broker")
    parser.add_argument("--event-hubs", default="", help="HTTP interface of the Event Hubs stand-in")
    parser.add_argument("--kafka-protocol", default="SASL_PLAINTEXT", choices=["SASL_PLAINTEXT", "PLAINTEXT"])
    parser.add_argument("--postgres-host", default="127.0.0.1")
    parser.add_argument("--postgres-port", type=int, required=True)
    parser.add_argument("--postgres-user", default="postgres")
    return parser.parse_args(arguments)


def main() -> None:
    """Serve until told to stop."""
    arguments = parse()
    app = create_app(settings(arguments, os.environ))
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
