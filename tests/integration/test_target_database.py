"""The client of the target databases against a PostgreSQL server that may be down, half done or half configured."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import create_engine, text

from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Company, Config, load_config
from lpm.config.models import Database
from lpm.local.postgres import Server
from lpm.render.targets import INBOX_FIELDS
from target_events import COMPANY, PARTITIONS, PAYLOAD, delete, key_hash, upsert

OURS = Company(id=COMPANY, name="Example", shard="shard-01", partitions=PARTITIONS, slug="oneill")


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="module")
def url(postgres: Server) -> str:
    postgres.create_database("lpm_client")
    return postgres.url("lpm_client")


@pytest.fixture
def database(config: Config, url: str) -> Iterator[TargetDatabase]:
    with TargetDatabase(config, OURS, url, "postgresql") as opened:
        opened.apply_schema()
        with create_engine(url).begin() as connection:
            for table in ("dbo.tdr_streaming", "lpm.tombstone", "lpm.quarantine"):
                connection.execute(text(f"DELETE FROM {table}"))
        yield opened


def test_connect_takes_the_login_from_airflow_and_the_database_from_the_configuration(
    config: Config, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = config.companies[0]
    local = config.environment("local")
    own = Database(server="local", database="of_the_connect_test")  # other tests use the configured one
    environment = local.model_copy(update={"databases": {company.id: own}})
    postgres.create_database(own.database)
    address = urlsplit(postgres.url())
    connection = {
        "conn_type": "generic",
        "host": address.hostname,
        "port": address.port,
        "login": address.username,
        "password": postgres.password,
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{environment.sql.connection.upper()}", json.dumps(connection))
    with TargetDatabase.connect(config, environment, company) as database:
        assert "created table dbo.tdr_streaming" in database.apply_schema()
        assert database.query("SELECT current_database()") == [(own.database,)]
        assert database.watermarks() == dict.fromkeys(company.partitions, -1)


def test_an_azure_database_is_reached_on_the_configured_server(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = config.environment("prod")
    connection = {"conn_type": "odbc", "login": "lpm", "password": "secret-word", "extra": {"Authentication": "x"}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{environment.sql.connection.upper()}", json.dumps(connection))
    try:
        place = TargetDatabase.connect(config, environment, config.companies[0]).place
    except TargetDatabaseError as error:  # this machine has no unixODBC; the message says so, and names the place
        place = str(error)
    assert place.startswith(
        "company 'C-1001', server sql-lpm-prod-example.database.windows.net, database sqldb-lpm-c-1001"
    )
    assert "secret-word" not in place


@pytest.mark.skipif(find_library("odbc") is not None, reason="this machine has unixODBC")
def test_a_missing_driver_is_named_with_what_to_install(config: Config) -> None:
    with pytest.raises(TargetDatabaseError, match=r"the database driver cannot be loaded.*libodbc2.*ODBC Driver 18"):
        TargetDatabase(config, OURS, "mssql+pyodbc://lpm:x@example.database.windows.net/x", "mssql")


def test_a_fresh_server_takes_many_companies_at_once_and_a_stopped_one_is_named_until_it_is_back(
    config: Config, tmp_path: Path
) -> None:
    server = Server(tmp_path / "server")
    with server:
        databases = []
        for number in range(4):
            server.create_database(f"target_{number}")
            databases.append(TargetDatabase(config, OURS, server.url(f"target_{number}"), "postgresql"))
        with ThreadPoolExecutor() as pool:  # as bootstrap does; roles belong to the server, so they are made in a race
            changes = list(pool.map(lambda each: each.apply_schema(), databases))
        assert all("created table dbo.tdr_streaming" in each for each in changes)
        database = databases[0]
        database.insert_inbox([upsert(1)])
    with pytest.raises(TargetDatabaseError) as failure:
        database.row_count()
    message = str(failure.value)
    assert message.startswith(f"company {COMPANY!r}, server 127.0.0.1, database target_0: ")
    assert "check that the server runs" in message
    assert server.password not in message
    with server:
        assert database.row_count() == 1
        database.insert_inbox([upsert(2)])
        for each in databases:
            each.close()
    server.delete()


def test_a_wrong_password_and_a_missing_database_are_told_apart(config: Config, postgres: Server) -> None:
    for url, expected in (
        (postgres.url("postgres").replace(postgres.password, "wrong-word"), "password authentication failed"),
        (postgres.url("no_such"), 'database "no_such" does not exist'),
    ):
        with pytest.raises(TargetDatabaseError, match=expected) as failure:
            TargetDatabase(config, OURS, url, "postgresql").watermark()
        assert "wrong-word" not in str(failure.value)


def test_a_database_without_our_schema_points_to_bootstrap(config: Config, postgres: Server) -> None:
    postgres.create_database("lpm_bare")
    with (
        TargetDatabase(config, OURS, postgres.url("lpm_bare"), "postgresql") as database,
        pytest.raises(TargetDatabaseError, match=r'"lpm\.watermark" does not exist; run bootstrap'),
    ):
        database.watermark()


def test_a_batch_by_copy_is_one_call_of_the_trigger(database: TargetDatabase, url: str) -> None:
    events = [upsert(1, {"trade_id": f"T-{number}", "comment": 'tab\t line\n back\\ "q"'}) for number in range(500)]
    with (
        psycopg.connect(url.replace("+psycopg", "")) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY lpm.tdr_streaming_inbox FROM STDIN") as copy,
    ):
        for event in events:
            copy.write_row([event.get(name) for name in INBOX_FIELDS])
    assert database.row_count() == 500
    assert database.query("SELECT count(DISTINCT lpm_applied_at) FROM dbo.tdr_streaming") == [(1,)]
    assert database.inbox_count() == 0


@pytest.mark.parametrize("nested", ["[" * 500_000, '{"a":' * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000])
def test_json_nested_deeper_than_the_parser_can_follow_is_refused_not_raised(
    database: TargetDatabase, nested: str
) -> None:
    payload = json.dumps({**PAYLOAD, "comment": None})[:-1] + f', "deep": {nested}}}'
    database.insert_inbox([upsert(1, payload=payload), upsert(1, {"trade_id": "T-2"})])
    assert database.quarantine_counts() == {"malformed_json": 1}
    assert database.row_count() == 1


def test_a_snapshot_older_than_the_lock_is_refused(database: TargetDatabase, url: str) -> None:
    engine = create_engine(url, isolation_level="REPEATABLE READ")
    with pytest.raises(Exception, match="use read committed"), engine.begin() as connection:
        connection.execute(text("INSERT INTO lpm.tdr_streaming_inbox (op) VALUES ('x')"))
    assert database.quarantine_counts() == {}


def test_a_writer_that_dies_in_the_middle_leaves_nothing_and_the_batch_can_come_again(
    database: TargetDatabase, url: str
) -> None:
    database.insert_inbox([upsert(1)])
    engine = create_engine(url)
    held = threading.Event()
    failed: list[str] = []

    def write() -> None:
        try:
            database.insert_inbox([delete(2), upsert(1, {"trade_id": "T-2"}), upsert(1, payload="x")])
        except TargetDatabaseError as error:
            failed.append(str(error))

    with engine.connect() as holder:  # somebody holds the lock, so the writer waits inside its trigger
        holder.execute(text("SELECT pg_advisory_lock(7301)"))
        writer = threading.Thread(target=write)
        writer.start()
        kill = text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not holder.execute(kill).all():
            held.wait(0.02)
        writer.join(30)
        holder.execute(text("SELECT pg_advisory_unlock(7301)"))
    assert len(failed) == 1
    assert (database.row_count(), database.tombstone_count(), database.inbox_count()) == (1, 0, 0)
    assert database.quarantine_counts() == {}
    database.insert_inbox([delete(2), upsert(1, {"trade_id": "T-2"}), upsert(1, payload="x")])
    assert [key for key, _ in database.rows()] == [key_hash({"trade_id": "T-2"})]
    assert (database.tombstone_count(), database.quarantine_counts()) == (1, {"malformed_json": 1})
