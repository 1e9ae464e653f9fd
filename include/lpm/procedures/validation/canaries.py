"""The canary companies of an environment, as a case works with them: rows in the source, databases, hubs."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import uuid4

from lpm.clients.databricks import DatabricksClient, StatementFailed
from lpm.clients.event_hubs import EventHub, OutgoingEvent
from lpm.clients.target_database import RowState, TargetDatabase
from lpm.config import Company, Config, Environment
from lpm.config.test_plan import TestPlan
from lpm.contract.envelope import bucket_of
from lpm.contract.values import typed_row
from lpm.procedures.outcome import ProcedureError
from lpm.procedures.reconciliation.comparison import differing_columns
from lpm.procedures.reconciliation.repair import partition_of
from lpm.procedures.reconciliation.source import Source
from lpm.procedures.validation.rows import SourceRow, Statements
from lpm.procedures.waiting import wait_until

WRITE_TRIES = 5  # of a statement that another writer of the source was faster than
PAUSE_SECONDS = 0.5


class CaseFailed(ProcedureError):  # noqa: N818  reads as what happened
    """A case saw something else than it expected. The message says both."""


class CaseSkipped(Exception):  # noqa: N818  reads as what happened
    """A case cannot be run here. The message says why."""


@dataclass(frozen=True)
class Seen:
    """What a case that passed saw. ``measured`` by name: counts, or seconds from commit to visible."""

    lines: tuple[str, ...]
    measured: Mapping[str, float] = field(default_factory=dict)


class Canaries:
    """Two canaries on different shards, and the rows of one case.

    Made anew for each case: the keys of its rows begin with the plan's prefix and letters of its own, unless a mark is
    given.
    """

    def __init__(
        self, config: Config, environment: Environment, databricks: DatabricksClient, plan: TestPlan, mark: str = ""
    ) -> None:
        self.config = config
        self.environment = environment
        self.databricks = databricks
        self.plan = plan
        self.first, self.second = pair(config)
        self.began = datetime.now(UTC)
        self.mark = mark or f"{plan.rows.key_prefix}{uuid4().hex[:8]}-"
        self.statements = Statements(config, environment, plan, self.mark)
        self.source = Source(config, environment, databricks)
        self._databases = {
            each.id: TargetDatabase.connect(config, environment, each) for each in (self.first, self.second)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for database in self._databases.values():
            database.close()

    # The source

    def insert(
        self, company: Company | str, first: int = 0, count: int = 1, values: Mapping[str, str] | None = None
    ) -> None:
        """New rows in the source, in one commit; see :meth:`Statements.insert`."""
        company_id = company if isinstance(company, str) else company.id
        self.write(self.statements.insert(company_id, first, count, values))

    def update(self, generation: int, numbers: Iterable[int] = ()) -> None:
        """Change rows in the source, in one commit."""
        self.write(self.statements.update(generation, numbers))

    def delete(self, numbers: Iterable[int] = ()) -> None:
        """Delete rows from the source, in one commit."""
        self.write(self.statements.delete(numbers))

    def write(self, statement: str) -> None:
        """Run a statement that changes rows; again when another writer of the table was faster.

        Raises:
            StatementFailed: Databricks refuses it, or others were faster every time.
        """
        for attempt in range(1, WRITE_TRIES + 1):
            try:
                self.databricks.run_sql(statement)
            except StatementFailed as error:
                if "CONCURRENT" not in str(error).upper() or attempt == WRITE_TRIES:
                    raise
            else:
                return

    def rows(self) -> list[SourceRow]:
        """The rows of this case as the source has them."""
        return [SourceRow(*map(str, row)) for row in self.databricks.run_sql(self.statements.rows()).rows]

    def key_hash(self, number: int = 0) -> str:
        """Key hash of one of the rows that the source has."""
        text = json.dumps(self.statements.key(number))
        return next(row.key_hash for row in self.rows() if text in row.payload)

    # The databases

    def database(self, company: Company) -> TargetDatabase:
        """The database of a canary."""
        return self._databases[company.id]

    def states(self, company: Company) -> Mapping[str, RowState]:
        """All rows of a canary's database: it has none but those of validation."""
        return self.database(company).states()

    def await_equal(self) -> None:
        """Wait until both databases have exactly the rows that the source has, then compare every value.

        Raises:
            CaseFailed: they have not in time, or a value differs.
        """
        expected = self.rows()
        self.wait_for(
            f"{len(expected)} rows of the source in the canaries' databases, and no other",
            lambda: "; ".join(filter(None, (self._difference(each, expected) for each in (self.first, self.second)))),
        )
        for company in (self.first, self.second):
            self._compare_values(company, {row.key_hash: row for row in expected if row.company == company.id})

    def await_version(self, company: Company) -> None:
        """Wait until a canary's database has everything up to the source's newest version.

        What was sent to the hub before that version was committed has then been applied too: a partition keeps its
        order, and the heartbeat of the version comes after it.
        """
        version = self.source.latest_version()

        def behind() -> str:
            watermark = self.database(company).watermark()
            return "" if watermark >= version else f"watermark {watermark}"

        self.wait_for(f"watermark {version} or more in the database of {company.id}", behind)

    def wait_for(self, expected: str, difference: Callable[[], str]) -> None:
        """Wait until ``difference`` says nothing any more.

        Raises:
            CaseFailed: it still says something when the time is over; names what was expected and what was seen.
        """
        limit = self.plan.limits.wait_seconds
        seen = ""

        def as_expected() -> bool:
            nonlocal seen
            seen = difference()
            return not seen

        try:
            wait_until(as_expected, expected, limit, "", PAUSE_SECONDS)
        except ProcedureError as error:
            raise CaseFailed(f"expected: {expected}\nseen after {limit:g} s: {seen}") from error

    def latencies(self, company: Company) -> list[float]:
        """Seconds from commit to visible of the rows of a canary's database, ascending."""
        states = self.states(company).values()
        return sorted(
            (state.applied_at - state.committed_at).total_seconds()
            for state in states
            if state.committed_at is not None
        )

    # The hub

    def event(self, company: Company, key_hash: str, version: int) -> dict[str, object]:
        """The event of a row as the stream job sent it for a version."""
        value = self.source.upserts(company.id, version, [key_hash]).get(key_hash)
        if value is None:
            raise CaseFailed(f"expected: a row with key {key_hash} in the source at version {version}\nseen: none")
        found: dict[str, object] = json.loads(value)
        return found

    def send(self, company: Company, events: Iterable[Mapping[str, object]]) -> None:
        """Send events to the canary's partition of its shard's hub."""
        outgoing = [
            OutgoingEvent(
                partition_of(company, bucket_of(str(event["key_hash"]))),
                json.dumps(event, ensure_ascii=False).encode(),
            )
            for event in events
        ]
        EventHub.of_shard(self.environment, company.shard).send(outgoing)

    # The end

    def clear(self) -> None:
        """Remove the rows of this mark from source, databases and quarantine, and see that they are gone.

        Raises:
            CaseFailed: something is left; names it.
        """
        self.delete()
        self.await_equal()
        for database in self._databases.values():
            database.forget_refused(database.refused_containing(self.mark))
        if left := [each for each in self._databases if self._databases[each].refused_containing(self.mark)]:
            raise CaseFailed(f"expected: no event of validation in the quarantine\nseen: some of {', '.join(left)}")

    # Inside

    def _difference(self, company: Company, expected: Collection[SourceRow]) -> str:
        wanted = {row.key_hash: row.row_hash for row in expected if row.company == company.id}
        found = {key: state.row_hash for key, state in self.states(company).items()}
        missing, extra = len(wanted.keys() - found.keys()), len(found.keys() - wanted.keys())
        other = sum(found[key] != wanted[key] for key in found.keys() & wanted.keys())
        counts = {"missing": missing, "too many": extra, "with other values": other}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{company.id}: {told}" if told else ""

    def _compare_values(self, company: Company, expected: Mapping[str, SourceRow]) -> None:
        table = self.config.table
        for key_hash, values in self.database(company).rows():
            wanted = typed_row(table, json.loads(expected[key_hash].payload))
            if columns := differing_columns(table, wanted, tuple(values[column.name] for column in table.columns)):
                raise CaseFailed(
                    f"expected: every value of key {key_hash} as the source has it\n"
                    f"seen: other values in {', '.join(columns)} in the database of {company.id}"
                )


def pair(config: Config) -> tuple[Company, Company]:
    """The first canary and the first one on another shard; the check of the plan has seen that there is one."""
    first, *others = config.canaries
    return first, next(company for company in others if company.shard != first.shard)
