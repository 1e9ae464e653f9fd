"""From each story to its evidence and back, without a gap."""

from dataclasses import replace

import pytest

from lpm.config.assessment import STORIES, load_assessment
from lpm.config.test_plan import load_test_plan
from lpm.site.facts import Facts
from lpm.site.pages import traceability


def test_no_link_is_missing_in_either_direction(facts: Facts) -> None:
    assert traceability.missing(facts, load_assessment(), load_test_plan()) == []


def test_the_page_has_every_story_requirement_procedure_case_and_finding(facts: Facts) -> None:
    [page] = traceability.pages(facts)
    assessment, plan = load_assessment(), load_test_plan()
    for each in (
        *STORIES,
        *(requirement.id for requirement in assessment.requirements),
        *(finding.id for finding in assessment.findings),
        *(case.id for case in plan.cases),
        *(f"[{name}](operations/{name}.md)" for name in facts.procedures),
    ):
        assert each in page.text
    assert "Missing links" not in page.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"components": ("include/lpm/gone.py",)}, "REQ-01: component include/lpm/gone.py does not exist"),
        ({"tests": ("tests/unit/test_gone.py",)}, "REQ-01: test tests/unit/test_gone.py does not exist"),
        (
            {"tests": ("tests/unit/test_config.py::test_gone",)},
            "REQ-01: test tests/unit/test_config.py::test_gone does not exist",
        ),
        ({"id": "REQ-90"}, None),
    ],
)
def test_a_link_that_leads_nowhere_is_named(facts: Facts, change: dict[str, object], said: str | None) -> None:
    assessment = load_assessment()
    first = assessment.requirements[0].model_copy(update=change)
    changed = assessment.model_copy(update={"requirements": (first, *assessment.requirements[1:])})
    plan = load_test_plan()
    case = plan.cases[0].model_copy(update={"requirements": ("REQ-99",)})
    plan = plan.model_copy(update={"cases": (case, *plan.cases[1:])})
    found = traceability.missing(facts, changed, plan)
    assert f"case {case.id}: requirement REQ-99 does not exist" in found
    assert said is None or said in found


def test_a_procedure_that_nobody_asked_for_is_named(facts: Facts) -> None:
    stray = facts.procedures["control"].model_copy(update={"name": "stray"})
    more = replace(facts, procedures={**facts.procedures, "stray": stray})
    assert traceability.missing(more, load_assessment(), load_test_plan()) == [
        "procedure stray: no requirement names dags/stray.py"
    ]
