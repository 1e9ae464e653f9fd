"""What the reader is told about the approval of a page, and what makes an approval end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lpm.config.contacts import load_contacts
from lpm.config.reviews import PageRule, Reviews
from lpm.site.page import Page
from lpm.site.reviews import Approval, Approvals, Register, ReviewError, State, decorate, digest, reviewed, states

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Reviews(
    review_every_days=30,
    pages=(
        PageRule(pages="runbooks/*", owner="lpm-team", approvers=("lead",), review_every_days=7),
        PageRule(pages="*", owner="lpm-team", approvers=("lead", "lpm-architect")),
    ),
)
PAGE = Page("runbooks/latency.md", "# latency\n\nThe limit is 60 seconds.\n")
REPORT = Page("reviews.md", "# Reviews\n\nWho approves what.\n")


def register(*approved: Page, days_ago: float = 1) -> Register:
    at = NOW - timedelta(days=days_ago)
    made = {
        page.path: Approval(digest=digest(page.text), login="admin", name="The lead", at=at, run="r")
        for page in approved
    }
    return Register(RULES, load_contacts(), Approvals(pages=made))


def state(known: Register, page: Page = PAGE) -> State:
    return states([page], known, NOW)[page.path].state


def test_a_page_is_approved_as_long_as_it_says_the_same_and_its_time_is_not_over() -> None:
    assert state(register()) == State.NEVER
    assert state(register(PAGE)) == State.APPROVED
    assert state(register(replace(PAGE, text=PAGE.text.replace("60", "61")))) == State.CHANGED
    assert state(register(PAGE, days_ago=6.9)) == State.APPROVED
    assert state(register(PAGE, days_ago=7.1)) == State.OVERDUE, "7 days is what its own rule says"
    assert state(Register(RULES, load_contacts(), None)) == State.UNKNOWN


def test_evidence_does_not_change_what_is_approved() -> None:
    measured = replace(PAGE, text=PAGE.text + "\nMeasured at 12:00: 3 seconds.\n")
    shown = reviewed([measured, REPORT], [PAGE, REPORT], register(PAGE, REPORT), NOW)[0]
    assert "Measured at 12:00" in shown.text
    assert "!!!" not in shown.text


@pytest.mark.parametrize(
    ("known", "banner", "foot"),
    [
        (register(), 'warning "Not approved yet"', "Owner: LPM integration team. Not approved yet."),
        (register(replace(PAGE, text="# other\n")), 'warning "Changed since its approval"', "team. Changed since"),
        (register(PAGE, days_ago=8), 'warning "Review overdue"', "Review overdue."),
        (register(PAGE), None, "Approved by The lead on 2026-11-23. To be looked at again before 2026-11-30."),
        (Register(RULES, load_contacts(), None), None, "built without the records of its approval"),
    ],
)
def test_the_reader_sees_the_state_at_the_top_and_who_stands_for_the_page_at_the_end(known, banner, foot) -> None:
    text = decorate(PAGE, states([PAGE], known, NOW)[PAGE.path]).text
    assert text.startswith("# latency\n"), "the first line stays the heading"
    assert text.count("The limit is 60 seconds.") == 1
    if banner:
        assert text.index(banner) < text.index("The limit is")
        assert "of the integration team approves it. [All reviews](../reviews.md)" in text
    else:
        assert "!!!" not in text
    assert text.index(foot) > text.index("The limit is")


def test_names_cannot_become_markup() -> None:
    approval = Approval(digest="0", login="x", name="<b>*Mallory*</b>", at=NOW, run="r")
    known = Register(RULES, load_contacts(), Approvals(pages={PAGE.path: approval}))
    text = decorate(PAGE, states([PAGE], known, NOW)[PAGE.path]).text
    assert "<b>" not in text
    assert "*M" not in text.replace("\\*", "")


def test_the_report_lists_every_page_by_its_state_and_is_reviewed_itself() -> None:
    other = Page("index.md", "# Home\n")
    pages = [PAGE, other, REPORT]
    report = next(page for page in reviewed(pages, pages, register(PAGE), NOW) if page.path == "reviews.md")
    never, approved = report.text.partition("### Not approved yet (2)")[2].split("### Approved (1)")
    assert "[Home](index.md)" in never and "[Reviews](reviews.md)" in never
    assert "[latency](runbooks/latency.md)" in approved and "2026-11-30" in approved
    assert 'warning "Not approved yet"' in report.text


def test_a_page_that_nobody_owns_and_a_line_for_no_page_stop_the_build() -> None:
    rules = Reviews(
        review_every_days=30, pages=(PageRule(pages="runbooks/latancy.md", owner="lpm-team", approvers=("lead",)),)
    )
    with pytest.raises(ReviewError) as caught:
        states([PAGE], Register(rules, load_contacts(), Approvals()), NOW)
    assert "runbooks/latency.md: no line of reviews.yml covers this page" in str(caught.value)
    assert "'runbooks/latancy.md' decides about no page of the site" in str(caught.value)


def test_a_page_that_is_there_only_with_evidence_cannot_be_approved() -> None:
    with pytest.raises(ReviewError, match=r"exist only with evidence, or only without: runbooks/latency\.md"):
        reviewed([PAGE, REPORT], [REPORT], register(), NOW)
