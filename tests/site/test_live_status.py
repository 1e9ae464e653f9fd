"""What the home page says of the pipeline: in a real browser, with answers as Airflow gives them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from lpm.local import paths
from lpm.procedures.alerts.observations import Subject
from lpm.procedures.status import (
    CompanyLine,
    CompanyStatus,
    Hour,
    OpenAlert,
    ShardStatus,
    Status,
    StreamStatus,
    Verified,
)

HOST = "http://airflow.example"
SCRIPT = paths.checkout() / "docs" / "assets" / "live-status.js"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Home</title></head><body><main><h1>Home</h1>
<h2>Right now</h2><div id="live" data-environments="prod"><p>What stands here without scripts.</p></div></main>
<script src="assets/live-status.js"></script></body></html>"""
EVIL = '<img src=x onerror="document.title=1">'


def status(**changed: Any) -> Status:
    """A status as the monitor writes it: two companies, one of which nothing is known of."""
    verified = Verified(
        verdict="differ", at=NOW, verified_through=41, verified_at=NOW, rows=3, differences={"missing": 2}
    )
    whole: dict[str, Any] = {
        "environment": "prod",
        "written_at": NOW,
        "looked_at": NOW - timedelta(minutes=2),
        "late_at": NOW + timedelta(minutes=10),
        "stream": StreamStatus(running=True, source_version=1234, sent_version=1230, lag_seconds=3.25),
        "shards": {"shard-01": ShardStatus(running=False, backlog_events=0, delay_seconds=None)},
        "companies": (
            CompanyLine(
                id="C-1",
                name=EVIL,
                shard="shard-01",
                now=CompanyStatus(
                    watermark=9, watermark_age_seconds=0, latency_p50_seconds=1.5, latency_p95_seconds=130
                ),
                verified=verified,
            ),
            CompanyLine(id="C-2", name="Blank", shard="shard-01", now=CompanyStatus(), verified=None),
        ),
        "alerts": (
            OpenAlert(
                alert="latency",
                title="Rows arrive late",
                severity="critical",
                subject=Subject(kind="company", name="C-1"),
                value=130,
                unit="seconds",
                detail=EVIL,
                since=NOW,
                fired_at=NOW,
                acknowledged_by=None,
                acknowledged_until=None,
                runbook="runbooks/latency.md",
            ),
        ),
        "trend": tuple(
            Hour(hour=NOW - timedelta(hours=5 - n), latency_p95_seconds=None if n == 2 else n, source_lag_seconds=1)
            for n in range(5)
        ),
    }
    return Status(**{**whole, **changed})


@pytest.fixture
def opened(page: Any) -> Callable[..., Any]:
    """Opens the home page as Airflow would serve it, with this answer for the status."""
    answers: dict[str, Any] = {}

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix(HOST)
        if path == "/runbooks/index.html":
            route.fulfill(body=HOME, content_type="text/html")
        elif path == "/runbooks/assets/live-status.js":
            route.fulfill(path=SCRIPT, content_type="text/javascript")
        elif path == "/runbooks/status/prod.json" and "fails" not in answers:
            date = f"{answers.get('now', NOW):%a, %d %b %Y %H:%M:%S GMT}"
            code, body = answers.get("code", 200), answers["body"]
            route.fulfill(body=body, status=code, headers={"Date": date, "Content-Type": "application/json"})
        else:
            route.abort()

    page.route("**/*", serve)
    page.clock.install(time=NOW)

    def open_page(**given: Any) -> Any:
        answers.clear()
        answers.update(given)
        page.goto(f"{HOST}/runbooks/index.html")
        page.wait_for_function("!document.querySelector('.lpm-state')?.textContent.startsWith('Reading')")
        return page

    open_page.answers = answers  # type: ignore[attr-defined]
    return open_page


def text(page: Any, selector: str = "#live") -> str:
    return str(page.locator(selector).inner_text())


def cells(page: Any, row: str) -> list[str]:
    return list(page.locator("tr", has_text=row).locator("th, td").all_inner_texts())


def test_numbers_verdicts_and_alerts_are_shown_and_the_unknown_is_called_so(opened) -> None:
    page = opened(body=status().model_dump_json())
    assert text(page, ".lpm-state") == "Written 2 min ago."
    assert cells(page, "C-1 (")[1:] == [
        "shard-01",
        "0 s",
        "1.5 s",
        "2 min",
        "DIFFERS, 2026-11-24 12:00 (2 missing)",
        "version 41, 2026-11-24 12:00",
    ]
    assert cells(page, "C-2 (Blank)")[2:] == ["not known"] * 5, "never 0"
    assert cells(page, "stream job") == ["stream job", "running", "lag 3.3 s", "source 1,234, sent 1,230"]
    assert cells(page, "router of") == ["router of shard-01", "STOPPED", "delay not known", "waiting events 0"]
    alert = page.locator("tr", has_text="Rows arrive late")
    assert alert.locator("a").get_attribute("href") == f"{HOST}/runbooks/runbooks/latency.html"
    assert cells(page, "Rows arrive late")[-1] == "nobody yet"


def test_names_stay_text(opened) -> None:
    page = opened(body=status().model_dump_json())
    assert EVIL in text(page)
    assert page.locator("#live img").count() == 0
    assert page.title() == "Home"


def test_an_old_status_says_that_nobody_is_watching(opened) -> None:
    old = status(looked_at=NOW - timedelta(minutes=17), late_at=NOW - timedelta(minutes=2))
    page = opened(body=old.model_dump_json())
    assert text(page, ".lpm-state").startswith("LATE: written 17 min ago")
    assert page.locator(".lpm-late").count() == 1
    never = opened(body=status(looked_at=None, late_at=None).model_dump_json())
    assert text(never, ".lpm-state").startswith("LATE: the monitor has never looked")


def test_the_age_does_not_depend_on_the_clock_of_the_reader(opened) -> None:
    page = opened(body=status().model_dump_json(), now=NOW + timedelta(hours=1))
    assert text(page, ".lpm-state").startswith("LATE: written 62 min ago")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"code": 404, "body": "{}"}, "nothing was written yet. Trigger monitor"),
        ({"code": 401, "body": "{}"}, "you are not logged in to Airflow"),
        ({"code": 503, "body": "{}"}, "the evidence store cannot be reached"),
        ({"code": 500, "body": "oops"}, "Airflow answered 500"),
        ({"body": "<html>"}, "what Airflow answered is no status"),
        ({"body": '{"looked_at": "2026-11-24T12:00:00Z"}'}, "this page does not know what it holds"),
        ({"fails": True}, "this page was not opened through Airflow"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_reason(opened, answer, words) -> None:
    page = opened(**answer)
    assert text(page, ".lpm-state").startswith("No live data: ")
    assert words in text(page, ".lpm-state")
    assert page.locator("#live table").count() == 0


def test_what_was_read_stays_with_its_time_when_reading_fails_later(opened) -> None:
    page = opened(body=status().model_dump_json())
    opened.answers["fails"] = True
    page.clock.fast_forward(61_000)
    page.wait_for_function("document.querySelector('.lpm-state').textContent.startsWith('No live data')")
    assert "What follows was read at 2026-11-24 12:00 UTC." in text(page, ".lpm-state")
    assert page.locator("#live table").count() == 3


def test_no_alert_is_said_too(opened) -> None:
    assert "No open alerts." in text(opened(body=status(alerts=()).model_dump_json()))


def test_the_trend_has_a_gap_where_nothing_is_known_and_says_itself_in_words(opened) -> None:
    page = opened(body=status().model_dump_json())
    latency = page.locator("svg.lpm-trend path.lpm-line").nth(0).get_attribute("d")
    assert (latency.count("M"), latency.count("L")) == (2, 2), "0 1 _ 3 4: two pieces"
    label = page.locator("svg.lpm-trend").get_attribute("aria-label")
    assert "latency p95, slowest company: highest 4 s, last 4 s" in label
    assert "watermark age, oldest company: not known" in label
    bare = opened(body=status(trend=()).model_dump_json())
    assert "No trend is known yet." in text(bare)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_usable_without_eyes_or_mouse(opened, page, scheme) -> None:
    page.emulate_media(color_scheme=scheme)
    opened(body=status().model_dump_json())
    assert page.locator(".lpm-state").get_attribute("aria-live") == "polite"
    assert page.locator("#live th[scope=row]").count() == 5
    assert [found["id"] for found in Axe().run(page, context="#live").response["violations"]] == []
