"""Errors as the Databricks REST API answers them: ``{"error_code": …, "message": …}``."""

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        return JSONResponse({"error_code": self.code, "message": self.message}, self.status)


def invalid(message: str) -> ApiError:
    """A parameter has a value that the API does not take."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def beyond_stand_in(what: str) -> ApiError:
    """Databricks can do it, the stand-in cannot."""
    return ApiError(501, "NOT_IMPLEMENTED", f"{what}: Databricks has it, the local stand-in does not")


def answer_api_error(_: Request, error: Exception) -> JSONResponse:
    """Handler for :class:`ApiError`."""
    assert isinstance(error, ApiError)
    return error.response()


def answer_bad_request(_: Request, error: Exception) -> JSONResponse:
    """Handler for a body or a query that does not fit."""
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
    return ApiError(400, "MALFORMED_REQUEST", faults).response()


def answer_fault(_: Request, error: Exception) -> JSONResponse:
    """Handler for everything else: a fault of the stand-in."""
    return ApiError(500, "INTERNAL_ERROR", f"the local stand-in failed: {type(error).__name__}: {error}").response()
