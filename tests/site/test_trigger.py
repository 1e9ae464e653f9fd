"""The buttons that trigger a procedure, in a real browser: on the site itself, and in a tab of Airflow."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest

RUN = "manual__2026-11-24T12:00:00+00:00"
# As Airflow 3.3 frames an external view: no dialogs of the browser, no way to replace the page around it.
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-downloads"
TAB = f'<iframe id="tab" sandbox="{SANDBOX}" style="width:100%;height:800px" src="{{}}">'
Ask = Callable[..., list[dict[str, Any]]]


class Airflow:
    """Airflow's API as the button sees it; everything that was posted."""

    def __init__(self, page: Any, *, status: int = 200, paused: bool = False) -> None:
        self.posted: list[tuple[str, Any]] = []
        self._status, self._paused = status, paused
        page.route("**/dags/**", lambda route: route.fulfill(content_type="text/html", body="<h1>Airflow's page</h1>"))
        page.route("**/api/v2/**", self._answer)  # the newest that fits answers

    def _answer(self, route: Any) -> None:
        request = route.request
        if request.method == "POST":
            self.posted.append((request.url, json.loads(request.post_data)))
            body: dict[str, Any] = {"dag_run_id": RUN}
        else:
            body = {"is_paused": self._paused}
        if self._status != 200:
            body = {"detail": "the words of Airflow"}
        route.fulfill(status=self._status, content_type="application/json", body=json.dumps(body))


def fill(place: Any, environment: str = "prod") -> None:
    """Press the button that starts a router, answer everything, and go on."""
    place.locator('button.lpm-trigger[data-dag="control"][data-conf*="resume"]').first.click()
    dialog = place.locator("dialog.lpm-dialog")
    dialog.get_by_label("environment").select_option(environment)
    dialog.get_by_label("shards").select_option(["shard-02"])
    dialog.get_by_label("reason").fill("INC-7: nobody was at work")
    dialog.get_by_role("button", name="Continue").click()


def test_the_button_asks_says_what_it_will_start_starts_it_and_goes_to_the_run(page: Any, address: str) -> None:
    airflow = Airflow(page)
    page.goto(address + "runbooks/router-down.html")
    fill(page)
    dialog = page.locator("dialog.lpm-dialog")
    start = dialog.get_by_role("button", name="Start control__prod")
    start.wait_for()
    assert airflow.posted == [], "nothing is started before the second press"
    assert '"shards":["shard-02"]' in dialog.locator(".lpm-say").inner_text()
    start.click()
    page.wait_for_url("**/dags/control__prod/runs/manual__2026-11-24T12%3A00%3A00%2B00%3A00")
    [(url, body)] = airflow.posted
    assert url == urljoin(address, "/api/v2/dags/control__prod/dagRuns")
    conf = {"action": "resume", "part": "router", "shards": ["shard-02"], "reason": "INC-7: nobody was at work"}
    assert body == {"logical_date": None, "conf": conf}


def test_in_a_tab_of_airflow_the_whole_window_goes_to_the_run_and_links_lead_out(page: Any, address: str) -> None:
    airflow = Airflow(page)
    source = address + "runbooks/router-down.html"
    page.route("**/tab", lambda route: route.fulfill(content_type="text/html", body=TAB.format(source)))
    page.goto(urljoin(address, "/tab"))
    tab = page.frame_locator("#tab")
    fill(tab)
    tab.get_by_role("button", name="Start control__prod").click()
    page.wait_for_url("**/dags/control__prod/runs/**")
    assert len(airflow.posted) == 1
    page.goto(urljoin(address, "/tab"))
    page.frame_locator("#tab").get_by_role("link", name="control__prod", exact=True).first.click()
    page.wait_for_url("**/dags/control__prod")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "You are not logged in to Airflow"),
        (403, "Your login may not trigger this DAG"),
        (404, "There is no such DAG here"),
        (500, "Airflow answered 500"),
    ],
)
def test_a_refusal_says_plainly_what_to_do_instead(page: Any, address: str, status: int, said: str) -> None:
    airflow = Airflow(page, status=status)
    page.goto(address + "runbooks/router-down.html")
    fill(page)
    words = page.locator("dialog.lpm-dialog .lpm-say")
    words.filter(has_text=said).wait_for()
    assert words.inner_text().startswith("Nothing was started.")
    assert "the words of Airflow" in words.inner_text()
    assert airflow.posted == []


def test_a_site_that_is_not_behind_airflow_says_so(page: Any, address: str) -> None:
    page.route("**/api/v2/**", lambda route: route.abort())
    page.goto(address + "runbooks/router-down.html")
    fill(page)
    page.locator(".lpm-say").filter(has_text="was not opened through Airflow").wait_for()


def test_a_paused_dag_is_told_before_it_is_started(page: Any, address: str) -> None:
    Airflow(page, paused=True)
    page.goto(address + "runbooks/router-down.html")
    fill(page)
    page.locator(".lpm-say").filter(has_text="The DAG is paused").wait_for()


def test_nothing_goes_on_while_an_answer_is_missing_and_escape_closes(page: Any, address: str) -> None:
    airflow = Airflow(page)
    page.goto(address + "runbooks/router-down.html")
    button = page.locator('button.lpm-trigger[data-dag="control"]').first
    button.focus()
    page.keyboard.press("Enter")
    page.locator("dialog.lpm-dialog").get_by_role("button", name="Continue").click()
    assert page.locator(".lpm-say").inner_text() == "", "the browser asks for what is missing"
    page.keyboard.press("Escape")
    page.locator("dialog.lpm-dialog").wait_for(state="detached")
    assert button.evaluate("element => element === document.activeElement"), "the keyboard is where it was"
    assert airflow.posted == []


def test_what_a_button_says_is_never_taken_for_markup(page: Any, address: str) -> None:
    Airflow(page)
    page.goto(address + "runbooks/router-down.html")
    page.evaluate(
        """() => {
            const button = document.querySelector('button.lpm-trigger[data-dag="control"]')
            const label = "<img src=x onerror=window.harm=1>"
            button.dataset.ask = JSON.stringify([{ name: "reason", label, type: "string", choices: [] }])
            button.click()
        }"""
    )
    assert "<img src=x" in page.locator("dialog.lpm-dialog").inner_text()
    assert page.evaluate("window.harm") is None
