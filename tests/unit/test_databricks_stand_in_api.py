"""The stand-in's calls that need no Spark: who may call, files, secrets, faults on demand."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lpm.local.databricks.app import StandIn, create_app
from lpm.local.databricks.errors import ApiError
from lpm.local.databricks.launch import entry_point
from lpm.local.databricks.secret_scopes import SecretScopes
from lpm.local.databricks.serve import pace
from lpm.local.databricks.statements_api import NewStatement
from lpm.local.databricks.volumes import Volumes

TOKEN = {"Authorization": "Bearer the-token"}


@pytest.fixture
def api(tmp_path: Path) -> TestClient:
    Volumes(tmp_path).create("lpm", "streaming", "files")
    return TestClient(create_app(StandIn(tmp_path, "the-token")), headers=TOKEN)


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error_code"]


def test_without_a_token_the_answer_is_401_and_with_a_wrong_one_403(api: TestClient) -> None:
    assert code(api.get("/api/2.0/secrets/scopes/list", headers={"Authorization": ""})) == (401, "UNAUTHENTICATED")
    wrong = api.get("/api/2.0/secrets/scopes/list", headers={"Authorization": "Bearer no"})
    assert code(wrong) == (403, "PERMISSION_DENIED")
    assert code(api.post("/stand-in/faults", headers={"Authorization": "Bearer no"}, json={}))[0] == 403


def test_an_unknown_call_and_a_bad_body_are_answered_in_the_form_of_databricks(api: TestClient) -> None:
    assert code(api.get("/api/2.0/clusters/list")) == (404, "ENDPOINT_NOT_FOUND")
    assert code(api.post("/api/2.2/jobs/reset", json={"job": 1})) == (400, "MALFORMED_REQUEST")
    assert code(api.get("/api/2.2/jobs/get?job_id=1")) == (400, "INVALID_PARAMETER_VALUE")


def test_health_says_whether_spark_is_up_to_anyone(api: TestClient) -> None:
    answer = api.get("/stand-in/health", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (503, {"warehouse": "STARTING", "active_runs": 0})


def test_a_file_is_kept_as_sent_and_overwritten_only_when_told(api: TestClient) -> None:
    path = "/api/2.0/fs/files/Volumes/lpm/streaming/files/wheels/a%20b.whl"
    assert code(api.put(path, content=b"1")) == (404, "NOT_FOUND")
    assert api.put("/api/2.0/fs/directories/Volumes/lpm/streaming/files/wheels").status_code == 204
    assert api.put(path, content=b"\x00one").status_code == 204
    assert code(api.put(path, content=b"two")) == (409, "ALREADY_EXISTS")
    assert api.put(f"{path}?overwrite=true", content=b"\x00three").status_code == 204
    assert api.get(path).content == b"\x00three"
    assert api.head(path).headers["content-length"] == "6"
    listed = api.get("/api/2.0/fs/directories/Volumes/lpm/streaming/files/wheels").json()["contents"]
    assert [(entry["path"], entry["file_size"]) for entry in listed] == [
        ("/Volumes/lpm/streaming/files/wheels/a b.whl", 6)
    ]
    assert api.delete(path).status_code == 204
    assert api.head(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/Volumes/lpm/streaming/none/x", 404),
        ("/Volumes/lpm/streaming/files/../../../../x", 400),
        ("/Volumes/lpm/streaming", 400),
        ("/etc/passwd", 400),
    ],
)
def test_a_path_outside_of_a_volume_is_refused(tmp_path: Path, path: str, status: int) -> None:
    volumes = Volumes(tmp_path)
    volumes.create("lpm", "streaming", "files")
    with pytest.raises(ApiError) as refusal:
        volumes.local(path)
    assert refusal.value.status == status


def test_a_run_sees_volume_paths_as_a_mount_would_show_them(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "with blank")
    volumes.create("c", "s", "v")
    root = tmp_path / "with blank" / "Volumes" / "c" / "s" / "v"
    (root / "settings.json").write_text(
        json.dumps({"checkpoint": "/Volumes/c/s/v/cp", "note": "see /Volumes/x", "n": 1})
    )
    assert volumes.mounted("--plain", tmp_path) == "--plain"
    assert volumes.mounted("/Volumes/c/s/v/data", tmp_path) == str(root / "data")
    copy = volumes.mounted("/Volumes/c/s/v/settings.json", tmp_path / "copies")
    assert json.loads(Path(copy).read_text()) == {"checkpoint": str(root / "cp"), "note": "see /Volumes/x", "n": 1}


def test_secrets_go_in_and_never_come_out(api: TestClient, tmp_path: Path) -> None:
    assert api.post("/api/2.0/secrets/scopes/create", json={"scope": "lpm-local"}).status_code == 200
    again = api.post("/api/2.0/secrets/scopes/create", json={"scope": "lpm-local"})
    assert code(again) == (400, "RESOURCE_ALREADY_EXISTS")
    secret = {"scope": "lpm-local", "key": "event-hubs", "string_value": "s3cret"}
    assert api.post("/api/2.0/secrets/put", json=secret).status_code == 200
    assert code(api.post("/api/2.0/secrets/put", json={**secret, "scope": "none"})) == (404, "RESOURCE_DOES_NOT_EXIST")
    listed = api.get("/api/2.0/secrets/list?scope=lpm-local")
    assert [entry["key"] for entry in listed.json()["secrets"]] == ["event-hubs"]
    assert "s3cret" not in listed.text
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_secret_references_are_resolved_after_a_restart_and_a_missing_one_is_named(tmp_path: Path) -> None:
    first = SecretScopes(tmp_path)
    first.create("s")
    first.put("s", "k", "v\\1")
    assert SecretScopes(tmp_path).resolved({"A": "x{{secrets/s/k}}y", "B": "plain"}) == {"A": "xv\\1y", "B": "plain"}
    with pytest.raises(KeyError, match="scope: s and key: none"):
        first.resolved({"A": "{{secrets/s/none}}"})


@pytest.mark.parametrize(
    ("kind", "status"), [("throttle", 429), ("unavailable", 503), ("refuse", 403), ("lose", 504), ("stall", 200)]
)
def test_a_fault_hits_the_next_calls_of_its_operation_only(api: TestClient, kind: str, status: int) -> None:
    fault = {"operation": "scopes/create", "kind": kind, "seconds": 0.01, "times": 1}
    assert api.post("/stand-in/faults", json=fault).status_code == 200
    assert api.get("/api/2.0/secrets/scopes/list").json() == {"scopes": []}
    answer = api.post("/api/2.0/secrets/scopes/create", json={"scope": "s"})
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("0.01" if status in (429, 503) else None)
    known = api.get("/api/2.0/secrets/scopes/list").json()["scopes"]
    assert bool(known) == (kind in ("lose", "stall"))  # a lost answer's call was carried out


def test_faults_can_be_cleared(api: TestClient) -> None:
    api.post("/stand-in/faults", json={"operation": "scopes", "kind": "refuse", "times": 9})
    assert api.get("/api/2.0/secrets/scopes/list").status_code == 403
    assert api.delete("/stand-in/faults").status_code == 200
    assert api.get("/api/2.0/secrets/scopes/list").status_code == 200


@pytest.mark.parametrize("given", ["3s", "51s", "10", "10m"])
def test_a_statement_waits_not_at_all_or_five_to_fifty_seconds(given: str) -> None:
    with pytest.raises(ApiError, match="wait_timeout"):
        _ = NewStatement(statement="SELECT 1", warehouse_id="local", wait_timeout=given).wait_seconds


def test_a_statement_needs_a_warehouse_that_exists_and_a_form_that_the_stand_in_has(api: TestClient) -> None:
    statement = {"statement": "SELECT 1", "warehouse_id": "none"}
    assert code(api.post("/api/2.0/sql/statements", json=statement)) == (404, "RESOURCE_DOES_NOT_EXIST")
    links = {**statement, "warehouse_id": "local", "disposition": "EXTERNAL_LINKS"}
    assert code(api.post("/api/2.0/sql/statements", json=links)) == (501, "NOT_IMPLEMENTED")
    injected = {**statement, "parameters": [{"name": "x", "value": "1", "type": "INT), (SELECT 1"}]}
    assert code(api.post("/api/2.0/sql/statements", json=injected)) == (400, "MALFORMED_REQUEST")
    assert code(api.get("/api/2.0/sql/statements/none")) == (404, "NOT_FOUND")


def test_a_statement_that_has_to_wait_for_spark_is_pending_and_can_be_cancelled(api: TestClient) -> None:
    body = {"statement": "SELECT 1", "warehouse_id": "local", "wait_timeout": "0s"}
    answer = api.post("/api/2.0/sql/statements", json=body).json()
    assert answer["status"] == {"state": "PENDING"}
    assert api.post(f"/api/2.0/sql/statements/{answer['statement_id']}/cancel").status_code == 200
    assert api.get(f"/api/2.0/sql/statements/{answer['statement_id']}").json()["status"] == {"state": "CANCELED"}


def test_a_wheel_task_calls_the_declared_entry_point_else_the_function_of_the_package() -> None:
    assert entry_point("pytest", "py.test").__name__ == "_console_main"
    assert entry_point("json", "dumps") is json.dumps
    with pytest.raises(AttributeError):
        entry_point("json", "nothing")


def test_the_pauses_of_failed_runs_are_set_by_the_environment() -> None:
    assert pace({"LPM_DATABRICKS_BACKOFF_CAP_SECONDS": "2"}).pause(99) == 2
    assert pace({}).pause(1) == 1
