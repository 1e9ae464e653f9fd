"""How PostgreSQL spells types, names and values, and how it proves that a text is a value of a type.

A guard is an SQL condition over a text that is not NULL. It holds exactly when the text has the form that
``lpm.contract.envelope`` writes, and then the conversion cannot fail. The T-SQL guards in ``mssql.py`` answer alike.
What PostgreSQL alone would take (``now``, ``24:00:00``, ``0x1F``, ``1e5`` as a decimal, ``NaN``) is refused.
"""

from lpm.config import ColumnType

SEPARATOR = "-- next"  # a line of its own between two statements
INBOX_TYPES = {
    "bucket": "integer",
    "version": "bigint",
    "rank": "integer",
    "schema_version": "integer",
    "partition_id": "integer",
}
TEXT_TYPE = "text"
LONGEST_NAME = 63  # longer identifiers are cut silently


def name(identifier: str) -> str:
    """A quoted identifier.

    Raises:
        ValueError: PostgreSQL would cut it.
    """
    if len(identifier.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{identifier!r} has {len(identifier.encode())} bytes; PostgreSQL, which the local cloud uses, cuts names "
            f"after {LONGEST_NAME}: use a shorter name in pipeline.yml"
        )
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal, whatever the text contains, that is also safe inside a dollar-quoted body.

    Raises:
        ValueError: the text holds U+0000, which PostgreSQL cannot store.
    """
    if "\0" in text:
        raise ValueError(f"{text!r} holds U+0000, which PostgreSQL cannot store")
    quoted = text.replace("'", "''")
    if "\\" not in text and "$" not in text:
        return f"'{quoted}'"
    return "E'" + quoted.replace("\\", "\\\\").replace("$", "\\u0024") + "'"


def type_name(column_type: ColumnType) -> str:  # noqa: PLR0911  # one return for each type
    """The column's type, spelled as ``format_type`` spells it."""
    match column_type.kind:
        case "string":
            return f"character varying({column_type.length})" if column_type.length else "text"
        case "int":
            return "integer"
        case "decimal":
            return f"numeric({column_type.precision},{column_type.scale})"
        case "double":
            return "double precision"
        case "timestamp":
            return "timestamp(6) without time zone"
        case "binary":
            return "bytea"
        case "bigint" | "boolean" | "date":
            return column_type.kind


def guard(column_type: ColumnType, x: str) -> str:  # noqa: PLR0911  # one return for each type
    """The condition under which ``x``, an SQL expression, can be converted."""
    match column_type.kind:
        case "string":
            return "true"
        case "int" | "bigint":
            return (
                f"octet_length({x}) <= 20 AND {x} !~ '[^0-9-]' AND pg_input_is_valid({x}, '{type_name(column_type)}')"
            )
        case "decimal":
            assert column_type.precision is not None
            assert column_type.scale is not None
            digits = max(column_type.precision - column_type.scale, 1)
            return (
                f"octet_length({x}) <= 100 AND {x} !~ '[^0-9.-]' "
                f"AND strpos({x} || '.', '.') <= {digits + 1} + ({x} LIKE '-%')::int "
                f"AND pg_input_is_valid({x}, '{type_name(column_type)}')"
            )
        case "double":
            return (
                f"octet_length({x}) <= 100 AND {x} !~ '[^0-9.eE+-]' AND {x} NOT LIKE '+%' "
                f"AND pg_input_is_valid({x}, 'double precision')"
            )
        case "boolean":
            return f"{x} IN ('true', 'false')"
        case "date":  # the one text that reads as this date and is written like it
            read_back = f"{x}::date::text = {x}"
            return (
                f"octet_length({x}) = 10 AND CASE WHEN pg_input_is_valid({x}, 'date') THEN {read_back} ELSE false END"
            )
        case "timestamp":
            form = r"^dddd-dd-ddT([01]d|2[0-3])(:[0-5]d){2}([.]d{1,5})?Z$".replace("d", "[0-9]")
            return (
                f"CASE WHEN NOT pg_input_is_valid({x}, 'timestamp') THEN false "
                f"WHEN octet_length({x}) = 27 THEN {_microseconds(f'{x}::timestamp')} = {x} ELSE {x} ~ '{form}' END"
            )
        case "binary":  # the last letter before the padding has no bits to spare: one text for each value
            return f"octet_length({x}) % 4 = 0 AND {x} ~ '^[A-Za-z0-9+/]*([AQgw]==|[AEIMQUYcgkosw048]=)?$'"


def convertible(column_type: ColumnType, x: str) -> str:
    """The condition under which the conversion of ``x`` does not fail. Wider than the guard, and faster."""
    match column_type.kind:
        case "string" | "boolean":
            return "true"
        case "binary":
            return guard(column_type, x)
        case _:
            return f"pg_input_is_valid({x}, '{type_name(column_type)}')"


def conversion(column_type: ColumnType, x: str) -> str:
    """``x``, a text that is convertible, as the column's type."""
    match column_type.kind:
        case "string":
            return x
        case "boolean":
            return f"CASE {x} WHEN 'true' THEN true WHEN 'false' THEN false END"
        case "binary":
            return f"decode({x}, 'base64')"
        case _:
            return f"{x}::{type_name(column_type)}"


def too_long(column_type: ColumnType, x: str) -> str:
    """The condition under which a text has more UTF-16 units than its column. Bytes are never fewer than units."""
    units = f"length({x}) + regexp_count({x}, '[\\U00010000-\\U0010FFFF]')"
    return f"octet_length({x}) > {column_type.length} AND {units} > {column_type.length}"


def digest(x: str) -> str:
    """The bytes that 64 hexadecimal letters stand for, NULL when it is not that. Blanks make them fewer than 32."""
    valid = f"(NOT lpm_guarded OR pg_input_is_valid('\\x' || {x}, 'bytea'))"
    return f"CASE WHEN octet_length({x}) = 64 AND {valid} THEN decode({x}, 'hex') END"


def canonical(column_type: ColumnType, x: str, value: str) -> str:  # noqa: PLR0911  # one return for each type
    """The condition under which ``x``, not NULL, is how the job writes ``value``, the converted ``x``.

    Never true without the guard; faster. A text that is not canonical is for the guard to judge.
    """
    match column_type.kind:
        case "string":
            flat = f"ascii({x}) NOT IN (91, 123)"  # neither [ nor {: it may be a nested value
            return f"{flat} AND octet_length({x}) <= {column_type.length}" if column_type.length else flat
        case "boolean":
            return f"{value} IS NOT NULL"
        case "double":  # the job's engine writes 1.0E10 where PostgreSQL writes 10000000000
            return f"{value} IS NOT NULL AND {x} !~ '[^0-9.eE-]' AND octet_length({x}) <= 100"
        case "decimal":
            return f"{x} <> 'NaN' AND coalesce({value}::text = {x}, false)"
        case "date":
            return f"octet_length({x}) = 10 AND coalesce({value}::text = {x}, false)"
        case "timestamp":
            return f"octet_length({x}) = 27 AND coalesce({_microseconds(value)} = {x}, false)"
        case "binary":
            return f"coalesce(replace(encode({value}, 'base64'), E'\\n', '') = {x}, false)"
        case _:
            return f"coalesce({value}::text = {x}, false)"


def _microseconds(value: str) -> str:
    """A timestamp as the job writes it."""
    return f"""to_char({value}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
