"""Switch the change data feed (CDF) of the source table on, and prove that it records inserts, updates and deletes.

The proof never writes to the source: people read that Gold table, and its feed keeps every row for weeks. It writes to
an emptied shallow clone beside the pipeline's own tables. A clone has the source's schema, protocol, features,
constraints and properties, so the same engine records or refuses the same changes there. That the source's own feed can
be read from its enabling version on is then checked on the source (docs/operations/enable_cdf.md says more).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lpm.clients.databricks import DatabricksClient, StatementFailed
from lpm.config import ColumnType, Config, Environment, TableContract
from lpm.contract.envelope import literal, quoted
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.render.names import source_table

FEED = "delta.enableChangeDataFeed"
ROW_TRACKING = "delta.enableRowTracking"  # on Unity Catalog it carries the automatic change feed (DBR 18 and later)
# Property -> days that hold when it is not set.
RETENTION = {"delta.deletedFileRetentionDuration": 7.0, "delta.logRetentionDuration": 30.0}
FEED_COLUMNS = ("_change_type", "_commit_version", "_commit_timestamp")
CHECK_VALUE = "lpm-cdf-check"  # in every text column of a test row
SEEN_BY_THE_CHECK = {"insert": 2, "update_preimage": 1, "update_postimage": 1, "delete": 1}
HOURS = {"hour": 1.0, "day": 24.0, "week": 168.0, "minute": 1 / 60, "second": 1 / 3600}
INTEGER_DIGITS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}


def change_feed_table(environment: Environment) -> str:
    """Delta table that remembers from which version on the source's change feed can be read."""
    return f"{environment.pipeline_schema}.change_feed"


def create_change_feed_table(environment: Environment) -> str:
    """The statement that makes it where it is missing."""
    return (
        f"CREATE TABLE IF NOT EXISTS {change_feed_table(environment)} (source_table STRING, table_id STRING, "
        "kind STRING, enabled_version BIGINT, proven_shape STRING, recorded_at TIMESTAMP) USING DELTA "
        "COMMENT 'From which version on the change feed of a source can be read'"
    )


@dataclass(frozen=True)
class SourceFacts:
    """What Databricks says about the source table."""

    columns: Mapping[str, str]  # name in lower case -> Spark type
    table_type: str  # MANAGED, EXTERNAL, VIEW, MATERIALIZED_VIEW, ...
    guards: tuple[str, ...]  # row filters and column masks
    format: str
    table_id: str
    writer_version: int
    properties: Mapping[str, str]

    @property
    def shape(self) -> str:
        """Digest of everything that decides whether a change is recorded. The table's id is not part of it."""
        about = (sorted(self.columns.items()), self.writer_version, sorted(self.properties.items()))
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def days(self, name: str) -> float:
        """A retention property in days."""
        return interval_days(self.properties[name]) if name in self.properties else RETENTION[name]

    def is_on(self, name: str) -> bool:
        """Whether a boolean property is set."""
        return self.properties.get(name, "false").lower() == "true"


def check_prerequisites(config: Config, environment: Environment, databricks: DatabricksClient) -> Outcome:
    """Everything that would stop the change feed or the stream, before anything is touched.

    Raises:
        ProcedureError: naming every obstacle and its next step.
    """
    table = source_table(config, environment)
    facts = read_facts(databricks, table)
    if obstacles := list(find_obstacles(config.table, facts)):
        raise ProcedureError(
            "\n".join([f"{table} is not ready for the change feed:", *(f"  - {o}" for o in obstacles)])
        )
    return Outcome(False, f"{table} is ready for the change feed", tuple(find_remarks(config.table, facts)))


def enable(config: Config, environment: Environment, databricks: DatabricksClient, *, dry_run: bool = False) -> Outcome:
    """Set the table properties that are missing; nothing when all are there. A longer retention is never shortened.

    Raises:
        ProcedureError: the connection's principal may not alter the table, or Delta refuses.
    """
    table = source_table(config, environment)
    facts = read_facts(databricks, table)
    wanted = missing_properties(facts, config.pipeline.retention.change_feed_days)
    if FEED in wanted and facts.is_on(ROW_TRACKING) and _automatic_feed_works(databricks, table):
        del wanted[FEED]
    if not wanted:
        return Outcome(False, f"no change: the change feed of {table} is on and kept long enough")
    pairs = [f"{name} = {value}" for name, value in wanted.items()]
    if dry_run:
        return Outcome(False, f"dry run: would set {len(pairs)} properties of {table}", tuple(pairs))
    properties = ", ".join(f"'{name}' = '{value}'" for name, value in wanted.items())
    try:
        databricks.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({properties})")
    except StatementFailed as error:
        if "CONCURRENT" in str(error).upper():  # somebody else committed first: worth another try
            raise
        raise ProcedureError(_refusal(table, str(error))) from error
    return Outcome(True, f"set {len(pairs)} properties of {table}", tuple(pairs))


def validate(config: Config, environment: Environment, databricks: DatabricksClient) -> Outcome:
    """Write test rows to an emptied clone of the source and find each change in its feed; then drop the clone.

    A table that was proven before, and has the same columns, properties and protocol, is not proven again.

    Raises:
        ProcedureError: the clone or a test row was refused, or a change is missing in the feed.
    """
    table, clone = source_table(config, environment), f"{environment.pipeline_schema}.cdf_check"
    facts = read_facts(databricks, table)
    if facts.shape in [row["proven_shape"] for row in _remembered(environment, databricks, table, facts)]:
        return Outcome(False, f"no change: the feed of {table} was proven before, and the table has not changed since")
    try:
        seen = _changes_of_test_rows(config.table, facts, databricks, table, clone)
    except StatementFailed as error:
        raise ProcedureError(
            f"the change feed of {table} is not proven: its clone {clone} cannot be made or refuses a test row: "
            f"{error}\n"
            "Next step: grant what is missing or remove the cause, then trigger enable_cdf again; with validate off it "
            "goes on without this proof."
        ) from error
    finally:
        databricks.sql(f"DROP TABLE IF EXISTS {clone}")
    if seen != SEEN_BY_THE_CHECK:
        raise ProcedureError(
            f"the change feed of {clone}, a clone of {table}, shows {seen or 'nothing'}; expected {SEEN_BY_THE_CHECK}\n"
            f"Next step: compare SHOW TBLPROPERTIES {table} with the runbook page enable_cdf."
        )
    return Outcome(
        False,
        f"inserts, updates and deletes are seen in the feed of a clone of {table}; the clone is dropped",
        tuple(f"{kind}: {count}" for kind, count in seen.items()),
    )


def record(config: Config, environment: Environment, databricks: DatabricksClient, *, validated: bool) -> Outcome:
    """Remember from which version the feed can be read, and whether the table as it is now was proven.

    Raises:
        ProcedureError: the feed is off, or cannot be read from that version on.
    """
    table, ledger = source_table(config, environment), change_feed_table(environment)
    facts = read_facts(databricks, table)
    kind = feed_kind(facts)
    if kind is None:
        raise ProcedureError(f"the change feed of {table} is off: {FEED} is not true; trigger enable_cdf again")
    known = [row for row in _remembered(environment, databricks, table, facts) if row["kind"] == kind]
    version = enabling_version(
        databricks.sql(f"DESCRIBE HISTORY {table}"),
        kind,
        max((int(row["enabled_version"] or 0) for row in known), default=None),
    )
    _require_readable(databricks, table, version)
    says = f"the {kind} change feed of {table} is readable from version {version} on"
    proven = facts.shape if validated else None
    if any(int(row["enabled_version"] or 0) == version and proven in (None, row["proven_shape"]) for row in known):
        return Outcome(False, says)
    databricks.sql(
        f"INSERT INTO {ledger} VALUES ({literal(table)}, {literal(facts.table_id)}, {literal(kind)}, {version}, "
        f"{literal(proven) if proven else 'NULL'}, current_timestamp())"
    )
    return Outcome(True, says, (f"recorded in {ledger}",))


def read_facts(databricks: DatabricksClient, table: str) -> SourceFacts:
    """What Databricks says about a table.

    Raises:
        ProcedureError: there is no such table, or it is not a Delta table that can be described.
    """
    try:
        described = databricks.sql(f"DESCRIBE TABLE EXTENDED {table}")
    except StatementFailed as error:
        if "NOT_FOUND" not in str(error):
            raise ProcedureError(_refusal(table, str(error))) from error
        raise ProcedureError(
            f"{table} does not exist, or the connection's principal may not see it\n"
            "Next step: check databricks.catalog, databricks.source_schema "
            "table.name in include/config, and the rights USE CATALOG, USE SCHEMA and SELECT."
        ) from error
    rows = [((row["col_name"] or "").strip(), (row["data_type"] or "").strip()) for row in described]
    end = next((i for i, (name, _) in enumerate(rows) if not name or name.startswith("#")), len(rows))
    about = {name.lstrip("# ").lower(): value for name, value in rows[end:]}
    table_type = about.get("type", "").upper()
    if "VIEW" in table_type:  # DESCRIBE DETAIL refuses views with a message about paths
        return SourceFacts(dict(rows[:end]), table_type, (), "view", "", 0, {})
    detail = databricks.sql(f"DESCRIBE DETAIL {table}")[0]
    return SourceFacts(
        columns={name.lower(): kind.lower() for name, kind in rows[:end]},
        table_type=table_type,
        guards=tuple(name for name in about if name.startswith(("row filter", "column mask"))),
        format=(detail["format"] or "").lower(),
        table_id=detail["id"] or "",
        writer_version=int(detail.get("minWriterVersion") or 0),
        properties={row["key"] or "": row["value"] or "" for row in databricks.sql(f"SHOW TBLPROPERTIES {table}")},
    )


def find_obstacles(contract: TableContract, facts: SourceFacts) -> Iterable[str]:
    """What has to change before the feed can be switched on and read; each with its next step."""
    if "VIEW" in facts.table_type or "STREAMING" in facts.table_type:
        yield (
            f"it is a {facts.table_type}: only a Delta table has a change feed that can be switched on; "
            "name the table below it in include/config"
        )
        return
    if facts.format != "delta":
        yield f"its format is {facts.format!r}; expected delta: convert it, or name the Delta table in include/config"
        return
    for column in contract.columns:
        found = facts.columns.get(column.name.lower())
        if found is None:
            yield f"column {column.name!r} of pipeline.yml is missing: add it to the table, or remove it there"
        elif not carries(column.type, found):
            yield (
                f"column {column.name!r} is {found}, which {column.type} of pipeline.yml cannot carry without loss: "
                "change the type in pipeline.yml"
            )
    for name in FEED_COLUMNS:
        if name in facts.columns:
            yield f"column {name!r} is reserved for the change feed: rename it in the table"
    for guard in facts.guards:
        yield (
            f"it has a {guard}: the stream would miss rows or see masked values; exempt the stream job's principal, or "
            "name an unguarded table in include/config"
        )


def find_remarks(contract: TableContract, facts: SourceFacts) -> Iterable[str]:
    """What an operator should know, and what does not stop the procedure."""
    kind = feed_kind(facts)
    yield f"change feed: {kind or 'off'}"
    yield f"writer protocol: {facts.writer_version}" + (
        "" if kind else "; writers older than Delta 1.2.1 can no longer write once the feed is on"
    )
    for name in RETENTION:
        yield f"{name}: {facts.days(name):g} days"
    mapping = facts.properties.get("delta.columnMapping.mode", "none").lower()
    if mapping != "none":
        yield f"column mapping is on ({mapping}): dropping or renaming a column will stop the stream"
    for column in contract.columns:
        width = re.fullmatch(r"(?:var)?char\((\d+)\)", facts.columns.get(column.name.lower(), ""))
        if column.type.length and width and int(width[1]) > column.type.length:
            yield f"column {column.name!r} may hold {width[1]} characters; longer than {column.type} goes to quarantine"


def carries(wanted: ColumnType, found: str) -> bool:  # noqa: PLR0911  # one return for each type
    """Whether a contract type holds every value of a Spark type."""
    found = found.replace(" ", "").lower()
    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", found)
    match wanted.kind:
        case "string":
            return found == "string" or found.startswith(("varchar", "char", "stringcollate"))
        case "int" | "bigint":
            return found in INTEGER_DIGITS and INTEGER_DIGITS[found] <= INTEGER_DIGITS[wanted.kind]
        case "decimal":
            assert wanted.precision is not None
            assert wanted.scale is not None
            room = wanted.precision - wanted.scale
            if decimal:
                return int(decimal[2]) <= wanted.scale and int(decimal[1]) - int(decimal[2]) <= room
            return INTEGER_DIGITS.get(found, 99) <= room
        case "double":
            return found in ("float", "double")
        case "timestamp":
            return found in ("timestamp", "timestamp_ntz")
        case "boolean" | "date" | "binary":
            return found == wanted.kind


def missing_properties(facts: SourceFacts, days: int) -> dict[str, str]:
    """The table properties to set: the feed unless it is on, each retention that is too short."""
    wanted = {} if facts.is_on(FEED) else {FEED: "true"}
    return wanted | {name: f"interval {days} days" for name in RETENTION if facts.days(name) < days}


def feed_kind(facts: SourceFacts) -> str | None:
    """``legacy`` (written with the data), ``automatic`` (computed from row tracking), or None when there is no feed."""
    if facts.is_on(FEED):
        return "legacy"
    return "automatic" if facts.is_on(ROW_TRACKING) else None


def interval_days(text: str) -> float:
    """A Delta interval such as ``interval 30 days`` or ``2 weeks`` in days.

    Raises:
        ProcedureError: the text is no interval.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(week|day|hour|minute|second)s?", text.lower())
    if not parts:
        raise ProcedureError(f"retention {text!r} is no interval; expected for example 'interval 30 days'")
    return sum(float(number) * HOURS[unit] for number, unit in parts) / 24


def enabling_version(history: Iterable[Mapping[str, str | None]], kind: str, known: int | None) -> int:
    """The version that switched the feed on last, from ``DESCRIBE HISTORY``.

    When the log no longer shows it, the version ``known`` from before, else the oldest version that is left.
    """
    switch = FEED if kind == "legacy" else ROW_TRACKING
    commits = sorted(((int(row["version"] or 0), row) for row in history), key=lambda commit: commit[0], reverse=True)
    for version, row in commits:
        parameters = (row["operationParameters"] or "").replace("\\", "")
        if re.search(rf"{re.escape(switch)}\W+true", parameters):
            return version
    return known if known is not None else commits[-1][0]


def _remembered(
    environment: Environment, databricks: DatabricksClient, table: str, facts: SourceFacts
) -> list[dict[str, str | None]]:
    """The entries about this incarnation of the table; makes the table of entries when there is none."""
    ledger = change_feed_table(environment)
    databricks.sql(create_change_feed_table(environment))
    return databricks.sql(
        f"SELECT kind, enabled_version, proven_shape FROM {ledger} "
        f"WHERE source_table = {literal(table)} AND table_id = {literal(facts.table_id)}"
    )


def _changes_of_test_rows(
    contract: TableContract, facts: SourceFacts, databricks: DatabricksClient, table: str, clone: str
) -> dict[str, int]:
    """Count of each change type that the clone's feed shows after two inserts, one update and one delete."""
    names = ", ".join(quoted(name) for name in facts.columns)
    rows = ", ".join(f"({', '.join(_test_value(kind, n) for kind in facts.columns.values())})" for n in (1, 2))
    key, company = contract.key[0].lower(), contract.company_column.lower()

    def is_row(number: int) -> str:
        return f"{quoted(key)} = {_test_value(facts.columns[key], number)}"

    databricks.sql(f"CREATE OR REPLACE TABLE {clone} SHALLOW CLONE {table}")
    databricks.sql(f"DELETE FROM {clone}")  # drops its references to the source's files; the files stay the source's
    history = databricks.sql(f"DESCRIBE HISTORY {clone} LIMIT 1")
    first = int(history[0]["version"] or 0) + 1
    databricks.sql(f"INSERT INTO {clone} ({names}) VALUES {rows}")
    databricks.sql(f"UPDATE {clone} SET {quoted(company)} = {_test_value(facts.columns[company], 3)} WHERE {is_row(1)}")
    databricks.sql(f"DELETE FROM {clone} WHERE {is_row(2)}")
    counts = databricks.sql(
        f"SELECT _change_type, count(*) AS changes FROM table_changes({literal(clone)}, {first}) GROUP BY _change_type"
    )
    found = {row["_change_type"]: int(row["changes"] or 0) for row in counts}
    return {kind: found[kind] for kind in SEEN_BY_THE_CHECK if kind in found}


def _test_value(spark_type: str, number: int) -> str:
    """A literal of a Spark type; the number tells test rows apart. NULL for nested types."""
    if width := re.fullmatch(r"(?:var)?char\((\d+)\)", spark_type):
        return literal(f"{number}-{CHECK_VALUE}"[: int(width[1])])
    if spark_type.startswith(("array", "map", "struct", "variant", "interval")):
        return "NULL"
    text = {
        "string": f"{number}-{CHECK_VALUE}",
        "binary": f"{number}-{CHECK_VALUE}",
        "boolean": "true" if number == 1 else "false",
        "date": f"1900-01-0{number}",
    }.get(spark_type, f"1900-01-0{number} 00:00:00" if spark_type.startswith("timestamp") else str(number))
    return f"CAST({literal(text)} AS {spark_type})"


def _automatic_feed_works(databricks: DatabricksClient, table: str) -> bool:
    """Row tracking alone does not tell: older runtimes have it without the automatic change feed."""
    latest = int(databricks.sql(f"DESCRIBE HISTORY {table} LIMIT 1")[0]["version"] or 0)
    try:
        databricks.sql(f"SELECT 1 FROM table_changes({literal(table)}, {latest}, {latest}) LIMIT 1")
    except StatementFailed:
        return False
    return True


def _require_readable(databricks: DatabricksClient, table: str, version: int) -> None:
    try:
        databricks.sql(f"SELECT count(*) AS changes FROM table_changes({literal(table)}, {version}, {version})")
    except StatementFailed as error:
        raise ProcedureError(
            f"the change feed of {table} cannot be read from version {version} on, which enabled it: {error}\n"
            "Next step: see 'The feed cannot be read' on the runbook page enable_cdf."
        ) from error


def _refusal(table: str, message: str) -> str:
    if re.search(r"PERMISSION|PRIVILEGE|UNAUTHORIZED|not authorized|not have", message, re.IGNORECASE):
        return (
            f"the connection's principal may not alter {table}: {message}\n"
            f"Next step: its owner runs GRANT SELECT, MODIFY ON TABLE {table} TO <principal> "
            "(and USE CATALOG, USE SCHEMA), then trigger enable_cdf again."
        )
    return (
        f"Databricks refuses {table}: {message}\nNext step: remove the cause it names, then trigger enable_cdf again."
    )
