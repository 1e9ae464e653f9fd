"""Every procedure is a DAG that loads, explains itself and follows the house rules. Messages say how to mend."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import AssetOrTimeSchedule, CronDataIntervalTimetable

from lpm.config import load_config

ROOT = Path(__file__).resolve().parents[2]
PROCEDURES = {
    *("bootstrap", "enable_cdf", "deploy_router", "deploy_stream", "control", "go_live"),
    *("assess", "monitor", "acknowledge_alert", "reconcile", "repair", "redrive", "validate", "publish_docs"),
}
SCHEDULED = {"monitor": "*/5 * * * *", "reconcile": "0 * * * *", "publish_docs": "30 5 * * *"}  # pipeline.yml
DOC_SECTIONS = ("Purpose", "Touches", "Takes", "Undo", "When it fails")
PAGE_SECTIONS = ["What it does", "Parameters", "Steps", "When a task fails", "Verify", "Undo", "Escalate"]
TAG = re.compile(r"lpm|env:[a-z0-9-]+|procedure:[a-z_]+")


def page(procedure: str) -> str:
    path = ROOT / "docs" / "operations" / f"{procedure}.md"
    assert path.is_file(), f"write {path.relative_to(ROOT)}: operators are sent there when {procedure} fails"
    return path.read_text(encoding="utf-8")


def table_keys(text: str, heading: str) -> set[str]:
    """First cells of the table under a heading, without their code marks."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("environments", "expected"),
    [(None, {"devtest", "prod"}), ("local", {"local"}), ("prod, local", {"prod", "local"}), (" ", {"devtest", "prod"})],
)
def test_each_enabled_environment_has_every_procedure_and_no_other_does(load_dags, environments, expected):
    bag = load_dags(environments)
    assert not bag.import_errors
    assert set(bag.dags) == {f"{procedure}__{name}" for procedure in PROCEDURES for name in expected}


def test_an_unknown_environment_is_an_import_error_that_names_the_known_ones(load_dags):
    errors = load_dags("lokal").import_errors
    assert len(errors) == len(PROCEDURES)
    assert all("unknown environment 'lokal'; expected one of devtest, local, prod" in text for text in errors.values())


def test_a_broken_configuration_is_an_import_error_with_file_and_line(load_dags, tmp_path, monkeypatch):
    (tmp_path / "pipeline.yml").write_text("tabel: {}\n")
    monkeypatch.setenv("LPM_CONFIG", str(tmp_path))
    load_config.cache_clear()
    try:
        errors = load_dags(None).import_errors
    finally:
        load_config.cache_clear()
    assert errors
    assert all("pipeline.yml:1: tabel" in text for text in errors.values())


def test_every_dag_is_owned_tagged_and_bounded(dags):
    for dag_id, dag in dags.items():
        procedure, _, environment = dag_id.partition("__")
        assert dag.owner == "edg-lpm", f"{dag_id}: make it with procedure_dags.dags_of, which sets the owner"
        assert {f"procedure:{procedure}", f"env:{environment}", "lpm"} == dag.tags, f"{dag_id}: tags {dag.tags}"
        assert all(TAG.fullmatch(tag) for tag in dag.tags)
        assert dag.max_active_runs == 1, f"{dag_id}: two runs at once would undo each other"
        if procedure in SCHEDULED and environment != "local":
            times = dag.schedule.timetable if isinstance(dag.schedule, AssetOrTimeSchedule) else dag.schedule
            assert isinstance(times, CronDataIntervalTimetable), f"{dag_id}: a run needs the time it is about"
            assert times.expression == SCHEDULED[procedure]
            assert dag.is_paused_upon_creation, f"{dag_id}: begins to run by itself when somebody wants it to"
        else:
            assert dag.schedule is None, f"{dag_id}: procedures are triggered by people, or by go_live"
        assert timedelta(minutes=5) <= dag.dagrun_timeout <= timedelta(hours=8), f"{dag_id}: bound the run"
        for task in dag.tasks:
            assert task.execution_timeout, f"{dag_id}.{task.task_id}: bound the task"
            assert task.retry_policy, f"{dag_id}.{task.task_id}: say what is worth trying again"


def test_every_dag_begins_with_the_check_and_ends_with_the_result(dags):
    for dag_id, dag in dags.items():
        assert [task.task_id for task in dag.roots] == ["check_request"], f"{dag_id}: nothing runs before the check"
        assert [task.task_id for task in dag.leaves] == ["result"], f"{dag_id}: the run's state is that of its leaves"
        assert dag.get_task("result").trigger_rule == "all_done", f"{dag_id}: the result also tells of failures"
        assert dag.get_task("result").retries == 0


def test_every_dag_explains_itself(dags):
    for dag_id, dag in dags.items():
        for section in DOC_SECTIONS:
            assert f"**{section}**: " in dag.doc_md, f"{dag_id}: doc_md has no {section!r}; fill it in Procedure(…)"
        assert f"docs/operations/{dag_id.partition('__')[0]}.md" in dag.doc_md
        assert len(dag.doc_md) < 1500, f"{dag_id}: doc_md opens in a small window; the page has room for the rest"
        assert dag.dag_display_name != dag_id
        assert dag.description.endswith(".")
        assert dag.description.count(". ") == 0


def test_every_parameter_is_described_and_its_default_is_valid(dags):
    for dag_id, dag in dags.items():
        assert "reason" in dag.params, f"{dag_id}: go_live passes a reason on"
        for name in dag.params:
            parameter = dag.params.get_param(name)
            assert parameter.description, f"{dag_id}: describe parameter {name!r}"
            parameter.resolve()  # raises when the default breaks the schema: Trigger would be disabled


@pytest.mark.parametrize("procedure", sorted(PROCEDURES))
def test_the_page_of_a_procedure_says_what_the_dag_is(dags, procedure):
    text, dag = page(procedure), dags[f"{procedure}__local"]
    assert text.startswith(f"# {procedure}\n"), "the first heading is the procedure's name"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PAGE_SECTIONS, "these sections, in this order"
    assert table_keys(text, "When a task fails") == set(dag.task_ids), "one row for each task, no row without a task"
    assert "\n{{ parameters() }}\n" in text, "the table of parameters is made from the DAG file"
    assert "\n{{ steps() }}\n" in text, "the diagram of the steps is made from the DAG file"


def test_every_page_belongs_to_a_procedure():
    pages = {path.stem for path in (ROOT / "docs" / "operations").glob("*.md")} - {"index"}
    assert pages == PROCEDURES, "remove the page, or the procedure is missing"


def test_airflow_can_store_every_dag(dags):
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in dags.values():
        DagSerialization.to_dict(dag)
