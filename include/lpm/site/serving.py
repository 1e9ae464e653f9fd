"""The published site on the disk of whoever serves it: from the evidence store, one release at a time.

A release is unpacked once, beside the one before it, and only then served. When the evidence store cannot be reached
the last release stays: the site is what people open when something is wrong.
"""

import io
import logging
import os
import shutil
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

from lpm.clients.evidence import EvidenceError, EvidenceStore
from lpm.site.releases import LIVE, Live, release_name

ASK_AGAIN_SECONDS = 5.0  # a page and what it loads ask the store once
PREVIOUS = 1  # releases before the served one that stay: somebody may be reading from them
log = logging.getLogger(__name__)


def state_folder() -> Path:
    """Where this machine keeps what it can get again: below Airflow's own folder."""
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / "lpm-site"


class PublishedSite:
    """The site of one environment.

    Args:
        store: Makes the environment's evidence store; it may refuse.
        folder: Where releases are unpacked. Several processes may share it.
    """

    def __init__(self, store: Callable[[], EvidenceStore], folder: Path) -> None:
        self._store, self._folder = store, folder
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._served: Path | None = None

    def release(self) -> Path | None:
        """The folder of the release to serve now; None when nothing was published yet.

        Raises:
            EvidenceError: the store cannot be reached, and no release was ever unpacked here.
        """
        with self._lock:
            known = self._served is not None and self._served.is_dir()  # somebody may clean up the disk
            if not known or time.monotonic() - self._asked >= ASK_AGAIN_SECONDS:
                self._served = self._newest()
                self._asked = time.monotonic()
            return self._served

    def _newest(self) -> Path | None:
        try:
            store = self._store()
            kept = store.read(LIVE)
            if kept is None:
                return None
            return self._unpacked(store, Live.model_validate_json(kept))
        except EvidenceError as error:
            last = self._last()
            if last is None:
                raise
            log.warning("the last release of the runbook site is served: %s", error)
            return last

    def _unpacked(self, store: EvidenceStore, live: Live) -> Path:
        folder = self._folder / live.digest
        if folder.is_dir():
            return folder
        content = store.read_bytes(release_name(live.digest))
        if content is None:
            raise EvidenceError(
                f"{LIVE} names {release_name(live.digest)}, which is not there\nNext step: trigger publish_docs."
            )
        draft = self._folder / f"{live.digest}.{uuid.uuid4().hex}.draft"
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            packed.extractall(draft)
        for path in draft.rglob("*"):  # the same on each server, and other than in any other release: see ETag
            os.utime(path, (live.at.timestamp(), live.at.timestamp()))
        try:
            draft.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(draft, ignore_errors=True)
        self._forget_older()
        return folder

    def _last(self) -> Path | None:
        return self._served or next(iter(self._releases()), None)

    def _releases(self) -> list[Path]:
        """Those on the disk, the one that was unpacked last first."""
        found = [path for path in self._folder.glob("*") if path.is_dir() and path.suffix != ".draft"]
        return sorted(found, key=lambda path: path.stat().st_ctime, reverse=True)

    def _forget_older(self) -> None:
        for path in self._releases()[1 + PREVIOUS :]:
            shutil.rmtree(path, ignore_errors=True)
