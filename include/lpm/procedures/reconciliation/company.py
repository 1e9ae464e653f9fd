"""One company's reconciliation: at an exact cut, from sums to keys to values, confirmed before anyone is alarmed."""

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lpm.clients.databricks import StatementFailed
from lpm.clients.target_database import TargetDatabase
from lpm.clients.target_snapshot import BucketSum, snapshot
from lpm.contract.envelope import BUCKETS, bucket_of
from lpm.contract.values import text_of, typed_row
from lpm.procedures.reconciliation.comparison import (
    Difference,
    Kind,
    differing_buckets,
    differing_columns,
    differing_keys,
)
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.reconciliation.result import CompanyResult, Verdict
from lpm.procedures.reconciliation.source import Source, SourceKey, in_parts
from lpm.render import names

BUCKETS_AT_ONCE = 2_000  # or sums of some together, whose keys are read in one go
ROWS_OF_A_SUM = 128  # about so many of a small company: fewer sums travel, and the rows of one that differs are few
ROWS_WITH_PAYLOADS = 10_000  # of the source; so few are read with their values: asking later reads the table again
ROWS_KEPT = 20  # differing rows whose values are kept as evidence, of both sides; a row may be large
IN_FLIGHT_LIMIT = 100_000  # keys; more are not worth asking the change feed about
WATERMARK_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """What to compare. ``since``: buckets that no version after it changed are left out; -1 compares all.

    ``width``: so many neighbouring buckets have one sum; see :func:`buckets_together`.
    """

    since: int = -1
    width: int = 1
    deep: Slice | None = None
    grace_seconds: float = 30.0
    wait_seconds: float = 60.0  # for the watermark to reach the cut
    evidence_keys: int = 1_000  # differences that are kept with their details


def buckets_together(rows: int, since: int = -1) -> int:
    """How many neighbouring buckets of a company of so many rows get one sum: a power of two, so that all do.

    Only when all buckets are compared (``since`` -1): of those that changed, each has its own.
    """
    return 1 if since >= 0 else min(BUCKETS, 1 << max(0, (ROWS_OF_A_SUM * BUCKETS // max(rows, 1)).bit_length() - 1))


@dataclass(frozen=True)
class Findings:
    """What one company's reconciliation found: the result, the differing keys behind it, and values of the first."""

    result: CompanyResult
    differences: tuple[Difference, ...]
    rows: Mapping[str, "BothSides"] = field(default_factory=dict)  # by key hash


@dataclass(frozen=True)
class BothSides:
    """The values of one key by column, as text, before any repair; None where that side has no row."""

    source: Mapping[str, str | None] | None
    target: Mapping[str, str | None] | None


@dataclass(frozen=True)
class _TargetSums:
    """Of one state of the database: the sums at the cut by first bucket, and the keys changed since."""

    sums: Mapping[int, BucketSum]
    in_flight: Collection[str]


class CompanyReconciliation:
    """Compares one company's database with the source at ``through``, or at its watermark if that is lower."""

    def __init__(self, source: Source, database: TargetDatabase, through: int, request: Request) -> None:
        self._source = source
        self._database = database
        self._company = database.company.id
        self._through = through
        self._request = request
        self._deep_rows = 0
        # What the source has at a version never changes, and asking for it reads the table: keys that differ are asked
        # for once. None: the source has no such key.
        self._source_keys: dict[tuple[int, str], SourceKey | None] = {}

    def run(self) -> Findings:
        """Compare. What differs is looked at again after the grace period; what has healed by then is late."""
        begun, moment = time.monotonic(), datetime.now(UTC)
        cut = min(self._await_watermark(), self._through)
        result = CompanyResult(
            company=self._company, at=moment, through=self._through, cut=cut, since=self._request.since
        )
        if cut < self._through:
            result = result.model_copy(update={"stuck_seconds": self._seconds_without_advance(moment)})
        if cut < 0:
            reason = "the database has no watermark yet"
            return Findings(result.model_copy(update={"verdict": Verdict.SKIPPED, "reason": reason}), ())
        expected, found = self._sums(cut)
        firsts = self._differing_buckets(cut, expected, found)
        few = sum(expected[first].rows for first in firsts if first in expected) <= ROWS_WITH_PAYLOADS
        suspects = {each.key_hash: each for each in self._compare_keys(cut, firsts, payloads=few)}
        if self._request.deep:
            suspects |= {each.key_hash: each for each in self._compare_values(cut, self._request.deep)}
        deep_rows = self._deep_rows  # looking again at what differs is no further row
        differences = tuple(self._explained(cut, self._confirmed(cut, suspects)))
        figures = {
            "verdict": Verdict.DIFFER if differences else Verdict.PASS,
            "sums": len(expected.keys() | found.sums.keys()),
            "differing_sums": len(firsts),
            "in_flight": len(found.in_flight),
            "late": len(suspects) - len(differences),
            "deep_rows": deep_rows,
            "differences": dict(Counter(difference.kind.value for difference in differences)),
            "seconds": time.monotonic() - begun,
        }
        return Findings(result.model_copy(update=figures), differences, self._rows_of(cut, differences))

    def _rows_of(self, cut: int, differences: Sequence[Difference]) -> dict[str, BothSides]:
        """What both sides have for the first of the differing keys."""
        keys = [difference.key_hash for difference in differences[:ROWS_KEPT]]
        if not keys:
            return {}
        known = {key: row.payload for key in keys if (row := self._source_keys.get((cut, key))) and row.payload}
        unknown = [key for key in keys if key not in known and self._source_keys.get((cut, key), True)]
        wanted = known | (self._source.rows_of(self._company, cut, unknown) if unknown else {})
        columns = [column.name for column in self._database.config.table.columns]
        found: dict[str, dict[str, str | None]] = {}
        with snapshot(self._database) as state:
            for bucket in sorted({bucket_of(key) for key in keys}):
                found |= {
                    key: dict(zip(columns, map(text_of, values), strict=True))
                    for key, values in state.rows(bucket, bucket)
                    if key in keys
                }
        return {
            key: BothSides(json.loads(payload) if (payload := wanted.get(key)) else None, found.get(key))
            for key in keys
        }

    def look_again(self, suspects: Mapping[str, Difference]) -> list[Difference]:
        """Which keys differ now, at this cut. They may change meanwhile: those are no difference.

        Raises:
            RuntimeError: the database has not reached the cut.
        """
        if (watermark := self._await_watermark()) < self._through:
            raise RuntimeError(
                f"company {self._company!r}: watermark {watermark} has not reached version {self._through} after "
                f"{self._request.wait_seconds:g} s\nNext step: see whether stream and router run (monitor)."
            )
        return list(self._differing(self._through, suspects))

    def buckets_that_differ(self, expected: Mapping[int, BucketSum], buckets: Collection[int]) -> list[int]:
        """Which of the buckets differ now, at this cut, from the sums that the source has there."""
        return self._differing_buckets(self._through, expected, self._target_sums(self._through, buckets))

    def keys_that_differ(self, buckets: list[int]) -> Iterator[Difference]:
        """The keys of some buckets that differ now, at this cut."""
        return self._compare_keys(self._through, buckets)

    def _await_watermark(self) -> int:
        """The watermark, as soon as it has reached the cut; the one that it has when the waiting is over."""
        end = time.monotonic() + self._request.wait_seconds
        while (watermark := self._database.watermark()) < self._through and time.monotonic() < end:
            time.sleep(WATERMARK_PAUSE_SECONDS)
        return watermark

    def _seconds_without_advance(self, now: datetime) -> float:
        [(advanced,)] = self._database.query(f"SELECT min(advanced_at) FROM {names.STATE_SCHEMA}.watermark")
        return (now - advanced.replace(tzinfo=UTC)).total_seconds() if advanced else 0.0

    def _sums(self, cut: int) -> tuple[dict[int, BucketSum], _TargetSums]:
        """What the source has at the cut, and what the database has. Of all buckets: each engine sums meanwhile."""
        if self._request.since >= 0:
            expected = self._source.sums(self._company, cut, self._request.since)
            return expected, self._target_sums(cut, sorted(expected))
        with ThreadPoolExecutor(max_workers=1) as beside:
            asked = beside.submit(self._source.sums, self._company, cut, -1, self._request.width)
            found = self._target_sums(cut, None)
            return asked.result(), found

    def _target_sums(self, cut: int, buckets: Collection[int] | None) -> _TargetSums:
        with snapshot(self._database) as state:
            return _TargetSums(state.sums(cut, buckets, self._request.width), state.in_flight(cut, buckets))

    def _differing_buckets(self, cut: int, expected: Mapping[int, BucketSum], found: _TargetSums) -> list[int]:
        """The first buckets whose sums differ."""
        in_flight, width = found.in_flight, self._request.width
        if len(in_flight) > IN_FLIGHT_LIMIT:
            raise RuntimeError(
                f"company {self._company!r}: {len(in_flight)} keys have changed since version {cut}, more than "
                f"{IN_FLIGHT_LIMIT}\nNext step: trigger reconcile for this company alone; the cut is newer then."
            )
        changed_since = self._source.still_there(self._company, cut, in_flight, width) if in_flight else {}
        return differing_buckets(expected, found.sums, changed_since)

    def _compare_keys(self, cut: int, firsts: list[int], *, payloads: bool = False) -> Iterator[Difference]:
        width = self._request.width
        for part in in_parts(firsts, BUCKETS_AT_ONCE):
            source = self._source.keys(self._company, cut, part, width, payloads=payloads)
            buckets = [bucket for first in part for bucket in range(first, first + width)]
            for difference in self._keys_that_differ(cut, buckets, source):
                self._source_keys[cut, difference.key_hash] = source.get(difference.key_hash)
                yield difference

    def _keys_that_differ(
        self,
        cut: int,
        buckets: Sequence[int],
        source: Mapping[str, SourceKey],
        wanted: Collection[str] | None = None,
    ) -> list[Difference]:
        """Keys of some buckets that differ; of the ``wanted`` ones when that is given, as ``source`` then is."""
        with snapshot(self._database) as state:
            target, in_flight = state.keys(buckets), state.in_flight(cut, buckets)
        if wanted is not None:
            target = {key_hash: row for key_hash, row in target.items() if key_hash in wanted}
        newest = self._source.latest_version() if in_flight else cut  # no other key can have a newer version
        return list(differing_keys(source, target, in_flight, newest))

    def _again(self, cut: int, suspects: Collection[str]) -> Iterator[Difference]:
        """Those of the suspects that differ now; the source is asked only about keys that it was not asked about."""
        unknown = {bucket_of(key) for key in suspects if (cut, key) not in self._source_keys}
        for part in in_parts(sorted(unknown), BUCKETS_AT_ONCE):
            found = self._source.keys(self._company, cut, part)
            wanted = set(part)
            self._source_keys |= {(cut, key): found.get(key) for key in suspects if bucket_of(key) in wanted}
        for part in in_parts(sorted({bucket_of(key) for key in suspects}), BUCKETS_AT_ONCE):
            here = {key for key in suspects if part[0] <= bucket_of(key) <= part[-1]}
            known = {key: row for key in here if (row := self._source_keys[cut, key]) is not None}
            yield from self._keys_that_differ(cut, part, known, here)

    def _compare_values(self, cut: int, deep: Slice) -> Iterator[Difference]:
        """Every typed value of a slice against the payload that it should have come from."""
        table = self._database.config.table
        for first, last, payloads in self._source.rows(self._company, cut, deep.first, deep.last):
            with snapshot(self._database) as state:
                in_flight = state.in_flight(cut, range(first, last + 1))
                for key_hash, values in state.rows(first, last):
                    self._deep_rows += 1
                    payload = payloads.get(key_hash)
                    if payload is None or key_hash in in_flight:
                        continue  # the sums have judged whether it belongs here
                    if columns := differing_columns(table, typed_row(table, json.loads(payload)), values):
                        yield Difference(key_hash, Kind.CORRUPT, columns=columns)

    def _confirmed(self, cut: int, suspects: Mapping[str, Difference]) -> Iterator[Difference]:
        """Those that still differ after the grace period."""
        if not suspects:
            return
        time.sleep(self._request.grace_seconds)
        yield from self._differing(cut, suspects)

    def _differing(self, cut: int, suspects: Mapping[str, Difference]) -> Iterator[Difference]:
        deep = {key: each for key, each in suspects.items() if each.columns}
        again = {each.key_hash: each for each in self._again(cut, suspects)}
        for key in suspects:
            if key in again:
                yield replace(again[key], columns=deep[key].columns if key in deep else ())
        remaining = sorted(deep.keys() - again.keys())
        yield from self._values_again(cut, {key: deep[key] for key in remaining})

    def _values_again(self, cut: int, deep: Mapping[str, Difference]) -> Iterator[Difference]:
        for bucket in sorted({bucket_of(key) for key in deep}):
            for each in self._compare_values(cut, Slice(bucket, bucket)):
                if each.key_hash in deep:
                    yield each

    def _explained(self, cut: int, differences: Iterator[Difference]) -> Iterator[Difference]:
        """Tell stale from corrupt by what the change feed says of the key, and why the target refused a row."""
        found = list(differences)
        changed = [each for each in found if each.kind is Kind.CORRUPT and each.target_version is not None]
        newest = self._last_changes(cut, changed)
        refused = self._database.refused_keys([each.key_hash for each in found][: self._request.evidence_keys])
        for each in found:
            stale = newest.get(each.key_hash, -1) > (each.target_version or 0)
            kind = Kind.STALE if stale else each.kind
            yield replace(each, kind=kind, note=each.note or refused.get(each.key_hash, ""))

    def _last_changes(self, cut: int, changed: list[Difference]) -> Mapping[str, int]:
        if not changed:
            return {}
        first = max(min(each.target_version or 0 for each in changed), self._request.since, 0) + 1
        if first > cut:
            return {}
        try:
            return self._source.last_changes(self._company, first, cut, [each.key_hash for each in changed])
        except StatementFailed:  # the change feed does not reach back so far: no one can tell any more
            return {}
