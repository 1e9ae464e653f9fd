"""The runbook site inside a real Airflow: an API server with our plugin, over an evidence store that is a folder."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_world import RunningAirflow, running_airflow
from lpm.clients.evidence import EvidenceStore
from lpm.config import load_config
from lpm.procedures.waiting import wait_until
from lpm.site.releases import publish

BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """An API server, and an evidence store that this process sees too."""
    with running_airflow(tmp_path_factory.mktemp("served")) as airflow, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LPM_EVIDENCE", str(airflow.evidence))
        yield airflow


def publish_pages(folder: Path, pages: dict[str, str]) -> None:
    """Publish a site of these files."""
    for name, content in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    publish(EvidenceStore(load_config().environment("local")), folder, "test", "run", datetime.now(UTC))


@pytest.fixture
def nothing(served: RunningAirflow, tmp_path: Path) -> RunningAirflow:
    """The server before anything was published."""
    for path in (served.evidence, served.home / "lpm-site"):
        shutil.rmtree(path, ignore_errors=True)
    return served


PAGES = {
    "index.html": "<h1>Home</h1>",
    "operations/control.html": "<h1>control</h1>",
    "runbooks/latency.html": "<h1>latency</h1>",
    "assets/site.css": "h1 { color: red }",
}


@pytest.fixture
def reader(nothing: RunningAirflow, tmp_path: Path) -> httpx.Client:
    """Somebody whose role may only read, and a published site."""
    publish_pages(tmp_path / "site", PAGES)
    return nothing.login("viewer")


def test_before_the_first_publication_the_page_says_what_to_trigger(nothing: RunningAirflow) -> None:
    for address in ("/runbooks/", "/runbooks/operations/control.html", "/runbooks/dag/control__local"):
        answer = nothing.login("viewer").get(address)
        assert answer.status_code == 503
        assert '<a href="/dags/publish_docs__local" target="_top">publish_docs__local</a>' in answer.text


def test_nobody_reads_without_a_login(nothing: RunningAirflow, tmp_path: Path) -> None:
    publish_pages(tmp_path / "site", PAGES)
    addresses = ("", "operations/control.html", "assets/site.css", "status/local.json", "status/index.json")
    more = ("panel/panel.js", "dag/control__local", "task/control__local/stream", "no/such/page", "..%2fx")
    for address in (*addresses, *more):
        answer = nothing.anonymous().get(f"/runbooks/{address}")
        assert answer.status_code == 401, address
        assert "<h1>" not in answer.text
    page = nothing.anonymous().get("/runbooks/runbooks/latency.html", headers=BROWSER)
    assert page.status_code == 401
    assert 'href="' in page.text and "/auth/login" in page.text and "latency.html" in page.text, "and back afterwards"


def test_every_login_reads_the_site(reader: httpx.Client) -> None:
    home = reader.get("/runbooks/")
    assert (home.status_code, home.text) == (200, "<h1>Home</h1>")
    style = reader.get("/runbooks/assets/site.css")
    assert style.headers["content-type"].startswith("text/css")
    assert reader.head("/runbooks/index.html").status_code == 200, "link checkers ask so"
    missing = reader.get("/runbooks/no-such-page.html", headers=BROWSER)
    assert missing.status_code == 404
    assert "There is no such page" in missing.text


@pytest.mark.parametrize(
    "address", ["..%2fairflow.cfg", "%2e%2e/%2e%2e/etc/passwd", "assets/..%2f..%2f..%2f..%2fetc%2fpasswd", "....//x"]
)
def test_nothing_outside_the_site_is_served(reader: httpx.Client, address: str) -> None:
    assert reader.get(f"/runbooks/{address}").status_code == 404


def test_a_browser_keeps_what_did_not_change_and_sees_a_new_release_at_once(
    reader: httpx.Client, served: RunningAirflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reader.get("/runbooks/index.html")
    assert first.headers["cache-control"] == "private, no-cache"
    kept = {"If-None-Match": first.headers["etag"]}
    assert reader.get("/runbooks/index.html", headers=kept).status_code == 304
    publish_pages(tmp_path / "next", {**PAGES, "index.html": "<h1>Here</h1>"})  # as long as before
    wait_until(
        lambda: reader.get("/runbooks/index.html", headers=kept).text == "<h1>Here</h1>",
        "the next release is served",
        30,
        "look at the log of the API server",
        pause_seconds=0.2,
    )


def test_the_site_stays_when_the_evidence_store_is_gone(reader: httpx.Client, served: RunningAirflow) -> None:
    assert reader.get("/runbooks/").is_success
    away = served.evidence.with_name("away")
    served.evidence.rename(away)
    served.evidence.write_text("a file where the folder should be: the store refuses")
    try:
        assert reader.get("/runbooks/runbooks/latency.html").is_success
        assert reader.get("/runbooks/status/local.json").status_code == 503
    finally:
        served.evidence.unlink()
        away.rename(served.evidence)


def test_a_dag_and_a_task_lead_to_their_place(reader: httpx.Client) -> None:
    assert reader.get("/runbooks/dag/control__local").headers["location"] == "/runbooks/operations/control.html"
    task = reader.get("/runbooks/task/control__local/stream")
    assert (task.status_code, task.headers["location"]) == (307, "/runbooks/operations/control.html#task-stream")
    assert reader.get("/runbooks/dag/control__local", follow_redirects=True).text == "<h1>control</h1>"


@pytest.mark.parametrize(
    "dag", ["somebody_elses", "control", "control__prod", "strange__local", "..__local", "<b>__local"]
)
def test_a_foreign_dag_is_told_so(reader: httpx.Client, dag: str) -> None:
    answer = reader.get(f"/runbooks/dag/{dag}")
    assert answer.status_code == 404
    assert "No runbook for this DAG" in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize("address", ["runbooks/latency/", "runbooks/latency.md", "runbooks/latency"])
def test_older_addresses_of_a_page_lead_to_it(reader: httpx.Client, address: str) -> None:
    assert reader.get(f"/runbooks/{address}").headers["location"] == "/runbooks/runbooks/latency.html"


def test_the_link_of_an_alert_opens_its_runbook(reader: httpx.Client, served: RunningAirflow) -> None:
    from lpm.procedures.alerts.telling import Links

    address = Links(base=f"{served.url}/", run="").runbook("runbooks/latency.md")
    assert reader.get(address).text == "<h1>latency</h1>"


def test_the_status_is_what_was_written_last(reader: httpx.Client, served: RunningAirflow) -> None:
    store = EvidenceStore(load_config().environment("local"))
    assert reader.get("/runbooks/status/index.json").json() == {"environments": ["local"]}
    assert "trigger monitor__local" in reader.get("/runbooks/status/local.json").json()["detail"]
    for number in (1, 2):
        store.write("status.json", json.dumps({"number": number}))
        answer = reader.get("/runbooks/status/local.json")
        assert answer.json() == {"number": number}
        assert answer.headers["cache-control"] == "no-store"
    assert reader.get("/runbooks/status/prod.json").status_code == 404, "not one of this Airflow's environments"


def test_airflow_shows_a_tab_on_everything_of_ours_and_a_panel(served: RunningAirflow, reader: httpx.Client) -> None:
    admin = served.login("admin")
    assert admin.get("/api/v2/plugins/importErrors").json()["import_errors"] == []
    plugin: dict[str, Any] = next(one for one in admin.get("/api/v2/plugins").json()["plugins"] if one["name"] == "lpm")
    views = {view["destination"]: view for view in plugin["external_views"]}
    assert set(views) == {"nav", "dag", "dag_run", "task", "task_instance"}
    assert len({view["url_route"] for view in views.values()}) == 5, "Airflow drops a second one of the same route"
    panel = plugin["react_apps"][0]
    assert (panel["destination"], panel["name"]) == ("dashboard", "LpmStatus")
    script = reader.get(panel["bundle_url"])
    assert script.headers["content-type"].startswith("text/javascript")
    assert "globalThis.LpmStatus" in script.text
    assert reader.get("/runbooks/panel/live-status.js").is_success, "what the panel imports"
    log = served.log("api-server").read_text()
    assert "Traceback" not in log
