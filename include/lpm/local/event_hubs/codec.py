"""AMQP 1.0 values as bytes (part 1 of the standard: types).

Encoding is explicit, one function for each type, because Python's types say less than AMQP's. Decoding gives plain
Python values; a described value becomes a :class:`Described`.
"""

import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NULL = b"\x40"
TRUE, FALSE = b"\x41", b"\x42"
DESCRIBED = 0x00
SMALL_ULONG = 0x53


class AmqpValueError(ValueError):
    """Bytes that are no AMQP value. The message says where and why."""


class Symbol(str):
    """A symbol: text of a fixed vocabulary."""

    __slots__ = ()


@dataclass(frozen=True)
class Described:
    """A value with a descriptor that says what it means."""

    descriptor: Any
    value: Any


def boolean(value: bool) -> bytes:
    """A boolean."""
    return TRUE if value else FALSE


def ubyte(value: int) -> bytes:
    """An unsigned number of 8 bits."""
    return struct.pack(">BB", 0x50, value)


def ushort(value: int) -> bytes:
    """An unsigned number of 16 bits."""
    return struct.pack(">BH", 0x60, value)


def uint(value: int) -> bytes:
    """An unsigned number of 32 bits."""
    return struct.pack(">BI", 0x70, value)


def ulong(value: int) -> bytes:
    """An unsigned number of 64 bits."""
    return struct.pack(">BQ", 0x80, value)


def integer(value: int) -> bytes:
    """A signed number of 32 bits."""
    return struct.pack(">Bi", 0x71, value)


def long(value: int) -> bytes:
    """A signed number of 64 bits."""
    return struct.pack(">Bq", 0x81, value)


def timestamp(milliseconds: int) -> bytes:
    """A moment in milliseconds since 1970, UTC."""
    return struct.pack(">Bq", 0x83, milliseconds)


def binary(value: bytes) -> bytes:
    """Bytes."""
    return _variable(0xA0, value)


def string(value: str) -> bytes:
    """Text."""
    return _variable(0xA1, value.encode())


def symbol(value: str) -> bytes:
    """A symbol, ASCII."""
    return _variable(0xA3, value.encode("ascii"))


def identifier(value: uuid.UUID) -> bytes:
    """A UUID."""
    return b"\x98" + value.bytes


def amqp_list(*items: bytes) -> bytes:
    """A list of encoded values, always in its widest form: azure-eventhub reads no empty-list code in a frame."""
    body = b"".join(items)
    return b"\xd0" + struct.pack(">II", len(body) + 4, len(items)) + body


def amqp_map(items: Mapping[bytes, bytes]) -> bytes:
    """A map of encoded keys to encoded values."""
    return map_of_items(b"".join(key + value for key, value in items.items()), 2 * len(items))


def map_of_items(items: bytes, count: int) -> bytes:
    """A map whose keys and values, ``count`` together, are encoded one behind the other."""
    return b"\xd1" + struct.pack(">II", len(items) + 4, count) + items


def symbol_array(values: Iterable[str]) -> bytes:
    """An array of symbols."""
    return _array(0xB3, [value.encode("ascii") for value in values])


def string_array(values: Iterable[str]) -> bytes:
    """An array of texts."""
    return _array(0xB1, [value.encode() for value in values])


def described(code: int, value: bytes) -> bytes:
    """A value described by a number below 256, always in three bytes: azure-eventhub skips so many unread."""
    return bytes((DESCRIBED, SMALL_ULONG, code)) + value


def decode(data: bytes, position: int = 0) -> tuple[Any, int]:
    """The value at a position and the position behind it.

    Raises:
        AmqpValueError: there is no whole value there.
    """
    try:
        return _decode(data, position)
    except (IndexError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise AmqpValueError(f"no whole AMQP value at byte {position} of {len(data)}: {error}") from error


def end_of(data: bytes, position: int) -> int:
    """The position behind the value at a position, without decoding it. Only the outermost sizes are looked at.

    Raises:
        AmqpValueError: there is no whole value there.
    """
    try:
        code = data[position]
        if code == DESCRIBED:
            return end_of(data, end_of(data, position + 1))
        kind = code >> 4
        if kind in _FIXED_WIDTHS:
            end = position + 1 + _FIXED_WIDTHS[kind]
        elif kind in _SMALL_SIZES:
            end = position + 2 + data[position + 1]
        elif kind in _LARGE_SIZES:
            end = position + 5 + _UINT.unpack_from(data, position + 1)[0]
        else:
            raise AmqpValueError(f"unknown constructor 0x{code:02x} at byte {position}")
    except (IndexError, struct.error, RecursionError) as error:
        raise AmqpValueError(f"no whole AMQP value at byte {position} of {len(data)}") from error
    if end > len(data):
        raise AmqpValueError(f"the value at byte {position} ends at {end}, behind the end at {len(data)}")
    return end


def map_items(data: bytes, position: int) -> tuple[bytes, int]:
    """The encoded keys and values of the map at a position, and how many they are together.

    Raises:
        AmqpValueError: there is no map.
    """
    end = end_of(data, position)
    if data[position] == 0xC1:
        return data[position + 3 : end], data[position + 2]
    if data[position] == 0xD1:
        return data[position + 9 : end], _UINT.unpack_from(data, position + 5)[0]
    raise AmqpValueError(f"expected a map at byte {position}, found constructor 0x{data[position]:02x}")


# The upper half of a constructor says how wide a value is.
_FIXED_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_SMALL_SIZES = frozenset({0xA, 0xC, 0xE})
_LARGE_SIZES = frozenset({0xB, 0xD, 0xF})
_UINT = struct.Struct(">I")
_CONSTANTS: dict[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_NUMBERS = {
    code: struct.Struct(layout)
    for code, layout in {
        **{0x50: ">B", 0x51: ">b", 0x52: ">B", 0x53: ">B", 0x54: ">b", 0x55: ">b", 0x56: ">?"},
        **{0x60: ">H", 0x61: ">h", 0x70: ">I", 0x71: ">i", 0x72: ">f"},
        **{0x80: ">Q", 0x81: ">q", 0x82: ">d", 0x83: ">q"},
    }.items()
}


def _variable(small: int, content: bytes) -> bytes:
    if len(content) < 256:
        return bytes((small, len(content))) + content
    return struct.pack(">BI", small + 0x10, len(content)) + content


def _array(element: int, contents: list[bytes]) -> bytes:
    body = b"".join(_UINT.pack(len(content)) + content for content in contents)
    return b"\xf0" + struct.pack(">IIB", len(body) + 5, len(contents), element) + body


def _decode(data: bytes, position: int) -> tuple[Any, int]:
    code = data[position]
    position += 1
    if code == DESCRIBED:
        descriptor, position = _decode(data, position)
        value, position = _decode(data, position)
        return Described(descriptor, value), position
    return _decode_as(code, data, position)


def _decode_as(code: int, data: bytes, position: int) -> tuple[Any, int]:
    """The value whose constructor is ``code`` and whose content begins at ``position``."""
    if code in _NUMBERS:
        number = _NUMBERS[code]
        return number.unpack_from(data, position)[0], position + number.size
    if code in _CONSTANTS:
        return _CONSTANTS[code], position
    if code == 0x45:
        return [], position
    if code >> 4 in _SMALL_SIZES | _LARGE_SIZES:
        return _sized(code, data, position)
    if code == 0x73:
        return chr(_UINT.unpack_from(data, position)[0]), position + 4
    if code == 0x98:
        return uuid.UUID(bytes=bytes(data[position : position + 16])), position + 16
    raise AmqpValueError(f"unknown constructor 0x{code:02x} at byte {position - 1}")


def _sized(code: int, data: bytes, position: int) -> tuple[Any, int]:
    """A value that begins with its size: text, a list, a map or an array."""
    kind = code >> 4
    width = 1 if kind in _SMALL_SIZES else 4
    start = position + width
    end = start + _size(data, position, width)
    if end > len(data):
        raise AmqpValueError(f"the value at byte {position - 1} ends at {end}, behind the end at {len(data)}")
    if kind in (0xA, 0xB):
        return _text(code, data[start:end]), end
    count = _size(data, start, width)
    if kind in (0xE, 0xF):
        return _elements(data, start + width, count), end
    items = []
    start += width
    for _ in range(count):
        item, start = _decode(data, start)
        items.append(item)
    return (items if code & 0xF == 0 else _mapping(items)), end


def _size(data: bytes, position: int, width: int) -> int:
    size: int = data[position] if width == 1 else _UINT.unpack_from(data, position)[0]
    return size


def _text(code: int, content: bytes) -> Any:
    match code & 0xF:
        case 0x0:
            return bytes(content)
        case 0x1:
            return content.decode()
        case 0x3:
            return Symbol(content.decode("ascii"))
    raise AmqpValueError(f"unknown constructor 0x{code:02x}")


def _elements(data: bytes, position: int, count: int) -> list[Any]:
    if not count:
        return []
    code = data[position]
    position += 1
    items = []
    for _ in range(count):
        item, position = _decode_as(code, data, position)
        items.append(item)
    return items


def _mapping(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise AmqpValueError(f"a map of {len(items)} keys and values; expected an even number")
    try:
        return dict(zip(items[::2], items[1::2], strict=True))
    except TypeError as error:
        raise AmqpValueError(f"a key of a map is no simple value: {error}") from error
