"""Ship the stream job and the backfill job to Databricks, and have a run of the stream job make progress."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
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
Line = Mapping[str, str | None]  # of the progress table
FAILURES_THAT_ARE_ENOUGH = 2  # the first run may meet a right that is minutes old
PROGRESS_SECONDS = {"azure": 1200.0, "local": 240.0}  # a cluster takes minutes to start


def deploy_stream(
    config: Config, environment: Environment, databricks: DatabricksClient, *, dry_run: bool = False
) -> Outcome:
    """Upload wheel and settings, create or reset both jobs, and replace the stream's run when its job was changed.

    The names of both files hold a hash of their content: what runs never changes under its feet, and a job that names
    them is the job that runs them.

    Raises:
        DatabricksError: an upload or a job was refused.
        ProcedureError: the old run does not end, or no new one begins.
    """
    settings = rendered.settings(config, environment, names.kafka_bootstrap(environment)).encode()
    settings_path = names.settings_path(environment, hashlib.sha256(settings).hexdigest()[:16])
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        wheel_path = f"{names.wheels_folder(environment)}/{wheel.name}"
        files = {wheel_path: wheel.read_bytes(), settings_path: settings}
    stream = _Plan.of(databricks, job_settings(config, environment, wheel_path, settings_path))
    backfill = _Plan.of(databricks, backfill_job_settings(config, environment, wheel_path, settings_path))
    absent = [path for path in files if not databricks.file_exists(path)]
    of_backfill = (f"{backfill.name}: {line}" for line in backfill.differences)
    details = (*(f"upload {path}" for path in absent), *stream.differences, *of_backfill)
    if dry_run:
        return Outcome(False, f"dry run: {len(details)} changes", details)
    for path in absent:
        databricks.upload(path, files[path])
    if backfill.differences:
        _create_or_reset(databricks, backfill)
    if stream.differences:
        details = (*details, *_replace_stream(databricks, stream))
    deployed = [plan.name for plan in (stream, backfill) if plan.differences]
    if deployed:
        return Outcome(True, f"deployed {' and '.join(deployed)}", details)
    return _told(stream.name, absent, details)


@dataclass(frozen=True)
class _Plan:
    """A job as it is and as it should be."""

    job: Job | None
    wanted: dict[str, Any]
    differences: list[str]

    @classmethod
    def of(cls, databricks: DatabricksClient, wanted: dict[str, Any]) -> "_Plan":
        job = databricks.find_job(wanted["name"])
        return cls(job, wanted, ["the job does not exist"] if job is None else find_differences(wanted, job.settings))

    @property
    def name(self) -> str:
        return str(self.wanted["name"])


def _create_or_reset(databricks: DatabricksClient, plan: _Plan) -> Job:
    if plan.job is None:
        return Job(databricks.create_job(plan.wanted), plan.name, plan.wanted)
    databricks.reset_job(plan.job.id, plan.wanted)
    return plan.job


def _replace_stream(databricks: DatabricksClient, plan: _Plan) -> tuple[str, ...]:
    """Bring the stream job up to its plan, and wait for its run."""
    ended: tuple[str, ...] = ()
    if plan.job:
        # Paused first: a run keeps the settings it was started with, and must not be followed by one with old settings.
        # And whatever interrupts this, a paused job is a difference that the next try finds.
        databricks.set_paused(plan.job.id, True)
        ended = end_runs(databricks, plan.job)
    return *ended, await_run(databricks, _create_or_reset(databricks, plan))


def await_progress(config: Config, environment: Environment, databricks: DatabricksClient) -> Outcome:
    """Wait until the progress table shows that the newest run works: it has completed a batch, or has nothing to send.

    A line alone shows little: a run writes one even when its first batch is going to fail.

    Raises:
        ProcedureError: runs fail, with their error; or none works in time.
    """
    job = stream_job(environment, databricks)
    began = datetime.now(UTC)
    lines: list[Line] = []

    def works() -> bool:
        _raise_when_failing(databricks, job, began)
        running = [run for run in databricks.active_runs(job.id) if run.state == "RUNNING"]
        if running:
            lines[:] = _working_line(config, environment, databricks, running[0])
        return bool(lines)

    wait_until(
        works,
        f"progress of {job.name} in {names.progress_table(environment)}",
        PROGRESS_SECONDS[environment.kind],
        "see the job's newest run in the workspace: its error, or its driver log. When it is still busy with its first "
        "batch, clear this task to wait on.",
        pause_seconds=2.0,
    )
    version = lines[0]["source_version"]
    reached = "the initial snapshot is being sent" if version is None else f"sent up to version {version}"
    return Outcome(False, f"{job.name} makes progress: {reached}", (f"recorded at {lines[0]['recorded_at']}",))


def job_settings(config: Config, environment: Environment, wheel_path: str, settings_path: str) -> dict[str, Any]:
    """The stream job's settings, tagged with a hash of themselves."""
    return _tagged(rendered.job(config, environment, wheel_path, settings_path))


def backfill_job_settings(
    config: Config, environment: Environment, wheel_path: str, settings_path: str
) -> dict[str, Any]:
    """The backfill job's settings, tagged with a hash of themselves."""
    return _tagged(rendered.backfill_job(config, environment, wheel_path, settings_path))


def _tagged(settings: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return {**settings, "tags": {**settings["tags"], DEFINITION_TAG: digest[:16]}}


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


def _told(name: str, absent: list[str], details: tuple[str, ...]) -> Outcome:
    if absent:  # somebody removed files that the job names; its next run would have failed
        return Outcome(True, f"restored {len(absent)} files of {name}", details)
    return Outcome(False, f"no change: {name} is as configured")


def _working_line(config: Config, environment: Environment, databricks: DatabricksClient, run: Run) -> list[Line]:
    """The newest line of the progress table that a run wrote, if it shows that the run works."""
    lines = databricks.sql(
        f"SELECT recorded_at, source_version, batch_ended_at FROM {names.progress_table(environment)} "
        "WHERE recorded_at >= :began ORDER BY recorded_at DESC LIMIT 1",
        {"began": run.started_at},
    )
    if not lines or lines[0]["batch_ended_at"]:  # that is of the run's own newest batch
        return list(lines)
    latest = databricks.sql(f"DESCRIBE HISTORY {names.source_table(config, environment)} LIMIT 1")[0]["version"]
    return [line for line in lines if int(line["source_version"] or -1) >= int(latest or 0)]


def _raise_when_failing(databricks: DatabricksClient, job: Job, since: datetime) -> None:
    ended = [run for run in databricks.latest_runs(job.id) if run.result in FAILED and run.ended_at]
    failed = [run for run in ended if run.ended_at and run.ended_at > since]
    if len(failed) >= FAILURES_THAT_ARE_ENOUGH:
        error = databricks.run_error(failed[0]) or failed[0].message
        raise ProcedureError(
            f"{len(failed)} runs of {job.name} failed, the last with: {error}\n"
            f"Next step: remove the cause; Databricks then starts a new run by itself. {failed[0].page}"
        )
