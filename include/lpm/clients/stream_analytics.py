"""Stream Analytics jobs over Resource Manager: state, start and stop."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from lpm.clients.azure_resource_manager import AzureError, ResourceManager

log = logging.getLogger(__name__)

API_VERSION = "2021-10-01-preview"
ACTION_TIMEOUT_SECONDS = 1800.0
RUNNING = frozenset({"Starting", "Running", "Degraded", "Restarting", "Scaling"})
StartMode = Literal["LastOutputEventTime", "CustomTime"]


@dataclass(frozen=True)
class StreamingJob:
    """A job as Azure tells it. ``last_output_event_time`` is UTC, and None until the job has produced output."""

    id: str
    name: str
    state: str  # Created, Starting, Running, Stopping, Stopped, Failed, Degraded, Restarting, Scaling, Deleting
    last_output_event_time: datetime | None

    @property
    def is_started(self) -> bool:
        """Whether the job runs, or Azure is trying to make it run."""
        return self.state in RUNNING


class StreamingJobs:
    """The streaming jobs of one resource group."""

    def __init__(self, manager: ResourceManager) -> None:
        self._manager = manager

    def get(self, name: str) -> StreamingJob | None:
        """A job, or None if it does not exist.

        Raises:
            AzureError: it cannot be read.
        """
        try:
            content = self._manager.call("GET", self._id(name), API_VERSION).json()
        except AzureError as error:
            if error.status == 404:
                return None
            raise
        properties = content["properties"]
        return StreamingJob(
            id=content["id"],
            name=content["name"],
            state=properties["jobState"],
            last_output_event_time=_moment(properties.get("lastOutputEventTime")),
        )

    def start(self, name: str, first_from: datetime) -> StartMode | None:
        """Start a job where it last was, the first time at ``first_from``, and wait until it runs.

        Never starts "now": that would skip what arrived while the job was stopped.

        Returns:
            The mode it was started with, or None if it was running already.

        Raises:
            AzureError: the job does not exist or does not start; names the input or output that keeps it from starting.
        """
        job = self._existing(name)
        if job.is_started:
            return None
        if job.last_output_event_time:
            mode: StartMode = "LastOutputEventTime"
            body: dict[str, str] = {"outputStartMode": mode}
        else:
            mode = "CustomTime"
            body = {"outputStartMode": mode, "outputStartTime": first_from.astimezone(UTC).isoformat()}
        log.info("starting %s with %s", name, body)
        self._act(name, "start", body)
        return mode

    def stop(self, name: str) -> bool:
        """Stop a job and wait until it has stopped; says whether it was running.

        Raises:
            AzureError: the job does not exist or does not stop.
        """
        if not self._existing(name).is_started:
            return False
        log.info("stopping %s", name)
        self._act(name, "stop", None)
        return True

    def _act(self, name: str, action: str, body: dict[str, str] | None) -> None:
        response = self._manager.call("POST", f"{self._id(name)}/{action}", API_VERSION, body, twice=False)
        self._manager.wait(response, f"{action} of streaming job {name}", ACTION_TIMEOUT_SECONDS)

    def _existing(self, name: str) -> StreamingJob:
        job = self.get(name)
        if job is None:
            message = "the streaming job does not exist. Next step: run the bootstrap DAG, which deploys it."
            raise AzureError(f"streaming job {name}", "ResourceNotFound", message, self._id(name), 404)
        return job

    def _id(self, name: str) -> str:
        return f"{self._manager.group}/providers/Microsoft.StreamAnalytics/streamingjobs/{name}"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
