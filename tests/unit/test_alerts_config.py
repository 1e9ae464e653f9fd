"""alerts.yml says everything that is wrong with it, at once, and where."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from config_edits import replaced
from lpm.config import ConfigError
from lpm.config.alerts import DOCS, Condition, duration_text, load_alerts, parse_duration
from lpm.config.signals import SIGNALS
from lpm.site.runbooks import SECTIONS

Edit = Callable[[str, str], int]


@pytest.fixture
def edit(folder: Path) -> Edit:
    return partial(replaced, folder / "alerts.yml")


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_alerts(folder)
    return [str(problem) for problem in caught.value.problems]


def test_every_signal_has_an_alert_or_a_reason_to_have_none() -> None:
    without = set(SIGNALS) - {alert.signal for alert in load_alerts().alerts}
    assert without == {"source_lag_versions"}, "a number of versions says little without their age, which has an alert"


def test_every_alert_has_a_runbook_of_its_own_and_every_runbook_an_alert() -> None:
    alerts = load_alerts().alerts
    assert [alert.runbook for alert in alerts] == [f"runbooks/{alert.id}.md" for alert in alerts]
    assert {path.name for path in (DOCS / "runbooks").glob("*.md")} - {"index.md"} == {
        f"{alert.id}.md" for alert in alerts
    }


@pytest.mark.parametrize("alert", load_alerts().alerts, ids=lambda alert: alert.id)
def test_a_runbook_has_its_alerts_name_and_every_section(alert) -> None:
    text = (DOCS / alert.runbook).read_text(encoding="utf-8")
    assert text.startswith(f"# {alert.id}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(SECTIONS)
    for page in re.findall(r"\]\(([^)]+\.md)\)", text):
        assert (DOCS / "runbooks" / page).is_file(), f"{alert.runbook} links to {page}"


def test_critical_alerts_escalate_or_say_at_once_who_is_told_and_all_reach_somebody_everywhere() -> None:
    settings = load_alerts()
    for alert in settings.alerts:
        if alert.severity == "critical":
            assert "on_call" in settings.channels_of(alert.route, "prod"), alert.id
        for environment in ("local", "devtest", "prod"):
            assert "log" in settings.channels_of(alert.route, environment), alert.id


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (
            "severity: critical",
            "severity: grave",
            "alerts.0.severity",
            "Input should be 'critical', 'warning' or 'info'",
        ),
        ("repeat: 1 h", "repeats: 1 h", "alerts.0.repeats", "unknown key\n    did you mean 'repeat'?"),
        ("for: 10 min ", "four: 10 min ", "alerts.0.four", "unknown key\n    did you mean 'for'?"),
        ("for: 10 min ", "for: 10 minutes ", "alerts.0.for", "expected a number and a unit: 30 s, 5 min, 4 h or 2 d"),
        ('when: "> 0"', 'when: "above 0"', "alerts.0.when", "expected a comparison and a number or an objective"),
        ("signal: stream_job_down", "signal: stream_job_dwn", "alerts.0.signal", "did you mean 'stream_job_down'?"),
        ("route: duty", "route: dutty", "alerts.0.route", "unknown route 'dutty'"),
        ("after: 30 min, route: lead", "after: 30 min, route: leed", "alerts.0.escalate", "did you mean 'lead'?"),
        ("runbooks/stream-job-down.md", "runbooks/stream-job-dwn.md", "alerts.0.runbook", "does not exist; write it"),
        ("id: stream-job-failing", "id: stream-job-down", "alerts.1.id", "'stream-job-down' is listed twice"),
        ("log: {kind: log}", "log: {kind: log, connection: x}", "channels.log", "must have no connection"),
        (
            ", connection: lpm_alerts_smtp",
            "",
            "channels.team_mail",
            "channel 'team_mail' of kind email needs a connection",
        ),
        ("environments: [prod]", "environments: [prd]", "channels.team_mail.environments", "did you mean 'prod'?"),
        ("team: [log, team_chat]", "team: [team_chat]", "routes.team", "reaches nobody in environment 'local'"),
        ("team: [log, team_chat]", "team: [log, chat]", "routes.team", "unknown channel 'chat'"),
        (
            "objectives.latency_p95_seconds",
            "objectives.latency",
            "alerts.17.when",
            "expected one of latency_p95_seconds",
        ),
        (
            "evaluated_in: [dag, azure_monitor]",
            "evaluated_in: [azure]",
            "alerts.9.evaluated_in",
            "'dag' or 'azure_monitor'",
        ),
    ],
)
def test_a_fault_is_shown_with_its_place(
    folder: Path, edit: Edit, old: str, new: str, place: str, message: str
) -> None:
    line = edit(old, new)
    found = "\n".join(problems(folder))
    assert f"alerts.yml:{line}: {place}" in found
    assert message in found


def test_what_azure_monitor_cannot_evaluate_is_refused(folder: Path, edit: Edit) -> None:
    edit("runbook: runbooks/dead-letters.md", "runbook: runbooks/dead-letters.md\n    evaluated_in: [azure_monitor]")
    edit("evaluated_in: [azure_monitor]\n\n  - id: hub-backlog", "evaluated_in: [dag]\n\n  - id: hub-backlog")
    edit('when: "> 120"\n    for: 15 min', 'when: "> 120"\n    for: 20 min')
    found = "\n".join(problems(folder))
    assert "signal 'dead_letters_new' is no metric of Azure Monitor: expected [dag]" in found
    assert "signal 'router_memory_percent' is observed by Azure Monitor only: expected [azure_monitor]" in found
    assert "for: Azure Monitor takes one of 1 min, 5 min, 15 min, 30 min, 1 h, 6 h, 12 h, 1 d" in found


def test_faults_of_all_files_are_told_at_once(folder: Path, edit: Edit) -> None:
    edit("kind: log", "kind: lag")
    (folder / "companies.yml").write_text("shards: []\n")
    found = "\n".join(problems(folder))
    assert "alerts.yml" in found
    assert "companies.yml" in found


@pytest.mark.parametrize(("text", "seconds"), [("30 s", 30), ("5min", 300), ("4 h", 14_400), ("2 d", 172_800), (0, 0)])
def test_a_duration_is_a_number_with_a_unit(text: object, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(duration_text(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["> 0", ">= 2.5", "< -1", "<= 7", "> objectives.latency_p95_seconds"])
def test_a_condition_is_shown_as_it_is_written(text: str) -> None:
    assert str(Condition.parse(text)) == text
