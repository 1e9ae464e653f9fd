"""The part of the ARM template language that our templates use. Anything else is an error that says so.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lpm.local.azure.errors import bad_request

GUID_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # the one ARM's guid() uses
_TOKEN = re.compile(r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<name>[A-Za-z_]\w*)|(?P<mark>[()\[\].,]))")


class UnknownValueError(Exception):
    """The value cannot be known before the deployment runs, as with ``reference`` during what-if."""


@dataclass(frozen=True)
class Scope:
    """What expressions can see. ``reference`` reads a resource: (id, whether whole) -> its properties or all of it."""

    subscription_id: str
    group: Mapping[str, Any]  # the resource group as Azure answers it
    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]
    reference: Callable[[str, bool], Any]
    being_read: frozenset[str] = field(default_factory=frozenset)  # variables, to catch one that needs itself


def evaluate(value: Any, scope: Scope, keep_unknown: bool = False) -> Any:
    """A template value with all its expressions computed, however deep they lie.

    With ``keep_unknown`` an expression whose value is not known yet stays as its text, as what-if shows it.

    Raises:
        AzureError: the expression is malformed, or uses something that does not exist.
        UnknownValueError: a value is not known yet and ``keep_unknown`` is not set.
    """
    if isinstance(value, dict):
        return {key: evaluate(inner, scope, keep_unknown) for key, inner in value.items()}
    if isinstance(value, list):
        return [evaluate(inner, scope, keep_unknown) for inner in value]
    if not (isinstance(value, str) and value.startswith("[") and value.endswith("]")):
        return value
    if value.startswith("[["):  # how a text that looks like an expression is written
        return value[1:]
    try:
        return _Evaluation(value, scope).run()
    except UnknownValueError:
        if keep_unknown:
            return value
        raise


def resource_id(scope: Scope, arguments: list[Any]) -> str:
    """``resourceId([subscription], [group], type, names…)``."""
    position = next((index for index, argument in enumerate(arguments) if "/" in str(argument)), None)
    if position is None or position > 2:
        raise _invalid("resourceId needs a resource type such as 'Microsoft.EventHub/namespaces'")
    group = arguments[position - 1] if position else scope.group["name"]
    subscription = arguments[0] if position == 2 else scope.subscription_id
    path = provider_path(str(arguments[position]), [str(name) for name in arguments[position + 1 :]])
    return f"/subscriptions/{subscription}/resourceGroups/{group}/{path}"


def provider_path(type_name: str, names: list[str]) -> str:
    """``providers/<namespace>/<type>/<name>/…`` for a type and the names of the resource and its parents."""
    namespace, *types = type_name.split("/")
    if len(types) != len(names):
        raise _invalid(f"type {type_name!r} has {len(types)} segments but {len(names)} names were given: {names}")
    pairs = "/".join(f"{kind}/{name}" for kind, name in zip(types, names, strict=True))
    return f"providers/{namespace}/{pairs}"


class _Evaluation:
    """Recursive descent over one expression; it computes while it reads."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self._scope = scope
        self._tokens = _tokens(text)
        self._next = 0

    def run(self) -> Any:
        value = self._expression()
        if self._next != len(self._tokens):
            raise _invalid(f"unexpected {self._tokens[self._next][1]!r}", self._text)
        return value

    def _expression(self) -> Any:
        kind, text = self._take()
        if kind == "string":
            value: Any = text[1:-1].replace("''", "'")
        elif kind == "number":
            value = int(text)
        elif kind == "name":
            value = self._call(text)
        else:
            raise _invalid(f"unexpected {text!r}", self._text)
        while self._peek() in (".", "["):
            _, mark = self._take()
            if mark == ".":
                key: Any = self._take()[1]
            else:
                key = self._expression()
                self._expect("]")
            value = self._member(value, key)
        return value

    def _call(self, name: str) -> Any:
        self._expect("(")
        arguments = []
        while self._peek() != ")":
            arguments.append(self._expression())
            if self._peek() != ")":
                self._expect(",")
        self._expect(")")
        function = _FUNCTIONS.get(name.lower())
        if function is None:
            raise _invalid(f"the template function '{name}' is not one this stand-in knows: {', '.join(_FUNCTIONS)}")
        try:
            return function(self._scope, arguments)
        except (IndexError, TypeError) as error:
            raise _invalid(f"wrong arguments for '{name}': {error}", self._text) from error

    def _member(self, value: Any, key: Any) -> Any:
        try:
            return value[key]
        except (KeyError, IndexError, TypeError):
            known = ", ".join(value) if isinstance(value, dict) else type(value).__name__
            raise _invalid(f"property '{key}' does not exist; available: {known}", self._text) from None

    def _peek(self) -> str | None:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else None

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise _invalid("the expression ends too early", self._text)
        self._next += 1
        return self._tokens[self._next - 1]

    def _expect(self, mark: str) -> None:
        if self._take()[1] != mark:
            raise _invalid(f"expected {mark!r}", self._text)


def _tokens(text: str) -> list[tuple[str, str]]:
    inner, position, tokens = text[1:-1].rstrip(), 0, []
    while position < len(inner):
        match = _TOKEN.match(inner, position)
        if match is None or match.lastgroup is None:
            raise _invalid(f"cannot read {inner[position:]!r}", text)
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _parameter(scope: Scope, arguments: list[Any]) -> Any:
    (name,) = _exactly(arguments, 1)
    if name not in scope.parameters:
        raise _invalid(f"the template parameter '{name}' is not found")
    return scope.parameters[name]


def _variable(scope: Scope, arguments: list[Any]) -> Any:
    (name,) = _exactly(arguments, 1)
    if name not in scope.variables:
        raise _invalid(f"the template variable '{name}' is not found")
    if name in scope.being_read:
        raise _invalid(f"the template variable '{name}' needs itself")
    inner = Scope(**{**scope.__dict__, "being_read": scope.being_read | {name}})
    return evaluate(scope.variables[name], inner)


def _concat(_: Scope, arguments: list[Any]) -> Any:
    if arguments and all(isinstance(argument, list) for argument in arguments):
        return [item for argument in arguments for item in argument]
    return "".join(str(argument) for argument in arguments)


def _format(_: Scope, arguments: list[Any]) -> str:
    pattern, *values = arguments
    return re.sub(r"\{(\d+)\}", lambda match: str(values[int(match[1])]), pattern)


def _contains(_: Scope, arguments: list[Any]) -> bool:
    container, wanted = _exactly(arguments, 2)
    return wanted in container


def _subscription_resource_id(scope: Scope, arguments: list[Any]) -> str:
    type_name, *names = (str(argument) for argument in arguments)
    return f"/subscriptions/{scope.subscription_id}/{provider_path(type_name, names)}"


def _guid(_: Scope, arguments: list[Any]) -> str:
    return str(uuid.uuid5(GUID_NAMESPACE, "-".join(str(argument) for argument in arguments)))


def _reference(scope: Scope, arguments: list[Any]) -> Any:
    whole = len(arguments) == 3 and str(arguments[2]).lower() == "full"
    if not 1 <= len(arguments) <= 3 or (len(arguments) == 3 and not whole):
        raise _invalid("reference takes a resource id, an api version and 'Full'")
    return scope.reference(str(arguments[0]), whole)


def _resource_group(scope: Scope, arguments: list[Any]) -> Any:
    _exactly(arguments, 0)
    return scope.group


def _subscription(scope: Scope, arguments: list[Any]) -> Any:
    _exactly(arguments, 0)
    return {"id": f"/subscriptions/{scope.subscription_id}", "subscriptionId": scope.subscription_id}


_FUNCTIONS: dict[str, Callable[[Scope, list[Any]], Any]] = {
    "parameters": _parameter,
    "variables": _variable,
    "concat": _concat,
    "format": _format,
    "contains": _contains,
    "resourceid": resource_id,
    "subscriptionresourceid": _subscription_resource_id,
    "guid": _guid,
    "reference": _reference,
    "resourcegroup": _resource_group,
    "subscription": _subscription,
}


def _exactly(arguments: list[Any], count: int) -> list[Any]:
    if len(arguments) != count:
        raise TypeError(f"expected {count}, got {len(arguments)}")
    return arguments


def _invalid(message: str, text: str = "") -> Exception:
    place = f" in {text}" if text else ""
    return bad_request("InvalidTemplate", f"Unable to process template language expressions: {message}{place}.")
