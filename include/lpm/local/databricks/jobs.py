"""What a job may say, checked against the vendor's own description of the Jobs API, and how settings change."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from lpm.local.databricks.errors import ApiError, beyond_stand_in, invalid

Settings = dict[str, Any]

# Arrays that `update` merges by a key; every other top-level field is replaced.
_MERGED_BY = {"tasks": "task_key", "job_clusters": "job_cluster_key", "parameters": "name"}
# What Databricks adds to the settings it is given: a caller that compares must compare only what it set.
_DEFAULTS: Settings = {
    "email_notifications": {},
    "webhook_notifications": {},
    "timeout_seconds": 0,
    "max_concurrent_runs": 1,
    "format": "MULTI_TASK",
}
_TASK_DEFAULTS: Settings = {"run_if": "ALL_SUCCESS", "timeout_seconds": 0, "email_notifications": {}}
_TRIGGERS = ("continuous", "schedule", "trigger")


class Job(BaseModel):
    """A job. ``kickstarted``: a paused continuous job that run-now has set going."""

    model_config = ConfigDict(frozen=True)
    job_id: int
    created_time: int  # milliseconds since 1970
    settings: Settings
    kickstarted: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.settings["name"])

    @property
    def is_continuous(self) -> bool:
        """Whether it keeps a run going."""
        return "continuous" in self.settings

    @property
    def keeps_running(self) -> bool:
        """Whether its trigger starts a new run whenever none is active."""
        return self.is_continuous and (self.kickstarted or self.settings["continuous"]["pause_status"] == "UNPAUSED")

    def trigger_state(self) -> dict[str, str]:
        """``trigger_state`` of jobs/get: pause status as it is, which run-now may have made differ from the setting."""
        return {"pause_status": "UNPAUSED" if self.keeps_running else "PAUSED"} if self.is_continuous else {}


def accepted(given: Mapping[str, Any]) -> Settings:
    """Settings as Databricks stores them.

    Raises:
        ApiError: the API does not know a field or a value, a rule of the API is broken, or the stand-in cannot run it.
    """
    settings: Settings = {**_DEFAULTS, "name": "Untitled", **given}
    settings.pop("access_control_list", None)  # create takes it; permissions are not kept here
    if unknown := list(_unknown(dict(given), _as_vendor_reads(settings))):
        raise ApiError(400, "MALFORMED_REQUEST", f"Unknown field or value in job settings: {', '.join(unknown)}")
    triggers = [name for name in _TRIGGERS if name in settings]
    if len(triggers) > 1:
        raise invalid(f"Only one of {', '.join(_TRIGGERS)} can be set; got {', '.join(triggers)}.")
    if "schedule" in settings or "trigger" in settings:
        raise beyond_stand_in(f"{triggers[0]} of a job")
    tasks = settings.get("tasks", [])
    if len(tasks) != 1 or "python_wheel_task" not in tasks[0]:
        raise beyond_stand_in("a job that is not one python_wheel_task")
    if "continuous" in settings:
        _check_continuous(settings, tasks[0])
        settings["continuous"] = {"pause_status": "UNPAUSED", **settings["continuous"]}
    settings["tasks"] = [{**_TASK_DEFAULTS, **task} for task in tasks]
    _cluster_of(settings)
    return settings


def updated(settings: Settings, new: Mapping[str, Any], remove: list[str]) -> Settings:
    """Settings after ``jobs/update``: top-level fields replaced whole, keyed arrays merged, named fields removed."""
    result = {key: value for key, value in settings.items() if key not in remove}
    for key, value in new.items():
        merged_by = _MERGED_BY.get(key)
        if merged_by is None:
            result[key] = value
            continue
        entries = {entry[merged_by]: entry for entry in result.get(key, [])}
        result[key] = list({**entries, **{entry[merged_by]: entry for entry in value}}.values())
    return accepted(result)


def cluster(settings: Settings) -> Settings:
    """The ``new_cluster`` that the job's task runs on."""
    return _cluster_of(settings)


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def _check_continuous(settings: Settings, task: Settings) -> None:
    if settings["max_concurrent_runs"] != 1:
        raise invalid("A continuous job must have max_concurrent_runs 1.")
    if task.get("max_retries"):
        raise invalid("Task retries cannot be set on a continuous job; use continuous.task_retry_mode.")
    if task.get("depends_on"):
        raise invalid("A continuous job cannot have task dependencies.")


def _cluster_of(settings: Settings) -> Settings:
    task = settings["tasks"][0]
    if "new_cluster" in task:
        return dict(task["new_cluster"])
    for candidate in settings.get("job_clusters", []):
        if candidate["job_cluster_key"] == task.get("job_cluster_key"):
            return dict(candidate["new_cluster"])
    raise invalid(
        f"Task {task['task_key']}: expected new_cluster, or job_cluster_key naming one of job_clusters; "
        f"got {task.get('job_cluster_key')!r}."
    )


def _as_vendor_reads(settings: Settings) -> Settings:
    """What the vendor's SDK understands of the settings; it drops what the API does not know."""
    from databricks.sdk.service.jobs import JobSettings

    try:
        return JobSettings.from_dict(settings).as_dict()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ApiError(400, "MALFORMED_REQUEST", f"job settings: {type(error).__name__}: {error}") from error


def _unknown(given: Any, understood: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            where = f"{path}.{key}" if path else key
            if key in understood:
                yield from _unknown(value, understood[key], where)
            elif value not in ({}, [], None):
                yield where
    elif isinstance(given, list) and isinstance(understood, list) and len(given) == len(understood):
        for index, pair in enumerate(zip(given, understood, strict=True)):
            yield from _unknown(*pair, f"{path}[{index}]")
    elif given != understood:
        yield path
