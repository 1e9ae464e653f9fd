"""What a reconciliation says, as it is kept and shown."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from lpm.procedures.record import Record


class Verdict(StrEnum):
    """Skipped is never passed."""

    PASS = "pass"  # noqa: S105  no password
    DIFFER = "differ"
    SKIPPED = "skipped"
    ERROR = "error"


class CompanyResult(Record):
    """One company in one round. Times are UTC.

    ``through`` is the round's cut, ``cut`` the version at which this company was compared: lower when its watermark
    had not reached the round's. ``verified_through``: every version up to it is proven, without a gap.
    """

    company: str
    at: datetime
    verdict: Verdict = Verdict.ERROR
    reason: str = ""  # why it was skipped or what failed
    through: int = -1
    cut: int = -1
    since: int = -1  # buckets that no later version changed were left out; -1: none were
    verified_through: int = -1
    verified_at: datetime | None = None
    stuck_seconds: float = 0.0  # how long the watermark has stood below the round's cut
    rows: int = -1  # of the company in the source, as the ledger knows them; -1 when they were not counted
    sums: int = 0  # compared, of a bucket or, in a small company, of some together
    differing_sums: int = 0
    in_flight: int = 0  # keys that the target has newer than the cut
    late: int = 0  # keys that differed at first and not after the grace period
    deep_rows: int = 0  # compared value by value
    differences: Mapping[str, int] = Field(default_factory=dict)  # by class
    repaired: int = 0
    evidence: str = ""  # name of the object with the differing keys
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.verdict is Verdict.PASS:
            late = f", {self.late} late" if self.late else ""
            return f"equal at version {self.cut}: {self.sums} sums compared, {self.in_flight} keys in flight{late}"
        if self.verdict is Verdict.DIFFER:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.differences.items()))
            return f"differs at version {self.cut}: {kinds}; {self.repaired} repaired; evidence {self.evidence}"
        return f"{self.verdict}: {self.reason}"


class VerifiedThrough(Record):
    """What is kept of a company between rounds."""

    version: int = -1
    at: datetime | None = None

    def after(self, result: CompanyResult) -> "VerifiedThrough":
        """Moves only over a pass that left no gap behind it."""
        contiguous = result.verdict is Verdict.PASS and result.since <= self.version and result.cut >= self.version
        return VerifiedThrough(version=result.cut, at=result.at) if contiguous else self
