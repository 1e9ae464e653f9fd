"""assessment.yml names only what exists: facts, contacts, pages, paths and tests; nothing in it leads nowhere."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from config_edits import replaced
from lpm.config import ConfigError
from lpm.config.assessment import FINDING_KINDS, STORIES, load_assessment
from lpm.config.measures import MEASURES, PARTS

ROOT = Path(__file__).resolve().parents[2]
ASSESSMENT = load_assessment()
Edit = Callable[[str, str], int]


@pytest.fixture
def edit(folder: Path) -> Edit:
    return partial(replaced, folder / "assessment.yml", count=-1)


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_assessment(folder)
    return [str(problem) for problem in caught.value.problems]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as MkDocs makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("story", STORIES)
def test_every_story_has_a_requirement(story) -> None:
    assert [each.id for each in ASSESSMENT.requirements if each.story == story]


@pytest.mark.parametrize("requirement", ASSESSMENT.requirements, ids=lambda requirement: requirement.id)
def test_every_page_path_and_test_of_a_requirement_exists(requirement) -> None:
    page, _, anchor = requirement.design.partition("#")
    assert (ROOT / "docs" / page).is_file(), f"write docs/{page}, or name another page"
    assert not anchor or anchor in anchors(ROOT / "docs" / page), f"docs/{page} has no heading #{anchor}"
    for component in requirement.components:
        assert (ROOT / component).exists(), f"{requirement.id}: there is no {component}"
    for test in requirement.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), f"{requirement.id}: there is no {path}"
        if name:
            assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test
        else:
            assert (ROOT / path).is_file() or list((ROOT / path).rglob("test_*.py")), f"{test} holds no test"


def test_every_finding_leads_to_a_requirement_or_says_why_not() -> None:
    for finding in ASSESSMENT.findings:
        assert bool(ASSESSMENT.requirements_of(finding)) != bool(finding.no_requirement), finding.id


def test_every_kind_of_finding_is_there_and_all_are_marked_as_examples() -> None:
    assert {finding.kind for finding in ASSESSMENT.findings} == set(FINDING_KINDS)
    assert all(finding.statement.startswith("EXAMPLE. ") for finding in ASSESSMENT.findings)


def test_every_measure_is_of_a_part_and_is_named_once() -> None:
    assert {measure.part for measure in MEASURES.values()} == set(PARTS)
    assert all(measure.meaning.endswith(".") for measure in MEASURES.values())


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("said_by: lpm-team", "said_by: lpm-taem", "findings.0.said_by", "did you mean 'lpm-team'?"),
        ("fact: readers", "fact: raeders", "findings.3.measured.fact", "did you mean 'readers'?"),
        ("findings: [F-03]", "findings: [F-33]", "requirements.5.findings", "unknown finding 'F-33'"),
        ("findings: [F-21, F-11]", "findings: [F-05]", "findings.20", "no requirement comes from F-21: name it in one"),
        ("id: REQ-02", "id: REQ-01", "requirements.1.id", "REQ-01 is listed twice"),
        ("story: LPM-13451", "story: LPM-13450", "(file)", "no requirement for LPM-13451"),
        ("kind: workflow", "kind: work", "findings.0.kind", "Input should be 'workflow'"),
        ('confirmed_when: "<= 2"', 'confirmed_when: "few"', "findings.3.measured.confirmed_when", "a comparison"),
    ],
)
def test_a_mistake_is_named_with_its_place(folder, edit, old, new, place, message) -> None:
    edit(old, new)
    found = problems(folder)
    assert any(place in problem and message in problem for problem in found), found
