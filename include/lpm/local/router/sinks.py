"""Where routed rows go: the inbox table of a company's database, or a file of JSON lines."""

import json
from datetime import UTC, datetime
from typing import Protocol

import psycopg
import pyarrow as pa
from psycopg import sql

from lpm.local.router.job import BlobSink, Sink, SqlSink

TRANSIENT = (psycopg.Error, OSError)  # whatever else goes wrong with a sink, it may go right the next time
CONNECT_SECONDS = 5


class Refused(Exception):  # noqa: N818  # says what the sink did
    """The sink does not take these rows because of what is in them. Sending the same again gives the same."""


class Writer(Protocol):
    """An open sink. One thread at a time."""

    def write(self, rows: pa.Table) -> None:
        """All rows, or none.

        Raises:
            Refused: a value does not fit.
            psycopg.Error, OSError: the sink cannot take anything now.
        """

    def close(self) -> None:
        """Let go of the sink."""


def open_writer(sink: Sink) -> Writer:
    """A writer for a sink; it connects when it is first used."""
    return SqlWriter(sink) if isinstance(sink, SqlSink) else BlobWriter(sink)


class SqlWriter:
    """Bulk insert, one transaction for each call."""

    def __init__(self, sink: SqlSink) -> None:
        self._sink = sink
        self._connection: psycopg.Connection | None = None

    def write(self, rows: pa.Table) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(*self._sink.table.split(".")), sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
        )
        try:
            connection = self._connected()
            with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                    copy.write_row(row)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise Refused(str(error).strip()) from error
        except TRANSIENT:
            self.close()  # whatever state it is in: the next attempt gets a new one
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if not self._connection or self._connection.closed:
            url = self._sink.url.replace("postgresql+psycopg://", "postgresql://", 1)  # SQLAlchemy's way of writing it
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="stream-analytics"
            )
        return self._connection


class BlobWriter:
    """JSON lines in a file for each day (UTC)."""

    def __init__(self, sink: BlobSink) -> None:
        self._sink = sink

    def write(self, rows: pa.Table) -> None:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.to_pylist())
        path = self._sink.folder / f"{datetime.now(UTC):%Y/%m/%d}" / f"{self._sink.alias}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # a writer died in the middle of a line
                    lines = "\n" + lines
            file.write(lines.encode())

    def close(self) -> None:
        """Nothing is kept open."""
