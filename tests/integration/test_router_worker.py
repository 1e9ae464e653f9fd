"""A router worker between a real broker and real databases: nothing is lost, whatever dies."""

import json
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from lpm.config import Company, load_config
from lpm.local.kafka import Broker
from lpm.local.postgres import Server
from lpm.local.router.job import BlobSink, KafkaInput, Progress, RouterJob, Sink, SqlSink
from lpm.render import router

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 3
INBOX = "lpm.inbox"
COMPANIES = ("A-1", "O'Neill [x]")


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)  # between two looks at the condition
    raise AssertionError(f"not within {seconds} s: {what}")


def connect(server: Server, database: str) -> psycopg.Connection:
    url = server.url(database).replace("postgresql+psycopg://", "postgresql://")
    return psycopg.connect(url, autocommit=True, connect_timeout=5)


def make_inbox(server: Server) -> str:
    """A new database with an inbox table; its name."""
    database = f"router_{uuid.uuid4().hex[:12]}"
    server.create_database(database)
    columns = ", ".join(f'"{c}" {"bigint" if c in NUMBERS else "text"}' for c in router.COLUMNS)
    with connect(server, database) as connection:
        connection.execute("CREATE SCHEMA lpm")
        connection.execute(f"CREATE TABLE {INBOX} ({columns}, arrived timestamptz DEFAULT clock_timestamp())")
    return database


NUMBERS = {"bucket", "version", "rank", "schema_version", "partition_id"}


@dataclass
class Setting:
    """One hub, one job and its outputs."""

    broker: Broker
    folder: Path
    sinks: tuple[Sink, ...]
    topic: str = field(default_factory=lambda: f"router-{uuid.uuid4().hex[:12]}")
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admin = AdminClient(self.broker.client_settings())
        self.admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])[self.topic].result(20)
        self.producer = Producer({**self.broker.client_settings(), "linger.ms": 0})

    def job(self, **changes: Any) -> RouterJob:
        companies = tuple(
            Company(id=company_id, name="x", shard="shard-01", partitions=(0,), slug=f"c{number}")
            for number, company_id in enumerate(COMPANIES)
        )
        config = load_config().model_copy(update={"companies": companies, "shards": ("shard-01",)})
        settings = self.broker.client_settings()
        values = {
            "name": "asa-test",
            "run": "first",
            "query": router.query(config, "shard-01"),
            "input_alias": router.INPUT,
            "kafka": KafkaInput(
                bootstrap=self.broker.bootstrap,
                topic=self.topic,
                group=f"group-{self.topic}",
                username=settings["sasl.username"],
                password=settings["sasl.password"],
            ),
            "start": "earliest",
            "outputs": self.sinks,
            "progress_file": self.folder / "progress.json",
        }
        return RouterJob(**{**values, **changes})

    def start(self, **changes: Any) -> subprocess.Popen[bytes]:
        path = self.folder / "job.json"
        self.job(**changes).write(path)
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "lpm.local.router.worker", str(path)],
                stderr=log,
                env={"PYTHONPATH": str(ROOT / "include"), "PATH": "/usr/bin:/bin"},
            )
        self.workers.append(worker)
        return worker

    def send(self, company: str | None, first: int, count: int, **fields: Any) -> list[str]:
        """Send numbered events; their ids."""
        ids = [f"{company}-{number}" for number in range(first, first + count)]
        for number, event_id in enumerate(ids):
            event = {"event_id": event_id, "info_companyid": company, "payload": "{}", "version": number, **fields}
            self.send_raw(json.dumps(event, ensure_ascii=False).encode(), number % PARTITIONS)
        self.producer.flush(20)
        return ids

    def send_raw(self, body: bytes, partition: int = 0) -> None:
        self.producer.produce(self.topic, body, partition=partition)
        self.producer.poll(0)

    def progress(self) -> Progress | None:
        path = self.folder / "progress.json"
        return Progress.read(path) if path.exists() else None

    def settled(self) -> Progress:
        """The progress once everything that was sent has left."""
        self.producer.flush(20)

        def all_left() -> Progress | None:
            progress = self.progress()
            return (
                progress if progress and progress.lag == 0 and progress.updated_at.timestamp() > begin + 1.5 else None
            )

        begin = time.time()
        found: Progress = eventually(all_left, "every message has left")
        return found

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()


@dataclass
class Databases:
    """A database for each of the two companies."""

    server: Server
    names: tuple[str, str]

    def rows(self, number: int, columns: str = "event_id") -> list[Any]:
        with connect(self.server, self.names[number]) as connection:
            return connection.execute(f"SELECT {columns} FROM {INBOX}").fetchall()

    def ids(self, number: int) -> Counter[str]:
        return Counter(row[0] for row in self.rows(number))

    def wait_for_more_than(self, count: int) -> None:
        """Until the first company has more than ``count`` different events."""
        eventually(lambda: len(self.ids(0)) > count, f"more than {count} events")

    def sinks(self, folder: Path) -> tuple[Sink, ...]:
        return (
            *(
                SqlSink(alias=f"company-c{number}", url=self.server.url(name), table=INBOX)
                for number, name in enumerate(self.names)
            ),
            BlobSink(alias="unrouted", folder=folder / "unrouted"),
        )


@pytest.fixture
def databases(postgres: Server) -> Databases:
    return Databases(postgres, (make_inbox(postgres), make_inbox(postgres)))


@pytest.fixture
def setting(kafka: Broker, databases: Databases, tmp_path: Path) -> Iterator[Setting]:
    setting = Setting(kafka, tmp_path, databases.sinks(tmp_path))
    yield setting
    for worker in setting.workers:
        worker.kill()
        worker.wait()
    setting.admin.delete_topics([setting.topic])


def test_each_company_gets_its_events_unchanged_and_strangers_go_to_the_file(
    setting: Setting, databases: Databases, tmp_path: Path
) -> None:
    payload = 'x"\\ 🙂 \t' * 40_000
    mine = setting.send(COMPANIES[0], 0, 20, payload=payload)
    theirs = setting.send(COMPANIES[1], 0, 20, key="k")
    setting.send("nobody", 0, 3)
    setting.send(None, 0, 2)
    for broken in (b"nonsense", b'{"event_id":', b"\xff\xfe"):
        setting.send_raw(broken)
    setting.start()
    progress = setting.settled()

    assert databases.ids(0) == Counter(mine)
    assert databases.ids(1) == Counter(theirs)
    assert {row[0] for row in databases.rows(0, "payload")} == {payload}
    assert {row[0] for row in databases.rows(1, "partition_id")} == set(range(PARTITIONS))
    (file,) = (tmp_path / "unrouted").rglob("*.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert Counter(line["info_companyid"] for line in lines) == {"nobody": 3, None: 2}
    assert progress.malformed == 3
    assert progress.input_events == 48
    assert {alias: output.events for alias, output in progress.outputs.items()} == {
        "company-c0": 20,
        "company-c1": 20,
        "unrouted": 5,
    }
    assert progress.last_event_at is not None
    assert not progress.degraded


def test_a_worker_that_is_killed_loses_nothing_and_does_not_start_over(setting: Setting, databases: Databases) -> None:
    expected: list[str] = []
    worker = setting.start()
    for round_number in range(3):
        expected += setting.send(COMPANIES[0], round_number * 1000, 1000)
        databases.wait_for_more_than(round_number * 1000)
        worker.kill()
        worker.wait()
        expected += setting.send(COMPANIES[1], round_number * 100, 100)
        worker = setting.start()
    setting.settled()
    found = databases.ids(0) + databases.ids(1)
    assert set(found) == set(expected)
    assert max(found.values()) <= 4  # read again only as far as it was not committed
    assert setting.log().count("resumed") == 3


def test_a_database_that_is_down_stalls_the_job_and_catches_up(
    kafka: Broker, databases: Databases, tmp_path: Path
) -> None:
    with Server(tmp_path / "postgres") as server:
        other = make_inbox(server)
        keeps, _, unrouted = databases.sinks(tmp_path)
        setting = Setting(
            kafka, tmp_path, (keeps, SqlSink(alias="company-c1", url=server.url(other), table=INBOX), unrouted)
        )
        try:
            worker = setting.start()
            expected = setting.send(COMPANIES[1], 0, 10)
            setting.settled()
            server.stop()
            expected += setting.send(COMPANIES[1], 10, 10)
            stalled = eventually(lambda: (p := setting.progress()) and p.degraded and p, "the output is failing")
            waiting = setting.send(COMPANIES[0], 0, 10)
            later = eventually(
                lambda: (p := setting.progress()) and p.lag >= 20 and p.watermark_delay_seconds > 1 and p, "a lag"
            )
            assert stalled.outputs["company-c1"].error
            assert later.outputs["company-c1"].failing_since == stalled.outputs["company-c1"].failing_since
            assert databases.ids(0) == Counter()  # a shared input: the others wait, as in Azure
            assert worker.poll() is None
            server.start()
            done = setting.settled()
            assert not done.degraded
            with connect(server, other) as connection:
                found = {row[0] for row in connection.execute(f"SELECT event_id FROM {INBOX}").fetchall()}
            assert found == set(expected)
            assert set(databases.ids(0)) == set(waiting)
        finally:
            for started in setting.workers:
                started.kill()
                started.wait()
    server.delete()


def test_a_stop_finishes_the_batch_and_the_next_start_goes_on_where_it_was(
    setting: Setting, databases: Databases
) -> None:
    worker = setting.start()
    first = setting.send(COMPANIES[0], 0, 50)
    setting.settled()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    second = setting.send(COMPANIES[0], 50, 50)
    setting.start(run="second", start="last")
    progress = setting.settled()
    assert databases.ids(0) == Counter([*first, *second])
    assert progress.input_events == 50


def test_a_stop_does_not_wait_for_a_database_that_is_gone(setting: Setting, databases: Databases) -> None:
    with connect(databases.server, databases.names[0]) as connection:
        connection.execute(f"ALTER TABLE {INBOX} RENAME TO away")
    worker = setting.start()
    sent = setting.send(COMPANIES[0], 0, 5)
    eventually(lambda: (p := setting.progress()) and p.degraded, "the output is failing")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    with connect(databases.server, databases.names[0]) as connection:
        connection.execute("ALTER TABLE lpm.away RENAME TO inbox")
    setting.start()
    setting.settled()
    assert set(databases.ids(0)) == set(sent)


def test_start_modes_are_oldest_now_and_where_it_was(setting: Setting, databases: Databases) -> None:
    old = setting.send(COMPANIES[0], 0, 5)
    worker = setting.start(run="now", start="latest")
    eventually(lambda: "from latest" in setting.log(), "the worker has started")
    new = setting.send(COMPANIES[0], 5, 5)
    setting.settled()
    assert databases.ids(0) == Counter(new)
    worker.terminate()
    assert worker.wait(10) == 0
    setting.start(run="everything", start="earliest")
    setting.settled()
    assert databases.ids(0) == Counter([*old, *new, *new])


def test_a_row_that_does_not_fit_is_dropped_alone_when_the_policy_says_so(
    setting: Setting, databases: Databases
) -> None:
    good = setting.send(COMPANIES[0], 0, 30)
    setting.send(COMPANIES[0], 30, 1, payload="a \x00 b")  # PostgreSQL's text holds no NUL
    good += setting.send(COMPANIES[0], 31, 30)
    setting.start(error_policy="Drop")
    progress = setting.settled()
    assert set(databases.ids(0)) == set(good)
    assert progress.outputs["company-c0"].dropped == 1
    assert "NUL" in progress.last_error


def test_a_row_that_does_not_fit_stops_the_job_when_the_policy_says_so(setting: Setting, databases: Databases) -> None:
    setting.send(COMPANIES[0], 0, 1, payload="a \x00 b")
    setting.start(error_policy="Stop")
    progress = eventually(lambda: (p := setting.progress()) and p.degraded and p.errors > 2 and p, "it is stuck")
    assert progress.outputs["company-c0"].dropped == 0
    assert "NUL" in progress.outputs["company-c0"].error


def test_a_hub_that_does_not_exist_yet_is_waited_for(setting: Setting, databases: Databases) -> None:
    topic = f"{setting.topic}-later"
    job = setting.job()
    worker = setting.start(kafka=job.kafka.model_copy(update={"topic": topic}))
    eventually(lambda: "cannot be opened" in setting.log(), "the worker has looked for the hub")
    assert worker.poll() is None
    assert setting.progress() is None
    setting.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    setting.producer.produce(topic, json.dumps({"info_companyid": COMPANIES[0], "event_id": "1"}), partition=0)
    setting.producer.flush(20)
    eventually(lambda: databases.ids(0) == Counter(["1"]), "the event has arrived")
    setting.admin.delete_topics([topic])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"query": "SELECT COUNT(*) INTO [x] FROM hub"}, "Count is not simulated"),
        ({"outputs": ()}, "the job has outputs []"),
    ],
)
def test_a_job_that_cannot_run_says_why_and_ends(setting: Setting, changes: dict[str, Any], said: str) -> None:
    worker = setting.start(**changes)
    assert worker.wait(20) == 2
    assert said in setting.log()
    assert setting.job().kafka.password not in setting.log()
