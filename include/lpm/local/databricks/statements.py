"""SQL statements on the stand-in's own Spark session.

Each statement runs in a thread and in a session of its own (settings and temporary views stay inside), with one catalog
below them. The rules for waiting, states, errors and chunks are those of the Statement Execution API 2.0.
"""

import os
import re
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lpm.local.databricks.describe_json import described
from lpm.local.databricks.errors import ApiError
from lpm.local.databricks.result_text import as_text, describe
from lpm.local.databricks.volumes import Volumes
from lpm.local.spark import register_tables

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

State = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "CLOSED"]
THREADS = 8
INLINE_BYTES = 25 * 1024 * 1024  # a larger result fails, as on Databricks
CHUNK_BYTES = 4 * 1024 * 1024
KEPT_SECONDS = 3600.0  # of a result after its success
KEPT_BYTES = 10 * INLINE_BYTES  # of all results: an hour of large ones took more than 2 GB of memory

_PART = r"(?:`[^`]+`|\w+)"
_CHANGES_CATALOG = re.compile(r"\s*(CREATE|REPLACE|DROP|ALTER)\b", re.IGNORECASE)
_CREATE_VOLUME = re.compile(
    rf"\s*CREATE\s+VOLUME\s+(?P<if_not_exists>IF\s+NOT\s+EXISTS\s+)?(?P<name>{_PART}\.{_PART}\.{_PART})"
    r"(?:\s+COMMENT\s+'[^']*')?\s*;?\s*",
    re.IGNORECASE,
)


class Parameter(BaseModel):
    """A value for a ``:name`` marker; without a value it is NULL."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    value: str | None = None
    type: str = Field(default="STRING", pattern=r"^[A-Za-z_]+(\(\d+(,\s*\d+)?\))?$")  # it becomes part of a statement


@dataclass
class Statement:
    """A statement and what became of it. Written by its thread, read by calls."""

    id: str
    text: str
    parameters: Sequence[Parameter]
    schema: str | None
    row_limit: int | None
    started: bool = False
    ended_as: State | None = None
    error: dict[str, str] = field(default_factory=dict)
    sql_state: str | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[list[list[str | None]]] = field(default_factory=list)
    result_bytes: int = 0  # in its chunks
    truncated: bool = False
    ended: threading.Event = field(default_factory=threading.Event)  # its last state is known
    ended_at: float = 0.0
    left: threading.Event = field(default_factory=threading.Event)  # its thread has let go of Spark

    @property
    def state(self) -> State:
        """Its state now."""
        return self.ended_as or ("RUNNING" if self.started else "PENDING")

    def end(self, state: State) -> None:
        """Give it its last state; the first one stays."""
        if self.ended_as is None:
            self.ended_as, self.ended_at = state, time.monotonic()
            self.ended.set()


class Warehouse:
    """The one SQL warehouse: a Spark session that starts in the background."""

    def __init__(self, volumes: Volumes, start: "Callable[[], SparkSession]") -> None:
        self._volumes, self._start = volumes, start
        self._places = threading.BoundedSemaphore(THREADS)
        self._spark: Future[SparkSession] = Future()
        self._statements: dict[str, Statement] = {}
        self._catalog = threading.Lock()  # one thread at a time looks for tables of other processes
        self._changing = 0  # statements at work that make or drop tables: meanwhile what is half done must not be found

    def boot(self) -> None:
        """Start Spark without waiting for it."""
        threading.Thread(target=self._boot, name="spark", daemon=True).start()

    def _boot(self) -> None:
        try:
            self._spark.set_result(self._start())
        except BaseException as error:  # whatever it is, those who wait must hear of it
            self._spark.set_exception(error)
            traceback.print_exc()
            _leave()

    @property
    def state(self) -> Literal["STARTING", "RUNNING", "STOPPED"]:
        """State of the warehouse."""
        if not self._spark.done():
            return "STARTING"
        return "STOPPED" if self._spark.exception() else "RUNNING"

    def stop(self) -> None:
        """Stop Spark; statements that still run fail."""
        if self.state == "RUNNING":
            self._spark.result().stop()

    def submit(
        self, text: str, parameters: Sequence[Parameter] = (), schema: str | None = None, row_limit: int | None = None
    ) -> Statement:
        """Start a statement."""
        for old in outdated(list(self._statements.values()), time.monotonic()):
            self._statements.pop(old.id, None)
        statement = Statement(str(uuid.uuid4()), text, parameters, schema, row_limit)
        self._statements[statement.id] = statement
        # A daemon thread: the process must be able to end while a statement waits for Spark.
        threading.Thread(target=self._run, args=[statement], name=f"statement {statement.id}", daemon=True).start()
        return statement

    def statement(self, statement_id: str) -> Statement:
        """A statement by its id.

        Raises:
            ApiError: unknown, or gone.
        """
        if statement_id not in self._statements:
            raise ApiError(404, "NOT_FOUND", f"The statement {statement_id} was not found.")
        return self._statements[statement_id]

    def cancel(self, statement: Statement) -> None:
        """Cancel a statement; nothing if it has ended."""
        statement.end("CANCELED")
        threading.Thread(target=self._cancel_jobs, args=[statement], daemon=True).start()

    def _cancel_jobs(self, statement: Statement) -> None:
        """Cancel its Spark jobs until none can follow: a statement that is still being planned has none yet."""
        while not statement.left.wait(0.2):
            if self.state == "RUNNING":
                self._spark.result().sparkContext.cancelJobGroup(statement.id)

    def _run(self, statement: Statement) -> None:
        try:
            session = self._spark.result().newSession()
            with self._places:
                self._run_in(session, statement)
            statement.end("SUCCEEDED")
        except Exception as error:  # every failure is an answer to the caller
            statement.error, statement.sql_state = _explain(error)
            statement.end("FAILED")
            _leave_when_spark_is_gone(error)
        finally:
            statement.left.set()

    def _run_in(self, session: "SparkSession", statement: Statement) -> None:
        if statement.ended.is_set():  # cancelled while it waited
            return
        statement.started = True
        session.sparkContext.setJobGroup(statement.id, statement.text[:200], interruptOnCancel=True)
        changes_catalog = bool(_CHANGES_CATALOG.match(statement.text))
        with self._catalog:
            if not self._changing:
                register_tables(session)
            self._changing += changes_catalog
        try:
            self._execute(session, statement)
        finally:
            with self._catalog:
                self._changing -= changes_catalog

    def _execute(self, session: "SparkSession", statement: Statement) -> None:
        if volume := _CREATE_VOLUME.fullmatch(statement.text):
            self._create_volume(volume)
            return
        if statement.schema:
            session.catalog.setCurrentDatabase(statement.schema)
        # All typed through Spark's own cast: "a value is correct if it can be converted with the cast function".
        frame = described(session, statement.text)
        if frame is None:
            frame = session.sql(statement.text, args=_literals(session, statement.parameters) or None)
        statement.columns = describe(frame)
        if statement.row_limit is not None:
            frame = frame.limit(statement.row_limit + 1)
        rows = [list(row) for row in as_text(frame).collect()] if frame.columns else []
        if statement.row_limit is not None and len(rows) > statement.row_limit:
            statement.truncated = True
            del rows[statement.row_limit :]
        size = sum(map(_bytes_of, rows))
        if size > INLINE_BYTES:
            raise ValueError(
                f"Inline byte limit exceeded. Statements executed with disposition=INLINE can have a result size of at "
                f"most {INLINE_BYTES} bytes. Please execute the statement with disposition=EXTERNAL_LINKS."
            )
        statement.chunks, statement.result_bytes = list(_chunks(rows)), size

    def _create_volume(self, match: re.Match[str]) -> None:
        """Unity Catalog's volumes are no part of open-source Spark."""
        name = [part.strip("`") for part in re.findall(_PART, match["name"])]
        if not self._volumes.create(*name) and not match["if_not_exists"]:
            raise ValueError(f"[VOLUME_ALREADY_EXISTS] Cannot create volume {match['name']}: it already exists.")


def outdated(statements: Sequence[Statement], now: float) -> list[Statement]:
    """Ended statements that are forgotten: each after an hour, and the oldest when all take too much memory.

    Args:
        statements: All, the oldest first.
        now: Of the monotonic clock, in seconds.
    """
    found, kept = [], 0
    for statement in reversed(statements):
        kept += statement.result_bytes
        if statement.ended.is_set() and (now - statement.ended_at > KEPT_SECONDS or kept > KEPT_BYTES):
            found.append(statement)
    return found


def _literals(session: "SparkSession", parameters: Sequence[Parameter]) -> "dict[str, Column]":
    """The parameters as literals of exactly their declared types, for the markers of a statement."""
    if not parameters:
        return {}
    from pyspark.sql import Column, functions

    casts = ", ".join(f"CAST(:p{index} AS {parameter.type})" for index, parameter in enumerate(parameters))
    texts = {f"p{index}": functions.lit(parameter.value) for index, parameter in enumerate(parameters)}
    # sql() takes literals only; the optimizer has turned each cast into one. A bad value fails here, as it should.
    plan = session.sql(f"SELECT {casts}", args=texts)._jdf.queryExecution().optimizedPlan()
    to_column = session._jvm.org.apache.spark.sql.classic.ExpressionUtils.column
    expressions = plan.expressions()
    return {
        parameter.name: Column(to_column(expressions.apply(index).child()))
        for index, parameter in enumerate(parameters)
    }


def _bytes_of(row: Sequence[str | None]) -> int:
    return sum(len(value or "") for value in row) + len(row)


def _chunks(rows: list[list[str | None]]) -> Iterator[list[list[str | None]]]:
    chunk: list[list[str | None]] = []
    size = 0
    for row in rows:
        bytes_of_row = _bytes_of(row)
        if chunk and size + bytes_of_row > CHUNK_BYTES:
            yield chunk
            size, chunk = 0, []
        size += bytes_of_row
        chunk.append(row)
    if chunk:
        yield chunk


def _explain(error: Exception) -> tuple[dict[str, str], str | None]:
    """``status.error`` and ``status.sql_state``."""
    from pyspark.errors import PySparkException

    if isinstance(error, PySparkException):
        return {"error_code": "BAD_REQUEST", "message": str(error)}, error.getSqlState()
    if isinstance(error, ValueError):
        return {"error_code": "BAD_REQUEST", "message": str(error)}, None
    return {"error_code": "INTERNAL_ERROR", "message": f"{type(error).__name__}: {error}"}, None


def _leave_when_spark_is_gone(error: Exception) -> None:
    """Without its JVM the stand-in is of no use: it ends, and whoever supervises it starts it again."""
    from py4j.protocol import Py4JNetworkError

    if isinstance(error, Py4JNetworkError | ConnectionError):
        _leave()


def _leave() -> None:
    """End this process in order."""
    os.kill(os.getpid(), signal.SIGTERM)
