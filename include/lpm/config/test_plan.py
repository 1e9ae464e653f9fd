"""What ``test_plan.yml`` may say: the cases of the procedure ``validate``, and what is known not to be proven.

Not part of :func:`lpm.config.load_config`: only validation and the site need it.
"""

from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from lpm.config.assessment import Story
from lpm.config.contacts import load_contacts
from lpm.config.loading import load_checked
from lpm.config.models import DNS_LABEL, Config, Model
from lpm.config.rules import Fault, listed_twice, unknown

FILE = "test_plan.yml"
CANARIES = 2  # a company move needs two, and two shards show that each router runs
KEY_ROOM = 20  # characters that validation writes behind its key prefix

CaseKind = Literal["success", "failure", "edge", "latency", "access"]
CASE_KINDS: tuple[CaseKind, ...] = get_args(CaseKind)
GapStatus = Literal["open", "planned", "accepted"]
Sentence = Annotated[str, Field(min_length=1)]


class Rows(Model):
    """How validation's rows are told from all others."""

    key_prefix: str = Field(
        pattern=r"^[A-Z][A-Z0-9-]{3,20}-$", description="Begins the first text column of the key of every row."
    )
    unknown_company: str = Field(min_length=1, description="A company id that is configured nowhere and never will be.")


class PlanLimits(Model):
    """How much a case writes, and how long it waits."""

    wait_seconds: float = Field(gt=0, description="For something to come true, before the case has failed.")
    burst_rows: int = Field(ge=2, le=100_000, description="Rows of one commit in the case burst.")
    latency_commits: int = Field(ge=5, le=100, description="Commits of one row each in the case latency-objective.")
    results_old_after_days: int = Field(ge=1, description="After that a result is shown as old.")


class Case(Model):
    """One case: what it does, and what it proves."""

    id: str = Field(pattern=DNS_LABEL, description="Name of the case")
    title: Sentence = Field(description="In a few words")
    kind: CaseKind = Field(description="What is tried")
    proves: Sentence = Field(description="In one sentence.")
    requirements: tuple[Annotated[str, Field(pattern=r"^REQ-\d\d$")], ...] = Field(
        min_length=1, description="Which ones it proves"
    )
    story: Story = Field(description="The story that it answers")
    disruptive: bool = Field(False, description="Touches whole shards, so it runs only where somebody asks for it.")
    steps: tuple[Sentence, ...] = Field(min_length=1, description="What it does, in order")
    expected: Sentence = Field(description="What is seen when all is well")


class Gap(Model):
    """Something that is known not to be proven, or known to be wrong."""

    id: str = Field(pattern=DNS_LABEL, description="Name of the gap")
    title: Sentence = Field(description="In a few words")
    what: Sentence = Field(description="What is not proven, or wrong")
    owner: str = Field(description="A contact of contacts.yml.")
    status: GapStatus = Field(description="What is done about it")
    since: date = Field(description="When it was noticed")
    next_step: Sentence = Field(description="What would close it")


class TestPlan(Model):
    """``test_plan.yml``."""

    __test__ = False  # pytest takes what is called Test… for tests

    rows: Rows = Field(description="How validation's rows are told from all others")
    limits: PlanLimits = Field(description="How much a case writes, and how long it waits")
    cases: tuple[Case, ...] = Field(min_length=1, description="Every case")
    gaps: tuple[Gap, ...] = Field((), description="What is known to be missing")

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            KeyError: there is none; the message names those that exist.
        """
        known = {case.id: case for case in self.cases}
        if case_id not in known:
            raise KeyError(f"unknown case {case_id!r}; expected one of {', '.join(known)}")
        return known[case_id]

    def cases_of(self, kind: CaseKind) -> tuple[Case, ...]:
        """The cases of one kind, in the order of the file."""
        return tuple(case for case in self.cases if case.kind == kind)


@cache
def load_test_plan(folder: Path | None = None) -> TestPlan:
    """The checked plan. Read once per process and folder.

    Raises:
        ConfigError: with every problem of the file and of the rest of the configuration.
    """
    contacts = [contact.id for contact in load_contacts(folder).contacts]

    def check(plan: TestPlan, config: Config) -> Iterator[Fault]:
        for part, ids in (("cases", [case.id for case in plan.cases]), ("gaps", [gap.id for gap in plan.gaps])):
            yield from listed_twice(FILE, part, ids, "{!r} is listed twice")
        for index, gap in enumerate(plan.gaps):
            if gap.owner not in contacts:
                yield unknown(FILE, ("gaps", index, "owner"), "contact", gap.owner, contacts)
        yield from _rows(plan, config)

    return load_checked(folder, FILE, TestPlan, check)


def key_column(config: Config) -> str | None:
    """The first text column of the key, which carries the prefix; None when the key has none."""
    kinds = {column.name: column.type.kind for column in config.table.columns}
    return next((name for name in config.table.key if kinds[name] == "string"), None)


def _rows(plan: TestPlan, config: Config) -> Iterator[Fault]:
    if plan.rows.unknown_company in [company.id for company in config.companies]:
        message = f"{plan.rows.unknown_company!r} is a configured company; its rows would arrive"
        yield Fault(FILE, ("rows", "unknown_company"), message)
    if len({company.shard for company in config.canaries}) < CANARIES:
        yield Fault(
            "companies.yml",
            ("companies",),
            f"validation needs {CANARIES} companies with canary: true, on different shards; found "
            f"{', '.join(company.id for company in config.canaries) or 'none'}",
        )
    column = key_column(config)
    length = config.table.column(column).type.length if column else None
    if length and length < len(plan.rows.key_prefix) + KEY_ROOM:
        yield Fault(
            FILE,
            ("rows", "key_prefix"),
            f"leaves no room for {KEY_ROOM} characters in key column {column!r}, which takes {length}",
        )
