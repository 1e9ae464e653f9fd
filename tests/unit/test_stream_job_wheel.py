"""The wheel: reproducible, complete, its version made from its content."""

import shutil
import zipfile
from pathlib import Path

import pytest

from lpm.procedures import wheel


def test_equal_sources_give_equal_wheels_and_other_sources_another_version(tmp_path: Path) -> None:
    first = wheel.build_wheel(tmp_path / "one")
    second = wheel.build_wheel(tmp_path / "two")
    assert first.name == second.name == f"stream_job-{wheel.wheel_version()}-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    changed = shutil.copytree(wheel.SOURCE_FOLDER, tmp_path / "stream_job")
    (changed / "main.py").write_text("# other\n", encoding="utf-8")
    assert wheel.wheel_version(changed) != wheel.wheel_version()


def test_the_wheel_has_every_module_and_both_entry_points(tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel.build_wheel(tmp_path)) as archive:
        names = archive.namelist()
        entry_points = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    modules = {path.name for path in wheel.SOURCE_FOLDER.glob("*.py")}
    assert {f"stream_job/{module}" for module in modules} <= set(names)
    assert "main = stream_job.main:main" in entry_points
    assert "backfill = stream_job.backfill:main" in entry_points


def test_a_missing_setuptools_and_a_broken_project_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "stream_job"
    broken.mkdir()
    (broken / "pyproject.toml").write_text("[project\n", encoding="utf-8")
    with pytest.raises(wheel.WheelError, match="was not built"):
        wheel.build_wheel(tmp_path / "out", broken)
    monkeypatch.setattr(wheel, "find_spec", lambda _: None)
    with pytest.raises(wheel.WheelError, match="needs setuptools"):
        wheel.build_wheel(tmp_path / "out")
