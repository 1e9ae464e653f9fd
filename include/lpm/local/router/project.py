"""Runs the test cases of a Stream Analytics project, as ``azure-streamanalytics-cicd test`` does."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpm.local.router.compiling import PARTITION_ID, compile_query
from lpm.local.router.engine import Engine


@dataclass(frozen=True)
class CaseResult:
    """One test case. It passed when there are no ``problems``."""

    name: str
    problems: tuple[str, ...]


def run_test_cases(project: Path) -> list[CaseResult]:
    """Run every case of ``test/testConfig.json`` in the folder of a project. The order of rows does not matter.

    Raises:
        OSError: a file that the project names is missing.
        NotSimulated: the query uses more than the local engine knows.
        ValueError: a case has not exactly one input.
    """
    start = json.loads((project / "asaproj.json").read_text(encoding="utf-8"))["startFile"]
    text = (project / start).read_text(encoding="utf-8")
    tests = project / "test"
    cases = json.loads((tests / "testConfig.json").read_text(encoding="utf-8"))["TestCases"]
    return [CaseResult(case["Name"], tuple(_problems(text, tests, case))) for case in cases]


def _problems(text: str, tests: Path, case: dict[str, Any]) -> list[str]:
    if len(case["Inputs"]) != 1:
        raise ValueError(f"case {case['Name']!r} has {len(case['Inputs'])} inputs; expected one")
    given = case["Inputs"][0]
    events = _records(tests / given["FilePath"])
    bodies = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    engine = Engine(compile_query(text, given["InputAlias"]))
    routed = engine.run(bodies, [event[PARTITION_ID] for event in events])
    expected = {output["OutputAlias"]: output for output in case["ExpectedOutputs"]}
    problems = [f"output {alias} was not expected" for alias in sorted(set(routed.outputs) - set(expected))]
    for alias, output in expected.items():
        if not output["Required"]:
            continue
        ignored = output.get("IgnoreFields", [])
        table = routed.outputs.get(alias)
        found = _counted(table.to_pylist() if table is not None else [], ignored)
        wanted = _counted(_records(tests / output["FilePath"]), ignored)
        problems += [f"output {alias}: missing {row}" for row in (wanted - found).elements()]
        problems += [f"output {alias}: unexpected {row}" for row in (found - wanted).elements()]
    return problems


def _counted(rows: list[dict[str, Any]], ignored: list[str]) -> Counter[str]:
    kept = [{name: value for name, value in row.items() if name not in ignored} for row in rows]
    return Counter(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in kept)


def _records(path: Path) -> list[dict[str, Any]]:
    """Records of a file with a JSON array, or with one object a line."""
    text = path.read_text(encoding="utf-8").strip()
    records: list[dict[str, Any]] = (
        json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split("\n")]
    )
    return records
