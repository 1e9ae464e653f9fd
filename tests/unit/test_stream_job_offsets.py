"""The checkpoint: which version is completely sent."""

import json
from pathlib import Path

import pytest

from stream_job.offsets import CheckpointError, last_committed, parse_offset_log, parse_source_offset, query_id


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


def test_everything_before_the_version_being_read_is_complete() -> None:
    assert parse_source_offset(offset(12)).complete_version == 11
    assert parse_source_offset(offset(12, index=3)).complete_version == 11
    assert not parse_source_offset(offset(12)).snapshot_running


def test_a_running_snapshot_is_seen() -> None:
    assert parse_source_offset(offset(12, snapshot=True)).snapshot_running


@pytest.mark.parametrize("text", ["", "{}", "[1]", "-", offset(3, source_version=4), offset(3, source_version="1")])
def test_an_unknown_source_offset_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        parse_source_offset(text)


def test_the_offset_log_has_its_version_and_one_source() -> None:
    assert parse_offset_log(f'v1\n{{"batchWatermarkMs":0}}\n{offset(5)}').complete_version == 4
    for text in ["", f"v2\n{{}}\n{offset(5)}", f"v1\n{{}}\n{offset(5)}\n{offset(6)}", "v1\n{}"]:
        with pytest.raises(CheckpointError, match="expected an offset log v1 with one source"):
            parse_offset_log(text)


def test_only_a_committed_batch_counts(tmp_path: Path) -> None:
    assert last_committed(tmp_path) is None
    for folder in ("offsets", "commits"):
        (tmp_path / folder).mkdir()
    assert last_committed(tmp_path) is None
    for batch, version in [(9, 20), (10, 25), (11, 31)]:
        (tmp_path / "offsets" / str(batch)).write_text(f"v1\n{{}}\n{offset(version)}")
    for name in ("9", "10", ".10.crc", "11.tmp"):
        (tmp_path / "commits" / name).touch()
    committed = last_committed(tmp_path)
    assert committed is not None
    assert (committed.batch_id, committed.offset.complete_version) == (10, 24)


def test_the_query_keeps_its_id(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not name the query"):
        query_id(tmp_path)
    (tmp_path / "metadata").write_text('{"id":"0f7"}')
    assert query_id(tmp_path) == "0f7"
