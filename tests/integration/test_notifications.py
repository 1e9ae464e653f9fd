"""The channels against real servers, and what becomes of a message that none takes."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from message_servers import MailServer, WebServer, mail_server, web_server

from alert_world import AURORA, BEGIN, CHANNELS, CONFIG, LOCAL, O_NEILL, observation, rules
from lpm.clients.evidence import EvidenceStore
from lpm.clients.notifications import CARD_BYTES, ChannelError, card, send
from lpm.config.alerts import Channel
from lpm.procedures.acknowledge_alert import Request, acknowledge_alert
from lpm.procedures.alerts.observations import Subject
from lpm.procedures.alerts.rounds import alert_round, open_incidents, read_state
from lpm.procedures.alerts.state import Delivery, Incident, Notice
from lpm.procedures.alerts.telling import Links, message
from lpm.procedures.outcome import ProcedureError

LINKS = Links("https://airflow.example", "https://airflow.example/dags/monitor__local/runs/r1")
RUNBOOK = "https://airflow.example/runbooks/runbooks/watermark-late.html"
SECRET = "sig=very-secret"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def store(tmp_path, monkeypatch) -> EvidenceStore:
    monkeypatch.setenv("LPM_EVIDENCE", str(tmp_path))
    return EvidenceStore(LOCAL)


@pytest.fixture
def connected(monkeypatch, web: WebServer, mail: MailServer) -> None:
    """The connections of the channels, all of them leading to the servers of the test."""
    connections = {
        "alerts_chat": {"conn_type": "http", "password": f"{web.url}/chat?{SECRET}"},
        "alerts_on_call": {
            "conn_type": "http", "password": f"{web.url}/on-call?{SECRET}", "extra": {"authorization": "Bearer t"},
        },
        "alerts_mail": {
            "conn_type": "smtp", "host": "127.0.0.1", "port": mail.port,
            "extra": {
                "disable_ssl": True, "disable_tls": True,
                "from_email": "lpm@example.com", "to_email": "ada@example.com, bob@example.com",
            },
        },
    }  # fmt: skip
    for name, connection in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))


def fired(*subjects: Subject, kind: str = "fired") -> Delivery:
    notices = tuple(
        Notice(
            kind=kind,
            incident=Incident(
                alert="watermark-late", subject=subject, since=BEGIN, fired_at=BEGIN, value=812.5,
                detail="watermark 7, the source is at 9", last_good=BEGIN - timedelta(minutes=20),
            ),
            title="A company falls behind", severity="critical", condition="> 600", unit="seconds",
            runbook="runbooks/watermark-late.md", channels=("chat",),
        )
        for subject in subjects
    )  # fmt: skip
    return Delivery(channel="chat", notices=notices, run=LINKS.run)


def told(*subjects: Subject, kind: str = "fired"):
    return message(fired(*subjects, kind=kind), CONFIG, "local", LINKS.base)


def test_a_message_names_company_numbers_last_good_time_and_both_links():
    text = told(AURORA).text
    assert text.splitlines() == [
        "[local critical] NEW: A company falls behind: company C-1001 (Example Company Aurora)",
        "company C-1001 (Example Company Aurora): 812.5 seconds (alert at > 600); since 2026-11-24 12:00:00 UTC, "
        "last good 2026-11-24 11:40:00 UTC; watermark 7, the source is at 9",
        f"Runbook: {RUNBOOK}",
        f"DAG run: {LINKS.run}",
    ]


def test_many_companies_of_one_alert_are_one_message():
    lines = told(AURORA, O_NEILL).text.splitlines()
    assert lines[0] == "[local critical] NEW: A company falls behind: 2 companies"
    assert [line.partition(":")[0] for line in lines[1:3]] == [
        "company C-1001 (Example Company Aurora)",
        "company O'Neill 07 (Example Company O'Neill)",
    ]


def test_mail_goes_to_every_recipient(connected, mail):
    send("mail", Channel(kind="email", connection="alerts_mail"), told(AURORA))
    assert mail.envelopes == [("lpm@example.com", ("ada@example.com", "bob@example.com"))]
    [received] = mail.mails
    assert " ".join(received["Subject"].split()) == told(AURORA).headline, "a long header is folded"
    assert received["Message-ID"]
    assert received.get_payload(decode=True).decode().strip() == told(AURORA).text


def test_a_recipient_that_is_refused_is_an_error(connected, mail):
    mail.refused = ("bob@example.com",)
    with pytest.raises(ChannelError, match="refused 1 recipients"):
        send("mail", Channel(kind="email", connection="alerts_mail"), told(AURORA))


def test_teams_gets_an_adaptive_card_whose_text_means_what_it_says(connected, web):
    send("chat", Channel(kind="teams", connection="alerts_chat"), told(Subject(kind="company", name="[a]*b_c*")))
    [posted] = web.posted
    assert posted.path == f"/chat?{SECRET}"
    body = json.loads(posted.body)
    [attachment] = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    texts = [block["text"] for block in attachment["content"]["body"]]
    assert attachment["content"]["body"][0]["color"] == "attention"
    assert "\\[a\\]\\*b\\_c\\*" in texts[1]
    assert texts[-1] == f"[Runbook]({RUNBOOK}) · [DAG run]({LINKS.run})"


def test_a_card_of_a_thousand_companies_is_shortened_and_says_so():
    subjects = [Subject(kind="company", name=f"C-{number:04}") for number in range(1000)]
    shortened = card(told(*subjects))
    assert len(json.dumps(shortened)) <= CARD_BYTES
    texts = [block["text"] for block in shortened["attachments"][0]["content"]["body"]]
    shown = [text for text in texts if text.startswith("company ")]
    assert f"… and {1000 - len(shown)} more" in texts


def test_a_webhook_gets_json_that_programs_can_match(connected, web):
    for kind in ("fired", "resolved"):
        send("on_call", Channel(kind="webhook", connection="alerts_on_call"), told(AURORA, kind=kind))
    first, second = (json.loads(posted.body) for posted in web.posted)
    assert web.posted[0].headers["Authorization"] == "Bearer t"
    assert (first["alert"], first["kind"], second["kind"]) == ("watermark-late", "fired", "resolved")
    assert first["incidents"][0]["key"] == second["incidents"][0]["key"]
    assert (first["incidents"][0]["value"], first["runbook"], first["dag_run"]) == (812.5, RUNBOOK, LINKS.run)


def test_the_log_has_the_whole_text(caplog):
    with caplog.at_level(logging.INFO, "lpm"):
        send("log", Channel(kind="log"), told(AURORA))
        send("log", Channel(kind="log"), told(AURORA, kind="resolved"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", told(AURORA).text),
        ("INFO", told(AURORA, kind="resolved").text),
    ]


@pytest.mark.parametrize("status", [302, 400, 429, 500])
def test_what_is_not_taken_is_an_error_that_hides_the_address(connected, web, status):
    web.status = status
    with pytest.raises(ChannelError, match=f"127.0.0.1 answered HTTP {status}") as caught:
        send("chat", Channel(kind="teams", connection="alerts_chat"), told(AURORA))
    assert SECRET not in str(caught.value)


def test_nobody_there_and_no_connection_are_errors_that_hide_the_address(monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_GONE", json.dumps({"conn_type": "http", "password": f"http://127.0.0.1:1/{SECRET}"})
    )
    for connection in ("gone", "never_made"):
        with pytest.raises(ChannelError, match=r"channel chat \(teams\): ") as caught:
            send("chat", Channel(kind="teams", connection=connection), told(AURORA))
        assert SECRET not in str(caught.value)


STUCK = {
    "id": "stuck", "title": "A channel is stuck", "signal": "notices_undelivered", "when": "> 0", "for": 0,
    "route": "duty", "escalate": None,
}  # fmt: skip


def everything(value: float):
    """A round in which one company is late and all else is known and right."""
    late = observation(value)
    others = [observation(0, Subject(kind="company", name=company.id)) for company in CONFIG.companies[1:]]
    return [late, *others]


def test_a_message_that_a_channel_refuses_is_told_by_the_others_and_comes_when_the_channel_does(store, connected, web):
    channels = {**CHANNELS, "on_call": {"kind": "email", "connection": "alerts_mail"}}
    using = rules({"for": 0}, STUCK, channels=channels)

    def go(minutes: int, value: float):
        return alert_round(using, store, everything(value), LINKS, now=BEGIN + timedelta(minutes=minutes))

    web.status = 503
    assert go(0, 900).undelivered == 1
    assert len(web.posted) == 1, "tried once"
    second = go(5, 900)
    assert [(notice.incident.alert, notice.channels) for notice in second.notices] == [("stuck", ("chat", "on_call"))]
    assert second.undelivered == 2
    assert len(web.posted) == 3, "the first message again, and the one about the channel"
    web.status = 202
    third = go(10, 0)
    assert third.undelivered == 0
    headlines = [json.loads(posted.body)["attachments"][0]["content"]["body"][0]["text"] for posted in web.posted[3:]]
    assert headlines[0].endswith("(told late: 2 tries)")
    assert [headline.split(": ")[0].split("] ")[1] for headline in headlines] == ["NEW", "NEW", "OVER"]
    assert [notice.kind for notice in go(15, 0).notices] == ["resolved"], "the channel is no longer stuck"


def test_the_channel_that_fails_hides_nothing_from_the_others(store, connected, web, mail, caplog):
    web.status = 500
    channels = {**CHANNELS, "on_call": {"kind": "email", "connection": "alerts_mail"}}
    using = rules({"for": 0}, STUCK, channels=channels)
    with caplog.at_level(logging.INFO, "lpm"):
        for minutes in (0, 5):
            alert_round(using, store, everything(900), LINKS, now=BEGIN + timedelta(minutes=minutes))
    assert any("NEW: A company falls behind" in record.getMessage() for record in caplog.records)
    assert [mail["Subject"] for mail in mail.mails] == ["[local critical] NEW: A channel is stuck: environment local"]
    assert "chat: 127.0.0.1 answered HTTP 500" in mail.mails[0].get_payload(decode=True).decode()


def test_what_was_decided_before_a_crash_is_told_after_it(store, connected, web, monkeypatch):
    using = rules({"for": 0})
    with monkeypatch.context() as patch:
        patch.setattr("lpm.procedures.alerts.telling.notifications.send", _die)
        with pytest.raises(KeyboardInterrupt):
            alert_round(using, store, everything(900), LINKS, now=BEGIN)
    assert read_state(store, "monitor").outbox, "written before anyone was told"
    again = alert_round(using, store, everything(900), LINKS, now=BEGIN + timedelta(minutes=5))
    assert (again.notices, again.undelivered) == ((), 0), "not decided again, only told"
    assert len(web.posted) == 1


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_operator_acknowledges_and_is_not_asked_again(store, connected, web):
    using = rules({"for": 0})
    alert_round(using, store, everything(900), LINKS, now=BEGIN)
    asked = Request("watermark-late", "company C-1001", "ada", "on it", timedelta(hours=2))
    outcome = acknowledge_alert(store, asked, BEGIN + timedelta(minutes=1))
    assert outcome.text.splitlines() == [
        "ada looks after 1 alerts until 2026-11-24 14:01:00 UTC",
        "  - watermark-late: company C-1001",
    ]
    for minutes in range(5, 121, 5):
        told = alert_round(using, store, everything(900), LINKS, now=BEGIN + timedelta(minutes=minutes))
        assert told.notices == ()
    assert open_incidents(store)[0].acknowledged.who == "ada"
    ended = acknowledge_alert(
        store, Request("watermark-late", None, "bob", "", timedelta()), BEGIN + timedelta(minutes=121)
    )
    assert ended.changed
    told = alert_round(using, store, everything(900), LINKS, now=BEGIN + timedelta(minutes=155))
    assert [notice.kind for notice in told.notices] == ["escalated"]


@pytest.mark.parametrize(
    ("alert", "subject", "expected"),
    [
        ("watermark-lat", None, "no open alert watermark-lat; open are: watermark-late about company C-1001"),
        ("watermark-late", "company C-1002", r"did you mean 'watermark-late about company C-1001'\?\nNext step: "),
        (None, None, "no open alert without an id; open are: watermark-late about company C-1001"),
    ],
)
def test_acknowledging_what_is_not_open_says_what_is(store, connected, alert, subject, expected):
    alert_round(rules({"for": 0}), store, everything(900), LINKS, now=BEGIN)
    with pytest.raises(ProcedureError, match=expected):
        acknowledge_alert(store, Request(alert, subject, "ada", "", timedelta(hours=1)))


def test_a_state_that_cannot_be_understood_stops_the_round(store):
    store.write("alerts/state-monitor.json", "{not json")
    with pytest.raises(ProcedureError, match=r"(?s)state-monitor.json is not a state of alerts.*Next step: "):
        alert_round(rules(), store, [], LINKS)
