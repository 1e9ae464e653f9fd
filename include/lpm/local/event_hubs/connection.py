"""One connection of a client: the handshake, its sessions and their links."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from lpm.local.event_hubs import frames
from lpm.local.event_hubs.faults import Faults
from lpm.local.event_hubs.frames import AmqpError, Attach, Frame
from lpm.local.event_hubs.hub_log import HubLog
from lpm.local.event_hubs.links import (
    LARGEST_PUBLICATION,
    Address,
    Place,
    Publisher,
    Receivers,
    Subscriber,
    starting_offset,
)
from lpm.local.event_hubs.requests import CBS, MANAGEMENT, ManagementNode, Replies, Requests, TokenNode
from lpm.local.event_hubs.session import Link, Session, Wire
from lpm.local.event_hubs.tokens import Grants, Tokens

CONTAINER = "local-event-hubs"
IDLE_SECONDS = 240.0  # the service ends a connection on which nothing came for so long

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Namespace:
    """What all connections share."""

    hubs: HubLog
    tokens: Tokens
    faults: Faults
    receivers: Receivers = field(default_factory=Receivers)
    idle_seconds: float = IDLE_SECONDS


@dataclass
class _Attached:
    """A link that is there, and what to do when it has gone."""

    link: Link
    gone: Callable[[], None] = lambda: None


class Connection:
    """A client."""

    def __init__(self, namespace: Namespace, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._namespace = namespace
        self._reader, self._writer = reader, writer
        self._wire = Wire(writer)
        self._grants = Grants()
        self._sessions: dict[int, Session] = {}
        self._links: dict[tuple[int, int], _Attached] = {}  # by channel and handle
        self._keeping_alive: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Talk until either side ends it."""
        try:
            await self._handshake()
            while await self._take(await self._next_frame()):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has gone, or a fault broke it
        except TimeoutError:
            text = f"The connection was inactive for more than {self._namespace.idle_seconds:g} seconds."
            self._wire.write(frames.close_frame(AmqpError("amqp:connection:forced", text)))
        except AmqpError as error:
            log.warning("a client broke the protocol: %s", error)
            self._wire.write(frames.close_frame(error))
        finally:
            await self._end()

    async def _handshake(self) -> None:
        if await self._reader.readexactly(8) != frames.SASL_HEADER:
            self._wire.write(frames.SASL_HEADER)  # what we would have understood
            raise ConnectionAbortedError
        self._wire.write(frames.SASL_HEADER + frames.sasl_mechanisms())
        if (await self._next_frame()).code != frames.SASL_INIT:
            raise ConnectionAbortedError
        self._wire.write(frames.sasl_outcome())
        if await self._reader.readexactly(8) != frames.AMQP_HEADER:
            raise ConnectionAbortedError
        self._wire.write(frames.AMQP_HEADER)

    async def _next_frame(self) -> Frame:
        async with asyncio.timeout(self._namespace.idle_seconds):
            return await frames.read_frame(self._reader)

    async def _take(self, frame: Frame) -> bool:
        """Act on a frame; says whether the connection goes on."""
        match frame.code:
            case frames.OPEN:
                self._open(frame)
            case frames.BEGIN:
                self._sessions[frame.channel] = Session(self._wire, frame.channel)
                self._wire.write(frames.begin_frame(frame.channel))
            case frames.ATTACH:
                await self._attach(Attach.of(frame))
            case frames.FLOW if frame.fields[4] is not None:
                if attached := self._links.get((frame.channel, frame.fields[4])):
                    attached.link.flow(frame)
            case frames.TRANSFER:
                await self._attached(frame).link.transfer(frame)
            case frames.DETACH:
                await self._detach(frame.channel, frame.fields[0])
            case frames.END:
                for channel, handle in [place for place in self._links if place[0] == frame.channel]:
                    await self._drop(channel, handle)
                self._sessions.pop(frame.channel, None)
                self._wire.write(frames.end_frame(frame.channel))
            case frames.CLOSE:
                self._wire.write(frames.close_frame(None))
                return False
        return True

    def _open(self, frame: Frame) -> None:
        _, _, max_frame_size, _, idle_milliseconds, *_ = frame.fields
        self._wire.max_frame_size = min(max_frame_size or frames.MAX_FRAME_SIZE, frames.MAX_FRAME_SIZE)
        self._wire.write(frames.open_frame(CONTAINER, self._namespace.idle_seconds))
        if idle_milliseconds:
            self._keeping_alive = asyncio.create_task(self._keep_alive(idle_milliseconds / 2000))

    async def _keep_alive(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._wire.write(frames.EMPTY_FRAME)

    async def _attach(self, attach: Attach) -> None:
        session = self._sessions.get(attach.channel)
        if session is None:
            raise AmqpError("amqp:not-allowed", f"a link on channel {attach.channel}, which has no session")
        try:
            attached = await self._link(session, attach)
        except AmqpError as error:
            self._wire.write(attach.refusal(error))
            return
        self._links[attach.channel, attach.handle] = attached
        self._wire.write(attach.answer(LARGEST_PUBLICATION))
        attached.link.start()

    async def _link(self, session: Session, attach: Attach) -> _Attached:
        """Our end of a link.

        Raises:
            AmqpError: it is refused.
        """
        namespace, node = self._namespace, attach.target if attach.sends else attach.source
        if node in (CBS, MANAGEMENT):
            return _Attached(self._requests(session, attach, node) if attach.sends else Replies(session, attach))
        address = Address.of(node)
        self._grants.check(address.hub)
        place = await Place.of(address, namespace.hubs)
        if fault := namespace.faults.take("refuse_link", hub=place.hub, partition=place.partition):
            raise AmqpError(fault.condition, "The link is refused on demand.")
        if attach.sends:
            return _Attached(Publisher(session, attach, place, namespace.hubs, namespace.faults))
        if place.partition is None:
            raise AmqpError("amqp:not-allowed", f"a receiver of all of {place.hub}; expected one of a partition")
        subscriber = Subscriber(
            session, attach, place, await starting_offset(attach, place, namespace.hubs), namespace.hubs
        )
        return _Attached(subscriber, namespace.receivers.admit(address.group.lower(), subscriber))

    def _requests(self, session: Session, attach: Attach, node: str) -> Requests:
        namespace = self._namespace
        if node == CBS:
            answer = TokenNode(namespace.tokens, self._grants, namespace.faults).answer
        else:
            answer = ManagementNode(namespace.hubs, self._grants).answer
        return Requests(session, attach, answer, lambda: self._replies(session.channel))

    def _replies(self, channel: int) -> Replies | None:
        """The newest link for replies in a session: its requests come one after the other."""
        found = [
            attached.link
            for (place, _), attached in self._links.items()
            if place == channel and isinstance(attached.link, Replies)
        ]
        return found[-1] if found else None

    def _attached(self, frame: Frame) -> _Attached:
        try:
            return self._links[frame.channel, frame.fields[0]]
        except KeyError:
            text = f"handle {frame.fields[0]} of channel {frame.channel} is attached to no link"
            raise AmqpError("amqp:session:unattached-handle", text) from None

    async def _detach(self, channel: int, handle: int) -> None:
        if await self._drop(channel, handle):
            self._wire.write(frames.detach_frame(channel, handle, None))

    async def _drop(self, channel: int, handle: int) -> bool:
        attached = self._links.pop((channel, handle), None)
        if attached:
            attached.gone()
            await attached.link.close()
        return attached is not None

    async def _end(self) -> None:
        if self._keeping_alive:
            self._keeping_alive.cancel()
        for channel, handle in list(self._links):
            await self._drop(channel, handle)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
