"""What the tasks of a round hand to each other, and how a look that fails becomes an observation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from lpm.clients.evidence import EvidenceStore
from lpm.procedures.alerts.observations import Observation, Subject, unknown
from lpm.procedures.outcome import Outcome
from lpm.procedures.record import Record

SEEN = "monitor/seen.json"
FIRST_LOOK = timedelta(hours=1)  # how far the first look goes back
REASON_LENGTH = 300


class Seen(Record):
    """How far the rounds before have looked: what is newer is new. Times are UTC."""

    dead_letters_until: datetime | None = None
    quarantine_until: Mapping[str, datetime] = {}  # by company


class Position(Record):
    """A version of the source, and a time (UTC) at or before which it was committed."""

    version: int
    committed_at: datetime


class Positions(Record):
    """Where source and stream are. ``known`` is in the order of versions: new ones exactly, older ones by the hour."""

    latest: int
    known: tuple[Position, ...]
    sent: int | None  # every version up to this one is sent; None during the initial snapshot

    def age(self, version: int, now: datetime) -> float:
        """Seconds since the commit of a version; 0 for one that the source does not have yet.

        Where the time is known by the hour only, it is the greatest that is possible.
        """
        if version > self.latest or not self.known:
            return 0.0
        earlier = [position for position in self.known if position.version <= version]
        position = earlier[-1] if earlier else self.known[0]
        return max(0.0, (now - position.committed_at).total_seconds())


class StreamLook(Record):
    """What a look at source, stream and their tables has found."""

    observations: tuple[Observation, ...]
    positions: Positions | None = None
    dead_letters_until: datetime | None = None


class CompanyLook(Record):
    """What a look at a company's database has found. Latencies are in seconds."""

    company: str
    observations: tuple[Observation, ...]
    watermark: int | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    quarantine_until: datetime | None = None


def attempt(
    signals: Sequence[str], subject: Subject, look: Callable[[], Iterable[Observation]]
) -> tuple[Observation, ...]:
    """What a look finds; when it fails, that its signals are not known, and why."""
    try:
        return tuple(look())
    except Exception as error:  # whatever it is: one look's trouble must not hide what the others see
        return tuple(unknown(signals, subject, reason(error)))


def reason(error: Exception) -> str:
    """Why a look failed, short enough for a message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= REASON_LENGTH else f"{text[: REASON_LENGTH - 1]}…"


def told(what: str, observations: Sequence[Observation]) -> Outcome:
    """A look for the run's result: how much is known, and what is not."""
    lines = tuple(f"{found.signal}: not known: {found.detail}" for found in observations if found.value is None)
    known = len(observations) - len(lines)
    return Outcome(False, f"{what}: {known} of {len(observations)} signals observed", lines)


def read_seen(store: EvidenceStore) -> Seen:
    """How far the rounds before have looked. What cannot be read is as if it was never written."""
    try:
        return Seen.model_validate_json(store.read(SEEN) or "{}")
    except ValidationError:
        return Seen()


def seen_after(seen: Seen, stream: StreamLook | None, companies: Sequence[CompanyLook]) -> Seen:
    """How far this round has looked."""
    return Seen(
        dead_letters_until=(stream.dead_letters_until if stream else None) or seen.dead_letters_until,
        quarantine_until={
            **seen.quarantine_until,
            **{look.company: look.quarantine_until for look in companies if look.quarantine_until},
        },
    )
