"""How the table changes: retention, history, rates, update pattern, and the change feed where it is on."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.contract.envelope import literal, quoted
from lpm.procedures.assess.facts import Answer, Fact, ask_if_possible, refused
from lpm.procedures.assess.history import Commit, commits_of, pace
from lpm.procedures.enable_cdf import (
    SourceFacts,
    enabling_version,
    feed_kind,
    find_obstacles,
    find_remarks,
    read_facts,
)
from lpm.render.names import source_table

HISTORY_COMMITS = 10_000  # newest ones that are read: an inline result holds 25 MiB
FILES, LOG = "delta.deletedFileRetentionDuration", "delta.logRetentionDuration"
LEAST_HISTORY = timedelta(days=1)  # tables have days and nights: less says nothing about a rate
_FEED_FACTS = ("feed_changes", "busiest_company_per_hour", "company_moves")
_PACE_FACTS = (
    *("history_days", "commits", "overwrites", "minutes_between_commits", "hours_with_changes_percent"),
    *("rows_per_hour_mean", "rows_per_hour_p95", "rows_per_hour_max"),
    *("inserted_percent", "updated_percent", "deleted_percent"),
)


@dataclass(frozen=True)
class Log:
    """What the history of a table says, and from when on changes are counted."""

    table: str
    history: Answer
    commits: list[Commit]  # oldest first
    since: datetime


def measure_change_feed(
    config: Config, environment: Environment, databricks: DatabricksClient, window_days: int
) -> list[Fact]:
    """Every fact of the part ``change_feed``; changes are counted over the last ``window_days``.

    Raises:
        ProcedureError: there is no such table, or it may not be read.
    """
    table = source_table(config, environment)
    known = read_facts(databricks, table)
    history = ask_if_possible(databricks, f"DESCRIBE HISTORY {table} LIMIT {HISTORY_COMMITS}")
    log = Log(table, history, commits_of(history.rows), history.at - timedelta(days=window_days))
    return [*_readiness(config, known, databricks, table), *_pace(log), *_feed(config, known, databricks, log)]


def _readiness(config: Config, known: SourceFacts, databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    kind = feed_kind(known)
    obstacles = {f"{number}": text for number, text in enumerate(find_obstacles(config.table, known), start=1)}
    shown = ask_if_possible(databricks, f"SHOW TBLPROPERTIES {table}")
    yield shown.fact(
        "feed_on", int(kind is not None), needed="yes (enable_cdf does it)", meets=kind is not None, note=kind or ""
    )
    yield shown.fact(
        "feed_obstacles",
        len(obstacles),
        values=obstacles,
        needed="none",
        meets=not obstacles,
        note="; ".join(find_remarks(config.table, known)),
    )
    days = config.pipeline.retention.change_feed_days
    kept = shown if known.format == "delta" else refused(shown.statement, f"it is a {known.table_type.lower()}")
    for name, setting in (("change_file_days", FILES), ("log_days", LOG)):
        value = 0.0 if kept.refusal else known.days(setting)
        needed = f"at least {days} days (retention.change_feed_days)"
        note = "" if setting in known.properties else f"{setting} is not set: the default"
        yield kept.fact(name, value, needed=needed, meets=value >= days, note=note)


def _pace(log: Log) -> Iterator[Fact]:
    history, commits = log.history, log.commits
    if not commits:
        yield from (history.fact(name, None, note="the history is empty") for name in _PACE_FACTS)
        return
    start = max(log.since, commits[0].at)  # before that, nothing is known
    found, covered = pace(commits, start, history.at), history.at - start
    short = f"the history covers {covered / timedelta(hours=1):.1f} hours, and a rate needs a day"
    weak = "" if covered >= LEAST_HISTORY else short
    note = f"from {start:%Y-%m-%d %H:%M} to {history.at:%Y-%m-%d %H:%M} UTC"
    yield history.fact("history_days", round((history.at - commits[0].at) / timedelta(days=1), 1))
    about = {"note": note, "weak": weak}
    yield history.fact("commits", found.commits, values=found.by_operation, **about)
    yield history.fact("overwrites", found.overwrites, **about)
    gap = about if found.minutes_between is not None else {"note": "fewer than two commits"}
    yield history.fact("minutes_between_commits", found.minutes_between, **gap)
    yield history.fact("hours_with_changes_percent", found.hours_with_changes, **about)
    yield history.fact("rows_per_hour_mean", found.rows_mean, **about)
    yield history.fact("rows_per_hour_p95", found.rows_p95, **about)
    yield history.fact("rows_per_hour_max", found.rows_max, **about)
    yield history.fact("inserted_percent", found.percent(found.inserted), **about)
    yield history.fact("updated_percent", found.percent(found.updated), **about)
    yield history.fact("deleted_percent", found.percent(found.deleted), **about)


def _feed(config: Config, known: SourceFacts, databricks: DatabricksClient, log: Log) -> Iterator[Fact]:
    commits = log.commits
    kind = feed_kind(known)
    if kind is None or not commits:
        off = refused(
            f"table_changes('{log.table}')", "the change data feed is off" if commits else "it has no history"
        )
        yield from (off.fact(name, None) for name in _FEED_FACTS)
        return
    in_window = [commit.version for commit in commits if commit.at >= log.since] or [commits[-1].version]
    first = max(enabling_version(log.history.rows, kind, None), in_window[0])
    feed = f"table_changes({literal(log.table)}, {first}, {max(first, commits[-1].version)})"
    counts = ask_if_possible(databricks, f"SELECT _change_type, count(*) AS changes FROM {feed} GROUP BY _change_type")
    by_kind = {str(row["_change_type"]): int(row["changes"] or 0) for row in counts.rows}
    changed = sum(count for kind, count in by_kind.items() if kind != "update_preimage")
    yield counts.fact("feed_changes", changed, values=by_kind, note=f"from version {first} on")
    columns = (config.table.company_column, *config.table.key)
    if absent := [name for name in columns if name.lower() not in known.columns]:
        off = refused(feed, f"the table has no column {', '.join(map(repr, absent))}")
        yield from (off.fact(name, None) for name in _FEED_FACTS[1:])
        return
    yield from _by_company(config, databricks, feed)


def _by_company(config: Config, databricks: DatabricksClient, feed: str) -> Iterator[Fact]:
    company, keys = quoted(config.table.company_column), ", ".join(map(quoted, config.table.key))
    busiest = ask_if_possible(
        databricks,
        f"SELECT company, max(changes) AS busiest FROM (SELECT CAST({company} AS STRING) AS company, "
        f"date_trunc('HOUR', _commit_timestamp) AS hour, count(*) AS changes FROM {feed} "
        "WHERE _change_type <> 'update_preimage' GROUP BY 1, 2) GROUP BY company ORDER BY busiest DESC",
    )
    by_company = {row["company"] or "(none)": int(row["busiest"] or 0) for row in busiest.rows}
    yield busiest.fact("busiest_company_per_hour", max(by_company.values(), default=0), values=by_company)
    moves = ask_if_possible(
        databricks,
        f"SELECT count(*) AS moves FROM (SELECT 1 FROM {feed} WHERE _change_type LIKE 'update%' "
        f"GROUP BY {keys}, _commit_version HAVING count(DISTINCT struct({company})) > 1)",
    )
    yield moves.fact("company_moves", moves.number("moves"))
