"""The baseline page says what is known, shows contradictions first, and never claims what was not measured."""

import argparse
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from lpm.config import load_config
from lpm.config.alerts import load_alerts
from lpm.config.assessment import load_assessment
from lpm.config.contacts import load_contacts
from lpm.procedures.assess.facts import LATEST, Baseline, Fact
from lpm.site.facts import Facts
from lpm.site.pages import baseline as page

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ASSESSMENT = load_assessment()
MEASURED = (
    Fact(name="duplicate_keys", value=3, how="SELECT count(*) FROM `t`", at=NOON, needed="none", meets=False),
    Fact(name="null_company_rows", value=0, how="SELECT 1", at=NOON, needed="none", meets=True),
    Fact(name="grants", value=None, how="SHOW GRANTS", at=NOON, note="not available here: [PARSE] <script>"),
    Fact(name="companies_with_rows", value=60, values={f"C{n}": n for n in range(60)}, how="SELECT 2", at=NOON),
    Fact(name="feed_on", value=1, how="SHOW TBLPROPERTIES", at=NOON, note="legacy"),
)


class Shelf:
    """Evidence in memory."""

    def __init__(self, **objects: str) -> None:
        self.objects: Mapping[str, str] = objects

    def read(self, name: str) -> str | None:
        return self.objects.get("latest") if name == LATEST else None

    def names(self, prefix: str = "") -> list[str]:
        return [name for name in (LATEST,) if self.objects and name.startswith(prefix)]


def shown(now: datetime = NOON, **evidence: Shelf) -> str:
    facts = Facts(
        config=load_config(),
        alerts=load_alerts(),
        contacts=load_contacts(),
        procedures={},
        commands=argparse.ArgumentParser(),
        environments=("devtest", "prod"),
        evidence=evidence,
    )
    [found] = page.pages(facts, now)
    assert found.path == "assessment/baseline.md"
    assert found.title == "Baseline assessment"
    return found.text


def measured(*facts: Fact) -> Shelf:
    found = Baseline(environment="prod", table="c.s.t", at=NOON, window_days=7, facts=facts)
    return Shelf(latest=found.model_dump_json())


def section(text: str, heading: str) -> str:
    level = heading.partition(" ")[0]
    return text.partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]


def test_without_any_measurement_the_page_says_so_and_judges_nothing():
    text = shown(devtest=Shelf())
    assert "**devtest**: not measured yet." in text
    assert "was not run there" in section(text, "### Facts of devtest")
    assert "its evidence could not be read" in section(text, "### Facts of prod"), "that is another thing"
    assert "Facts contradict" not in text
    assert "Nothing: no environment was measured yet." in section(text, "## What the facts say about it")


def test_evidence_of_another_version_is_no_measurement():
    assert "**prod**: not measured yet." in shown(prod=Shelf(latest='{"facts": 1}'))


def test_contradictions_come_first_with_the_number_that_contradicts():
    text = shown(prod=measured(*MEASURED))
    box = text.index('!!! danger "Facts contradict what was said"')
    assert box < text.index("## How data is read today")
    assert re.search(r"\[F-07\]\(#f-07\) in \*\*prod\*\*.*duplicate\\_keys is 3 keys", text)
    assert re.search(r"\[F-17\]\(#f-17\) in \*\*prod\*\*.*feed\\_on is yes \(legacy\); .* when it is no", text)
    judged = section(text, "### In prod")
    assert re.search(r"\[F-08\].*\| confirmed \|", judged)
    assert re.search(r"\[F-09\].*\| cannot be judged \| unknown\\_company\\_rows was not measured", judged)
    assert judged.index("**contradicted**") < judged.index("| confirmed |") < judged.index("| cannot be judged |")


def test_each_fact_has_its_value_what_is_needed_its_time_and_its_statement():
    text = section(shown(prod=measured(*MEASURED)), "### Facts of prod")
    [line] = [line for line in text.splitlines() if line.startswith("| `duplicate_keys`")]
    assert "| **3 keys** | none | **no** | 2026-11-24 12:00 UTC<br>statement 1 |" in line
    assert "    Statement 1:\n\n    ```sql\n    SELECT count(*) FROM `t`\n    ```\n" in text
    assert "\\[PARSE\\] &lt;script&gt;" in text, "what a system wrote is text, never markup"
    assert "and 40 more; the evidence has them all" in text


def test_an_old_measurement_is_called_old_and_a_young_one_is_not():
    assert '!!! warning "Old"' not in shown(NOON + timedelta(days=90), prod=measured(*MEASURED))
    old = shown(NOON + timedelta(days=91), prod=measured(*MEASURED))
    assert "(old)" in section(old, "## Summary")
    assert '!!! warning "Old"' in section(old, "### Facts of prod")


def test_every_link_within_the_page_has_its_target_and_no_target_is_there_twice():
    text = shown(prod=measured(*MEASURED))
    targets = re.findall(r'id="([a-z0-9-]+)"', text)
    assert len(targets) == len(set(targets))
    assert set(targets) == {each.id.lower() for each in (*ASSESSMENT.findings, *ASSESSMENT.requirements)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(targets)


@pytest.mark.parametrize("requirement", ASSESSMENT.requirements, ids=lambda requirement: requirement.id)
def test_a_requirement_is_shown_with_its_whole_trace(requirement):
    text = section(shown(), f"### {requirement.story}")
    part = text.partition(f'<strong id="{requirement.id.lower()}">')[2].partition("<strong")[0]
    for traced in (*requirement.findings, requirement.design, *requirement.components, *requirement.tests):
        assert traced in part.replace("\\", "")


def test_a_finding_from_which_nothing_follows_says_why():
    assert "[F-19](#f-19) | EDG describes its own catalog." in section(
        shown(), "### Findings from which nothing follows"
    )
