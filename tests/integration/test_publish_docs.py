"""publish_docs in a real Airflow: a person is asked, the answer is kept, the site is served."""

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from airflow_world import ROOT, RunningAirflow, running_airflow
from lpm.procedures.waiting import wait_until

DAG = "publish_docs__local"
WAIT_SECONDS = 300
# A procedure that only says that it changed something, or not.
PRETENDED = """
from datetime import timedelta
from airflow.sdk import Param, task
from procedure_dags import Procedure, dags_of, report
from lpm.procedures.outcome import Outcome


def tasks(config, environment):
    @task
    def deploy(params=None):
        return report(Outcome(params["changes"], "deployed"))

    deploy()


globals().update(dags_of(Procedure(
    name="pretended", title="Pretended", purpose="None.", touches="", takes="", undo="",
    timeout=timedelta(minutes=5), tasks=tasks, deploys=True,
    params={"changes": Param(False, type="boolean", description="Whether.")},
)))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """An Airflow with publish_docs and a pretended deployment, for the local environment and for one on Azure."""
    folder = tmp_path_factory.mktemp("world")
    dags = folder / "dags"
    dags.mkdir()
    for name in ("procedure_dags.py", "publish_docs.py", ".airflowignore"):
        (dags / name).write_text((ROOT / "dags" / name).read_text())
    (dags / "pretended.py").write_text(PRETENDED)
    with running_airflow(folder, ("scheduler", "dag-processor"), "local,devtest", dags) as running:
        api = running.api()
        wanted = (DAG, "publish_docs__devtest", "pretended__devtest")
        waited(lambda: all(map(api.known, wanted)), "Airflow has read the DAGs")
        yield running


def waited(is_so: Any, what: str) -> None:
    wait_until(is_so, what, WAIT_SECONDS, "look at the logs of Airflow", pause_seconds=0.5)


def run(airflow: RunningAirflow, dag: str, **conf: Any) -> dict[str, Any]:
    api = airflow.api()
    run_id = api.trigger(dag, conf)
    api.wait(dag, run_id, WAIT_SECONDS)
    return {"run": run_id, **api.result(dag, run_id)}


def record(airflow: RunningAirflow, name: str) -> Any:
    return json.loads((airflow.evidence / name).read_text())


def answered(airflow: RunningAirflow, option: str, remark: str | None = None) -> tuple[str, dict[str, Any]]:
    """Trigger a run, answer its question as the admin, and wait for its end."""
    api = airflow.api()
    run_id = api.trigger(DAG, {})
    question = airflow.question(DAG, run_id)
    refused = airflow.answer("viewer", DAG, run_id, option, remark)
    assert refused.status_code == httpx.codes.FORBIDDEN, "only approvers of reviews.yml answer"
    airflow.answer("admin", DAG, run_id, option, remark).raise_for_status()
    api.wait(DAG, run_id, WAIT_SECONDS)
    return run_id, question


def test_without_asking_the_site_is_published_with_a_note_and_again_only_when_it_says_something_else(airflow) -> None:
    first = run(airflow, DAG, ask=False)
    assert any("published release" in line for line in first["details"])
    live = record(airflow, "site/live.json")
    assert (live["run"], live["by"]) == (first["run"], "admin")
    page = airflow.login("viewer").get("/runbooks/operations/control.html")
    assert page.status_code == httpx.codes.OK
    assert "Not approved yet" in page.text
    again = run(airflow, DAG, ask=False)
    assert not again["changed"]
    assert record(airflow, "site/live.json") == live
    tab = airflow.login("viewer").get("/runbooks/task/publish_docs__local/approve", follow_redirects=True)
    assert 'id="task-approve"' in tab.text


def test_a_rejection_leaves_the_site_and_is_kept_with_its_reason(airflow) -> None:
    live = (airflow.evidence / "site/live.json").read_text()
    run_id, question = answered(airflow, "Reject", "page | is wrong")
    assert "runbooks/latency.md" in question["body"]
    assert question["defaults"] == ["Publish as draft"]
    assert (airflow.evidence / "site/live.json").read_text() == live
    (decision,) = [one for one in decisions(airflow) if one["run"] == run_id]
    assert (decision["answer"], decision["login"], decision["remark"]) == ("Reject", "admin", "page | is wrong")
    assert not (airflow.evidence / "reviews/approvals.json").exists()


def test_an_approval_is_kept_with_who_what_and_when_and_the_notes_go(airflow) -> None:
    run_id, _ = answered(airflow, "Approve and publish")
    approvals = record(airflow, "reviews/approvals.json")["pages"]
    assert {one["login"] for one in approvals.values()} == {"admin"}
    assert {one["run"] for one in approvals.values()} == {run_id}
    assert "runbooks/latency.md" in approvals
    live = record(airflow, "site/live.json")
    assert (live["run"], live["by"]) == (run_id, "admin")
    viewer = airflow.login("viewer")

    def without_note() -> bool:
        text = viewer.get("/runbooks/operations/control.html").text
        return "Not approved yet" not in text and "Approved by" in text

    waited(without_note, "the approved pages are served")
    report = viewer.get("/runbooks/reviews.html").text
    assert f"Approved ({len(approvals)})" in report
    assert "page | is wrong" in unescape(report), "the decisions are part of the report"
    again = run(airflow, DAG)
    assert any("0 pages are not approved" in line for line in again["details"]), "nobody is asked again"


def decisions(airflow: RunningAirflow) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((airflow.evidence / "reviews/decisions").glob("*.json"))]


def test_a_deployment_that_changed_something_sets_it_off_and_one_that_did_not_does_not(airflow) -> None:
    admin = airflow.login("admin")
    dag = "/api/v2/dags/publish_docs__devtest"
    admin.patch(dag, json={"is_paused": False}).raise_for_status()

    def runs(kind: str) -> list[str]:
        found = admin.get(f"{dag}/dagRuns").raise_for_status().json()["dag_runs"]
        # Airflow 3.3 answers 500 for the events of a run that waits: its DagRunAssetReference demands a start.
        return [one["dag_run_id"] for one in found if one["run_type"] == kind and one["start_date"]]

    # Today's run begins at once. It finds no storage account here, and would hold the only place until its retries end.
    waited(lambda: runs("scheduled"), "today's run has begun")
    admin.patch(f"{dag}/dagRuns/{quote(runs('scheduled')[0])}", json={"state": "failed"}).raise_for_status()

    def events() -> int:
        return int(admin.get("/api/v2/assets/events").raise_for_status().json()["total_entries"])

    run(airflow, "pretended__devtest", changes=False)
    assert events() == 0
    run(airflow, "pretended__devtest", changes=True)
    waited(lambda: len(runs("asset_triggered")) == 1, "publish_docs was set off")
    assert events() == 1


def test_an_image_without_pages_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpm.cli import parser
    from lpm.site import build
    from lpm.site.gathering import gather

    facts = gather(("local",), {}, parser(), ROOT / "build" / "site" / "cache")
    monkeypatch.setattr(build, "DOCS", tmp_path / "docs")
    with pytest.raises(build.SiteError, match=r"(?s)docs is missing\nNext step: put docs/ and mkdocs.yml beside dags/"):
        build.build_site(facts, tmp_path)
