"""The report of reviews: who stands for which pages, and what was decided. The pages by state are added at the end of
the build, when every page is known (:func:`lpm.site.reviews.reviewed`)."""

from collections.abc import Iterator

from lpm.config.reviews import load_reviews
from lpm.site.facts import Facts
from lpm.site.page import Page, code, minute, table, text
from lpm.site.reviews import REPORT, Decision, read_decisions

LATEST = 20

INTRODUCTION = """# Reviews

Each page has an owner, who keeps it true, and somebody else who approves it. An approval is bound to what the page
said. When the configuration, a DAG or a sentence changes that, the page says so at its top until it is approved again.
Numbers that are measured, such as those of a round of reconciliation, change no approval.

[publish_docs](operations/publish_docs.md) asks the approvers in Airflow and keeps what they answer. The lines below are
those of `reviews.yml`; the first that covers a page decides.
"""


def pages(facts: Facts) -> Iterator[Page]:
    """The page, without the pages by state."""
    reviews = load_reviews()

    def name(contact: str) -> str:
        return text(facts.contacts.contact(contact).name)

    rules: list[list[object]] = [
        [code(rule.pages), name(rule.owner), ", ".join(map(name, rule.approvers)), reviews.days(rule)]
        for rule in reviews.pages
    ]
    header = ["Pages", "Owner", "Approves", "Good for, in days"]
    yield Page(REPORT, INTRODUCTION + "\n## Who\n" + table(header, rules) + "## What was decided\n" + _decisions(facts))


def _decisions(facts: Facts) -> str:
    evidence = facts.evidence.get(facts.environments[0])
    if evidence is None:
        return "\nThe records cannot be reached.\n"
    found = read_decisions(evidence, LATEST)
    return (
        table(["When (UTC)", "Answer", "Who", "Asked", "Approved", "Run"], list(map(_row, found)))
        if found
        else ("\nNobody was asked yet.\n")
    )


def _row(decision: Decision) -> list[object]:
    remark = f": {text(decision.remark)}" if decision.remark else ""
    return [
        minute(decision.at),
        f"{text(decision.answer)}{remark}",
        text(decision.name),
        f"{len(decision.pages)} pages",
        f"{len(decision.approved)} pages",
        code(decision.run),
    ]
