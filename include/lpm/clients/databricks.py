"""Databricks over the Airflow provider's hook: jobs, SQL statements, files in volumes, secrets.

The hook repeats a call after any server error, which is right for reading and for calls that may be made twice. It is
not right for calls that must not happen twice (creating a job, a statement that writes), it cannot PUT, and it logs
what it sends when debug logging is on. Those calls are made here, with the hook's address, token and proxies.
"""

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from lpm.config import Environment

if TYPE_CHECKING:
    import requests
    from airflow.providers.databricks.hooks.databricks import DatabricksHook

TRIES = 5  # of a call of ours that is throttled
LONGEST_WAIT_SECONDS = 60.0  # for one Retry-After
REQUEST_TIMEOUT_SECONDS = 180.0
STATEMENT_WAIT_SECONDS = 30  # how long the first call waits for a statement; the API takes 5 to 50
POLL_SECONDS = (0.2, 5.0)  # first and longest pause between two looks at a statement
ACTIVE = ("QUEUED", "PENDING", "RUNNING", "TERMINATING", "BLOCKED", "WAITING_FOR_RETRY")

SqlValue = str | int | float | bool | Decimal | datetime.date | datetime.datetime | None
Settings = Mapping[str, Any]  # the Jobs API's own JSON: rendered, compared and sent, never interpreted


class DatabricksError(RuntimeError):
    """Databricks refused a call or could not be reached. The message names the call and the next step."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status  # HTTP status, None when there was no answer


class StatementFailed(DatabricksError):  # noqa: N818  reads as what happened
    """A SQL statement was refused, failed or did not end in time."""


@dataclass(frozen=True)
class SqlResult:
    """Rows of a statement. Every value is Databricks' text for it, or None for NULL."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]

    def records(self) -> list[dict[str, str | None]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Job:
    """A job and its settings as Databricks stores them."""

    id: int
    name: str
    settings: Settings

    @property
    def is_paused(self) -> bool:
        """Whether a continuous job is configured to start no new run."""
        return bool(self.settings.get("continuous", {}).get("pause_status") == "PAUSED")


@dataclass(frozen=True)
class Run:
    """One run of a job. Times are UTC; ``result`` and ``ended_at`` are None while it is active."""

    id: int
    job_id: int
    state: str  # PENDING, RUNNING, TERMINATING, TERMINATED, SKIPPED, INTERNAL_ERROR, ...
    result: str | None  # SUCCESS, FAILED, CANCELED, ...
    message: str
    started_at: datetime.datetime
    ended_at: datetime.datetime | None
    task_run_ids: tuple[int, ...]
    page: str  # address of the run's page

    @property
    def is_active(self) -> bool:
        """Whether it still holds the job's one place."""
        return self.state in ACTIVE


class DatabricksClient:
    """One workspace, through an Airflow connection of type ``databricks``.

    Args:
        connection: Airflow connection id. ``AIRFLOW_CONN_<ID>`` in the environment serves without Airflow's database.
        warehouse_id: SQL warehouse that statements run on.
    """

    def __init__(self, connection: str, warehouse_id: str = "") -> None:
        self.connection = connection
        self.warehouse_id = warehouse_id

    @classmethod
    def of(cls, environment: Environment) -> "DatabricksClient":
        """The workspace of an environment."""
        return cls(environment.databricks.connection, environment.databricks.warehouse_id)

    def require_connection(self) -> None:
        """Find out now whether the Airflow connection exists, for a person who can still create it.

        Raises:
            DatabricksError: it does not.
        """
        from airflow.providers.common.compat.sdk import AirflowException

        try:
            self._hook.get_connection(self.connection)
        except AirflowException as error:
            raise DatabricksError(
                f"there is no Airflow connection {self.connection!r}: {error}\n"
                f"Next step: create it in Airflow, or set AIRFLOW_CONN_{self.connection.upper()} to its JSON or URI."
            ) from error

    # SQL

    def sql(self, statement: str, parameters: Mapping[str, SqlValue] | None = None) -> list[dict[str, str | None]]:
        """Run a statement and return its rows by column name; see :meth:`run_sql`."""
        return self.run_sql(statement, parameters).records()

    def run_sql(
        self, statement: str, parameters: Mapping[str, SqlValue] | None = None, timeout_seconds: float = 900
    ) -> SqlResult:
        """Run a statement on the warehouse and wait for its end. Never sent twice, so safe for statements that write.

        Args:
            statement: One statement; parameters appear as ``:name``.
            parameters: Values for the markers, sent with their types: nothing is pasted into the text.
            timeout_seconds: After that the statement is cancelled.

        Raises:
            StatementFailed: it failed, was cancelled or took longer; names its first line and the next step.
            DatabricksError: the call itself was refused.
        """
        answer = self._call(
            "POST",
            "2.0/sql/statements",
            {
                "warehouse_id": self.warehouse_id,
                "statement": statement,
                "parameters": [_parameter(name, value) for name, value in (parameters or {}).items()],
                "wait_timeout": f"{STATEMENT_WAIT_SECONDS}s",
                "on_wait_timeout": "CONTINUE",
                "disposition": "INLINE",
                "format": "JSON_ARRAY",
            },
        )
        answer = self._until_ended(answer, statement, timeout_seconds)
        status = answer["status"]
        if status["state"] != "SUCCEEDED":
            error = status.get("error", {})
            raise StatementFailed(
                f"statement on {self.connection} ended as {status['state']}: {first_line(statement)}\n"
                f"{error.get('error_code', 'no error code')}: {error.get('message', 'no message')}\n"
                f"Next step: run it in the SQL editor of the workspace as the connection's principal and see."
            )
        return self._rows(answer)

    def _until_ended(self, answer: dict[str, Any], statement: str, timeout_seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_seconds
        path, pause = f"2.0/sql/statements/{answer['statement_id']}", POLL_SECONDS[0]
        while answer["status"]["state"] in ("PENDING", "RUNNING"):
            if time.monotonic() > deadline:
                self._hook.cancel_sql_statement(answer["statement_id"])
                raise StatementFailed(
                    f"statement on {self.connection} took longer than {timeout_seconds:g} s and was cancelled: "
                    f"{first_line(statement)}\nNext step: see its query profile; raise the timeout if it is just slow."
                )
            time.sleep(pause)
            pause = min(pause * 1.5, POLL_SECONDS[1])
            answer = self._get(path)
        return answer

    def _rows(self, answer: dict[str, Any]) -> SqlResult:
        columns = answer["manifest"]["schema"].get("columns", [])
        rows: list[tuple[str | None, ...]] = []
        chunk = answer.get("result", {})
        while True:
            rows += map(tuple, chunk.get("data_array") or [])
            if (following := chunk.get("next_chunk_index")) is None:
                return SqlResult(tuple(column["name"] for column in columns), tuple(rows))
            chunk = self._get(f"2.0/sql/statements/{answer['statement_id']}/result/chunks/{following}")

    # Jobs

    def find_job(self, name: str) -> Job | None:
        """The job of that name with all its settings, or None.

        Raises:
            DatabricksError: several jobs have the name; names them.
        """
        found = self._through_hook(f"list jobs named {name!r}", lambda: self._hook.list_jobs(job_name=name))
        if len(found) > 1:
            ids = ", ".join(str(job["job_id"]) for job in found)
            raise DatabricksError(
                f"{len(found)} jobs on {self.connection} are named {name!r}: {ids}\n"
                "Next step: delete all but one in the Jobs page of the workspace."
            )
        return self.job(int(found[0]["job_id"])) if found else None

    def job(self, job_id: int) -> Job:
        """A job by its id."""
        answer = self._get("2.2/jobs/get", {"job_id": job_id})
        return Job(job_id, answer["settings"].get("name", ""), answer["settings"])

    def create_job(self, settings: Settings) -> int:
        """Create a job and return its id. Sent once: after a lost answer, find it by name before creating again."""
        return int(self._call("POST", "2.2/jobs/create", dict(settings))["job_id"])

    def reset_job(self, job_id: int, settings: Settings) -> None:
        """Replace all settings. A run that is active keeps the old ones: cancel it to apply them."""
        self._through_hook(f"reset job {job_id}", lambda: self._hook.reset_job(str(job_id), dict(settings)))

    def set_paused(self, job_id: int, paused: bool) -> None:
        """Pause or resume a continuous job. Pausing does not stop an active run: cancel it afterwards."""
        # A top-level field is replaced whole, so the rest of the block is sent back as it is.
        continuous = {**self.job(job_id).settings["continuous"], "pause_status": "PAUSED" if paused else "UNPAUSED"}
        self._through_hook(
            f"{'pause' if paused else 'resume'} job {job_id}",
            lambda: self._hook.update_job(str(job_id), {"continuous": continuous}),
        )

    def delete_job(self, job_id: int) -> None:
        """Delete a job; its active runs are cancelled by Databricks."""
        self._call("POST", "2.2/jobs/delete", {"job_id": job_id})

    def run_now(self, job_id: int, named_parameters: Mapping[str, str]) -> int:
        """Start a run and return its id. A lost answer starts no second one.

        Args:
            job_id: The job.
            named_parameters: Every named parameter of its wheel task; they stand instead of those of the job.
        """
        body = {
            "job_id": job_id,
            "python_named_params": dict(named_parameters),
            "idempotency_token": uuid4().hex,
        }
        return int(self._call("POST", "2.2/jobs/run-now", body, repeatable=True)["run_id"])

    def active_runs(self, job_id: int) -> list[Run]:
        """The runs that are queued, pending, running or terminating, newest first."""
        return self._runs({"job_id": job_id, "active_only": "true"})

    def latest_runs(self, job_id: int, count: int = 5) -> list[Run]:
        """The newest runs, active or not, newest first; at most 24."""
        return self._runs({"job_id": job_id, "limit": count}, pages=1)

    def run(self, run_id: int) -> Run:
        """A run by its id."""
        return _run(self._get("2.2/jobs/runs/get", {"run_id": run_id}))

    def run_error(self, run: Run) -> str:
        """Why a run failed: the error and its trace as Databricks kept them; empty when there are none."""
        outputs = [self._get("2.2/jobs/runs/get-output", {"run_id": run_id}) for run_id in run.task_run_ids]
        texts = [output.get("error_trace") or output.get("error") or "" for output in outputs]
        return "\n".join(text for text in texts if text)

    def run_output(self, run: Run) -> str:
        """What a run printed: the last 5 MB of its tasks' logs, where Databricks kept them."""
        outputs = [self._get("2.2/jobs/runs/get-output", {"run_id": run_id}) for run_id in run.task_run_ids]
        return "\n".join(output.get("logs") or "" for output in outputs)

    def cancel_run(self, run_id: int) -> None:
        """Ask for a run to be cancelled; it may go on for a while. An unpaused continuous job starts a new one."""
        self._through_hook(f"cancel run {run_id}", lambda: self._hook.cancel_run(run_id))

    def _runs(self, query: dict[str, Any], pages: int | None = None) -> list[Run]:
        runs, page = [], 0
        while True:
            answer = self._get("2.2/jobs/runs/list", {**query, "expand_tasks": "true"})
            runs += [_run(run) for run in answer.get("runs", [])]
            page += 1
            token = answer.get("next_page_token")
            if not token or page == pages:
                return runs
            query = {**query, "page_token": token}

    # Files and secrets

    def upload(self, path: str, content: bytes) -> None:
        """Write a file of a volume, its folders included; what is there is overwritten.

        Args:
            path: ``/Volumes/<catalog>/<schema>/<volume>/…``
            content: The bytes; at most 5 GiB.
        """
        folder = path.rpartition("/")[0]
        self._call("PUT", f"2.0/fs/directories{quote(folder)}", repeatable=True)
        self._call("PUT", f"2.0/fs/files{quote(path)}?overwrite=true", content, repeatable=True)

    def file_exists(self, path: str) -> bool:
        """Whether a volume has that file."""
        try:
            self._call("HEAD", f"2.0/fs/files{quote(path)}", repeatable=True)
        except DatabricksError as error:
            if error.status == 404:
                return False
            raise
        return True

    def ensure_scope(self, scope: str) -> bool:
        """Create a secret scope unless it is there; whether it was created."""
        scopes = self._get("2.0/secrets/scopes/list").get("scopes", [])
        if scope in [known["name"] for known in scopes]:
            return False
        self._call("POST", "2.0/secrets/scopes/create", {"scope": scope})
        return True

    def put_secret(self, scope: str, key: str, value: str) -> None:
        """Write a secret. Databricks cannot tell whether it changed: values are never given back."""
        body = {"scope": scope, "key": key, "string_value": value}
        self._call("POST", "2.0/secrets/put", body, repeatable=True)

    def secret_keys(self, scope: str) -> list[str]:
        """Names of the secrets of a scope."""
        return [secret["key"] for secret in self._get("2.0/secrets/list", {"scope": scope}).get("secrets", [])]

    # Calls

    @cached_property
    def _hook(self) -> "DatabricksHook":
        from airflow.providers.databricks.hooks.databricks import DatabricksHook

        return DatabricksHook(self.connection, caller="lpm")

    def _get(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._through_hook(
            f"GET {path}", lambda: self._hook._do_api_call(("GET", path), query or {})
        )
        return answer

    def _through_hook(self, what: str, call: Callable[[], Any]) -> Any:
        from airflow.providers.common.compat.sdk import AirflowException

        try:
            return call()
        except AirflowException as error:
            raise self._failure(what, str(error), getattr(error, "http_status_code", None)) from error

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None, repeatable: bool = False
    ) -> dict[str, Any]:
        """One call of ours. Throttled ones (429, 503) were not executed and are tried again, as the vendor's SDK does.

        Args:
            method: HTTP method.
            path: What follows ``/api/``.
            body: JSON, or bytes as they are.
            repeatable: Whether doing it twice is the same as once; then server errors and lost answers are retried.
        """
        import requests

        for attempt in range(1, TRIES + 1):
            try:
                response = self._send(method, path, body)
            except requests.RequestException as error:
                if not (repeatable or isinstance(error, requests.ConnectTimeout)) or attempt == TRIES:
                    raise self._failure(f"{method} {path}", str(error), None) from error
                wait = float(attempt)
            else:
                if response.ok:
                    answer: dict[str, Any] = response.json() if response.content and method != "HEAD" else {}
                    return answer
                throttled = response.status_code in (429, 503)
                if not (throttled or (repeatable and response.status_code >= 500)) or attempt == TRIES:
                    raise self._failure(f"{method} {path}", response.text, response.status_code)
                wait = _retry_after(response.headers.get("Retry-After"), attempt)
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | bytes | None) -> "requests.Response":
        import requests

        hook = self._hook
        is_bytes = isinstance(body, bytes)
        headers = {**hook.user_agent_header, **hook._get_aad_headers()}
        if is_bytes:
            headers["Content-Type"] = "application/octet-stream"
        headers["Authorization"] = f"Bearer {hook._get_token(raise_error=True)}"
        return requests.request(
            method,
            hook._endpoint_url(f"api/{path}"),
            headers=headers,
            data=body if is_bytes else None,
            json=None if is_bytes else body,
            timeout=REQUEST_TIMEOUT_SECONDS,
            proxies=hook.proxies,
        )

    def _failure(self, what: str, answer: str, status: int | None) -> DatabricksError:
        next_step = {
            None: "check that the workspace can be reached from here: address, network, proxy",
            401: "check the token of the connection",
            403: "check the token of the connection and the rights of its principal",
            404: "check the name and whether it was created; the bootstrap procedure makes what is missing",
            429: "wait and start again; if it stays, lower the number of parallel procedures",
        }.get(status, "read the answer above; the workspace's audit log has the call")
        code = f" with HTTP {status}" if status else ""
        return DatabricksError(f"{what} on {self.connection} failed{code}: {answer}\nNext step: {next_step}", status)


def first_line(statement: str) -> str:
    """The first line of a statement, shortened to 200 characters, for messages."""
    line = statement.strip().partition("\n")[0]
    return line if len(line) <= 200 else line[:199] + "…"


def _parameter(name: str, value: SqlValue) -> dict[str, str]:
    """A value as the Statement Execution API takes it; without a value it is NULL."""
    match value:
        case None:
            return {"name": name, "type": "STRING"}
        case bool():
            kind, text = "BOOLEAN", str(value).lower()
        case int():
            kind, text = "BIGINT", str(value)
        case float():
            kind, text = "DOUBLE", repr(value)
        case Decimal():
            kind, text = f"DECIMAL(38,{max(0, -int(value.as_tuple().exponent))})", f"{value:f}"
        case datetime.datetime():
            kind, text = "TIMESTAMP", value.isoformat()
        case datetime.date():
            kind, text = "DATE", value.isoformat()
        case _:
            kind, text = "STRING", value
    return {"name": name, "type": kind, "value": text}


def _run(answer: Mapping[str, Any]) -> Run:
    state = answer["state"]
    tasks: Sequence[Mapping[str, Any]] = answer.get("tasks", [])
    return Run(
        id=int(answer["run_id"]),
        job_id=int(answer["job_id"]),
        state=state["life_cycle_state"],
        result=state.get("result_state"),
        message=state.get("state_message", ""),
        started_at=_moment(answer["start_time"]),
        ended_at=_moment(answer["end_time"]) if answer.get("end_time") else None,
        task_run_ids=tuple(int(task["run_id"]) for task in tasks),
        page=answer.get("run_page_url", ""),
    )


def _moment(epoch_milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(epoch_milliseconds / 1000, datetime.UTC)


def _retry_after(header: str | None, attempt: int) -> float:
    """Seconds to wait: what the server asks for, in bounds; else a second more each time."""
    try:
        return min(max(float(header or ""), 0.0), LONGEST_WAIT_SECONDS)
    except ValueError:
        return float(attempt)
