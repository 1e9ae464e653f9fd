"""The query's own checkpoint: which version of the source is completely read and sent.

Spark writes ``offsets/<batch>`` before a batch runs and ``commits/<batch>`` after it. What a committed batch's offset
covers has been acknowledged by the hub, so it is the heartbeat's version.
"""

import json
from dataclasses import dataclass
from pathlib import Path

LOG_VERSION = "v1"  # first line of an offset log file
SOURCE_VERSION = 1  # format of Delta's source offset that this module understands


class CheckpointError(RuntimeError):
    """The checkpoint holds something this job does not understand."""


@dataclass(frozen=True)
class SourceOffset:
    """How far the source is read. Every version up to ``complete_version`` is, once ``snapshot_running`` is false."""

    complete_version: int
    snapshot_running: bool


@dataclass(frozen=True)
class CommittedBatch:
    """The newest batch whose events are all acknowledged."""

    batch_id: int
    offset: SourceOffset


def parse_source_offset(text: str) -> SourceOffset:
    """Delta's source offset, as in the offset log and in the progress of a query.

    ``reservoirVersion`` is the version being read; whatever its ``index``, everything before it is read.

    Raises:
        CheckpointError: another format than this job knows.
    """
    try:
        offset = json.loads(text)
        version, source_version = offset["reservoirVersion"], offset["sourceVersion"]
        snapshot_running = offset["isStartingVersion"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"not an offset of a Delta source: {text[:300]!r}") from error
    if source_version != SOURCE_VERSION or type(version) is not int or type(snapshot_running) is not bool:
        raise CheckpointError(
            f"Delta source offset of format {source_version!r}, expected {SOURCE_VERSION}: {text[:300]!r}. "
            "A new runtime may have changed it; adapt stream_job.offsets before heartbeats can be sent again"
        )
    return SourceOffset(complete_version=version - 1, snapshot_running=snapshot_running)


def parse_offset_log(text: str) -> SourceOffset:
    """One file of the offset log: its version, the batch's metadata, then one line for each source.

    Raises:
        CheckpointError: another format, or not exactly one source.
    """
    lines = text.splitlines()
    if not lines or lines[0] != LOG_VERSION or len(lines) != 3:
        raise CheckpointError(f"expected an offset log {LOG_VERSION} with one source, found {text[:300]!r}")
    return parse_source_offset(lines[2])


def last_committed(checkpoint: Path) -> CommittedBatch | None:
    """The newest committed batch, or None before the first one.

    Raises:
        CheckpointError: the checkpoint is of a format this job does not know.
    """
    folder = checkpoint / "commits"
    batches = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    if not batches:
        return None
    newest = max(batches)
    return CommittedBatch(newest, parse_offset_log((checkpoint / "offsets" / str(newest)).read_text(encoding="utf-8")))


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
