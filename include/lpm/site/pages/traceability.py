"""From each story to its evidence and back, with every link that is missing."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from lpm.config.assessment import STORIES, Assessment, EvidenceKind, Requirement, Story, load_assessment
from lpm.config.test_plan import TestPlan, load_test_plan
from lpm.site.dag_facts import CHECKOUT
from lpm.site.facts import Facts
from lpm.site.page import Page, code, note, table, text

PATH = "traceability.md"
TITLES: Mapping[Story, str] = {
    "LPM-13444": "Assess current access",
    "LPM-13445": "Design",
    "LPM-13446": "Event Hub and Stream Analytics as code",
    "LPM-13447": "Change data feed enabled and validated",
    "LPM-13448": "Stream to Event Hub",
    "LPM-13449": "Filter and route to the right database",
    "LPM-13450": "Test plan and results",
    "LPM-13451": "Documentation, reviewed and approved",
}
EVIDENCE_PAGES: Mapping[EvidenceKind, str] = {
    "assess": "[assessment](assessment/baseline.md)",
    "validate": "[validation](validation/results.md)",
    "reconcile": "[reconcile](operations/reconcile.md)",
    "status": "[status](index.md#right-now)",
    "bench": "[benchmarks](reference/benchmarks.md)",
}
# What a kind of evidence begins with in the evidence store; benchmarks are in the repository.
EVIDENCE_NAMES: Mapping[EvidenceKind, str] = {
    "assess": "assess/",
    "validate": "validate/",
    "reconcile": "reconcile/",
    "status": "status.json",
}


def pages(facts: Facts) -> Iterator[Page]:
    """One page."""
    assessment, plan = load_assessment(), load_test_plan()
    yield Page(
        PATH,
        "# Traceability\n\nStory → requirement → design → code → test → evidence, and back. A test fails when a link "
        "is missing, or leads nowhere.\n"
        + _gaps(facts, assessment, plan)
        + _forward(facts, assessment, plan)
        + _back(facts, assessment, plan),
    )


def missing(facts: Facts, assessment: Assessment, plan: TestPlan) -> list[str]:
    """Every link that is missing or leads nowhere, in either direction, in words."""
    return [
        *_missing_forward(assessment),
        *_missing_back(facts, assessment, plan),
    ]


def _missing_forward(assessment: Assessment) -> Iterator[str]:
    for requirement in assessment.requirements:
        for path in requirement.components:
            if not (CHECKOUT / path).exists():
                yield f"{requirement.id}: component {path} does not exist"
        # An image of Airflow has no tests; there, only their names can be shown.
        for test in requirement.tests if (CHECKOUT / "tests").is_dir() else ():
            path, _, name = test.partition("::")
            if not _has_test(CHECKOUT / path, name):
                yield f"{requirement.id}: test {test} does not exist"
    for story in STORIES:
        if not any(requirement.story == story for requirement in assessment.requirements):
            yield f"{story}: no requirement"


def _missing_back(facts: Facts, assessment: Assessment, plan: TestPlan) -> Iterator[str]:
    known = {requirement.id for requirement in assessment.requirements}
    for case in plan.cases:
        for requirement in set(case.requirements) - known:
            yield f"case {case.id}: requirement {requirement} does not exist"
    for name in facts.procedures:
        if not _requirements_of(assessment, f"dags/{name}.py"):
            yield f"procedure {name}: no requirement names dags/{name}.py"


def _has_test(path: Path, name: str) -> bool:
    if not path.exists():
        return False
    return not name or f"def {name}(" in path.read_text(encoding="utf-8")


def _requirements_of(assessment: Assessment, component: str) -> list[Requirement]:
    return [each for each in assessment.requirements if component in each.components]


def _gaps(facts: Facts, assessment: Assessment, plan: TestPlan) -> str:
    found = missing(facts, assessment, plan)
    if not found:
        return ""
    return note("warning", "Missing links", "\n" + "\n".join(f"- {text(each)}" for each in found))


def _forward(facts: Facts, assessment: Assessment, plan: TestPlan) -> str:
    parts = ["\n## From the stories\n"]
    ordered = sorted(assessment.requirements, key=lambda each: (each.story, each.id))
    for story, group in groupby(ordered, key=lambda each: each.story):
        rows: list[list[object]] = [
            [
                f'<span id="{each.id.lower()}"></span>**{each.id}** {text(each.statement)}',
                f"[{each.design.partition('#')[0].removesuffix('.md')}]({each.design})",
                "<br>".join(map(code, each.components)),
                "<br>".join(map(code, each.tests)),
                ", ".join(_case_link(case.id) for case in plan.cases if each.id in case.requirements),
                "<br>".join(_evidence(facts, kind) for kind in each.evidence),
            ]
            for each in group
        ]
        parts.append(f"\n### {story}: {TITLES[story]}\n")
        parts.append(table(["Requirement", "Design", "Code", "Tests", "Cases of the plan", "Evidence"], rows))
    return "".join(parts)


def _evidence(facts: Facts, kind: EvidenceKind) -> str:
    """The kind of evidence, and where there is some."""
    if kind == "bench":
        return f"{EVIDENCE_PAGES[kind]}{'' if facts.benchmarks else ' (none in this build)'}"
    having = [name for name, store in facts.evidence.items() if store.names(EVIDENCE_NAMES[kind])]
    return f"{EVIDENCE_PAGES[kind]} ({', '.join(having) or 'none in this build'})"


def _case_link(case: str) -> str:
    return f"[{case}](validation/plan.md#{case})"


def _back(facts: Facts, assessment: Assessment, plan: TestPlan) -> str:
    def named(requirements: list[str]) -> str:
        return ", ".join(f"[{each}](#{each.lower()})" for each in requirements)

    procedures: list[list[object]] = [
        [
            f"[{name}](operations/{name}.md)",
            named([each.id for each in _requirements_of(assessment, f"dags/{name}.py")]),
        ]
        for name in facts.procedures
    ]
    cases: list[list[object]] = [
        [_case_link(case.id), case.kind, named(list(case.requirements))] for case in plan.cases
    ]
    findings: list[list[object]] = [
        [
            f"{finding.id} {text(finding.statement)}",
            named([each.id for each in assessment.requirements_of(finding)]) or text(finding.no_requirement),
        ]
        for finding in assessment.findings
    ]
    return "".join(
        [
            "\n## From the procedures\n",
            table(["Procedure", "Is there for"], procedures),
            "## From the cases of the test plan\n",
            table(["Case", "Kind", "Proves"], cases),
            "## From the findings\n",
            table(["Finding", "Leads to"], findings),
        ]
    )
