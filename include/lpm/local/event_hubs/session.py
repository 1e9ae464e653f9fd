"""Sessions, and what all links have in common."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from lpm.local.event_hubs.frames import (
    MAX_FRAME_SIZE,
    AmqpError,
    Attach,
    Frame,
    detach_frame,
    disposition_frame,
    flow_frame,
    transfer_frames,
)

CREDIT = 300  # deliveries that a client may have under way
CREDIT_EVERY = 64  # deliveries after which it gets its credit anew


class Wire:
    """The outgoing half of a connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.max_frame_size = MAX_FRAME_SIZE  # the client may say less in its OPEN

    def write(self, data: bytes) -> None:
        """Send bytes, later if the client is slow."""
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written.

        Raises:
            ConnectionError: it has gone.
        """
        await self._writer.drain()

    def abort(self) -> None:
        """Break the connection: what was not sent yet never is."""
        self._writer.transport.abort()


class Session:
    """One session. Counters are of deliveries, not of frames, because azure-eventhub counts so."""

    def __init__(self, wire: Wire, channel: int) -> None:
        self.wire = wire
        self.channel = channel
        self.received = 0
        self._sent = 0

    def next_delivery(self) -> int:
        """The number of the next delivery to the client."""
        self._sent += 1
        return self._sent - 1


class Link:
    """Our end of a link. By itself it takes nothing from the client."""

    def __init__(self, session: Session, attach: Attach) -> None:
        self.session = session
        self.handle = attach.handle
        self.name = attach.name

    def start(self) -> None:
        """Begin, after the client has been told that the link is there."""

    async def transfer(self, frame: Frame) -> None:
        """A frame of a delivery from the client.

        Raises:
            AmqpError: the client may not send here.
        """
        text = f"a transfer on link {self.name} (handle {frame.fields[0]}), whose receiver you are"
        raise AmqpError("amqp:not-allowed", text)

    def flow(self, frame: Frame) -> None:
        """The client's credit; only those that send events need it."""

    async def close(self) -> None:
        """End. The client knows."""

    def detach(self, error: AmqpError) -> None:
        """Tell the client that the link has ended, and why."""
        self.session.wire.write(detach_frame(self.session.channel, self.handle, error))

    def send(self, message: bytes) -> None:
        """Send a message, settled."""
        wire = self.session.wire
        number = self.session.next_delivery()
        wire.write(transfer_frames(self.session.channel, self.handle, number, message, wire.max_frame_size))


@dataclass(frozen=True)
class Delivery:
    """A whole delivery from a client."""

    number: int
    message: bytes
    message_format: int
    is_settled: bool  # then nobody wants to know what becomes of it


class IncomingLink(Link, ABC):
    """A link on which the client sends. Its deliveries come one after the other, each whole."""

    def __init__(self, session: Session, attach: Attach) -> None:
        super().__init__(session, attach)
        self._parts: list[bytes] = []
        self._first = Delivery(0, b"", 0, False)  # without its message
        self._deliveries = 0

    def start(self) -> None:
        """Give the client credit."""
        counted = (self.session.received, self._deliveries, CREDIT)
        self.session.wire.write(flow_frame(self.session.channel, self.handle, *counted))

    async def transfer(self, frame: Frame) -> None:
        """Act on a delivery once it is whole.

        Raises:
            AmqpError: the client broke a rule.
        """
        if not self._parts:  # only the first frame need say all of this
            _, number, _, message_format, is_settled, *_ = frame.fields
            self._first = Delivery(number, b"", message_format or 0, bool(is_settled))
        self._parts.append(frame.payload)
        if frame.fields[5]:  # more to come
            return
        delivery = replace(self._first, message=b"".join(self._parts))
        self._parts = []
        self.session.received += 1
        self._deliveries += 1
        await self.take(delivery)
        if self._deliveries % CREDIT_EVERY == 0:
            self.start()

    @abstractmethod
    async def take(self, delivery: Delivery) -> None:
        """Act on a whole delivery."""

    def settle(self, delivery: Delivery, error: AmqpError | None = None) -> None:
        """Tell the client that a delivery is accepted, or why not."""
        if not delivery.is_settled:
            self.session.wire.write(disposition_frame(self.session.channel, delivery.number, error))
