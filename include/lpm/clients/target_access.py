"""A consumer of one company's database, made for a check and dropped after it: what may it do, where may it go.

PostgreSQL: a real login that connects. Azure SQL: a user without login, and EXECUTE AS USER; it sees what a contained
user with the same role sees.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from lpm.clients.target_database import TargetDatabaseError, database_url
from lpm.config import Company, Config, Environment
from lpm.render import names
from lpm.render.targets import DIALECTS

READER = "lpm_reader"  # role of 4_roles.sql
PREFIX = "lpm_check_"  # of the names of consumers made here
LIFE = timedelta(hours=1)  # of a login that nobody could drop
# How the databases say that somebody may not: 229 object, 916 and 40515 another database.
DENIED = ("permission denied", "permission was denied", "(229)", "(916)", "(40515)")


class Consumer(Protocol):
    """Somebody who may read one company's table."""

    def refusal(self, statement: str) -> str:
        """Run a statement in the own company's database; why it was refused, empty when it was not.

        Raises:
            TargetDatabaseError: it failed for another reason than missing rights.
        """

    def refusal_elsewhere(self, company: Company) -> str:
        """Read the table of another company; why that was refused, empty when it was not.

        Raises:
            TargetDatabaseError: as for :meth:`refusal`.
        """


@contextmanager
def consumer(config: Config, environment: Environment, company: Company) -> Iterator[Consumer]:
    """A consumer of a company's database, who exists as long as the context.

    Raises:
        TargetDatabaseError: the environment's login may not make or drop one.
    """
    kind = _PostgresqlConsumer if environment.sql.dialect == "postgresql" else _SqlServerConsumer
    made = kind(config, environment, company, f"{PREFIX}{secrets.token_hex(6)}")
    made.create()
    try:
        yield made
    finally:
        drop_consumers(environment, company, made.user)


def drop_consumers(environment: Environment, company: Company, user: str = "") -> list[str]:
    """Drop one consumer that was made for a check, all that are left in a database by default. Returns their names."""
    server = environment.databases[company.id].server
    with _connection(_url(environment, company)) as connection:
        left = [user] if user else _left_behind(connection, environment)
        for name in left:
            for statement in _drop(environment, company, name):
                connection.exec_driver_sql(statement)
    return [f"{server}/{name}" for name in left]


class _Checked:
    def __init__(self, config: Config, environment: Environment, company: Company, user: str) -> None:
        self.user = user
        self._config = config
        self._environment = environment
        self._company = company
        self._spelling = DIALECTS[environment.sql.dialect]

    def _create(self, *statements: str) -> None:
        with _connection(_url(self._environment, self._company)) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def _target(self) -> str:
        return ".".join(map(self._spelling.name, names.target_table(self._config).split(".")))


class _PostgresqlConsumer(_Checked):
    def create(self) -> None:
        self._password = secrets.token_urlsafe(24)
        user, database = self._spelling.name(self.user), self._environment.databases[self._company.id].database
        until = (datetime.now(UTC) + LIFE).isoformat()
        self._create(
            f"CREATE ROLE {user} LOGIN PASSWORD '{self._password}' VALID UNTIL '{until}' IN ROLE {READER}",
            f"GRANT CONNECT ON DATABASE {self._spelling.name(database)} TO {user}",
        )

    def refusal(self, statement: str) -> str:
        return self._try(self._company, statement)

    def refusal_elsewhere(self, company: Company) -> str:
        return self._try(company, f"SELECT count(*) FROM {self._target()}")

    def _try(self, company: Company, statement: str) -> str:
        url = _url(self._environment, company).set(username=self.user, password=self._password)
        return _refusal(url, [statement])


class _SqlServerConsumer(_Checked):
    def create(self) -> None:
        user = self._spelling.name(self.user)
        self._create(f"CREATE USER {user} WITHOUT LOGIN", f"ALTER ROLE {READER} ADD MEMBER {user}")

    def refusal(self, statement: str) -> str:
        # The connection is not kept, so nobody else gets one that acts as this user.
        return _refusal(_url(self._environment, self._company), [f"EXECUTE AS USER = N'{self.user}'", statement])

    def refusal_elsewhere(self, company: Company) -> str:
        database = self._spelling.name(self._environment.databases[company.id].database)
        return self.refusal(f"SELECT count(*) FROM {database}.{self._target()}")


def _left_behind(connection: Connection, environment: Environment) -> list[str]:
    pattern = PREFIX.replace("_", "!_") + "%"
    query = {
        "postgresql": "SELECT rolname FROM pg_roles WHERE rolname LIKE :pattern ESCAPE '!'",
        "mssql": "SELECT name FROM sys.database_principals WHERE name LIKE :pattern ESCAPE '!'",
    }[environment.sql.dialect]
    return [str(name) for name in connection.scalars(text(query), {"pattern": pattern})]


def _drop(environment: Environment, company: Company, user: str) -> list[str]:
    spelling = DIALECTS[environment.sql.dialect]
    quoted = spelling.name(user)
    if environment.sql.dialect == "mssql":
        return [f"DROP USER IF EXISTS {quoted}"]
    database = spelling.name(environment.databases[company.id].database)
    return [f"REVOKE CONNECT ON DATABASE {database} FROM {quoted}", f"DROP ROLE {quoted}"]


def _url(environment: Environment, company: Company) -> URL:
    database = environment.databases[company.id]
    return database_url(environment, database.server, database.database)


def _refusal(url: URL, statements: list[str]) -> str:
    try:
        with _connection(url) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    except TargetDatabaseError as error:
        if any(words in str(error) for words in DENIED):
            return str(error)
        raise
    return ""


@contextmanager
def _connection(url: URL) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()
        told = next((line for line in cause if any(words in line for words in DENIED)), cause[0] if cause else "")
        raise TargetDatabaseError(
            f"server {url.host}, database {url.database}: {told}\n"
            "Next step: validation needs a login that may create and drop users (ALTER ANY USER and ALTER ANY ROLE; "
            "db_owner has both)."
        ) from error
    finally:
        engine.dispose()
