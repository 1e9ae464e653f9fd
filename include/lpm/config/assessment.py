"""What ``assessment.yml`` may say: what stakeholders told us, and what the product has to do because of it.

Not part of :func:`lpm.config.load_config`: only the site and the procedure assess need it.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from lpm.config.alerts import ConditionField
from lpm.config.contacts import load_contacts
from lpm.config.loading import load_checked
from lpm.config.measures import MEASURES
from lpm.config.models import Config, Model
from lpm.config.rules import Fault, listed_twice, unknown

FILE = "assessment.yml"

FindingKind = Literal["workflow", "access", "source", "pain_point", "limitation", "bottleneck"]
EvidenceKind = Literal["assess", "validate", "reconcile", "status", "bench"]
Story = Literal["LPM-13444", "LPM-13445", "LPM-13446", "LPM-13447", "LPM-13448", "LPM-13449", "LPM-13450", "LPM-13451"]
STORIES: tuple[Story, ...] = get_args(Story)
FINDING_KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
RepositoryPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$")]


class Measured(Model):
    """The fact that can confirm or contradict a finding."""

    fact: str = Field(description="One of the measures of assess")
    confirmed_when: ConditionField = Field(description="Comparison that is true when the finding is")


class Finding(Model):
    """What somebody said about how things are today."""

    id: str = Field(pattern=r"^F-\d\d$", description="F-01 and so on")
    kind: FindingKind = Field(description="What it is about")
    statement: str = Field(min_length=1, description="As it was said")
    said_by: str = Field(description="A contact of contacts.yml")
    date: Annotated[date, Field(description="When it was said")]
    measured: Measured | None = Field(None, description="The fact that can confirm or contradict it")
    no_requirement: str = Field("", description="Why nothing follows from it")


class Requirement(Model):
    """What the product has to do, and where that can be seen."""

    id: str = Field(pattern=r"^REQ-\d\d$", description="REQ-01 and so on")
    statement: str = Field(min_length=1, description="What the product has to do")
    story: Story = Field(description="The story that it answers")
    findings: tuple[str, ...] = Field(min_length=1, description="Where it comes from")
    design: str = Field(pattern=r"^[a-z0-9_/-]+\.md(#[a-z0-9_-]+)?$", description="Page and section below docs/")
    components: tuple[RepositoryPath, ...] = Field(
        min_length=1, description="Files and folders of the repository that do it"
    )
    tests: tuple[Annotated[str, Field(pattern=r"^tests/[\w/.]+(::test_\w+)?$")], ...] = Field(
        min_length=1, description="Tests, or files and folders of tests, that prove it"
    )
    evidence: tuple[EvidenceKind, ...] = Field(
        min_length=1, description="Kinds of evidence that show it in a real environment"
    )


class Assessment(Model):
    """``assessment.yml``."""

    findings: tuple[Finding, ...] = Field(min_length=1, description="What people said")
    requirements: tuple[Requirement, ...] = Field(min_length=1, description="What follows")

    @model_validator(mode="after")
    def _every_story_is_answered(self) -> "Assessment":
        answered = {requirement.story for requirement in self.requirements}
        if missing := [story for story in STORIES if story not in answered]:
            raise ValueError(f"no requirement for {', '.join(missing)}; every story needs one")
        return self

    def finding(self, finding_id: str) -> Finding:
        """The finding of that id; the check has seen that it exists."""
        return next(finding for finding in self.findings if finding.id == finding_id)

    def requirement(self, requirement_id: str) -> Requirement:
        """The requirement of that id.

        Raises:
            KeyError: there is none; the message names those that exist.
        """
        known = {requirement.id: requirement for requirement in self.requirements}
        if requirement_id not in known:
            raise KeyError(f"unknown requirement {requirement_id!r}; expected one of {', '.join(known)}")
        return known[requirement_id]

    def requirements_of(self, finding: Finding) -> tuple[Requirement, ...]:
        """What follows from a finding."""
        return tuple(each for each in self.requirements if finding.id in each.findings)


@cache
def load_assessment(folder: Path | None = None) -> Assessment:
    """The checked findings and requirements. Read once per process and folder.

    Raises:
        ConfigError: with every problem of the file and of the rest of the configuration.
    """
    contacts = [contact.id for contact in load_contacts(folder).contacts]

    def check(assessment: Assessment, _: Config) -> Iterator[Fault]:
        findings = [finding.id for finding in assessment.findings]
        requirements = [requirement.id for requirement in assessment.requirements]
        for part, ids in (("findings", findings), ("requirements", requirements)):
            yield from listed_twice(FILE, part, ids, "{} is listed twice")
        for index, finding in enumerate(assessment.findings):
            yield from _finding(assessment, finding, ("findings", index), contacts)
        for index, requirement in enumerate(assessment.requirements):
            for cause in requirement.findings:
                if cause not in findings:
                    where = ("requirements", index, "findings")
                    yield unknown(FILE, where, "finding", cause, findings, several=True)

    return load_checked(folder, FILE, Assessment, check)


def _finding(
    assessment: Assessment, finding: Finding, place: tuple[str | int, ...], contacts: Iterable[str]
) -> Iterator[Fault]:
    if finding.said_by not in contacts:
        yield unknown(FILE, (*place, "said_by"), "contact", finding.said_by, contacts)
    if finding.measured and finding.measured.fact not in MEASURES:
        yield unknown(FILE, (*place, "measured", "fact"), "fact", finding.measured.fact, MEASURES)
    follows = bool(assessment.requirements_of(finding))
    if follows == bool(finding.no_requirement):
        message = (
            f"{finding.id} leads to a requirement and has no_requirement; remove one"
            if follows
            else f"no requirement comes from {finding.id}: name it in one, or say why not in no_requirement"
        )
        yield Fault(FILE, place, message)
