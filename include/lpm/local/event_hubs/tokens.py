"""Who may come in: shared access signatures of the namespace's one policy, and tokens of the local managed identity."""

import hmac
import time
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qs, quote_plus, urlsplit

from lpm.local.azure.errors import AzureError
from lpm.local.azure.identity import Identity
from lpm.local.event_hubs.frames import AmqpError

AUDIENCE = "https://eventhubs.azure.net"
SAS = "servicebus.windows.net:sastoken"
JWT = "jwt"


class TokenRefused(Exception):  # noqa: N818  reads as what happened
    """The token is not good. The message says why."""


@dataclass(frozen=True)
class Policy:
    """A shared access policy of the namespace."""

    name: str
    key: str

    @classmethod
    def of(cls, connection_string: str) -> "Policy":
        """The policy of a connection string.

        Raises:
            KeyError: it names none.
        """
        fields = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
        return cls(fields["SharedAccessKeyName"], fields["SharedAccessKey"])


class Grants:
    """What one connection may use: the hubs it has shown a good token for."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def add(self, audience: str, ends: float) -> None:
        """A good token for an audience, until a moment in seconds since 1970."""
        self._ends[_hub(audience)] = ends

    def check(self, hub: str) -> None:
        """Let a hub be used.

        Raises:
            AmqpError: there was no token for it, or it has ended.
        """
        if max(self._ends.get(hub, 0), self._ends.get("", 0)) < time.time():
            raise AmqpError("amqp:unauthorized-access", f"Unauthorized access: no valid token was put for '{hub}'.")


class Tokens:
    """Checks tokens."""

    def __init__(self, policy: Policy, identity: Identity) -> None:
        self._policy = policy
        self._identity = identity

    def check(self, kind: str, token: str, audience: str) -> float:
        """When a token for an audience (address of a hub) ends, in seconds since 1970.

        Raises:
            TokenRefused: it is not good.
        """
        if kind == SAS:
            return self._check_signature(token, audience)
        if kind == JWT:
            try:
                return self._identity.end_of(f"Bearer {token}", [AUDIENCE])
            except AzureError as error:
                raise TokenRefused(error.message) from error
        raise TokenRefused(f"unknown token type {kind!r}; expected {SAS!r} or {JWT!r}")

    def _check_signature(self, token: str, audience: str) -> float:
        scheme, _, text = token.partition(" ")
        fields = {name: values[0] for name, values in parse_qs(text).items()}
        if scheme != "SharedAccessSignature" or not {"sr", "sig", "se", "skn"} <= fields.keys():
            raise TokenRefused("malformed shared access signature; expected the fields sr, sig, se and skn")
        signed = f"{quote_plus(fields['sr'])}\n{fields['se']}".encode()
        signature = b64encode(hmac.new(self._policy.key.encode(), signed, sha256).digest()).decode()
        if fields["skn"] != self._policy.name or not hmac.compare_digest(fields["sig"], signature):
            raise TokenRefused(f"the signature of policy {fields['skn']!r} is not right; check the name and the key")
        if float(fields["se"]) < time.time():
            raise TokenRefused("the shared access signature has expired")
        if _hub(fields["sr"]) not in ("", _hub(audience)):
            raise TokenRefused(f"the shared access signature is for {fields['sr']!r}, not for {audience!r}")
        return float(fields["se"])


def _hub(audience: str) -> str:
    """The hub of an address such as ``sb://host/hub/Partitions/0``; empty for the whole namespace."""
    return urlsplit(audience).path.strip("/").partition("/")[0]
