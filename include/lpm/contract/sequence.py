"""The only order that exists: ``(version, rank)``. Never a timestamp (DESIGN 2 and 3)."""

from enum import IntEnum, StrEnum
from typing import NamedTuple


class Op(StrEnum):
    """What an event asks of the target."""

    UPSERT = "upsert"
    DELETE = "delete"
    HEARTBEAT = "heartbeat"


class Rank(IntEnum):
    """Order inside one version: the upsert wins over the delete."""

    DELETE = 0
    UPSERT = 1


class Sequence(NamedTuple):
    """Compares like the tuple it is. ``version`` is the source's Delta ``_commit_version``."""

    version: int
    rank: Rank
