"""Whether facts confirm or contradict what somebody said."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lpm.config import Config
from lpm.config.alerts import Condition, is_met, threshold
from lpm.config.assessment import Finding
from lpm.procedures.assess.facts import Baseline, Fact, number_text

Judgement = Literal["confirmed", "contradicted", "cannot be judged"]

WORDS = {">": "above", ">=": "at least", "<": "below", "<=": "at most"}


@dataclass(frozen=True)
class Verdict:
    """What the facts of one environment say about a finding. ``reason`` is for people."""

    finding: Finding
    judgement: Judgement
    reason: str
    fact: Fact | None = None


def judge(finding: Finding, baseline: Baseline | None, config: Config) -> Verdict:
    """Hold a finding against the facts. Only a value that was measured confirms or contradicts."""
    if finding.measured is None:
        return Verdict(finding, "cannot be judged", "nothing that is measured speaks about it")
    if baseline is None:
        return Verdict(finding, "cannot be judged", "nothing was measured yet")
    name, condition = finding.measured.fact, finding.measured.confirmed_when
    fact = baseline.fact(name)
    if fact is None:
        return Verdict(finding, "cannot be judged", f"{name} was not measured")
    if fact.value is None:
        return Verdict(finding, "cannot be judged", f"{name}: {fact.note}", fact)
    if fact.weak:
        return Verdict(finding, "cannot be judged", f"{name} is {fact.text}, but {fact.weak}", fact)
    confirmed = is_met(condition, fact.value, config)
    limit = _words(condition, fact, config)
    reason = f"{name} is {fact.text}; the finding holds when it is {limit}"
    return Verdict(finding, "confirmed" if confirmed else "contradicted", reason, fact)


def judge_all(findings: Iterable[Finding], baseline: Baseline | None, config: Config) -> list[Verdict]:
    """Every finding held against the facts of one environment, in the order given."""
    return [judge(finding, baseline, config) for finding in findings]


def _words(condition: Condition, fact: Fact, config: Config) -> str:
    if fact.measure.unit == "yes/no":
        return "no" if is_met(condition, 0, config) else "yes"
    return f"{WORDS[condition.comparison]} {number_text(threshold(condition, config))}"
