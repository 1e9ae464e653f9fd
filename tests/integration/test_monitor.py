"""Every alert that the monitor evaluates fires from a real cause, and all are silent while all is well.

The pipeline is real: Delta, stream job, broker, router workers and PostgreSQL, behind the stand-ins of Databricks and
Azure. Only time is moved where an alert waits for long, and a limit lowered where only load would reach it.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import Producer
from stand_ins import INCLUDE, serve

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs import CA_FILE, ENDPOINT, EventHub, EventHubError, OutgoingEvent, Patience
from lpm.clients.event_hubs_secrets import CONNECTION_STRING, event_hubs_secrets
from lpm.clients.evidence import EvidenceStore
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Environment, load_config
from lpm.config.alerts import Alerts, Condition, load_alerts
from lpm.config.models import Database
from lpm.local import processes
from lpm.local.event_hubs.server import EventHubsServer, Ports
from lpm.local.kafka import Broker
from lpm.local.postgres import Server
from lpm.procedures import bootstrap, control, deploy_router, deploy_stream
from lpm.procedures.alerts.evaluation import Rules
from lpm.procedures.alerts.observations import Observation
from lpm.procedures.alerts.rounds import read_state
from lpm.procedures.alerts.telling import Links
from lpm.procedures.control import Action
from lpm.procedures.monitor import looks
from lpm.procedures.monitor.company import look_at_company
from lpm.procedures.monitor.definitions import look_at_credentials, look_at_definitions
from lpm.procedures.monitor.round import Looks, finish_round
from lpm.procedures.monitor.shard import look_at_shard
from lpm.procedures.monitor.stream import look_at_stream
from lpm.procedures.status import Status, read_status
from lpm.procedures.waiting import wait_until
from lpm.render import names

CONFIG = load_config()
LOCAL = CONFIG.environment("local")
ALERTS = load_alerts()
LINKS = Links("https://airflow.example", "https://airflow.example/dags/monitor__local/runs/r1")
SOURCE = names.source_table(CONFIG, LOCAL)
FIRST, LAST = CONFIG.companies[0], CONFIG.companies[-1]
HUB = names.hub_name(FIRST.shard)
INBOX = names.inbox_table(CONFIG)
SETTLE_SECONDS = 90.0
MONITORED = {alert.id for alert in ALERTS.evaluated_by("monitor")}
FIRED: set[str] = {"notices-undelivered"}  # by a test; that one is about channels: test_notifications.py

Fired = Mapping[tuple[str, str], str]  # (alert, subject) -> detail


def spark_type(kind: str) -> str:
    return "STRING" if kind.startswith("string") else kind


class Pipeline:
    """A whole pipeline of the local environment."""

    def __init__(self, kafka: Broker, postgres: Server, event_hubs: str) -> None:
        self.kafka, self.postgres, self.event_hubs = kafka, postgres, event_hubs
        self.databricks = DatabricksClient.of(LOCAL)
        self.rows = 0
        self.definitions: tuple[Observation, ...] = ()  # what a look at them has found

    def insert(self, company: str | None = FIRST.id) -> None:
        """Commit a row of a company to the source."""
        self.rows += 1
        statement = f"INSERT INTO {SOURCE} (trade_id, leg_no, info_companyid) VALUES ('T-{self.rows}', 1, :company)"
        self.databricks.sql(statement, {"company": company})

    def sql(self, statement: str, company: Company = FIRST) -> None:
        """Something that an administrator does in a company's database."""
        with self.connection(company) as connection:
            connection.execute(statement)

    @contextmanager
    def connection(self, company: Company = FIRST) -> Iterator[psycopg.Connection[Any]]:
        url = self.postgres.url(LOCAL.databases[company.id].database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection

    def send(self, body: bytes) -> None:
        """Put a message into the first shard's hub, as a stranger with the right to send could."""
        settings = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "$ConnectionString",
        }
        producer = Producer(
            {**settings, "bootstrap.servers": self.kafka.bootstrap, "sasl.password": self.kafka.connection_string}
        )
        producer.produce(HUB, body, partition=0)
        assert producer.flush(30) == 0

    def target(self, company: Company = FIRST) -> TargetDatabase:
        return TargetDatabase.connect(CONFIG, LOCAL, company)

    def settle(self) -> None:
        """Wait until every database has everything that the source has now."""
        version = int(self.databricks.sql(f"DESCRIBE HISTORY {SOURCE} LIMIT 1")[0]["version"] or 0)

        def arrived() -> bool:
            for company in CONFIG.companies:
                with self.target(company) as database:
                    if database.watermark() < version:
                        return False
            return True

        wait_until(arrived, f"version {version} in every database", SETTLE_SECONDS, "see the logs", 0.5)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline that runs, of its own: the events of other tests must not reach its databases."""
    folder = tmp_path_factory.mktemp("monitor")
    token, header = secrets.token_hex(16), secrets.token_hex(16)
    with (
        Broker(folder / "kafka") as kafka,
        Server(folder / "postgres") as postgres,
        EventHubsServer(
            folder / "event-hubs", Ports.free(), kafka.bootstrap, kafka.connection_string, header
        ) as event_hubs,
        pytest.MonkeyPatch.context() as patch,
    ):
        databricks, workspace = serve(
            "lpm.local.databricks.serve",
            folder / "databricks",
            [],
            {"LPM_DATABRICKS_TOKEN": token, "LPM_DATABRICKS_BACKOFF_FIRST_SECONDS": "0.5"},
        )
        azure, subscription = serve(
            "lpm.local.azure.serve",
            folder / "azure",
            [
                *("--kafka-bootstrap", kafka.bootstrap, "--postgres-port", str(postgres.port)),
                *("--event-hubs", event_hubs.control_url),
            ],
            {
                "LPM_KAFKA_CONNECTION_STRING": kafka.connection_string,
                "LPM_POSTGRES_PASSWORD": postgres.password,
                "IDENTITY_HEADER": header,
            },
        )
        patch.setenv("IDENTITY_ENDPOINT", f"{azure}/msi/token")
        patch.setenv("IDENTITY_HEADER", header)
        patch.setenv("LPM_LOCAL_KAFKA_BOOTSTRAP", kafka.bootstrap)
        port = httpx.URL(databricks).port
        for name, connection in {
            LOCAL.databricks.connection: {
                "conn_type": "databricks", "schema": "http", "host": "127.0.0.1", "port": port, "password": token,
            },
            LOCAL.azure.connection: {
                "conn_type": "azure", "host": azure,
                "extra": {
                    "use_azure_identity_object": True, CONNECTION_STRING: kafka.connection_string,
                    ENDPOINT: event_hubs.endpoint, CA_FILE: str(event_hubs.ca_file),
                },
            },
            LOCAL.sql.connection: {
                "conn_type": "generic", "host": "127.0.0.1", "port": postgres.port,
                "login": "postgres", "password": postgres.password,
            },
        }.items():  # fmt: skip
            patch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        made = Pipeline(kafka, postgres, event_hubs.control_url)
        go_live(made)
        yield made
        control.control_stream(LOCAL, made.databricks, Action.PAUSE)
        processes.stop(subscription)
        processes.stop(workspace)
    postgres.delete()


def go_live(pipeline: Pipeline) -> None:
    """An empty source, everything deployed and running, then one row of each company."""
    databricks = pipeline.databricks
    columns = ", ".join(f"`{column.name}` {spark_type(str(column.type))}" for column in CONFIG.table.columns)
    databricks.sql(f"CREATE SCHEMA IF NOT EXISTS {LOCAL.source_schema}")
    databricks.sql(f"CREATE TABLE {SOURCE} ({columns}) USING DELTA TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    bootstrap.create_tables(CONFIG, LOCAL, databricks)
    bootstrap.store_secrets(LOCAL, databricks, event_hubs_secrets(LOCAL))
    for company in CONFIG.companies:
        pipeline.postgres.create_database(LOCAL.databases[company.id].database)
        bootstrap.create_target(CONFIG, LOCAL, company)
    with ResourceManager(LOCAL.azure) as manager:
        bootstrap.create_foundation(CONFIG, LOCAL, manager)
        deploy_router.deploy_router(CONFIG, LOCAL, manager)
        bootstrap.create_alert_rules(CONFIG, LOCAL, ALERTS, manager)
    deploy_stream.deploy_stream(CONFIG, LOCAL, databricks)
    deploy_stream.await_progress(CONFIG, LOCAL, databricks)
    for company in CONFIG.companies:
        pipeline.insert(company.id)
    pipeline.settle()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvidenceStore:
    """An empty store whose last look was just now."""
    monkeypatch.setenv("LPM_EVIDENCE", str(tmp_path / "evidence"))
    made, now = EvidenceStore(LOCAL), datetime.now(UTC)
    quarantine = {company.id: now for company in CONFIG.companies}
    seen = looks.Seen(dead_letters_until=now, quarantine_until=quarantine)
    made.write(looks.SEEN, seen.model_dump_json())
    return made


def with_limits(**conditions: str) -> Alerts:
    """The shipped alerts, some of them with another limit; underscores stand for hyphens."""
    changed = {name.replace("_", "-"): Condition.parse(text) for name, text in conditions.items()}
    assert changed.keys() <= MONITORED
    alerts = tuple(one.model_copy(update={"when": changed.get(one.id, one.when)}) for one in ALERTS.alerts)
    return ALERTS.model_copy(update={"alerts": alerts})


def look(
    pipeline: Pipeline,
    store: EvidenceStore,
    *,
    alerts: Alerts = ALERTS,
    later: timedelta = timedelta(),
    environment: Environment = LOCAL,
) -> Fired:
    """Look at everything and evaluate it twice, the second time when every alert has lasted long enough.

    Returns what people were told of by then.
    """
    now, seen = datetime.now(UTC) + later, looks.read_seen(store)
    stream = look_at_stream(CONFIG, environment, pipeline.databricks, seen, now)
    companies = [
        look_at_company(
            partial(TargetDatabase.connect, CONFIG, environment, company), company, stream.positions, seen, now
        )
        for company in CONFIG.companies
    ]
    with ResourceManager(environment.azure) as manager:
        shards = [found for shard in CONFIG.shards for found in look_at_shard(environment, shard, manager, now)]
        if environment is not LOCAL or not pipeline.definitions:  # nobody deploys anything meanwhile
            pipeline.definitions = look_at_definitions(CONFIG, environment, manager, pipeline.databricks)
    others = [*pipeline.definitions, *look_at_credentials(environment, alerts, now)]
    if environment is not LOCAL:
        pipeline.definitions = ()
    found = Looks(stream=stream, shards=shards, companies=companies, others=others)
    rules = Rules(CONFIG, alerts, environment, "monitor")
    for moment in (now, now + timedelta(minutes=70)):
        finish_round(rules, store, found, LINKS, moment)
    state = read_state(store, "monitor")
    fired = {(one.alert, str(one.subject)): one.detail for one in state.incidents if one.fired_at}
    FIRED.update(alert for alert, _ in fired)
    return fired


def status_of(store: EvidenceStore) -> Status:
    status = read_status(store)
    assert status is not None
    return status


def shard_of(company: Company) -> str:
    return f"shard {company.shard}"


def until(look_again: Callable[[], Fired], alert: str, subject: str) -> Fired:
    """Look again until an alert has fired: metrics and tables are seconds late."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        fired = look_again()
        if (alert, subject) in fired:
            return fired
        assert time.monotonic() < end, f"{alert} about {subject} did not fire; fired: {fired}"


def test_nobody_is_told_anything_while_all_is_well(pipeline, store):
    # On a machine with other work a change may take longer than agreed, and that is then told rightly.
    assert look(pipeline, store, alerts=with_limits(latency="> 600")) == {}
    assert read_state(store, "monitor").not_known == ()
    status = status_of(store)
    assert status.stream.running
    assert status.stream.source_version is not None
    assert status.stream.sent_version is not None, (
        "some seconds behind: the stream writes down where it is now and then"
    )
    assert [shard.running for shard in status.shards.values()] == [True, True]
    assert {line.now.watermark for line in status.companies} == {status.stream.source_version}
    assert all(line.now.latency_p95_seconds for line in status.companies)
    assert status.alerts == ()
    assert len(status.trend) == 2, "this hour, and the one of the second evaluation"


def test_a_paused_stream_is_told_and_what_follows_from_it(pipeline, store):
    here = "environment local"
    control.control_stream(LOCAL, pipeline.databricks, Action.PAUSE)
    try:
        pipeline.insert(LAST.id)
        usual = with_limits(latency="> 600")
        now = look(pipeline, store, alerts=usual)
        assert set(now) == {("stream-job-down", here)}
        assert now["stream-job-down", here].startswith("lpm-stream-local is paused; ")
        soon = look(pipeline, store, alerts=usual, later=timedelta(minutes=20))
        late = {("watermark-late", f"company {company.id}") for company in CONFIG.companies}
        assert set(soon) == {("stream-job-down", here), ("stream-stuck", here), ("source-lag", here), *late}
        assert "the source is at" in soon["source-lag", here]
        weeks = look(pipeline, store, later=timedelta(days=24))
        assert weeks["change-feed-headroom", here].startswith(("the stream job needs version", "company "))
    finally:
        control.control_stream(LOCAL, pipeline.databricks, Action.RESUME)
    pipeline.settle()


def test_a_stream_that_fails_again_and_again_is_told_with_its_error(pipeline, store):
    scope, key = names.secret_scope(LOCAL), names.EVENT_HUBS_SECRET_KEY
    right = event_hubs_secrets(LOCAL)[key]
    pipeline.databricks.put_secret(scope, key, right.replace("SharedAccessKey=", "SharedAccessKey=wrong"))
    try:
        control.control_stream(LOCAL, pipeline.databricks, Action.RESTART)
        fired = until(partial(look, pipeline, store), "stream-job-failing", "environment local")
    finally:
        pipeline.databricks.put_secret(scope, key, right)
    assert fired["stream-job-failing", "environment local"].startswith("newest error: ")
    control.control_stream(LOCAL, pipeline.databricks, Action.PAUSE)
    control.control_stream(LOCAL, pipeline.databricks, Action.RESUME)
    pipeline.insert()
    pipeline.settle()


def test_a_row_without_a_company_is_told_once(pipeline, store):
    pipeline.insert(None)
    fired = until(partial(look, pipeline, store), "dead-letters", "environment local")
    assert fired["dead-letters", "environment local"] == "no_company: 1"
    assert ("dead-letters", "environment local") not in look(pipeline, store), "it has been seen"


def test_a_configuration_that_was_not_deployed_is_told(pipeline, store):
    hubs = LOCAL.event_hubs.model_copy(update={"retention_hours": 48})
    stream = LOCAL.stream.model_copy(update={"trigger_seconds": 2.5})
    fired = look(pipeline, store, environment=LOCAL.model_copy(update={"event_hubs": hubs, "stream": stream}))
    detail = fired["definition-drift", "environment local"]
    assert "retentionTimeInHours" in detail
    assert "lpm-stream-local: " in detail


def test_a_secret_that_expires_soon_is_told_with_its_connection(pipeline, store, monkeypatch):
    variable = f"AIRFLOW_CONN_{LOCAL.sql.connection.upper()}"
    connection = json.loads(os.environ[variable])
    for days, expected in ((10, True), (100, False)):
        day = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setenv(variable, json.dumps({**connection, "extra": {"expires_on": f"{day:%Y-%m-%d}"}}))
        fired = look(pipeline, store)
        assert (("credential-expiry", "environment local") in fired) is expected
        if expected:
            detail = fired["credential-expiry", "environment local"]
            assert detail.startswith(f"{LOCAL.sql.connection} on {day:%Y-%m-%d}; without expires_on: ")


def test_a_router_that_was_stopped_is_told_and_the_other_is_not(pipeline, store):
    with ResourceManager(LOCAL.azure) as manager:
        control.control_router(CONFIG, LOCAL, manager, Action.PAUSE, [LAST.shard])
        try:
            fired = look(pipeline, store)
        finally:
            control.control_router(CONFIG, LOCAL, manager, Action.RESUME)
    assert fired["router-down", shard_of(LAST)] == "asa-lpm-local-shard-02 is Stopped"
    assert ("router-down", shard_of(FIRST)) not in fired
    pipeline.settle()


def test_a_database_that_takes_nothing_shows_as_delay_backlog_and_headroom_of_its_shard(pipeline, store):
    alerts = with_limits(router_delay="> 5", hub_backlog="> 0")
    with pipeline.connection() as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {INBOX} IN EXCLUSIVE MODE")
        pipeline.insert()
        fired = until(partial(look, pipeline, store, alerts=alerts), "router-delay", shard_of(FIRST))
        assert ("hub-backlog", shard_of(FIRST)) in fired
        assert ("router-delay", shard_of(LAST)) not in fired
        hours = look(pipeline, store, alerts=alerts, later=timedelta(hours=13))
        assert hours["hub-headroom", shard_of(FIRST)].startswith("delivered up to ")
    pipeline.settle()


def test_a_hub_that_refuses_requests_is_told(pipeline, store):
    busy = {"kind": "throttle", "hub": HUB, "times": 100}
    httpx.post(f"{pipeline.event_hubs}/stand-in/faults", json=busy).raise_for_status()
    with pytest.raises(EventHubError, match="being throttled"):
        EventHub(LOCAL, HUB, patience=Patience(tries=1)).send([OutgoingEvent(0, b"never stored")])
    httpx.delete(f"{pipeline.event_hubs}/stand-in/faults").raise_for_status()
    fired = until(partial(look, pipeline, store), "hub-throttled", shard_of(FIRST))
    assert ("hub-throttled", shard_of(LAST)) not in fired


def test_a_message_that_is_no_event_is_told(pipeline, store):
    pipeline.send(b"no JSON at all")
    fired = until(partial(look, pipeline, store), "router-input-errors", shard_of(FIRST))
    assert ("router-input-errors", shard_of(LAST)) not in fired


def test_events_that_do_not_fit_the_inbox_are_told(pipeline, store):
    pipeline.sql(f"ALTER TABLE {INBOX} ADD CONSTRAINT short CHECK (length(event_id) < 3)")
    try:
        pipeline.insert()
        fired = until(partial(look, pipeline, store), "router-output-errors", shard_of(FIRST))
    finally:
        pipeline.sql(f"ALTER TABLE {INBOX} DROP CONSTRAINT short")
    assert ("router-output-errors", shard_of(LAST)) not in fired
    pipeline.settle()


def test_changes_that_arrive_late_are_told(pipeline, store):
    pipeline.insert(LAST.id)
    pipeline.settle()
    fired = look(pipeline, store, alerts=with_limits(latency="> 0.01"))
    assert fired["latency", f"company {LAST.id}"].startswith("half within ")


def test_events_that_a_database_refuses_are_told_with_their_reason(pipeline, store):
    with pipeline.target() as database:
        database.insert_inbox([{"event_id": "stray", "op": "upsert", "info_companyid": "Somebody Else"}])
    fired = look(pipeline, store)
    assert fired["quarantine", f"company {FIRST.id}"] == "wrong_company: 1"
    assert ("quarantine", f"company {FIRST.id}") not in look(pipeline, store), "it has been seen"


def test_rows_that_stayed_in_an_inbox_are_drained_and_told(pipeline, store):
    pipeline.sql(f"ALTER TABLE {INBOX} DISABLE TRIGGER USER", LAST)
    try:
        with pipeline.target(LAST) as database:
            database.insert_inbox([{"event_id": "stayed", "op": "upsert", "info_companyid": "Somebody Else"}])
    finally:
        pipeline.sql(f"ALTER TABLE {INBOX} ENABLE TRIGGER USER", LAST)
    fired = look(pipeline, store)
    assert fired["inbox-not-empty", f"company {LAST.id}"].startswith("drained ")
    with pipeline.target(LAST) as database:
        assert database.inbox_count() == 0
        assert "stayed" in {event.event_id for event in database.quarantined()}, "through the same code as the trigger"


def test_a_database_out_of_reach_is_told_and_hides_no_other(pipeline, store):
    databases = {**LOCAL.databases, FIRST.id: Database(server="local", database="gone")}
    fired = look(pipeline, store, environment=LOCAL.model_copy(update={"databases": databases}))
    blind = {subject for alert, subject in fired if alert == "monitor-blind"}
    assert blind == {f"company {FIRST.id}"}
    assert 'database "gone" does not exist' in fired["monitor-blind", f"company {FIRST.id}"]
    watermarks = [line.now.watermark for line in status_of(store).companies]
    assert watermarks[0] is None
    assert all(watermark is not None for watermark in watermarks[1:])


def test_everything_is_as_it_was_and_nobody_is_told_anything(pipeline, store):
    pipeline.settle()
    many = "> 1000"
    silent = with_limits(router_input_errors=many, router_output_errors=many, hub_throttled=many, latency=many)
    fired = look(pipeline, store, alerts=silent)  # those are about the last minutes, which saw the tests above
    assert set(fired) <= {("stream-job-failing", "environment local")}, "that one is of the last hour"


@pytest.fixture
def local_dags(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The local DAGs, and a database for Airflow."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.utils.db import initdb

    monkeypatch.setenv("LPM_ENVIRONMENTS", "local")
    initdb()
    folder = INCLUDE.parent / "dags"
    return dict(BundleDagBag(str(folder), bundle_path=folder, bundle_name="testing").dags)


def test_the_monitor_dag_looks_at_everything_and_writes_the_status(local_dags, store):
    run = local_dags["monitor__local"].test(run_conf={"reason": "a test"})
    assert run.state == "success"
    result = run.get_task_instance("result").xcom_pull(task_ids="result")
    lines = [line for line in result["details"] if not line.startswith("  ")]
    looked = [line for line in lines if "signals observed" in line]
    assert len(looked) == 2 + len(CONFIG.shards) + len(CONFIG.companies)
    assert any(line.startswith("tell: ") for line in lines)
    status = status_of(store)
    assert status.looked_at is not None
    assert all(line.now.watermark is not None for line in status.companies)


def test_every_alert_of_the_monitor_was_seen_firing():
    assert set() == MONITORED - FIRED
