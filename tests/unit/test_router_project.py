"""The projects' own test cases, run by the local engine."""

import json
import shutil
from pathlib import Path

import pytest

from lpm.local.router.project import run_test_cases

PROJECTS = sorted(path.parent for path in Path(__file__).resolve().parents[2].glob("asa/*/*/asaproj.json"))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_case_of_a_rendered_project_passes(project: Path) -> None:
    results = run_test_cases(project)
    assert len(results) == 2
    assert {result.name: result.problems for result in results if result.problems} == {}


def test_a_wrong_expectation_is_reported(tmp_path: Path) -> None:
    project = shutil.copytree(PROJECTS[0], tmp_path / "project")
    config = json.loads((project / "test/testConfig.json").read_text())
    first, second, *_ = config["TestCases"][0]["ExpectedOutputs"]
    rows = json.loads((project / "test" / first["FilePath"]).read_text())
    (project / "test" / first["FilePath"]).write_text(json.dumps([{**rows[0], "version": 999}, *rows[1:]]))
    config["TestCases"][0]["ExpectedOutputs"].remove(second)
    (project / "test/testConfig.json").write_text(json.dumps(config))
    unexpected, missing, surplus = run_test_cases(project)[0].problems
    assert unexpected == f"output {second['OutputAlias']} was not expected"
    assert missing.startswith(f"output {first['OutputAlias']}: missing")
    assert '"version": 999' in missing
    assert surplus.startswith(f"output {first['OutputAlias']}: unexpected")


def test_fields_can_be_ignored_and_outputs_left_unchecked(tmp_path: Path) -> None:
    project = shutil.copytree(PROJECTS[0], tmp_path / "project")
    config = json.loads((project / "test/testConfig.json").read_text())
    first, second, *_ = config["TestCases"][0]["ExpectedOutputs"]
    rows = json.loads((project / "test" / first["FilePath"]).read_text())
    (project / "test" / first["FilePath"]).write_text("\n".join(json.dumps({**row, "version": 999}) for row in rows))
    first["IgnoreFields"] = ["version"]
    second |= {"Required": False, "FilePath": "[N/A]"}
    (project / "test/testConfig.json").write_text(json.dumps(config))
    assert run_test_cases(project)[0].problems == ()
