"""``DESCRIBE TABLE EXTENDED … AS JSON``: Databricks answers it for every table, open-source Spark not for Delta's.

The answer is Spark's own, asked of a temporary view over the table: a view keeps the columns with their comments and
nullability. What a view does not have is put right: names, kind of the table, CHAR and VARCHAR.
"""

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PART = r"(?:`[^`]+`|\w+)"
_STATEMENT = re.compile(
    rf"\s*DESC(?:RIBE)?\s+(?:TABLE\s+)?(?:EXTENDED|FORMATTED)\s+(?P<name>{_PART}(?:\.{_PART}){{0,2}})\s+AS\s+JSON\s*;?\s*",
    re.IGNORECASE,
)
_REFUSED = "NOT_SUPPORTED_COMMAND_FOR_V2_TABLE"
_VIEW = "described_as_json"
_TEXT_TYPE = "__CHAR_VARCHAR_TYPE_STRING"  # where Spark keeps the type that was declared


def described(session: "SparkSession", statement: str) -> "DataFrame | None":
    """The answer, None when the statement is another one or Spark answers it itself.

    Raises:
        AnalysisException: there is no such table.
    """
    from pyspark.errors import AnalysisException

    match = _STATEMENT.fullmatch(statement)
    if match is None:
        return None
    try:
        return session.sql(statement)
    except AnalysisException as error:
        if error.getCondition() != _REFUSED:
            raise
    text = json.dumps(_metadata(session, match["name"]), separators=(",", ":"))
    return session.sql("SELECT :text AS json_metadata", args={"text": text})


def _metadata(session: "SparkSession", name: str) -> dict[str, Any]:
    table, fields = session.catalog.getTable(name), session.table(name).schema
    session.table(name).createOrReplaceTempView(_VIEW)  # the session is the statement's own
    [(text,)] = session.sql(f"DESCRIBE TABLE EXTENDED {_VIEW} AS JSON").collect()
    about: dict[str, Any] = json.loads(text)
    for column, field in zip(about["columns"], fields, strict=True):
        if declared := re.fullmatch(r"(char|varchar)\((\d+)\)", field.metadata.get(_TEXT_TYPE, "")):
            column["type"] = {"name": declared[1], "length": int(declared[2])}
    return {
        "table_name": table.name,
        "catalog_name": table.catalog,
        "namespace": table.namespace,
        "schema_name": (table.namespace or [""])[-1],
        "columns": about["columns"],
        "type": table.tableType,
        "provider": "delta",
    }
