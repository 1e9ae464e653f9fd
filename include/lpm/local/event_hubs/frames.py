"""AMQP 1.0 frames and performatives (part 2 of the standard: transport), and errors.

Every performative is written with all its fields: azure-eventhub 5.15.1 reads them by position and does not take
omitted trailing ones (reference/event-hubs.md 5).
"""

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lpm.local.event_hubs import codec
from lpm.local.event_hubs.codec import NULL, AmqpValueError, Described

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
MAX_FRAME_SIZE = 65536  # what the service announces
TRANSFER_ROOM = 64  # bytes of a frame that a transfer's own fields may take
WINDOW = 2**31 - 1
CLIENT_FIELDS = 14  # the most that a performative has; shorter ones are filled up

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
SASL_MECHANISMS, SASL_INIT, SASL_OUTCOME = 0x40, 0x41, 0x44
ERROR, ACCEPTED, REJECTED, SOURCE, TARGET = 0x1D, 0x24, 0x25, 0x28, 0x29


class AmqpError(Exception):
    """What the peer is told. ``condition`` is a symbol of the standard or of Microsoft's."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition, self.description = condition, description

    def encoded(self) -> bytes:
        """The error as a described list."""
        return performative(ERROR, codec.symbol(self.condition), codec.string(self.description), NULL)


@dataclass(frozen=True)
class Frame:
    """A frame that arrived. ``fields`` are filled up with None to :data:`CLIENT_FIELDS`; code 0 is an empty frame."""

    channel: int
    code: int
    fields: list[Any]
    payload: bytes


def frame(channel: int, body: bytes, kind: int = 0) -> bytes:
    """A frame. ``kind`` 1 is SASL."""
    return struct.pack(">IBBH", len(body) + 8, 2, kind, channel) + body


def performative(code: int, *fields: bytes) -> bytes:
    """A described list of encoded fields."""
    return codec.described(code, codec.amqp_list(*fields))


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        asyncio.IncompleteReadError: the peer has gone.
        AmqpError: the bytes are no frame.
    """
    size, data_offset, _, channel = struct.unpack(">IBBH", await reader.readexactly(8))
    if not 8 <= size <= MAX_FRAME_SIZE or not 2 <= data_offset <= size // 4:
        raise AmqpError("amqp:connection:framing-error", f"a frame of {size} bytes; expected 8 to {MAX_FRAME_SIZE}")
    body = (await reader.readexactly(size - 8))[data_offset * 4 - 8 :]
    if not body:
        return Frame(channel, 0, [], b"")
    try:
        value, end = codec.decode(body)
    except AmqpValueError as error:
        raise AmqpError("amqp:decode-error", str(error)) from error
    if not (isinstance(value, Described) and isinstance(value.descriptor, int) and isinstance(value.value, list)):
        raise AmqpError("amqp:decode-error", "a frame whose body is no performative")
    return Frame(channel, value.descriptor, fields_of(value), body[end:])


def fields_of(value: Any) -> list[Any]:
    """The fields of a described list, filled up; all None for anything else."""
    items = value.value if isinstance(value, Described) and isinstance(value.value, list) else []
    return [*items, *[None] * (CLIENT_FIELDS - len(items))]


def sasl_mechanisms() -> bytes:
    """ANONYMOUS only: who the client is, it says to ``$cbs``."""
    return frame(0, performative(SASL_MECHANISMS, codec.symbol_array(["ANONYMOUS"])), kind=1)


def sasl_outcome() -> bytes:
    """Welcome."""
    return frame(0, performative(SASL_OUTCOME, codec.ubyte(0), NULL), kind=1)


def open_frame(container: str, idle_seconds: float) -> bytes:
    """Our side of the connection."""
    limits = (codec.uint(MAX_FRAME_SIZE), codec.ushort(4999), codec.uint(int(idle_seconds * 1000)))
    return frame(0, performative(OPEN, codec.string(container), NULL, *limits, *[NULL] * 4, codec.amqp_map({})))


def begin_frame(channel: int) -> bytes:
    """Our side of the session that the client began on ``channel``; it has the same number here."""
    window = codec.uint(WINDOW)
    limits = (codec.ushort(channel), codec.uint(0), window, window, codec.uint(255))
    return frame(channel, performative(BEGIN, *limits, *[NULL] * 3))


@dataclass(frozen=True)
class Attach:
    """A link that a client asks for. ``sends`` says whether the client is the one that sends."""

    channel: int
    handle: int
    name: str
    sends: bool
    sender_settles: int
    receiver_settles: int
    source: str
    target: str
    filters: Mapping[str, Any]
    properties: Mapping[str, Any]
    wanted: tuple[str, ...]

    @classmethod
    def of(cls, arrived: Frame) -> "Attach":
        """Read it."""
        name, handle, role, sender_settles, receiver_settles, source, target, *rest = arrived.fields
        source_fields = fields_of(source)
        wanted = rest[5] or []
        return cls(
            channel=arrived.channel,
            handle=handle,
            name=name,
            sends=not role,
            sender_settles=2 if sender_settles is None else sender_settles,
            receiver_settles=receiver_settles or 0,
            source=_text(source_fields[0]),
            target=_text(fields_of(target)[0]),
            filters={str(key): value for key, value in (source_fields[7] or {}).items()},
            properties={str(key): value for key, value in (rest[6] or {}).items()},
            wanted=tuple(map(str, wanted if isinstance(wanted, list) else [wanted])),
        )

    def refusal(self, error: AmqpError) -> bytes:
        """A link that leads nowhere, and its end: so the standard refuses one."""
        return self._answer(NULL, NULL, NULL) + detach_frame(self.channel, self.handle, error)

    def answer(self, max_message_size: int) -> bytes:
        """The other end of the link."""
        filters = {codec.symbol(key): _encoded_filter(key, value) for key, value in self.filters.items()}
        source = (codec.string(self.source), *[NULL] * 6, codec.amqp_map(filters) if filters else NULL, *[NULL] * 3)
        target = (codec.string(self.target), *[NULL] * 6)
        return self._answer(performative(SOURCE, *source), performative(TARGET, *target), codec.ulong(max_message_size))

    def _answer(self, source: bytes, target: bytes, max_message_size: bytes) -> bytes:
        return frame(
            self.channel,
            performative(
                ATTACH,
                codec.string(self.name),
                codec.uint(self.handle),
                codec.boolean(self.sends),  # we are the receiver if the client sends
                codec.ubyte(self.sender_settles),
                codec.ubyte(self.receiver_settles),
                source,
                target,
                NULL,
                NULL,
                NULL if self.sends else codec.uint(0),
                max_message_size,
                NULL,
                NULL,
                NULL,
            ),
        )


def flow_frame(channel: int, handle: int, received: int, deliveries: int, credit: int) -> bytes:
    """Give the sender of a link credit. ``received`` counts the deliveries of the session, not its frames, because
    azure-eventhub counts so; ``deliveries`` those of the link."""
    window = codec.uint(WINDOW)
    session = (codec.uint(received), window, codec.uint(0), window)
    link = (codec.uint(handle), codec.uint(deliveries), codec.uint(credit), NULL, NULL, codec.FALSE, NULL)
    return frame(channel, performative(FLOW, *session, *link))


def transfer_frames(channel: int, handle: int, delivery: int, message: bytes, max_frame_size: int) -> bytes:
    """A settled delivery, in as many frames as it needs."""
    room = max_frame_size - TRANSFER_ROOM
    parts = [message[start : start + room] for start in range(0, len(message), room)] or [b""]
    first = (codec.uint(delivery), codec.binary(struct.pack(">I", delivery & 0xFFFFFFFF)), codec.uint(0))
    frames = []
    for position, part in enumerate(parts):
        identity = first if position == 0 else (NULL, NULL, NULL)
        more = codec.boolean(position < len(parts) - 1)
        head = performative(TRANSFER, codec.uint(handle), *identity, codec.TRUE, more, *[NULL] * 5)
        frames.append(frame(channel, head + part))
    return b"".join(frames)


def disposition_frame(channel: int, delivery: int, error: AmqpError | None) -> bytes:
    """What became of a delivery: accepted, or rejected with an error."""
    state = performative(ACCEPTED) if error is None else performative(REJECTED, error.encoded())
    number = codec.uint(delivery)
    return frame(channel, performative(DISPOSITION, codec.TRUE, number, number, codec.TRUE, state, NULL))


def detach_frame(channel: int, handle: int, error: AmqpError | None) -> bytes:
    """The end of a link."""
    reason = error.encoded() if error else NULL
    return frame(channel, performative(DETACH, codec.uint(handle), codec.TRUE, reason))


def end_frame(channel: int) -> bytes:
    """The end of a session."""
    return frame(channel, performative(END, NULL))


def close_frame(error: AmqpError | None) -> bytes:
    """The end of a connection."""
    return frame(0, performative(CLOSE, error.encoded() if error else NULL))


EMPTY_FRAME = frame(0, b"")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value) if value is not None else ""


def _encoded_filter(key: str, value: Any) -> bytes:
    text = _text(value.value if isinstance(value, Described) else value)
    return b"\x00" + codec.symbol(key) + codec.string(text)
