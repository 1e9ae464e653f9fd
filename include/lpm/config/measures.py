"""What the procedure assess can measure: the closed list of facts that findings may speak about."""

from dataclasses import dataclass
from typing import Literal

PartName = Literal["source", "change_feed", "access", "targets"]


@dataclass(frozen=True)
class Measure:
    """One thing that is measured.

    Attributes:
        name: As findings and facts name it.
        part: The task of assess that measures it.
        unit: Of the value; ``yes/no`` is 1 or 0.
        meaning: In one sentence.
        by: What the single values behind the value are by, such as company; empty when there are none.
    """

    name: str
    part: PartName
    unit: str
    meaning: str
    by: str = ""


_ALL = (
    # The table as it is
    Measure("table_rows", "source", "rows", "Rows of the table."),
    Measure("table_bytes", "source", "bytes", "Size of the table's current files."),
    Measure("table_files", "source", "files", "Files of the table's current version."),
    Measure("missing_columns", "source", "columns", "Columns of the contract that the table has not.", "column"),
    Measure(
        "incompatible_columns",
        "source",
        "columns",
        "Columns whose type the contract's type cannot carry without loss.",
        "column",
    ),
    Measure("extra_columns", "source", "columns", "Columns of the table that the contract leaves out.", "column"),
    Measure("duplicate_keys", "source", "keys", "Keys that a company has in more than one row."),
    Measure("shared_keys", "source", "keys", "Keys that more than one company has."),
    Measure("null_key_rows", "source", "rows", "Rows with a NULL in the key: they cannot be sent."),
    Measure("null_company_rows", "source", "rows", "Rows without a company: they cannot be sent."),
    Measure("unknown_company_rows", "source", "rows", "Rows of companies that are not configured.", "company"),
    Measure("companies_with_rows", "source", "companies", "Configured companies that have rows.", "company"),
    Measure("largest_company_percent", "source", "percent", "Share of the company with the most rows."),
    Measure("null_in_required", "source", "values", "NULLs in columns that the contract calls not nullable.", "column"),
    Measure("too_long_values", "source", "values", "Texts longer than the contract's column.", "column"),
    Measure("largest_event_bytes", "source", "bytes", "Size of the largest row as an event."),
    Measure("too_large_rows", "source", "rows", "Rows whose event is larger than limits.max_event_bytes."),
    # Its changes
    Measure("feed_on", "change_feed", "yes/no", "Whether the change data feed is on."),
    Measure(
        "feed_obstacles", "change_feed", "obstacles", "What has to change before the feed can be used.", "obstacle"
    ),
    Measure("change_file_days", "change_feed", "days", "How long the files of the change feed are kept."),
    Measure("log_days", "change_feed", "days", "How long the log of the table is kept."),
    Measure("history_days", "change_feed", "days", "How far the history of commits that is left goes back."),
    Measure("commits", "change_feed", "commits", "Commits that changed rows, in the window.", "operation"),
    Measure("overwrites", "change_feed", "commits", "Commits that replaced rows as a whole, in the window."),
    Measure("minutes_between_commits", "change_feed", "minutes", "Median time between two commits that changed rows."),
    Measure("hours_with_changes_percent", "change_feed", "percent", "Share of the hours in which rows changed."),
    Measure("rows_per_hour_mean", "change_feed", "rows/hour", "Rows changed in an hour, on average."),
    Measure("rows_per_hour_p95", "change_feed", "rows/hour", "Rows changed in an hour; 95 of 100 hours have no more."),
    Measure("rows_per_hour_max", "change_feed", "rows/hour", "Rows changed in the busiest hour."),
    Measure("inserted_percent", "change_feed", "percent", "Share of inserts among changed rows.", "kind"),
    Measure("updated_percent", "change_feed", "percent", "Share of updates among changed rows."),
    Measure("deleted_percent", "change_feed", "percent", "Share of deletes among changed rows."),
    Measure("feed_changes", "change_feed", "changes", "Rows of the change feed in the window.", "kind"),
    Measure(
        "busiest_company_per_hour", "change_feed", "rows/hour", "Changes of the busiest company in an hour.", "company"
    ),
    Measure("company_moves", "change_feed", "rows", "Rows that went from one company to another, in the window."),
    # Who uses it
    Measure("grants", "access", "grants", "Rights on the table, inherited ones included.", "principal"),
    Measure("readers", "access", "readers", "Who read the table in the window, as the lineage has it.", "reader"),
    Measure("openers", "access", "principals", "Who opened the table in the window, as the audit log has it.", "user"),
    Measure("writers", "access", "writers", "Who committed to the table, in the history that is left.", "writer"),
    Measure("guards", "access", "guards", "Row filters and column masks: they hide rows or values.", "guard"),
    # Where it goes
    Measure("targets_reachable", "targets", "databases", "Target databases that answer.", "company"),
    Measure(
        "targets_with_schema", "targets", "databases", "Target databases that have the pipeline's tables.", "company"
    ),
    Measure(
        "round_trip_ms_p50", "targets", "ms", "Median round trip from Airflow, of the slowest database.", "company"
    ),
    Measure("round_trip_ms_p95", "targets", "ms", "95th percentile of it, of the slowest database.", "company"),
)

MEASURES = {measure.name: measure for measure in _ALL}
PARTS: tuple[PartName, ...] = ("source", "change_feed", "access", "targets")
