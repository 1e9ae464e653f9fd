"""Errors in the shape that Azure gives them."""

from typing import Any


class AzureError(Exception):
    """An error answer: HTTP status, Azure's error code, a message and, if there is one, the thing it is about."""

    def __init__(self, status: int, code: str, message: str, target: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.target = target

    def detail(self) -> dict[str, Any]:
        """The error as it stands in a list of details."""
        return {"code": self.code, "message": self.message, **({"target": self.target} if self.target else {})}

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": self.detail()}


def bad_request(code: str, message: str, target: str | None = None) -> AzureError:
    """The request is wrong and will stay wrong."""
    return AzureError(400, code, message, target)


def not_found(message: str, target: str | None = None, code: str = "ResourceNotFound") -> AzureError:
    """The thing does not exist."""
    return AzureError(404, code, message, target)


def conflict(message: str, target: str | None = None, code: str = "Conflict") -> AzureError:
    """The thing is not in a state that allows this."""
    return AzureError(409, code, message, target)
