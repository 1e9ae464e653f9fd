"""Result values as text, the way the Statement Execution API's JSON_ARRAY has them.

What is followed, and how sure it is (D documented, C read in a vendor's client, I inferred):

- every value is a string or null (D)
- DECIMAL in plain digits with its scale, BOOLEAN ``true``/``false``, DATE ``yyyy-MM-dd``, FLOAT and DOUBLE as SQL's
  cast prints them (I: the casts of ANSI SQL)
- TIMESTAMP as ISO-8601 in UTC with ``Z`` (C: the vendor's clients read it so). Three digits of the second (I: what
  Spark writes into JSON unless told otherwise); a statement that needs the microseconds formats them itself
- TIMESTAMP_NTZ likewise without ``Z`` (C)
- BINARY as base64 (C)
- ARRAY, MAP, STRUCT as JSON text (C), leaves as JSON values (I)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_TYPE_NAMES = {
    "bigint": "LONG",
    "smallint": "SHORT",
    "tinyint": "BYTE",
    "void": "NULL",
    "timestamp_ntz": "TIMESTAMP",
}


def as_text(frame: "DataFrame") -> "DataFrame":
    """The same rows with every column turned into text by Spark itself: exact, whatever Python's types can hold."""
    by_position = frame.toDF(*[f"c{index}" for index in range(len(frame.columns))])  # names may repeat
    return by_position.select(*[_text(by_position[field.name], field.dataType) for field in by_position.schema])


def describe(frame: "DataFrame") -> list[dict[str, Any]]:
    """The columns as the result manifest lists them."""
    return [_column(index, field.name, field.dataType) for index, field in enumerate(frame.schema)]


def _text(column: "Column", kind: "DataType") -> "Column":
    from pyspark.sql import functions as f

    match kind.typeName():
        case "binary":
            return f.base64(column)
        case "timestamp":
            return f.date_format(column, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
        case "timestamp_ntz":
            return f.date_format(column, "yyyy-MM-dd'T'HH:mm:ss.SSS")
        case "array" | "map" | "struct":
            return f.to_json(column)
    return column.cast("string")


def _column(position: int, name: str, kind: "DataType") -> dict[str, Any]:
    text = kind.simpleString()
    base = text.partition("(")[0].partition("<")[0]
    column = {
        "name": name,
        "position": position,
        "type_name": "INTERVAL" if base.startswith("interval") else _TYPE_NAMES.get(base, base.upper()),
        "type_text": text.upper(),
    }
    if base == "decimal":
        column |= {"type_precision": getattr(kind, "precision", None), "type_scale": getattr(kind, "scale", None)}
    return column
