"""The Kafka side of Event Hubs: how to log in, and how to write."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from stream_job.settings import Kafka

DATABRICKS_VARIABLE = "DATABRICKS_RUNTIME_VERSION"  # set on every Databricks cluster, and only there

_OLD_WRITERS = "spark.sql.sources.useV1SourceList"

# Event Hubs drops idle connections after 240 s and closes
# those that publish more than 1046528 bytes; idempotence keeps a producer's own retries from changing the order.
_PRODUCER = {
    "acks": "all",
    "enable.idempotence": "true",
    "linger.ms": "50",
    "batch.size": "262144",
    "max.request.size": "1000000",
    "request.timeout.ms": "60000",
    "metadata.max.age.ms": "180000",
    "metadata.max.idle.ms": "180000",
    "connections.max.idle.ms": "180000",
}


class SecretMissingError(RuntimeError):
    """An environment variable that should hold a secret is not set."""


def options(kafka: Kafka, variables: Mapping[str, str]) -> dict[str, str]:
    """Options of Spark's Kafka sink.

    Args:
        kafka: Where and how to connect.
        variables: The process's environment; secrets are read from it.

    Raises:
        SecretMissingError: a variable that the settings name is not set.
    """
    # Databricks ships the Kafka client under another package name.
    package = "kafkashaded.org.apache.kafka" if DATABRICKS_VARIABLE in variables else "org.apache.kafka"
    secret = _secret(kafka.secret_variable, variables)
    if kafka.auth == "connection_string":
        login = {
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": _login_module(
                f"{package}.common.security.plain.PlainLoginModule",
                {"username": "$ConnectionString", "password": secret},
            ),
        }
    else:
        tenant = _secret(kafka.tenant_id_variable, variables)
        namespace = kafka.bootstrap.split(",")[0].rpartition(":")[0]
        oauth = f"{package}.common.security.oauthbearer"
        login = {
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.jaas.config": _login_module(
                f"{oauth}.OAuthBearerLoginModule",
                {
                    "clientId": _secret(kafka.client_id_variable, variables),
                    "clientSecret": secret,
                    "scope": f"https://{namespace}/.default",
                    "ssl.protocol": "SSL",
                },
            ),
            "sasl.oauthbearer.token.endpoint.url": f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
            "sasl.login.callback.handler.class": f"{oauth}.OAuthBearerLoginCallbackHandler",
        }
    properties = {"bootstrap.servers": kafka.bootstrap, "security.protocol": kafka.protocol, **login, **_PRODUCER}
    return {f"kafka.{name}": value for name, value in properties.items()}


def use_new_writer(spark: SparkSession) -> None:
    """Have Spark write to Kafka through its newer interface. Its older one loses what ``observe`` counts."""
    sources = spark.conf.get(_OLD_WRITERS, "").split(",")
    spark.conf.set(_OLD_WRITERS, ",".join(name for name in sources if name.strip() != "kafka"))


def write(messages: DataFrame, kafka_options: Mapping[str, str]) -> None:
    """Send messages (value, topic, partition) and wait until the hub has acknowledged every one."""
    messages.write.format("kafka").options(**kafka_options).mode("append").save()


def _login_module(name: str, values: Mapping[str, str]) -> str:
    pairs = " ".join(f'{key}="{_escaped(value)}"' for key, value in values.items())
    return f"{name} required {pairs};"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _secret(variable: str, variables: Mapping[str, str]) -> str:
    value = variables.get(variable, "")
    if not value:
        raise SecretMissingError(
            f"environment variable {variable} is not set; the job definition sets it from the pipeline's secret scope. "
            "Run bootstrap, which stores the secret, then deploy_stream"
        )
    return value
