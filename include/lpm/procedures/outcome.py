"""What a procedure hands back, and how it refuses."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


class ProcedureError(Exception):
    """A procedure cannot go on, and trying again changes nothing: a person has to act. The message says how."""


@dataclass(frozen=True)
class Outcome:
    """The readable result of one step. ``changed`` is False when everything already was as it should be."""

    changed: bool
    summary: str
    details: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain data, for Airflow's XCom."""
        return asdict(self) | {"details": list(self.details)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Outcome":
        """The outcome that :meth:`as_json` wrote."""
        return cls(changed=data["changed"], summary=data["summary"], details=tuple(data["details"]))

    @property
    def text(self) -> str:
        """The outcome for people: the summary, then one line for each detail."""
        return "\n".join([self.summary, *(f"  - {detail}" for detail in self.details)])


def together(steps: Iterable[tuple[str, Outcome]]) -> Outcome:
    """The outcome of a whole procedure from those of its named steps, in the order given."""
    named = list(steps)
    changed = [name for name, outcome in named if outcome.changed]
    lines = [
        line
        for name, outcome in named
        for line in (f"{name}: {outcome.summary}", *(f"  {detail}" for detail in outcome.details))
    ]
    return Outcome(
        changed=bool(changed),
        summary=f"changed: {', '.join(dict.fromkeys(changed))}" if changed else "no change",
        details=tuple(lines),
    )
