"""The plan of the procedure ``validate`` and its latest results, from the same definitions."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from lpm.config.test_plan import CASE_KINDS, Case, CaseKind, TestPlan, load_test_plan
from lpm.procedures.validation.results import LATEST, CaseResult, LastRun, Validation, Verdict
from lpm.site.facts import EvidenceReader, Facts
from lpm.site.page import Page, anchor, code, minute, note, table, text

PLAN, RESULTS = "validation/plan.md", "validation/results.md"
KINDS: Mapping[CaseKind, str] = {
    "success": "What should arrive, arrives",
    "failure": "What goes wrong is survived",
    "edge": "The unusual",
    "latency": "In time",
    "access": "Who may do what",
}
MARKS: Mapping[Verdict, str] = {
    Verdict.PASSED: "✔ passed",
    Verdict.FAILED: "✘ **failed**",
    Verdict.SKIPPED: "skipped",
}
PLAN_HEAD = """# Validation plan

What the procedure [validate](../operations/validate.md) proves end to end, on canary companies. The latest results are
[here](results.md). Both pages come from `include/config/test_plan.yml`; a test holds that file and the code to each
other. A case marked *disruptive* stops a part that other companies share, and runs only where somebody asks for it.
"""
RESULTS_HEAD = """# Validation results

The latest run of [validate](../operations/validate.md) in each environment, against the [plan](plan.md). Skipped is not
passed: a case that did not run proves nothing.
"""


def pages(facts: Facts, now: datetime | None = None) -> Iterator[Page]:
    """The plan and the results. ``now``: what the age of results is measured against; the present when absent."""
    plan = load_test_plan()
    yield Page(PLAN, PLAN_HEAD + "".join(_kind(plan, kind) for kind in CASE_KINDS) + _gaps(facts, plan))
    moment = now or datetime.now(UTC)
    parts = [
        f"\n## {text(name)}\n" + _environment(plan, facts.evidence.get(name), moment) for name in facts.environments
    ]
    yield Page(RESULTS, RESULTS_HEAD + "".join(parts))


# The plan


def _kind(plan: TestPlan, kind: CaseKind) -> str:
    cases = plan.cases_of(kind)
    return f"\n## {KINDS[kind]}\n" + "".join(map(_case, cases)) if cases else ""


def _case(case: Case) -> str:
    steps = "".join(f"{number}. {text(step)}\n" for number, step in enumerate(case.steps, 1))
    disruptive = " · *disruptive*" if case.disruptive else ""
    requirements = ", ".join(f"[{each}](../traceability.md)" for each in case.requirements)
    return (
        f"\n### {text(case.title)} {{ #{case.id} }}\n\n"
        f"{code(case.id)} · {requirements} · {case.story}{disruptive}\n\n"
        f"**Proves** {text(case.proves)}\n\n{steps}\n**Expected** {text(case.expected)}\n"
    )


def _gaps(facts: Facts, plan: TestPlan) -> str:
    head = "\n## Gaps and known issues { #gaps }\n\nWhat is known not to be proven, or not to be as it should.\n"
    if not plan.gaps:
        return head + "\nNone is known.\n"
    rows: list[list[object]] = [
        [
            f"**{text(gap.title)}**. {text(gap.what)}",
            text(facts.contacts.contact(gap.owner).name),
            gap.status,
            gap.since.isoformat(),
            text(gap.next_step),
        ]
        for gap in plan.gaps
    ]
    return head + table(["What", "Owner", "Status", "Since", "Next step"], rows)


# The results


def _environment(plan: TestPlan, evidence: EvidenceReader | None, now: datetime) -> str:
    if evidence is None:
        return note("warning", "No results", "The evidence of this environment could not be read for this site.")
    kept = evidence.read(LATEST)
    if kept is None:
        return note("warning", "No results", "validate has not run in this environment.")
    try:
        found = Validation.model_validate_json(kept)
    except ValidationError:
        words = f"{LATEST} of this environment's evidence is not in the form that this site reads."
        return note("warning", "No results", words)
    return _run(plan, found, now) + _table(plan, found) + _failures(found)


def _run(plan: TestPlan, found: Validation, now: datetime) -> str:
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in Verdict)
    seconds = (found.ended - found.began).total_seconds()
    lines = [
        f"\n{minute(found.began)} UTC, {seconds:.0f} s, {anchor(found.run, 'run in Airflow')}: **{counts}**; "
        f"disruptive cases were {'' if found.disruptive else 'not '}asked for.\n"
    ]
    age, limit = now - found.ended, timedelta(days=plan.limits.results_old_after_days)
    if age > limit:
        words = f"This run is {age.days} days old; more than {limit.days} days are too old to rely on."
        lines.append(note("warning", "Old", words))
    if found.not_clean:
        lines.append(note("danger", "Rows of validation were left behind", text(found.not_clean.replace("\n", " "))))
    return "".join(lines)


def _table(plan: TestPlan, found: Validation) -> str:
    rows = [_row(case, found.of(case.id)) for case in plan.cases]
    gone = [each.case for each in found.results if each.case not in {case.id for case in plan.cases}]
    more = f"\nNo longer in the plan: {', '.join(map(code, gone))}.\n" if gone else ""
    return table(["Case", "Verdict", "Began (UTC)", "Seconds", "What was seen"], rows) + more


def _row(case: Case, result: CaseResult | None) -> list[object]:
    name = f"[{text(case.title)}](plan.md#{case.id})"
    if result is None:
        return [name, "not run", "", "", "New in the plan since that run."]
    if result.verdict is Verdict.SKIPPED:
        return [name, MARKS[result.verdict], "", "", f"{text(result.reason)}. {_last(result.last_run)}"]
    seen = "; ".join(map(text, result.seen)) if result.seen else text(result.reason.partition("\n")[0])
    began = minute(result.began) if result.began else ""
    return [name, MARKS[result.verdict], began, f"{result.seconds:g}", " ".join([seen, *_measured(result.measured)])]


def _last(last: LastRun | None) -> str:
    return f"Last ran {minute(last.began)}: {last.verdict}." if last else "It never ran here."


def _measured(measured: Mapping[str, float]) -> list[str]:
    if not measured:
        return []
    told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in measured.items())
    return [f"<br>*{text(told)}*"]


def _failures(found: Validation) -> str:
    failed = [result for result in found.results if result.verdict is Verdict.FAILED]
    parts = [f"\nWhy {code(result.case)} failed:\n\n```text\n{_fenced(result.reason)}\n```\n" for result in failed]
    return "".join(parts)


def _fenced(words: str) -> str:
    """Text that cannot end the fence around it."""
    return words.replace("```", "'''")
