"""How SQL Server spells types, names and values, and how it proves that a text is a value of a type.

``TRY_CONVERT`` alone takes too much ('' as 0, '-' as 0, other date styles, 24:00:00), so each type has a LIKE guard
under a binary collation, where ranges are plain code points. The guards of ``postgresql.py`` answer alike.
"""

import re

from lpm.config import ColumnType

SEPARATOR = "GO"  # a line of its own between two batches
BINARY = "COLLATE Latin1_General_BIN2"
TEXT_TYPE = "nvarchar(4000)"
INBOX_TYPES = {
    "bucket": "int",
    "version": "bigint",
    "rank": "int",
    "schema_version": "int",
    "partition_id": "int",
    "key": "nvarchar(max)",
    "payload": "nvarchar(max)",
}


def name(identifier: str) -> str:
    """A quoted identifier."""
    return "[" + identifier.replace("]", "]]") + "]"


def literal(text: str) -> str:
    """A string literal, whatever the text contains. Control characters (a backslash before a line end would vanish) by
    their numbers."""
    parts = [
        f"NCHAR({ord(part)})" if len(part) == 1 and ord(part) < 32 else "N'" + part.replace("'", "''") + "'"
        for part in re.split(r"([\x00-\x1f])", text)
        if part
    ]
    return " + ".join(parts) or "N''"


def type_name(column_type: ColumnType) -> str:  # noqa: PLR0911  # one return for each type
    """The column's type, spelled as the check in ``1_tables.sql`` spells it."""
    match column_type.kind:
        case "string":
            return f"nvarchar({column_type.length or 'max'})"
        case "decimal":
            return f"decimal({column_type.precision},{column_type.scale})"
        case "double":
            return "float"
        case "boolean":
            return "bit"
        case "timestamp":
            return "datetime2(6)"
        case "binary":
            return "varbinary(max)"
        case "int" | "bigint" | "date":
            return column_type.kind


def equal(x: str, y: str) -> str:
    """The condition under which two texts are the same, case and trailing blanks included."""
    return f"{x} + N'|' {BINARY} = {y} + N'|'"


def unsigned(x: str) -> str:
    """A number's text without its minus sign."""
    return f"SUBSTRING({x}, CASE WHEN {x} {BINARY} LIKE N'-%' THEN 2 ELSE 1 END, 4000)"


def digest(x: str) -> str:
    """The bytes that 64 hexadecimal letters stand for, NULL when it is not that (binary(32) would pad or cut)."""
    return (
        f"CASE WHEN DATALENGTH({x}) = 128 AND {x} {BINARY} NOT LIKE N'%[^0-9a-fA-F]%' "
        f"THEN TRY_CONVERT(binary(32), {x}, 2) END"
    )


def guarded(column_type: ColumnType, x: str, u: str) -> str:  # noqa: PLR0911  # one return for each type
    """``x`` as the column's type, NULL when it is not the text of one. ``u`` is ``x`` without its minus sign."""
    match column_type.kind:
        case "string":
            return x
        case "int" | "bigint":
            condition = f"DATALENGTH({x}) <= 40 AND {_like(u, '[0-9]%')} AND {_not_like(u, '%[^0-9]%')}"
            return f"CASE WHEN {condition} THEN TRY_CONVERT({column_type.kind}, {x}) END"
        case "decimal":
            assert column_type.precision is not None
            assert column_type.scale is not None
            digits = max(column_type.precision - column_type.scale, 1)
            condition = f"DATALENGTH({x}) <= 200 AND {_plain_number(u)} AND CHARINDEX(N'.', {u} + N'.') <= {digits + 1}"
            return f"CASE WHEN {condition} THEN TRY_CONVERT({type_name(column_type)}, {x}) END"
        case "double":
            exponent_at = f"PATINDEX(N'%[eE]%', {u} + N'e' {BINARY})"
            exponent = f"SUBSTRING({u}, {exponent_at} + 1, 100)"
            condition = (
                f"DATALENGTH({x}) <= 200 AND {_plain_number(f'LEFT({u}, {exponent_at} - 1)')} "
                f"AND ({_not_like(u, '%[eE]%')} OR (({_like(exponent, '[0-9]%')} OR {_like(exponent, '[-+][0-9]%')}) "
                f"AND {_not_like(f'SUBSTRING({exponent}, 2, 100)', '%[^0-9]%')}))"
            )
            return f"CASE WHEN {condition} THEN TRY_CONVERT(float, {x}) END"
        case "boolean":
            true, false = (equal(x, f"N'{text}'") for text in ("true", "false"))
            return f"CASE WHEN {true} THEN CONVERT(bit, 1) WHEN {false} THEN CONVERT(bit, 0) END"
        case "date":
            condition = f"DATALENGTH({x}) = 20 AND {_like(x, _digits('dddd-dd-dd'))}"
            return f"CASE WHEN {condition} THEN TRY_CONVERT(date, {x}, 23) END"
        case "timestamp":
            condition = (
                f"SUBSTRING({x}, 12, 2) {BINARY} < N'24' AND ("
                f"(DATALENGTH({x}) = 40 AND {_like(x, _digits('dddd-dd-ddTdd:sd:sdZ'))}) "
                f"OR (DATALENGTH({x}) BETWEEN 44 AND 54 AND {_like(x, _digits('dddd-dd-ddTdd:sd:sd.d%Z'))} "
                f"AND {_not_like(f'SUBSTRING({x}, 21, 7)', '%[^0-9]%Z')}))"
            )
            return f"CASE WHEN {condition} THEN TRY_CONVERT(datetime2(6), REPLACE({x}, N'Z', N''), 126) END"
        case "binary":  # the last letter before the padding has no bits to spare: one text for each value
            condition = (
                f"DATALENGTH({x}) % 8 = 0 AND {_not_like(x, '%[^A-Za-z0-9+/=]%')} AND {_not_like(x, '%=[^=]%')} "
                f"AND ({_not_like(x, '%=')} OR {_like(x, '%[AQgw]==')} OR {_like(x, '%[AEIMQUYcgkosw048]=')})"
            )
            decoded = f"CONVERT(xml, N'').value('xs:base64Binary(sql:column(\"{x}\"))', 'varbinary(max)')"
            return f"CASE WHEN DATALENGTH({x}) = 0 THEN 0x WHEN {condition} THEN {decoded} END"


def _plain_number(u: str) -> str:
    """Digits with at most one point."""
    return f"{_like(u, '%[0-9]%')} AND {_not_like(u, '%[^0-9.]%')} AND {_not_like(u, '%.%.%')}"


def _digits(form: str) -> str:
    """A LIKE pattern: d is any digit, s a digit up to 5, the rest is itself."""
    return form.replace("d", "[0-9]").replace("s", "[0-5]")


def _like(x: str, pattern: str) -> str:
    return f"{x} {BINARY} LIKE N'{pattern}'"


def _not_like(x: str, pattern: str) -> str:
    return f"{x} {BINARY} NOT LIKE N'{pattern}'"
