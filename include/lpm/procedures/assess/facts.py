"""What a fact is, how it is measured by a statement, and how the facts of a run are kept as evidence."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, ValidationError, field_validator

from lpm.clients.databricks import DatabricksClient, SqlValue, StatementFailed
from lpm.clients.evidence import Readable, Writable, keep_as_latest, latest_name
from lpm.config.measures import MEASURES, Measure
from lpm.procedures.outcome import Outcome
from lpm.procedures.record import Record

FOLDER = "assess"  # in the evidence store
LATEST = latest_name(FOLDER)
SCAN_SECONDS = 3600.0  # for a statement that reads the whole table
UNAVAILABLE = "not available here: "
LONGEST_REASON = 240

Number = int | float


class Fact(Record):
    """One measured thing.

    Attributes:
        name: One of ``lpm.config.measures``, which says meaning and unit.
        value: None when it could not be measured here; then ``note`` says why.
        values: What it consists of, by company, column and so on.
        how: The statement or the calls that measured it.
        at: When, UTC.
        needed: What the design needs, in words; empty when it needs nothing.
        meets: Whether the value is what is needed; None when that is not known, or nothing is needed.
        note: What else is to say about it.
        weak: Why the value is no ground to judge a finding by; empty when it is one.
    """

    name: str
    value: Number | None
    values: Mapping[str, Number | str] = {}
    how: str
    at: AwareDatetime
    needed: str = ""
    meets: bool | None = None
    note: str = ""
    weak: str = ""

    @field_validator("name")
    @classmethod
    def _is_a_measure(cls, name: str) -> str:
        if name not in MEASURES:
            raise ValueError(f"unknown measure {name!r}; expected one of {', '.join(MEASURES)}")
        return name

    @property
    def measure(self) -> Measure:
        """Its meaning and its unit."""
        return MEASURES[self.name]

    @property
    def text(self) -> str:
        """The value for people, with its unit; why there is none when there is none."""
        if self.value is None:
            return self.note
        if self.measure.unit == "yes/no":
            return f"{'yes' if self.value else 'no'}{f' ({self.note})' if self.note else ''}"
        return f"{number_text(self.value)} {_unit(self.value, self.measure.unit)}"


class Baseline(Record):
    """The facts of one run. ``window_days`` is how far back changes and reads were counted."""

    environment: str
    table: str
    at: AwareDatetime
    window_days: int
    facts: tuple[Fact, ...]

    def fact(self, name: str) -> Fact | None:
        """The fact of that name."""
        return next((fact for fact in self.facts if fact.name == name), None)


@dataclass(frozen=True)
class Answer:
    """A statement and what it gave. With a ``refusal`` there are no rows, and no fact made of it has a value."""

    statement: str
    at: datetime
    rows: list[dict[str, str | None]]
    refusal: str = ""

    def fact(self, name: str, value: Number | None, **more: Any) -> Fact:
        """A fact that this answer tells, or that it is not available."""
        if self.refusal:
            return Fact(name=name, value=None, how=self.statement, at=self.at, note=UNAVAILABLE + self.refusal)
        return Fact(name=name, value=value, how=self.statement, at=self.at, **more)

    def number(self, column: str) -> int:
        """A number of the only row; 0 for NULL, and when there is no row."""
        return int(self.rows[0][column] or 0) if self.rows else 0


def number_text(value: Number) -> str:
    """A number for people: thousands apart, no digit lost."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:,.10g}"


def ask(databricks: DatabricksClient, statement: str, parameters: Mapping[str, SqlValue] | None = None) -> Answer:
    """Run a statement that has to work.

    Raises:
        StatementFailed: it did not.
    """
    rows = databricks.run_sql(statement, parameters, SCAN_SECONDS).records()
    return Answer(_one_line(statement), datetime.now(UTC), rows)


def ask_if_possible(
    databricks: DatabricksClient, statement: str, parameters: Mapping[str, SqlValue] | None = None
) -> Answer:
    """Run a statement that not every workspace knows, or that needs a right which may be missing."""
    try:
        return ask(databricks, statement, parameters)
    except StatementFailed as error:
        return refused(statement, reason_of(error))


def refused(statement: str, reason: str) -> Answer:
    """The answer of a statement that was refused, or that makes no sense here."""
    return Answer(_one_line(statement), datetime.now(UTC), [], reason)


def reason_of(error: StatementFailed) -> str:
    """Why a statement failed, in Databricks' own words: the line with the error class, if there is one."""
    lines = str(error).splitlines()
    classed = re.search(r"\[[A-Z][A-Z0-9_.]+\][^\n]*", str(error))
    line = classed[0] if classed else " ".join(lines[1:2] or lines[:1])
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


def told(facts: Iterable[Fact]) -> Outcome:
    """What a task reports of its facts."""
    facts = list(facts)
    without = [fact for fact in facts if fact.value is None]
    short = [fact for fact in facts if fact.meets is False]
    summary = f"{len(facts)} facts: {len(short)} are not what the design needs, {len(without)} cannot be measured here"
    lines = (f"{fact.name}: {fact.text}{f'; needed: {fact.needed}' if fact.meets is False else ''}" for fact in facts)
    return Outcome(False, summary, tuple(lines))


def keep(store: Writable, baseline: Baseline) -> str:
    """Write the facts of a run under its time, and as the latest. Returns the name of the first.

    Raises:
        EvidenceError: the store refuses.
    """
    return keep_as_latest(store, FOLDER, baseline.at, baseline.model_dump_json(indent=2))


def latest(store: Readable) -> Baseline | None:
    """The facts of the latest run; None when there are none, or another version of the product wrote them.

    Raises:
        EvidenceError: the store refuses.
    """
    text = store.read(LATEST)
    try:
        return Baseline.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _unit(value: Number, unit: str) -> str:
    if value != 1 or unit == "ms":
        return unit
    return "company" if unit == "companies" else unit.removesuffix("s")


def _one_line(statement: str) -> str:
    return " ".join(statement.split())
