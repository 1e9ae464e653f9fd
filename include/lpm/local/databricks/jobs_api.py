"""The Jobs API 2.2."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from lpm.local.databricks.errors import beyond_stand_in, invalid
from lpm.local.databricks.jobs import Job, Settings, now
from lpm.local.databricks.runs import Run
from lpm.local.databricks.scheduler import Scheduler, page

_STATUS = {
    "SKIPPED": "TERMINATED",
    "INTERNAL_ERROR": "TERMINATED",
}  # life cycle state -> status.state where they differ
_FAULT_OF_CLIENT = ("RUN_EXECUTION_ERROR", "INVALID_RUN_CONFIGURATION", "LIBRARY_INSTALLATION_ERROR")


class JobReference(BaseModel):
    """Body that names a job."""

    job_id: int


class RunReference(BaseModel):
    """Body that names a run."""

    run_id: int


class Reset(BaseModel):
    """Body of jobs/reset."""

    model_config = ConfigDict(extra="forbid")
    job_id: int
    new_settings: Settings


class Update(BaseModel):
    """Body of jobs/update."""

    model_config = ConfigDict(extra="forbid")
    job_id: int
    new_settings: Settings = {}
    fields_to_remove: list[str] = []


class RunQuery(BaseModel):
    """Query of runs/list."""

    job_id: int | None = None
    active_only: bool = False
    completed_only: bool = False
    limit: int = Field(default=20, ge=0, le=25)
    expand_tasks: bool = False
    page_token: str | None = None

    @property
    def active(self) -> bool | None:
        """Whether to list active runs, ended runs, or both.

        Raises:
            ApiError: both are excluded.
        """
        if self.active_only and self.completed_only:
            raise invalid("active_only and completed_only cannot both be true.")
        return True if self.active_only else False if self.completed_only else None


class RunNow(BaseModel):
    """Body of jobs/run-now; what it may hold besides, the stand-in cannot do."""

    model_config = ConfigDict(extra="allow")
    job_id: int
    idempotency_token: str | None = None
    python_named_params: dict[str, str] | None = None


def routes(scheduler: Scheduler) -> APIRouter:
    """Jobs and runs."""
    router = APIRouter(prefix="/api/2.2/jobs")
    _job_routes(router, scheduler)
    _run_routes(router, scheduler)
    return router


def _job_routes(router: APIRouter, scheduler: Scheduler) -> None:
    @router.post("/create")
    async def create(settings: Settings) -> dict[str, int]:
        return {"job_id": scheduler.create(settings).job_id}

    @router.post("/reset")
    async def reset(body: Reset) -> dict[str, Any]:
        scheduler.reset(body.job_id, body.new_settings)
        return {}

    @router.post("/update")
    async def update(body: Update) -> dict[str, Any]:
        scheduler.update(body.job_id, body.new_settings, body.fields_to_remove)
        return {}

    @router.post("/delete")
    async def delete(body: JobReference) -> dict[str, Any]:
        scheduler.delete(body.job_id)
        return {}

    @router.get("/get")
    async def get(job_id: int, include_trigger_state: bool = False) -> dict[str, Any]:
        job = scheduler.job(job_id)
        answer = {**_job(job, expand=True), "run_as_user_name": _run_as(job)}
        return {**answer, "trigger_state": job.trigger_state()} if include_trigger_state else answer

    @router.get("/list")
    async def list_jobs(
        name: str | None = None,
        limit: int = Query(20, ge=1, le=100),
        expand_tasks: bool = False,
        page_token: str | None = None,
    ) -> dict[str, Any]:
        found, following = page(scheduler.jobs(name), limit, page_token)
        return _page("jobs", [_job(job, expand_tasks) for job in found], following)


def _run_routes(router: APIRouter, scheduler: Scheduler) -> None:
    started_by_token: dict[str, int] = {}  # idempotency token -> run

    @router.post("/run-now")
    async def run_now(body: RunNow) -> dict[str, int]:
        if body.model_extra:
            raise beyond_stand_in(f"run-now with {', '.join(body.model_extra)}")
        run_id = started_by_token.get(body.idempotency_token or "")
        if run_id is None:
            run_id = scheduler.run_now(body.job_id, body.python_named_params).run_id
            if body.idempotency_token:
                started_by_token[body.idempotency_token] = run_id
        return {"run_id": run_id, "number_in_job": run_id}

    @router.get("/runs/get")
    async def get_run(run_id: int, request: Request) -> dict[str, Any]:
        return _run(scheduler.run(run_id), request, expand=True)

    @router.get("/runs/list")
    async def list_runs(query: Annotated[RunQuery, Query()], request: Request) -> dict[str, Any]:
        found, following = page(scheduler.runs(query.job_id, query.active), query.limit or 25, query.page_token)
        return _page("runs", [_run(run, request, query.expand_tasks) for run in found], following)

    @router.get("/runs/get-output")
    async def get_output(run_id: int, request: Request) -> dict[str, Any]:
        run = scheduler.run_of_task(run_id)
        logs, truncated = scheduler.folders.logs(run)
        task = _run(run, request, expand=True)["tasks"][0]
        return {"metadata": task, "logs": logs, "logs_truncated": truncated, **scheduler.folders.error(run)}

    @router.post("/runs/cancel")
    async def cancel(body: RunReference) -> dict[str, Any]:
        scheduler.cancel(body.run_id)
        return {}

    @router.post("/runs/cancel-all")
    async def cancel_all(body: JobReference) -> dict[str, Any]:
        scheduler.job(body.job_id)
        scheduler.cancel_all(body.job_id)
        return {}


def _page(name: str, entries: list[dict[str, Any]], following: str | None) -> dict[str, Any]:
    """A page as 2.2 answers it: no entries, no field; no further page, no token."""
    answer: dict[str, Any] = {name: entries} if entries else {}
    return {**answer, "next_page_token": following} if following else answer


def _job(job: Job, expand: bool) -> dict[str, Any]:
    hidden = () if expand else ("tasks", "job_clusters", "parameters")
    return {
        "job_id": job.job_id,
        "created_time": job.created_time,
        "creator_user_name": _run_as(job),
        "settings": {key: value for key, value in job.settings.items() if key not in hidden},
    }


def _run_as(job: Job) -> str:
    run_as = job.settings.get("run_as") or {}
    return str(run_as.get("service_principal_name") or run_as.get("user_name") or "local")


def _run(run: Run, request: Request, expand: bool) -> dict[str, Any]:
    task = run.settings["tasks"][0]
    common = {
        "state": _state(run),
        "status": _status(run),
        "start_time": run.start_time,
        "end_time": run.end_time,
        "setup_duration": 0,
        "execution_duration": 0 if run.is_active else run.end_time - run.start_time,
        "cleanup_duration": 0,
        "run_page_url": f"{request.base_url}#job/{run.job_id}/run/{run.run_id}",
    }
    answer = {
        **common,
        "job_id": run.job_id,
        "run_id": run.run_id,
        "number_in_job": run.run_id,
        "original_attempt_run_id": run.run_id,
        "run_name": run.name,
        "run_type": "JOB_RUN",
        "format": "MULTI_TASK",
        "trigger": run.trigger,
        "run_duration": (run.end_time or now()) - run.start_time,
    }
    if expand:
        answer["tasks"] = [{**task, **common, "run_id": run.task_run_id, "attempt_number": 0}]
        answer["job_clusters"] = run.settings.get("job_clusters", [])
    return answer


def _state(run: Run) -> dict[str, Any]:
    state: dict[str, Any] = {"life_cycle_state": run.life_cycle_state, "state_message": run.message}
    if run.result_state:
        state["result_state"] = run.result_state
    state["user_cancelled_or_timedout"] = run.result_state == "CANCELED"
    return state


def _status(run: Run) -> dict[str, Any]:
    status: dict[str, Any] = {"state": _STATUS.get(run.life_cycle_state, run.life_cycle_state)}
    if run.code:
        kind = "CLIENT_ERROR" if run.code in _FAULT_OF_CLIENT else "INTERNAL_ERROR"
        kind = "SUCCESS" if run.result_state != "FAILED" else kind
        status["termination_details"] = {"code": run.code, "type": kind, "message": run.message}
    return status
