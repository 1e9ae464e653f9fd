"""Validation finds what the router kept, in a container and in a local folder. (Here because it needs Airflow.)"""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from blob_server import blob_server

from lpm.clients.evidence import EvidenceError, EvidenceStore
from lpm.clients.unrouted import unrouted_events
from lpm.config import Environment, load_config

CONFIG = load_config()
NOW = datetime.now(UTC)
LINES = '{"key": "A-1"}\n{"key": "B-1"}\n'


def name(day: datetime, shard: str = "shard-01") -> str:
    return f"{shard}/{day:%Y/%m/%d}/0_1.json"


def prod_with_a_connection_of_its_own() -> Environment:
    """Airflow keeps a store for each connection name: one that another test left would look for a managed identity."""
    prod = CONFIG.environment("prod")
    evidence = prod.evidence.model_copy(update={"connection": f"account_{uuid.uuid4().hex}"})
    return prod.model_copy(update={"evidence": evidence})


@pytest.fixture(params=["local", "azure"])
def place(request, monkeypatch, tmp_path):
    """An environment, and how to put an object into its container of unrouted events."""
    if request.param == "local":
        monkeypatch.setenv("LPM_UNROUTED", str(tmp_path))

        def put(path: str, text: str) -> None:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)

        yield CONFIG.environment("local"), put
        return
    prod = prod_with_a_connection_of_its_own()
    storage = prod.storage.model_copy(update={"unrouted_container": "evidence"})  # the container that the server has
    with blob_server() as server:
        connection = json.dumps({"conn_type": "adls", "extra": {"connection_string": server.connection_string}})
        monkeypatch.setenv(f"AIRFLOW_CONN_{prod.evidence.connection.upper()}", connection)
        environment = prod.model_copy(update={"storage": storage})
        yield environment, EvidenceStore(environment).write


def test_events_of_the_days_in_question_are_found_by_their_text(place):
    environment, put = place
    assert unrouted_events(CONFIG, environment, "A-1", NOW) == []
    put(name(NOW), LINES)
    put(name(NOW - timedelta(days=1)), LINES)
    put(name(NOW - timedelta(days=9)), LINES)
    put(name(NOW, "shard-02"), LINES)
    assert unrouted_events(CONFIG, environment, "A-1", NOW) == ['{"key": "A-1"}']
    assert len(unrouted_events(CONFIG, environment, "A-1", NOW - timedelta(days=3))) == 2
    assert unrouted_events(CONFIG, environment, "C-1", NOW - timedelta(days=30)) == []


def test_a_container_that_cannot_be_read_is_no_empty_one(monkeypatch):
    monkeypatch.delenv("LPM_UNROUTED", raising=False)
    with pytest.raises(EvidenceError, match=r"LPM_UNROUTED is not set\nNext step"):
        unrouted_events(CONFIG, CONFIG.environment("local"), "A-1", NOW)
    with pytest.raises(EvidenceError, match="role Storage Blob Data Reader"):
        unrouted_events(CONFIG, prod_with_a_connection_of_its_own(), "A-1", NOW)
