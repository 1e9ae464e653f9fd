"""How long credentials are good, as far as anybody wrote it down. (Here because it needs Airflow.)"""

import json
from datetime import UTC, datetime

import pytest

from lpm.clients.credentials import CredentialError, expiry
from lpm.config import load_config
from lpm.config.alerts import load_alerts
from lpm.procedures.monitor.definitions import connections, look_at_credentials

CONFIG = load_config()
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def store(monkeypatch: pytest.MonkeyPatch, name: str, **extra: str) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "generic", "extra": extra}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T12:00:00+02:00", datetime(2026, 12, 1, 10, tzinfo=UTC)),
    ],
)
def test_a_date_beside_the_secret_is_when_it_ends(monkeypatch, text, expected):
    store(monkeypatch, "good", expires_on=text)
    store(monkeypatch, "silent")
    assert expiry(["good", "silent"]) == {"good": expected, "silent": None}


def test_a_date_that_is_none_and_a_connection_that_is_not_there_are_named(monkeypatch):
    store(monkeypatch, "odd", expires_on="soon")
    with pytest.raises(CredentialError, match="expires_on 'soon' of the Airflow connection odd is no ISO date"):
        expiry(["odd"])
    with pytest.raises(CredentialError, match="there is no Airflow connection never_made"):
        expiry(["never_made"])


def test_production_needs_the_connections_of_its_channels_and_its_storage_and_the_local_cloud_does_not():
    prod, local = (connections(CONFIG.environment(name), load_alerts()) for name in ("prod", "local"))
    assert {"lpm_storage_prod", "lpm_alerts_teams", "lpm_alerts_smtp", "lpm_alerts_on_call"} < set(prod)
    assert set(local) == {"edg_azure_local", "edg_databricks_local", "lpm_sql_local"}


def test_the_first_to_expire_is_told_and_what_nobody_wrote_down_is_said(monkeypatch):
    local = CONFIG.environment("local")
    store(monkeypatch, local.azure.connection, expires_on="2027-01-01")
    store(monkeypatch, local.databricks.connection, expires_on="2026-12-04")
    store(monkeypatch, local.sql.connection)
    [found] = look_at_credentials(local, load_alerts(), NOW)
    assert (found.signal, found.value) == ("credential_days_left", 10)
    assert found.detail == "edg_databricks_local on 2026-12-04; without expires_on: lpm_sql_local"


def test_nothing_is_known_when_nobody_wrote_anything_down_and_that_is_no_alarm(monkeypatch):
    local = CONFIG.environment("local")
    for name in connections(local, load_alerts()):
        store(monkeypatch, name)
    [found] = look_at_credentials(local, load_alerts(), NOW)
    assert found.value is None
    assert found.detail.startswith("without expires_on: ")
