"""How long the credentials of Airflow connections are good.

No provider tells when a secret expires. Whoever stores one writes the date beside it: ``expires_on`` (ISO date or time,
UTC) in the connection's extra.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

EXPIRES_ON = "expires_on"


class CredentialError(LookupError):
    """A connection is missing, or its date is none. The message names it."""


def expiry(connections: Iterable[str]) -> Mapping[str, datetime | None]:
    """When each connection's credential ends (UTC); None when nobody wrote it down.

    Raises:
        CredentialError: a connection does not exist, or its ``expires_on`` is no date.
    """
    return {name: _expiry(name) for name in connections}


def _expiry(name: str) -> datetime | None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        text = BaseHook.get_connection(name).extra_dejson.get(EXPIRES_ON)
    except AirflowNotFoundException as error:
        raise CredentialError(
            f"there is no Airflow connection {name}; create it, or take it out of the config"
        ) from error
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise CredentialError(f"{EXPIRES_ON} {text!r} of the Airflow connection {name} is no ISO date") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
