"""A company's target database: make or update its schema, ask how it is, read it, and feed its inbox.

The same code for Azure SQL (``mssql``) and for its local PostgreSQL twin. Everything that changes rows goes through the
inbox and its trigger, or through a procedure that takes the same lock.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnClause,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Integer,
    column,
    create_engine,
    func,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.sql.expression import TableClause

from lpm.clients import target_catalog
from lpm.config import Company, Config, Environment, TableContract
from lpm.contract.values import Value, normalised
from lpm.render import names
from lpm.render.targets import DIALECTS, INBOX_FIELDS, Dialect, script

AZURE_SQL_PORT = 1433
ODBC_DRIVER = "ODBC Driver 18 for SQL Server"
CONNECT_SECONDS = 15
ROWS_AT_ONCE = 1_000
LATENCY_STEP = 1.1  # lpm.latency: bucket b holds what took up to LATENCY_STEP ** b seconds

# The texts of a JSON array :keys, as rows.
_LISTED_KEYS: Mapping[Dialect, str] = {
    "postgresql": "SELECT json_array_elements_text(CAST(:keys AS json))",
    "mssql": "SELECT value COLLATE DATABASE_DEFAULT FROM OPENJSON(:keys)",
}

Percentiles = tuple[float, float, float]  # p50, p95, p99 in seconds


class TargetDatabaseError(RuntimeError):
    """A target database could not be reached or refused something. Names the company, the place and the next step."""


@dataclass(frozen=True)
class RowState:
    """What the pipeline knows of a row of the target. ``row_hash`` in hexadecimal; times are UTC, naive.

    ``committed_at`` is None for a row that a repair sent: no commit caused that event.
    """

    version: int
    row_hash: str
    committed_at: datetime | None
    applied_at: datetime


@dataclass(frozen=True)
class QuarantinedEvent:
    """An event that the target refused. Times are UTC, naive."""

    reason: str
    event_id: str | None
    deliveries: int  # how often it has come
    first_seen: datetime
    last_seen: datetime


def database_url(environment: Environment, server: str, database: str) -> URL:
    """Address of a database with the login of the environment's Airflow connection.

    In Azure the server is the given one, with the connection's extras as ODBC attributes (``driver``,
    ``Authentication`` and so on); the local server is the connection's host and port.

    Raises:
        airflow.exceptions.AirflowNotFoundException: no such connection.
    """
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(environment.sql.connection)
    login = connection.login, connection.password
    if environment.sql.dialect == "postgresql":
        return URL.create("postgresql+psycopg", *login, connection.host, connection.port, database)
    return URL.create(
        "mssql+pyodbc",
        *login,
        f"{server}.database.windows.net",
        connection.port or AZURE_SQL_PORT,
        database,
        {"driver": ODBC_DRIVER, "Encrypt": "yes"}
        | {name: str(value) for name, value in connection.extra_dejson.items()},
    )


class TargetDatabase:
    """One company's database.

    Args:
        config: The configuration; its table contract says what the target looks like.
        company: Whose database it is.
        url: SQLAlchemy URL with login and password.
        dialect: ``mssql`` for Azure SQL, ``postgresql`` for the local twin.
    """

    def __init__(self, config: Config, company: Company, url: str | URL, dialect: Dialect) -> None:
        self.config = config
        self.company = company
        self.dialect: Dialect = dialect
        self._url = make_url(url)
        self.place = f"company {company.id!r}, server {self._url.host}, database {self._url.database}"
        self._engine = self._create_engine()
        schema, name = names.target_table(config).split(".")
        self._target = table(
            name,
            *(column(each.name) for each in config.table.columns),
            *(
                column(each)
                for each in ("lpm_key_hash", "lpm_version", "lpm_row_hash", "lpm_committed_at", "lpm_applied_at")
            ),
            schema=schema,
        )

    @classmethod
    def connect(cls, config: Config, environment: Environment, company: Company) -> Self:
        """The company's database in an environment, see :func:`database_url`.

        Raises:
            TargetDatabaseError: the driver is missing.
            airflow.exceptions.AirflowNotFoundException: no such connection.
        """
        database = environment.databases[company.id]
        url = database_url(environment, database.server, database.database)
        return cls(config, company, url, environment.sql.dialect)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection."""
        self._engine.dispose()

    # The schema

    def apply_schema(self) -> list[str]:
        """Make the schema what the contract says, in one transaction. Returns what changed, empty when nothing did.

        Columns are added and lengthened; no row is lost. Columns that the contract no longer has stay, with the
        values they had.

        Raises:
            TargetDatabaseError: a column has another type than the contract says (nothing is changed then), or the
                database cannot be reached.
        """
        with self._transaction() as connection:
            if self.dialect == "mssql":
                connection.exec_driver_sql("SET NOCOUNT ON")  # else an error behind a row count would go unseen
            before = target_catalog.read(connection, self.dialect)
            for statement in script(self.config, self.dialect, self.company):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            return target_catalog.changes(before, target_catalog.read(connection, self.dialect))

    def admit_router(self, identity: str) -> list[str]:
        """Let a streaming job's managed identity insert into the inbox. Returns what changed.

        Only Azure SQL: locally the router has the owner's login.
        """
        if self.dialect != "mssql":
            return []
        user = DIALECTS[self.dialect].name(identity)
        quoted = DIALECTS[self.dialect].literal(identity)
        changes = []
        with self._transaction() as connection:
            if not connection.scalar(text("SELECT DATABASE_PRINCIPAL_ID(:name)"), {"name": identity}):
                connection.exec_driver_sql(f"CREATE USER {user} FROM EXTERNAL PROVIDER")
                changes.append(f"created user {identity}")
            if not connection.scalar(text(f"SELECT IS_ROLEMEMBER(N'lpm_router', {quoted})")):
                connection.exec_driver_sql(f"ALTER ROLE lpm_router ADD MEMBER {user}")
                changes.append(f"added {identity} to lpm_router")
        return changes

    # How it is

    def watermark(self) -> int:
        """Version through which the database has everything: the lowest of its partitions; -1 before the first."""
        return min(self.watermarks().values(), default=-1)

    def watermarks(self) -> Mapping[int, int]:
        """Version through which each of the company's partitions has arrived."""
        with self._transaction() as connection:
            query = select(column("partition_id", Integer), column("version", BigInteger)).select_from(
                _state("watermark")
            )
            return {int(partition): int(version) for partition, version in connection.execute(query)}

    def row_count(self) -> int:
        """Rows of the target."""
        return self._count(select(func.count()).select_from(self._target))

    def tombstone_count(self) -> int:
        """Keys whose deletion is remembered."""
        return self._count(select(func.count()).select_from(_state("tombstone")))

    def inbox_count(self) -> int:
        """Rows that stayed in the inbox: 0 unless something bypassed its trigger."""
        return self._count(select(func.count()).select_from(_table(names.inbox_table(self.config))))

    def foreign_rows(self) -> int:
        """Rows whose company column is not exactly this company, letter for letter."""
        found = self._target.c[self.config.table.company_column]
        condition: ColumnElement[bool]
        if self.dialect == "mssql":  # its = ignores trailing blanks, and case under most collations
            same = (found + "|").collate("Latin1_General_BIN2") == self.company.id + "|"
            condition = ~same | found.is_(None)
        else:
            condition = found.is_distinct_from(self.company.id)
        return self._count(select(func.count()).select_from(self._target).where(condition))

    def last_applied(self) -> datetime | None:
        """Moment (UTC, naive) at which the newest row became visible, of those applied in the last week."""
        with self._transaction() as connection:
            query = select(func.max(column("newest", DateTime))).select_from(_state("latency"))
            moment: datetime | None = connection.scalar(query)
            return moment

    def latency_percentiles(self, seconds: float) -> Percentiles | None:
        """Commit to visible of the rows applied in the last ``seconds``, whole minutes; None without any.

        Counted by the apply itself in steps of ten percent, so up to that much too high, and never too low.
        """
        since = {
            "postgresql": "(clock_timestamp() AT TIME ZONE 'UTC') - make_interval(secs => :seconds)",
            "mssql": "DATEADD(second, -CONVERT(int, :seconds), SYSUTCDATETIME())",
        }[self.dialect]
        query = f"SELECT bucket, SUM(applied) FROM lpm.latency WHERE newest > {since} GROUP BY bucket ORDER BY bucket"
        counts = [(int(bucket), int(applied)) for bucket, applied in self.query(query, {"seconds": seconds})]
        if not counts:
            return None
        p50, p95, p99 = (_percentile(counts, share) for share in (0.5, 0.95, 0.99))
        return p50, p95, p99

    def forget_latencies(self, days: int) -> None:
        """Forget what was counted of latencies more than ``days`` ago."""
        before = {
            "postgresql": "(clock_timestamp() AT TIME ZONE 'UTC') - make_interval(days => :days)",
            "mssql": "DATEADD(day, -:days, SYSUTCDATETIME())",
        }[self.dialect]
        with self._transaction() as connection:
            connection.execute(text(f"DELETE FROM lpm.latency WHERE minute < {before}"), {"days": days})

    def quarantine_counts(self) -> Mapping[str, int]:
        """Refused events by reason."""
        reason: ColumnClause[str] = column("reason")
        with self._transaction() as connection:
            query = select(reason, func.count()).select_from(_state("quarantine")).group_by(reason).order_by(reason)
            return {name: int(count) for name, count in connection.execute(query)}

    def quarantined(self, limit: int = 100) -> list[QuarantinedEvent]:
        """The refused events that came last."""
        columns: list[ColumnClause[Any]] = [
            column(name) for name in ("reason", "event_id", "deliveries", "first_seen", "last_seen")
        ]
        query = select(*columns).select_from(_state("quarantine")).order_by(column("last_seen").desc()).limit(limit)
        with self._transaction() as connection:
            return [QuarantinedEvent(*row) for row in connection.execute(query)]

    def refused_keys(self, key_hashes: Collection[str]) -> Mapping[str, str]:
        """Why the newest event of each of those keys (hexadecimal) was refused; absent when none was."""
        listed = _LISTED_KEYS[self.dialect]
        statement = f"""SELECT key_hash, reason FROM {names.STATE_SCHEMA}.quarantine
            WHERE key_hash IN ({listed}) ORDER BY last_seen"""
        return {str(key): str(reason) for key, reason in self.query(statement, {"keys": json.dumps([*key_hashes])})}

    def refused_events(
        self, reason: str | None, since: datetime | None, until: datetime | None
    ) -> list[tuple[str, str | None]]:
        """Reason and key hash of the refused events that a redrive is about; None for all, times naive UTC."""
        conditions = {"reason = :reason": reason, "last_seen >= :since": since, "last_seen < :until": until}
        chosen = [condition for condition, value in conditions.items() if value is not None]
        statement = f"""SELECT reason, key_hash FROM {names.STATE_SCHEMA}.quarantine
            WHERE {" AND ".join(["1 = 1", *chosen])} ORDER BY last_seen"""
        parameters = {"reason": reason, "since": since, "until": until}
        return [
            (str(why), key)
            for why, key in self.query(statement, {name: each for name, each in parameters.items() if each is not None})
        ]

    def forget_refused(self, key_hashes: Collection[str]) -> int:
        """Remove the refused events of keys that are right by now. Returns how many events."""
        listed = _LISTED_KEYS[self.dialect]
        statement = text(f"DELETE FROM {names.STATE_SCHEMA}.quarantine WHERE key_hash IN ({listed})")
        with self._transaction() as connection:
            return int(connection.execute(statement, {"keys": json.dumps([*key_hashes])}).rowcount)

    # Rows in and out

    def rows(self, contract: TableContract | None = None) -> Iterator[tuple[str, Mapping[str, Value]]]:
        """Every row of the target as (key hash in hexadecimal, typed values by column), read in pieces."""
        wanted = [each.name for each in (contract or self.config.table).columns]
        query = select(self._target.c.lpm_key_hash, *(self._target.c[name] for name in wanted))
        with self._transaction() as connection:
            for key_hash, *values in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query):
                yield bytes(key_hash).hex(), dict(zip(wanted, map(normalised, values), strict=True))

    def states(self, key_hashes: Collection[str] | None = None) -> Mapping[str, RowState]:
        """Rows by key hash (hexadecimal): those of some keys, at most a thousand, or all of a small table."""
        target = self._target.c
        query = select(
            target.lpm_key_hash, target.lpm_version, target.lpm_row_hash, target.lpm_committed_at, target.lpm_applied_at
        )
        if key_hashes is not None:
            query = query.where(target.lpm_key_hash.in_([bytes.fromhex(key) for key in key_hashes]))
        with self._transaction() as connection:
            return {
                bytes(key).hex(): RowState(int(version), bytes(row_hash).hex(), committed, applied)
                for key, version, row_hash, committed, applied in connection.execute(query)
            }

    def refused_containing(self, key_text: str) -> list[str]:
        """Key hashes of the refused events whose key holds a text; a wildcard in it is a wildcard."""
        quoted = DIALECTS[self.dialect].name("key")
        statement = f"SELECT key_hash FROM {names.STATE_SCHEMA}.quarantine WHERE {quoted} LIKE :pattern"
        return [str(key) for (key,) in self.query(statement, {"pattern": f"%{key_text}%"})]

    def insert_inbox(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Insert events as the router does, in one statement and so in one call of the trigger. For repair and tests.

        Args:
            events: Values by field of the envelope (absent = NULL), and ``partition_id``.

        Returns:
            How many events went in.
        """
        batch = [{name: event.get(name) for name in INBOX_FIELDS} for event in events]
        if not batch:
            return 0
        spelling = DIALECTS[self.dialect]
        fields = [(name, spelling.INBOX_TYPES.get(name, spelling.TEXT_TYPE)) for name in INBOX_FIELDS]
        inbox = _quoted(spelling, names.inbox_table(self.config))
        listed = ", ".join(spelling.name(name) for name in INBOX_FIELDS)
        if self.dialect == "postgresql":
            typed = ", ".join(f"{spelling.name(name)} {kind}" for name, kind in fields)
            source = f"json_to_recordset(CAST(:events AS json)) AS r ({typed})"
        else:
            typed = ", ".join(f"{spelling.name(name)} {kind} '$.{name}'" for name, kind in fields)
            source = f"OPENJSON(:events) WITH ({typed})"
        statement = text(f"INSERT INTO {inbox} ({listed}) SELECT {listed} FROM {source}")
        with self._transaction() as connection:
            connection.execute(statement, {"events": json.dumps(batch, ensure_ascii=False)})
        return len(batch)

    def drain_inbox(self) -> int:
        """Apply rows that stayed in the inbox table. Returns how many."""
        return self._call("SELECT lpm.drain_inbox()", "EXEC lpm.drain_inbox")

    def purge_tombstones(self, days: int) -> int:
        """Forget deletions older than ``days`` (at least 1). Returns how many.

        Only safe beyond the age of the oldest event that can still arrive: ``retention.tombstone_days``.
        """
        return self._call(
            "SELECT lpm.purge_tombstones(:days)", "EXEC lpm.purge_tombstones @days = :days", {"days": days}
        )

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of any query. Parameters appear as ``:name``."""
        with self._transaction() as connection:
            return [tuple(row) for row in connection.execute(text(statement), dict(parameters or {}))]

    # Inside

    def _create_engine(self) -> Engine:
        try:
            return create_engine(
                self._url,
                pool_pre_ping=True,  # a database that was restarted is not an error
                connect_args={"connect_timeout" if self.dialect == "postgresql" else "timeout": CONNECT_SECONDS},
            )
        except ImportError as error:
            raise TargetDatabaseError(
                f"{self.place}: the database driver cannot be loaded ({error}); Azure SQL needs the system library "
                "unixODBC (Debian: libodbc2) and Microsoft's ODBC Driver 18 for SQL Server on every Airflow worker"
            ) from error

    @contextmanager
    def transaction(self, isolation: str) -> Iterator[Connection]:
        """A transaction of another isolation level than the default, for reading several things of one state.

        Raises:
            TargetDatabaseError: the database cannot be reached, or refuses what is asked in the transaction.
        """
        with self._transaction(self._engine.execution_options(isolation_level=isolation)) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine | None = None) -> Iterator[Connection]:
        try:
            with (engine or self._engine).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise TargetDatabaseError(f"{self.place}: {_first_line(error)}; {_next_step(error)}") from error

    def _count(self, query: Any) -> int:
        with self._transaction() as connection:
            return int(connection.scalar(query))

    def _call(self, postgresql: str, mssql: str, parameters: Mapping[str, Any] | None = None) -> int:
        statement = text(postgresql if self.dialect == "postgresql" else mssql)
        with self._transaction() as connection:
            return int(connection.execute(statement, dict(parameters or {})).scalar_one())


def _percentile(counts: Sequence[tuple[int, int]], share: float) -> float:
    """Seconds within which that share of all was applied, from counts by bucket in ascending order."""
    wanted, passed = share * sum(applied for _, applied in counts), 0
    for bucket, applied in counts:
        passed += applied
        if passed >= wanted:
            return float(LATENCY_STEP**bucket)
    raise ValueError("nothing was counted")


def _table(dotted: str) -> TableClause:
    schema, name = dotted.split(".")
    return table(name, schema=schema)


def _state(name: str) -> TableClause:
    return table(name, schema=names.STATE_SCHEMA)


def _quoted(spelling: Any, dotted: str) -> str:
    return ".".join(spelling.name(part) for part in dotted.split("."))


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


def _next_step(error: SQLAlchemyError) -> str:
    message = _first_line(error)
    if "the contract says" in message:
        return "nothing was changed"
    if isinstance(error, OperationalError | InterfaceError):
        return (
            "check that the server runs, that its firewall admits this machine and that the login is right, then retry"
        )
    if isinstance(error, ProgrammingError) and "lpm" in message:
        return "run bootstrap for this environment: the schema of this database may be missing or old"
    return "see the message above; the transaction was rolled back"
