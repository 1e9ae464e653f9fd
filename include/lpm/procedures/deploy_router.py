"""Bring the Stream Analytics jobs up to date and have them run."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from lpm.clients.azure_resource_manager import AzureError, Change, ResourceManager
from lpm.clients.stream_analytics import StreamingJobs
from lpm.config import Config, Environment
from lpm.procedures.outcome import Outcome
from lpm.render.arm import ROUTER, templates
from lpm.render.names import streaming_job_name

DEPLOYMENT = "lpm-router"


def deploy_router(
    config: Config, environment: Environment, manager: ResourceManager, *, dry_run: bool = False
) -> Outcome:
    """Deploy the router template where it differs, and start every job that does not run.

    Only jobs that change are stopped. They are started again even when the deployment fails: the old query delivers,
    a stopped job does not.

    Raises:
        AzureError: a job could not be stopped, deployed or started.
    """
    template = templates(config, environment)[ROUTER]
    document, parameters = template.document(), template.parameters_document()
    jobs = StreamingJobs(manager)
    changes = manager.what_if(document, parameters, DEPLOYMENT)
    details = [str(change) for change in changes]
    if dry_run:
        idle = [f"would start {name}" for name in job_names(config, environment) if not is_started(jobs, name)]
        return Outcome(False, f"dry run: {len(changes)} changes, {len(idle)} jobs to start", (*details, *idle))
    stopped = [name for name in changed_jobs(config, environment, changes) if jobs.get(name) and jobs.stop(name)]
    details += [f"stopped {name}" for name in stopped]
    try:
        if changes:
            deploy_changed(config, environment, manager, changes)
    except AzureError as error:
        try:
            start_jobs(environment, jobs, stopped)
        except AzureError as another:
            error.add_note(f"Afterwards: {another}")
        raise
    started = start_jobs(environment, jobs, job_names(config, environment))
    if not changes and not started:
        return Outcome(False, "no change: every job is as configured and runs")
    return Outcome(True, f"{len(changes)} changes deployed, {len(started)} jobs started", (*details, *started))


def deploy_changed(
    config: Config, environment: Environment, manager: ResourceManager, changes: Iterable[Change]
) -> None:
    """Deploy the router template without the jobs that do not change: Azure refuses to deploy a job that runs.

    Raises:
        AzureError: something could not be deployed.
    """
    changed = changed_jobs(config, environment, changes)
    shards = [shard for shard in config.shards if streaming_job_name(environment, shard) in changed]
    template = templates(config, environment, shards)[ROUTER]
    manager.deploy(template.document(), template.parameters_document(), DEPLOYMENT)


def start_jobs(environment: Environment, jobs: StreamingJobs, names: Iterable[str]) -> tuple[str, ...]:
    """Start the jobs that do not run; says of each one that was started where it began.

    Raises:
        AzureError: a job does not start. The others were tried all the same; the error's notes tell of them.
    """
    lines: list[str] = []
    errors: list[AzureError] = []
    for name in names:
        try:
            if mode := jobs.start(name, first_from=oldest_retained(environment)):
                lines.append(f"started {name} at {mode}")
        except AzureError as error:
            errors.append(error)
    if errors:
        for note in [*map(str, errors[1:]), *lines]:
            errors[0].add_note(note)
        raise errors[0]
    return tuple(lines)


def is_started(jobs: StreamingJobs, name: str) -> bool:
    """Whether a job exists and runs."""
    job = jobs.get(name)
    return job is not None and job.is_started


def oldest_retained(environment: Environment) -> datetime:
    """The moment of the oldest event that a hub may still hold: where a job begins the first time."""
    return datetime.now(UTC) - timedelta(hours=environment.event_hubs.retention_hours)


def job_names(config: Config, environment: Environment, shards: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of the streaming jobs of some shards, all by default."""
    return tuple(streaming_job_name(environment, shard) for shard in (config.shards if shards is None else shards))


def changed_jobs(config: Config, environment: Environment, changes: Iterable[Change]) -> list[str]:
    """The streaming jobs that a deployment would touch. The template's other resources may change while jobs run."""
    touched = {change.resource_id.rpartition("/")[2].lower() for change in changes if _is_job(change)}
    return [name for name in job_names(config, environment) if name.lower() in touched]


def _is_job(change: Change) -> bool:
    return change.resource_id.lower().rpartition("/")[0].endswith("/microsoft.streamanalytics/streamingjobs")
