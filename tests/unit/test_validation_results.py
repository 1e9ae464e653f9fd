"""The pages of validation: the plan as it is, results as they were, nothing skipped or old shown as passed."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from lpm.cli import parser
from lpm.config import load_config
from lpm.config.alerts import load_alerts
from lpm.config.contacts import load_contacts
from lpm.config.test_plan import load_test_plan
from lpm.procedures.percentile import percentile
from lpm.procedures.validation.results import (
    LATEST,
    NO_RESULT,
    NOT_ASKED_FOR,
    CaseResult,
    Validation,
    Verdict,
    complete,
)
from lpm.site.facts import Facts
from lpm.site.pages.validation import PLAN as PLAN_PAGE
from lpm.site.pages.validation import RESULTS, pages

PLAN = load_test_plan()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PASSED = CaseResult(
    case="insert", verdict=Verdict.PASSED, began=NOW, seconds=3.5, measured={"max_seconds": 2.0}, seen=("it did",)
)
FAILED = CaseResult(case="update", verdict=Verdict.FAILED, began=NOW, seconds=300, reason="expected: x\nseen: ```y|")


class Kept(dict[str, str]):
    """Evidence in memory."""

    def read(self, name: str) -> str | None:
        return self.get(name)

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self if name.startswith(prefix))


def validation(
    *results: CaseResult, asked: tuple[str, ...] = (), ended: datetime = NOW, not_clean: str = ""
) -> Validation:
    return Validation(
        environment="prod",
        run="https://airflow.example.com/run",
        disruptive=False,
        began=ended - timedelta(minutes=2),
        ended=ended,
        not_clean=not_clean,
        results=complete(PLAN, asked, results, None),
    )


def page(path: str, kept: Kept | None) -> str:
    facts = Facts(
        config=load_config(),
        alerts=load_alerts(),
        contacts=load_contacts(),
        procedures={},
        commands=parser(),
        environments=("prod",),
        evidence={} if kept is None else {"prod": kept},
    )
    return next(each.text for each in pages(facts, NOW) if each.path == path)


def results(*given: CaseResult, **about: object) -> str:
    return page(RESULTS, Kept({LATEST: validation(*given, **about).model_dump_json()}))  # type: ignore[arg-type]


def row(text: str, case: str) -> str:
    return next(line for line in text.splitlines() if f"(plan.md#{case})" in line)


def test_a_run_has_a_result_for_every_case_of_the_plan() -> None:
    found = complete(PLAN, ["insert", "update"], [PASSED], None)
    assert [result.case for result in found] == [case.id for case in PLAN.cases]
    verdicts = {result.case: (result.verdict, result.reason) for result in found}
    assert verdicts["insert"] == (Verdict.PASSED, "")
    assert verdicts["update"] == (Verdict.FAILED, NO_RESULT), "it was asked for, and nobody knows what became of it"
    assert verdicts["delete"] == (Verdict.SKIPPED, NOT_ASKED_FOR)


def test_what_is_skipped_remembers_when_it_last_ran_however_often_it_is_skipped() -> None:
    before = validation(PASSED)
    for _ in range(2):
        before = before.model_copy(update={"results": complete(PLAN, [], [], before)})
    result = before.of("insert")
    assert result is not None
    assert result.verdict is Verdict.SKIPPED
    assert result.last_run is not None
    assert (result.last_run.verdict, result.last_run.began) == (Verdict.PASSED, NOW)


def test_the_plan_shows_every_case_and_every_gap() -> None:
    text = page(PLAN_PAGE, None)
    for case in PLAN.cases:
        assert f"{{ #{case.id} }}" in text
        assert all(step.partition(".")[0].split("`")[0][:20] in text.replace("\\", "") for step in case.steps), case.id
    contacts = load_contacts()
    for gap in PLAN.gaps:
        line = next(line for line in text.splitlines() if gap.title in line)
        assert contacts.contact(gap.owner).name in line
        assert f"| {gap.status} | {gap.since} |" in line


def test_results_say_what_passed_with_its_figures_and_what_failed_with_its_reason() -> None:
    text = results(PASSED, FAILED)
    assert "✔ passed | 2026-11-24 12:00 | 3.5 | it did <br>*max seconds 2*" in row(text, "insert")
    assert "✘ **failed**" in row(text, "update")
    assert "expected: x\nseen: '''y|" in text, "the reason as a whole, and it cannot leave its block"
    assert "**1 passed, 1 failed, " in text


def test_skipped_is_never_shown_as_passed() -> None:
    text = row(results(PASSED), "delete")
    assert "skipped" in text
    assert "It never ran here." in text
    assert "✔" not in text


def test_a_skipped_case_says_when_it_last_ran() -> None:
    run = validation()
    run = run.model_copy(update={"results": complete(PLAN, [], [], validation(PASSED))})
    text = row(page(RESULTS, Kept({LATEST: run.model_dump_json()})), "insert")
    assert "| skipped | " in text
    assert "Last ran 2026-11-24 12:00: passed." in text


@pytest.mark.parametrize(("days", "old"), [(29, False), (31, True)])
def test_old_results_say_so(days: int, old: bool) -> None:
    text = results(PASSED, ended=NOW - timedelta(days=days))
    assert (f"This run is {days} days old" in text) is old


def test_rows_that_were_left_behind_are_told() -> None:
    assert "Rows of validation were left behind" in results(PASSED, not_clean="2 rows in C-1")
    assert "left behind" not in results(PASSED)


@pytest.mark.parametrize(
    ("kept", "words"),
    [(None, "could not be read"), (Kept(), "has not run"), (Kept({LATEST: '{"a": 1}'}), "not in the form")],
)
def test_without_results_the_page_says_why(kept: Kept | None, words: str) -> None:
    text = page(RESULTS, kept)
    assert words in text
    assert "passed |" not in text


def test_a_case_that_is_new_in_the_plan_has_not_passed() -> None:
    run = validation(PASSED)
    shorter = run.model_copy(update={"results": tuple(each for each in run.results if each.case != "burst")})
    assert "not run" in row(page(RESULTS, Kept({LATEST: shorter.model_dump_json()})), "burst")


def test_a_result_of_a_case_that_left_the_plan_is_named() -> None:
    run = validation(PASSED)
    more = run.model_copy(update={"results": (*run.results, PASSED.model_copy(update={"case": "gone"}))})
    assert "No longer in the plan: `gone`." in page(RESULTS, Kept({LATEST: more.model_dump_json()}))


def test_every_link_between_the_two_pages_leads_to_a_case() -> None:
    anchors = set(re.findall(r"\{ #([a-z-]+) \}", page(PLAN_PAGE, None)))
    assert set(re.findall(r"\(plan\.md#([a-z-]+)\)", results(PASSED))) <= anchors


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([1.0], 0.95) == 1.0
    assert percentile([float(value) for value in range(1, 101)], 0.95) == 95.0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
