"""Guarded apply in a company's database, against the same events only parsed and inserted.

Both sides get the same COPY text, one transaction a batch, taking turns. The floor converts the payload with
``json_to_record`` straight into typed columns and inserts them into a table with the same columns and primary key:
no check of a value, no fold, no older version to respect, no quarantine, no second index.

What limits (CPU of the backend, shipped contract, 470 bytes of payload, microseconds an event): COPY 3, taking the
row out of the inbox 2, JSON 5, converting 3, reading every value back 3, fold and tombstone 1, upsert with its second
index 6. The floor spends 3 on COPY, 6 on JSON and conversion and 4 on the insert. A batch with an event that cannot be
converted is done twice, the second time with a check before each conversion.
"""

import base64
import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
from bench.result import Result, rate, result
from psycopg import sql

from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, TableContract, load_config
from lpm.contract.envelope import bucket_of
from lpm.local.postgres import Server
from lpm.render import names
from lpm.render.targets import INBOX_FIELDS, postgresql

COMMAND = "python -m bench apply"
EXISTING = 50_000  # rows of both tables before the first repetition
BATCHES = {1_000: 30, 10_000: 7}  # events of a batch: repetitions
DATABASE = "lpm_bench"


def run() -> list[Result]:
    """Measure on a PostgreSQL server of its own."""
    config = load_config()
    company = config.companies[0]
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "postgres") as server:
        server.create_database(DATABASE)
        with TargetDatabase(config, company, server.url(DATABASE), "postgresql") as database:
            database.apply_schema()
        with psycopg.connect(server.url(DATABASE).replace("+psycopg", "")) as connection:
            bench = Bench(config, company, connection)
            results = [
                bench.compare(f"guarded apply, {size:,} a batch, {kind}", size, repetitions, kind)
                for size, repetitions in BATCHES.items()
                for kind in ("half updates", "all inserts", "half updates and one refused")
            ]
        server.stop()
        server.delete()
    return results


class Bench:
    """Both tables, filled, and the ways to feed them."""

    def __init__(self, config: Config, company: Company, connection: "psycopg.Connection[Any]") -> None:
        self.connection = connection
        self.company = company
        self.inbox = names.inbox_table(config)
        self.next_key = EXISTING
        self.version = 1
        self.random = random.Random(13449)  # the same numbers every time
        target = names.target_table(config)
        connection.execute(f"CREATE TEMP TABLE arrived (LIKE {self.inbox}) ON COMMIT DELETE ROWS")
        connection.execute(f"CREATE TABLE plain (LIKE {target}, PRIMARY KEY (lpm_key_hash))")
        self.parse = _parse_statement(config.table)
        connection.commit()
        for start in range(0, EXISTING, 10_000):
            text = self._text(range(start, start + 10_000))
            self.apply(text)
            self.floor(text)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
        connection.autocommit = False

    def compare(self, name: str, size: int, repetitions: int, kind: str) -> Result:
        """Repetitions of one kind of batch, the two sides in turn."""
        values, floors = [], []
        for _ in range(repetitions):
            self.version += 1
            updated = 0 if kind == "all inserts" else size // 2
            new = self._new_keys(size - updated)
            batch = [*self.random.sample(range(EXISTING), updated), *new]
            self.random.shuffle(batch)
            applied = self._text(batch, poison=kind.endswith("one refused"))
            plain = self._text([*new, *self._new_keys(updated)])
            floors.append(rate(size, _call(self.floor, plain)))
            values.append(rate(size, _call(self.apply, applied)))
        return result(name, "events/s", values, floors, COMMAND)

    def apply(self, text: bytes) -> None:
        """What the router does: COPY into the inbox; the trigger does the rest."""
        self._copy(self.inbox, text)
        self.connection.commit()

    def floor(self, text: bytes) -> None:
        """Parse and insert, nothing else."""
        self._copy("arrived", text)
        self.connection.execute(self.parse)
        self.connection.commit()

    def _copy(self, table: str, text: bytes) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(*table.split(".")))) as copy,
        ):
            copy.write(text)

    def _new_keys(self, count: int) -> range:
        self.next_key += count
        return range(self.next_key - count, self.next_key)

    def _text(self, keys: Iterable[int], *, poison: bool = False) -> bytes:
        events = [self._event(key) for key in keys]
        if poison:
            events[0]["payload"] = events[0]["payload"].replace('"quantity":"', '"quantity":"x')
        return "".join("\t".join(map(_copy_text, event.values())) + "\n" for event in events).encode()

    def _event(self, key: int) -> dict[str, Any]:
        row = _row(key, self.company.id, self.random)
        key_text = _json({"trade_id": row["trade_id"], "leg_no": row["leg_no"]})
        key_hash, payload = _sha256(key_text), _json(row)
        event = {
            "event_id": f"{self.version}-1-{key_hash}",
            "op": "upsert",
            "info_companyid": self.company.id,
            "key": key_text,
            "key_hash": key_hash,
            "bucket": bucket_of(key_hash),
            "version": self.version,
            "rank": 1,
            "row_hash": _sha256(payload),
            "committed_at": "2026-11-24T08:50:58.123456Z",
            "emitted_at": "2026-11-24T08:50:59.000001Z",
            "schema_version": 1,
            "payload": payload,
            "partition_id": self.company.partitions[0],
        }
        assert tuple(event) == INBOX_FIELDS
        return event


def _row(key: int, company: str, source: random.Random) -> dict[str, str | None]:
    """A row of the shipped contract as the job writes it."""
    return {
        "trade_id": f"T-{key:08d}",
        "leg_no": str(key % 3 + 1),
        "info_companyid": company,
        "book": f"Desk {key % 40} Rates EMEA",
        "counterparty": f"Counterparty number {key % 997} Société Générale",
        "quantity": str(source.randrange(-(10**12), 10**12)),
        "price": f"{source.randrange(10**6)}.{source.randrange(10**18):018d}",
        "notional": f"{source.randrange(10**12)}.{source.randrange(100):02d}",
        "currency": "EUR",
        "ratio": repr(source.random()),
        "is_active": "true",
        "trade_date": f"2026-{key % 12 + 1:02d}-{key % 28 + 1:02d}",
        "booked_at": f"2026-{key % 12 + 1:02d}-{key % 28 + 1:02d}T{key % 24:02d}:{key % 60:02d}:00.{key % 10**6:06d}Z",
        "document": base64.b64encode(source.randbytes(48)).decode(),
        "comment": "free text of a trade, about sixty characters long, no more" if key % 3 else None,
    }


def _parse_statement(table: TableContract) -> str:
    columns = [(column.type, postgresql.name(column.name)) for column in table.columns]
    types = ", ".join(
        f"{name} {'text' if kind.kind == 'binary' else postgresql.type_name(kind)}" for kind, name in columns
    )
    values = ", ".join(
        postgresql.conversion(kind, f"j.{name}") if kind.kind == "binary" else f"j.{name}" for kind, name in columns
    )
    return f"""
        INSERT INTO plain
        SELECT {values}, decode(a.key_hash, 'hex'), a.bucket, a.version, decode(a.row_hash, 'hex'),
               a.committed_at::timestamp, now() AT TIME ZONE 'UTC'
        FROM arrived AS a, json_to_record(a.payload::json) AS j ({types})"""


def _call(work: Callable[[bytes], None], text: bytes) -> Callable[[], None]:
    return lambda: work(text)


def _copy_text(value: object) -> str:
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _json(row: dict[str, str | None]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
