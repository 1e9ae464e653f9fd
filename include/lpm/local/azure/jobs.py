"""Streaming jobs: their states, their actions, and the worker process of each one that is started.

https://learn.microsoft.com/rest/api/streamanalytics/streaming-jobs
"""

import sys
import time
import uuid

from lpm.local.azure import bodies, worker_files
from lpm.local.azure.errors import AzureError, bad_request, conflict, not_found
from lpm.local.azure.operations import Operation, Operations
from lpm.local.azure.settings import Settings
from lpm.local.azure.start_checks import check_may_start, check_query
from lpm.local.azure.store import Job, JobState, Json, Resource, ResourceId, Store, now
from lpm.local.azure.type_names import STREAMING_JOBS
from lpm.local.azure.worker_files import START
from lpm.local.azure.workers import Command, Workers
from lpm.local.router.job import Progress

IDLE: frozenset[JobState] = frozenset({"Created", "Stopped", "Failed"})  # states in which a job may be changed
STARTED: frozenset[JobState] = frozenset({"Starting", "Running", "Restarting", "Degraded"})
WRONG_STATE = "The Stream Analytics job is not in a valid state to perform this operation."
UP_SECONDS = 60  # longest wait for a worker's first sign of life
DEGRADED_AFTER = 3  # deaths in a row


class Jobs:
    """All streaming jobs."""

    def __init__(self, settings: Settings, store: Store, operations: Operations) -> None:
        self._settings = settings
        self._store = store
        self._operations = operations
        self._workers = Workers(settings.restart_seconds)

    def resume(self) -> None:
        """Go on with the jobs that ran when the stand-in stopped."""
        with self._store.lock:
            for resource in self._store.of_type(STREAMING_JOBS):
                job = self._job(resource)
                if job.state in STARTED:
                    job.state = "Restarting"
                    self._run(resource, job)
                elif job.state == "Stopping":
                    job.state = "Stopped"
            self._store.save()

    def close(self) -> None:
        """End all workers; their jobs stay started for :meth:`resume`."""
        self._workers.close()

    def document(self, resource: Resource, expand: str = "") -> Json:
        """A job as Azure answers it: inputs, outputs, functions and query only when asked for."""
        job = self._refreshed(resource)
        document = resource.document()
        properties = {**document["properties"], "jobState": job.state}
        if job.start_mode:
            properties |= {"outputStartMode": job.start_mode, "outputStartTime": job.start_time}
        if job.last_output_event_time:
            properties["lastOutputEventTime"] = job.last_output_event_time
        wanted = {part.strip().lower() for part in expand.split(",")}
        for part in ("inputs", "outputs", "functions", "transformation"):
            properties.pop(part, None)
        for part in wanted & {"inputs", "outputs", "functions"}:
            properties[part] = self.children(resource, part)
        if "transformation" in wanted:
            properties["transformation"] = next(iter(self.children(resource, "transformations")), None)
        return {**document, "properties": properties}

    def child(self, resource: Resource, kind: str, name: str) -> Json:
        """An input, an output, a function or the query of a job.

        Raises:
            AzureError: the job has none of that name.
        """
        for child in self.children(resource, kind):
            if child["name"].lower() == name.lower():
                return child
        raise not_found(
            f"The {kind[:-1]} '{name}' of job '{resource.id}' was not found.", f"{resource.id}/{kind}/{name}"
        )

    @staticmethod
    def children(resource: Resource, kind: str) -> list[Json]:
        """All inputs, outputs, functions or queries (``transformations``) of a job."""
        properties = resource.asked["properties"]
        found = properties.get(kind, [])
        if kind == "transformations":
            found = [properties["transformation"]] if properties.get("transformation") else []
        return [
            {"id": f"{resource.id}/{kind}/{child['name']}", "type": f"{resource.type}/{kind}", **child}
            for child in found
        ]

    def check_may_change(self, job_id: ResourceId, body: bodies.StreamingJob, existing: Resource | None) -> None:
        """Refuse to change a job that runs, and a query that does not compile.

        Raises:
            AzureError: why not.
        """
        if existing is not None and self._job(existing).state not in IDLE:
            raise conflict(WRONG_STATE, job_id.text)
        check_query(job_id.text, body)

    def start(self, resource: Resource, body: Json) -> Operation:
        """Begin the start action.

        Raises:
            AzureError: the job is not in a state to start, or the body is wrong.
        """
        mode = body.get("outputStartMode", "JobStartTime")
        if mode not in START:
            raise bad_request("BadRequest", f"outputStartMode '{mode}' is not one of {', '.join(START)}.", resource.id)
        if mode == "CustomTime" and not body.get("outputStartTime"):
            raise bad_request(
                "BadRequest", "outputStartTime must be set when outputStartMode is CustomTime.", resource.id
            )
        with self._store.lock:
            job = self._job(resource)
            if job.state not in IDLE:
                raise conflict(WRONG_STATE, resource.id)
            if mode == "LastOutputEventTime" and not job.last_output_event_time:
                message = "The job cannot start from its last output event time: it has not produced any output yet."
                raise bad_request("BadRequest", f"{message} Use JobStartTime or CustomTime.", resource.id)
            job.state = "Starting"
            job.start_mode, job.start_time = mode, body.get("outputStartTime") or now()
            job.run = f"{now()} {uuid.uuid4()}"
            self._store.save()
        return self._operations.start(lambda _: self._start(resource, job))

    def stop(self, resource: Resource) -> Operation:
        """Begin the stop action. Stopping a job that does not run does nothing.

        Raises:
            AzureError: the job is just stopping.
        """
        with self._store.lock:
            job = self._job(resource)
            if job.state == "Stopping":
                raise conflict(WRONG_STATE, resource.id)
            if job.state not in IDLE:
                job.state = "Stopping"
                self._store.save()
        return self._operations.start(lambda _: self._stop(resource, job))

    def forget(self, resource: Resource) -> None:
        """The job is deleted: end its worker, drop its state."""
        self._workers.stop(resource.id.lower())
        self._store.state.jobs.pop(resource.id.lower(), None)
        for path in (worker_files.job_file, worker_files.progress_file):
            path(self._settings, resource).unlink(missing_ok=True)

    def _job(self, resource: Resource) -> Job:
        return self._store.state.jobs.setdefault(resource.id.lower(), Job())

    def _start(self, resource: Resource, job: Job) -> None:
        try:
            check_may_start(self._store, resource)
            self._run(resource, job)
            self._wait_until_up(resource, job)
        except AzureError:
            self._workers.stop(resource.id.lower())
            with self._store.lock:
                if job.state == "Starting":
                    job.state = "Failed"
                self._store.save()
            raise

    def _stop(self, resource: Resource, job: Job) -> None:
        self._workers.stop(resource.id.lower())
        with self._store.lock:
            self._take_progress(resource, job)
            if job.state == "Stopping":
                job.state = "Stopped"
            self._store.save()

    def _run(self, resource: Resource, job: Job) -> None:
        """Write the worker's orders and have the worker kept alive.

        Raises:
            AzureError: an output names a SQL server that is not there.
        """
        settings = self._settings
        orders = worker_files.job_file(settings, resource)
        worker_files.router_job(settings, resource, job).write(orders)
        arguments = (sys.executable, "-m", "lpm.local.router.worker", orders)
        self._workers.want(resource.id.lower(), Command(arguments, worker_files.log_file(settings, resource)))

    def progress(self, resource: Resource) -> Progress | None:
        """What the worker of a job that runs has reported; None for a job that does not."""
        with self._store.lock:
            job = self._job(resource)
            return self._take_progress(resource, job) if job.state in STARTED else None

    def _take_progress(self, resource: Resource, job: Job) -> Progress | None:
        """Note what the worker has reported in this run."""
        try:
            progress = Progress.read(worker_files.progress_file(self._settings, resource))
        except (OSError, ValueError):  # not written yet
            return None
        if progress.run != job.run:
            return None
        if progress.last_event_at:
            job.last_output_event_time = progress.last_event_at.isoformat().replace("+00:00", "Z")
        return progress

    def _refreshed(self, resource: Resource) -> Job:
        """A job's state as it is now."""
        with self._store.lock:
            job = self._job(resource)
            if job.state not in ("Running", "Restarting", "Degraded"):
                return job
            progress = self._take_progress(resource, job)
            health = self._workers.health(resource.id.lower())
            failing = health is None or health.deaths >= DEGRADED_AFTER or (progress is not None and progress.degraded)
            if failing:
                job.state = "Degraded"
            elif health is not None and progress is not None and progress.pid == health.pid:
                job.state = "Running"
            else:
                job.state = "Restarting"
            return job

    def _wait_until_up(self, resource: Resource, job: Job) -> None:
        """Wait for the worker's first report.

        Raises:
            AzureError: it keeps dying, or reports nothing.
        """
        for _ in range(UP_SECONDS * 10):
            health = self._workers.health(resource.id.lower())
            if health is None or job.state != "Starting":  # stopped meanwhile
                return
            if health.deaths >= DEGRADED_AFTER:
                break
            with self._store.lock:
                progress = self._take_progress(resource, job)
                if progress is not None and progress.pid == health.pid:
                    job.state = "Running"
                    self._store.save()
                    return
            time.sleep(0.1)
        file = worker_files.log_file(self._settings, resource)
        raise AzureError(500, "JobFailed", f"The job's worker does not come up; its log is {file}.", resource.id)
