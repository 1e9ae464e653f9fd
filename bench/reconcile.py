"""One hourly round of reconciliation, against two data-diff tools on the same rows in the same run.

Ours compares a Delta table with a company's PostgreSQL database: the ledger's sums against the database's. What it
costs to move the ledger, once a round for all companies, is measured apart. The peers cannot read Delta without a
Databricks cluster, so they get the source's rows as a second PostgreSQL table, in the same server. Each side is told
the key and all columns. Every measurement is a process of its own; its peak memory is told.

When sides differ, ours reads the source table once, for Delta has no index by bucket: with a million rows that is most
of its time, and the peers' lead is what the index of a primary key is worth.

``bench.reconcile_10m`` does the same with ten times the rows.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from bench.result import Result, result

from lpm.clients.target_database import TargetDatabase
from lpm.config import Config, load_config
from lpm.contract.envelope import row_expressions
from lpm.local import processes
from lpm.local.demo.source import Source as DemoSource
from lpm.local.postgres import Server
from lpm.local.spark import session
from lpm.render import names
from lpm.render.targets import DIALECTS

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("reladiff", "fastrecon")
ROWS, DIFFERENCES, REPETITIONS = 1_000_000, 100, 3
COMMAND = "python -m bench reconcile"
DATABASE, PEERS_TABLE = "lpm_bench", "bench_source"
TOUCHED = (100, 1_000, 10_000)  # rows that a commit changes before the round that must cost in proportion to it


def run(rows: int = ROWS, repetitions: int = REPETITIONS, command: str = COMMAND) -> list[Result]:
    """Measure ours and both peers with no difference and with some, then ours after small and large commits."""
    with _world(rows, repetitions, command) as world:
        world.ledger()
        results = world.compare("equal")
        world.make_differences()
        results += world.compare(f"{DIFFERENCES} differences")
        world.undo_differences()
        return results + world.cost_by_change()


@dataclass
class World:
    """A source on the stand-in, its rows in a target and in a table for the peers."""

    rows: int
    repetitions: int
    command: str
    config: Config
    environment: dict[str, str]
    database: str  # SQLAlchemy URL
    source: DemoSource
    folder: Path
    differences: int = 0  # that every comparison has to find

    def ours(self, since: int = -1) -> tuple[float, float]:
        """Seconds and peak MiB of one company's comparison in a process of its own."""
        return self._child("ours", str(since))

    def ledger(self, *, anew: bool = False) -> float:
        """Seconds until the ledger, which serves every company of a round, is at the source's latest version."""
        return self._child("ledger", "anew" if anew else "")[0]

    def compare(self, state: str) -> list[Result]:
        """Ours against both peers."""
        columns = ",".join(column.name for column in self.config.table.columns)
        key = ",".join(self.config.table.key)
        peers = {name: [self._child(name, key, columns) for _ in range(self.repetitions)] for name in PEERS}
        ours = [self.ours() for _ in range(self.repetitions)]
        what = f"reconcile {self.rows:,} rows, {state}"
        return [self._result(f"{what}, against {name}", ours, measured) for name, measured in peers.items()]

    def make_differences(self) -> None:
        """Rows changed and deleted in the target by hand."""
        target, third = names.target_table(self.config), DIFFERENCES // 3
        with psycopg.connect(self._plain()) as connection:
            connection.execute(f"CREATE TABLE kept AS SELECT * FROM {target} ORDER BY lpm_key_hash LIMIT {2 * third}")
            keys = f"SELECT lpm_key_hash FROM kept ORDER BY lpm_key_hash LIMIT {third}"
            connection.execute(f"DELETE FROM {target} WHERE lpm_key_hash IN ({keys})")
            keys = f"SELECT lpm_key_hash FROM kept ORDER BY lpm_key_hash DESC LIMIT {third}"
            self.differences = 2 * third
            changed = "currency = 'ZZZ', lpm_row_hash = sha256(lpm_row_hash)"
            connection.execute(f"UPDATE {target} SET {changed} WHERE lpm_key_hash IN ({keys})")

    def undo_differences(self) -> None:
        """The target as it was."""
        target = names.target_table(self.config)
        with psycopg.connect(self._plain()) as connection:
            connection.execute(f"DELETE FROM {target} WHERE lpm_key_hash IN (SELECT lpm_key_hash FROM kept)")
            connection.execute(f"INSERT INTO {target} SELECT * FROM kept")
        self.differences = 0

    def cost_by_change(self) -> list[Result]:
        """Seconds of a round that looks only at what changed, beside one that looks at everything: both its steps."""
        everything = [self.ours()[0] for _ in range(self.repetitions)]
        anew = [self.ledger(anew=True) for _ in range(self.repetitions)]
        results = []
        for touched in TOUCHED:
            moved, measured = [], []
            for _ in range(self.repetitions):
                since = self.source.version()
                self._rewrite(touched)
                moved.append(self.ledger())
                measured.append(self.ours(since)[0])
            name = f"reconcile {self.rows:,} rows after about {touched:,} were rewritten"
            unit = "s (lower is better; the floor is"
            buckets, forward = f"{name}, changed buckets only", f"{name}, the ledger moved forward"
            every = f"{unit} the round that compares every bucket)"
            results.append(result(buckets, every, measured, everything, self.command))
            results.append(result(forward, f"{unit} a ledger started anew)", moved, anew, self.command))
        return results

    def _rewrite(self, touched: int) -> None:
        """There and back: the ledger gets two lines for each of the rows' buckets, the target is right as it is."""
        for currency in ("concat('~', currency)", "substr(currency, 2)"):
            self.source.run(
                f"UPDATE {self.source.table_name} SET currency = {currency} "
                f"WHERE xxhash64(trade_id) % {max(1, self.rows // touched)} = 0"
            )
        with psycopg.connect(self._plain()) as connection:
            connection.execute(f"UPDATE lpm.watermark SET version = {self.source.version()}")

    def _result(self, name: str, ours: list[tuple[float, float]], peer: list[tuple[float, float]]) -> Result:
        values = [self.rows / seconds for seconds, _ in ours]
        floors = [self.rows / seconds for seconds, _ in peer]
        memory = f"rows/s; peak {max(m for _, m in ours):.0f} MiB against {max(m for _, m in peer):.0f} MiB"
        return result(name, memory, values, floors, self.command)

    def _child(self, what: str, *arguments: str) -> tuple[float, float]:
        done = subprocess.run(
            [sys.executable, "-m", "bench.reconcile_child", what, self._plain(), *arguments],
            env={**os.environ, **self.environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'include'}"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{what} failed:\n{done.stderr[-2000:]}")
        found, seconds, mebibytes = json.loads(done.stdout.splitlines()[-1])
        if found != self.differences:
            raise RuntimeError(f"{what} found {found} differences; expected {self.differences}")
        return float(seconds), float(mebibytes)

    def _plain(self) -> str:
        return self.database.replace("+psycopg", "")


@contextmanager
def _world(rows: int, repetitions: int, command: str) -> Iterator[World]:
    config = load_config()
    local, company = config.environment("local"), config.companies[0]
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="lpm-bench-") as name, Server(Path(name) / "postgres") as server:
        folder, port = Path(name), processes.free_port()
        server.create_database(DATABASE)
        stand_in = [sys.executable, "-m", "lpm.local.databricks.serve", "--port", str(port)]
        environment = {
            "LPM_DATABRICKS_TOKEN": token,
            "LPM_ENVIRONMENTS": "local",
            "AIRFLOW_HOME": str(folder / "airflow"),
            f"AIRFLOW_CONN_{local.databricks.connection.upper()}": json.dumps(
                {"conn_type": "databricks", "schema": "http", "host": "127.0.0.1", "port": port, "password": token}
            ),
        }
        process = processes.start(
            [*stand_in, "--large", "--memory", "2g", "--folder", str(folder / "databricks")],
            folder / "databricks.log",
            env={**os.environ, "PYTHONPATH": str(ROOT / "include"), **environment},
        )
        try:
            processes.wait_until(
                lambda: processes.accepts(port), "the stand-in", 90, process, folder / "databricks.log"
            )
            from databricks.sdk import WorkspaceClient

            workspace = WorkspaceClient(host=f"http://127.0.0.1:{port}", token=token)
            table = names.source_table(config, local)
            source = DemoSource(workspace, local.databricks.warehouse_id, table, config.table, (company,))
            world = World(rows, repetitions, command, config, environment, server.url(DATABASE), source, folder)
            _fill(world, config)
            yield world
        finally:
            processes.stop(process)


def _fill(world: World, config: Config) -> None:
    """The source, and its rows typed in the target, by COPY from files that Spark writes."""
    company, local = config.companies[0], config.environment("local")
    source = world.source
    source.create(1)
    source.run(f"ALTER TABLE {source.table_name} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    source.run(f"CREATE SCHEMA IF NOT EXISTS {local.pipeline_schema}")
    for first in range(1, world.rows, 500_000):
        source.insert(first, min(500_000, world.rows - first), generation=0)
    with TargetDatabase(config, company, world.database, "postgresql") as database:
        database.apply_schema()
    files = world.folder / "rows"
    spark = session(world.folder / "databricks" / "warehouse", "lpm-bench-fill", "2g")
    try:
        spark.sql(_typed(source, config)).write.options(
            header=False, quote='"', escape='"', nullValue="\\N", emptyValue='""', ignoreTrailingWhiteSpace=False,
            ignoreLeadingWhiteSpace=False, quoteAll=False, encoding="UTF-8",
        ).csv(str(files))  # fmt: skip
    finally:
        spark.stop()
    _copy(world, config, files)


def _typed(source: DemoSource, config: Config) -> str:
    row = row_expressions(config.table)
    values = [
        "concat('\\\\x', hex(document))" if column.type.kind == "binary" else f"`{column.name}`"
        for column in config.table.columns
    ]
    version = source.version()
    return f"""SELECT {", ".join(f"c{index}" for index in range(len(values)))}, concat('\\\\x', key_hash), {row.bucket},
        {version}L, concat('\\\\x', row_hash), current_timestamp() FROM (
        SELECT *, {row.key_hash} AS key_hash, {row.row_hash} AS row_hash FROM (
        SELECT {", ".join(f"{value} AS c{index}" for index, value in enumerate(values))}, {row.key} AS key,
            {row.payload} AS payload FROM {source.table_name}))"""


def _copy(world: World, config: Config, files: Path) -> None:
    target, name = names.target_table(config), DIALECTS["postgresql"].name
    columns = [name(column.name) for column in config.table.columns]
    listed = ", ".join([*columns, "lpm_key_hash", "lpm_bucket", "lpm_version", "lpm_row_hash", "lpm_applied_at"])
    with psycopg.connect(world.database.replace("+psycopg", "")) as connection:
        for file in sorted(files.glob("*.csv")):
            command = f"COPY {target} ({listed}) FROM STDIN (FORMAT csv, NULL '\\N')"
            with file.open("rb") as content, connection.cursor().copy(command) as copy:
                while piece := content.read(1 << 20):
                    copy.write(piece)
        connection.execute(f"UPDATE lpm.watermark SET version = {world.source.version()}")
        connection.execute(f"CREATE TABLE {PEERS_TABLE} AS SELECT {', '.join(columns)} FROM {target}")
        key = ", ".join(name(column) for column in config.table.key)
        connection.execute(f"CREATE UNIQUE INDEX ON {PEERS_TABLE} ({key})")
        connection.execute(f"CREATE UNIQUE INDEX ON {target} ({key})")  # the peers search by key
    with psycopg.connect(world.database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
