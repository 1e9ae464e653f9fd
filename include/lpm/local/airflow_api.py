"""Airflow's REST API, as an operator's script would use it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

FINISHED = frozenset({"success", "failed"})


class DagRunError(RuntimeError):
    """A DAG run ended otherwise than in success. The message names the failed tasks and where to look."""


@dataclass(frozen=True)
class TaskState:
    """One task instance of a run."""

    dag_id: str
    task: str
    state: str | None


class AirflowApi:
    """A login at one Airflow.

    Raises:
        httpx.HTTPStatusError: login or a request was refused.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        response = httpx.post(f"{url}/auth/token", json={"username": user, "password": password}, timeout=60)
        token = response.raise_for_status().json()["access_token"]
        self._client = httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run and return its id.

        Raises:
            RuntimeError: Airflow refused, with its reason (such as an invalid parameter).
        """
        response = self._client.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})})
        if response.is_error:
            raise RuntimeError(f"Airflow refused to run {dag_id}: {response.status_code} {response.text}")
        return str(response.json()["dag_run_id"])

    def wait(
        self, dag_id: str, run_id: str, timeout: float, on_change: Callable[[TaskState], None] | None = None
    ) -> None:
        """Wait for the run's end; ``on_change`` hears of every task that changes its state.

        Raises:
            DagRunError: the run failed.
            TimeoutError: it did not end within ``timeout`` seconds.
        """
        seen: dict[str, str | None] = {}
        end = time.monotonic() + timeout
        while True:
            run_state = self._client.get(f"/dags/{dag_id}/dagRuns/{run_id}").raise_for_status().json()["state"]
            for task in self.tasks(dag_id, run_id):
                if seen.get(task.task, "") != task.state and task.state:
                    seen[task.task] = task.state
                    if on_change:
                        on_change(task)
            if run_state in FINISHED:
                break
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{dag_id} run {run_id} is still {run_state} after {timeout:.0f} s: {self.page(dag_id, run_id)}"
                )
            time.sleep(0.5)
        if run_state == "failed":
            failed = sorted(name for name, state in seen.items() if state == "failed")
            raise DagRunError(f"{dag_id} failed in {', '.join(failed) or 'no task'}: {self.page(dag_id, run_id)}")

    def run(self, dag_id: str, conf: Mapping[str, Any] | None = None, timeout: float = 600) -> str:
        """Trigger and wait; returns the run id."""
        run_id = self.trigger(dag_id, conf)
        self.wait(dag_id, run_id, timeout)
        return run_id

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The task instances of a run."""
        found = self._client.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances").raise_for_status().json()
        return [TaskState(dag_id, _name(task), task["state"]) for task in found["task_instances"]]

    def result(self, dag_id: str, run_id: str, task: str = "result") -> Any:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
        return self._client.get(path, params={"deserialize": "true"}).raise_for_status().json()["value"]

    def known(self, dag_id: str) -> bool:
        """Whether the DAG processor has read this DAG yet."""
        return self._client.get(f"/dags/{dag_id}").status_code == httpx.codes.OK

    def page(self, dag_id: str, run_id: str) -> str:
        """Address of the run in the UI."""
        return f"{self._url}/dags/{dag_id}/runs/{run_id}"


def _name(task: Mapping[str, Any]) -> str:
    mapped = task["map_index"] >= 0
    return f"{task['task_id']}[{task['map_index']}]" if mapped else str(task["task_id"])
