"""The status is put together from what each DAG knows. (Here because its store needs Airflow.)"""

import json
from datetime import timedelta

import pytest

from alert_world import AURORA, BEGIN, CONFIG, LOCAL, observation, rules
from lpm.clients.evidence import EvidenceStore
from lpm.config.alerts import load_alerts
from lpm.procedures.alerts.observations import Observation, Subject
from lpm.procedures.alerts.rounds import alert_round
from lpm.procedures.alerts.telling import Links
from lpm.procedures.monitor.looks import CompanyLook, Position, Positions, StreamLook
from lpm.procedures.status import TREND, Verified, monitor_part, read_status, report_monitor, report_reconciliation

HERE = Subject(kind="environment", name="local")
SHARD = Subject(kind="shard", name="shard-01")
LINKS = Links("https://airflow.example", "https://airflow.example/run")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LPM_EVIDENCE", str(tmp_path))
    return EvidenceStore(LOCAL)


def seen(minutes: float, lag: float = 0, p95: float = 1.5):
    now = BEGIN + timedelta(minutes=minutes)
    stream = StreamLook(
        observations=(
            Observation(signal="stream_job_down", subject=HERE, value=0),
            Observation(signal="source_lag_seconds", subject=HERE, value=lag),
        ),
        positions=Positions(latest=9, known=(Position(version=9, committed_at=now),), sent=8),
    )
    company = CompanyLook(
        company=AURORA.name, observations=(observation(lag + 1),), watermark=7, latency_p50=0.5, latency_p95=p95
    )
    shards = [Observation(signal="router_down", subject=SHARD, value=1)]
    return monitor_part(LOCAL, now, stream, shards, [company])


def report(store, minutes: float, **more: float):
    return report_monitor(store, CONFIG, LOCAL, load_alerts(), seen(minutes, **more))


def test_nothing_is_claimed_before_anyone_has_looked(store):
    assert read_status(store) is None
    status = report_reconciliation(store, CONFIG, LOCAL, load_alerts(), {})
    assert (status.looked_at, status.stream.running, status.alerts, status.trend) == (None, None, (), ())
    assert [line.id for line in status.companies] == [company.id for company in CONFIG.companies]


def test_each_dag_adds_its_part_and_keeps_the_others(store):
    report(store, 0, lag=30)
    proven = Verified(verdict="pass", at=BEGIN, verified_through=7, verified_at=BEGIN, rows=12)
    report_reconciliation(store, CONFIG, LOCAL, load_alerts(), {AURORA.name: proven})
    differs = Verified(verdict="differ", at=BEGIN, differences={"missing": 2})
    report_reconciliation(store, CONFIG, LOCAL, load_alerts(), {"C-1002": differs})
    report(store, 5)
    status = read_status(store)
    first, second, third = status.companies[:3]
    assert (first.now.watermark, first.now.latency_p50_seconds, first.verified) == (7, 0.5, proven)
    assert (second.now.watermark, second.verified) == (None, differs)
    assert third.verified is None
    assert (status.stream.running, status.stream.source_version, status.stream.sent_version) == (True, 9, 8)
    assert status.shards["shard-01"].running is False
    assert status.looked_at == BEGIN + timedelta(minutes=5)


def test_open_alerts_of_both_dags_are_listed_with_who_looks_after_them(store):
    using = rules({"for": 0})
    alert_round(using, store, [observation(900, detail="far behind")], LINKS, now=BEGIN)
    [alert] = report(store, 0).alerts
    assert (alert.alert, alert.subject, alert.value, alert.detail) == ("watermark-late", AURORA, 900, "far behind")
    assert (alert.severity, alert.unit, alert.acknowledged_by) == ("critical", "seconds", None)
    assert alert.runbook == "runbooks/watermark-late.md"


def test_the_trend_keeps_the_worst_of_each_hour_for_two_weeks(store):
    report(store, 0, lag=10, p95=2)
    report(store, 5, lag=40, p95=1)
    status = report(store, 60, lag=5, p95=3)
    assert [(one.source_lag_seconds, one.latency_p95_seconds, one.watermark_age_seconds) for one in status.trend] == [
        (40, 2, 41),
        (5, 3, 6),
    ]
    later = report(store, TREND / timedelta(minutes=1) + 60)
    assert [one.source_lag_seconds for one in later.trend] == [5, 0], "the first hour is older than two weeks"


def test_the_document_is_json_for_anybody(store):
    report(store, 0)
    document = json.loads(store.read("status.json"))
    assert set(document) == {
        "environment", "written_at", "looked_at", "late_at", "stream", "shards", "companies", "alerts", "trend",
    }  # fmt: skip
    assert document["companies"][0]["id"] == AURORA.name


def test_the_document_says_when_it_will_be_late_by_the_schedule_of_the_monitor(store):
    assert report_reconciliation(store, CONFIG, LOCAL, load_alerts(), {}).late_at is None, "nobody has looked yet"
    looked = report(store, 2)
    assert CONFIG.pipeline.schedules.monitor == "*/5 * * * *"
    assert looked.late_at == BEGIN.replace(minute=15), "two rounds may fail, the third may not"


def test_a_part_that_an_older_version_wrote_is_no_obstacle(store):
    store.write("status/monitor.json", '{"old": true}')
    assert report(store, 0).looked_at == BEGIN
