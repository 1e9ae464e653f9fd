"""Status, alert state and evidence of an environment, kept as text objects through Airflow's object storage.

In Azure they lie in a container of the environment's storage account, reached with an Airflow connection; the local
cloud keeps them in a folder.
"""

import os
import uuid
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from lpm.config import Environment
from lpm.render import names

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

LOCAL_PROTOCOLS = ("", "file", "local")


class EvidenceError(RuntimeError):
    """The place is not known, or it refused. The message names it and the next step."""


class Readable(Protocol):
    """Where evidence is read: an :class:`EvidenceStore`, or a folder."""

    def read(self, name: str) -> str | None:
        """The text of an object, None if there is none."""


class Writable(Readable, Protocol):
    """Where evidence is kept."""

    def write(self, name: str, text: str) -> None:
        """Replace an object as a whole."""


def keep_as_latest(store: Writable, folder: str, at: datetime, text: str) -> str:
    """Keep a text by its time, and as the latest of its folder. Returns the name of the first.

    Raises:
        EvidenceError: the store cannot be reached or refuses.
    """
    name = dated_name(folder, at)
    store.write(name, text)
    store.write(latest_name(folder), text)
    return name


def dated_name(folder: str, at: datetime) -> str:
    """Name of the object that is kept by its time (UTC)."""
    return f"{folder}/{at.astimezone(UTC):%Y-%m-%dT%H-%M-%S}.json"


def latest_name(folder: str) -> str:
    """Name of the latest object of a folder."""
    return f"{folder}/latest.json"


class EvidenceStore:
    """The objects of one environment. Names are relative and have slashes: ``status.json``, ``reconcile/2026/….json``.

    Args:
        environment: Whose objects; its ``evidence`` says where they are.

    Raises:
        EvidenceError: the environment is local and nobody said which folder.
    """

    def __init__(self, environment: Environment) -> None:
        self._connection: str | None = environment.evidence.connection
        self._url = environment.evidence.url
        if environment.kind == "local":
            folder = os.environ.get(names.EVIDENCE_VARIABLE)
            if not folder:
                raise EvidenceError(
                    f"environment {environment.name} is local and {names.EVIDENCE_VARIABLE} is not set\n"
                    "Next step: run it in the local cloud's Airflow (`lpm local up`), or set the variable to a folder."
                )
            self._url, self._connection = f"file://{os.path.abspath(folder)}", None

    def read(self, name: str) -> str | None:
        """The text of an object, None if there is none.

        Raises:
            EvidenceError: the store cannot be reached or refuses.
        """
        content = self.read_bytes(name)
        return None if content is None else content.decode("utf-8")

    def read_bytes(self, name: str) -> bytes | None:
        """The content of an object, None if there is none.

        Raises:
            EvidenceError: the store cannot be reached or refuses.
        """
        path = self._path(name)
        try:
            content: bytes = self._root.fs.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # each storage library raises its own
            raise self._failure(f"read {name}", error) from error
        return content

    def write(self, name: str, text: str) -> None:
        """Replace an object as a whole: a reader finds the old text or the new one, never a part.

        Raises:
            EvidenceError: the store cannot be reached or refuses.
        """
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace an object as a whole, as :meth:`write` does.

        Raises:
            EvidenceError: the store cannot be reached or refuses.
        """
        path = self._path(name)
        try:
            filesystem = self._root.fs
            if self._root.protocol not in LOCAL_PROTOCOLS:
                filesystem.pipe_file(path, content)  # an object appears when all of it was sent
                return
            filesystem.makedirs(os.path.dirname(path), exist_ok=True)
            draft = f"{path}.{uuid.uuid4().hex}.draft"
            filesystem.pipe_file(draft, content)
            os.replace(draft, path)
        except Exception as error:
            raise self._failure(f"write {name}", error) from error

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no fault.

        Raises:
            EvidenceError: the store cannot be reached or refuses.
        """
        path = self._path(name)
        try:
            self._root.fs.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failure(f"delete {name}", error) from error

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects that begin with ``prefix``, sorted.

        Raises:
            EvidenceError: the store cannot be reached or refuses.
        """
        root, folder = self._root.path.rstrip("/"), prefix.rpartition("/")[0]
        try:
            filesystem = self._root.fs
            filesystem.invalidate_cache()
            found = filesystem.find(f"{root}/{folder}".rstrip("/"))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failure(f"list {prefix}*", error) from error
        listed = (path.removeprefix(f"{root}/") for path in map(str, found))
        return sorted(name for name in listed if name.startswith(prefix) and not name.endswith(".draft"))

    @cached_property
    def _root(self) -> "ObjectStoragePath":
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(self._url, conn_id=self._connection)

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if not all(parts) or ".." in parts or "." in parts:
            raise ValueError(f"{name!r} is no name of an object; expected parts with slashes between them")
        return f"{self._root.path.rstrip('/')}/{name}"

    def _failure(self, what: str, error: Exception) -> EvidenceError:
        connection = f" with the Airflow connection {self._connection!r}" if self._connection else ""
        return EvidenceError(
            f"cannot {what} at {self._url}{connection}: {type(error).__name__}: {error}\n"
            "Next step: check the connection's account and login, and that its identity has the role Storage Blob Data "
            "Contributor on the container (bootstrap creates the container)."
        )
