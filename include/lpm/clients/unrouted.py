"""The events that the router kept as no configured company owns them: JSON lines in a container, a folder a day."""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from lpm.clients.evidence import EvidenceError
from lpm.config import Config, Environment
from lpm.render import names


def unrouted_events(config: Config, environment: Environment, containing: str, since: datetime) -> list[str]:
    """The unrouted events, as JSON text, that hold a text and came on the day of ``since`` (UTC) or later.

    Raises:
        EvidenceError: the container cannot be read; names it and the next step.
    """
    from airflow.sdk import ObjectStoragePath

    url, connection = _place(environment)
    root = ObjectStoragePath(url, conn_id=connection)
    lines: list[str] = []
    try:
        root.fs.invalidate_cache()
        for day in _days(since.astimezone(UTC), datetime.now(UTC)):
            folder = f"{root.path.rstrip('/')}/{names.unrouted_folder(config)}/{day:%Y/%m/%d}"
            with suppress(FileNotFoundError):  # nothing came on that day
                for path in root.fs.find(folder):
                    lines += root.fs.cat_file(path).decode("utf-8").splitlines()
    except Exception as error:  # each storage library raises its own
        with_connection = f" with the Airflow connection {connection!r}" if connection else ""
        raise EvidenceError(
            f"cannot read unrouted events at {url}{with_connection}: {type(error).__name__}: {error}\n"
            "Next step: check that the connection is of the account storage.account, and that its identity has the "
            "role Storage Blob Data Reader on the container (bootstrap gives it)."
        ) from error
    return [line for line in lines if containing in line]


def _place(environment: Environment) -> tuple[str, str | None]:
    if environment.kind != "local":
        return f"abfs://{environment.storage.unrouted_container}", environment.evidence.connection
    folder = os.environ.get(names.UNROUTED_VARIABLE)
    if not folder:
        raise EvidenceError(
            f"environment {environment.name} is local and {names.UNROUTED_VARIABLE} is not set\n"
            "Next step: run it in the local cloud's Airflow (`lpm local up`), or set the variable to a folder."
        )
    return f"file://{os.path.abspath(folder)}", None


def _days(first: datetime, last: datetime) -> list[datetime]:
    return [first + timedelta(days=number) for number in range((last.date() - first.date()).days + 1)]
