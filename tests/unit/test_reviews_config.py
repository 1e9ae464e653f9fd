"""reviews.yml says everything that is wrong with it, at once, and where."""

from pathlib import Path

import pytest

from config_edits import replaced
from lpm.config import ConfigError
from lpm.config.contacts import load_contacts
from lpm.config.reviews import load_reviews


def test_the_first_rule_that_covers_a_page_decides(folder: Path) -> None:
    (folder / "reviews.yml").write_text(
        "review_every_days: 100\n"
        "pages:\n"
        "  - {pages: start/audit.md, owner: lpm-team, approvers: [lead], review_every_days: 7}\n"
        "  - {pages: start/*, owner: lpm-team, approvers: [lpm-architect]}\n"
    )
    reviews = load_reviews(folder)
    rules = {path: reviews.rule_of(path) for path in ("start/audit.md", "start/deep/below.md", "index.md")}
    assert rules["start/audit.md"].approvers == ("lead",)
    assert rules["start/deep/below.md"].approvers == ("lpm-architect",), "* stands for slashes too"
    assert rules["index.md"] is None, "no rule is no permission"
    assert [reviews.days(rule) for rule in rules.values() if rule] == [7, 100]
    assert reviews.approvers == ("lead", "lpm-architect")


def test_every_approver_can_be_asked_by_airflow() -> None:
    contacts = load_contacts()
    assert all(contacts.contact(contact).login for contact in load_reviews().approvers)


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("approvers: [lead]}", "approvers: [leed]}", "pages.0.approvers", "unknown contact 'leed' of contacts.yml"),
        ("owner: lpm-team", "owner: lpm-teem", "pages.0.owner", "did you mean 'lpm-team'?"),
        ("approvers: [lead]}", "approvers: [duty-engineer]}", "pages.0.approvers", "has no login in contacts.yml"),
        ("owner: lpm-team, approvers: [lead]}", "owner: lead, approvers: [lead]}", "pages.0", "somebody else has to"),
        ("approvers: [lead]}", "approvers: []}", "pages.0.approvers", "at least 1 item"),
        ('pages: "operations/*"', 'pages: "runbooks/*"', "pages.1.pages", "'runbooks/*' is listed twice"),
        ("review_every_days: 180", "review_every_days: 0", "review_every_days", "greater than or equal to 1"),
        ("approvers: [lead]}", "approver: [lead]}", "pages.0.approver", "did you mean 'approvers'?"),
    ],
)
def test_a_fault_is_shown_with_its_place(folder: Path, old: str, new: str, place: str, message: str) -> None:
    line = replaced(folder / "reviews.yml", old, new)
    with pytest.raises(ConfigError) as caught:
        load_reviews(folder)
    found = "\n".join(str(problem) for problem in caught.value.problems)
    assert f"{place}" in found
    assert f"reviews.yml:{line}: " in found
    assert message in found
