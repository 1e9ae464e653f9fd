"""What the job is told: one JSON document, rendered by ``lpm render``, read once at the start.

Secrets are not in it; it names the environment variables that hold them.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


class SettingsError(ValueError):
    """The settings cannot be used. The message names the file, the key and what was expected."""


@dataclass(frozen=True)
class Expressions:
    """Spark SQL of the envelope, rendered from the table contract (``lpm.contract.envelope``).

    ``key``, ``payload``, ``dead_letter_reason`` and ``row_json`` read the source table's columns; the others read the
    columns that the job makes from them.
    """

    key: str
    key_hash: str
    bucket: str
    payload: str
    row_hash: str
    dead_letter_reason: str
    row_json: str
    upsert: str
    delete: str
    heartbeat: str
    size: str  # bytes of column value that do not depend on its version


@dataclass(frozen=True)
class Hub:
    """An Event Hub and the partitions of it that may be written to."""

    topic: str
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class Route:
    """Where one company's events go. ``company`` is the exact value of the company column."""

    company: str
    topic: str
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class Kafka:
    """How to reach the hubs. The variables are names of environment variables; ``entra`` needs all three."""

    bootstrap: str
    protocol: Literal["SASL_SSL", "SASL_PLAINTEXT"]
    auth: Literal["connection_string", "entra"]
    secret_variable: str
    client_id_variable: str
    tenant_id_variable: str


@dataclass(frozen=True)
class Settings:
    """Everything the job needs. Times are seconds, sizes bytes."""

    environment: str
    query_name: str
    source_table: str
    dead_letter_table: str
    progress_table: str
    checkpoint: str
    trigger_seconds: float
    heartbeat_seconds: float
    progress_seconds: float
    max_event_bytes: int
    company_column: str
    key_columns: tuple[str, ...]
    columns: tuple[str, ...]
    expressions: Expressions
    dead_letter_reasons: tuple[str, ...]  # every reason that dead_letter_reason can give, and too_large
    routes: tuple[Route, ...]
    unrouted: Hub
    kafka: Kafka
    session: Mapping[str, str]


def load(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        SettingsError: the file cannot be read, is not JSON, or a key is missing, unknown or of the wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"settings file {path} cannot be read: {error}. Run deploy_stream, which writes it"
        ) from error
    try:
        return parse(text)
    except SettingsError as error:
        raise SettingsError(f"settings file {path}: {error}. Run `lpm render`, then deploy_stream") from error


def parse(text: str) -> Settings:
    """Read and check settings from their JSON text.

    Raises:
        SettingsError: it is not JSON, or a key is missing, unknown or of the wrong type.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"is not JSON: {error}") from error
    settings: Settings = _value(Settings, data, "settings")
    for name in ("trigger_seconds", "heartbeat_seconds", "progress_seconds", "max_event_bytes"):
        if getattr(settings, name) <= 0:
            raise SettingsError(f"{name} is {getattr(settings, name)}, expected more than 0")
    hubs: list[Route | Hub] = [*settings.routes, settings.unrouted]
    for hub in hubs:
        if not hub.partitions:
            raise SettingsError(f"the partitions of {hub} are empty, expected at least one")
    return settings


def _value(expected: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``expected``: a dataclass, a tuple, a mapping, a Literal or a plain type."""
    if dataclasses.is_dataclass(expected):
        return _dataclass(expected, value, where)
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is tuple:
        if not isinstance(value, list):
            raise SettingsError(f"{where} is {value!r}, expected a list")
        return tuple(_value(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise SettingsError(f"{where} is {value!r}, expected an object")
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is Literal:
        if value not in arguments:
            raise SettingsError(f"{where} is {value!r}, expected one of {', '.join(arguments)}")
        return value
    accepted = (int, float) if expected is float else expected
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise SettingsError(f"{where} is {value!r}, expected a {expected.__name__}")
    return expected(value)


def _dataclass(expected: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise SettingsError(f"{where} is {value!r}, expected an object")
    hints = typing.get_type_hints(expected)
    if missing := [name for name in hints if name not in value]:
        raise SettingsError(f"{where} lacks {', '.join(missing)}")
    if unknown := [name for name in value if name not in hints]:
        raise SettingsError(f"{where} has unknown {', '.join(unknown)}; expected only {', '.join(hints)}")
    return expected(**{name: _value(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})
