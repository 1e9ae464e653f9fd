"""Incidents that are over are kept for the runbooks: the last ones, once each."""

from datetime import timedelta

from alert_world import AURORA, BEGIN, O_NEILL, observation, rules
from lpm.procedures.alerts.ended import ENDED, KEPT, keep_ended, read_ended
from lpm.procedures.alerts.observations import Subject
from lpm.procedures.alerts.rounds import alert_round
from lpm.procedures.alerts.state import Incident
from lpm.procedures.alerts.telling import Links

LINKS = Links("https://airflow.example", "https://airflow.example/dags/monitor__local/runs/r1")
ONLY_LOG = {"log": {"kind": "log"}, "chat": {"kind": "log"}, "on_call": {"kind": "log"}}


class Store:
    """An evidence store in memory that counts what is written."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        self.written: list[str] = []

    def read(self, name: str) -> str | None:
        return self.objects.get(name)

    def write(self, name: str, text: str) -> None:
        self.objects[name] = text
        self.written.append(name)

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))


def incident(minutes: float, subject: Subject = AURORA) -> Incident:
    at = BEGIN + timedelta(minutes=minutes)
    return Incident(alert="watermark-late", subject=subject, since=at, fired_at=at, value=900)


def test_what_was_told_and_is_over_is_kept_and_what_never_fired_is_not() -> None:
    store = Store()

    def go(minutes: float, value: float) -> None:
        now = BEGIN + timedelta(minutes=minutes)
        seen = [observation(value), observation(0, O_NEILL)]
        alert_round(
            rules(channels=ONLY_LOG),
            store,
            seen,
            LINKS,
            now=now,
            expected=[AURORA, O_NEILL],  # type: ignore[arg-type]
        )

    for minutes, value in ((0, 900), (5, 0)):  # over before it had lasted
        go(minutes, value)
    assert read_ended(store) == []
    for minutes, value in ((10, 900), (20, 950), (25, 0)):
        go(minutes, value)
    [one] = read_ended(store)
    assert (one.incident.subject, one.incident.since) == (AURORA, BEGIN + timedelta(minutes=10))
    assert one.ended_at == BEGIN + timedelta(minutes=25)
    assert store.written.count(ENDED.format(dag="monitor")) == 1, "written only when something ended"


def test_only_the_last_ones_are_kept_newest_first() -> None:
    store = Store()
    for minutes in range(KEPT + 5):
        keep_ended(store, "monitor", [incident(minutes)], BEGIN + timedelta(minutes=minutes + 1))
    found = read_ended(store)
    assert len(found) == KEPT
    assert found[0].incident.since == BEGIN + timedelta(minutes=KEPT + 4)
    assert found[-1].incident.since == BEGIN + timedelta(minutes=5)
    assert len(store.objects[ENDED.format(dag="monitor")]) < 200_000, "small, however long it runs"


def test_a_round_that_is_repeated_keeps_an_incident_once() -> None:
    store = Store()
    for minutes in (5, 10):
        keep_ended(store, "monitor", [incident(0), incident(0, O_NEILL)], BEGIN + timedelta(minutes=minutes))
    assert [str(one.incident.subject) for one in read_ended(store)] == [str(AURORA), str(O_NEILL)]


def test_the_dags_keep_theirs_side_by_side_and_are_read_together() -> None:
    store = Store()
    keep_ended(store, "monitor", [incident(0)], BEGIN + timedelta(minutes=10))
    keep_ended(store, "reconcile", [incident(0, O_NEILL)], BEGIN + timedelta(minutes=20))
    assert [one.incident.subject for one in read_ended(store)] == [O_NEILL, AURORA]


def test_a_record_of_the_past_that_cannot_be_read_never_stops_alerting() -> None:
    store = Store()
    store.objects[ENDED.format(dag="monitor")] = "{broken"
    assert read_ended(store) == []
    keep_ended(store, "monitor", [incident(0)], BEGIN)
    assert len(read_ended(store)) == 1
