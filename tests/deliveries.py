"""How the events of a history come to the databases: in any order, repeated, in batches of any size, poison among them.

A drawn arrival is its own story: its ``repr`` is what a person reads when a test fails.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from row_contents import CONTENTS
from source_histories import (
    COMPANIES,
    KEYS,
    LAST_VERSION,
    STRANGER,
    Chance,
    Change,
    Event,
    Key,
    Place,
    Row,
    RowHash,
    Version,
    chances,
    complete_versions,
    fold,
    histories,
    micro_batches,
    play,
    winner,
    without_doubles,
)
from target_events import REFUSED

REAL_KEYS = KEYS[:-1]  # those that make events


@dataclass(frozen=True)
class Computed:
    """What the model does not know: Spark computes it, or the configuration says it."""

    row_hash: RowHash
    partition_of: Callable[[str, Key], int]
    partitions: Mapping[str, Sequence[int]]  # of each company


@dataclass(frozen=True)
class Heartbeat:
    """Everything up to the version has been sent to the company's partition."""

    company: str
    partition: int
    version: int

    def __str__(self) -> str:
        return f"heartbeat of {self.company!r} in partition {self.partition}: everything up to version {self.version}"


@dataclass(frozen=True)
class Poison:
    """An event that a database must refuse: ``event`` with changed fields, or with changed values of its payload."""

    name: str
    reason: str
    event: Event | Heartbeat
    fields: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"poison, {self.name}: {self.event}"


@dataclass(frozen=True)
class Repair:
    """What a repair sends for a key that it read at some version of the source, whether or not anything was wrong."""

    event: Event

    def __str__(self) -> str:
        return f"repair: {self.event}"


Message = Event | Heartbeat | Poison | Repair


@dataclass(frozen=True)
class Arrival:
    """Messages that come to the database of ``company``, in their order."""

    company: str
    messages: tuple[Message, ...]


def _faults() -> list[Poison]:
    """One for each way in which an event can be wrong; their events are replaced."""
    event = Event(STRANGER, KEYS[0], 1, 0)
    return [
        *(
            Poison(name, reason, event, fields)
            for name, reason, fields in (
                ("cut off", "malformed_json", {"payload": '{"leg_no":'}),
                ("no payload", "malformed_json", {"payload": None}),
                ("no row hash", "bad_row_hash", {"row_hash": None}),
                ("not a key hash", "bad_key_hash", {"key_hash": "x"}),
                ("before all versions", "bad_version", {"version": -1}),
                ("beyond all versions", "bad_version", {"version": 2**53 + 1}),
                ("unknown op", "unknown_op", {"op": "Upsert"}),
                ("no company", "wrong_company", {"info_companyid": None}),
            )
        ),
        *(
            Poison(f"{column} {json.dumps(value)[:30]}", reason, event, {}, {column: value})
            for reason, column, value in (
                ("wrong_company", "info_companyid", STRANGER),
                ("too_long:currency", "currency", "EUROS"),
                ("too_long:book", "book", "\U0001f600" * 51),
                ("unconvertible:nested", "comment", [1]),
                *((f"unconvertible:{column}", column, value) for column, value in REFUSED),
            )
        ),
    ]


FAULTS = _faults()
poison_versions = st.integers(1, LAST_VERSION)
cuts = st.sampled_from([0, 0.05, 0.1, 0.2, 0.4])  # how often a batch ends after a message


@st.composite
def poisons(draw: st.DrawFn, company: str, computed: Computed) -> Poison:
    """What the database of a company must refuse."""
    key, version = draw(st.sampled_from(REAL_KEYS)), draw(poison_versions)
    content = draw(st.integers(0, len(CONTENTS) - 1))
    kind = draw(st.sampled_from(["fault", "fault", "another company's", "another partition's"]))
    if kind == "another partition's":
        return Poison(kind, "bad_heartbeat", Heartbeat(company, max(computed.partitions[company]) + 1, version))
    if kind == "another company's":
        owner = draw(st.sampled_from([other for other in (*COMPANIES, STRANGER) if other != company]))
        return Poison(kind, "wrong_company", Event(owner, key, version, draw(st.sampled_from([content, None]))))
    fault = draw(st.sampled_from(FAULTS))
    return Poison(fault.name, fault.reason, Event(company, key, version, content), fault.fields, fault.values)


@dataclass(frozen=True, repr=False)
class Story:
    """A history, how the job read it, and what came to the databases."""

    versions: Sequence[Version]
    batches: Sequence[Sequence[Change]]
    arrivals: Sequence[Arrival]

    def __repr__(self) -> str:
        lines = ["the story"]
        for version in self.versions:
            lines += [f"  version {version.number}: {version.story[0]}", *(f"    {line}" for line in version.story[1:])]
        for number, batch in enumerate(self.batches, 1):
            lines.append(f"  micro-batch {number} of the job reads")
            lines += [f"    version {change.version}: {change.kind} {change.row}" for change in batch]
        for number, arrival in enumerate(self.arrivals, 1):
            lines.append(f"  delivery {number} brings to the database of {arrival.company!r}")
            lines += [f"    {message}" for message in arrival.messages]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print the fields instead


def repair(versions: Sequence[Version], company: str, key: Key, version: int, row_hash: RowHash) -> Repair:
    """The row as it was at that version; where there was none, a delete that beats whatever is stored up to then."""
    found = versions[version - 1].table.get(Place(company, key))
    if found is None:
        return Repair(Event(company, key, version + 1, None))
    best = winner([Row(company, key, content) for content in found], row_hash)
    return Repair(Event(company, key, version, best.content))


@st.composite
def scrambled(draw: st.DrawFn, computed: Computed) -> Story:
    """Everything that is sent arrives, in any order, with copies, cut into batches anywhere; repairs among it.

    One order is kept, as a partition keeps it: where rows compete for a place in one version, the last of their
    events to come is the winner's, which the job sends after the others.
    """
    versions = play(draw(histories))
    batches = draw(micro_batches(versions))
    sent: list[tuple[str, Message]] = [
        (event.company, event)
        for batch in batches
        for event in fold(batch, computed.row_hash)
        if event.company in COMPANIES
    ]
    if draw(st.booleans()):
        sent += [
            (company, Heartbeat(company, partition, version))
            for version in dict.fromkeys(complete_versions(batches, len(versions)))
            for company in COMPANIES
            for partition in computed.partitions[company]
        ]
    for company in draw(st.lists(st.sampled_from(COMPANIES), max_size=4)):
        sent.append((company, draw(poisons(company, computed))))
    reads = st.tuples(st.sampled_from(COMPANIES), st.sampled_from(REAL_KEYS), st.integers(1, len(versions)))
    for company, key, version in draw(st.lists(reads, max_size=4)):
        sent.append((company, repair(versions, company, key, version, computed.row_hash)))
    chance, copies = draw(chances), draw(st.integers(0, 2))
    stream = [entry for entry in sent for _ in range(1 + int(chance("copies", entry) * (copies + 1)))]
    stream *= draw(st.sampled_from([1, 1, 1, 2]))
    if draw(st.sampled_from([False, True, True, True])):
        numbered = sorted(
            enumerate(stream), key=lambda each: chance("order", each[1], stream[: each[0]].count(each[1]))
        )
        stream = [entry for _, entry in numbered]
    _winners_last(stream, computed.row_hash)
    return Story(versions, batches, [one for piece in _cut(stream, draw(cuts), chance) for one in _by_company(piece)])


def _cut(stream: Sequence[tuple[str, Message]], cut: float, chance: Chance) -> list[list[tuple[str, Message]]]:
    pieces: list[list[tuple[str, Message]]] = [[]]
    for number, entry in enumerate(stream):
        pieces[-1].append(entry)
        if chance("cut", entry, stream[:number].count(entry)) < cut:
            pieces.append([])
    return pieces


def _by_company(piece: Sequence[tuple[str, Message]]) -> list[Arrival]:
    found = [Arrival(company, tuple(message for owner, message in piece if owner == company)) for company in COMPANIES]
    return [arrival for arrival in found if arrival.messages]


def _winners_last(stream: list[tuple[str, Message]], row_hash: RowHash) -> None:
    """Exchange messages until the last of those that compete is the winner's."""
    rivals: dict[object, list[int]] = {}
    for number, (_, message) in enumerate(stream):
        event = message.event if isinstance(message, Repair) else message
        if isinstance(event, Event) and event.content is not None:
            rivals.setdefault((event.place, event.version), []).append(number)
    for numbers in rivals.values():
        rows = {row_of(stream[number][1]): number for number in numbers}
        best, last = rows[winner(rows, row_hash)], numbers[-1]
        stream[best], stream[last] = stream[last], stream[best]


def row_of(message: Message) -> Row:
    """The row of an upsert."""
    event = message.event if isinstance(message, Repair) else message
    assert isinstance(event, Event)
    assert event.content is not None
    return Row(event.company, event.key, event.content)


@st.composite
def replayed(draw: st.DrawFn, computed: Computed) -> Story:
    """Each partition keeps its order, as Event Hubs does; its reader goes back now and then and reads on from there.

    The job, too, is killed in the middle of micro-batches and sends them again. Only rows alone in their place:
    while a reader reads again, a competing row may be seen where the winner was.
    """
    versions = play(without_doubles(draw(histories)))
    batches = draw(micro_batches(versions))
    logs: dict[tuple[str, int], list[Message]] = {}
    for company in COMPANIES:
        logs |= {(company, number): [] for number in computed.partitions[company]}
    for batch, version in zip(batches, complete_versions(batches, len(versions)), strict=True):
        events = [event for event in fold(batch, computed.row_hash) if event.company in COMPANIES]
        for event in [*events[: draw(st.integers(0, 3))], *events]:
            logs[event.company, computed.partition_of(event.company, event.key)].append(event)
        for (company, number), log in logs.items():
            log.append(Heartbeat(company, number, version))
    for company in draw(st.lists(st.sampled_from(COMPANIES), max_size=3)):
        log = logs[company, draw(st.sampled_from(sorted(computed.partitions[company])))]
        log.insert(draw(st.integers(0, len(log))), draw(poisons(company, computed)))
    return Story(versions, batches, draw(_readings(logs)))


@st.composite
def _readings(draw: st.DrawFn, logs: Mapping[tuple[str, int], Sequence[Message]]) -> list[Arrival]:
    places = dict.fromkeys(logs, 0)
    arrivals = []
    counts, back = st.sampled_from([1, 2, 4, 8, 16, 32]), st.sampled_from([0, 0, 0, 2, 8, 32])
    turns = st.tuples(st.sampled_from(sorted(logs)), counts, back)
    ends = [(partition, len(log), 0) for partition, log in logs.items()]
    for partition, count, steps_back in [*draw(st.lists(turns, min_size=6, max_size=30)), *ends]:
        start = max(places[partition] - steps_back, 0)
        messages = logs[partition][start : start + count]
        places[partition] = start + len(messages)
        if messages:
            arrivals.append(Arrival(partition[0], tuple(messages)))
    return arrivals
