"""Logging in to Event Hubs, and what a failure tells its reader."""

import pytest

from stream_job.main import explained
from stream_job.settings import Kafka
from stream_job.sink import SecretMissingError, options

SECRET = 'Endpoint=sb://x/;SharedAccessKey=a"b\\c='


def kafka(auth: str) -> Kafka:
    return Kafka("ns.servicebus.windows.net:9093", "SASL_SSL", auth, "SECRET", "CLIENT", "TENANT")  # type: ignore[arg-type]


def test_a_connection_string_is_the_password_of_a_fixed_user() -> None:
    login = options(kafka("connection_string"), {"SECRET": SECRET})
    assert login["kafka.sasl.mechanism"] == "PLAIN"
    assert login["kafka.sasl.jaas.config"] == (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        'username="$ConnectionString" password="Endpoint=sb://x/;SharedAccessKey=a\\"b\\\\c=";'
    )


def test_entra_logs_in_with_a_token_for_the_namespace() -> None:
    login = options(kafka("entra"), {"SECRET": "s", "CLIENT": "c", "TENANT": "t"})
    assert login["kafka.sasl.mechanism"] == "OAUTHBEARER"
    assert 'scope="https://ns.servicebus.windows.net/.default"' in login["kafka.sasl.jaas.config"]
    assert login["kafka.sasl.oauthbearer.token.endpoint.url"] == "https://login.microsoftonline.com/t/oauth2/v2.0/token"


@pytest.mark.parametrize("auth", ["connection_string", "entra"])
def test_databricks_has_the_client_under_another_name(auth: str) -> None:
    variables = {"SECRET": "s", "CLIENT": "c", "TENANT": "t"}
    assert "kafkashaded" not in str(options(kafka(auth), variables))
    shaded = options(kafka(auth), variables | {"DATABRICKS_RUNTIME_VERSION": "18.0"})
    assert shaded["kafka.sasl.jaas.config"].startswith("kafkashaded.org.apache.kafka.")
    assert auth != "entra" or shaded["kafka.sasl.login.callback.handler.class"].startswith("kafkashaded.")


def test_a_missing_secret_names_its_variable_and_the_next_step() -> None:
    with pytest.raises(SecretMissingError, match=r"CLIENT is not set.*Run bootstrap"):
        options(kafka("entra"), {"SECRET": "s", "TENANT": "t"})


def test_writes_wait_for_every_replica_and_stay_below_the_limit_of_event_hubs() -> None:
    login = options(kafka("connection_string"), {"SECRET": "s"})
    assert login["kafka.acks"] == "all"
    assert login["kafka.enable.idempotence"] == "true"
    assert int(login["kafka.max.request.size"]) < 1_046_528


def test_a_failure_is_one_line_with_the_cause_and_the_next_step() -> None:
    trace = (
        "[STREAM_FAILED] Query [id = 1] terminated with exception: [DELTA_SCHEMA_CHANGED] Detected schema change.\n"
        "\tat org.apache.spark.X\n\nCaused by: org.apache.spark.sql.delta.DeltaIllegalStateException: Detected schema\n"
    )
    line = explained(RuntimeError(trace))
    assert "\n" not in line
    assert line.startswith("org.apache.spark.sql.delta.DeltaIllegalStateException: Detected schema -- next: ")
    assert "the next run goes on by itself" in line
    assert explained(RuntimeError("plain\nsecond")) == "plain"
    assert explained(RuntimeError()) == "RuntimeError"
