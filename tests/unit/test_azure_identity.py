"""Tokens of the stand-in's managed identity endpoint."""

import pytest

from lpm.local.azure.errors import AzureError
from lpm.local.azure.identity import Identity

HEADER = "some secret"
AUDIENCE = "https://management.azure.com"


def bearer(identity: Identity, audience: str = AUDIENCE, life_seconds: int = 60) -> str:
    return f"Bearer {identity.token(audience, life_seconds)['access_token']}"


def refused(authorization: str | None) -> str:
    with pytest.raises(AzureError) as caught:
        Identity(HEADER).check(authorization)
    assert caught.value.status == 401
    return caught.value.code


def test_a_token_is_good_for_resource_manager_even_after_a_restart() -> None:
    Identity(HEADER).check(bearer(Identity(HEADER)))
    Identity(HEADER).check(bearer(Identity(HEADER), AUDIENCE + "/"))


def test_other_tokens_are_refused() -> None:
    assert refused(None) == "AuthenticationFailed"
    assert refused("Basic abc") == "AuthenticationFailed"
    assert refused("Bearer abc.def") == "InvalidAuthenticationToken"
    assert refused(bearer(Identity("another secret"))) == "InvalidAuthenticationToken"
    assert refused(bearer(Identity(HEADER), life_seconds=-1)) == "ExpiredAuthenticationToken"
    assert refused(bearer(Identity(HEADER), "https://eventhubs.azure.net")) == "InvalidAuthenticationTokenAudience"


def test_only_the_right_header_gets_a_token() -> None:
    identity = Identity(HEADER)
    assert identity.admits(HEADER)
    assert not identity.admits(None)
    assert not identity.admits("")
    with pytest.raises(ValueError, match="IDENTITY_HEADER"):
        Identity("")
