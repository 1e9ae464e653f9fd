"""The baseline assessment: what people said, what was measured, where both disagree, and what follows."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from lpm.config.assessment import STORIES, Assessment, EvidenceKind, Finding, FindingKind, Requirement, load_assessment
from lpm.config.measures import PARTS, PartName
from lpm.procedures.assess.facts import Baseline, Fact, latest, number_text
from lpm.procedures.assess.verdicts import Verdict, judge_all
from lpm.site.facts import Facts
from lpm.site.page import Page, code, minute, note, table, text

PATH = "assessment/baseline.md"
OLD = timedelta(days=90)  # after that a measurement says little about today
SHOWN = 20  # values of one fact, such as companies

KINDS: Mapping[FindingKind, str] = {
    "workflow": "Workflows",
    "access": "Access",
    "source": "Sources",
    "pain_point": "Pain points",
    "limitation": "Limitations",
    "bottleneck": "Bottlenecks",
}
PART_TITLES: Mapping[PartName, str] = {
    "source": "The table",
    "change_feed": "Its changes",
    "access": "Who uses it",
    "targets": "The databases",
}
EVIDENCE: Mapping[EvidenceKind, str] = {
    "assess": "facts of [assess](../operations/assess.md)",
    "validate": "results of validate",
    "reconcile": "rounds of [reconcile](../operations/reconcile.md)",
    "status": "the live status",
    "bench": "[benchmarks](../reference/benchmarks.md)",
}
MARKS = {True: "yes", False: "**no**", None: ""}

Baselines = Mapping[str, Baseline | None]  # by environment; None where nothing was measured


def pages(facts: Facts, now: datetime | None = None) -> Iterator[Page]:
    """One page. ``now`` decides only whether a measurement is called old."""
    known = {name: latest(facts.evidence[name]) if name in facts.evidence else None for name in facts.environments}
    yield Page(PATH, _baseline(facts, load_assessment(), known, now or datetime.now(UTC)))


def _baseline(facts: Facts, assessment: Assessment, known: Baselines, now: datetime) -> str:
    verdicts = {
        name: judge_all(assessment.findings, baseline, facts.config) for name, baseline in known.items() if baseline
    }
    return "".join(
        [
            "# Baseline assessment\n\n",
            f"How the data of {code(facts.config.table.name)} is read today, as stakeholders told it; what was "
            "measured; where both disagree; and what the product has to do because of it. Story LPM-13444. "
            "What was said and what follows is in `include/config/assessment.yml`. What was measured comes from the "
            "procedure [assess](../operations/assess.md).\n",
            _summary(assessment, known, verdicts, now),
            _contradictions(verdicts),
            "\n## How data is read today\n",
            *(_findings(facts, assessment, kind) for kind in KINDS),
            "\n## What the facts say about it\n",
            *(_judged(name, found) for name, found in verdicts.items()),
            "" if verdicts else "\nNothing: no environment was measured yet.\n",
            "\n## What was measured\n",
            *(_measured(facts, name, baseline, now) for name, baseline in known.items()),
            "\n## Requirements\n\nEach comes from findings, answers a story, and can be followed to the design, to "
            "what implements it, to the tests that hold it and to the evidence of an environment.\n",
            *(_requirements(assessment, story) for story in STORIES),
            _without(assessment),
        ]
    )


def _summary(assessment: Assessment, known: Baselines, verdicts: Mapping[str, list[Verdict]], now: datetime) -> str:
    lines = [
        f"{len(assessment.findings)} findings lead to {len(assessment.requirements)} requirements, "
        f"which answer {len(STORIES)} stories."
    ]
    for name, baseline in known.items():
        if baseline is None:
            lines.append(f"**{name}**: not measured yet.")
            continue
        counts = {
            judgement: sum(verdict.judgement == judgement for verdict in verdicts[name])
            for judgement in ("confirmed", "contradicted", "cannot be judged")
        }
        short = [fact for fact in baseline.facts if fact.meets is False]
        lines.append(
            f"**{name}**: measured {minute(baseline.at)} UTC{' (old)' if now - baseline.at > OLD else ''}. "
            f"Of the findings {counts['confirmed']} are confirmed, {counts['contradicted']} contradicted, "
            f"{counts['cannot be judged']} cannot be judged. {len(short)} facts are not what the design needs."
        )
    return "\n## Summary\n\n" + "".join(f"- {line}\n" for line in lines)


def _contradictions(verdicts: Mapping[str, list[Verdict]]) -> str:
    found = [
        (name, verdict)
        for name, judged in verdicts.items()
        for verdict in judged
        if verdict.judgement == "contradicted"
    ]
    if not found:
        return ""
    lines = [
        f"- {_to(verdict.finding.id)} in **{name}**: {text(verdict.finding.statement)} But {text(verdict.reason)}."
        for name, verdict in found
    ]
    return note("danger", "Facts contradict what was said", "\n".join(lines))


def _findings(facts: Facts, assessment: Assessment, kind: FindingKind) -> str:
    rows: list[list[object]] = [
        [
            _target(finding.id),
            text(finding.statement),
            f"{text(facts.contacts.contact(finding.said_by).role)} ({code(finding.said_by)})",
            finding.date.isoformat(),
            ", ".join(_to(requirement.id) for requirement in assessment.requirements_of(finding)) or "none",
        ]
        for finding in assessment.findings
        if finding.kind == kind
    ]
    return f"\n### {KINDS[kind]}\n" + table(["Finding", "What was said", "By", "On", "Leads to"], rows) if rows else ""


def _judged(name: str, verdicts: list[Verdict]) -> str:
    order = {"contradicted": 0, "confirmed": 1, "cannot be judged": 2}
    shown = {"contradicted": "**contradicted**", "confirmed": "confirmed", "cannot be judged": "cannot be judged"}
    judged = [verdict for verdict in verdicts if verdict.finding.measured]
    rows: list[list[object]] = [
        [_to(verdict.finding.id), text(verdict.finding.statement), shown[verdict.judgement], text(verdict.reason)]
        for verdict in sorted(judged, key=lambda verdict: order[verdict.judgement])
    ]
    others = ", ".join(_to(verdict.finding.id) for verdict in verdicts if not verdict.finding.measured)
    return (
        f"\n### In {name}\n"
        + table(["Finding", "What was said", "Verdict", "Because"], rows)
        + (f"Nothing that is measured speaks about {others}.\n" if others else "")
    )


def _measured(facts: Facts, name: str, baseline: Baseline | None, now: datetime) -> str:
    if baseline is None:
        why = "was not run there" if name in facts.evidence else "may have run there: its evidence could not be read"
        return f"\n### Facts of {name}\n" + note(
            "warning",
            "No facts",
            f"[assess](../operations/assess.md) {why}, or another version of the product wrote what is there. "
            "Nothing below is about this environment.",
        )
    age = now - baseline.at
    words = (
        f"Measured more than {OLD.days} days ago. Run [assess](../operations/assess.md) again before you rely on it."
    )
    old = note("warning", "Old", words) if age > OLD else ""
    parts = "".join(_part(part, [fact for fact in baseline.facts if fact.measure.part == part]) for part in PARTS)
    return (
        f"\n### Facts of {name}\n\nTable {code(baseline.table)}, measured {minute(baseline.at)} UTC. Changes and reads "
        f"are counted over {baseline.window_days} days, or as far back as the history goes.\n{old}{parts}"
    )


def _part(part: PartName, facts: list[Fact]) -> str:
    statements = list(dict.fromkeys(fact.how for fact in facts))
    rows: list[list[object]] = [
        [
            f"{code(fact.name)}<br>{text(fact.measure.meaning)}",
            _value(fact),
            text(fact.needed),
            MARKS[fact.meets],
            f"{minute(fact.at)} UTC<br>statement {statements.index(fact.how) + 1}",
        ]
        for fact in facts
    ]
    shown = "".join(_statement(number, each) for number, each in enumerate(statements, start=1))
    return (
        f"\n#### {PART_TITLES[part]}\n"
        + table(["What", "Value", "Needed", "Met", "When and how"], rows)
        + f'??? note "The {len(statements)} statements"\n{shown}\n'
    )


def _statement(number: int, how: str) -> str:
    return f"\n    Statement {number}:\n\n    ```sql\n    {how}\n    ```\n"


def _value(fact: Fact) -> str:
    lines = [f"**{text(fact.text)}**" if fact.value is not None else text(fact.note)]
    numbered = not fact.measure.by or fact.measure.by in ("obstacle", "guard")
    for name, value in list(fact.values.items())[:SHOWN]:
        shown = number_text(value) if isinstance(value, int | float) else value
        lines.append(text(shown) if numbered else f"{text(name)}: {text(shown)}")
    if len(fact.values) > SHOWN:
        lines.append(f"and {len(fact.values) - SHOWN} more; the evidence has them all")
    if fact.note and fact.value is not None and fact.measure.unit != "yes/no":
        lines.append(f"({text(fact.note)})")
    if fact.weak:
        lines.append(f"No ground to judge by: {text(fact.weak)}")
    return "<br>".join(lines)


def _requirements(assessment: Assessment, story: str) -> str:
    chosen = [requirement for requirement in assessment.requirements if requirement.story == story]
    return f"\n### {story}\n" + "".join(map(_requirement, chosen))


def _requirement(requirement: Requirement) -> str:
    lines = {
        "Comes from": ", ".join(map(_to, requirement.findings)),
        "Design": f"[{text(requirement.design)}](../{requirement.design})",
        "Components": ", ".join(map(code, requirement.components)),
        "Tests": ", ".join(map(code, requirement.tests)),
        "Evidence": ", ".join(EVIDENCE[kind] for kind in requirement.evidence),
    }
    listed = "".join(f"- {name}: {value}\n" for name, value in lines.items())
    return f"\n{_target(requirement.id)} {text(requirement.statement)}\n\n{listed}"


def _without(assessment: Assessment) -> str:
    reasons: Iterable[Finding] = (finding for finding in assessment.findings if finding.no_requirement)
    rows: list[list[object]] = [[_to(finding.id), text(finding.no_requirement)] for finding in reasons]
    return "\n### Findings from which nothing follows\n" + table(["Finding", "Why"], rows) if rows else ""


def _target(name: str) -> str:
    """An id that can be linked to."""
    return f'<strong id="{_anchor(name)}">{name}</strong>'


def _to(name: str) -> str:
    return f"[{name}](#{_anchor(name)})"


def _anchor(name: str) -> str:
    return name.lower()
