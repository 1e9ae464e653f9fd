"""test_plan.yml says everything that is wrong with it, and is what the code runs, both ways."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config_edits import replaced
from lpm.config import ConfigError, load_config
from lpm.config.assessment import load_assessment
from lpm.config.test_plan import CASE_KINDS, key_column, load_test_plan
from lpm.procedures.validation.cases import CASES, stops

PLAN = load_test_plan()
Edit = Callable[..., int]


@pytest.fixture
def edit(folder: Path) -> Edit:
    return lambda old, new, file="test_plan.yml": replaced(folder / file, old, new)


def the_problem(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_test_plan(folder)
    [problem] = caught.value.problems
    return str(problem)


def test_every_case_has_code_and_all_code_has_a_case() -> None:
    assert [case.id for case in PLAN.cases] == list(CASES)


def test_no_code_serves_two_cases() -> None:
    assert len(set(CASES.values())) == len(CASES)


def test_the_cases_that_stop_a_part_are_the_disruptive_ones() -> None:
    stopping = {case for case, code in CASES.items() if code.__module__ == stops.__name__}
    assert {case.id for case in PLAN.cases if case.disruptive} == stopping


def test_every_kind_has_a_case() -> None:
    assert all(PLAN.cases_of(kind) for kind in CASE_KINDS)


def test_every_requirement_of_a_case_exists_and_what_validation_is_evidence_of_has_a_case() -> None:
    requirements = load_assessment().requirements
    named = {each for case in PLAN.cases for each in case.requirements}
    assert named <= {requirement.id for requirement in requirements}
    assert {each.id for each in requirements if "validate" in each.evidence} <= named


def test_an_unknown_case_is_refused_with_those_that_exist() -> None:
    with pytest.raises(KeyError, match="unknown case 'insrt'; expected one of insert, update"):
        PLAN.case("insrt")


def test_the_owner_of_a_gap_is_a_contact(folder: Path, edit: Edit) -> None:
    edit("owner: lpm-architect", "owner: lpm-arhitect")
    message = the_problem(folder)
    assert "gaps.0.owner" in message
    assert "did you mean 'lpm-architect'" in message


def test_the_unknown_company_may_not_be_a_company(folder: Path, edit: Edit) -> None:
    edit("unknown_company: LPM-CANARY-NOBODY", "unknown_company: C-1001")
    assert "'C-1001' is a configured company; its rows would arrive" in the_problem(folder)


def test_two_canaries_on_two_shards_are_needed(folder: Path, edit: Edit) -> None:
    edit("partitions: [4], canary: true", "partitions: [4]", "companies.yml")
    assert "validation needs 2 companies with canary: true, on different shards; found LPM-CANARY-2" in the_problem(
        folder
    )


def test_a_case_is_listed_once(folder: Path, edit: Edit) -> None:
    edit("- id: update", "- id: insert")
    assert "'insert' is listed twice" in the_problem(folder)


def test_the_key_has_room_for_the_prefix(folder: Path, edit: Edit) -> None:
    edit("{name: trade_id, type: string(64)", "{name: trade_id, type: string(30)", "pipeline.yml")
    assert "leaves no room for 20 characters in key column 'trade_id', which takes 30" in the_problem(folder)


def test_the_prefix_is_in_the_first_text_of_the_key() -> None:
    config = load_config()
    assert key_column(config) == "trade_id"
    numbers = config.table.model_copy(update={"key": ("leg_no",)})
    assert (
        key_column(config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"table": numbers})}))
        is None
    )
