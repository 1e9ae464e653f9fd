"""Runs of the DAGs without any cloud: what the first and the last task do with a bad request."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def local_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database for Airflow, which reads the DAG files again and must find the local ones there."""
    from airflow.utils.db import initdb

    monkeypatch.setenv("LPM_ENVIRONMENTS", "local")
    initdb()


def states(run: Any) -> dict[str, str]:
    return {task.task_id: str(task.state) for task in run.get_task_instances()}


@pytest.mark.parametrize("procedure", ["control", "bootstrap", "go_live", "monitor"])
def test_an_unknown_parameter_stops_the_run_before_anything_is_touched(dags, procedure):
    run = dags[f"{procedure}__local"].test(run_conf={"aktion": "pause"})
    assert run.state == "failed"
    found = states(run)
    assert found.pop("check_request") == "failed", "and at once: a wrong parameter stays wrong"
    assert found.pop("result") == "failed"
    assert set(found.values()) <= {"upstream_failed", "skipped"}
    message = run.get_task_instance("result").xcom_pull(task_ids="result", key="failure")
    assert "failed: check_request\ncheck_request: unknown parameters: aktion; expected some of " in message
    assert "Next step: trigger again without them." in message
