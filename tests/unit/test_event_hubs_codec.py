"""The stand-in's AMQP codec: what is encoded is decoded again, by us and by Microsoft's decoder, and the reverse."""

import contextlib
import struct
import uuid
from typing import Any

import pytest
from azure.eventhub._buffered_producer._partition_resolver import generate_hash_code
from azure.eventhub._pyamqp._decode import _DECODE_BY_CONSTRUCTOR, decode_frame, decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import Header, Message, Properties
from hypothesis import given
from hypothesis import strategies as st

from lpm.local.event_hubs import codec
from lpm.local.event_hubs.codec import AmqpValueError, Described, Symbol
from lpm.local.event_hubs.frames import (
    AmqpError,
    Attach,
    Frame,
    begin_frame,
    close_frame,
    detach_frame,
    disposition_frame,
    flow_frame,
    open_frame,
    transfer_frames,
)
from lpm.local.event_hubs.messages import (
    BATCH_FORMAT,
    Position,
    Record,
    events_of,
    message_of,
    partition_key,
    record_of,
    sections,
)
from lpm.local.event_hubs.partitioning import partition_of

ASCII = st.text(st.characters(max_codepoint=127), max_size=300)
SIMPLE = st.one_of(
    st.just((None, codec.NULL)),
    st.booleans().map(lambda v: (v, codec.boolean(v))),
    st.integers(0, 2**8 - 1).map(lambda v: (v, codec.ubyte(v))),
    st.integers(0, 2**16 - 1).map(lambda v: (v, codec.ushort(v))),
    st.integers(0, 2**32 - 1).map(lambda v: (v, codec.uint(v))),
    st.integers(0, 2**64 - 1).map(lambda v: (v, codec.ulong(v))),
    st.integers(-(2**31), 2**31 - 1).map(lambda v: (v, codec.integer(v))),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: (v, codec.long(v))),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: (v, codec.timestamp(v))),
    st.binary(max_size=300).map(lambda v: (v, codec.binary(v))),
    st.text(max_size=300).map(lambda v: (v, codec.string(v))),
    ASCII.map(lambda v: (Symbol(v), codec.symbol(v))),
    st.uuids().map(lambda v: (v, codec.identifier(v))),
    # Never empty: Microsoft's decoder does not skip the element type of an empty array.
    st.lists(ASCII, min_size=1, max_size=5).map(lambda v: (v, codec.symbol_array(v))),
    st.lists(st.text(max_size=20), min_size=1, max_size=5).map(lambda v: (v, codec.string_array(v))),
)
KEYS = st.one_of(
    st.text(max_size=20).map(lambda v: (v, codec.string(v))), ASCII.map(lambda v: (Symbol(v), codec.symbol(v)))
)


def as_list(items: list[tuple[Any, bytes]]) -> tuple[Any, bytes]:
    return [value for value, _ in items], codec.amqp_list(*(encoded for _, encoded in items))


def as_map(items: list[tuple[tuple[Any, bytes], tuple[Any, bytes]]]) -> tuple[Any, bytes]:
    values = {key: value for (key, _), (value, _) in items}
    # A symbol and a text of the same letters are one key in Python.
    encoded = {key: (raw_key, raw) for (key, raw_key), (_, raw) in items}
    return values, codec.amqp_map(dict(encoded.values()))


def as_described(item: tuple[Any, bytes]) -> tuple[Any, bytes]:
    return Described(0x77, item[0]), codec.described(0x77, item[1])


VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(as_list),
        st.lists(st.tuples(KEYS, inner), max_size=5).map(as_map),
        inner.map(as_described),
    ),
    max_leaves=20,
)


def as_microsofts_decoder_has_it(value: Any) -> Any:
    """It gives text and symbols as bytes, and forgets descriptors."""
    match value:
        case str():
            return value.encode()
        case Described():
            return as_microsofts_decoder_has_it(value.value)
        case list():
            return [as_microsofts_decoder_has_it(item) for item in value]
        case dict():
            return {
                as_microsofts_decoder_has_it(key): as_microsofts_decoder_has_it(item) for key, item in value.items()
            }
    return value


@given(VALUES, st.binary(max_size=5))
def test_every_value_comes_back_and_ends_where_it_ends(item: tuple[Any, bytes], behind: bytes) -> None:
    value, encoded = item
    assert codec.decode(encoded + behind) == (value, len(encoded))
    assert codec.end_of(encoded + behind, 0) == len(encoded)


@given(VALUES)
def test_microsofts_decoder_reads_every_value(item: tuple[Any, bytes]) -> None:
    value, encoded = item
    rest, found = _DECODE_BY_CONSTRUCTOR[encoded[0]](memoryview(encoded)[1:])
    assert found == as_microsofts_decoder_has_it(value)
    assert not rest


@given(VALUES, st.data())
def test_cut_or_garbled_bytes_are_refused_and_never_crash(item: tuple[Any, bytes], data: st.DataObject) -> None:
    _, encoded = item
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(AmqpValueError):
        codec.end_of(encoded[:cut], 0)
    garbled = bytearray(encoded)
    garbled[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(AmqpValueError):
        codec.decode(bytes(garbled))


BODIES = st.binary(max_size=400)
NAMED = st.dictionaries(st.text(min_size=1, max_size=10), st.one_of(st.text(max_size=10), st.binary(max_size=10)))


@st.composite
def messages(draw: st.DrawFn) -> Message:
    key = draw(st.none() | st.text(min_size=1, max_size=20))
    annotations = {b"x-opt-partition-key": key} if key else {}
    return Message(
        header=Header(durable=True) if draw(st.booleans()) else None,
        message_annotations=annotations,
        properties=Properties(message_id=draw(st.text(max_size=10))) if draw(st.booleans()) else None,
        application_properties=draw(NAMED),
        data=[draw(BODIES)],
    )


def encoded(message: Message) -> bytes:
    return bytes(encode_payload(bytearray(), message))


@given(messages(), st.integers(0, 2**62), st.integers(0, 2**42))
def test_an_event_survives_the_log(message: Message, sequence: int, enqueued: int) -> None:
    record = record_of(encoded(message))
    assert record.value == message.data[0], "the log has the body and nothing else"
    arrived = decode_payload(memoryview(message_of(record, Position(sequence, enqueued))))
    assert arrived.data == message.data
    assert (arrived.header or None) == message.header
    if message.properties:
        assert arrived.properties.message_id == message.properties.message_id.encode()
    sent = {name.encode(): value for name, value in (message.application_properties or {}).items()}
    assert (arrived.application_properties or {}) == {
        name: value.encode() if isinstance(value, str) else value for name, value in sent.items()
    }
    annotations = arrived.message_annotations
    key = message.message_annotations.get(b"x-opt-partition-key")
    assert annotations.get(b"x-opt-partition-key") == (key.encode() if key else None)
    assert (record.key or b"").decode() == (key or "")
    assert annotations[b"x-opt-sequence-number"] == sequence
    assert annotations[b"x-opt-offset"] == str(sequence).encode()
    assert annotations[b"x-opt-enqueued-time"] == enqueued


def test_an_event_of_a_body_alone_is_a_record_of_a_value_alone() -> None:
    assert record_of(encoded(Message(data=[b'{"op":"delete"}']))) == Record(b'{"op":"delete"}')


def test_what_a_kafka_producer_sent_is_an_event_with_its_key_and_its_headers() -> None:
    record = Record(b"body", b"a key", (("trace", b"\x01"),))
    arrived = decode_payload(memoryview(message_of(record, Position(7, 1))))
    assert arrived.data == [b"body"]
    assert arrived.application_properties == {b"trace": b"\x01"}
    assert arrived.message_annotations[b"x-opt-partition-key"] == b"a key"


def test_a_body_that_is_no_bytes_comes_back_as_it_was() -> None:
    record = record_of(encoded(Message(value={"a": [1, "b"]})))
    assert decode_payload(memoryview(message_of(record, Position(0, 0)))).value == {b"a": [1, b"b"]}


@given(st.lists(messages(), min_size=1, max_size=5))
def test_a_batch_is_its_events_in_their_order(batch: list[Message]) -> None:
    inner = [encoded(message) for message in batch]
    outer = encoded(Message(message_annotations={b"x-opt-partition-key": "k"}, data=inner))
    assert events_of(outer, BATCH_FORMAT) == inner
    assert partition_key(outer) == "k"
    assert events_of(inner[0], 0) == [inner[0]]


def test_who_asks_is_told_of_the_newest_event() -> None:
    message = message_of(Record(b"x"), Position(1, 2), Position(9, 8), 7)
    assert decode_payload(memoryview(message)).delivery_annotations == {
        b"last_enqueued_sequence_number": 9,
        b"last_enqueued_offset": b"9",
        b"last_enqueued_time_utc": 8,
        b"runtime_info_retrieval_time_utc": 7,
    }


@pytest.mark.parametrize("wrong", [b"\x40", b"\x00\x53\x10\x45", b"\x00\x53\x75\xa0\x05ab", b"\x00"])
def test_bytes_that_are_no_message_are_refused(wrong: bytes) -> None:
    with pytest.raises(AmqpValueError):
        sections(wrong)


def widths(frame: bytes) -> tuple[int, int]:
    """Code and number of fields, as Microsoft's decoder finds them."""
    assert struct.unpack(">I", frame[:4])[0] == len(frame)
    code, fields = decode_frame(memoryview(frame)[8:])
    return code, len(fields)


def attach() -> Attach:
    return Attach(1, 2, "link", True, 0, 0, "source", "target", {}, {}, ())


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (open_frame("c", 240), (0x10, 10)),
        (begin_frame(3), (0x11, 8)),
        (attach().answer(1024), (0x12, 14)),
        (flow_frame(1, 2, 3, 4, 5), (0x13, 11)),
        (transfer_frames(1, 2, 3, b"message", 65536), (0x14, 12)),  # the payload is its last
        (disposition_frame(1, 2, AmqpError("a:b", "why")), (0x15, 6)),
        (detach_frame(1, 2, None), (0x16, 3)),
        (close_frame(AmqpError("a:b", "why")), (0x18, 1)),
    ],
    ids=lambda value: f"0x{value[0]:x}" if isinstance(value, tuple) else "",
)
def test_every_frame_has_all_the_fields_that_the_sdk_reads_by_position(frame: bytes, expected: tuple[int, int]) -> None:
    assert widths(frame) == expected


@given(st.binary(min_size=1, max_size=3000), st.integers(512, 1024))
def test_a_long_message_is_cut_to_the_clients_frames_and_is_whole_again(message: bytes, largest: int) -> None:
    frames, joined, start = transfer_frames(1, 2, 3, message, largest), b"", 0
    while start < len(frames):
        size = struct.unpack_from(">I", frames, start)[0]
        assert size <= largest
        _, fields = decode_frame(memoryview(frames)[start + 8 : start + size])
        joined += bytes(fields[11])
        start += size
        assert fields[5] is (start < len(frames)), "more follows until the last"
    assert joined == message


def test_an_attach_with_few_fields_is_filled_up() -> None:
    source = Described(0x28, ["amqps://h/hub/ConsumerGroups/g/Partitions/0"])
    fields = ["name", 1, True, None, None, source, None, *[None] * 7]
    read = Attach.of(Frame(4, 0x12, fields, b""))
    assert (read.name, read.sends, read.sender_settles, read.target, read.filters) == ("name", False, 2, "", {})


@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=60), st.integers(1, 32))
def test_a_partition_key_goes_where_the_sdk_would_send_it(key: str, partitions: int) -> None:
    assert partition_of(key, partitions) == abs(generate_hash_code(key) % partitions)


def test_uuids_are_sixteen_bytes() -> None:
    assert codec.identifier(uuid.UUID(int=1)) == b"\x98" + bytes(15) + b"\x01"
