"""What the stream job needs to log in to Event Hubs, from the Airflow connection for Azure.

The connection's extra holds the one secret that the environment's way of logging in needs, so that no secret has to be
in the configuration: ``event_hubs_connection_string`` (a shared access policy with Send), or with Entra
``event_hubs_client_secret`` of the service principal ``databricks.run_as`` and ``tenantId``.
"""

from collections.abc import Mapping

from lpm.config import Environment
from lpm.render import names

CONNECTION_STRING, CLIENT_SECRET, TENANT = "event_hubs_connection_string", "event_hubs_client_secret", "tenantId"


class SecretMissing(LookupError):  # noqa: N818  reads as what is wrong
    """The Airflow connection has no such secret. The message says which one and where it belongs."""


def event_hubs_secrets(environment: Environment) -> Mapping[str, str]:
    """Values by their key in the Databricks secret scope. Airflow masks them in logs.

    Raises:
        SecretMissing: the connection does not hold what this way of logging in needs.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    extra = BaseHook.get_connection(environment.azure.connection).extra_dejson

    def needed(key: str) -> str:
        if value := extra.get(key):
            mask_secret(value)
            return str(value)
        raise SecretMissing(
            f"the Airflow connection {environment.azure.connection} has no {key!r} in its extra; environment "
            f"{environment.name} needs it for kafka_auth: {environment.event_hubs.kafka_auth}\n"
            "Next step: add it to the connection, then trigger bootstrap again."
        )

    if environment.event_hubs.kafka_auth == "connection_string":
        return {names.EVENT_HUBS_SECRET_KEY: needed(CONNECTION_STRING)}
    return {
        names.EVENT_HUBS_SECRET_KEY: needed(CLIENT_SECRET),
        names.EVENT_HUBS_CLIENT_ID_KEY: environment.databricks.run_as,
        names.EVENT_HUBS_TENANT_ID_KEY: needed(TENANT),
    }
