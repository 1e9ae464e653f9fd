"""What follows from observations: who is told, when, and how often."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from alert_world import AURORA, CONFIG, HERE, LOCAL, O_NEILL, acknowledgement, look, observation, rules
from lpm.config.alerts import load_alerts, threshold
from lpm.config.signals import SIGNALS
from lpm.procedures.alerts.evaluation import NO_LONGER_CONFIGURED, NOT_OBSERVED, Round, Rules, evaluate
from lpm.procedures.alerts.observations import Observation, Subject, unknown
from lpm.procedures.alerts.state import Delivery, Notice, State

BLIND = {
    "id": "monitor-blind", "signal": "monitor_blind", "when": "> 0", "for": "10 min", "escalate": None,
}  # fmt: skip


def play(looks: Iterable[Round], using: Rules | None = None) -> tuple[list[tuple[float, Notice]], State]:
    """Evaluate rounds one after another; the notices with their minute."""
    state, told = State(), []
    for seen in looks:
        state, notices = evaluate(using or rules(), seen, state)
        minute = (seen.now - look(0).now).total_seconds() / 60
        told += [(minute, notice) for notice in notices]
    return told, state


def kinds(told: Sequence[tuple[float, Notice]]) -> list[tuple[float, str]]:
    return [(minute, notice.kind) for minute, notice in told]


def every_five_minutes(value: float | None, first: int, last: int, **more: Any) -> list[Round]:
    return [look(minute, observation(value), **more) for minute in range(first, last + 1, 5)]


def test_an_alert_fires_once_when_its_condition_has_lasted_and_ends_once_when_it_is_over():
    told, state = play([*every_five_minutes(900, 0, 25), *every_five_minutes(0, 30, 40)])
    assert kinds(told) == [(10, "fired"), (30, "resolved")]
    assert state.incidents == ()


def test_what_is_over_before_it_has_lasted_is_never_told():
    told, state = play([*every_five_minutes(900, 0, 5), *every_five_minutes(600, 10, 15)])
    assert (told, state.incidents) == ([], ())


def test_a_condition_that_need_not_last_fires_in_the_same_round():
    told, _ = play([look(0, observation(601))], rules({"for": 0}))
    assert kinds(told) == [(0, "fired")]


def test_it_escalates_once_and_is_repeated_to_everybody_told_until_it_is_over():
    told, _ = play([*every_five_minutes(900, 0, 110), look(115, observation(1))])
    assert kinds(told) == [(10, "fired"), (40, "escalated"), (100, "repeated"), (115, "resolved")]
    assert [notice.channels for _, notice in told] == [
        ("log", "chat"),
        ("log", "chat", "on_call"),
        ("log", "chat", "on_call"),
        ("log", "chat", "on_call"),
    ]


def test_an_acknowledged_alert_is_quiet_until_its_time_is_over_and_then_escalates():
    ada = [acknowledgement(15, hours=2)]
    told, state = play(every_five_minutes(900, 0, 165, acknowledgements=ada))
    assert kinds(told) == [(10, "fired"), (165, "escalated")], "135 minutes is when the acknowledgement ends"
    assert state.incidents[0].acknowledged == ada[0]


def test_an_acknowledged_alert_still_says_when_it_is_over():
    ada = [acknowledgement(15, hours=2)]
    told, _ = play([*every_five_minutes(900, 0, 20, acknowledgements=ada), look(25, observation(0))])
    assert kinds(told) == [(10, "fired"), (25, "resolved")]


def test_an_acknowledgement_does_not_silence_the_next_incident():
    ada = [acknowledgement(15, hours=24)]
    looks = [*every_five_minutes(900, 0, 20), look(25, observation(0)), *every_five_minutes(900, 30, 70)]
    told, _ = play([Round(one.now, one.observations, one.subjects, one.expected, ada) for one in looks])
    assert kinds(told) == [(10, "fired"), (25, "resolved"), (40, "fired"), (70, "escalated")]


def test_an_acknowledgement_of_one_company_does_not_silence_another():
    both = (AURORA, O_NEILL)
    looks = [
        look(
            minute,
            observation(900),
            observation(900, O_NEILL),
            subjects=both,
            acknowledgements=[acknowledgement(15, hours=24)],
        )
        for minute in range(0, 45, 5)
    ]
    told, _ = play(looks)
    assert [(minute, notice.kind, notice.incident.subject) for minute, notice in told] == [
        (10, "fired", AURORA),
        (10, "fired", O_NEILL),
        (40, "escalated", O_NEILL),
    ]


@pytest.mark.parametrize("missing", [[], [observation(None, detail="connection refused")]])
def test_a_missing_observation_neither_ends_an_alert_nor_stops_its_reminders(missing):
    blind = [look(minute, *missing) for minute in range(15, 80, 5)]
    told, _ = play([*every_five_minutes(900, 0, 10), *blind, look(80, observation(0))], rules({"escalate": None}))
    assert kinds(told) == [(10, "fired"), (70, "repeated"), (80, "resolved")]
    assert told[1][1].note == NOT_OBSERVED


def test_a_missing_observation_does_not_begin_the_waiting_anew():
    told, _ = play([look(0, observation(900)), look(5), look(10, observation(900))])
    assert kinds(told) == [(10, "fired")]


def test_being_blind_is_an_alert_of_its_own_that_says_why_and_ends():
    looks = [
        *(look(minute, *unknown(["watermark_age_seconds"], AURORA, "connection refused")) for minute in (0, 5, 10)),
        look(15, observation(0)),
    ]
    told, _ = play(looks, rules({}, BLIND))
    assert kinds(told) == [(10, "fired"), (15, "resolved")]
    incident = told[0][1].incident
    assert (incident.alert, incident.subject, incident.value) == ("monitor-blind", AURORA, 1)
    assert incident.detail == "not known: watermark_age_seconds; connection refused"


def test_an_observer_that_never_reported_makes_the_round_blind_too():
    _, state = play([look(0), look(5)], rules({}, BLIND))
    assert state.incidents[0].detail == "not known: watermark_age_seconds; no observation arrived"
    assert state.not_known == ("watermark_age_seconds company C-1001",)


def test_only_what_had_to_be_looked_at_can_be_missing():
    seen = Round(look(0).now, [observation(0)], [AURORA, O_NEILL], [AURORA])
    state, _ = evaluate(rules({}, BLIND), seen, State())
    assert state.incidents == ()


def test_the_last_good_time_is_the_observers_or_the_round_before():
    told, _ = play([look(0, observation(0)), look(5, observation(900))], rules({"for": 0}))
    assert told[0][1].incident.last_good == look(0).now
    known = look(-60).now
    told, _ = play([look(0, observation(0)), look(5, observation(900, last_good=known))], rules({"for": 0}))
    assert told[0][1].incident.last_good == known


def test_nobody_claims_a_last_good_time_that_nobody_saw():
    told, _ = play([look(0, observation(900))], rules({"for": 0}))
    assert told[0][1].incident.last_good is None, "the first round"
    told, _ = play([look(0), look(5, observation(900))], rules({"for": 0}))
    assert told[0][1].incident.last_good is None, "the round before was blind"


@pytest.mark.parametrize("gone", ["the company", "the alert"])
def test_what_is_no_longer_configured_is_told_as_over(gone):
    before = rules({"for": 0}, {"id": "other", "signal": "inbox_rows"})
    state, told = evaluate(before, look(0, observation(900)), State())
    after = rules({"id": "other", "signal": "inbox_rows"}) if gone == "the alert" else before
    subjects = (O_NEILL,) if gone == "the company" else (AURORA,)
    state, told = evaluate(after, look(5, subjects=subjects), state)
    assert [(notice.kind, notice.note, notice.channels) for notice in told] == [
        ("resolved", NO_LONGER_CONFIGURED, ("log", "chat"))
    ]
    assert state.incidents == ()


def test_a_channel_that_takes_nothing_is_told_of_through_the_others():
    stuck = {
        "id": "stuck", "signal": "notices_undelivered", "when": "> 0", "for": 0, "route": "duty", "escalate": None,
    }  # fmt: skip
    (fired,) = [notice for _, notice in play([look(0, observation(900))], rules({"for": 0}))[0]]
    waiting = Delivery(channel="chat", notices=(fired,), run="x", tries=1, error="chat answered HTTP 503")
    state, told = evaluate(rules(stuck), look(5, observation(0), subjects=(HERE,)), State(outbox=(waiting,)))
    assert [(notice.incident.alert, notice.incident.value) for notice in told] == [("stuck", 1)]
    assert told[0].incident.detail == "chat: chat answered HTTP 503"
    _, told = evaluate(rules(stuck), look(10, subjects=(HERE,)), state.model_copy(update={"outbox": ()}))
    assert [notice.kind for notice in told] == ["resolved"]


def test_a_value_below_a_limit_fires_too():
    low = {"id": "headroom", "signal": "hub_headroom_hours", "when": "< 12", "for": 0}
    shard = Subject(kind="shard", name="shard-01")
    seen = Observation(signal="hub_headroom_hours", subject=shard, value=11.9)
    told, _ = play([look(0, seen, subjects=(shard,))], rules(low))
    assert kinds(told) == [(0, "fired")]


def test_an_objective_is_the_limit_where_an_alert_names_one():
    late = {"id": "latency", "signal": "latency_p95_seconds", "when": "> objectives.latency_p95_seconds", "for": 0}
    for value, expected in ((60, []), (60.1, [(0, "fired")])):
        seen = Observation(signal="latency_p95_seconds", subject=AURORA, value=value)
        assert kinds(play([look(0, seen)], rules(late))[0]) == expected


OBSERVED = [
    alert
    for alert in load_alerts().alerts
    if "dag" in alert.evaluated_in and SIGNALS[alert.signal].observed_by != "each"  # those have tests of their own
]


@pytest.mark.parametrize("alert", OBSERVED, ids=lambda alert: alert.id)
def test_each_alert_that_is_shipped_fires_beyond_its_limit_and_not_within(alert):
    kind = SIGNALS[alert.signal].subject
    subject = {"company": AURORA, "environment": HERE, "shard": Subject(kind="shard", name="shard-01")}[kind]
    using = Rules(CONFIG, load_alerts(), LOCAL, SIGNALS[alert.signal].observed_by)
    limit, above = threshold(alert.when, CONFIG), alert.when.comparison.startswith(">")

    def fired(value: float) -> list[str]:
        seen = Observation(signal=alert.signal, subject=subject, value=value)
        moments = (0, alert.lasting.total_seconds() / 60)
        told, _ = play([look(minute, seen, subjects=(subject,)) for minute in moments], using)
        return [notice.incident.alert for _, notice in told if notice.kind == "fired"]

    assert alert.id in fired(limit + 1 if above else limit - 1)
    assert alert.id not in fired(limit - 1 if above else limit + 1)
