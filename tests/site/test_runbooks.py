"""Runbooks and procedure pages say what is configured, offer what exists, and every command on them can be copied."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import airflow.api_fastapi.core_api as airflow_api
import pytest
import sqlglot
import yaml
from jsonschema import Draft202012Validator
from sqlglot import expressions

from alert_world import AURORA, BEGIN, acknowledgement
from lpm.cli import parser
from lpm.config import load_config
from lpm.config.alerts import Alert, duration_text, load_alerts, threshold
from lpm.config.signals import SIGNALS
from lpm.procedures.alerts.ended import keep_ended
from lpm.procedures.alerts.state import Incident
from lpm.site.commands import IN_DATABASE, IN_SHELL, ON_DATABRICKS
from lpm.site.facts import Facts
from lpm.site.pages import alert_catalogue, escalation
from lpm.site.prose import ProseError, render_prose
from lpm.site.reviews import APPROVALS, Approval, Approvals
from lpm.site.runbooks import SECTIONS, procedures_in, section
from lpm.site.triggers import ASK
from page_commands import Command, commands, rendered, sources, what_follows_commands

ALERTS = load_alerts().alerts
BUTTON = re.compile(r'<button type="button" class="lpm-trigger[^"]*"([^>]*)>')
# Procedures that are no answer to an alert: they look, prove, or publish. Each with where it is offered instead.
NO_REMEDY = {
    "acknowledge_alert": "in First five minutes of each runbook",
    "assess": "on its own page: it measures what is there before anything is changed",
    "validate": "on its own page: it proves the whole pipeline",
    "publish_docs": "on its own page: it publishes this site",
}
MINE = ("runbooks/", "operations/", "start/", "troubleshooting.md")  # pages for people who act
FIRST_WORDS = {"lpm", "curl", "az"}  # what a reader is asked to run; besides, a shell's own words set variables
OWN_WORDS = {"read", "export", "sed"}
Store = dict[str, str]


@pytest.fixture(scope="module")
def texts(facts: Facts) -> dict[str, str]:
    return rendered(facts)


@pytest.fixture(scope="module")
def acting(texts: dict[str, str]) -> dict[str, str]:
    return {path: text for path, text in texts.items() if path.startswith(MINE)}


class Evidence:
    """Evidence in memory."""

    def __init__(self) -> None:
        self.objects: Store = {}

    def read(self, name: str) -> str | None:
        return self.objects.get(name)

    def write(self, name: str, text: str) -> None:
        self.objects[name] = text

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))


def runbook(facts: Facts, source: str, alert: Alert = ALERTS[0]) -> str:
    return render_prose(facts, alert.runbook, source).text


# --- alert, signal, runbook, DAG ---


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_a_runbook_has_its_sections_in_order_and_none_is_empty(texts: dict[str, str], alert: Alert) -> None:
    text = texts[alert.runbook]
    assert text.startswith(f"# {alert.id}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(SECTIONS)
    for heading in SECTIONS:
        assert len(section(text, heading)) > 10, f"{alert.runbook}: {heading} says nothing"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_the_meaning_has_the_signal_the_condition_and_who_is_told(texts: dict[str, str], alert: Alert) -> None:
    meaning = section(texts[alert.runbook], "Meaning")
    signal = SIGNALS[alert.signal]
    assert f"`{signal.name}`: {signal.meaning}" in meaning
    assert f"| Severity | {alert.severity} |" in meaning
    assert f"route `{alert.route}`" in meaning
    assert f"every {duration_text(alert.repeat)}" in meaning
    if signal.unit != "yes/no":
        assert f"{alert.when.comparison} {threshold(alert.when, load_config()):,.10g} {signal.unit}" in meaning
    if alert.lasting:
        assert f"for {duration_text(alert.lasting)}" in meaning
    if alert.escalate:
        assert f"`{alert.escalate.route}`" in meaning
        assert duration_text(alert.escalate.after) in section(texts[alert.runbook], "Escalate")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_whom_to_tell_comes_from_the_contacts(facts: Facts, texts: dict[str, str], alert: Alert) -> None:
    said = section(texts[alert.runbook], "Escalate")
    rota = facts.contacts.rota_of(alert.route)
    assert rota.hours in said
    assert rota.answers_within in said
    for contact in map(facts.contacts.contact, rota.contacts):
        assert f"mailto:{contact.mail}" in said


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_every_alert_is_mitigated_by_a_procedure_and_acknowledged_by_a_button(alert: Alert) -> None:
    source = sources()[alert.runbook]
    assert list(procedures_in(section(source, "Mitigation"))), "Mitigation offers no procedure: {{ dag(…) }}"
    in_airflow = "dag" in alert.evaluated_in  # Azure's own alerts are acknowledged in Azure
    assert ("{{ acknowledge() }}" in section(source, "First five minutes")) == in_airflow


def test_every_procedure_is_offered_by_a_runbook_or_is_known_to_be_no_remedy(facts: Facts) -> None:
    offered = {name for alert in ALERTS for name in procedures_in(sources()[alert.runbook])}
    prepared = set(NO_REMEDY)
    assert set(facts.procedures) - offered - prepared == set(), "offer it in a runbook, or say in NO_REMEDY why not"
    assert offered <= set(facts.procedures)


def test_the_catalogue_and_the_escalation_have_every_alert(facts: Facts) -> None:
    [catalogue], [matrix] = alert_catalogue.pages(facts), escalation.pages(facts)
    for alert in ALERTS:
        assert f"[{alert.id}]({alert.id}.md)" in catalogue.text
        assert f"[{alert.id}]({alert.runbook})" in matrix.text
        for name in alert_catalogue.mitigating(alert):
            assert f"(../operations/{name}.md)" in catalogue.text
    for contact in facts.contacts.contacts:
        assert f"mailto:{contact.mail}" in matrix.text


# --- procedures with their parameters ---


def buttons(text: str) -> Iterator[dict[str, Any]]:
    for attributes in BUTTON.findall(text):
        data = {name: unescape(value) for name, value in re.findall(r'data-([a-z]+)="([^"]*)"', attributes)}
        yield {**data, "conf": json.loads(data["conf"]), "ask": json.loads(data["ask"])}


def test_every_button_names_a_dag_of_each_environment_and_values_that_it_takes(
    facts: Facts, acting: dict[str, str]
) -> None:
    found = [(page, button) for page, text in acting.items() for button in buttons(text)]
    assert len(found) > len(ALERTS)
    for page, button in found:
        procedure = facts.procedures[button["dag"]]
        for environment in button["environments"].split():
            assert procedure.dag_ids[environment] == f"{button['dag']}__{environment}", page
        for name, value in button["conf"].items():
            Draft202012Validator(dict(procedure.parameter(name).schema_of_value)).validate(value)
        for asked in button["ask"]:
            assert asked["label"] == procedure.parameter(asked["name"]).description


def test_the_text_to_paste_is_what_the_button_sends(acting: dict[str, str]) -> None:
    for page, text in acting.items():
        pasted = [
            json.loads(block) for block in re.findall(r'```json title="Configuration JSON"\n(.*?)```', text, re.S)
        ]
        with_values = [button for button in buttons(text) if button["conf"] or button["ask"]]
        assert len(pasted) == len(with_values), page
        for block, button in zip(pasted, with_values, strict=True):
            asked = {field["name"] for field in button["ask"]}
            assert {name: value for name, value in block.items() if name not in asked} == button["conf"]
            assert all(block[name] in (ASK, [ASK]) for name in asked)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('dag("controll")', "unknown procedure 'controll'; did you mean 'control'?"),
        ('dag("control", acton="pause")', "control has no parameter 'acton'; did you mean 'action'?"),
        ('dag("control", action="stop")', "control: parameter action: 'stop' is not one of"),
        ('dag("control", shards=["shard-99"])', "control: parameter shards: 'shard-99' is not one of"),
        ('dag("repair", first_bucket=-1)', "repair: parameter first_bucket: -1 is less than the minimum of 0"),
        ('runs("monitors")', "unknown procedure 'monitors'"),
        ('source_sql("SELECT 1 FROM {sorce}")', "unknown name {sorce} in a command"),
        ('source_sql("SELECT 1 FROM {sorce}")', "did you mean {source}?"),
        ('shell("az show {resource_grup}")', "did you mean {resource_group}?"),
        ('reach("dutty")', "unknown route 'dutty'; did you mean 'duty'?"),
        ('person("leed")', "unknown contact 'leed'; did you mean 'lead'?"),
        ("meening()", "'meening' is undefined"),
        ("config.pipeline.objectives.latency", "'latency'"),
    ],
)
def test_what_does_not_exist_is_an_error_with_the_page_and_the_line(facts: Facts, call: str, said: str) -> None:
    with pytest.raises(ProseError) as caught:
        runbook(facts, f"# {ALERTS[0].id}\n\n## Meaning\n\n{{{{ {call} }}}}\n")
    assert str(caught.value).startswith(f"docs/{ALERTS[0].runbook}:5: ")
    assert said in str(caught.value)


def test_a_page_that_jinja_cannot_read_is_an_error_with_its_line(facts: Facts) -> None:
    with pytest.raises(ProseError, match=r"^docs/glossary\.md:3: "):
        render_prose(facts, "glossary.md", "# Glossary\n\n{{ reach( }}\n")


def test_a_procedure_page_has_a_place_for_each_task_and_every_parameter(facts: Facts, texts: dict[str, str]) -> None:
    for name, procedure in facts.procedures.items():
        text = texts[f"operations/{name}.md"]
        for task in procedure.tasks:
            assert f'<span id="task-{task.name}"></span>`{task.name}`' in section(text, "When a task fails")
            assert f'href="#task-{task.name}"' in section(text, "Steps"), "the diagram leads to the row"
        for parameter in procedure.parameters:
            assert re.search(rf"^\| `{parameter.name}` \| .+ \| .+ \| .+ \|$", section(text, "Parameters"), re.M)


# --- commands ---


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_a_diagnosis_has_commands(texts: dict[str, str], alert: Alert) -> None:
    diagnosis = {alert.runbook: section(texts[alert.runbook], "Diagnosis")}
    assert any(list(commands(diagnosis, title)) for title in (ON_DATABRICKS, IN_DATABASE, IN_SHELL))


def test_after_every_command_stands_what_it_shows(acting: dict[str, str]) -> None:
    missing = [
        f"{page}: {line}"
        for page, text in acting.items()
        for line in what_follows_commands(text)
        if not line.startswith("Expected")
    ]
    assert missing == []


def test_every_command_says_where_it_is_typed(acting: dict[str, str]) -> None:
    for page, text in acting.items():
        opened = re.findall(r"^ *```(\w+)(.*)$", text, re.MULTILINE)
        assert all("title=" in rest for language, rest in opened if language in ("sql", "bash", "json")), page


def shell_lines(command: Command) -> list[str]:
    return [line for line in command.text.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_shell_command_can_be_read_by_a_shell_and_is_of_a_known_tool(acting: dict[str, str]) -> None:
    found = list(commands(acting, IN_SHELL))
    assert found
    for command in found:
        checked = subprocess.run(["bash", "-n"], input=command.text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{command.page}: {checked.stderr}\n{command.text}"
        for line in shell_lines(command):
            first = re.sub(r"^\w+=(\$\()?", "", line.strip()).split()[0]
            assigned = re.match(r"^\w+=[^$\s]+(\s+#.*)?$", line.strip())
            assert first in FIRST_WORDS | OWN_WORDS or assigned, f"{command.page}: {line}"


def test_every_lpm_command_is_one(acting: dict[str, str]) -> None:
    lines = [line for command in commands(acting, IN_SHELL) for line in shell_lines(command) if line.startswith("lpm ")]
    inline = re.findall(r"`lpm ([a-z][^`]*)`", " ".join(" ".join(acting.values()).split()))
    assert lines
    for line in [*lines, *(f"lpm {words}" for words in inline)]:
        if "<" not in line and "…" not in line:
            parser().parse_args(shlex.split(line)[1:])


def test_every_question_to_airflow_is_one_that_its_api_answers(facts: Facts, acting: dict[str, str]) -> None:
    folder = next(iter(airflow_api.__path__))
    with open(f"{folder}/openapi/v2-rest-api-generated.yaml", encoding="utf-8") as file:
        paths = yaml.load(file, yaml.CSafeLoader)["paths"]
    asked = {
        address
        for command in commands(acting, IN_SHELL)
        for address in re.findall(r'\$AIRFLOW_URL(/api/v2/[^"]*)"', command.text)
    }
    known = {dag_id for procedure in facts.procedures.values() for dag_id in procedure.dag_ids.values()}
    assert asked
    for address in asked:
        path, _, query = address.partition("?")
        template = next((each for each in paths if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), path)), None)
        assert template is not None, f"Airflow has no {path}"
        allowed = {each["name"] for each in paths[template]["get"]["parameters"]} if query else set()
        assert {pair.partition("=")[0] for pair in query.split("&") if pair} <= allowed, address
        assert set(re.findall(r"/dags/([^/~]+)/", path)) <= known, address


@pytest.mark.parametrize(("title", "dialects"), [(ON_DATABRICKS, ("databricks",)), (IN_DATABASE, ("tsql", "postgres"))])
def test_every_query_is_one_statement_that_only_reads(
    acting: dict[str, str], title: str, dialects: tuple[str, ...]
) -> None:
    found = list(commands(acting, title))
    assert found
    for command in found:
        for dialect in dialects:
            # sqlglot does not know Delta's forms; Spark runs them in tests/integration/test_runbook_commands.py.
            text = re.sub(r"^DESCRIBE (DETAIL|HISTORY) (\S+)( LIMIT \d+)?$", r"DESCRIBE TABLE \2", command.text)
            [statement] = sqlglot.parse(text, read=dialect)
            reads = isinstance(statement, expressions.Query | expressions.Describe | expressions.Show)
            plain = isinstance(statement, expressions.Command) and statement.name.upper() in ("SHOW", "DESCRIBE")
            assert reads or plain, f"{command.page}: {command.text}"


def test_a_name_is_that_of_the_environment_of_its_tab(facts: Facts) -> None:
    text = runbook(facts, '{{ source_sql("SELECT * FROM {progress}") }}')
    for name in facts.environments:
        tab = text.partition(f'=== "{name}"\n')[2].partition('=== "')[0]
        assert f"SELECT * FROM {facts.environment(name).pipeline_schema}.stream_progress" in tab
    assert '=== "' not in runbook(facts, '{{ shell("lpm config check") }}'), "the same everywhere needs no tabs"
    query = '{% filter shell %}\naz x --resource-group {resource_group} --query "{a:b}"\n{% endfilter %}'
    assert '--query "{a:b}"' in runbook(facts, query)


# --- nothing typed that the configuration knows ---

INJECTED = re.compile(r"\{% filter.*?endfilter %\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
UNITS = {"s": "(s|seconds?)", "min": "(min|minutes?)", "h": "(h|hours?)", "d": "(d|days?)"}


def typed(path: str) -> str:
    """What a person wrote, without what is filled in, and without the addresses of links."""
    return re.sub(r"\]\([^)]*\)", "]", INJECTED.sub(" ", sources()[path]))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_no_limit_of_an_alert_is_typed_into_its_page(alert: Alert) -> None:
    text = typed(alert.runbook)
    durations = [alert.lasting, alert.repeat, *([alert.escalate.after] if alert.escalate else [])]
    patterns = []
    for duration in durations:
        number, unit = duration_text(duration).split()
        if number not in ("0", "1"):
            patterns.append(rf"\b{number} {UNITS[unit]}\b")
    limit, unit = threshold(alert.when, load_config()), SIGNALS[alert.signal].unit
    if limit > 1:
        patterns.append(rf"\b({limit:g}|{limit:,g}) ({unit}|%)")
    for pattern in patterns:
        assert not (found := re.search(pattern, text)), f"{alert.runbook}: inject {found[0]!r}"


@pytest.mark.parametrize("path", [path for path in sources() if path.startswith(MINE)])
def test_no_name_or_setting_of_an_environment_is_typed(path: str) -> None:
    text, config = typed(path), load_config()
    azure = {name: each for name, each in config.environments.items() if each.kind == "azure"}
    known = {*azure, *(company.id for company in config.companies), *config.shards}
    known |= {value for each in azure.values() for value in texts_of(each.model_dump()) if re.search(r"\d|-|_", value)}
    for word in sorted(known - {"lpm_streaming", "westeurope", "SASL_SSL"}, key=len):
        assert not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), f"{path}: inject {word!r}"
    pipeline = config.pipeline.model_dump(include={"objectives", "retention", "reconciliation"})
    for group in pipeline.values():
        for name, value in group.items():
            unit = name.rpartition("_")[2].removesuffix("s")
            if unit in ("second", "hour", "day") and value > 1:
                assert not re.search(rf"\b{value:g} {unit}s?\b", text), f"{path}: inject {name} = {value:g}"


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a dump of a model, long enough to be a name."""
    if isinstance(value, str) and len(value) >= 8:
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)


# --- history ---


def incident(alert: Alert, minutes: int = 0, **more: Any) -> Incident:
    at = BEGIN + timedelta(minutes=minutes)
    return Incident(alert=alert.id, subject=AURORA, since=at, fired_at=at, value=1, detail="the job | is gone", **more)


def test_a_page_without_evidence_says_so_and_one_with_it_has_the_incidents(facts: Facts) -> None:
    alert, other = ALERTS[0], ALERTS[1]
    assert "could not read the evidence" in runbook(facts, "{{ history() }}")
    evidence = Evidence()
    keep_ended(evidence, "monitor", [incident(other)], BEGIN + timedelta(minutes=30))
    known = replace(facts, evidence={"prod": evidence})
    assert "No incident of this alert has ended in prod" in runbook(known, "{{ history() }}")
    mine = incident(alert, acknowledged=acknowledgement(5, 1))
    keep_ended(evidence, "monitor", [mine], BEGIN + timedelta(minutes=90))
    text = runbook(known, "{{ history() }}")
    assert "| 2026-11-24 12:00:00 UTC | company C-1001 (Example Company Aurora) | 90 min |" in text
    assert "ada: on it" in text
    assert "the job &#124; is gone" in text, "what systems wrote cannot break the table"
    assert "devtest: this build could not read the evidence" in text
    assert "approved this page" not in text
    given = Approval(digest="0", login="ada", name="Ada", at=BEGIN, run="r1")
    evidence.write(APPROVALS, Approvals(pages={alert.runbook: given}).model_dump_json())
    assert "Ada approved this page in prod on 2026-11-24 12:00:00 UTC." in runbook(known, "{{ history() }}")


# --- start pages ---

WANTED = {
    "operator": {"runbooks/index.md", "troubleshooting.md", "escalation.md", "operations/index.md", "companies.md"},
    "engineer": {"architecture/overview.md", "local-cloud.md", "configuration.md", "reference/commands.md"},
    "architect": {"architecture/guarantees.md", "architecture/security.md", "architecture/scalability.md"},
    "auditor": {"traceability.md", "reviews.md", "assessment/baseline.md", "validation/results.md"},
}


@pytest.mark.parametrize("reader", sorted(WANTED))
def test_each_reader_is_two_clicks_from_what_they_need(texts: dict[str, str], reader: str) -> None:
    assert f"(start/{reader}.md)" in texts["index.md"], "one click from the home page"
    linked = set(re.findall(r"\]\(\.\./([^)#]+\.md)", texts[f"start/{reader}.md"]))
    assert WANTED[reader] <= linked
