"""The envelope as Spark SQL expressions, rendered from the table contract.

One definition serves the stream job, reconciliation's source query and repair: the same engine computes the same bytes,
so hashes need no normalising between engines (DESIGN 3). Every payload value is a JSON string or null; JSON numbers
would lose digits on the way.

The expressions expect ANSI mode (a decimal's text is then plain digits, never E-notation), session time zone UTC and
``spark.sql.chunkBase64String.enabled=false``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lpm.config import Column, ColumnType, TableContract
from lpm.contract.sequence import Op, Rank

# Fields of an event in their order. Stream Analytics names every one of them, the inbox tables have a column for each.
EVENT_FIELDS = (
    "event_id",
    "op",
    "info_companyid",
    "key",
    "key_hash",
    "bucket",
    "version",
    "rank",
    "row_hash",
    "committed_at",
    "emitted_at",
    "schema_version",
    "payload",
)
# Fields that travel as JSON numbers; all others are JSON strings.
NUMBER_FIELDS = frozenset({"bucket", "version", "rank", "schema_version"})

# Reasons for a dead letter; the last one is followed by the column's name.
NO_COMPANY = "no_company"
NO_KEY = "no_key"
NON_FINITE = "non_finite:"

BUCKETS = 65_536  # the first two bytes of a key hash

TIMESTAMP_FORMAT = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"


@dataclass(frozen=True)
class RowExpressions:
    """Spark SQL over one row of the source table or of its change feed.

    ``company`` is text; ``key`` the canonical key text, NULL when a key column is NULL; ``key_hash`` needs a column
    ``key``, ``bucket`` a column ``key_hash``, ``row_hash`` a column ``payload``. ``dead_letter_reason`` is NULL for a
    row that can become an event, judged before the event's size is known. ``row_json`` is the row as a dead letter
    keeps it: like the payload, but numbers that are not finite stay visible.
    """

    company: str
    key: str
    key_hash: str
    bucket: str
    payload: str
    row_hash: str
    dead_letter_reason: str
    row_json: str


@dataclass(frozen=True)
class EventExpressions:
    """Spark SQL of whole events, as the JSON text that is sent.

    ``upsert`` and ``delete`` need the columns company, key, key_hash, bucket, version and committed_at (a timestamp);
    ``upsert`` payload and row_hash too. ``heartbeat`` needs company, version and partition.
    """

    upsert: str
    delete: str
    heartbeat: str


def row_expressions(table: TableContract) -> RowExpressions:
    """The expressions for one table contract."""
    key_columns = [table.column(name) for name in table.key]
    missing_key = " OR ".join(f"{quoted(column.name)} IS NULL" for column in key_columns)
    company = quoted(table.company_column)
    return RowExpressions(
        company=company,
        key=f"CASE WHEN {missing_key} THEN NULL ELSE {_json(key_columns)} END",
        key_hash="sha2(key, 256)",
        bucket="CAST(conv(substring(key_hash, 1, 4), 16, 10) AS INT)",
        payload=_json(table.columns),
        row_hash="sha2(payload, 256)",
        dead_letter_reason="CASE "
        + " ".join(
            [
                f"WHEN {company} IS NULL THEN {literal(NO_COMPANY)}",
                f"WHEN {missing_key} THEN {literal(NO_KEY)}",
                *(
                    f"WHEN {_not_finite(column)} THEN {literal(NON_FINITE + column.name)}"
                    for column in _finite_only(table)
                ),
            ]
        )
        + " END",
        row_json=_json(table.columns, keep_non_finite=True),
    )


def bucket_of(key_hash: str) -> int:
    """The bucket of a key hash in hexadecimal, as ``RowExpressions.bucket`` says it in Spark SQL."""
    return int(key_hash[:4], 16)


def dead_letter_reasons(table: TableContract) -> tuple[str, ...]:
    """Every reason that ``dead_letter_reason`` can give."""
    return (NO_COMPANY, NO_KEY, *(NON_FINITE + column.name for column in _finite_only(table)))


def event_size(value: str, version: str) -> str:
    """Bytes of an upsert that do not depend on its version: what is judged too large is so at every version."""
    return f"octet_length({value}) - 2 * octet_length(CAST({version} AS STRING))"  # in event_id and in version


def event_expressions(
    table: TableContract, version: str = "version", committed_at: str = "committed_at"
) -> EventExpressions:
    """The whole events for one table contract. ``emitted_at`` is the moment the query runs.

    Args:
        table: The contract.
        version: Column or literal of the event's version.
        committed_at: Column or literal of the commit time; NULL for an event that no commit caused.
    """
    shared = {
        "info_companyid": "company",
        "version": version,
        "committed_at": f"date_format({committed_at}, {literal(TIMESTAMP_FORMAT)})",
        "emitted_at": f"date_format(current_timestamp(), {literal(TIMESTAMP_FORMAT)})",
        "schema_version": str(table.schema_version),
    }
    of_key = {"key": "key", "key_hash": "key_hash", "bucket": "bucket"}
    return EventExpressions(
        upsert=_event(
            **shared,
            **of_key,
            event_id=f"concat({version}, '-{Rank.UPSERT}-', key_hash)",
            op=literal(Op.UPSERT),
            rank=str(Rank.UPSERT.value),
            row_hash="row_hash",
            payload="payload",
        ),
        delete=_event(
            **shared,
            **of_key,
            event_id=f"concat({version}, '-{Rank.DELETE}-', key_hash)",
            op=literal(Op.DELETE),
            rank=str(Rank.DELETE.value),
        ),
        heartbeat=_event(
            info_companyid="company",
            version=version,
            event_id=f"concat({version}, '-{Op.HEARTBEAT}-', company, '-', partition)",
            op=literal(Op.HEARTBEAT),
            emitted_at=shared["emitted_at"],
        ),
    )


def text_expression(column: Column, keep_non_finite: bool = False) -> str:
    """Canonical text of one column. NULL stays NULL; NaN and Infinity become NULL unless they are kept."""
    name = quoted(column.name)
    match column.type.kind:
        case "string":
            return name
        case "double" if not keep_non_finite:
            return f"CASE WHEN {_not_finite(column)} THEN NULL ELSE CAST({name} AS STRING) END"
        case "int" | "bigint" | "decimal" | "boolean" | "date" | "double":
            return f"CAST({name} AS STRING)"
        case "timestamp":
            return f"date_format({name}, {literal(TIMESTAMP_FORMAT)})"
        case "binary":
            return f"base64({name})"


def quoted(name: str) -> str:
    """A Spark SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def spark_type(column_type: ColumnType) -> str:
    """The Spark SQL type of a contract type: its name, but that a text has no length there."""
    return "string" if column_type.kind == "string" else str(column_type)


def literal(text: str) -> str:
    """A Spark SQL string literal, whatever the text contains."""
    # A dollar sign must not stand there as it is: Spark replaces ${name} by a setting, even inside a literal.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\u0024") + '"'


def _event(**given: str) -> str:
    """The event with the given fields; all others are null."""
    nothing = {field: f"CAST(NULL AS {'INT' if field in NUMBER_FIELDS else 'STRING'})" for field in EVENT_FIELDS}
    pairs = ", ".join(f"{literal(field)}, {given.get(field, nothing[field])}" for field in EVENT_FIELDS)
    return f"to_json(named_struct({pairs}), map('ignoreNullFields', 'false'))"


def _json(columns: Iterable[Column], keep_non_finite: bool = False) -> str:
    pairs = ", ".join(f"{literal(column.name)}, {text_expression(column, keep_non_finite)}" for column in columns)
    return f"to_json(named_struct({pairs}), map('ignoreNullFields', 'false'))"


def _finite_only(table: TableContract) -> list[Column]:
    return [column for column in table.columns if column.type.kind == "double" and column.non_finite == "dead_letter"]


def _not_finite(column: Column) -> str:
    name = quoted(column.name)
    return f"(isnan({name}) OR abs({name}) = double('infinity'))"
