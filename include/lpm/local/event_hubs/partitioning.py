"""The partition of an event with a partition key, as azure-eventhub's buffered producer chooses it.

The hash is Bob Jenkins' lookup3 (public domain). That the service hashes the same way is an assumption; what counts is
that one key always goes to one partition.
"""

import struct

MASK = 0xFFFFFFFF


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key that is not empty."""
    first, second = _lookup3(key.encode())
    (number,) = struct.unpack(">h", struct.pack(">H", (first ^ second) & 0xFFFF))
    return int(number) % partitions


def _lookup3(data: bytes) -> tuple[int, int]:
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    blocks = [data[start : start + 12].ljust(12, b"\0") for start in range(0, len(data), 12)]
    for position, block in enumerate(blocks):
        x, y, z = struct.unpack("<3I", block)
        a, b, c = (a + x) & MASK, (b + y) & MASK, (c + z) & MASK
        a, b, c = _mixed(a, b, c) if position < len(blocks) - 1 else _final(a, b, c)
    return c, b


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for shift in (4, 6, 8, 16, 19, 4):  # each round does the same to the three, one place further
        a = ((a - c) & MASK) ^ _rotated(c, shift)
        c = (c + b) & MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int, int]:
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, shift)) & MASK
        a, b, c = b, c, a
    # Seven rounds leave the three one place off.
    return c, a, b


def _rotated(value: int, places: int) -> int:
    return ((value << places) | (value >> (32 - places))) & MASK
