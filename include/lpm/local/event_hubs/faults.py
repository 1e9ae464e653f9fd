"""Faults on demand: the stand-in then fails as the service does on a bad day."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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


class Fault(BaseModel):
    """What the next ``times`` occasions meet. Without ``hub`` or ``partition`` it is for any; tokens have neither."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    hub: str | None = None
    partition: int | None = None
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=1, ge=0)
    condition: str = "amqp:internal-error"


class Faults:
    """The faults that are still to come. All calls come from the stand-in's one event loop."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault behind those that wait."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()

    def take(self, *kinds: Kind, hub: str | None = None, partition: int | None = None) -> Fault | None:
        """The first fault of these kinds for this occasion; it is used up by being taken."""
        for index, fault in enumerate(self._waiting):
            if fault.kind in kinds and fault.hub in (None, hub) and fault.partition in (None, partition):
                rest = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
                self._waiting[index : index + 1] = rest
                return fault
        return None
