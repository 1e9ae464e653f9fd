"""Faults on demand: the stand-in then fails as the service does on a bad day."""

from collections import Counter
from typing import Literal

from lpm.local.faults import FaultQueue, RepeatedFault

THROTTLED = "/stand-in/throttled"  # where the stand-in says how many, for whoever stands for Azure Monitor
Kind = Literal[
    "throttle",  # a publication is rejected with server-busy
    "reject",  # a publication is rejected with ``condition``
    "detach",  # the link of a publication ends with ``condition``
    "drop",  # the connection breaks, nothing is stored
    "silence",  # nothing is stored and nothing answered
    "store_then_drop",  # stored, then the connection breaks before the acknowledgement
    "store_then_silence",  # stored, never acknowledged
    "stall",  # everything as usual, but ``seconds`` later
    "refuse_link",  # a link to a hub is refused with ``condition``
    "refuse_token",  # a token is refused
]
OF_PUBLICATIONS: tuple[Kind, ...] = (
    *("throttle", "reject", "detach", "drop", "silence", "store_then_drop", "store_then_silence", "stall"),
)


class Fault(RepeatedFault):
    """What the next occasions meet. Without ``hub`` or ``partition`` it is for any; tokens have neither."""

    kind: Kind
    hub: str | None = None
    partition: int | None = None
    condition: str = "amqp:internal-error"


class Faults(FaultQueue[Fault]):
    """The faults that are still to come. ``throttled``: publications that were, by hub."""

    def __init__(self) -> None:
        super().__init__()
        self.throttled: Counter[str] = Counter()

    def take(self, *kinds: Kind, hub: str | None = None, partition: int | None = None) -> Fault | None:
        """The first fault of these kinds for this occasion; it is used up by being taken."""
        return self.take_first(
            lambda fault: fault.kind in kinds and fault.hub in (None, hub) and fault.partition in (None, partition)
        )
