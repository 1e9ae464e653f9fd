"""Whether each page of the site is approved as it stands, and telling the reader so.

What is approved is the *definition* of a page: its Markdown as the configuration, the DAG files and the repository make
it, rendered without any evidence. So a changed threshold, name or sentence changes the page that says it, and the
numbers that come in every hour change none.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from lpm.config.contacts import Contacts
from lpm.config.reviews import Reviews
from lpm.site.facts import EvidenceReader
from lpm.site.page import Page, note, table, text

REPORT = "reviews.md"
APPROVALS, DECISIONS = "reviews/approvals.json", "reviews/decisions"


class ReviewError(RuntimeError):
    """Pages and ``reviews.yml`` do not fit together. The message lists all of them."""


class State(StrEnum):
    """Of a page. The order is the order of the report."""

    CHANGED = "changed since its approval"
    OVERDUE = "review overdue"
    NEVER = "not approved yet"
    APPROVED = "approved"
    UNKNOWN = "not known"  # the site is built without its evidence


class Record(BaseModel):
    """Frozen; what a later version adds is passed over."""

    model_config = ConfigDict(frozen=True)


class Approval(Record):
    """Somebody approved one page as it was then. ``at`` is UTC, ``run`` the DAG run that asked."""

    digest: str
    login: str
    name: str
    at: datetime
    run: str


class Approvals(Record):
    """The latest approval of each page, by path."""

    pages: Mapping[str, Approval] = {}


class Decision(Record):
    """What was answered to one question. ``pages`` are the digests of the pages it was about, by path."""

    answer: str
    login: str | None  # None: nobody answered in time
    name: str
    remark: str | None
    at: datetime
    run: str
    pages: Mapping[str, str]
    approved: tuple[str, ...]


@dataclass(frozen=True)
class Register:
    """Who stands for which pages, and what was approved so far; None when that cannot be known."""

    reviews: Reviews
    contacts: Contacts
    approvals: Approvals | None


@dataclass(frozen=True)
class Review:
    """One page, who stands for it and how it stands. ``due`` is the day before which it is to be looked at again."""

    page: Page
    digest: str
    owner: str
    approvers: tuple[str, ...]
    state: State
    approval: Approval | None = None
    due: datetime | None = None


def digest(definition: str) -> str:
    """What an approval is bound to: SHA-256 of a page's definition."""
    return hashlib.sha256(definition.encode("utf-8")).hexdigest()


def read_approvals(evidence: EvidenceReader) -> Approvals:
    """The approvals so far; none before the first."""
    kept = evidence.read(APPROVALS)
    return Approvals.model_validate_json(kept) if kept else Approvals()


def read_decisions(evidence: EvidenceReader, most: int) -> list[Decision]:
    """The newest answers, the newest first."""
    names = sorted(evidence.names(f"{DECISIONS}/"), reverse=True)[:most]
    return [Decision.model_validate(json.loads(kept)) for name in names if (kept := evidence.read(name))]


def states(definitions: Iterable[Page], register: Register, now: datetime) -> dict[str, Review]:
    """How each page stands, by path.

    Args:
        definitions: Every page of the site, rendered without evidence.
        register: Who stands for the pages, and what was approved.
        now: UTC.

    Raises:
        ReviewError: a page has no rule, or a rule is about no page.
    """
    pages = list(definitions)
    if faults := _faults(pages, register.reviews):
        raise ReviewError("\n".join(faults))
    return {page.path: _state(page, register, now) for page in pages}


def _faults(pages: Sequence[Page], reviews: Reviews) -> list[str]:
    rules = {page.path: reviews.rule_of(page.path) for page in pages}
    used = [rule for rule in rules.values() if rule]
    return [
        *(
            f"{path}: no line of reviews.yml covers this page\nNext step: say who owns and who approves it."
            for path, rule in rules.items()
            if rule is None
        ),
        *(
            f"reviews.yml: {rule.pages!r} decides about no page of the site\nNext step: correct or remove the line."
            for rule in reviews.pages
            if rule not in used and "*" not in rule.pages  # a pattern may wait for pages that evidence brings
        ),
    ]


def _state(page: Page, register: Register, now: datetime) -> Review:
    reviews, contacts, approvals = register.reviews, register.contacts, register.approvals
    rule = reviews.rule_of(page.path)
    assert rule is not None, "seen by _faults"
    found, approval = digest(page.text), approvals.pages.get(page.path) if approvals else None
    due = approval.at + timedelta(days=reviews.days(rule)) if approval else None
    if approvals is None:
        state = State.UNKNOWN
    elif approval is None or due is None:
        state = State.NEVER
    elif approval.digest != found:
        state = State.CHANGED
    else:
        state = State.OVERDUE if due < now else State.APPROVED
    return Review(
        page,
        found,
        contacts.contact(rule.owner).name,
        tuple(contacts.contact(contact).name for contact in rule.approvers),
        state,
        approval,
        due,
    )


def reviewed(pages: Iterable[Page], definitions: Iterable[Page], register: Register, now: datetime) -> list[Page]:
    """The pages with what the reader has to know about their approval, and the report with every page by its state.

    Args:
        pages: As they will be published, evidence included.
        definitions: The same pages rendered without evidence; the rest is as :func:`states` takes it.

    Raises:
        ReviewError: as :func:`states`.
    """
    known, pages = states(definitions, register, now), list(pages)
    if strangers := sorted({page.path for page in pages} ^ known.keys()):
        raise ReviewError(
            f"these pages exist only with evidence, or only without: {', '.join(strangers)}\n"
            "Next step: make the page always, and have it say that there is no evidence yet."
        )
    return [
        decorate(Page(page.path, page.text + report(known)) if page.path == REPORT else page, known[page.path])
        for page in pages
    ]


def decorate(page: Page, review: Review) -> Page:
    """The page with a banner under its heading, unless it is approved, and who stands for it at its end."""
    heading, _, body = page.text.partition("\n")
    to_report = "" if page.path == REPORT else f" [All reviews]({'../' * page.path.count('/')}{REPORT})"
    banner = _banner(review)
    top = note("warning", review.state.capitalize(), f"{banner}{to_report}") if banner else ""
    foot = f"\n---\n\n<small>Owner: {text(review.owner)}. {_standing(review)}{to_report}</small>\n"
    return Page(page.path, f"{heading}\n{top}{body.rstrip()}\n{foot}")


def _banner(review: Review) -> str:
    who = _or(review.approvers)
    if review.state == State.NEVER:
        return f"Nobody has approved this page yet. {who} approves it."
    if review.state == State.CHANGED and review.approval:
        return f"{_approved(review.approval)} What it says has changed since. {who} approves it."
    if review.state == State.OVERDUE and review.due:
        return f"It was to be looked at again before {_day(review.due)}. {who} approves it."
    return ""


def _standing(review: Review) -> str:
    if review.state == State.UNKNOWN:
        return "This copy was built without the records of its approval."
    if review.state == State.APPROVED and review.approval and review.due:
        return f"{_approved(review.approval)} To be looked at again before {_day(review.due)}."
    return f"{review.state.capitalize()}."


def _approved(approval: Approval) -> str:
    return f"Approved by {text(approval.name)} on {_day(approval.at)}."


def _or(names: Sequence[str]) -> str:
    return " or ".join(text(name) for name in names)


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def report(known: Mapping[str, Review]) -> str:
    """Every page by its state, as a part of the report page."""
    parts = ["\n## Pages by state\n"]
    for state in State:
        found = [review for path, review in sorted(known.items()) if review.state == state]
        if found:
            rows = [_row(review) for review in found]
            heading = f"\n### {state.capitalize()} ({len(found)})\n"
            parts.append(heading + table(["Page", "Owner", "Approves", "Last approval", "Due"], rows))
    return "".join(parts)


def _row(review: Review) -> list[object]:
    approval = review.approval
    return [
        f"[{text(review.page.title)}]({review.page.path})",
        text(review.owner),
        _or(review.approvers),
        f"{text(approval.name)}, {_day(approval.at)}" if approval else "",
        _day(review.due) if review.due else "",
    ]
