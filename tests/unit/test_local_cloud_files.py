"""What the local cloud writes down: state, endpoints, configuration of its supervisor, environment of its parts."""

import configparser
import json
import shlex
import socket
import sys
from pathlib import Path

import pytest

from lpm.config import load_config
from lpm.local.cloud import supervision
from lpm.local.cloud.environment import clean_environment
from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.state import PREFERRED_PORTS, CloudState
from lpm.local.cloud.supervision import Supervisor
from lpm.local.endpoints import Endpoints


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path / "a cloud at 100%", CloudState.new(), load_config())


def test_state_survives_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    state = CloudState.new()
    state.save(tmp_path)
    assert CloudState.load(tmp_path) == state
    assert (tmp_path / "cloud.json").stat().st_mode & 0o077 == 0
    assert CloudState.load(tmp_path / "elsewhere") is None


def test_a_state_from_before_a_part_was_invented_gets_a_port_for_it(tmp_path: Path) -> None:
    state = CloudState.new()
    older = state.model_copy(update={"ports": {**state.ports, "azure": 1}})
    del older.ports["event-hubs"]
    older.save(tmp_path)
    loaded = CloudState.load(tmp_path)
    assert loaded is not None
    assert loaded.ports == {**PREFERRED_PORTS, "azure": 1}


def test_secrets_differ_between_clouds() -> None:
    one, two = CloudState.new().model_dump(), CloudState.new().model_dump()
    assert [name for name in one if one[name] == two[name]] == ["ports"]


def test_only_a_taken_port_moves() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        free = CloudState.new().with_free_ports()
        state = free.model_copy(update={"ports": {**free.ports, "azure": holder.getsockname()[1]}})
        moved = state.with_free_ports()
    assert moved.ports["azure"] != state.ports["azure"]
    assert {name for name in PREFERRED_PORTS if moved.ports[name] != state.ports[name]} == {"azure"}
    assert len(set(moved.ports.values())) == len(moved.ports)


def test_endpoints_survive_and_a_cloud_that_never_ran_says_how_to_start(cloud: Cloud, tmp_path: Path) -> None:
    cloud.endpoints.save(tmp_path)
    assert Endpoints.load(tmp_path) == cloud.endpoints
    with pytest.raises(FileNotFoundError, match="lpm local up"):
        Endpoints.load(tmp_path / "elsewhere")


def test_parts_stand_below_those_they_depend_on(cloud: Cloud) -> None:
    seen: set[str] = set()
    for part in cloud.parts():
        assert set(part.depends_on) <= seen, f"{part.name} stands above what it depends on"
        seen.add(part.name)


def test_every_address_is_on_the_loopback(cloud: Cloud) -> None:
    assert all("127.0.0.1:" in part.address for part in cloud.parts() if part.address)


def test_no_path_of_the_supervisor_configuration_can_be_misread(cloud: Cloud) -> None:
    text = Supervisor(cloud.folder, cloud.state)._configuration({"kafka": "TERM"})
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    command = shlex.split(parser["program:kafka"]["command"])
    assert command == [sys.executable, "-m", "lpm.local.cloud.launch", "parts/kafka.json"]
    assert str(cloud.folder) not in text
    assert parser["inet_http_server"]["port"].startswith("127.0.0.1:")


def test_nothing_of_the_caller_steers_a_part_to_a_real_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AZURE_CLIENT_SECRET",
        "DATABRICKS_HOST",
        "AIRFLOW_CONN_X",
        "PGHOST",
        "JAVA_TOOL_OPTIONS",
        "LPM_CONFIG",
    ):
        monkeypatch.setenv(name, "somewhere else")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    environment = clean_environment()
    assert "somewhere else" not in environment.values()
    assert environment["NO_PROXY"].split(",") == ["intranet.example", "127.0.0.1", "localhost"]


def test_airflow_reaches_the_local_services_by_the_names_of_the_configuration(cloud: Cloud) -> None:
    part = {part.name: part for part in cloud.parts()}["airflow-scheduler"]
    local = load_config().environment("local")
    databricks = json.loads(part.environment[f"AIRFLOW_CONN_{local.databricks.connection.upper()}"])
    assert f"{databricks['schema']}://{databricks['host']}:{databricks['port']}" == cloud.endpoints.databricks.url
    assert databricks["password"] == cloud.endpoints.databricks.token
    azure = json.loads(part.environment[f"AIRFLOW_CONN_{local.azure.connection.upper()}"])
    assert azure["host"] == cloud.endpoints.azure.url
    sql = json.loads(part.environment[f"AIRFLOW_CONN_{local.sql.connection.upper()}"])
    assert (sql["host"], sql["port"]) == (cloud.endpoints.postgres.host, cloud.endpoints.postgres.port)
    assert part.environment["LPM_ENVIRONMENTS"] == "local"
    assert part.environment["LPM_LOCAL_KAFKA_BOOTSTRAP"] == cloud.endpoints.kafka


def test_no_component_of_airflow_serves_logs_to_the_network(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.local.cloud.airflow.prepare", lambda *_: None)
    commands = {part.name: part.prepare() for part in cloud.parts() if part.name.startswith("airflow-")}
    assert "--skip-serve-logs" in commands["airflow-scheduler"]
    assert "--skip-serve-logs" in commands["airflow-triggerer"]


def test_a_supervisor_that_never_ran_has_no_programs(cloud: Cloud) -> None:
    supervisor = Supervisor(cloud.folder, cloud.state.with_free_ports())
    assert not supervisor.runs()
    assert supervisor.programs() == {}
    assert supervisor.identity() is None


def test_signals_are_spelled_as_supervisord_spells_them(cloud: Cloud) -> None:
    spelled = {part.name: supervision.stop_signal(part.stop_signal) for part in cloud.parts()}
    assert (spelled["postgres"], spelled["kafka"]) == ("INT", "TERM")
