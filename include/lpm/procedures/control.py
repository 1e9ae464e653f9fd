"""Pause, resume and restart the two moving parts: the stream job and the router."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from lpm.clients.azure_resource_manager import AzureError, ResourceManager
from lpm.clients.databricks import DatabricksClient, Job
from lpm.clients.stream_analytics import StreamingJobs
from lpm.config import Config, Environment
from lpm.config.errors import did_you_mean
from lpm.procedures.deploy_router import job_names, start_jobs
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.procedures.waiting import wait_until
from lpm.render.names import stream_job_name

RUN_END_SECONDS = 300.0  # a cancelled run gives its cluster back
NEW_RUN_SECONDS = 600.0  # a continuous job starts a new run within a minute; a cluster takes some more


class Action(StrEnum):
    """What to do with a part."""

    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"


class Part(StrEnum):
    """What to do it with."""

    STREAM = "stream"
    ROUTER = "router"
    ALL = "all"

    def covers(self, part: "Part") -> bool:
        """Whether a request for this part is one for ``part``."""
        return self in (part, Part.ALL)


def control_stream(environment: Environment, databricks: DatabricksClient, action: Action) -> Outcome:
    """Pause, resume or restart the stream job. It goes on at its checkpoint: nothing is lost or skipped.

    Raises:
        ProcedureError: there is no such job, it is paused and asked to restart, or a run does not end or begin in time.
    """
    job = stream_job(environment, databricks)
    match action:
        case Action.PAUSE:
            if not job.is_paused:
                databricks.set_paused(job.id, True)
            cancelled = end_runs(databricks, job)
            if job.is_paused and not cancelled:
                return Outcome(False, f"no change: {job.name} is paused")
            return Outcome(True, f"paused {job.name}", cancelled)
        case Action.RESUME:
            if not job.is_paused:
                return Outcome(False, f"no change: {job.name} is not paused")
            databricks.set_paused(job.id, False)
            return Outcome(True, f"resumed {job.name}", (await_run(databricks, job),))
        case Action.RESTART:
            if job.is_paused:
                raise ProcedureError(f"{job.name} is paused\nNext step: run control with action resume.")
            cancelled = end_runs(databricks, job)
            return Outcome(True, f"restarted {job.name}", (*cancelled, await_run(databricks, job)))


def control_router(
    config: Config, environment: Environment, manager: ResourceManager, action: Action, shards: Sequence[str] = ()
) -> Outcome:
    """Pause, resume or restart the streaming jobs of some shards, of all when none is named.

    Raises:
        ProcedureError: a shard is unknown, or jobs failed; the others were still seen to.
    """
    names = job_names(config, environment, known_shards(config, shards))
    jobs = StreamingJobs(manager)
    lines: list[str] = []
    failures: list[str] = []
    for name in names:  # one job's trouble must not keep the others from being seen to
        try:
            if action in (Action.PAUSE, Action.RESTART) and jobs.stop(name):
                lines.append(f"stopped {name}")
            if action in (Action.RESUME, Action.RESTART):
                lines += start_jobs(environment, jobs, [name])
        except AzureError as error:
            failures.append(str(error))
    if failures:
        raise ProcedureError(
            "\n".join([f"{action} failed for {len(failures)} of {len(names)} jobs", *failures, *lines])
        )
    if not lines:
        return Outcome(False, f"no change: {len(names)} streaming jobs are {_state(action)}")
    return Outcome(True, f"{len(names)} streaming jobs are {_state(action)}", tuple(lines))


def known_shards(config: Config, shards: Sequence[str]) -> tuple[str, ...]:
    """The shards asked for, all when none is.

    Raises:
        ProcedureError: a shard is not in the configuration; names the nearest that is.
    """
    for shard in shards:
        if shard not in config.shards:
            known = ", ".join(config.shards)
            near = did_you_mean(shard, config.shards)
            raise ProcedureError(f"unknown shard {shard!r}; expected some of {known}{near}")
    return tuple(shards) or config.shards


def stream_job(environment: Environment, databricks: DatabricksClient) -> Job:
    """The stream job.

    Raises:
        ProcedureError: it was never deployed.
    """
    name = stream_job_name(environment)
    if job := databricks.find_job(name):
        return job
    raise ProcedureError(f"there is no Databricks job {name}\nNext step: run deploy_stream, which creates it.")


def _has_ended(databricks: DatabricksClient, run_id: int) -> bool:
    return not databricks.run(run_id).is_active


def end_runs(databricks: DatabricksClient, job: Job) -> tuple[str, ...]:
    """Cancel the job's active runs and wait until they have ended."""
    runs = databricks.active_runs(job.id)
    for run in runs:
        databricks.cancel_run(run.id)
    for run in runs:
        wait_until(
            partial(_has_ended, databricks, run.id),
            f"end of run {run.id} of {job.name}",
            RUN_END_SECONDS,
            f"see {run.page}; cancel it there.",
        )
    return tuple(f"cancelled run {run.id}" for run in runs)


def await_run(databricks: DatabricksClient, job: Job) -> str:
    """Wait until the job has a run again."""
    seconds = wait_until(
        lambda: any(run.state == "RUNNING" for run in databricks.active_runs(job.id)),
        f"new run of {job.name}",
        NEW_RUN_SECONDS,
        "see the job's page in the workspace: after failures Databricks waits longer and longer before the next run.",
    )
    return f"a new run is there after {seconds:.0f} s"


def _state(action: Action) -> str:
    return "stopped" if action is Action.PAUSE else "running"
