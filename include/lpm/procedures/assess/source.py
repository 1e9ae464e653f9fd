"""The table as it is: size, columns against the contract, keys, companies, and values that would not arrive."""

from collections.abc import Iterator
from datetime import UTC, datetime

from lpm.clients.databricks import DatabricksClient
from lpm.config import Column, Config, Environment, TableContract
from lpm.contract.envelope import event_expressions, event_size, quoted, row_expressions
from lpm.procedures.assess.facts import Answer, Fact, ask, ask_if_possible, refused
from lpm.procedures.enable_cdf import SourceFacts, carries, read_facts
from lpm.render.names import source_table

NONE_NEEDED = "none"


def measure_source(config: Config, environment: Environment, databricks: DatabricksClient) -> list[Fact]:
    """Every fact of the part ``source``. Reads the table as a whole some times, and changes nothing.

    Raises:
        ProcedureError: there is no such table, or it may not be read.
        StatementFailed: counting its rows failed.
    """
    table = source_table(config, environment)
    known = read_facts(databricks, table)
    return [
        *_size(databricks, table),
        *_columns(config.table, known, table),
        *_rows(config.table, known, databricks, table),
        *_companies(config, known, databricks, table),
        *_keys(config.table, known, databricks, table),
        *_events(config, known, databricks, table),
    ]


def utf16_units(column: str) -> str:
    """Spark SQL of a text's length as the contract and SQL Server count it; Spark's own counts characters."""
    return f"octet_length(encode({quoted(column)}, 'UTF-16BE')) DIV 2"


def _size(databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    detail = ask_if_possible(databricks, f"DESCRIBE DETAIL {table}")
    yield detail.fact("table_bytes", detail.number("sizeInBytes"))
    yield detail.fact("table_files", detail.number("numFiles"))


def _columns(contract: TableContract, known: SourceFacts, table: str) -> Iterator[Fact]:
    described = Answer(f"DESCRIBE TABLE EXTENDED {table}", datetime.now(UTC), [])
    wanted = {column.name.lower(): column for column in contract.columns}
    missing = {column.name: str(column.type) for name, column in wanted.items() if name not in known.columns}
    incompatible = {
        column.name: f"is {known.columns[name]}, the contract says {column.type}"
        for name, column in wanted.items()
        if name in known.columns and not carries(column.type, known.columns[name])
    }
    extra = {name: kind for name, kind in known.columns.items() if name not in wanted}
    yield described.fact("missing_columns", len(missing), values=missing, needed=NONE_NEEDED, meets=not missing)
    yield described.fact(
        "incompatible_columns", len(incompatible), values=incompatible, needed=NONE_NEEDED, meets=not incompatible
    )
    yield described.fact("extra_columns", len(extra), values=extra)


def _rows(contract: TableContract, known: SourceFacts, databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    """One scan counts what single values can have against being sent."""
    present = [column for column in contract.columns if column.name.lower() in known.columns]
    required = [column for column in present if not column.nullable]
    limited = [column for column in present if column.type.length and _is_text(known, column)]
    counted = {
        **{f"null_{number}": f"{quoted(column.name)} IS NULL" for number, column in enumerate(required)},
        **{
            f"long_{number}": f"{utf16_units(column.name)} > {column.type.length}"
            for number, column in enumerate(limited)
        },
    }
    listed = "".join(f", count_if({condition}) AS {name}" for name, condition in counted.items())
    answer = ask(databricks, f"SELECT count(*) AS table_rows{listed} FROM {table}")
    yield answer.fact("table_rows", answer.number("table_rows"))
    nulls = _found(required, [answer.number(f"null_{number}") for number in range(len(required))])
    longs = _found(limited, [answer.number(f"long_{number}") for number in range(len(limited))])
    for name, found in (("null_in_required", nulls), ("too_long_values", longs)):
        total = sum(found.values())
        yield answer.fact(name, total, values=found, needed=NONE_NEEDED, meets=total == 0)


def _companies(config: Config, known: SourceFacts, databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    company = config.table.company_column
    statement = (
        f"SELECT CAST({quoted(company)} AS STRING) AS company, count(*) AS row_count FROM {table} "
        "GROUP BY 1 ORDER BY row_count DESC"
    )
    if company.lower() in known.columns:
        answer = ask_if_possible(databricks, statement)
    else:
        answer = refused(statement, f"the table has no column {company!r}")
    rows = {row["company"]: int(row["row_count"] or 0) for row in answer.rows}
    configured = {each.id for each in config.companies}
    ours = {name: count for name, count in rows.items() if name in configured}
    strangers = {repr(name): count for name, count in rows.items() if name is not None and name not in configured}
    nobody, unknown, total = rows.get(None, 0), sum(strangers.values()), sum(rows.values())
    yield answer.fact("null_company_rows", nobody, needed=NONE_NEEDED, meets=nobody == 0)
    yield answer.fact("unknown_company_rows", unknown, values=strangers, needed=NONE_NEEDED, meets=unknown == 0)
    yield answer.fact("companies_with_rows", len(ours), values=ours)
    share = round(100 * max(rows.values()) / total, 1) if total else 0
    yield answer.fact("largest_company_percent", share)


def _keys(contract: TableContract, known: SourceFacts, databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    keys = ", ".join(map(quoted, contract.key))
    company = quoted(contract.company_column)
    whole = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in contract.key)
    nulls = f"SELECT count(*) AS row_count FROM {table} WHERE NOT ({whole})"
    repeated = (
        "SELECT count_if(row_count > 1) AS duplicate, count_if(companies > 1) AS shared FROM ("
        f"SELECT {keys}, max(row_count) AS row_count, count(*) AS companies FROM ("
        f"SELECT {keys}, {company}, count(*) AS row_count FROM {table} WHERE {whole} GROUP BY {keys}, {company}) "
        f"GROUP BY {keys})"
    )
    needed = (*contract.key, contract.company_column)
    if absent := [name for name in needed if name.lower() not in known.columns]:
        reason = f"the table has no column {', '.join(map(repr, absent))}"
        without_key, answer = refused(nulls, reason), refused(repeated, reason)
    else:
        without_key, answer = ask_if_possible(databricks, nulls), ask_if_possible(databricks, repeated)
    rows, duplicates = without_key.number("row_count"), answer.number("duplicate")
    yield without_key.fact("null_key_rows", rows, needed=NONE_NEEDED, meets=rows == 0)
    yield answer.fact("duplicate_keys", duplicates, needed=NONE_NEEDED, meets=duplicates == 0)
    yield answer.fact("shared_keys", answer.number("shared"))


def _events(config: Config, known: SourceFacts, databricks: DatabricksClient, table: str) -> Iterator[Fact]:
    """How large the rows are as events, by the very expressions of the stream job."""
    row, limit = row_expressions(config.table), config.pipeline.limits.max_event_bytes
    size = event_size(event_expressions(config.table, "0L", "TIMESTAMP'2000-01-01'").upsert, "0L")
    statement = f"""SELECT max(bytes) AS largest, count_if(bytes > {limit}) AS too_large FROM (SELECT {size} AS bytes
        FROM (SELECT *, {row.bucket} AS bucket FROM (SELECT *, {row.key_hash} AS key_hash, {row.row_hash} AS row_hash
        FROM (SELECT {row.company} AS company, {row.key} AS key, {row.payload} AS payload FROM {table}))))"""
    unfit = [
        column.name
        for column in config.table.columns
        if not carries(column.type, known.columns.get(column.name.lower(), "nothing"))
    ]
    if unfit:
        answer = refused(statement, f"columns that are missing or of another type: {', '.join(unfit)}")
    else:
        answer = ask_if_possible(databricks, statement)
    too_large = answer.number("too_large")
    yield answer.fact("largest_event_bytes", answer.number("largest"))
    yield answer.fact("too_large_rows", too_large, needed=NONE_NEEDED, meets=too_large == 0)


def _found(columns: list[Column], counts: list[int]) -> dict[str, int]:
    return {column.name: count for column, count in zip(columns, counts, strict=True) if count}


def _is_text(known: SourceFacts, column: Column) -> bool:
    return known.columns[column.name.lower()].startswith(("string", "varchar", "char"))
