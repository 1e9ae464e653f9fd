"""The site inside Airflow, as people meet it: asked for approval, published, opened from a DAG, used to trigger one."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_world import RunningAirflow
from lpm.local.cloud.parts import Cloud
from lpm.local.demo.pipeline import Pipeline, wait_until

END_SECONDS = 300


@pytest.fixture(scope="module")
def airflow(cloud: Cloud) -> RunningAirflow:
    """The cloud's Airflow."""
    home = cloud.folder / "airflow"
    return RunningAirflow(cloud.endpoints.airflow.url, home, home / "evidence")


@pytest.fixture(scope="module")
def published(airflow: RunningAirflow, pipeline: Pipeline) -> dict[str, Any]:
    """The site after somebody approved its pages in Airflow: what the run says."""
    pipeline.run_dag("monitor", {"reason": "a status for the home page"})
    dag_id = f"publish_docs__{pipeline.environment.name}"
    run_id = pipeline.airflow.trigger(dag_id, {"reason": "end-to-end test"})
    asked = airflow.question(dag_id, run_id)
    assert asked["options"] == ["Approve and publish", "Publish as draft", "Reject"]
    assert "architecture/overview.md" in asked["body"]
    airflow.answer("admin", dag_id, run_id, "Approve and publish").raise_for_status()
    pipeline.airflow.wait(dag_id, run_id, END_SECONDS)
    return pipeline.airflow.result(dag_id, run_id)


@pytest.fixture(scope="module")
def page(browser: Any, cloud: Cloud) -> Iterator[Any]:
    """A page of a browser that is logged in to Airflow."""
    airflow = cloud.endpoints.airflow
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(airflow.url)
    page.fill("input[name=username]", airflow.logins[0].user)
    page.fill("input[name=password]", airflow.logins[0].password)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=EDG → LPM streaming", timeout=60_000)
    yield page
    context.close()


def test_approval_and_publication_are_on_record(airflow: RunningAirflow, published: dict[str, Any]) -> None:
    evidence = airflow.evidence
    assert (evidence / "site" / "live.json").is_file()
    assert '"login": "admin"' in (evidence / "reviews" / "approvals.json").read_text()
    assert any("pages approved" in line for line in published["details"]), published


@pytest.mark.usefixtures("published")
def test_nobody_reads_the_site_without_a_login(airflow: RunningAirflow) -> None:
    site = f"{airflow.url}/runbooks/"
    pages = ("", "runbooks/watermark-stuck.html", "status/local.json")
    for path in (*pages, "assets/site.css", "search/search_index.json"):
        assert httpx.get(site + path).status_code == 401, path


@pytest.mark.usefixtures("published")
def test_the_panel_on_airflows_home_page_shows_every_company(cloud: Cloud, page: Any) -> None:
    page.goto(cloud.endpoints.airflow.url)
    panel = page.locator("section.lpm-panel")
    panel.locator("table.lpm-table").first.wait_for(timeout=60_000)
    text = panel.inner_text()
    for company in cloud.config.companies:
        assert company.id in text
    assert "No live data" not in text


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("place", "heading", "hash_"),
    [
        ("dags/control__local/plugin/runbook_dag", "control", ""),
        ("dags/repair__local/tasks/send/plugin/runbook_task", "repair", "#task-send"),
    ],
)
def test_the_runbook_tab_opens_exactly_the_page(cloud: Cloud, page: Any, place: str, heading: str, hash_: str) -> None:
    page.goto(f"{cloud.endpoints.airflow.url}/{place}")
    frame = page.wait_for_selector("iframe", timeout=60_000).content_frame()
    frame.wait_for_selector(f"h1:has-text('{heading}')", timeout=60_000)
    assert frame.url.endswith(f"/runbooks/operations/{heading}.html{hash_}")
    assert "not approved" not in frame.inner_text("article")


@pytest.mark.usefixtures("published")
def test_a_dag_page_offers_the_tab(cloud: Cloud, page: Any) -> None:
    page.goto(f"{cloud.endpoints.airflow.url}/dags/reconcile__local")
    page.get_by_role("link", name="Runbook", exact=True).click()
    frame = page.wait_for_selector("iframe", timeout=60_000).content_frame()
    frame.wait_for_selector("h1:has-text('reconcile')", timeout=60_000)


@pytest.mark.usefixtures("published")
def test_a_procedure_is_triggered_from_its_runbook(airflow: RunningAirflow, page: Any) -> None:
    admin = airflow.login("admin")

    def runs() -> int:
        return int(admin.get("/api/v2/dags/monitor__local/dagRuns").raise_for_status().json()["total_entries"])

    before = runs()
    page.goto(f"{airflow.url}/runbooks/runbooks/monitor-blind.html")
    page.locator("button.lpm-trigger[data-dag=monitor]").first.click()
    dialog = page.locator("dialog[open]")
    dialog.locator("input").first.fill("from the runbook")
    for _ in range(2):  # go on, then confirm
        dialog.locator("button[type=submit]").click()
    wait_until(lambda: runs() == before + 1, "the run that was triggered", 60)
