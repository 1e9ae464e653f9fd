"""Only a value that was measured confirms or contradicts; history counts what changed, and nothing else."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from lpm.clients.databricks import StatementFailed
from lpm.config import load_config
from lpm.config.assessment import Finding, Measured, load_assessment
from lpm.procedures.assess import change_feed, facts, targets
from lpm.procedures.assess.facts import Answer, Baseline, Fact
from lpm.procedures.assess.history import Commit, commits_of, pace
from lpm.procedures.assess.targets import Look
from lpm.procedures.assess.verdicts import judge, judge_all

CONFIG = load_config()
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def fact(name: str, value: float | None, note: str = "") -> Fact:
    return Fact(name=name, value=value, how="SELECT 1", at=NOON, note=note)


def baseline(*found: Fact) -> Baseline:
    return Baseline(environment="local", table="c.s.t", at=NOON, window_days=7, facts=found)


def finding(condition: str | None, name: str = "duplicate_keys") -> Finding:
    measured = Measured(fact=name, confirmed_when=condition) if condition else None
    day = NOON.date()
    return Finding(id="F-01", kind="source", statement="S.", said_by="lead", date=day, measured=measured)


@pytest.mark.parametrize(
    ("condition", "value", "judgement", "limit"),
    [
        ("<= 0", 0, "confirmed", "at most 0"),
        ("<= 0", 2, "contradicted", "at most 0"),
        ("> 100000000000", 50, "contradicted", "above 100,000,000,000"),
        (">= 50000", 50000, "confirmed", "at least 50,000"),
        ("< objectives.latency_p95_seconds", 60, "contradicted", "below 60"),
    ],
)
def test_a_value_confirms_or_contradicts_by_the_condition(condition, value, judgement, limit):
    verdict = judge(finding(condition), baseline(fact("duplicate_keys", value)), CONFIG)
    assert verdict.judgement == judgement
    assert f"duplicate_keys is {value:,} keys; the finding holds when it is {limit}" == verdict.reason


@pytest.mark.parametrize(
    ("condition", "known", "reason"),
    [
        (None, baseline(fact("duplicate_keys", 3)), "nothing that is measured speaks about it"),
        ("<= 0", None, "nothing was measured yet"),
        ("<= 0", baseline(), "duplicate_keys was not measured"),
        ("<= 0", baseline(fact("duplicate_keys", None, "not available here: x")), "not available here: x"),
    ],
)
def test_without_a_value_nothing_is_judged_and_the_reason_is_given(condition, known, reason):
    verdict = judge(finding(condition), known, CONFIG)
    assert verdict.judgement == "cannot be judged"
    assert reason in verdict.reason


def test_a_value_from_too_little_is_shown_and_judges_nothing():
    weak = fact("rows_per_hour_p95", 5).model_copy(update={"weak": "the history covers 0.1 hours"})
    verdict = judge(finding("< 10000", "rows_per_hour_p95"), baseline(weak), CONFIG)
    assert verdict.judgement == "cannot be judged"
    assert verdict.reason == "rows_per_hour_p95 is 5 rows/hour, but the history covers 0.1 hours"


def test_every_finding_gets_one_verdict_in_the_order_of_the_file():
    findings = load_assessment().findings
    assert [verdict.finding for verdict in judge_all(findings, None, CONFIG)] == list(findings)


def test_a_fact_has_a_known_name_and_says_its_unit():
    with pytest.raises(ValidationError, match="unknown measure 'speed'"):
        fact("speed", 1)
    assert fact("table_bytes", 123456789012).text == "123,456,789,012 bytes"
    assert fact("duplicate_keys", 1).text == "1 key"
    assert fact("companies_with_rows", 1).text == "1 company"
    assert fact("round_trip_ms_p50", 1).text == "1 ms"
    assert fact("feed_on", 1, "legacy").text == "yes (legacy)"
    assert fact("grants", None, "not available here: x").text == "not available here: x"


class Shelf:
    """An evidence store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}

    def read(self, name: str) -> str | None:
        return self.objects.get(name)

    def write(self, name: str, text: str) -> None:
        self.objects[name] = text


def test_facts_are_kept_by_their_time_and_read_back_as_the_latest():
    shelf, known = Shelf(), baseline(fact("duplicate_keys", 0), fact("grants", None, "no"))
    assert facts.latest(shelf) is None
    assert facts.keep(shelf, known) == "assess/2026-11-24T12-00-00.json"
    assert sorted(shelf.objects) == ["assess/2026-11-24T12-00-00.json", "assess/latest.json"]
    assert facts.latest(shelf) == known


def test_facts_of_another_version_of_the_product_are_no_facts():
    shelf = Shelf()
    shelf.write(facts.LATEST, '{"environment": "local", "speed": 3}')
    assert facts.latest(shelf) is None


def test_why_a_statement_was_refused_is_one_line_in_the_engines_words():
    error = StatementFailed("statement on x ended as FAILED: SHOW\nBAD_REQUEST: \n[PARSE_SYNTAX_ERROR] Syntax\n== SQL")
    assert facts.reason_of(error) == "[PARSE_SYNTAX_ERROR] Syntax"
    assert facts.reason_of(StatementFailed("statement on x\nBAD_REQUEST: no")) == "BAD_REQUEST: no"
    assert len(facts.reason_of(StatementFailed("s\n[A_B] " + "x" * 500))) == facts.LONGEST_REASON


def entry(version: int, operation: str, metrics: dict[str, str], **more) -> dict[str, str | None]:
    moment = NOON + timedelta(minutes=version)
    parameters = json.dumps(more.pop("parameters", {}))
    return {
        "version": str(version),
        "timestamp": moment.isoformat().replace("+00:00", "Z"),
        "operation": operation,
        "operationParameters": parameters,
        "operationMetrics": json.dumps(metrics),
        "userName": more.get("user"),
    }


@pytest.mark.parametrize(
    ("operation", "metrics", "parameters", "expected"),
    [
        ("WRITE", {"numOutputRows": "5"}, {"mode": "Append"}, (5, 0, 0, False)),
        ("WRITE", {"numOutputRows": "5"}, {"mode": "Overwrite"}, (5, 0, 0, True)),
        ("STREAMING UPDATE", {"numOutputRows": "4"}, {}, (4, 0, 0, False)),
        ("CREATE OR REPLACE TABLE AS SELECT", {"numOutputRows": "4"}, {}, (4, 0, 0, True)),
        ("UPDATE", {"numUpdatedRows": "3", "numCopiedRows": "900"}, {}, (0, 3, 0, False)),
        ("DELETE", {"numDeletedRows": "2"}, {}, (0, 0, 2, False)),
        (
            "MERGE",
            {
                "numTargetRowsInserted": "1",
                "numTargetRowsUpdated": "2",
                "numTargetRowsDeleted": "3",
                "numTargetRowsCopied": "99",
                "numOutputRows": "102",
            },
            {},
            (1, 2, 3, False),
        ),
        ("OPTIMIZE", {"numAddedFiles": "1", "numRemovedFiles": "9"}, {}, (0, 0, 0, False)),
        ("SET TBLPROPERTIES", {}, {}, (0, 0, 0, False)),
    ],
)
def test_rows_that_a_commit_changed_come_from_the_metrics_of_its_operation(operation, metrics, parameters, expected):
    [commit] = commits_of([entry(1, operation, metrics, parameters=parameters, user="loader")])
    assert (commit.inserted, commit.updated, commit.deleted, commit.replaces) == expected
    assert (commit.writer, commit.at) == ("loader", NOON + timedelta(minutes=1))
    assert commit.changes_rows == any(expected)


def commit(hours: float, inserted: int = 0, updated: int = 0) -> Commit:
    at = NOON + timedelta(hours=hours)
    return Commit(int(hours * 100), at, "WRITE", "", inserted, updated, 0, False)


def test_idle_hours_count_in_every_rate():
    found = pace([commit(0.5, 60), commit(0.9, 40), commit(5.5, updated=100)], NOON, NOON + timedelta(hours=20))
    assert (found.rows_mean, found.rows_p95, found.rows_max) == (10.0, 100, 100)
    assert found.hours_with_changes == 10.0
    assert found.minutes_between == pytest.approx(150, abs=0.1)
    assert (found.percent(found.inserted), found.percent(found.updated)) == (50.0, 50.0)
    one = pace([commit(0.5, 100)], NOON, NOON + timedelta(hours=40))
    assert (one.rows_p95, one.rows_max, one.minutes_between) == (0, 100, None)


def test_what_is_outside_the_window_or_changes_no_row_does_not_count():
    found = pace([commit(-1, 7), commit(1, 5), commit(2)], NOON, NOON + timedelta(hours=4))
    assert (found.commits, found.inserted) == (1, 5)


def test_no_commit_at_all_is_a_rate_of_nothing():
    found = pace([], NOON, NOON)
    assert (found.commits, found.rows_mean, found.rows_p95, found.percent(0)) == (0, 0, 0, 0)


def test_the_slowest_database_decides_and_a_silent_one_is_named():
    looks = {
        "near": Look((1.0, 1.2, 1.1), True),
        "far": Look(tuple(float(n) for n in range(1, 21)), False),
        "silent": Look(reason="no route"),
    }
    found = {each.name: each for each in targets.facts_of(looks)}
    assert (found["targets_reachable"].value, found["targets_reachable"].values) == (2, {"silent": "no route"})
    assert list(found["targets_with_schema"].values) == ["far"]
    assert (found["round_trip_ms_p95"].value, list(found["round_trip_ms_p95"].values)) == (19.0, ["far", "near"])
    assert not found["targets_reachable"].meets


def test_without_any_answer_there_is_no_round_trip():
    found = {each.name: each for each in targets.facts_of({"silent": Look(reason="no route")})}
    assert found["round_trip_ms_p50"].value is None
    assert "no database answers" in found["round_trip_ms_p50"].note


@pytest.mark.parametrize(("days", "weak"), [(0.5, True), (2, False)])
def test_rates_are_weak_while_the_history_is_shorter_than_a_day(days, weak):
    history = Answer("DESCRIBE HISTORY t", NOON, [entry(0, "WRITE", {"numOutputRows": "5"})])
    commits = [replace(each, at=NOON - timedelta(days=days)) for each in commits_of(history.rows)]
    log = change_feed.Log("t", history, commits, NOON - timedelta(days=7))
    found = {each.name: each for each in change_feed._pace(log)}
    assert all(bool(each.weak) == weak for name, each in found.items() if name.startswith("rows_per_hour"))
    assert (found["commits"].value, found["history_days"].value) == (1, days)
    assert found["minutes_between_commits"].note == "fewer than two commits"
