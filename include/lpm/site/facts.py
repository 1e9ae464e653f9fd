"""Everything that pages may say. Who builds the site gathers it once; the pages are pure functions of it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lpm.clients.evidence import Readable
from lpm.config import Config, Environment
from lpm.config.alerts import Alerts
from lpm.config.contacts import Contacts
from lpm.site.dag_facts import ProcedureFacts


class EvidenceReader(Readable, Protocol):
    """Evidence of one environment."""

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects that begin with ``prefix``, sorted."""


@dataclass(frozen=True)
class Facts:
    """What is known when the site is built.

    Attributes:
        config, alerts, contacts: As the configuration says.
        procedures: The procedures, as their DAG files say, by name.
        commands: The parser of ``lpm``.
        environments: Names of the environments whose DAGs and evidence the site is about.
        evidence: By environment; one that cannot be reached is not in it, and the pages say so.
        benchmarks: ``bench/results.json`` as text, None when it is not there.
        soak: The records of ``bench/soak``, as text, by part.
    """

    config: Config
    alerts: Alerts
    contacts: Contacts
    procedures: Mapping[str, ProcedureFacts]
    commands: argparse.ArgumentParser
    environments: tuple[str, ...]
    evidence: Mapping[str, EvidenceReader] = field(default_factory=dict)
    benchmarks: str | None = None
    soak: Mapping[str, str] = field(default_factory=dict)

    def environment(self, name: str) -> Environment:
        """The configuration of one of the environments."""
        return self.config.environment(name)
