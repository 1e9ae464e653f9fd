"""Runs a compiled query over batches of messages, as arrays in and arrays out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lpm.local.router.compiling import PARTITION_ID, CompiledQuery

_MESSAGES = "lpm_messages"
_SETTINGS = {
    "threads": 1,
    "memory_limit": "1GB",  # a batch is bounded by the worker; this keeps a mistake from taking the machine
    "enable_external_access": False,
}


@dataclass(frozen=True)
class Routed:
    """What a batch gave: rows of each output that received any, and how many messages were no JSON at all."""

    outputs: dict[str, pa.Table]
    malformed: int


class Engine:
    """One query, compiled once. Not for use by several threads at a time."""

    def __init__(self, query: CompiledQuery) -> None:
        self._query = query
        self._connection = duckdb.connect(config=_SETTINGS)
        columns = [f'"{PARTITION_ID}"', *(f"body.{_identifier(field)}" for field in query.fields)]
        # Every field is text: a declared number that is none would abort the batch, where TRY_CAST decides row by row.
        self._structure = _literal(json.dumps(dict.fromkeys(query.fields, "VARCHAR")))
        parsed = f"""SELECT json_transform(body, {self._structure}) AS body, "{PARTITION_ID}" FROM {_MESSAGES}"""
        self._connection.register(_MESSAGES, _messages([], []))
        self._connection.execute(
            f"CREATE TEMP VIEW {_identifier(query.source)} AS SELECT {', '.join(columns)} FROM ({parsed})"
        )

    def run(self, bodies: Sequence[bytes], partition_ids: Sequence[int]) -> Routed:
        """Route one batch. ``bodies`` are messages as they lie in the hub, ``partition_ids`` their partitions.

        A message that is not JSON is dropped and counted, as Stream Analytics does (InputDeserializerError).

        Raises:
            duckdb.Error: the query itself fails, such as a CAST of a value that is none; the job cannot go on.
        """
        malformed = 0
        if not self._loaded(bodies, partition_ids):
            # Rare, so that the good case pays nothing: look at each message on its own.
            bodies, partition_ids, malformed = self._well_formed(bodies, partition_ids)
            self._load(bodies, partition_ids)
        outputs: dict[str, pa.Table] = {}
        for one in self._query.passes:
            outputs |= _split(one.outputs, self._connection.sql(one.sql).to_arrow_table())
        return Routed(outputs, malformed)

    def _loaded(self, bodies: Sequence[bytes], partition_ids: Sequence[int]) -> bool:
        """Fill the steps, unless a body is not plainly one JSON object."""
        if not all(body.startswith(b"{") for body in bodies):
            return False
        try:
            self._load(bodies, partition_ids)
        except (pa.ArrowInvalid, duckdb.InvalidInputException):  # not UTF-8; not JSON
            return False
        return True

    def _load(self, bodies: Sequence[bytes], partition_ids: Sequence[int]) -> None:
        self._connection.register(_MESSAGES, _messages(bodies, partition_ids))
        for step in self._query.steps:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {_identifier(step.name)} AS {step.sql}")

    def _well_formed(self, bodies: Sequence[bytes], partition_ids: Sequence[int]) -> tuple[list[bytes], list[int], int]:
        """The events of all messages that can be read, and the number of those that cannot."""
        good: list[bytes] = []
        partitions: list[int] = []
        malformed = 0
        for body, partition_id in zip(bodies, partition_ids, strict=True):
            events = [body] if self._is_object(body) else _several(body)
            if not events or not all(self._is_object(event) for event in events):
                malformed += 1
                continue
            good += events
            partitions += [partition_id] * len(events)
        return good, partitions, malformed

    def _is_object(self, body: bytes) -> bool:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return False
        asked = f"SELECT TRY(json_type($1)) = 'OBJECT' AND TRY(json_transform($1, {self._structure})) IS NOT NULL"
        return bool(self._connection.execute(asked, [text]).fetchall()[0][0])


def _several(body: bytes) -> list[bytes]:
    """Events of a message that holds a JSON array or lines of objects, both of which Stream Analytics reads."""
    try:
        text = body.decode("utf-8-sig")
        try:
            values = json.loads(text)
        except ValueError:
            values = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return []
    if isinstance(values, dict):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        return []
    return [json.dumps(value).encode() for value in values]


def _split(outputs: Sequence[str], rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each output that has any, in their order. The first column is the position of a row's output."""
    if len(outputs) > 1:
        rows = rows.take(pc.sort_indices(rows.column(0)))  # stable
    tables: dict[str, pa.Table] = {}
    start = 0
    for entry in rows.column(0).value_counts().to_pylist():
        tables[outputs[entry["values"]]] = rows.slice(start, entry["counts"]).remove_column(0)
        start += entry["counts"]
    return tables


def _messages(bodies: Sequence[bytes], partition_ids: Sequence[int]) -> pa.Table:
    return pa.table({"body": pa.array(bodies, pa.string()), PARTITION_ID: pa.array(partition_ids, pa.int64())})


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
