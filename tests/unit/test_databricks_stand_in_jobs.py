"""The stand-in's jobs: what settings it takes, when runs start and end. Runs here are small processes without Spark."""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lpm.local.databricks.errors import ApiError
from lpm.local.databricks.jobs import accepted, updated
from lpm.local.databricks.runs import Run, RunFolders, RunProcess
from lpm.local.databricks.scheduler import Pace, Scheduler, page
from lpm.local.databricks.secret_scopes import SecretScopes
from lpm.local.databricks.volumes import Volumes

PACE = Pace(first_pause=0.05, longest_pause=0.2, healthy_after=60, cancel_grace=5)


def settings(script: str = "", **more: Any) -> dict[str, Any]:
    """Settings of a job; the runs of these tests execute ``script``."""
    task = {"package_name": "probe", "entry_point": "main", "named_parameters": {"script": script}}
    return {
        "name": "probe",
        "tasks": [{"task_key": "stream", "job_cluster_key": "main", "python_wheel_task": task}],
        "job_clusters": [{"job_cluster_key": "main", "new_cluster": {"spark_version": "18.x-scala2.13"}}],
        **more,
    }


def continuous(script: str, pause_status: str = "UNPAUSED", **more: Any) -> dict[str, Any]:
    return settings(script, continuous={"pause_status": pause_status}, **more)


STAYS = "import time; time.sleep(60)"
FAILS = "raise SystemExit(3)"


async def small_process(run: Run, folders: RunFolders) -> RunProcess:
    script = run.settings["tasks"][0]["python_wheel_task"]["named_parameters"]["script"]
    return RunProcess(
        await asyncio.create_subprocess_exec(sys.executable, "-Sc", script, start_new_session=True, cwd=folders.of(run))
    )


def scheduler(folder: Path) -> Scheduler:
    folders = RunFolders(folder, Volumes(folder), SecretScopes(folder), "1g")
    return Scheduler(folders, PACE, small_process)


def in_workspace(folder: Path, story: Callable[[Scheduler], Awaitable[None]]) -> None:
    async def play() -> None:
        workspace = scheduler(folder)
        await workspace.restore()
        try:
            await story(workspace)
        finally:
            await workspace.stop()

    asyncio.run(play())


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (found := condition()):
            await asyncio.sleep(0.01)
    return found


async def running(workspace: Scheduler, job_id: int, other_than: int = 0) -> Run:
    """The job's active run, once its process is there."""

    def active() -> Run | None:
        runs = [run for run in workspace.runs(job_id, active=True) if run.run_id != other_than and run.process_id]
        return runs[0] if runs else None

    run: Run = await until(active)
    return run


def test_settings_get_the_defaults_that_databricks_adds() -> None:
    stored = accepted(continuous(""))
    assert (stored["max_concurrent_runs"], stored["format"], stored["timeout_seconds"]) == (1, "MULTI_TASK", 0)
    assert stored["tasks"][0]["run_if"] == "ALL_SUCCESS"


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"continous": {"pause_status": "PAUSED"}}, "continous"),
        ({"continuous": {"pause_status": "STOPPED"}}, "continuous.pause_status"),
        ({"job_clusters": [{"job_cluster_key": "main", "new_cluster": {"workers": 1}}]}, "new_cluster.workers"),
    ],
)
def test_a_field_or_value_that_the_api_does_not_know_is_refused_by_name(more: dict[str, Any], names: str) -> None:
    with pytest.raises(ApiError, match=names) as refusal:
        accepted(settings(**more))
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"continuous": {}, "schedule": {"quartz_cron_expression": "0 0 * * * ?", "timezone_id": "UTC"}}, "Only one"),
        ({"continuous": {}, "max_concurrent_runs": 2}, "max_concurrent_runs"),
        ({"tasks": []}, "one python_wheel_task"),
        ({"job_clusters": []}, "job_cluster_key"),
    ],
)
def test_a_broken_rule_of_the_api_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError, match=says):
        accepted(settings(**more))


def test_a_continuous_job_is_unpaused_unless_told() -> None:
    assert accepted(settings(continuous={}))["continuous"]["pause_status"] == "UNPAUSED"


def test_update_replaces_fields_whole_merges_tasks_by_key_and_removes() -> None:
    before = accepted(continuous("", tags={"a": "1"}, description="x"))
    task = {**settings("new")["tasks"][0], "max_retries": 0}
    after = updated(
        before, {"continuous": {"pause_status": "PAUSED"}, "tags": {"b": "2"}, "tasks": [task]}, ["description"]
    )
    assert after["continuous"] == {"pause_status": "PAUSED"}
    assert after["tags"] == {"b": "2"}
    assert "description" not in after
    assert [task["python_wheel_task"]["named_parameters"] for task in after["tasks"]] == [{"script": "new"}]


def test_an_unpaused_job_always_has_one_run_and_cancelling_it_applies_the_newest_settings(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(continuous(STAYS))
        first = await running(workspace, job.job_id)
        workspace.reset(job.job_id, continuous(STAYS, tags={"version": "2"}))
        assert workspace.run(first.run_id).is_active
        workspace.cancel(first.run_id)
        second = await running(workspace, job.job_id, other_than=first.run_id)
        ended = workspace.run(first.run_id)
        assert (ended.life_cycle_state, ended.result_state) == ("TERMINATED", "CANCELED")
        assert not psutil.pid_exists(first.process_id)
        assert second.settings["tags"] == {"version": "2"}
        assert len(workspace.runs(job.job_id, active=True)) == 1

    in_workspace(tmp_path, story)


def test_pausing_leaves_the_active_run_alone_and_starts_no_other(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(continuous(STAYS))
        run = await running(workspace, job.job_id)
        workspace.update(job.job_id, {"continuous": {"pause_status": "PAUSED"}}, [])
        assert workspace.run(run.run_id).is_active
        workspace.cancel(run.run_id)
        await until(lambda: not workspace.run(run.run_id).is_active)
        await asyncio.sleep(2 * PACE.longest_pause)  # nothing to wait for: nothing may happen
        assert workspace.runs(job.job_id, active=True) == []
        assert workspace.job(job.job_id).trigger_state() == {"pause_status": "PAUSED"}
        workspace.update(job.job_id, {"continuous": {"pause_status": "UNPAUSED"}}, [])
        assert (await running(workspace, job.job_id)).run_id != run.run_id

    in_workspace(tmp_path, story)


def test_failures_in_a_row_are_followed_by_growing_pauses_up_to_the_cap(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(continuous(FAILS))
        await until(lambda: len(workspace.runs(job.job_id, active=False)) >= 4)
        runs = workspace.runs(job.job_id, active=False)[::-1]
        assert {run.result_state for run in runs} == {"FAILED"}
        assert "code 3" in runs[0].message
        pauses = [(after.start_time - before.end_time) / 1000 for before, after in itertools.pairwise(runs)]
        assert pauses[0] >= 0.04
        assert pauses[2] >= 0.15

    in_workspace(tmp_path, story)
    assert [PACE.pause(failures) for failures in (0, 1, 2, 3, 4, 99)] == [0, 0.05, 0.1, 0.2, 0.2, 0.2]


def test_new_settings_end_the_pause_after_a_failure(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        workspace._pace = Pace(first_pause=600, longest_pause=600)
        job = workspace.create(continuous(FAILS))
        await until(lambda: workspace.runs(job.job_id, active=False))
        workspace.reset(job.job_id, continuous(STAYS))
        await running(workspace, job.job_id)

    in_workspace(tmp_path, story)


def test_a_success_is_followed_by_the_next_run(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(continuous("pass"))
        await until(lambda: len(workspace.runs(job.job_id, active=False)) >= 2)
        assert {run.result_state for run in workspace.runs(job.job_id, active=False)} == {"SUCCESS"}

    in_workspace(tmp_path, story)


def test_run_now_kickstarts_a_paused_job_and_is_skipped_while_a_run_is_active(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(continuous(STAYS, "PAUSED"))
        assert workspace.runs(job.job_id) == []
        workspace.run_now(job.job_id)
        await running(workspace, job.job_id)
        assert workspace.job(job.job_id).trigger_state() == {"pause_status": "UNPAUSED"}
        assert workspace.job(job.job_id).settings["continuous"] == {"pause_status": "PAUSED"}
        assert workspace.run_now(job.job_id).life_cycle_state == "SKIPPED"

    in_workspace(tmp_path, story)


def test_runs_of_a_job_with_a_queue_wait_for_their_place_and_a_waiting_one_can_be_cancelled(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(settings(STAYS, queue={"enabled": True}))
        first = workspace.run_now(job.job_id)
        await running(workspace, job.job_id)
        second, third = (workspace.run_now(job.job_id, {"script": "pass"}) for _ in range(2))
        assert [second.life_cycle_state, third.life_cycle_state] == ["QUEUED", "QUEUED"]
        workspace.cancel(second.run_id)
        assert workspace.run(second.run_id).result_state == "CANCELED"
        workspace.cancel(first.run_id)
        await until(lambda: not workspace.run(third.run_id).is_active)
        assert workspace.run(third.run_id).result_state == "SUCCESS"

    in_workspace(tmp_path, story)


def test_a_plain_job_runs_once(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(settings("pass"))
        run = workspace.run_now(job.job_id)
        await until(lambda: not workspace.run(run.run_id).is_active)
        assert workspace.run(run.run_id).result_state == "SUCCESS"
        await asyncio.sleep(2 * PACE.longest_pause)  # nothing to wait for: nothing may happen
        assert len(workspace.runs(job.job_id)) == 1

    in_workspace(tmp_path, story)


def test_a_restart_restores_jobs_ends_their_old_runs_and_starts_unpaused_ones(tmp_path: Path) -> None:
    jobs: dict[str, int] = {}
    old: list[Run] = []

    async def killed() -> None:
        workspace = scheduler(tmp_path)
        jobs["unpaused"] = workspace.create(continuous(STAYS)).job_id
        jobs["paused"] = workspace.create(continuous(STAYS, "PAUSED")).job_id
        old.append(await running(workspace, jobs["unpaused"]))
        for task in workspace._tasks:  # a killed stand-in ends nothing in order
            task.cancel()

    async def story(workspace: Scheduler) -> None:
        new = await running(workspace, jobs["unpaused"])
        assert new.run_id != old[0].run_id
        ended = workspace.run(old[0].run_id)
        assert (ended.life_cycle_state, ended.result_state) == ("INTERNAL_ERROR", "FAILED")
        assert not psutil.pid_exists(old[0].process_id) or psutil.Process(old[0].process_id).status() == "zombie"
        assert workspace.runs(jobs["paused"]) == []

    asyncio.run(killed())
    in_workspace(tmp_path, story)


def test_a_run_that_ignores_the_cancel_is_killed_with_its_children(tmp_path: Path) -> None:
    deaf = (
        "import signal, subprocess, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-Sc', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(60)"
    )

    async def story(workspace: Scheduler) -> None:
        workspace._pace = Pace(cancel_grace=0.3)
        job = workspace.create(settings(deaf))
        run = workspace.run_now(job.job_id)
        file = workspace.folders.of(run) / "child"
        child = int(await until(lambda: file.exists() and file.read_text()))
        process = workspace.run(run.run_id).process_id
        workspace.cancel(run.run_id)
        assert workspace.run(run.run_id).life_cycle_state == "TERMINATING"
        await until(lambda: not workspace.run(run.run_id).is_active)
        assert workspace.run(run.run_id).result_state == "CANCELED"
        for gone in (process, child):
            assert not psutil.pid_exists(gone) or psutil.Process(gone).status() == "zombie"

    in_workspace(tmp_path, story)


def test_a_deleted_job_is_gone_and_its_run_ends(tmp_path: Path) -> None:
    async def story(workspace: Scheduler) -> None:
        job = workspace.create(continuous(STAYS))
        run = await running(workspace, job.job_id)
        workspace.delete(job.job_id)
        with pytest.raises(ApiError, match="does not exist"):
            workspace.job(job.job_id)
        await until(lambda: not workspace.run(run.run_id).is_active)

    in_workspace(tmp_path, story)


def test_pages_end_and_bad_tokens_are_refused() -> None:
    assert page([1, 2, 3], 2, None) == ([1, 2], "2")
    assert page([1, 2, 3], 2, "2") == ([3], None)
    with pytest.raises(ApiError, match="page_token"):
        page([1], 2, "x")
