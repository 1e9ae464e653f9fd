"""The checkpoint: which version is completely sent."""

import json
from pathlib import Path

import pytest

from stream_job.offsets import CheckpointError, Position, parse_offset_log, parse_source_offset, position, query_id


def offset(version: int, *, snapshot: bool = False, index: int = -1, source_version: object = 1) -> str:
    return json.dumps(
        {
            "sourceVersion": source_version,
            "reservoirId": "b1",
            "reservoirVersion": version,
            "index": index,
            "isStartingVersion": snapshot,
        }
    )


def checkpoint(folder: Path, committed: str) -> Path:
    for name, text in [("offsets", f"v1\n{{}}\n{committed}"), ("commits", "v1\n{}")]:
        (folder / name).mkdir()
        (folder / name / "7").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("committed", "idle", "complete"),
    [
        (offset(12), False, 11),
        (offset(12), True, 11),
        (offset(12, index=3), False, 11),  # perhaps a part of version 12 is still to come
        (offset(12, index=3), True, 12),  # the query looked: nothing of it is
        (offset(12, snapshot=True), True, None),
        (offset(12, snapshot=True, index=5), True, None),
    ],
)
def test_only_versions_that_are_read_to_their_end_are_complete(
    tmp_path: Path, committed: str, idle: bool, complete: int | None
) -> None:
    assert position(checkpoint(tmp_path, committed), lambda _: idle) == Position(7, complete)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "-", offset(3, source_version=4), offset(3, source_version="1")])
def test_an_unknown_source_offset_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        parse_source_offset(text)


def test_the_offset_log_has_its_version_and_one_source() -> None:
    assert parse_offset_log(f'v1\n{{"batchWatermarkMs":0}}\n{offset(5)}').version == 5
    for text in ["", f"v2\n{{}}\n{offset(5)}", f"v1\n{{}}\n{offset(5)}\n{offset(6)}", "v1\n{}"]:
        with pytest.raises(CheckpointError, match="expected an offset log v1 with one source"):
            parse_offset_log(text)


def test_only_a_committed_batch_counts(tmp_path: Path) -> None:
    assert position(tmp_path, lambda _: True) is None
    for folder in ("offsets", "commits"):
        (tmp_path / folder).mkdir()
    assert position(tmp_path, lambda _: True) is None
    for batch, version in [(9, 20), (10, 25), (11, 31)]:
        (tmp_path / "offsets" / str(batch)).write_text(f"v1\n{{}}\n{offset(version)}")
    for name in ("9", "10", ".10.crc", "11.tmp"):
        (tmp_path / "commits" / name).touch()
    assert position(tmp_path, lambda _: False) == Position(10, 24)


def test_the_query_keeps_its_id(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not name the query"):
        query_id(tmp_path)
    (tmp_path / "metadata").write_text('{"id":"0f7"}')
    assert query_id(tmp_path) == "0f7"
