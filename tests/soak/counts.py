"""What the rounds have seen so far. Kept between runs, so a soak that was stopped goes on."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from lpm.local.files import write_atomically


class Counts(BaseModel):
    """Counts over all runs. ``faults``, ``found`` and ``repaired`` are by class."""

    rounds: int = 0
    comparisons: int = 0  # of one company in one round
    in_flight: int = 0  # keys
    late: int = 0  # keys
    false_alarms: int = 0
    faults: dict[str, int] = Field(default_factory=dict)
    found: dict[str, int] = Field(default_factory=dict)
    repaired: dict[str, int] = Field(default_factory=dict)
    failures: list[str] = Field(default_factory=list)  # what went wrong, in words

    @classmethod
    def read(cls, file: Path) -> Self:
        """The counts so far, an empty one before the first run."""
        return cls.model_validate_json(file.read_text()) if file.exists() else cls()

    def write(self, file: Path) -> None:
        """Keep it."""
        write_atomically(file, self.model_dump_json(indent=1).encode())

    @property
    def right(self) -> bool:
        """No false alarm, every fault found, named and repaired."""
        return not self.false_alarms and not self.failures and self.faults == self.found == self.repaired

    def __str__(self) -> str:
        faults = sum(self.faults.values())
        return (
            f"{self.rounds} rounds, {self.comparisons} comparisons, {self.in_flight} keys in flight, {self.late} late, "
            f"{self.false_alarms} false alarms; {faults} faults, {sum(self.found.values())} found, "
            f"{sum(self.repaired.values())} repaired"
        )


def counted(counts: Mapping[str, int], name: str) -> dict[str, int]:
    """The counts with one more of ``name``."""
    return dict(Counter(counts) + Counter([name]))
