"""Random histories of the source table: what happens to its rows, the change feed this leaves, the events it becomes.

A model in plain Python, with nothing of the product in it. Real Spark and real Delta are held against it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from hypothesis import strategies as st

from row_contents import CONTENTS


class Key(NamedTuple):
    """The key columns of a row."""

    trade_id: str | None
    leg_no: int

    def __str__(self) -> str:
        return f"{'(no trade)' if self.trade_id is None else self.trade_id!r}/{self.leg_no}"


COMPANIES = ("C-1003", "O'Neill 07")  # each with a database; the first owns two partitions
STRANGER = "c-1003"  # no configured company
OWNERS = (*COMPANIES, STRANGER, None)
KEYS = (Key("T-1", 1), Key("T-1", 2), Key("T-1 ", 1), Key("t-1", 1), Key(None, 1))
LAST_VERSION = 9  # of a drawn history; version 0 made the table


class Row(NamedTuple):
    """A row of the source. ``content`` is a place in :data:`row_contents.CONTENTS`: all its other columns."""

    company: str | None
    key: Key
    content: int

    def __str__(self) -> str:
        return f"{self.key} of {self.company!r} ({CONTENTS[self.content].name})"


class Place(NamedTuple):
    """Where a row is: at most one row of the table, unless somebody inserted one twice."""

    company: str | None
    key: Key

    def __str__(self) -> str:
        return f"{self.key} of {self.company!r}"


@dataclass(frozen=True)
class Change:
    """One row of the change feed. ``kind`` is Delta's ``_change_type``."""

    kind: str
    row: Row
    version: int

    @property
    def place(self) -> Place:
        return Place(self.row.company, self.row.key)

    @property
    def is_upsert(self) -> bool:
        return self.kind in ("insert", "update_postimage")


# Changes that one micro-batch holds together. Nearly always a single one: a commit may be split anywhere. Different
# rows that claim one place in one version stay together: which of them counts is decided inside a micro-batch.
Unit = tuple[Change, ...]
Table = Mapping[Place, tuple[int, ...]]  # contents of the rows of each place, in no order


@dataclass(frozen=True)
class Version:
    """One commit: what it did in words, its change feed, and the table after it."""

    number: int
    story: tuple[str, ...]
    units: tuple[Unit, ...]
    table: Table

    @property
    def changes(self) -> list[Change]:
        return [change for unit in self.units for change in unit]


class Verb(StrEnum):
    """What a step does. From CHANGE on to a row that is there before the commit; without one it inserts."""

    REST = "rest"  # nothing: what a step becomes that a failing history does not need
    WRITE = "write"  # insert, or update when it is there
    DOUBLE = "double"  # insert two rows with the same company and key
    CHANGE = "change"
    DELETE = "delete"
    MOVE = "move"  # to another company
    RENAME = "rename"  # to another key; swaps the keys when that one is taken
    REPLACE = "replace"  # delete and insert in one version


@dataclass(frozen=True)
class Step:
    """A step of a commit. What cannot be done, because there is no such row or its new place is taken, is not done."""

    verb: Verb
    row: int  # which of the rows that are there
    company: str | None
    key: Key
    content: int
    other_content: int


@dataclass(frozen=True)
class Commit:
    """Steps of one version, each row touched at most once. ``overwrite``: all rows are deleted and inserted again."""

    steps: tuple[Step, ...]
    overwrite: bool


contents = st.integers(0, len(CONTENTS) - 1)
steps = st.builds(
    Step,
    verb=st.sampled_from((*Verb, Verb.WRITE, Verb.CHANGE, Verb.MOVE, Verb.RENAME)),
    row=st.integers(0, 9),
    company=st.sampled_from((*COMPANIES * 4, STRANGER, None)),
    key=st.sampled_from((KEYS[0],) * 5 + (KEYS[1],) * 3 + KEYS),  # few keys, so that much happens to each
    content=contents,
    other_content=contents,
)
overwrites = st.sampled_from([False, False, False, False, True])
commits = st.builds(Commit, steps=st.lists(steps, min_size=3, max_size=14).map(tuple), overwrite=overwrites)
histories = st.lists(commits, min_size=3, max_size=LAST_VERSION)


def without_doubles(history: Sequence[Commit]) -> list[Commit]:
    """The same history, every row of it alone in its place."""
    return [
        Commit(tuple(step for step in commit.steps if step.verb is not Verb.DOUBLE), commit.overwrite)
        for commit in history
    ]


def play(history: Iterable[Commit]) -> list[Version]:
    """What the history does to an empty table, version after version from 1."""
    versions: list[Version] = []
    table: Table = {}
    for number, commit in enumerate(history, 1):
        work = _Work(number, dict(table))
        for step in commit.steps:
            work.do(step)
        versions.append(work.overwritten(table) if commit.overwrite else work.done())
        table = versions[-1].table
    return versions


@dataclass
class _Work:
    """A commit while it is being made."""

    number: int
    left: dict[Place, tuple[int, ...]]  # rows that it has not touched
    made: dict[Place, tuple[int, ...]] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def do(self, step: Step) -> None:
        place = Place(step.company, step.key)
        row = list(self.left)[step.row % len(self.left)] if self.left else None
        match step.verb:
            case Verb.REST:
                pass
            case Verb.WRITE if place in self.left:
                self._update(place, place, step.content)
            case Verb.WRITE:
                self._write_new(place, step.content)
            case Verb.DOUBLE if self._free(place):
                self._insert(place, step.content, step.other_content)
            case _ if row is None:
                self._write_new(place, step.content)
            case Verb.CHANGE:
                self._update(row, row, step.content)
            case Verb.DELETE:
                self._delete(row)
            case Verb.REPLACE:
                self._delete(row)
                self._insert(row, step.content)
            case Verb.MOVE if self._free(moved := Place(step.company, row.key)):
                self._update(row, moved)
            case Verb.RENAME if self._free(renamed := Place(row.company, step.key)):
                self._update(row, renamed)
            case Verb.RENAME if renamed in self.left and renamed != row:
                self._swap(row, renamed)

    def done(self) -> Version:
        return Version(self.number, tuple(self.story or ["nothing changes"]), self._units(), self.left | self.made)

    def overwritten(self, before: Table) -> Version:
        """All rows of the table before are deleted, all rows of the table after inserted."""
        after = self.left | self.made
        self.changes = []
        for kind, table in (("delete", before), ("insert", after)):
            for place, found in table.items():
                self._add(kind, place, found)
        story = ("the whole table is overwritten with what it holds after the following", *self.story)
        return Version(self.number, story, self._units(), after)

    def _free(self, place: Place) -> bool:
        return place not in self.left and place not in self.made

    def _write_new(self, place: Place, content: int) -> None:
        if self._free(place):
            self._insert(place, content)

    def _insert(self, place: Place, *new: int) -> None:
        self._add("insert", place, new)
        self.made[place] = new
        self.story.append(f"{place} is inserted{' twice' if len(new) > 1 else ''} as {_named(new)}")

    def _update(self, place: Place, target: Place, content: int | None = None) -> None:
        old = self.left.pop(place)
        new = old if content is None else (content,) * len(old)
        self._add("update_preimage", place, old)
        self._add("update_postimage", target, new)
        self.made[target] = new
        if target == place:
            self.story.append(f"{place} changes from {_named(old)} to {_named(new)}")
        elif target.key == place.key:
            self.story.append(f"{place} moves to {target.company!r}")
        else:
            self.story.append(f"{place} gets the key {target.key}")

    def _swap(self, one: Place, other: Place) -> None:
        old = {place: self.left.pop(place) for place in (one, other)}
        for place, target in ((one, other), (other, one)):
            self._add("update_preimage", place, old[place])
            self._add("update_postimage", target, old[place])
            self.made[target] = old[place]
        self.story.append(f"{one} and {other} swap their keys")

    def _delete(self, place: Place) -> None:
        self._add("delete", place, self.left.pop(place))
        self.story.append(f"{place} is deleted")

    def _add(self, kind: str, place: Place, found: Iterable[int]) -> None:
        self.changes += [Change(kind, Row(*place, content), self.number) for content in found]

    def _units(self) -> tuple[Unit, ...]:
        rivals = [place for place, found in (self.left | self.made).items() if len(set(found)) > 1]
        units: dict[object, list[Change]] = defaultdict(list)
        for number, change in enumerate(self.changes):
            units[change.place if change.is_upsert and change.place in rivals else number].append(change)
        return tuple(map(tuple, units.values()))


def _named(found: Iterable[int]) -> str:
    return " and ".join(dict.fromkeys(CONTENTS[content].name for content in found))


# Micro-batches


@dataclass(frozen=True)
class Chance:
    """Random numbers by name. When a smaller history is tried, what remains of it meets the same fate as before."""

    seed: int

    def __call__(self, *name: object) -> float:
        """From 0 to 1."""
        digest = hashlib.blake2b(repr((self.seed, *name)).encode(errors="surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


chances = st.builds(Chance, st.integers(0, 2**32))


@st.composite
def micro_batches(draw: st.DrawFn, versions: Sequence[Version]) -> list[list[Change]]:
    """The change feed as the job may read it: versions in their order, the rows of one in any, cut anywhere."""
    cut, chance = draw(st.sampled_from([0, 0.1, 0.2, 0.4, 1])), draw(chances)
    batches: list[list[Change]] = [[]]
    for version in versions:
        for unit in sorted(version.units, key=lambda unit: chance("order", unit) if cut else 0):
            batches[-1] += unit
            if chance("cut", unit) < cut:
                batches.append([])
    return [batch for batch in batches if batch]


def complete_versions(batches: Sequence[Sequence[Change]], last: int) -> list[int]:
    """For each micro-batch: the version up to which everything is read when it is done. ``last`` is the newest one."""
    return [
        min((change.version for batch in batches[number + 1 :] for change in batch), default=last + 1) - 1
        for number in range(len(batches))
    ]


# The fold


@dataclass(frozen=True)
class Event:
    """A change event, without what its row and version determine. ``content`` is None for a delete."""

    company: str
    key: Key
    version: int
    content: int | None

    @property
    def op(self) -> str:
        return "delete" if self.content is None else "upsert"

    @property
    def place(self) -> Place:
        return Place(self.company, self.key)

    def __str__(self) -> str:
        content = "" if self.content is None else f" ({CONTENTS[self.content].name})"
        return f"{self.op} of {self.place} at version {self.version}{content}"


RowHash = Callable[[Row], str]


def fold(batch: Iterable[Change], row_hash: RowHash) -> list[Event]:
    """The events that the job must send for a micro-batch: all upserts, then all deletes, then the winners.

    A delete only where the version has no upsert of the same company and key; a winner where it has several that
    differ: the one with the highest row hash once more. A row without company or key makes no event.
    """
    groups: dict[tuple[Place, int], list[Change]] = defaultdict(list)
    for change in batch:
        if change.row.company is not None and change.row.key.trade_id is not None:
            groups[change.place, change.version].append(change)
    upserts, deletes, winners = [], [], []
    for (place, version), changes in groups.items():
        rows = [change.row for change in changes if change.is_upsert]
        assert place.company is not None
        upserts += [Event(place.company, place.key, version, row.content) for row in rows]
        if not rows:
            deletes.append(Event(place.company, place.key, version, None))
        elif len({row.content for row in rows}) > 1:
            winners.append(Event(place.company, place.key, version, winner(rows, row_hash).content))
    return [*upserts, *deletes, *winners]


def winner(rows: Iterable[Row], row_hash: RowHash) -> Row:
    """Which of the rows of one place counts."""
    return max(rows, key=row_hash)
