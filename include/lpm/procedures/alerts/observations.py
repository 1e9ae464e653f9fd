"""What a round of looking has found."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from lpm.config import Config, Environment
from lpm.config.signals import SIGNALS, SubjectKind
from lpm.procedures.record import Record


class Subject(Record):
    """What a number is about: a company (its id), a shard or an environment (their names)."""

    kind: SubjectKind
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``company C-1001``, ``shard shard-01`` or ``environment prod``.

        Raises:
            ValueError: the first word is no kind of subject.
        """
        kind, _, name = text.strip().partition(" ")
        return cls.model_validate({"kind": kind, "name": name})

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Observation(Record):
    """One number about one subject.

    Attributes:
        signal: One of :data:`lpm.config.signals.SIGNALS`.
        subject: What it is about.
        value: In the signal's unit; None when it could not be found out, with the reason in ``detail``.
        detail: For people: classes, names, the newest error.
        last_good: When it was last known to be right, if the observer knows (UTC).
    """

    signal: str
    subject: Subject
    value: float | None
    detail: str = ""
    last_good: datetime | None = None


def subjects_of(config: Config, environment: Environment) -> tuple[Subject, ...]:
    """Everything that is watched in an environment."""
    return (
        Subject(kind="environment", name=environment.name),
        *(Subject(kind="shard", name=shard) for shard in config.shards),
        *(Subject(kind="company", name=company.id) for company in config.companies),
    )


def unknown(signals: Iterable[str], subject: Subject, reason: str) -> list[Observation]:
    """What a failed look has found: that nothing is known, and why."""
    return [Observation(signal=signal, subject=subject, value=None, detail=reason) for signal in signals]


def concerns(signal: str, subject: Subject) -> bool:
    """Whether a signal is about subjects of this kind."""
    return SIGNALS[signal].subject in (subject.kind, "any")
