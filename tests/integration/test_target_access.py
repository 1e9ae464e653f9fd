"""A consumer made for a check: a real login on a real server, that reads its own company's table and nothing else."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from lpm.clients.target_access import PREFIX, consumer, drop_consumers
from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Environment, load_config
from lpm.config.models import Database
from lpm.local.postgres import Server

CONFIG = load_config()
HOME, ELSEWHERE = CONFIG.canaries
READ = "SELECT count(*) FROM dbo.tdr_streaming"


@pytest.fixture(scope="module")
def environment(postgres: Server) -> Iterator[Environment]:
    """The local environment with two databases of this test's own."""
    local = CONFIG.environment("local")
    databases = {
        company.id: Database(server="local", database=f"access_{company.slug}") for company in (HOME, ELSEWHERE)
    }
    made = local.model_copy(update={"databases": databases})
    address = urlsplit(postgres.url())
    connection = {
        "conn_type": "generic",
        "host": address.hostname,
        "port": address.port,
        "login": address.username,
        "password": postgres.password,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"AIRFLOW_CONN_{local.sql.connection.upper()}", json.dumps(connection))
        for company in (HOME, ELSEWHERE):
            postgres.create_database(databases[company.id].database)
            with TargetDatabase.connect(CONFIG, made, company) as database:
                database.apply_schema()
        yield made


def logins(environment: Environment) -> int:
    with TargetDatabase.connect(CONFIG, environment, HOME) as database:
        query = f"SELECT count(*) FROM pg_roles WHERE starts_with(rolname, '{PREFIX}')"
        return int(database.query(query)[0][0])


def test_a_consumer_reads_and_changes_nothing(environment: Environment) -> None:
    with consumer(CONFIG, environment, HOME) as somebody:
        assert somebody.refusal(READ) == ""
        for statement in (
            "DELETE FROM dbo.tdr_streaming WHERE 1 = 0",
            "INSERT INTO lpm.tdr_streaming_inbox (op) SELECT 'delete' WHERE 1 = 0",
            "SELECT count(*) FROM lpm.quarantine",
        ):
            assert "permission denied" in somebody.refusal(statement), statement


def test_a_consumer_is_not_let_into_another_companys_database(environment: Environment) -> None:
    with consumer(CONFIG, environment, HOME) as somebody:
        assert "permission denied for database" in somebody.refusal_elsewhere(ELSEWHERE)
        assert somebody.refusal_elsewhere(HOME) == "", "its own lets it in"


def test_another_failure_is_no_refusal(environment: Environment) -> None:
    with (
        consumer(CONFIG, environment, HOME) as somebody,
        pytest.raises(TargetDatabaseError, match="does not exist"),
    ):
        somebody.refusal("SELECT nothing FROM dbo.tdr_streaming")


def test_no_consumer_outlives_its_check(environment: Environment) -> None:
    def check_that_breaks() -> None:
        with consumer(CONFIG, environment, HOME):
            assert logins(environment) == 1
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        check_that_breaks()
    assert logins(environment) == 0


def test_what_a_killed_check_left_is_dropped(environment: Environment) -> None:
    place = environment.databases[HOME.id].database
    with (
        TargetDatabase.connect(CONFIG, environment, HOME) as database,
        database.transaction("READ COMMITTED") as connection,
    ):
        connection.exec_driver_sql(f"CREATE ROLE {PREFIX}dead LOGIN IN ROLE lpm_reader")
        connection.exec_driver_sql(f'GRANT CONNECT ON DATABASE "{place}" TO {PREFIX}dead')
    assert drop_consumers(environment, HOME) == [f"local/{PREFIX}dead"]
    assert drop_consumers(environment, HOME) == []
    assert logins(environment) == 0
