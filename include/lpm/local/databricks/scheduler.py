"""Jobs and their runs over time: what starts when, what a failure means, what survives a restart.

A continuous job follows the rules that Databricks documents: while its trigger is unpaused one run is always active; a
run that ends is followed by a new one with the newest settings; failures in a row are followed by growing pauses, and a
success, or a run that goes on for long enough, ends the row. Pausing starts no new run and leaves an active one alone.
A job with a queue lets runs that find no place wait, oldest first; without one they are skipped.
Databricks does not publish the lengths: ``Pace`` holds ours. All of it happens on the event loop, so nothing is locked.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from lpm.local.databricks import jobs as job_rules
from lpm.local.databricks.errors import ApiError, invalid
from lpm.local.databricks.jobs import Job, Settings, now
from lpm.local.databricks.runs import LifeCycle, Result, Run, RunFolders, RunProcess, StartError, end_left_over
from lpm.local.files import write_atomically

Item = TypeVar("Item")
StartProcess = Callable[[Run, RunFolders], Awaitable[RunProcess]]
KEPT_RUNS = 30  # ended runs of a job that are kept, with their logs


@dataclass(frozen=True)
class Pace:
    """Lengths in seconds."""

    first_pause: float = 1.0  # after the first failure in a row; doubled after each further one
    longest_pause: float = 30.0
    healthy_after: float = 60.0  # a run of that age ends a row of failures
    cancel_grace: float = 15.0  # between asking a run to end and killing it

    def pause(self, failures: int) -> float:
        """The pause after that many failures in a row."""
        return float(min(self.longest_pause, self.first_pause * 2 ** min(failures - 1, 20))) if failures else 0.0


class Scheduler:
    """All jobs and runs of the stand-in."""

    def __init__(self, folders: RunFolders, pace: Pace, start: StartProcess = RunProcess.start) -> None:
        self.folders, self._pace, self._start_process = folders, pace, start
        self._jobs: dict[int, Job] = {}
        self._runs: dict[int, Run] = {}  # oldest first
        self._processes: dict[int, RunProcess] = {}
        self._failures: dict[int, int] = {}  # in a row, by job
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def restore(self) -> None:
        """Read what an earlier stand-in left, end its runs, and start the runs of unpaused jobs again."""
        for file in sorted((self.folders.folder / "jobs").glob("*.json")):
            job = Job.model_validate_json(file.read_bytes())
            self._jobs[job.job_id] = job
        for run in self.folders.stored():
            self._runs[run.run_id] = run
            if run.is_active:
                await end_left_over(run, self._pace.cancel_grace)
                self._end(run.run_id, "INTERNAL_ERROR", "FAILED", "DRIVER_ERROR", "the workspace was restarted")
        for job_id in self._jobs:
            self._consider(job_id)

    async def stop(self) -> None:
        """End every run; none starts any more."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        await asyncio.gather(*(process.stop(self._pace.cancel_grace) for process in self._processes.values()))
        await asyncio.gather(*self._tasks)

    # Jobs

    def job(self, job_id: int) -> Job:
        """A job.

        Raises:
            ApiError: unknown.
        """
        if job_id not in self._jobs:
            raise invalid(f"Job {job_id} does not exist.")
        return self._jobs[job_id]

    def jobs(self, name: str | None = None) -> list[Job]:
        """The jobs, newest first; those of a name, whatever its case."""
        found = sorted(self._jobs.values(), key=lambda job: job.created_time, reverse=True)
        return [job for job in found if name is None or job.name.lower() == name.lower()]

    def create(self, given: Settings) -> Job:
        """Make a job. A continuous one that is not paused starts its first run."""
        job = Job(job_id=_identifier(), created_time=now(), settings=job_rules.accepted(given))
        self._keep_job(job)
        return job

    def reset(self, job_id: int, given: Settings) -> None:
        """Replace a job's settings. An active run keeps the old ones."""
        self._set(job_id, job_rules.accepted(given))

    def update(self, job_id: int, new: Settings, remove: list[str]) -> None:
        """Change a job's settings in part. An active run keeps the old ones."""
        self._set(job_id, job_rules.updated(self.job(job_id).settings, new, remove))

    def delete(self, job_id: int) -> None:
        """Delete a job; its active runs are cancelled."""
        self.job(job_id)
        del self._jobs[job_id]
        self._job_file(job_id).unlink(missing_ok=True)
        self.cancel_all(job_id)

    def _set(self, job_id: int, settings: Settings) -> None:
        self._failures.pop(job_id, None)  # new settings get a new chance at once
        self._keep_job(self.job(job_id).model_copy(update={"settings": settings, "kickstarted": False}))

    def _keep_job(self, job: Job) -> None:
        self._jobs[job.job_id] = job
        write_atomically(self._job_file(job.job_id), job.model_dump_json(indent=1).encode(), mode=0o600)
        self._consider(job.job_id)

    def _job_file(self, job_id: int) -> Path:
        return self.folders.folder / "jobs" / f"{job_id}.json"

    # Runs

    def run(self, run_id: int) -> Run:
        """A run as it is now.

        Raises:
            ApiError: unknown.
        """
        if run_id not in self._runs:
            raise invalid(f"Run {run_id} does not exist.")
        return self._as_it_is(self._runs[run_id])

    def run_of_task(self, task_run_id: int) -> Run:
        """The run that a task run belongs to.

        Raises:
            ApiError: unknown, or the id of the job's run.
        """
        for run in self._runs.values():
            if run.task_run_id == task_run_id:
                return self._as_it_is(run)
        self.run(task_run_id)
        raise invalid("Retrieving the output of runs with multiple tasks is not supported; use the task's run_id.")

    def runs(self, job_id: int | None = None, active: bool | None = None) -> list[Run]:
        """The runs, newest first."""
        return [
            self._as_it_is(run)
            for run in reversed(self._runs.values())
            if job_id in (None, run.job_id) and active in (None, run.is_active)
        ]

    def run_now(self, job_id: int, named_parameters: dict[str, str] | None = None) -> Run:
        """Run a job now. If its places are taken, the run waits in the job's queue; without one it is skipped."""
        job = self.job(job_id)
        settings = job.settings
        if named_parameters:
            task = settings["tasks"][0]
            wheel_task = {**task["python_wheel_task"], "named_parameters": named_parameters}
            settings = {**settings, "tasks": [{**task, "python_wheel_task": wheel_task}]}
        if not self._has_place(job):
            queued = settings.get("queue", {}).get("enabled")
            return self._queue(job, settings) if queued else self._skip(job, settings)
        if job.is_continuous and not job.keeps_running:
            self._jobs[job_id] = job.model_copy(update={"kickstarted": True})
        return self._start(job, settings, "CONTINUOUS" if job.is_continuous else "ONE_TIME")

    def cancel(self, run_id: int) -> None:
        """Ask a run to end."""
        run = self.run(run_id)
        if run.life_cycle_state == "QUEUED":
            self._end(run_id, "TERMINATED", "CANCELED", "USER_CANCELED", "Run cancelled.")
        elif run.is_active:
            self._change(run_id, life_cycle_state="TERMINATING")
            if process := self._processes.get(run_id):
                self._in_background(process.stop(self._pace.cancel_grace))

    def cancel_all(self, job_id: int) -> None:
        """Ask every run of a job to end."""
        for run in self.runs(job_id, active=True):
            self.cancel(run.run_id)

    def _consider(self, job_id: int) -> None:
        """Start the next run of a continuous job if its time has come."""
        if timer := self._timers.pop(job_id, None):
            timer.cancel()
        job = self._jobs.get(job_id)
        if self._stopping or job is None or not job.keeps_running or self.runs(job_id, active=True):
            return
        self._start(job, job.settings, "CONTINUOUS")

    def _start(self, job: Job, settings: Settings, trigger: Literal["CONTINUOUS", "ONE_TIME"]) -> Run:
        run = self._new_run(job, settings, trigger)
        self._keep_run(run)
        self._in_background(self._carry_out(run))
        return run

    def _new_run(
        self, job: Job, settings: Settings, trigger: Literal["CONTINUOUS", "ONE_TIME"], state: LifeCycle = "PENDING"
    ) -> Run:
        return Run(
            run_id=_identifier(),
            task_run_id=_identifier(),
            job_id=job.job_id,
            name=job.name,
            trigger=trigger,
            settings=settings,
            start_time=now(),
            life_cycle_state=state,
        )

    def _queue(self, job: Job, settings: Settings) -> Run:
        run = self._new_run(job, settings, "ONE_TIME", "QUEUED")
        self._keep_run(run)
        return run

    def _skip(self, job: Job, settings: Settings) -> Run:
        run = self._new_run(job, settings, "ONE_TIME", "SKIPPED").model_copy(
            update={
                "end_time": now(),
                "code": "MAX_CONCURRENT_RUNS_EXCEEDED",
                "message": "An active run already takes the one place.",
            }
        )
        self._keep_run(run)
        return run

    def _has_place(self, job: Job) -> bool:
        taken = [run for run in self.runs(job.job_id, active=True) if run.takes_a_place]
        return len(taken) < int(job.settings["max_concurrent_runs"])

    def _start_queued(self, job: Job) -> None:
        """Start the run that has waited longest, if there is a place for it."""
        waiting = [run for run in self.runs(job.job_id, active=True) if run.life_cycle_state == "QUEUED"]
        if waiting and self._has_place(job):
            self._change(waiting[-1].run_id, life_cycle_state="PENDING")
            self._in_background(self._carry_out(self._runs[waiting[-1].run_id]))

    async def _carry_out(self, run: Run) -> None:
        try:
            process = await self._start_process(run, self.folders)
        except StartError as error:
            self._end(run.run_id, "INTERNAL_ERROR", "FAILED", error.code, str(error))
            return
        except OSError as error:
            self._end(run.run_id, "INTERNAL_ERROR", "FAILED", "CLUSTER_ERROR", f"the process did not start: {error}")
            return
        self._processes[run.run_id] = process
        self._change(run.run_id, process_id=process.id, process_started=process.started)
        if self._runs[run.run_id].life_cycle_state == "TERMINATING" or self._stopping:  # asked while it was starting
            await process.stop(self._pace.cancel_grace)
        exit_code = await process.wait(self._pace.cancel_grace)
        del self._processes[run.run_id]
        self._end_by_exit(self._runs[run.run_id], exit_code)

    def _end_by_exit(self, run: Run, exit_code: int) -> None:
        if run.life_cycle_state == "TERMINATING":
            self._end(run.run_id, "TERMINATED", "CANCELED", "USER_CANCELED", "Run cancelled.")
        elif self._stopping:
            self._end(run.run_id, "INTERNAL_ERROR", "FAILED", "DRIVER_ERROR", "the workspace was stopped")
        elif exit_code == 0:
            self._end(run.run_id, "TERMINATED", "SUCCESS", "SUCCESS", "")
        else:
            error = self.folders.error(run).get("error") or f"the process ended with code {exit_code}"
            message = f"Workload failed, see run output for details: {error} (log: {self.folders.log(run)})"
            self._end(run.run_id, "TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", message)

    def _end(self, run_id: int, state: LifeCycle, result: Result, code: str, message: str) -> None:
        self._change(
            run_id,
            life_cycle_state=state,
            result_state=result,
            code=code,
            message=message,
            end_time=now(),
            process_id=0,
        )
        run = self._runs[run_id]
        self._forget_old(run.job_id)
        job = self._jobs.get(run.job_id)
        if self._stopping or job is None:
            return
        if not job.is_continuous:
            self._start_queued(job)
            return
        self._count(run)
        pause = self._pace.pause(self._failures.get(run.job_id, 0))
        self._timers[run.job_id] = asyncio.get_running_loop().call_later(pause, self._consider, run.job_id)

    def _count(self, run: Run) -> None:
        """Count failures in a row; a success or a long run ends the row."""
        if run.result_state != "FAILED":
            self._failures[run.job_id] = 0
            return
        went_well = (run.end_time - run.start_time) / 1000 > self._pace.healthy_after
        self._failures[run.job_id] = 1 if went_well else self._failures.get(run.job_id, 0) + 1

    def _forget_old(self, job_id: int) -> None:
        for run in self.runs(job_id, active=False)[KEPT_RUNS:]:
            del self._runs[run.run_id]
            self.folders.forget(run)

    def _as_it_is(self, run: Run) -> Run:
        if run.life_cycle_state == "PENDING" and self.folders.has_started(run):
            return run.model_copy(update={"life_cycle_state": "RUNNING"})
        return run

    def _change(self, run_id: int, **values: Any) -> None:
        self._keep_run(self._runs[run_id].model_copy(update=values))

    def _keep_run(self, run: Run) -> None:
        self._runs[run.run_id] = run
        self.folders.save(run)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def page(found: Sequence[Item], limit: int, token: str | None) -> tuple[Sequence[Item], str | None]:
    """A page of a list and the token of the next one.

    Raises:
        ApiError: not a token of ours.
    """
    if token and not token.isdigit():
        raise ApiError(400, "INVALID_PARAMETER_VALUE", f"page_token {token!r} is not valid.")
    start = int(token or 0)
    following = start + limit
    return found[start:following], str(following) if following < len(found) else None


def _identifier() -> int:
    """An id like Databricks' own: long, and in no order."""
    return secrets.randbelow(9 * 10**14) + 10**14
