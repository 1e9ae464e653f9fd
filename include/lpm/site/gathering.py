"""Gathers the facts of a site from the configuration, the DAG files, the benchmarks and the evidence."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from lpm.config import load_config
from lpm.config.alerts import load_alerts
from lpm.config.contacts import load_contacts
from lpm.site.dag_facts import CHECKOUT, read_procedures
from lpm.site.facts import EvidenceReader, Facts

RESULTS = CHECKOUT / "bench" / "results.json"
SOAK = CHECKOUT / "bench" / "soak"


class FolderEvidence:
    """Evidence that lies in a folder, such as that of the local cloud."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> str | None:
        """The text of an object, None if there is none."""
        path = self._folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects that begin with ``prefix``, sorted."""
        found = (path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(prefix) and not name.endswith(".draft"))


def gather(
    environments: tuple[str, ...],
    evidence: Mapping[str, EvidenceReader],
    commands: argparse.ArgumentParser,
    cache: Path,
) -> Facts:
    """Everything that the pages may say.

    Args:
        environments: Whose DAGs the site links to.
        evidence: By environment, of those that can be reached.
        commands: The parser of ``lpm``.
        cache: A folder for what takes long to find out.

    Raises:
        ConfigError: the configuration has faults.
        RuntimeError: the DAG files cannot be loaded.
    """
    return Facts(
        config=load_config(),
        alerts=load_alerts(),
        contacts=load_contacts(),
        procedures=read_procedures(environments, cache),
        commands=commands,
        environments=environments,
        evidence=evidence,
        benchmarks=RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else None,
        soak={file.stem: file.read_text(encoding="utf-8") for file in sorted(SOAK.glob("*.json"))},
    )
