"""Ship the stream job to Databricks, and have a run of it make progress."""

import copy
import hashlib
import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lpm.clients.databricks import DatabricksClient, Job, Run
from lpm.config import Config, Environment
from lpm.procedures.control import await_run, end_runs, stream_job
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.procedures.waiting import wait_until
from lpm.procedures.wheel import build_wheel
from lpm.render import names
from lpm.render import stream_job as rendered

# Tag of the job with a hash of all we set. Databricks adds defaults of its own, so what is absent tells nothing.
DEFINITION_TAG = "lpm-definition"
FAILED = frozenset({"FAILED", "TIMEDOUT", "INTERNAL_ERROR"})
FAILURES_THAT_ARE_ENOUGH = 2  # the first run may meet a right that is minutes old
PROGRESS_SECONDS = {"azure": 1200.0, "local": 240.0}  # a cluster takes minutes to start


def deploy_stream(
    config: Config, environment: Environment, databricks: DatabricksClient, *, dry_run: bool = False
) -> Outcome:
    """Upload wheel and settings, create or reset the job, and replace its run when it was changed.

    The names of both files hold a hash of their content: what runs never changes under its feet, and a job that names
    them is the job that runs them.

    Raises:
        DatabricksError: an upload or the job was refused.
        ProcedureError: the old run does not end, or no new one begins.
    """
    settings = rendered.settings(config, environment, names.kafka_bootstrap(environment)).encode()
    settings_path = names.settings_path(environment, hashlib.sha256(settings).hexdigest()[:16])
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        wheel_path = f"{names.wheels_folder(environment)}/{wheel.name}"
        wanted = job_settings(config, environment, wheel_path, settings_path)
        job = databricks.find_job(wanted["name"])
        differences = ["the job does not exist"] if job is None else find_differences(wanted, job.settings)
        files = {wheel_path: wheel.read_bytes(), settings_path: settings}
    absent = [path for path in files if not databricks.file_exists(path)]
    details = (*(f"upload {path}" for path in absent), *differences)
    if dry_run:
        return Outcome(False, f"dry run: {len(details)} changes", details)
    for path in absent:
        databricks.upload(path, files[path])
    if not differences:
        return _told(environment, absent, details)
    if job is None:
        job = Job(databricks.create_job(wanted), wanted["name"], wanted)
    else:
        # Paused first: a run keeps the settings it was started with, and must not be followed by one with old settings.
        # And whatever interrupts this, a paused job is a difference that the next try finds.
        databricks.set_paused(job.id, True)
        details = (*details, *end_runs(databricks, job))
        databricks.reset_job(job.id, wanted)
    return Outcome(True, f"deployed {wanted['name']}", (*details, await_run(databricks, job)))


def await_progress(environment: Environment, databricks: DatabricksClient) -> Outcome:
    """Wait until a run has written a line into the progress table.

    Raises:
        ProcedureError: runs fail, with their error; or there is no line in time.
    """
    job = stream_job(environment, databricks)
    began = datetime.now(UTC)
    lines: list[Mapping[str, str | None]] = []

    def progresses() -> bool:
        _raise_when_failing(databricks, job, began)
        running = [run for run in databricks.active_runs(job.id) if run.state == "RUNNING"]
        if running:
            lines[:] = _progress_since(environment, databricks, running[0])
        return bool(lines)

    wait_until(
        progresses,
        f"progress of {job.name} in {names.progress_table(environment)}",
        PROGRESS_SECONDS[environment.kind],
        "see the job's newest run in the workspace: its error, or its driver log.",
        pause_seconds=2.0,
    )
    line = lines[0]
    reached = (
        "the initial snapshot is being sent"
        if line["source_version"] is None
        else f"sent up to version {line['source_version']}"
    )
    return Outcome(False, f"{job.name} makes progress: {reached}", (f"recorded at {line['recorded_at']}",))


def job_settings(config: Config, environment: Environment, wheel_path: str, settings_path: str) -> dict[str, Any]:
    """The job's settings, tagged with a hash of themselves."""
    wanted = copy.deepcopy(rendered.job(config, environment, wheel_path, settings_path))
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    wanted["tags"] = {**wanted["tags"], DEFINITION_TAG: digest[:16]}
    return wanted


def find_differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """What of ``wanted`` is otherwise in ``found``, as ``path: found, expected wanted``.

    What ``found`` has in addition is Databricks' own; a setting of ours that was removed shows in the tag.
    ``run_as`` is not compared: Databricks answers it in another form than it takes it.
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return [
            line
            for key, value in wanted.items()
            if (path, key) != ("", "run_as")
            for line in find_differences(value, found.get(key), f"{path}.{key}" if path else key)
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [line for index, (value, other) in pairs for line in find_differences(value, other, f"{path}[{index}]")]
    return [] if wanted == found else [f"{path}: {found!r}, expected {wanted!r}"]


def _told(environment: Environment, absent: list[str], details: tuple[str, ...]) -> Outcome:
    name = names.stream_job_name(environment)
    if absent:  # somebody removed files that the job names; its next run would have failed
        return Outcome(True, f"restored {len(absent)} files of {name}", details)
    return Outcome(False, f"no change: {name} is as configured")


def _progress_since(environment: Environment, databricks: DatabricksClient, run: Run) -> list[Mapping[str, str | None]]:
    """The newest line of the progress table that was written since a run began; none when there is none."""
    return list(
        databricks.sql(
            f"SELECT recorded_at, source_version FROM {names.progress_table(environment)} WHERE recorded_at >= :began "
            "ORDER BY recorded_at DESC LIMIT 1",
            {"began": run.started_at},
        )
    )


def _raise_when_failing(databricks: DatabricksClient, job: Job, since: datetime) -> None:
    ended = [run for run in databricks.latest_runs(job.id) if run.result in FAILED and run.ended_at]
    failed = [run for run in ended if run.ended_at and run.ended_at > since]
    if len(failed) >= FAILURES_THAT_ARE_ENOUGH:
        error = databricks.run_error(failed[0]) or failed[0].message
        raise ProcedureError(
            f"{len(failed)} runs of {job.name} failed, the last with: {error}\n"
            f"Next step: remove the cause; Databricks then starts a new run by itself. {failed[0].page}"
        )
