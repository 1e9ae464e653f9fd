"""Who may use the table, who does, and who writes it. Most of it needs Unity Catalog and its system tables."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.procedures.assess.change_feed import HISTORY_COMMITS
from lpm.procedures.assess.facts import Answer, Fact, ask_if_possible
from lpm.procedures.assess.history import commits_of
from lpm.procedures.enable_cdf import read_facts
from lpm.render.names import source_table


def measure_access(
    config: Config, environment: Environment, databricks: DatabricksClient, window_days: int
) -> list[Fact]:
    """Every fact of the part ``access``; reads are counted over the last ``window_days``.

    Raises:
        ProcedureError: there is no such table, or it may not be read.
    """
    table = source_table(config, environment)
    guards = read_facts(databricks, table).guards
    described = Answer(f"DESCRIBE TABLE EXTENDED {table}", datetime.now(UTC), [])
    return [
        *_grants(databricks, table),
        *_readers(databricks, table, window_days),
        *_openers(databricks, table, window_days),
        *_writers(databricks, table),
        described.fact(
            "guards",
            len(guards),
            values={f"{number}": guard for number, guard in enumerate(guards, start=1)},
            needed="none",
            meets=not guards,
        ),
    ]


def _grants(databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    answer = ask_if_possible(databricks, f"SHOW GRANTS ON TABLE {table}")
    rights: dict[str, str] = {}
    for row in answer.rows:
        found = {name.lower(): value or "" for name, value in row.items()}  # spelled differently from page to page
        who, right = found["principal"], found["actiontype"]
        rights[who] = f"{rights[who]}, {right}" if who in rights else right
    yield answer.fact("grants", len(answer.rows), values=rights)


def _readers(databricks: DatabricksClient, table: str, days: int) -> Iterator[Fact]:
    answer = ask_if_possible(
        databricks,
        "SELECT coalesce(entity_type, 'OTHER') AS entity, created_by, count(*) AS times, max(event_time) AS last "
        "FROM system.access.table_lineage WHERE source_table_full_name = lower(:table) "
        f"AND event_date >= date_sub(current_date(), {days}) GROUP BY 1, 2 ORDER BY times DESC",
        {"table": table},
    )
    readers = {f"{row['entity']} of {row['created_by'] or 'unknown'}": _often(row) for row in answer.rows}
    yield answer.fact("readers", len(answer.rows), values=readers, note=_last(days))


def _openers(databricks: DatabricksClient, table: str, days: int) -> Iterator[Fact]:
    answer = ask_if_possible(
        databricks,
        "SELECT user_identity.email AS who, count(*) AS times, max(event_time) AS last FROM system.access.audit "
        "WHERE service_name = 'unityCatalog' AND action_name = 'getTable' "
        "AND request_params.full_name_arg = lower(:table) "
        f"AND event_date >= date_sub(current_date(), {days}) GROUP BY 1 ORDER BY times DESC",
        {"table": table},
    )
    openers = {row["who"] or "unknown": _often(row) for row in answer.rows}
    yield answer.fact("openers", len(answer.rows), values=openers, note=_last(days))


def _writers(databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    answer = ask_if_possible(databricks, f"DESCRIBE HISTORY {table} LIMIT {HISTORY_COMMITS}")
    changing = [commit for commit in commits_of(answer.rows) if commit.changes_rows]
    writers = Counter(commit.writer for commit in changing if commit.writer)
    named = bool(writers) or not changing
    yield answer.fact(
        "writers",
        len(writers) if named else None,
        values={who: f"{commits} commits" for who, commits in writers.most_common()},
        note="" if named else "the history of this table names nobody",
    )


def _often(row: dict[str, str | None]) -> str:
    return f"{row['times']} times, last {row['last']}"


def _last(days: int) -> str:
    return f"in the last {days} days"
