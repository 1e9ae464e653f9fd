"""What the stream job needs to log in comes from the Airflow connection for Azure. (Here because it needs Airflow.)"""

import json

import pytest

from lpm.clients.event_hubs_secrets import SecretMissing, event_hubs_secrets
from lpm.config import load_config

CONFIG = load_config()


def connect(monkeypatch: pytest.MonkeyPatch, environment: str, **extra: str) -> None:
    name = CONFIG.environment(environment).azure.connection
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "azure", "extra": extra}))


def test_a_connection_string_is_one_secret(monkeypatch):
    connect(monkeypatch, "local", event_hubs_connection_string="Endpoint=sb://x/;SharedAccessKey=secret")
    assert event_hubs_secrets(CONFIG.environment("local")) == {"event-hubs": "Endpoint=sb://x/;SharedAccessKey=secret"}


def test_entra_needs_secret_tenant_and_the_jobs_own_application_id(monkeypatch):
    connect(monkeypatch, "prod", event_hubs_client_secret="a secret", tenantId="a tenant")
    assert event_hubs_secrets(CONFIG.environment("prod")) == {
        "event-hubs": "a secret",
        "event-hubs-client-id": CONFIG.environment("prod").databricks.run_as,
        "event-hubs-tenant-id": "a tenant",
    }


@pytest.mark.parametrize(
    ("environment", "missing"), [("local", "event_hubs_connection_string"), ("prod", "event_hubs_client_secret")]
)
def test_a_missing_secret_names_the_connection_the_key_and_the_next_step(monkeypatch, environment, missing):
    connect(monkeypatch, environment, tenantId="a tenant")
    with pytest.raises(SecretMissing, match=rf"edg_azure_{environment} has no '{missing}'.*\nNext step: add it"):
        event_hubs_secrets(CONFIG.environment(environment))
