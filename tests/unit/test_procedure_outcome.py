"""The readable result of a procedure."""

import json

from lpm.procedures.outcome import Outcome, together


def test_an_outcome_survives_the_way_through_json():
    outcome = Outcome(True, "did it", ("a", "b"))
    assert Outcome.from_json(json.loads(json.dumps(outcome.as_json()))) == outcome


def test_a_procedure_without_changes_says_no_change():
    whole = together([("one", Outcome(False, "was there")), ("two", Outcome(False, "was there too", ("x",)))])
    assert not whole.changed
    assert whole.summary == "no change"
    assert whole.details == ("one: was there", "two: was there too", "  x")


def test_a_procedure_names_each_step_that_changed_something_once():
    steps = [("one", Outcome(True, "a")), ("two", Outcome(False, "b")), ("one", Outcome(True, "c"))]
    whole = together(steps)
    assert whole.changed
    assert whole.summary == "changed: one"
    assert whole.text.splitlines() == ["changed: one", "  - one: a", "  - two: b", "  - one: c"]
