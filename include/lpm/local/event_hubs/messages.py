"""From AMQP messages to records of the broker's log and back.

A record's value is the body of the event, nothing else: readers of the log cannot tell how it came in. The partition
key is the record's key, as on Azure. Whatever else a message carried is kept as it is, in one header of the record.
"""

from dataclasses import dataclass

from lpm.local.event_hubs import codec
from lpm.local.event_hubs.codec import AmqpValueError

BATCH_FORMAT = 0x80013700  # the message format of several events in one message
HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = range(0x70, 0x75)
DATA, SEQUENCE, VALUE, FOOTER = range(0x75, 0x79)
PARTITION_KEY = "x-opt-partition-key"
SECTIONS_HEADER = "amqp-sections"  # all sections but the body, as they were sent
BODY_HEADER = "amqp-body"  # a body that is not plain bytes, as it was sent


@dataclass(frozen=True)
class Section:
    """One section of a message: where its value starts, and all its bytes."""

    code: int
    raw: bytes
    value_at: int  # in ``raw``

    @property
    def content(self) -> bytes:
        """The bytes of a data section."""
        start = self.value_at + (2 if self.raw[self.value_at] == 0xA0 else 5)
        return self.raw[start:]


@dataclass(frozen=True)
class Record:
    """A record of the log."""

    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Position:
    """Where an event lies in its partition. ``enqueued`` is in milliseconds since 1970."""

    sequence: int
    enqueued: int


def sections(message: bytes) -> list[Section]:
    """The sections of a message.

    Raises:
        AmqpValueError: the bytes are no message.
    """
    found = []
    start = 0
    while start < len(message):
        if message[start] != codec.DESCRIBED:
            raise AmqpValueError(f"expected a section at byte {start}, found 0x{message[start]:02x}")
        code, value_at = codec.decode(message, start + 1)
        if not (isinstance(code, int) and HEADER <= code <= FOOTER):
            raise AmqpValueError(f"expected a section at byte {start}, found one described by {code!r}")
        end = codec.end_of(message, value_at)
        found.append(Section(code, message[start:end], value_at - start))
        start = end
    return found


def events_of(message: bytes, message_format: int) -> list[bytes]:
    """The events that one publication carries, each a whole message.

    Raises:
        AmqpValueError: the bytes are no message.
    """
    if message_format != BATCH_FORMAT:
        return [message]
    return [section.content for section in sections(message) if section.code == DATA]


def partition_key(message: bytes) -> str | None:
    """The partition key of a message or of a whole batch.

    Raises:
        AmqpValueError: the bytes are no message.
    """
    for section in sections(message):
        if section.code == DATA:
            return None  # annotations stand before the body
        if section.code == MESSAGE_ANNOTATIONS:
            return _key_in(section)
    return None


def record_of(event: bytes) -> Record:
    """The record of one event.

    Raises:
        AmqpValueError: the bytes are no message.
    """
    data: list[bytes] = []
    other: list[bytes] = []
    kept: list[bytes] = []
    key = None
    for section in sections(event):
        if section.code == DATA:
            data.append(section.content)
        elif section.code in (SEQUENCE, VALUE):
            other.append(section.raw)
        else:
            kept.append(section.raw)
            if section.code == MESSAGE_ANNOTATIONS:
                key = _key_in(section)
    headers = [(SECTIONS_HEADER, b"".join(kept))] if kept else []
    if other:
        headers.append((BODY_HEADER, b"".join(other)))
    return Record(b"".join(data or other), key.encode() if key else None, tuple(headers))


def message_of(record: Record, position: Position, runtime: Position | None = None, now: int = 0) -> bytes:
    """The event as a consumer receives it.

    Args:
        record: The record.
        position: Where it lies.
        runtime: Where the newest event of the partition lies, for a consumer that has asked to be told.
        now: When that was looked up, in milliseconds since 1970.
    """
    headers = dict(record.headers)
    kept = sections(headers.pop(SECTIONS_HEADER, b""))
    body = headers.pop(BODY_HEADER, None) or codec.described(DATA, codec.binary(record.value))
    told: dict[int, dict[str, bytes]] = {
        MESSAGE_ANNOTATIONS: {
            "x-opt-sequence-number": codec.long(position.sequence),
            "x-opt-offset": codec.string(str(position.sequence)),
            "x-opt-enqueued-time": codec.timestamp(position.enqueued),
        }
    }
    if record.key and not any(section.code == MESSAGE_ANNOTATIONS and _key_in(section) for section in kept):
        told[MESSAGE_ANNOTATIONS][PARTITION_KEY] = codec.string(record.key.decode(errors="replace"))
    if runtime:
        told[DELIVERY_ANNOTATIONS] = {
            "last_enqueued_sequence_number": codec.long(runtime.sequence),
            "last_enqueued_offset": codec.string(str(runtime.sequence)),
            "last_enqueued_time_utc": codec.timestamp(runtime.enqueued),
            "runtime_info_retrieval_time_utc": codec.timestamp(now),
        }
    parts = {section.code: section.raw for section in kept}
    for code, more in told.items():
        parts[code] = _annotated(next((section for section in kept if section.code == code), None), code, more)
    if headers:  # of a Kafka producer: Event Hubs shows them as properties whose values are bytes
        properties = {codec.string(name): codec.binary(value) for name, value in headers.items()}
        parts[APPLICATION_PROPERTIES] = codec.described(APPLICATION_PROPERTIES, codec.amqp_map(properties))
    footer = parts.pop(FOOTER, b"")
    return b"".join([*(parts[code] for code in sorted(parts)), body, footer])


def _annotated(section: Section | None, code: int, more: dict[str, bytes]) -> bytes:
    """A section of annotations with more of them. What the client sent stays as it is, byte by byte."""
    items, count = codec.map_items(section.raw, section.value_at) if section else (b"", 0)
    items += b"".join(codec.symbol(name) + value for name, value in more.items())
    return codec.described(code, codec.map_of_items(items, count + 2 * len(more)))


def _key_in(section: Section) -> str | None:
    annotations, _ = codec.decode(section.raw, section.value_at)
    key = annotations.get(PARTITION_KEY) if isinstance(annotations, dict) else None
    return key.decode(errors="replace") if isinstance(key, bytes) else key if isinstance(key, str) else None
