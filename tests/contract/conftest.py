"""A target database in each dialect: PostgreSQL always, SQL Server when ``LPM_TEST_MSSQL_URL`` names an empty one."""

import os
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text

from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, load_config
from lpm.local.postgres import Server
from lpm.render.targets import Dialect
from target_events import COMPANY, PARTITIONS

Connect = Callable[..., TargetDatabase]

MSSQL_VARIABLE = "LPM_TEST_MSSQL_URL"
STATE = ("lpm.tombstone", "lpm.quarantine", "lpm.latency", "dbo.tdr_streaming")
WIPE: dict[Dialect, tuple[str, ...]] = {
    "postgresql": ("DROP SCHEMA IF EXISTS lpm, dbo CASCADE",),
    "mssql": (
        "DROP PROCEDURE IF EXISTS lpm.drain_inbox, lpm.purge_tombstones",
        "DROP TABLE IF EXISTS lpm.tdr_streaming_inbox, lpm.tombstone, lpm.watermark, lpm.quarantine, lpm.latency, "
        "dbo.tdr_streaming",
    ),
}


@pytest.fixture(scope="session")
def config() -> Config:
    """The configuration that is shipped."""
    return load_config()


@pytest.fixture(scope="session")
def company() -> Company:
    """A company whose name quoting has to survive."""
    return Company(id=COMPANY, name="Example", shard="shard-01", partitions=PARTITIONS, slug="oneill")


@pytest.fixture(scope="session", params=["postgresql", "mssql"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Each dialect that can run here."""
    if request.param == "mssql" and not os.environ.get(MSSQL_VARIABLE):
        pytest.skip(
            f"no SQL Server: set {MSSQL_VARIABLE} to the SQLAlchemy URL of an empty database (mssql+pyodbc://…)"
        )
    return request.param


@pytest.fixture(scope="session")
def url(dialect: Dialect, request: pytest.FixtureRequest) -> str:
    """Address of the database of this session's tests."""
    if dialect == "mssql":
        return os.environ[MSSQL_VARIABLE]
    server: Server = request.getfixturevalue("postgres")
    server.create_database("lpm_contract")
    return server.url("lpm_contract")


@pytest.fixture
def connect(config: Config, company: Company, url: str, dialect: Dialect) -> Iterator[Connect]:
    """Makes further connections to the database, for another configuration or company if need be."""
    opened: list[TargetDatabase] = []

    def make(config: Config = config, company: Company = company) -> TargetDatabase:
        opened.append(TargetDatabase(config, company, url, dialect))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


@pytest.fixture(scope="session")
def sql(url: str) -> Iterator[Callable[..., None]]:
    """Runs one statement behind the client's back."""
    engine = create_engine(url)

    def run(statement: str, parameters: dict[str, object] | None = None) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement), parameters or {})

    yield run
    engine.dispose()


@pytest.fixture
def empty(connect: Connect, dialect: Dialect, sql: Callable[..., None]) -> TargetDatabase:
    """A database without any of our objects."""
    database = connect()
    for statement in WIPE[dialect]:
        sql(statement)
    return database


@pytest.fixture
def database(connect: Connect, sql: Callable[..., None]) -> TargetDatabase:
    """A database with the shipped schema and no rows."""
    database = connect()
    database.apply_schema()
    for table in STATE:
        sql(f"DELETE FROM {table}")
    sql("UPDATE lpm.watermark SET version = -1, advanced_at = NULL")
    return database
