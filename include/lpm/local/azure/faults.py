"""Faults that a test asks for: the stand-in then fails as Azure does under load."""

from typing import Literal

from fastapi import Response
from fastapi.responses import JSONResponse

from lpm.local.faults import FaultQueue, RepeatedFault


class Fault(RepeatedFault):
    """Fails calls of an operation; ``*`` is any. ``seconds``: Retry-After of ``throttle``, how long ``stall`` takes."""

    operation: str
    kind: Literal["throttle", "unavailable", "stall"]


class Faults(FaultQueue[Fault]):
    """The faults that are still to come."""

    def take(self, operation: str) -> Fault | None:
        """The fault for this call, if there is one; it is used up by being taken."""
        return self.take_first(lambda fault: fault.operation in (operation, "*"))


def answer(fault: Fault) -> Response:
    """The answer of a throttled or unavailable service."""
    if fault.kind == "throttle":
        error = {"code": "TooManyRequests", "message": "The request is being throttled. Please try again later."}
        return JSONResponse({"error": error}, 429, {"Retry-After": str(max(1, round(fault.seconds)))})
    error = {"code": "ServiceUnavailable", "message": "The service is temporarily unavailable. Please try again later."}
    return JSONResponse({"error": error}, 503)
