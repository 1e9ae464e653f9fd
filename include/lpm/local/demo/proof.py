"""The demo's proof: while the traffic runs, break one row in every way, and see that reconcile finds and mends each."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from lpm.local.demo.faults import Fault, FaultMaker
from lpm.local.demo.pipeline import Pipeline

GRACE_SECONDS = 2


@dataclass(frozen=True)
class Proved:
    """What became of one fault. ``named`` is the class that reconcile gave it, empty when it did not find it."""

    fault: Fault
    named: str
    repaired: bool

    @property
    def right(self) -> bool:
        """Whether it was found, named as what it is, and repaired."""
        return self.named == self.fault.kind and self.repaired


class Proof(threading.Thread):
    """Makes the faults and runs reconcile through Airflow. ``failure`` holds what went wrong on the way."""

    def __init__(self, pipeline: Pipeline, maker: FaultMaker) -> None:
        super().__init__(name="proof", daemon=True)
        self._pipeline = pipeline
        self._maker = maker
        self.proved: list[Proved] = []
        self.failure: Exception | None = None

    @property
    def right(self) -> bool:
        """Whether every fault was found, named and repaired."""
        return self.failure is None and bool(self.proved) and all(each.right for each in self.proved)

    def run(self) -> None:
        """The thread's work."""
        try:
            # Other rows each time: the version only grows.
            faults = self._maker.one_of_each(self._maker.prepare(self._pipeline.source.version()))
            conf = {"reason": "the demo's proof", "grace_seconds": GRACE_SECONDS, "every_value": True}
            self._pipeline.run_dag("reconcile", conf)
            self.proved = [self._proved(fault) for fault in faults]
        except Exception as error:  # whatever it was, the verdict has to say it
            self.failure = error
        finally:
            self._maker.close()

    def _proved(self, fault: Fault) -> Proved:
        evidence = self._newest_evidence(fault.company)
        named = {each["key_hash"]: each["kind"] for each in evidence["differences"]}
        left = {each["key_hash"] for each in evidence["after_repair"]}
        return Proved(fault, named.get(fault.key_hash, ""), fault.key_hash not in left)

    def _newest_evidence(self, company_id: str) -> dict[str, list[dict[str, str]]]:
        slug = next(company.slug for company in self._pipeline.databases if company.id == company_id)
        files = sorted(
            evidence_folder(self._pipeline.folder).rglob(f"{slug}.json"), key=lambda file: file.stat().st_mtime
        )
        found: dict[str, list[dict[str, str]]] = json.loads(files[-1].read_text()) if files else {}
        return {"differences": [], "after_repair": [], **found}


def evidence_folder(cloud: Path) -> Path:
    """Where a local cloud keeps the evidence of its reconciliations."""
    return cloud / "airflow" / "evidence" / "reconcile" / "evidence"
