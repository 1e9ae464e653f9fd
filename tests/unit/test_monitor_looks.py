"""What the looks of the monitor make of what they see."""

from datetime import UTC, datetime, timedelta

import pytest

from lpm.config import load_config
from lpm.config.alerts import load_alerts
from lpm.procedures.alerts.evaluation import Rules
from lpm.procedures.alerts.observations import Observation, Subject, subjects_of
from lpm.procedures.monitor.looks import CompanyLook, Position, Positions, Seen, StreamLook, attempt, seen_after, told
from lpm.procedures.monitor.round import Looks, headroom
from lpm.procedures.monitor.stream import positions

CONFIG = load_config()
LOCAL = CONFIG.environment("local")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HERE = Subject(kind="environment", name="local")


def at(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def known(latest: int, sent: int | None, *pairs: tuple[int, float]) -> Positions:
    """Versions with the minutes since their commit."""
    marks = tuple(Position(version=version, committed_at=at(minutes)) for version, minutes in pairs)
    return Positions(latest=latest, known=marks, sent=sent)


def test_a_version_that_does_not_exist_yet_has_no_age():
    assert known(9, 9, (8, 5), (9, 1)).age(10, NOW) == 0


def test_a_recent_version_has_the_age_of_its_commit():
    assert known(9, 7, (7, 30), (8, 5), (9, 1)).age(8, NOW) == 300


def test_an_old_version_has_the_greatest_age_that_is_possible():
    places = known(900, 100, (50, 600), (200, 60), (890, 2), (900, 1))
    assert places.age(101, NOW) == 600 * 60, "committed after version 50 and before version 200"
    assert places.age(10, NOW) == 600 * 60, "older than all that is known: at least that"


def test_positions_put_the_hours_of_the_progress_table_before_the_history():
    progress = [
        {"hour": "2026-11-24T08:00:00.000Z", "oldest_version": None, "newest_version": None, "committed_at": None},
        {"hour": "2026-11-24T09:00:00.000Z", "oldest_version": "3", "newest_version": "5", "committed_at": None},
        {
            "hour": "2026-11-24T11:00:00.000Z", "oldest_version": "90", "newest_version": "98",
            "committed_at": "2026-11-24T11:03:00.000Z",
        },
    ]  # fmt: skip
    history = [
        {"version": "100", "timestamp": "2026-11-24T11:59:00.000Z"},
        {"version": "99", "timestamp": "2026-11-24 11:58:00"},
    ]
    found = positions(progress, history)
    assert (found.latest, found.sent) == (100, 98)
    assert [(one.version, one.committed_at) for one in found.known] == [
        (3, datetime(2026, 11, 24, 9, tzinfo=UTC)),
        (90, datetime(2026, 11, 24, 11, 3, tzinfo=UTC)),
        (99, datetime(2026, 11, 24, 11, 58, tzinfo=UTC)),
        (100, datetime(2026, 11, 24, 11, 59, tzinfo=UTC)),
    ]


def rules() -> Rules:
    return Rules(CONFIG, load_alerts(), LOCAL, "monitor")


def looks(places: Positions | None, **watermarks: int) -> Looks:
    companies = [CompanyLook(company=company, observations=(), watermark=mark) for company, mark in watermarks.items()]
    return Looks(stream=StreamLook(observations=(), positions=places), companies=companies)


def test_headroom_is_what_the_slowest_leaves_of_the_change_feed():
    places = known(9, 9, (5, 60 * 24 * 10), (9, 1))
    found = headroom(rules(), looks(places, a=9, b=5), NOW)
    assert found.value == pytest.approx(CONFIG.pipeline.retention.change_feed_days - 10)
    assert found.detail == "company b needs version 6"


def test_headroom_is_whole_when_everything_has_arrived_and_unknown_when_nothing_is_known():
    found = headroom(rules(), looks(known(9, 9, (9, 1)), a=9), NOW)
    assert (found.value, found.detail) == (CONFIG.pipeline.retention.change_feed_days, "everything has arrived")
    assert headroom(rules(), looks(None, a=9), NOW).value is None
    assert headroom(rules(), Looks(), NOW).value is None


def test_a_look_that_raises_is_a_list_of_unknowns_with_a_short_reason():
    def fails():
        yield Observation(signal="router_down", subject=HERE, value=0)
        raise RuntimeError("refused\n" + "x" * 1_000)

    found = attempt(("router_down", "hub_backlog_events"), HERE, fails)
    assert [(one.signal, one.value) for one in found] == [("router_down", None), ("hub_backlog_events", None)]
    assert found[0].detail.startswith("refused xxx")
    assert len(found[0].detail) == 300
    assert told("here", found).text.startswith("here: 0 of 2 signals observed\n  - router_down: not known: refused")


def test_how_far_was_looked_never_goes_back_when_a_look_fails():
    before = Seen(dead_letters_until=at(9), quarantine_until={"a": at(9), "b": at(9)})
    look = CompanyLook(company="a", observations=(), quarantine_until=at(1))
    blind = CompanyLook(company="b", observations=())
    after = seen_after(before, None, [look, blind])
    assert after == Seen(dead_letters_until=at(9), quarantine_until={"a": at(1), "b": at(9)})


def test_a_subject_is_read_as_messages_write_it():
    for subject in subjects_of(CONFIG, LOCAL):
        assert Subject.parse(str(subject)) == subject
    with pytest.raises(ValueError, match="kind"):
        Subject.parse("planet earth")
