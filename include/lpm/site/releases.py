"""Releases of the site in the evidence store: each is one object, and ``site/live.json`` names the one that is live.

A release is complete before it is named, so a reader meets one or the other, never a part of both.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lpm.clients.evidence import EvidenceStore
from lpm.procedures.outcome import Outcome
from lpm.site.page import minute
from lpm.site.reviews import Record

LIVE, RELEASES = "site/live.json", "site/"
KEPT = 5  # releases, the live one included
# MkDocs writes the day of the build into them, and it says nothing about the content.
OF_THE_DAY = ("sitemap.xml", "sitemap.xml.gz")


class Release(Record):
    """A site that was published. ``at`` is UTC, ``by`` whoever approved or triggered, ``run`` the DAG run."""

    digest: str
    at: datetime
    by: str
    run: str


class Live(Release):
    """The one that is served, and those before it that are still kept, the newest first."""

    before: tuple[Release, ...] = ()


def read_live(store: EvidenceStore) -> Live | None:
    """Which release is served, None before the first.

    Raises:
        EvidenceError: the store cannot be read.
    """
    kept = store.read(LIVE)
    return Live.model_validate_json(kept) if kept else None


def publish(store: EvidenceStore, site: Path, by: str, run: str, now: datetime) -> Outcome:
    """Make a built site the one that is served, unless it says the same as that one.

    Raises:
        EvidenceError: the store cannot be read or written. What was live before still is.
    """
    files = sorted(path for path in site.rglob("*") if path.is_file())
    digest, live = _digest(site, files), read_live(store)
    if live and live.digest == digest:
        return Outcome(False, f"the site says what it said before: release {digest[:12]} of {minute(live.at)} UTC")
    packed = _packed(site, files)
    store.write_bytes(release_name(digest), packed)
    before = tuple(
        Release.model_validate(one.model_dump())
        for one in ((live, *live.before) if live else ())
        if one.digest != digest
    )[: KEPT - 1]
    store.write(LIVE, Live(digest=digest, at=now, by=by, run=run, before=before).model_dump_json(indent=1))
    kept = {LIVE, release_name(digest), *(release_name(one.digest) for one in before)}
    for name in store.names(RELEASES):
        if name not in kept:
            store.delete(name)
    return Outcome(
        True, f"published release {digest[:12]}: {len(files)} files, {len(packed) / 1e6:.1f} MB", (f"by {by}",)
    )


def release_name(digest: str) -> str:
    """Name of the object that holds a release."""
    return f"{RELEASES}{digest}.zip"


def _digest(site: Path, files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        name = path.relative_to(site).as_posix()
        if name not in OF_THE_DAY:
            found.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return found.hexdigest()


def _packed(site: Path, files: Sequence[Path]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.write(path, path.relative_to(site).as_posix())
    return content.getvalue()
