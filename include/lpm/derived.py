"""The files that are derived from the configuration: write them, or show how they drifted."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import lpm.render
from lpm.config import Config

# Everything below these folders is derived. What no renderer names any more is deleted.
DERIVED = (
    "asa/*/**/*",
    "include/infra/*/**/*",
    "include/sql/mssql/*",
    "include/sql/postgresql/*",
    "include/config/schemas/*",
)


@dataclass(frozen=True)
class Drift:
    """One file that is not what the configuration says. None means absent."""

    path: str
    found: str | None
    expected: str | None

    def diff(self) -> str:
        """Unified diff from what was found to what is expected."""
        lines = difflib.unified_diff(
            (self.found or "").splitlines(keepends=True),
            (self.expected or "").splitlines(keepends=True),
            "/dev/null" if self.found is None else f"a/{self.path}",
            "/dev/null" if self.expected is None else f"b/{self.path}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def rendered(config: Config) -> Mapping[str, str]:
    """Text of every derived file by its path: what each module of ``lpm.render`` with a ``render`` function returns.

    Raises:
        RuntimeError: two modules render the same file.
    """
    files: dict[str, str] = {}
    for info in pkgutil.iter_modules(lpm.render.__path__):
        module = importlib.import_module(f"lpm.render.{info.name}")
        if hasattr(module, "render"):
            made = module.render(config)
            if twice := files.keys() & made.keys():
                raise RuntimeError(f"{sorted(twice)[0]} is rendered by {module.__name__} and by another module")
            files |= made
    return files


def drifted(config: Config, root: Path) -> list[Drift]:
    """Every derived file below ``root`` that is not what the configuration says."""
    expected = rendered(config)
    drifts = []
    for path in sorted({*expected, *_existing(root)}):
        found, wanted = _read(root / path), expected.get(path)
        if found != wanted:
            drifts.append(Drift(path, found, wanted))
    return drifts


def write(drifts: list[Drift], root: Path) -> None:
    """Make the drifted files what they should be; folders that become empty go too."""
    for drift in drifts:
        path = root / drift.path
        if drift.expected is None:
            path.unlink()
            _remove_empty(path.parent, root)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(drift.expected.encode())


def _existing(root: Path) -> Iterator[str]:
    for pattern in DERIVED:
        yield from (path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file())


def _read(path: Path) -> str | None:
    return path.read_bytes().decode(errors="replace") if path.exists() else None


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
