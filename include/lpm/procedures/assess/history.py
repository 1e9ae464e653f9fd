"""What the history of a Delta table tells about how it changes."""

import itertools
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lpm.contract.values import utc
from lpm.procedures.percentile import percentile

# Metrics of an operation that count changed rows. An operation that is not here, such as OPTIMIZE, changes none.
_INSERTED = {
    "numTargetRowsInserted": ("MERGE",),
    "numOutputRows": ("WRITE", "STREAMING UPDATE", "COPY INTO", "AS SELECT"),
}
_UPDATED = {"numTargetRowsUpdated": ("MERGE",), "numUpdatedRows": ("UPDATE",)}
_DELETED = {"numTargetRowsDeleted": ("MERGE",), "numDeletedRows": ("DELETE", "WRITE", "TRUNCATE")}
_REPLACING = ("REPLACE TABLE AS SELECT", "CREATE OR REPLACE TABLE AS SELECT", "RESTORE", "TRUNCATE")
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Commit:
    """One commit. Counts are of rows; ``replaces`` means that it replaced rows as a whole, such as an overwrite."""

    version: int
    at: datetime
    operation: str
    writer: str  # empty when the history does not name one
    inserted: int
    updated: int
    deleted: int
    replaces: bool

    @property
    def rows(self) -> int:
        """Rows that it changed."""
        return self.inserted + self.updated + self.deleted

    @property
    def changes_rows(self) -> bool:
        """Whether a reader could tell the difference."""
        return self.rows > 0 or self.replaces


@dataclass(frozen=True)
class Pace:
    """How rows changed between two moments. Rates are of rows in an hour, over all hours, idle ones included."""

    commits: int
    overwrites: int
    by_operation: Mapping[str, int]
    rows_mean: float
    rows_p95: int
    rows_max: int
    hours_with_changes: float  # percent
    minutes_between: float | None  # median; None with fewer than two commits
    inserted: int
    updated: int
    deleted: int

    def percent(self, rows: int) -> float:
        """A share of all changed rows."""
        total = self.inserted + self.updated + self.deleted
        return round(100 * rows / total, 1) if total else 0.0


def commits_of(history: Iterable[Mapping[str, str | None]]) -> list[Commit]:
    """The commits of ``DESCRIBE HISTORY``, oldest first."""
    return sorted((_commit(row) for row in history), key=lambda commit: commit.version)


def pace(commits: Sequence[Commit], start: datetime, end: datetime) -> Pace:
    """How rows changed from ``start`` to ``end``."""
    chosen = [commit for commit in commits if commit.changes_rows and start <= commit.at <= end]
    hours = max(1, math.ceil((end - start) / HOUR))
    rows_of_hour: Counter[int] = Counter()
    for commit in chosen:
        rows_of_hour[min(hours - 1, int((commit.at - start) / HOUR))] += commit.rows
    every_hour = sorted(rows_of_hour.get(hour, 0) for hour in range(hours))
    gaps = [(after.at - before.at) / timedelta(minutes=1) for before, after in itertools.pairwise(chosen)]
    return Pace(
        commits=len(chosen),
        overwrites=sum(commit.replaces for commit in chosen),
        by_operation=dict(Counter(commit.operation for commit in chosen)),
        rows_mean=round(sum(every_hour) / hours, 1),
        rows_p95=int(percentile(every_hour, 0.95)),
        rows_max=every_hour[-1],
        hours_with_changes=round(100 * len(rows_of_hour) / hours, 1),
        minutes_between=round(statistics.median(gaps), 1) if gaps else None,
        inserted=sum(commit.inserted for commit in chosen),
        updated=sum(commit.updated for commit in chosen),
        deleted=sum(commit.deleted for commit in chosen),
    )


def _commit(row: Mapping[str, str | None]) -> Commit:
    operation = row["operation"] or ""
    metrics = json.loads(row["operationMetrics"] or "{}")
    parameters = json.loads(row["operationParameters"] or "{}")

    def count(names: Mapping[str, tuple[str, ...]]) -> int:
        return sum(int(metrics.get(name) or 0) for name, of in names.items() if operation.endswith(of))

    return Commit(
        version=int(row["version"] or 0),
        at=utc(row["timestamp"] or ""),
        operation=operation,
        writer=row.get("userName") or "",
        inserted=count(_INSERTED),
        updated=count(_UPDATED),
        deleted=count(_DELETED),
        replaces=operation in _REPLACING or parameters.get("mode") == "Overwrite",
    )
