"""The command line and the derived files."""

import shutil
from pathlib import Path

import pytest

from lpm import cli, derived
from lpm.config import config_folder, load_config
from lpm.local import paths


def test_the_shipped_configuration_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check"]) == 0
    assert "no problem found" in capsys.readouterr().out


def test_a_broken_configuration_is_exit_1_with_every_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "config"
    shutil.copytree(config_folder(), folder)
    (folder / "companies.yml").write_text("shards: [shard-01]\ncompanies: []\nmore: 1\n")
    (folder / "environments" / "prod.yml").write_text("kind: clouds\n")
    monkeypatch.setenv("LPM_CONFIG", str(folder))
    load_config.cache_clear()
    try:
        assert cli.main(["config", "check"]) == 1
    finally:
        load_config.cache_clear()
    told = capsys.readouterr().err
    assert "companies.yml:3: more" in told
    assert "environments/prod.yml:1: kind" in told


def test_derived_files_are_the_same_every_time() -> None:
    load_config.cache_clear()
    assert derived.rendered(load_config()) == derived.rendered(load_config())


def test_drift_is_shown_and_mended_and_what_nobody_renders_is_deleted(tmp_path: Path) -> None:
    config = load_config()
    derived.write(derived.drifted(config, tmp_path), tmp_path)
    assert derived.drifted(config, tmp_path) == []
    changed = tmp_path / next(path for path in derived.rendered(config) if path.startswith("asa/"))
    changed.write_text("changed by hand")
    old = tmp_path / "asa" / "gone" / "shard-09" / "router.asaql"
    old.parent.mkdir(parents=True)
    old.write_text("SELECT 1")
    own = tmp_path / "asa" / "README.md"
    own.write_text("written by hand")
    drifts = derived.drifted(config, tmp_path)
    assert {drift.path for drift in drifts} == {p.relative_to(tmp_path).as_posix() for p in (changed, old)}
    assert "-changed by hand\n\\ No newline at end of file\n" in "".join(drift.diff() for drift in drifts)
    derived.write(drifts, tmp_path)
    assert derived.drifted(config, tmp_path) == []
    assert not (tmp_path / "asa" / "gone").exists()
    assert own.exists()


def test_status_of_a_cloud_that_never_ran_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LPM_HOME", str(tmp_path))
    assert cli.main(["local", "status"]) == 1
    assert "never started" in capsys.readouterr().out
    assert paths.cloud_folder() == tmp_path / "cloud"
