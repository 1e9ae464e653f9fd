"""The name by which Spark knows its warehouse folder."""

import tempfile
from pathlib import Path

import pytest

from lpm.local.spark import _plain


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_without_special_characters_is_used_as_it_is(tmp_path: Path, links: Path) -> None:
    assert _plain(tmp_path / "plain") == tmp_path / "plain"
    assert not list(links.iterdir())


@pytest.mark.parametrize("name", ["with blank", "100%", "ä", "a#b"])
def test_a_folder_whose_name_a_uri_would_encode_is_reached_through_one_link(tmp_path: Path, name: str) -> None:
    link = _plain(tmp_path / name)
    assert link.readlink() == tmp_path / name
    assert _plain(tmp_path / name) == link
    assert _plain(tmp_path / f"{name} 2") != link


def test_something_else_in_the_place_of_the_link_is_refused(tmp_path: Path) -> None:
    link = _plain(tmp_path / "a b")
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RuntimeError, match="is not the link"):
        _plain(tmp_path / "a b")
