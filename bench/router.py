"""Events a second through the local router's engine, with as many outputs as a Stream Analytics job may have.

Arrays of event bytes go in, a table of rows for each output comes out; compiling the query is part of the time.
Floor: the same JSON only parsed into the same typed columns, nothing routed. What the router adds is two passes over
the parsed batch (the SELECTs of all companies share one) and a copy of every row into its output. Both use one thread,
because the worker leaves the other cores to Spark, Kafka and the databases.
"""

import hashlib
import json
from collections.abc import Iterator

import duckdb
import pyarrow as pa
from bench.result import Result, rate, result

from lpm.config import Company, Config, load_config
from lpm.contract.envelope import EVENT_FIELDS, NUMBER_FIELDS, bucket_of
from lpm.local.router.compiling import compile_query
from lpm.local.router.engine import Engine
from lpm.local.router.hub import MAX_EVENTS
from lpm.render import router

COMPANIES = 59
EVENTS = 100_000
PARTITIONS = 4
REPETITIONS = 7
COMMAND = "python -m bench router"
Batch = tuple[list[bytes], list[int]]


def run() -> list[Result]:
    """One figure for batches as large as the worker's largest, one for small ones as in quiet times."""
    config = _config()
    text = router.query(config, config.shards[0])
    events = [_event(config, number) for number in range(EVENTS)]
    return [
        _measure("router engine, 60 outputs, batches of 10,000", text, events, MAX_EVENTS),
        _measure("router engine, 60 outputs, batches of 1,000", text, events[: EVENTS // 5], 1_000),
    ]


def _measure(name: str, text: str, events: list[bytes], size: int) -> Result:
    batches = list(_batches(events, size))
    _route(text, batches[:1])  # the first call loads the libraries
    values, floors = [], []
    for _ in range(REPETITIONS):
        floors.append(rate(len(events), lambda: _parse(batches)))
        values.append(rate(len(events), lambda: _route(text, batches)))
    return result(name, "events/s", values, floors, COMMAND)


def _route(text: str, batches: list[Batch]) -> None:
    engine = Engine(compile_query(text, router.INPUT))
    rows = sum(table.num_rows for batch in batches for table in engine.run(*batch).outputs.values())
    _all(rows, batches)


def _parse(batches: list[Batch]) -> None:
    fields = json.dumps(dict.fromkeys(EVENT_FIELDS, "VARCHAR"))
    columns = ", ".join(f"TRY_CAST(e.{f} AS {'BIGINT' if f in NUMBER_FIELDS else 'TEXT'}) AS {f}" for f in EVENT_FIELDS)
    connection = duckdb.connect(config={"threads": 1})
    rows = 0
    for bodies, partition_ids in batches:
        connection.register("m", pa.table({"body": pa.array(bodies, pa.string()), "partition_id": partition_ids}))
        parsed = f"SELECT json_transform(body, '{fields}') AS e, partition_id FROM m"
        rows += connection.sql(f"SELECT {columns}, partition_id FROM ({parsed})").to_arrow_table().num_rows
    _all(rows, batches)


def _all(rows: int, batches: list[Batch]) -> None:
    sent = sum(len(bodies) for bodies, _ in batches)
    if rows != sent:
        raise RuntimeError(f"{sent} events went in, {rows} rows came out")


def _batches(events: list[bytes], size: int) -> Iterator[Batch]:
    for start in range(0, len(events), size):
        bodies = events[start : start + size]
        yield bodies, [number % PARTITIONS for number in range(len(bodies))]


def _config() -> Config:
    companies = tuple(
        Company(id=f"C-{number}", name="x", shard="shard-01", partitions=(0,)) for number in range(COMPANIES)
    )
    return load_config().model_copy(update={"companies": companies, "shards": ("shard-01",)})


def _event(config: Config, number: int) -> bytes:
    """An upsert of about a kilobyte; one in 60 is of an unknown company."""
    key = json.dumps({name: str(number) for name in config.table.key})
    values = {column.name: f"{column.name} é {number:020}" for column in config.table.columns}
    payload = json.dumps(values, ensure_ascii=False)
    key_hash = hashlib.sha256(key.encode()).hexdigest()
    event = {
        "event_id": f"7-1-{key_hash}",
        "op": "upsert",
        "info_companyid": f"C-{number % (COMPANIES + 1)}",
        "key": key,
        "key_hash": key_hash,
        "bucket": bucket_of(key_hash),
        "version": 7,
        "rank": 1,
        "row_hash": hashlib.sha256(payload.encode()).hexdigest(),
        "committed_at": "2026-01-02T03:04:05.678901Z",
        "emitted_at": "2026-01-02T03:04:06.678901Z",
        "schema_version": 1,
        "payload": payload,
    }
    return json.dumps(event, ensure_ascii=False).encode()
