"""Secret scopes. Values go in, and into the environment of runs; no call gives them back."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from lpm.local.databricks.errors import ApiError, invalid
from lpm.local.files import write_atomically

_NAME = re.compile(r"[\w.@-]{1,128}")
_REFERENCE = re.compile(r"\{\{secrets/([^/}]+)/([^/}]+)\}\}")


class NewScope(BaseModel):
    """Body of ``scopes/create``."""

    model_config = ConfigDict(extra="forbid")
    scope: str
    initial_manage_principal: str | None = None
    scope_backend_type: str | None = None


class NewSecret(BaseModel):
    """Body of ``secrets/put``."""

    model_config = ConfigDict(extra="forbid")
    scope: str
    key: str
    string_value: str


class SecretScopes:
    """The scopes and their secrets, kept in one file that only its owner can read."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "secrets.json"
        self._scopes: dict[str, dict[str, dict[str, Any]]] = (
            json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        )

    @property
    def names(self) -> list[str]:
        """Names of the scopes."""
        return sorted(self._scopes)

    def create(self, scope: str) -> None:
        """Make a scope.

        Raises:
            ApiError: bad name, or the scope is there already.
        """
        if not _NAME.fullmatch(scope):
            raise invalid(f"scope {scope!r}: expected up to 128 letters, digits and .@_-")
        if scope in self._scopes:
            raise ApiError(400, "RESOURCE_ALREADY_EXISTS", f"Scope {scope} already exists!")
        self._scopes[scope] = {}
        self._save()

    def put(self, scope: str, key: str, value: str) -> None:
        """Write a secret.

        Raises:
            ApiError: no such scope, or a bad name.
        """
        if not _NAME.fullmatch(key):
            raise invalid(f"key {key!r}: expected up to 128 letters, digits and .@_-")
        self.secrets(scope)[key] = {"value": value, "last_updated_timestamp": int(time.time() * 1000)}
        self._save()

    def secrets(self, scope: str) -> dict[str, dict[str, Any]]:
        """The secrets of a scope by key.

        Raises:
            ApiError: no such scope.
        """
        if scope not in self._scopes:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Scope {scope} does not exist!")
        return self._scopes[scope]

    def resolved(self, values: Mapping[str, str]) -> dict[str, str]:
        """Values with every ``{{secrets/scope/key}}`` replaced.

        Raises:
            KeyError: a secret does not exist; the message names it.
        """
        return {name: _REFERENCE.sub(self._value, text) for name, text in values.items()}

    def _value(self, reference: re.Match[str]) -> str:
        scope, key = reference.groups()
        if key not in self._scopes.get(scope, {}):
            raise KeyError(f"Secret does not exist with scope: {scope} and key: {key}")
        return str(self._scopes[scope][key]["value"])

    def _save(self) -> None:
        write_atomically(self._file, json.dumps(self._scopes).encode(), mode=0o600)


def routes(scopes: SecretScopes) -> APIRouter:
    """The Secrets API."""
    router = APIRouter(prefix="/api/2.0/secrets")

    @router.post("/scopes/create")
    async def create_scope(body: NewScope) -> dict[str, str]:
        scopes.create(body.scope)
        return {}

    @router.get("/scopes/list")
    async def list_scopes() -> dict[str, Any]:
        return {"scopes": [{"name": name, "backend_type": "DATABRICKS"} for name in scopes.names]}

    @router.post("/put")
    async def put(body: NewSecret) -> dict[str, str]:
        scopes.put(body.scope, body.key, body.string_value)
        return {}

    @router.get("/list")
    async def list_secrets(scope: str) -> dict[str, Any]:
        return {
            "secrets": [
                {"key": key, "last_updated_timestamp": secret["last_updated_timestamp"]}
                for key, secret in sorted(scopes.secrets(scope).items())
            ]
        }

    return router
