"""Source against target: pure functions from what both sides said to what differs."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lpm.clients.target_snapshot import NOTHING, BucketSum, TargetKey
from lpm.config import TableContract
from lpm.contract.values import Value
from lpm.procedures.reconciliation.source import SourceKey

DEAD_LETTER = "the source's row is a dead letter: it cannot be sent as it is"


class Kind(StrEnum):
    """Classes of differences."""

    MISSING = "missing"  # the source has the row, the target has not
    STALE = "stale"  # the target has an older state of the row
    EXTRA = "extra"  # the target has a row that the source has not
    CORRUPT = "corrupt"  # the target's row is no state that the source had
    MISROUTED = "misrouted"  # the target's row belongs to another company


@dataclass(frozen=True)
class Difference:
    """One key that is not as it should be. Hashes and versions are None where that side has no row."""

    key_hash: str
    kind: Kind
    source_row_hash: str | None = None
    target_row_hash: str | None = None
    target_version: int | None = None
    columns: tuple[str, ...] = ()  # those that the deep check found different
    note: str = ""  # such as why the target refused the row


def differing_buckets(
    source: Mapping[int, BucketSum], target: Mapping[int, BucketSum], changed_since: Mapping[int, BucketSum]
) -> list[int]:
    """The buckets whose sums differ.

    Args:
        source: Sums at the cut.
        target: Sums of the rows that are not newer than the cut.
        changed_since: What the keys that the target already has newer were worth in the source at the cut.
    """
    return sorted(
        bucket
        for bucket in source.keys() | target.keys() | changed_since.keys()
        if source.get(bucket, NOTHING) - changed_since.get(bucket, NOTHING) != target.get(bucket, NOTHING)
    )


def differing_keys(
    source: Mapping[str, SourceKey],
    target: Mapping[str, TargetKey],
    in_flight: Collection[str],
    latest_version: int,
) -> Iterator[Difference]:
    """The keys that differ, in their order. Whether a changed row is stale or corrupt is not known yet: corrupt.

    Args:
        source: Keys of the source at the cut.
        target: Live rows of the target.
        in_flight: Keys that the target has newer than the cut; nothing can be said about them.
        latest_version: Newest version of the source; a row that claims a newer one is corrupt.
    """
    for key_hash in sorted(source.keys() | target.keys()):
        wanted, found = source.get(key_hash), target.get(key_hash)
        if found is None:
            if key_hash not in in_flight and wanted is not None and wanted.sendable:
                yield Difference(key_hash, Kind.MISSING, wanted.row_hash)
        elif kind := _kind(wanted, found, key_hash in in_flight, latest_version):
            row_hash = wanted.row_hash if wanted else None
            note = "" if wanted is None or wanted.sendable else DEAD_LETTER
            yield Difference(key_hash, kind, row_hash, found.row_hash, found.version, note=note)


def _kind(wanted: SourceKey | None, found: TargetKey, in_flight: bool, latest_version: int) -> Kind | None:
    if not found.own:
        return Kind.MISROUTED
    if in_flight and found.version <= latest_version:
        return None
    if wanted is None:
        return Kind.EXTRA
    return None if wanted.row_hash == found.row_hash and not in_flight else Kind.CORRUPT


def differing_columns(table: TableContract, wanted: Mapping[str, Value], found: tuple[Value, ...]) -> tuple[str, ...]:
    """Names of the columns whose typed values differ."""
    return tuple(
        column.name
        for column, value in zip(table.columns, found, strict=True)
        if value != wanted[column.name] or type(value) is not type(wanted[column.name])
    )
