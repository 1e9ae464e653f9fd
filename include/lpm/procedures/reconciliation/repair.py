"""Make keys of a company what the source says: through the Event Hub, by the way every change takes.

An upsert is sent as of the source's latest version N, as (N, 1): it beats every state that the target may have, and
gives way to every change after N. A key that the source has not is deleted as (N+1, 0): that beats even a row which
claims version N, and still gives way to a genuine upsert of version N+1. A row that cannot be sent (a dead letter) is
left as it is on both sides.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lpm.clients.event_hubs import EventHub, OutgoingEvent
from lpm.clients.target_database import TargetDatabase
from lpm.clients.target_snapshot import snapshot
from lpm.config import Company, TableContract
from lpm.contract.envelope import EVENT_FIELDS, bucket_of
from lpm.contract.sequence import Op, Rank
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.reconciliation.source import Source, in_parts

KEYS_AT_ONCE = 2_000
ROWS_AT_ONCE = 100_000  # of the target, whose keys are in memory at a time


@dataclass
class Repair:
    """What a repair sent, or would send. ``version`` is the source's version that the upserts are of."""

    version: int
    upserts: int = 0
    deletes: int = 0
    unsendable: list[str] = field(default_factory=list)  # key hashes of dead letters, left as they are
    refused: list[str] = field(default_factory=list)  # key hashes whose event the hub does not take

    @property
    def summary(self) -> str:
        """One line for people."""
        left = len(self.unsendable) + len(self.refused)
        return f"{self.upserts} upserts and {self.deletes} deletes as of version {self.version}" + (
            f"; {left} rows are too large or otherwise no event" if left else ""
        )


class Repairer:
    """Repairs one company."""

    def __init__(self, source: Source, database: TargetDatabase, hub: EventHub, *, dry_run: bool = False) -> None:
        self._source = source
        self._database = database
        self._company = database.company
        self._hub = hub
        self._dry_run = dry_run

    def keys(self, keys: Collection[str]) -> Repair:
        """Make some keys (hashes in hexadecimal) right.

        Raises:
            EventHubError: the hub did not take an event after all tries; what was sent before is right all the same,
                and sending it again changes nothing.
        """
        done = Repair(self._source.latest_version())
        return self._send(done, self._events_of_keys(done, sorted(keys)))

    def buckets(self, wanted: Slice) -> Repair:
        """Make every key of a range of buckets right: send all that the source has, delete what only the target has.

        Raises:
            EventHubError: as for :meth:`keys`.
        """
        done = Repair(self._source.latest_version())
        return self._send(done, self._events_of_buckets(done, wanted))

    def extras(self, wanted: Slice, version: int) -> Repair:
        """Delete every key of a range of buckets that the target has and the source at ``version`` has not.

        Both sides' keys are read range by range, so memory does not grow with the company.

        Raises:
            EventHubError: as for :meth:`keys`.
        """
        done = Repair(version)
        return self._send(done, self._events_of_extras(done, wanted))

    def _send(self, done: Repair, events: Iterator[OutgoingEvent]) -> Repair:
        if self._dry_run:
            for _ in events:
                pass
        else:
            done.refused += [str(json.loads(event.body)["key_hash"]) for event in self._hub.send(events).refused]
        return done

    def _events_of_keys(self, done: Repair, keys: list[str]) -> Iterator[OutgoingEvent]:
        for part in in_parts(keys, KEYS_AT_ONCE):
            yield from self._events(done, part, self._source.upserts(self._company.id, done.version, part))

    def _events_of_buckets(self, done: Repair, wanted: Slice) -> Iterator[OutgoingEvent]:
        pieces = self._source.upserts_of_buckets(self._company.id, done.version, wanted.first, wanted.last)
        for first, last, there in pieces:
            with snapshot(self._database) as state:
                live = state.keys(range(first, last + 1))
            yield from self._events(done, sorted(there.keys() | live.keys()), there)

    def _events_of_extras(self, done: Repair, wanted: Slice) -> Iterator[OutgoingEvent]:
        for piece in wanted.pieces(self._database.row_count(), ROWS_AT_ONCE):
            with snapshot(self._database) as state:
                live = {key for key, row in state.keys(piece.buckets).items() if row.version <= done.version}
            if live:  # what is newer came by the stream meanwhile
                live -= self._source.key_hashes(self._company.id, done.version, piece.first, piece.last)
            yield from self._events(done, sorted(live), {})

    def _events(self, done: Repair, keys: Sequence[str], there: Mapping[str, str | None]) -> Iterator[OutgoingEvent]:
        for key_hash in keys:
            bucket = bucket_of(key_hash)
            if key_hash not in there:
                done.deletes += 1
                value = _delete(self._database.config.table, self._company, key_hash, done.version + 1)
            elif sendable := there[key_hash]:
                done.upserts += 1
                value = sendable
            else:
                done.unsendable.append(key_hash)
                continue
            yield OutgoingEvent(partition_of(self._company, bucket), value.encode())


def partition_of(company: Company, bucket: int) -> int:
    """The partition of a company's key, as the stream job chooses it (``stream_job.route``)."""
    return company.partitions[bucket % len(company.partitions)]


def _delete(table: TableContract, company: Company, key_hash: str, version: int) -> str:
    event = dict.fromkeys(EVENT_FIELDS) | {
        "event_id": f"{version}-{Rank.DELETE}-{key_hash}",
        "op": str(Op.DELETE),
        "info_companyid": company.id,
        "key_hash": key_hash,
        "bucket": bucket_of(key_hash),
        "version": version,
        "rank": int(Rank.DELETE),
        "emitted_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "schema_version": table.schema_version,
    }
    return json.dumps(event, ensure_ascii=False)
