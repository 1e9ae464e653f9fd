"""Whatever is observed and whenever the process dies: told once, never lost, over once."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from alert_world import AURORA, O_NEILL, acknowledgement, look, observation, rules
from lpm.config.alerts import is_met
from lpm.procedures.alerts.evaluation import evaluate
from lpm.procedures.alerts.state import State

RULES = rules({"for": "10 min"})
ALERT = RULES.alerts[0]
BOTH = (AURORA, O_NEILL)
values = st.sampled_from([None, "missing", 0.0, 600.0, 601.0, 5_000.0])
# For each round: minutes since the one before, what each company shows, whether the process dies after it, and
# whether somebody acknowledges, for how many hours.
rounds = st.lists(
    st.tuples(st.integers(1, 45), values, values, st.booleans(), st.one_of(st.none(), st.integers(0, 3))),
    max_size=40,
)


def story(steps):
    """Plays the rounds; yields each with its state and notices. A process that dies goes on from its JSON."""
    state, minute, given_so_far = State(), 0, []
    for pause, first, second, dies, hours in steps:
        minute += pause
        if hours is not None:
            given_so_far.append(acknowledgement(minute - 0.5, hours))
        shown = [
            observation(value, subject)
            for value, subject in zip((first, second), BOTH, strict=True)
            if value != "missing"
        ]
        seen = look(minute, *shown, subjects=BOTH, acknowledgements=tuple(given_so_far))
        before = state
        state, notices = evaluate(RULES, seen, before)
        if dies:
            assert evaluate(RULES, seen, before) == (state, notices), "the same round again ends the same"
            state = State.model_validate_json(state.model_dump_json())
        yield seen, before, state, notices


def value_of(seen, subject):
    return next((found.value for found in seen.observations if found.subject == subject), None)


@given(rounds)
def test_each_incident_fires_once_after_its_time_and_ends_once_when_a_good_value_is_seen(steps):
    open_since = {}
    for seen, before, state, notices in story(steps):
        for subject in BOTH:
            told = [notice for notice in notices if notice.incident.subject == subject]
            assert len(told) <= 1
            value = value_of(seen, subject)
            over = value is not None and not is_met(ALERT.when, value, RULES.config)
            was_open = subject in open_since
            match told[0].kind if told else None:
                case "fired":
                    assert not was_open, "it had fired already"
                    assert seen.now - told[0].incident.since >= ALERT.lasting
                    open_since[subject] = told[0].incident.since
                case "resolved":
                    assert was_open
                    assert over
                    assert told[0].incident.since == open_since.pop(subject)
                case "repeated" | "escalated":
                    assert was_open
                    assert not over
                case None:
                    assert not (was_open and over), "the end was not told"
            incident = state.incident(ALERT.id, subject)
            assert (incident is not None and incident.fired_at is not None) == (subject in open_since), "never lost"
            if incident and incident.fired_at is None:
                assert seen.now - incident.since < ALERT.lasting or value is None, "it should have been told"
            assert before.evaluated_at is None or before.evaluated_at < seen.now


@given(rounds)
def test_nobody_is_left_without_a_reminder_unless_somebody_looks_after_it(steps):
    told_at = {}
    for seen, _, state, notices in story(steps):
        for notice in notices:
            told_at[notice.incident.subject] = seen.now
        for incident in state.incidents:
            if incident.fired_at is None:
                continue
            newest = incident.acknowledged
            if newest and newest.until > seen.now:
                assert all(notice.incident.subject != incident.subject or notice.kind == "fired" for notice in notices)
                continue
            quiet_since = max(told_at[incident.subject], newest.until if newest else incident.fired_at)
            assert seen.now - quiet_since < ALERT.repeat
            alone_since = max(incident.fired_at, newest.until) if newest else incident.fired_at
            assert incident.escalated_at or seen.now - alone_since < ALERT.escalate.after


@given(rounds)
def test_an_alert_is_escalated_at_most_once(steps):
    escalated = {}
    for *_, notices in story(steps):
        for notice in notices:
            key = notice.incident.key
            escalated[key] = escalated.get(key, 0) + (notice.kind == "escalated")
    assert all(times <= 1 for times in escalated.values())


@given(rounds)
def test_the_other_company_changes_nothing(steps):
    alone = [(pause, first, "missing", dies, hours) for pause, first, _, dies, hours in steps]
    for (*_, together), (*_, apart) in zip(story(steps), story(alone), strict=True):
        mine = [notice for notice in together if notice.incident.subject == AURORA]
        assert mine == [notice for notice in apart if notice.incident.subject == AURORA]


def test_the_alert_of_these_tests_has_all_that_they_are_about():
    assert ALERT.lasting == timedelta(minutes=10)
    assert ALERT.repeat == timedelta(hours=1)
    assert ALERT.escalate.after == timedelta(minutes=30)
