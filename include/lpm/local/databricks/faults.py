"""Faults on demand, so that tests see what the cloud does on a bad day."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.middleware.base import RequestResponseEndpoint

from lpm.local.databricks.errors import ApiError
from lpm.local.faults import FaultQueue, RepeatedFault


class Fault(RepeatedFault):
    """A fault for the next calls of an operation.

    ``operation`` is a part of ``METHOD /path``, such as ``jobs/create`` or ``PUT /api/2.0/fs``. ``seconds`` is how
    long ``stall`` waits before it answers normally, and the Retry-After of ``throttle`` and ``unavailable``. ``lose``
    carries the call out and loses the answer.
    """

    operation: str = Field(min_length=1)
    kind: Literal["throttle", "unavailable", "refuse", "stall", "lose"]


class Faults(FaultQueue[Fault]):
    """The faults still to come."""

    async def answer(self, request: Request, call: RequestResponseEndpoint) -> Response:
        """Answer a request, with the first fault that waits for it."""
        called = f"{request.method} {request.url.path}"
        fault = self.take_first(lambda fault: fault.operation in called)
        match fault and fault.kind:
            case "throttle":
                assert fault
                return _after(ApiError(429, "REQUEST_LIMIT_EXCEEDED", "Too many requests."), fault.seconds)
            case "unavailable":
                assert fault
                return _after(ApiError(503, "TEMPORARILY_UNAVAILABLE", "The service is unavailable."), fault.seconds)
            case "refuse":
                return ApiError(403, "PERMISSION_DENIED", "The caller does not have the permission.").response()
            case "stall":
                assert fault
                await asyncio.sleep(fault.seconds)
        response = await call(request)
        if fault and fault.kind == "lose":
            return ApiError(504, "DEADLINE_EXCEEDED", "The answer was lost on its way.").response()
        return response


def routes(faults: Faults) -> APIRouter:
    """``/stand-in/faults``: no part of Databricks, same token."""
    router = APIRouter(prefix="/stand-in/faults")

    @router.post("")
    async def add(fault: Fault) -> dict[str, str]:
        faults.add(fault)
        return {}

    @router.delete("")
    async def clear() -> dict[str, str]:
        faults.clear()
        return {}

    return router


def _after(error: ApiError, seconds: float) -> JSONResponse:
    response = error.response()
    response.headers["Retry-After"] = f"{seconds:g}"
    return response
