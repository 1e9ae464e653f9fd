"""Waiting ends when it is so, or with a message."""

import pytest

from lpm.procedures.outcome import ProcedureError
from lpm.procedures.waiting import wait_until


def test_it_looks_until_it_is_so():
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), "answer", 5, "none", pause_seconds=0.001) < 5
    assert next(answers, "all asked") == "all asked"


def test_when_the_time_is_over_it_names_what_was_waited_for_and_the_next_step():
    with pytest.raises(ProcedureError, match=r"a new run: not so after 0 s\nNext step: see its page"):
        wait_until(lambda: False, "a new run", 0, "see its page", pause_seconds=0.001)
