"""The stand-in of Databricks remembers results for an hour, as many as fit into its memory."""

import time

from lpm.local.databricks.statements import INLINE_BYTES, KEPT_BYTES, KEPT_SECONDS, Statement, outdated


def ended(name: str, size: int = 0) -> Statement:
    statement = Statement(name, "SELECT 1", (), None, None, result_bytes=size)
    statement.end("SUCCEEDED")
    return statement


def test_a_result_is_forgotten_after_an_hour_and_a_statement_at_work_never() -> None:
    done, running = ended("done"), Statement("running", "SELECT 1", (), None, None)
    assert outdated([done, running], time.monotonic()) == []
    assert outdated([done, running], time.monotonic() + KEPT_SECONDS + 1) == [done]


def test_of_large_results_the_newest_are_kept() -> None:
    fitting = KEPT_BYTES // INLINE_BYTES
    statements = [ended(str(number), INLINE_BYTES) for number in range(fitting + 2)]
    assert outdated(statements, time.monotonic()) == [statements[1], statements[0]]
