"""The query's own checkpoint: which version of the source is completely read and sent.

Spark writes ``offsets/<batch>`` before a batch runs and ``commits/<batch>`` after it. What a committed batch's offset
covers has been acknowledged by the hub, so it is the heartbeat's version.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOG_VERSION = "v1"  # first line of an offset log file
SOURCE_VERSION = 1  # format of Delta's source offset that this module understands


class CheckpointError(RuntimeError):
    """The checkpoint holds something this job does not understand."""


@dataclass(frozen=True)
class SourceOffset:
    """How far the source is read: everything before ``version``, and of ``version`` the files up to ``index``."""

    version: int
    index: int  # below 0: nothing of the version
    snapshot_running: bool


@dataclass(frozen=True)
class Position:
    """What the newest committed batch has reached. Every version up to ``complete_version`` is acknowledged.

    ``complete_version`` is None while the initial snapshot is being sent.
    """

    batch_id: int
    complete_version: int | None


def parse_source_offset(text: str) -> SourceOffset:
    """Delta's source offset, as the offset log has it.

    Raises:
        CheckpointError: another format than this job knows.
    """
    try:
        offset = json.loads(text)
        version, index, source_version = offset["reservoirVersion"], offset["index"], offset["sourceVersion"]
        snapshot_running = offset["isStartingVersion"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"not an offset of a Delta source: {text[:300]!r}") from error
    types = [type(version), type(index), type(snapshot_running)]
    if source_version != SOURCE_VERSION or types != [int, int, bool]:
        raise CheckpointError(
            f"Delta source offset of format {source_version!r}, expected {SOURCE_VERSION}: {text[:300]!r}. "
            "A new runtime may have changed it; adapt stream_job.offsets before heartbeats can be sent again"
        )
    return SourceOffset(version, index, snapshot_running)


def parse_offset_log(text: str) -> SourceOffset:
    """One file of the offset log: its version, the batch's metadata, then one line for each source.

    Raises:
        CheckpointError: another format, or not exactly one source.
    """
    lines = text.splitlines()
    if not lines or lines[0] != LOG_VERSION or len(lines) != 3:
        raise CheckpointError(f"expected an offset log {LOG_VERSION} with one source, found {text[:300]!r}")
    return parse_source_offset(lines[2])


def position(checkpoint: Path, nothing_after: Callable[[int], bool]) -> Position | None:
    """What the newest committed batch has reached, None before the first one.

    A version with change files (updates, deletes, merges) leaves the offset inside that version although it is read as
    a whole; only the next version moves it on. A query that finds nothing more to read has read it.

    Args:
        checkpoint: Folder of the query's checkpoint.
        nothing_after: Whether everything is read with the batch of that id (:class:`stream_job.idle.IdleWatch`).

    Raises:
        CheckpointError: the checkpoint is of a format this job does not know.
    """
    folder = checkpoint / "commits"
    batches = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    if not batches:
        return None
    newest = max(batches)
    offset = parse_offset_log((checkpoint / "offsets" / str(newest)).read_text(encoding="utf-8"))
    if offset.snapshot_running:
        return Position(newest, None)
    whole = offset.index >= 0 and nothing_after(newest)  # asked after the commit was seen
    return Position(newest, offset.version if whole else offset.version - 1)


def query_id(checkpoint: Path) -> str:
    """Id of the query that owns the checkpoint; the same over restarts.

    Raises:
        CheckpointError: the checkpoint has no readable metadata.
    """
    path = checkpoint / "metadata"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not name the query: {error}") from error
