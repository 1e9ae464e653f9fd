"""The stand-in: AMQP over TLS, AMQP without, and an HTTP interface for health and faults, in one process."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI

from lpm.local.azure.identity import Identity
from lpm.local.azure.settings import Kafka
from lpm.local.event_hubs.certificates import Certificates
from lpm.local.event_hubs.connection import Connection, Namespace
from lpm.local.event_hubs.faults import THROTTLED, Fault, Faults
from lpm.local.event_hubs.hub_log import HubLog
from lpm.local.event_hubs.tokens import Policy, Tokens


@dataclass(frozen=True)
class Settings:
    """What the stand-in is started with. ``port`` is AMQP over TLS, ``plain_port`` AMQP for development."""

    host: str
    port: int
    plain_port: int
    certificates: Certificates
    kafka: Kafka
    identity_header: str = field(repr=False)


def create_app(settings: Settings) -> FastAPI:
    """The HTTP interface; AMQP is served while it lives."""
    faults = Faults()
    tokens = Tokens(Policy.of(settings.kafka.connection_string), Identity(settings.identity_header))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        with HubLog(settings.kafka) as hubs:
            async with _listening(settings, Namespace(hubs, tokens, faults)):
                yield

    app = FastAPI(title="Event Hubs stand-in", lifespan=life, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/stand-in/faults", status_code=201)
    async def add(fault: Fault) -> Fault:
        faults.add(fault)
        return fault

    @app.delete("/stand-in/faults", status_code=204)
    async def clear() -> None:
        faults.clear()

    @app.get(THROTTLED)
    async def throttled() -> dict[str, int]:
        return faults.throttled

    return app


@asynccontextmanager
async def _listening(settings: Settings, namespace: Namespace) -> AsyncIterator[None]:
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secure.load_cert_chain(settings.certificates.server)
    clients: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(Connection(namespace, reader, writer).serve())
        clients.add(task)
        task.add_done_callback(clients.discard)

    servers = [
        await asyncio.start_server(accept, settings.host, settings.port, ssl=secure),
        await asyncio.start_server(accept, settings.host, settings.plain_port),
    ]
    yield
    for server in servers:
        server.close()
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
