"""The whole local cloud: it comes up, survives what people and machines do to it, and leaves nothing behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from lpm.local.cloud import control
from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.status import log_of, status
from lpm.local.cloud.supervision import Supervisor
from lpm.local.endpoints import Endpoints

SIX_GIBIBYTES = 6 * 2**30
SQLITE_WAITS_SECONDS = 5.0  # by itself


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud of its own, in a path that has a blank and a percent sign, on ports that nobody uses."""
    folder = tmp_path_factory.mktemp("local cloud") / "at 100%"
    yield control.up(print, folder)
    control.reset(print, folder)
    assert not folder.exists()


def _await(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def _pids(cloud: Cloud) -> dict[str, int]:
    return {program.name: program.pid for program in Supervisor(cloud.folder, cloud.state).programs().values()}


def test_every_part_is_ready_and_together_they_are_small(cloud: Cloud) -> None:
    found = status(cloud)
    assert {part.name: part.state for part in found.parts} == {part.name: "ready" for part in cloud.parts()}
    assert found.state == "up"
    assert found.memory_bytes < SIX_GIBIBYTES
    assert all(Path(part.log).exists() for part in found.parts)


def test_everything_listens_on_the_loopback_alone(cloud: Cloud) -> None:
    identity = Supervisor(cloud.folder, cloud.state).identity()
    assert identity is not None
    supervisor = psutil.Process(identity.pid)
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in [supervisor, *supervisor.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_every_company_has_its_database(cloud: Cloud) -> None:
    postgres = Endpoints.load(cloud.folder).postgres
    for database in cloud.config.environment("local").databases.values():
        url = postgres.url(database.database).replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (database.database,)


def _airflow_api(cloud: Cloud, user: str, password: str) -> httpx.Client:
    url = cloud.endpoints.airflow.url
    answer = httpx.post(f"{url}/auth/token", json={"username": user, "password": password}, timeout=30)
    token = answer.raise_for_status().json()["access_token"]
    return httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=30)


def test_each_login_of_airflow_has_its_role_and_no_more(cloud: Cloud) -> None:
    for login in cloud.endpoints.airflow.logins:
        with _airflow_api(cloud, login.user, login.password) as api:
            assert api.get("/dags").status_code == 200
            pools = api.post("/pools", json={"name": f"pool-of-{login.user}", "slots": 1}).status_code
            assert pools == (403 if login.role == "viewer" else 201)
    with pytest.raises(httpx.HTTPStatusError):
        _airflow_api(cloud, "admin", "wrong")


def test_a_request_waits_for_who_keeps_the_metadata_database_longer_than_sqlite_would(cloud: Cloud) -> None:
    login = cloud.endpoints.airflow.logins[0]
    database = sqlite3.connect(cloud.folder / "airflow" / "airflow.db", timeout=30, isolation_level=None)
    with _airflow_api(cloud, login.user, login.password) as api, ThreadPoolExecutor(1) as pool, closing(database):
        database.execute("BEGIN IMMEDIATE")
        answer = pool.submit(api.post, "/pools", json={"name": "waited", "slots": 1})
        with pytest.raises(TimeoutError):
            answer.result(SQLITE_WAITS_SECONDS + 1)
        database.execute("ROLLBACK")
        assert answer.result().status_code == 201


def test_up_when_it_is_up_says_so_at_once(cloud: Cloud) -> None:
    told: list[str] = []
    before, begun = _pids(cloud), time.monotonic()
    control.up(told.append, cloud.folder)
    assert time.monotonic() - begun < 2
    assert told == [f"the local cloud is up; Airflow is at {cloud.endpoints.airflow.url}"]
    assert _pids(cloud) == before


def test_a_killed_part_comes_back_and_what_it_left_is_ended(cloud: Cloud) -> None:
    before = _pids(cloud)
    for name in before:
        left = psutil.Process(before[name]).children(recursive=True)
        os.kill(before[name], signal.SIGKILL)
        _await(lambda name=name: _pids(cloud)[name] not in (0, before[name]), f"{name} is started again")  # type: ignore[misc]
        _, alive = psutil.wait_procs(left, timeout=30)
        assert not alive, f"{name} left {alive}"
    _await(lambda: status(cloud).state == "up", "all parts are ready again")


def test_a_killed_supervisor_is_noticed_and_up_starts_one_that_owns_everything(cloud: Cloud) -> None:
    supervisor = Supervisor(cloud.folder, cloud.state)
    identity = supervisor.identity()
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    _await(lambda: not supervisor.runs(), "the supervisor is gone")
    found = status(cloud)
    assert found.state == "down"
    assert found.orphans
    script = "import sys, pathlib; from lpm.local.cloud import control; control.up(print, pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(cloud.folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(control.__file__).parents[3])}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("processes of this cloud that run without" in text for text in told) == 1, "only one of them starts it"
    assert not any(psutil.pid_exists(pid) for pid in found.orphans)
    again = control.open_cloud(cloud.folder)
    assert again is not None
    assert again.endpoints == cloud.endpoints, "addresses and secrets stay"
    assert status(again).state == "up"


def test_the_log_of_a_part_is_found_and_a_wrong_name_is_answered_with_the_right_ones(cloud: Cloud) -> None:
    assert log_of(cloud, "kafka").exists()
    with pytest.raises(KeyError, match="airflow-scheduler"):
        log_of(cloud, "kafak")


def test_down_leaves_no_process(cloud: Cloud) -> None:
    running = [pid for pid in _pids(cloud).values() if pid]
    assert running
    control.down(print, cloud.folder)
    assert not any(psutil.pid_exists(pid) for pid in running)
    found = status(cloud)
    assert (found.state, found.orphans) == ("down", ())
