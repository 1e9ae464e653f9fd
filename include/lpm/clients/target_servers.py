"""The servers of an environment: which databases with the pipeline's tables nobody has configured."""

from collections.abc import Iterator

from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from lpm.clients.target_database import TargetDatabaseError, database_url
from lpm.config import Environment
from lpm.render.names import STATE_SCHEMA

ADMIN_DATABASE = {"postgresql": "postgres", "mssql": "master"}
_DATABASES = {
    "postgresql": "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate",
    "mssql": "SELECT name FROM sys.databases WHERE database_id > 4 AND state = 0",
}
_HAS_TABLES = {
    "postgresql": f"SELECT to_regclass('{STATE_SCHEMA}.watermark') IS NOT NULL",
    "mssql": f"SELECT CASE WHEN OBJECT_ID(N'{STATE_SCHEMA}.watermark', N'U') IS NULL THEN 0 ELSE 1 END",
}


def unknown_databases(environment: Environment) -> list[str]:
    """``server/database`` of every database that has the pipeline's tables and belongs to no configured company.

    Raises:
        TargetDatabaseError: a server cannot be read; names the place.
    """
    known = {(database.server.lower(), database.database.lower()) for database in environment.databases.values()}
    found = []
    for server in sorted({database.server for database in environment.databases.values()}):
        for name in _ask(environment, server, ADMIN_DATABASE[environment.sql.dialect], _DATABASES):
            if (server.lower(), str(name).lower()) in known:
                continue
            if next(_ask(environment, server, str(name), _HAS_TABLES)):
                found.append(f"{server}/{name}")
    return found


def _ask(environment: Environment, server: str, database: str, question: dict[str, str]) -> Iterator[object]:
    url: URL = database_url(environment, server, database)
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield from connection.scalars(text(question[environment.sql.dialect])).all()
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise TargetDatabaseError(
            f"server {server}, database {database}: {cause}\n"
            "Next step: let the login of the SQL connection see every database of the server, then clear the task."
        ) from error
