"""A copy of the shipped configuration that a test may spoil."""

import shutil
from pathlib import Path

import pytest

from lpm.config import config_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The copy."""
    return Path(shutil.copytree(config_folder(), tmp_path / "config"))
