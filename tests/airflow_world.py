"""A real Airflow of a test: some of its components over a SQLite database, with our plugin, on free ports."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lpm.local import processes
from lpm.local.airflow_api import AirflowApi
from lpm.local.cloud.airflow import metadata_database
from lpm.procedures.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
SETTLED_SECONDS = 4  # an answer in the first moments of the question fails its task: a fault of Airflow 3.3
QUESTION_SECONDS = 300
LOGINS = {"admin": "admin", "viewer": "viewer"}  # login and role; the password is the login


@dataclass(frozen=True)
class RunningAirflow:
    """Where it is. ``evidence`` is the folder of the local environment's evidence store."""

    url: str
    home: Path
    evidence: Path

    def anonymous(self) -> httpx.Client:
        """Somebody who is not logged in."""
        return httpx.Client(base_url=self.url, timeout=60)

    def login(self, user: str) -> httpx.Client:
        """Somebody who is."""
        token = httpx.post(f"{self.url}/auth/token", json={"username": user, "password": user}, timeout=60)
        bearer = {"Authorization": f"Bearer {token.raise_for_status().json()['access_token']}"}
        return httpx.Client(base_url=self.url, headers=bearer, timeout=60)

    def api(self) -> AirflowApi:
        """Airflow's own API, as the admin."""
        return AirflowApi(self.url, "admin", "admin")

    def question(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """What the approvers are asked by a run of publish_docs, as soon as they can answer."""
        admin, task = self.login("admin"), _approval(dag_id, run_id)

        def waits_for_an_answer() -> bool:
            return bool(admin.get(task).json().get("state") == "awaiting_input")

        wait_until(waits_for_an_answer, f"the question of {run_id}", QUESTION_SECONDS, "look at the logs of Airflow")
        asked: dict[str, Any] = admin.get(f"{task}/-1/hitlDetails").raise_for_status().json()
        time.sleep(SETTLED_SECONDS)  # not for a condition of ours: nothing shows when Airflow is ready
        return asked

    def answer(self, user: str, dag_id: str, run_id: str, option: str, remark: str | None = None) -> httpx.Response:
        """Answer it as somebody."""
        given = {"chosen_options": [option], "params_input": {"remark": remark}}
        return self.login(user).patch(f"{_approval(dag_id, run_id)}/-1/hitlDetails", json=given)

    def log(self, component: str) -> Path:
        """The log of a component."""
        return self.home / f"{component}.log"


def _approval(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/approve"


@contextmanager
def running_airflow(
    folder: Path, components: Sequence[str] = (), environments: str = "local", dags: Path = ROOT / "dags"
) -> Iterator[RunningAirflow]:
    """An API server, and the components besides it that are named."""
    home, evidence = folder / "airflow", folder / "evidence"
    home.mkdir(parents=True)
    evidence.mkdir()
    (home / "passwords.json").write_text(json.dumps({user: user for user in LOGINS}))
    port = processes.free_port()
    running = RunningAirflow(f"http://127.0.0.1:{port}", home, evidence)
    environment = _environment(running, port, environments, dags)
    airflow = [sys.executable, "-m", "airflow"]
    migrated = subprocess.run([*airflow, "db", "migrate"], env=environment, capture_output=True, text=True, check=False)
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack:
        for component in ("api-server", *components):
            log = stack.enter_context(running.log(component).open("wb"))
            process = subprocess.Popen([*airflow, component], env=environment, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(_stop, process)
            if component == "api-server":
                server = process
        processes.wait_until(lambda: _answers(running.url), "the API server", 180, server, running.log("api-server"))
        yield running


def _environment(running: RunningAirflow, port: int, environments: str, dags: Path) -> dict[str, str]:
    settings = {
        "CORE__DAGS_FOLDER": dags,
        "CORE__PLUGINS_FOLDER": ROOT / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__PARALLELISM": 2,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in LOGINS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": running.home / "passwords.json",
        "DATABASE__SQL_ALCHEMY_CONN": metadata_database(running.home),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__BASE_URL": running.url,
        "API_AUTH__JWT_SECRET": "only-for-this-test-" * 4,
        "LOGGING__WORKER_LOG_SERVER_PORT": processes.free_port(taken=[port]),
    }
    return {
        **os.environ,
        **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
        "AIRFLOW_HOME": str(running.home),
        "PYTHONPATH": str(ROOT / "include"),
        "LPM_ENVIRONMENTS": environments,
        "LPM_EVIDENCE": str(running.evidence),
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/version", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
