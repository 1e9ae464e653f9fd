"""Waiting for something outside to come true."""

import time
from collections.abc import Callable

from lpm.procedures.outcome import ProcedureError


def wait_until(
    is_so: Callable[[], bool], what: str, timeout_seconds: float, next_step: str, pause_seconds: float = 1.0
) -> float:
    """Look again and again until it is so; returns the seconds that took.

    Raises:
        ProcedureError: it is not so when the time is over; names what was waited for and the next step.
    """
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > timeout_seconds:
            raise ProcedureError(f"{what}: not so after {timeout_seconds:g} s\nNext step: {next_step}")
        time.sleep(pause_seconds)
    return time.monotonic() - began
