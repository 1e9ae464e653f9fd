"""Faults that a test asks for: the stand-in then fails as Azure does under load."""

import threading
from typing import Literal

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """Fail the next ``times`` calls of an operation; ``*`` is any operation."""

    model_config = ConfigDict(extra="forbid")

    operation: str
    kind: Literal["throttle", "unavailable", "stall"]
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=1, ge=0)  # Retry-After of a throttled answer; how long a stalled one takes


class Faults:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def take(self, operation: str) -> Fault | None:
        """The fault for this call, if there is one; it is used up by being taken."""
        with self._lock:
            for fault in self._faults:
                if fault.operation in (operation, "*"):
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                    return fault
        return None


def answer(fault: Fault) -> Response:
    """The answer of a throttled or unavailable service."""
    if fault.kind == "throttle":
        error = {"code": "TooManyRequests", "message": "The request is being throttled. Please try again later."}
        return JSONResponse({"error": error}, 429, {"Retry-After": str(max(1, round(fault.seconds)))})
    error = {"code": "ServiceUnavailable", "message": "The service is temporarily unavailable. Please try again later."}
    return JSONResponse({"error": error}, 503)
