"""Requests and replies: the node ``$cbs`` takes tokens, ``$management`` says what a hub and a partition are."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lpm.local.event_hubs import codec
from lpm.local.event_hubs.codec import NULL, AmqpValueError
from lpm.local.event_hubs.faults import Faults
from lpm.local.event_hubs.frames import AmqpError, Attach, performative
from lpm.local.event_hubs.hub_log import NOT_SET, HubLog
from lpm.local.event_hubs.messages import APPLICATION_PROPERTIES, PROPERTIES, VALUE, sections
from lpm.local.event_hubs.session import Delivery, IncomingLink, Link, Session
from lpm.local.event_hubs.tokens import Grants, TokenRefused, Tokens

CBS, MANAGEMENT = "$cbs", "$management"


@dataclass(frozen=True)
class Request:
    """A request. ``properties`` are its application properties."""

    id: Any
    properties: Mapping[str, Any]
    body: Any

    @classmethod
    def of(cls, message: bytes) -> "Request":
        """Read it.

        Raises:
            AmqpValueError: it is no message, or one without an id.
        """
        found = {section.code: codec.decode(section.raw, section.value_at)[0] for section in sections(message)}
        properties = found.get(PROPERTIES) or [None]
        if properties[0] is None:
            raise AmqpValueError("a request without a message-id; expected one to answer to")
        named = {_text(name): value for name, value in (found.get(APPLICATION_PROPERTIES) or {}).items()}
        return cls(properties[0], named, found.get(VALUE))

    def text(self, name: str) -> str:
        """A property as text; empty when it is not there."""
        return _text(self.properties.get(name, ""))


@dataclass(frozen=True)
class Reply:
    """The answer to a request. ``body`` is an encoded value."""

    status: int
    description: str
    body: bytes = NULL

    def message(self, request: Request) -> bytes:
        """The message that answers ``request``."""
        properties = [*[NULL] * 5, _encoded_id(request.id), *[NULL] * 7]
        told = {
            codec.string("status-code"): codec.integer(self.status),
            codec.string("status-description"): codec.string(self.description),
        }
        return b"".join(
            [
                performative(PROPERTIES, *properties),
                codec.described(APPLICATION_PROPERTIES, codec.amqp_map(told)),
                codec.described(VALUE, self.body),
            ]
        )


Answer = Callable[[Request], Awaitable[Reply]]


class Replies(Link):
    """The link through which a client receives its replies. Credit is not counted: it asks for one at a time."""


class Requests(IncomingLink):
    """The link through which a client sends its requests; ``replies`` finds the one that its replies go to."""

    def __init__(self, session: Session, attach: Attach, answer: Answer, replies: Callable[[], Replies | None]) -> None:
        super().__init__(session, attach)
        self._answer, self._replies = answer, replies

    async def take(self, delivery: Delivery) -> None:
        """Settle the request, then answer it.

        Raises:
            AmqpError: it is no request, or there is no link for its reply.
        """
        replies = self._replies()
        if replies is None:
            raise AmqpError("amqp:not-allowed", "a request without a link for its reply")
        try:
            request = Request.of(delivery.message)
        except AmqpValueError as error:
            raise AmqpError("amqp:decode-error", str(error)) from error
        self.settle(delivery)
        replies.send((await self._answer(request)).message(request))


class TokenNode:
    """``$cbs``: takes the tokens of one connection."""

    def __init__(self, tokens: Tokens, grants: Grants, faults: Faults) -> None:
        self._tokens, self._grants, self._faults = tokens, grants, faults

    async def answer(self, request: Request) -> Reply:
        """Put a token."""
        if request.text("operation") != "put-token":
            return Reply(400, f"unknown operation {request.text('operation')!r}; expected 'put-token'")
        if self._faults.take("refuse_token"):
            return Reply(401, "InvalidToken: The token is refused on demand.")
        audience = request.text("name")
        try:
            ends = self._tokens.check(request.text("type"), _text(request.body), audience)
        except TokenRefused as refused:
            return Reply(401, f"InvalidSignature: {refused}")
        self._grants.add(audience, ends)
        return Reply(202, "Accepted")


class ManagementNode:
    """``$management``: says what a hub and its partitions are."""

    def __init__(self, hubs: HubLog, grants: Grants) -> None:
        self._hubs, self._grants = hubs, grants

    async def answer(self, request: Request) -> Reply:
        """Read a hub or a partition."""
        hub, kind = request.text("name"), request.text("type")
        try:
            self._grants.check(hub)
            partitions = await self._hubs.partitions(hub)
            if partitions is None:
                return Reply(404, f"The messaging entity '{hub}' could not be found.")
            if kind == "com.microsoft:eventhub":
                return Reply(200, "OK", _hub_body(hub, partitions))
            if kind == "com.microsoft:partition":
                number = request.text("partition")
                if number not in map(str, range(partitions)):
                    return Reply(404, f"The partition '{number}' of '{hub}' could not be found.")
                return Reply(200, "OK", await self._partition_body(hub, number))
        except AmqpError as error:
            return Reply(401 if error.condition == "amqp:unauthorized-access" else 500, error.description)
        return Reply(400, f"unknown type {kind!r}; expected com.microsoft:eventhub or com.microsoft:partition")

    async def _partition_body(self, hub: str, number: str) -> bytes:
        found = await self._hubs.partition(hub, int(number))
        empty = found.end == found.begin
        return _map(
            name=codec.string(hub),
            partition=codec.string(number),
            begin_sequence_number=codec.long(-1 if empty else found.begin),
            last_enqueued_sequence_number=codec.long(found.newest.sequence),
            last_enqueued_offset=codec.string(str(found.newest.sequence)),
            last_enqueued_time_utc=codec.timestamp(found.newest.enqueued),
            is_partition_empty=codec.boolean(empty),
        )


def _hub_body(hub: str, partitions: int) -> bytes:
    return _map(
        name=codec.string(hub),
        created_at=codec.timestamp(NOT_SET.enqueued),  # the broker does not say when a topic was created
        partition_count=codec.integer(partitions),
        partition_ids=codec.string_array(map(str, range(partitions))),
    )


def _map(**values: bytes) -> bytes:
    return codec.amqp_map({codec.string(name): value for name, value in values.items()})


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _encoded_id(value: Any) -> bytes:
    match value:
        case uuid.UUID():
            return codec.identifier(value)
        case bytes():
            return codec.binary(value)
        case int():
            return codec.ulong(value)
    return codec.string(str(value))
