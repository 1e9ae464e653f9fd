"""Faults on demand, as every stand-in keeps them: each is for the next so many occasions that it fits."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field


class RepeatedFault(BaseModel):
    """What the next ``times`` occasions meet. ``seconds`` is how long whatever lasts a while takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=1, ge=0)


FaultT = TypeVar("FaultT", bound=RepeatedFault)


class FaultQueue(Generic[FaultT]):
    """The faults that are still to come. Safe to use from several threads."""

    def __init__(self) -> None:
        self._waiting: list[FaultT] = []
        self._lock = threading.Lock()

    def add(self, fault: FaultT) -> None:
        """Add a fault behind those that wait."""
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._waiting.clear()

    def take_first(self, fits: Callable[[FaultT], bool]) -> FaultT | None:
        """The first fault that fits; one of its times is used up by that."""
        with self._lock:
            for index, fault in enumerate(self._waiting):
                if fits(fault):
                    rest = [fault.model_copy(update={"times": fault.times - 1})] if fault.times > 1 else []
                    self._waiting[index : index + 1] = rest
                    return fault
        return None
