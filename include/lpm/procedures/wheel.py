"""Build the stream job's wheel."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

BASE_VERSION = "0.1.0"
SOURCE_FOLDER = Path(__file__).resolve().parents[2] / "stream_job"
# A wheel is a zip file: its entries carry times. The earliest a zip can hold makes equal content equal bytes.
REPRODUCIBLE_EPOCH = "315532800"

_BUILD = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"


class WheelError(RuntimeError):
    """The wheel could not be built."""


def wheel_version(source: Path = SOURCE_FOLDER) -> str:
    """``0.1.0+<first 8 hex digits of the SHA-256 of the sources>``: another version exactly when the code differs."""
    digest = hashlib.sha256()
    for path in _sources(source):
        content = path.read_bytes()
        digest.update(f"{path.name}:{len(content)}:".encode() + content)
    return f"{BASE_VERSION}+{digest.hexdigest()[:8]}"


def wheel_name(source: Path = SOURCE_FOLDER) -> str:
    """The file name that :func:`build_wheel` gives, without building."""
    return f"stream_job-{wheel_version(source)}-py3-none-any.whl"


def build_wheel(target_folder: Path, source: Path = SOURCE_FOLDER) -> Path:
    """Build the wheel into ``target_folder`` and return its path. Equal sources give equal bytes. Needs no network.

    Raises:
        WheelError: setuptools is missing, or the build failed; the message has what it said.
    """
    if find_spec("setuptools") is None:
        raise WheelError(
            f"building the stream job's wheel needs setuptools, which {sys.executable} lacks; install requirements.txt"
        )
    target_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lpm-wheel-") as folder:
        copy = Path(folder) / source.name
        copy.mkdir()
        for path in _sources(source):
            shutil.copyfile(path, copy / path.name)
            (copy / path.name).chmod(0o644)  # the zip holds modes too
        project = copy / "pyproject.toml"
        project.write_text(
            re.sub(
                r'^version = ".*"$',
                f'version = "{wheel_version(source)}"',
                project.read_text(encoding="utf-8"),
                count=1,
                flags=re.MULTILINE,
            ),
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, "dist"],
            cwd=copy,
            env={"PATH": "", "SOURCE_DATE_EPOCH": REPRODUCIBLE_EPOCH},
            capture_output=True,
            text=True,
            check=False,
        )
        built = list((copy / "dist").glob("*.whl"))
        if done.returncode != 0 or len(built) != 1:
            raise WheelError(f"the wheel of {source} was not built: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        target = target_folder / built[0].name
        shutil.copyfile(built[0], target)
        return target


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".py", ".toml"))
