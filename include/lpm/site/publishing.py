"""What the approvers of the site are asked, and what follows from their answer."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from lpm.clients.evidence import EvidenceError, EvidenceStore, dated_name
from lpm.config import Config
from lpm.config.contacts import Contact, Contacts
from lpm.config.reviews import Reviews
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.site.build import SiteError, build_site, definitions
from lpm.site.facts import Facts
from lpm.site.prose import ProseError
from lpm.site.releases import LIVE
from lpm.site.reviews import (
    APPROVALS,
    DECISIONS,
    Approval,
    Approvals,
    Decision,
    Register,
    Review,
    ReviewError,
    State,
    read_approvals,
    states,
)


class Answer(StrEnum):
    """What an approver may say."""

    APPROVE = "Approve and publish"
    DRAFT = "Publish as draft"
    REJECT = "Reject"


@dataclass(frozen=True)
class Question:
    """What has to be asked before the pages can be published as approved ones. ``text`` is Markdown."""

    pages: Mapping[str, str]  # digests of the pages that are not approved as they are, by path
    text: str


@dataclass(frozen=True)
class Response:
    """What came back to the question of a DAG run, and when (UTC).

    Attributes:
        logins: What Airflow calls whoever answered: its name and its id of the user. Empty when nobody did in time.
        remark: What they wrote with it.
    """

    answer: Answer
    logins: tuple[str, ...]
    at: datetime
    run: str
    remark: str | None = None

    @property
    def login(self) -> str | None:
        """How the record calls them."""
        return self.logins[0] if self.logins else None


def reachable_evidence(config: Config, names: Sequence[str]) -> tuple[dict[str, EvidenceStore], list[str]]:
    """The evidence stores of these environments, and why others of them cannot be reached.

    Raises:
        EvidenceError: the first one, into which the site is published, cannot be reached.
    """
    found, failures = {}, []
    for name in names:
        try:
            store = EvidenceStore(config.environment(name))
            store.read(LIVE)
        except EvidenceError as error:
            if name == names[0]:
                raise
            failures.append(f"without the evidence of {name}: {str(error).partition(chr(10))[0]}")
            continue
        found[name] = store
    return found, failures


@contextmanager
def checked_site(facts: Facts) -> Iterator[Path]:
    """The folder of the built site, which is gone afterwards.

    Raises:
        ProcedureError: the pages have faults, all of which it names: trying again does not help.
    """
    with tempfile.TemporaryDirectory(prefix="lpm-site-") as folder:
        try:
            site = build_site(facts, Path(folder))
        except (SiteError, ReviewError, ProseError) as error:
            raise ProcedureError(
                f"{error}\nNext step: correct the pages, deploy them, trigger again. The last site stays until then."
            ) from error
        yield site


def question(facts: Facts, register: Register, now: datetime) -> Question:
    """Which pages of a site without faults are not approved as they are, and how to put that to the approvers."""
    known = states(definitions(facts), register, now)
    open_ones = [review for _, review in sorted(known.items()) if review.state != State.APPROVED]
    return Question({review.page.path: review.digest for review in open_ones}, _text(open_ones))


def _text(open_ones: Sequence[Review]) -> str:
    lines = [f"- `{review.page.path}`: {review.state}; {_since(review)}owner {review.owner}" for review in open_ones]
    explained = (
        f"**{Answer.APPROVE}** approves those of the pages below that you are an approver of, and publishes. "
        f"**{Answer.DRAFT}** publishes them with a note at their top. **{Answer.REJECT}** leaves the site as it is."
    )
    return "\n".join([explained, "", *lines])  # all of them: nobody approves what they were not shown


def _since(review: Review) -> str:
    return f"approved by {review.approval.name} on {review.approval.at:%Y-%m-%d}; " if review.approval else ""


def record(
    store: EvidenceStore, reviews: Reviews, contacts: Contacts, asked: Mapping[str, str], response: Response
) -> Outcome:
    """Keep what was answered, and the approvals that follow from it.

    Whoever approves does so for the pages that ``reviews.yml`` gives them; the others stay as they were. An approval is
    of the pages as they were when the question was put (``asked``), not as they may be by now.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    people = [contact for contact in contacts.contacts if contact.login and contact.login in response.logins]
    approved = tuple(path for path in asked if response.answer == Answer.APPROVE and _may(people, reviews, path))
    name = " / ".join(contact.name for contact in people) or response.login or "nobody in time"
    if approved:
        made = {
            path: Approval(digest=asked[path], login=response.login or "", name=name, at=response.at, run=response.run)
            for path in approved
        }
        kept = Approvals(pages={**read_approvals(store).pages, **made})
        store.write(APPROVALS, kept.model_dump_json(indent=1))
    decision = Decision(
        answer=response.answer,
        login=response.login,
        name=name,
        remark=response.remark,
        at=response.at,
        run=response.run,
        pages=dict(asked),
        approved=approved,
    )
    store.write(dated_name(DECISIONS, response.at), decision.model_dump_json(indent=1))
    left = sorted(set(asked) - set(approved))
    return Outcome(
        bool(approved),
        f"{response.answer}, by {name}: {len(approved)} of {len(asked)} pages approved",
        tuple(f"not approved: {path}" for path in left),
    )


def _may(people: Sequence[Contact], reviews: Reviews, path: str) -> bool:
    rule = reviews.rule_of(path)
    return rule is not None and any(contact.id in rule.approvers for contact in people)
