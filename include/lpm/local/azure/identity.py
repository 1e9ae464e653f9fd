"""The managed identity endpoint of Azure App Service, and the check of the tokens it gives.

A token carries its audience and its end and is signed with the identity header, so tokens stay good over a restart.
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

from lpm.local.azure.errors import AzureError

API_VERSION = "2019-08-01"
LIFE_SECONDS = 24 * 3600
MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net")
CLIENT_ID = "00000000-0000-0000-0000-0000000000c1"


class Identity:
    """Issues and checks tokens."""

    def __init__(self, header: str) -> None:
        if not header:
            raise ValueError("the identity header is empty; set IDENTITY_HEADER to any secret text")
        self._header = header

    def token(self, resource: str, life_seconds: int = LIFE_SECONDS) -> dict[str, Any]:
        """The endpoint's answer for one audience."""
        expires = int(time.time()) + life_seconds
        claims = base64.urlsafe_b64encode(json.dumps({"aud": resource, "exp": expires}).encode()).decode()
        return {
            "access_token": f"{claims}.{self._signature(claims)}",
            "expires_on": str(expires),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": CLIENT_ID,
        }

    def admits(self, header: str | None) -> bool:
        """Whether the endpoint may answer a request with this ``X-IDENTITY-HEADER``."""
        return header is not None and hmac.compare_digest(header, self._header)

    def check(self, authorization: str | None) -> None:
        """Admit a request to Resource Manager.

        Raises:
            AzureError: there is no token, or it is not ours, too old or for something else.
        """
        self.end_of(authorization, MANAGEMENT)

    def end_of(self, authorization: str | None, audiences: Sequence[str]) -> float:
        """When the token of a request for one of these audiences ends, in seconds since 1970.

        Raises:
            AzureError: there is no token, or it is not ours, too old or for something else.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AzureError(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        claims, _, signature = token.partition(".")
        if not hmac.compare_digest(signature, self._signature(claims)):
            raise AzureError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        content = json.loads(base64.urlsafe_b64decode(claims))
        if content["exp"] < time.time():
            raise AzureError(401, "ExpiredAuthenticationToken", "The access token has expired.")
        if str(content["aud"]).rstrip("/") not in audiences:
            message = f"The access token is for '{content['aud']}'; expected '{audiences[0]}'."
            raise AzureError(401, "InvalidAuthenticationTokenAudience", message)
        return float(content["exp"])

    def _signature(self, claims: str) -> str:
        return hmac.new(self._header.encode(), claims.encode(), hashlib.sha256).hexdigest()
