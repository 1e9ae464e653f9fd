"""Where status, alert state and evidence are kept. (Here because it needs Airflow.)"""

import json
import os
import threading
import uuid
from contextlib import contextmanager

import pytest
from blob_server import blob_server

from lpm.clients.evidence import EvidenceError, EvidenceStore
from lpm.config import load_config

LOCAL = load_config().environment("local")


@pytest.fixture
def local(tmp_path, monkeypatch):
    """The store of the local cloud, a folder."""
    monkeypatch.setenv("LPM_EVIDENCE", str(tmp_path / "evidence of the local cloud"))
    return EvidenceStore(LOCAL)


@contextmanager
def in_azure(url: str, monkeypatch: pytest.MonkeyPatch):
    """The store of an Azure environment, whose storage account is a server of this test."""
    prod = load_config().environment("prod")
    evidence = prod.evidence.model_copy(update={"url": url, "connection": f"account_{uuid.uuid4().hex}"})
    with blob_server() as server:
        connection = json.dumps({"conn_type": "adls", "extra": {"connection_string": server.connection_string}})
        monkeypatch.setenv(f"AIRFLOW_CONN_{evidence.connection.upper()}", connection)
        yield EvidenceStore(prod.model_copy(update={"evidence": evidence}))


@pytest.fixture(params=["local", "abfs://evidence", "abfs://evidence/lpm/prod"])
def store(request, monkeypatch):
    """Each kind of store."""
    if request.param == "local":
        yield request.getfixturevalue("local")
        return
    with in_azure(request.param, monkeypatch) as made:
        yield made


def test_what_was_written_is_read_and_what_was_not_is_none(store):
    assert store.read("status.json") is None
    assert store.names() == []
    store.write("status.json", "{}")
    store.write("status.json", '{"company": "Öl & Gas"}')
    assert store.read("status.json") == '{"company": "Öl & Gas"}'


def test_an_object_may_be_anything_and_can_be_deleted_more_than_once(store):
    content = bytes(range(256)) * 5_000
    store.write_bytes("site/a.zip", content)
    store.write("site/live.json", "{}")
    assert store.read_bytes("site/a.zip") == content
    assert store.read_bytes("site/b.zip") is None
    for _ in range(2):
        store.delete("site/a.zip")
        assert store.read_bytes("site/a.zip") is None
        assert store.names("site/") == ["site/live.json"]


def test_names_are_found_by_how_they_begin(store):
    for name in ("reconcile/2026/11/a.json", "reconcile/2026/12/b.json", "reconcile-latest.json", "alerts/state.json"):
        store.write(name, "x")
    assert store.names("reconcile/2026/1") == ["reconcile/2026/11/a.json", "reconcile/2026/12/b.json"]
    assert store.names("reconcile") == [
        "reconcile-latest.json",
        "reconcile/2026/11/a.json",
        "reconcile/2026/12/b.json",
    ]
    assert store.names("nothing/here") == []
    assert len(store.names()) == 4


def test_a_reader_never_sees_half_of_an_object(local):
    store = local
    texts = {letter * 2_000_000 for letter in "ab"}
    store.write("big", "a" * 2_000_000)
    done = threading.Event()

    def write() -> None:
        for _ in range(10):
            for text in texts:
                store.write("big", text)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert store.read("big") in texts
    writer.join()
    assert store.names() == ["big"], "no draft is left or listed"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a//b", "../outside", "a/../../outside"])
def test_a_name_cannot_leave_the_store(store, name):
    with pytest.raises(ValueError, match="is no name of an object"):
        store.write(name, "x")


def test_a_refusal_names_the_place_and_the_next_step(local, tmp_path):
    (tmp_path / "evidence of the local cloud").write_text("a file where the folder should be")
    with pytest.raises(EvidenceError, match=r"(?s)cannot write status.json at file://.*Next step: "):
        local.write("status.json", "{}")


def test_the_local_environment_needs_its_folder(monkeypatch):
    monkeypatch.delenv("LPM_EVIDENCE", raising=False)
    with pytest.raises(EvidenceError, match=r"LPM_EVIDENCE is not set\nNext step: "):
        EvidenceStore(LOCAL)


def test_azure_takes_the_container_from_the_configuration_and_the_account_from_the_connection(monkeypatch):
    prod = load_config().environment("prod")
    monkeypatch.setenv("LPM_EVIDENCE", os.devnull)  # only the local environment looks at it
    name = f"AIRFLOW_CONN_{prod.evidence.connection.upper()}"
    monkeypatch.setenv(name, '{"conn_type": "adls", "extra": {"account_name": "stlpmprodexample"}}')
    root = EvidenceStore(prod)._root
    assert (root.bucket, root.conn_id, root.fs.account_name) == ("evidence", "lpm_storage_prod", "stlpmprodexample")


@pytest.mark.parametrize("connection", [None, '{"conn_type": "adls"}'])
def test_a_connection_that_is_missing_or_empty_is_named(monkeypatch, connection):
    devtest = load_config().environment("devtest")
    if connection:
        monkeypatch.setenv(f"AIRFLOW_CONN_{devtest.evidence.connection.upper()}", connection)
    for use in (EvidenceStore(devtest).names, lambda: EvidenceStore(devtest).write("status.json", "{}")):
        with pytest.raises(EvidenceError, match=r"(?s)Airflow connection 'lpm_storage_devtest'.*Next step: "):
            use()
