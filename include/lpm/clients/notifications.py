"""Channels that reach people: the log, e-mail, a Teams Workflows webhook, and a webhook that takes JSON.

Addresses and secrets are in Airflow connections:

- ``email``: type smtp; host, port, login, password; extra ``from_email`` and ``to_email`` (comma between several),
  ``disable_tls`` and ``disable_ssl`` as the SMTP provider knows them.
- ``teams`` and ``webhook``: the whole address in the password, because it holds a secret. For ``webhook`` the extra may
  have ``authorization``, sent as that header.
"""

import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from lpm.config.alerts import Channel, Severity

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20.0
CARD_BYTES = 24_000  # Teams refuses a message above 28 kB
SMTP_SSL_PORT, SMTP_PORT = 465, 587
LOG_LEVELS: Mapping[Severity, int] = {"critical": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
CARD_COLOURS: Mapping[Severity, str] = {"critical": "attention", "warning": "warning", "info": "accent"}


class ChannelError(RuntimeError):
    """A channel did not take a message. The text never holds an address that is a secret."""


@dataclass(frozen=True)
class Link:
    """A named address; inside a message it is part of the text, because Teams Workflows ignore buttons."""

    name: str
    url: str


@dataclass(frozen=True)
class Message:
    """What people are told. ``facts`` is the same for programs, sent by webhooks only."""

    headline: str
    lines: tuple[str, ...]
    links: tuple[Link, ...]
    severity: Severity
    good_news: bool
    facts: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All of it as plain text."""
        return "\n".join([self.headline, *self.lines, *(f"{link.name}: {link.url}" for link in self.links)])


def send(name: str, channel: Channel, message: Message) -> None:
    """Hand a message to a channel, once.

    Args:
        name: The channel's name in the configuration, for errors.
        channel: What it is.
        message: What to tell.

    Raises:
        ChannelError: it was not taken, or it is not known whether it was.
    """
    try:
        _SENDERS[channel.kind](channel, message)
    except ChannelError:
        raise
    except Exception as error:  # connections, networks and servers fail in many ways; none may stop the other channels
        # Only the kind of error: httpx and Airflow repeat addresses, and those are secrets.
        raise ChannelError(f"channel {name} ({channel.kind}): {_without_address(error)}") from error


def _log(_: Channel, message: Message) -> None:
    log.log(logging.INFO if message.good_news else LOG_LEVELS[message.severity], "%s", message.text)


def _email(channel: Channel, message: Message) -> None:
    connection = _connection(channel)
    extra = connection.extra_dejson
    if not (connection.host and extra.get("from_email") and extra.get("to_email")):
        raise ChannelError(
            f"the Airflow connection {channel.connection} needs a host and, in its extra, from_email and to_email"
        )
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.headline, extra["from_email"], extra["to_email"]
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain=extra["from_email"].rpartition("@")[2])
    mail.set_content(message.text)
    with _smtp(connection, extra) as server:
        if connection.login and connection.password:
            server.login(connection.login, connection.password)
        if refused := server.send_message(mail):  # some recipients only: better told twice than not at all
            raise ChannelError(f"the mail server refused {len(refused)} recipients")


def _smtp(connection: "Connection", extra: Mapping[str, Any]) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if not extra.get("disable_ssl", False):
        port = connection.port or SMTP_SSL_PORT
        return smtplib.SMTP_SSL(connection.host, port, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(connection.host, connection.port or SMTP_PORT, timeout=TIMEOUT_SECONDS)
    if not extra.get("disable_tls", False):
        server.starttls(context=context)
    return server


def _teams(channel: Channel, message: Message) -> None:
    _post(_connection(channel), card(message), {})


def _webhook(channel: Channel, message: Message) -> None:
    connection = _connection(channel)
    authorization = connection.extra_dejson.get("authorization")
    body = {"headline": message.headline, "text": message.text, **message.facts}
    _post(connection, body, {"Authorization": authorization} if authorization else {})


def card(message: Message) -> dict[str, Any]:
    """The message as Teams Workflows take it: an adaptive card in an attachment, shortened to what Teams takes."""
    lines = list(message.lines)
    while len(_card(message, lines)) > CARD_BYTES and len(lines) > 1:
        lines = [*lines[: len(lines) // 2], f"… and {len(message.lines) - len(lines) // 2} more"]
    found: dict[str, Any] = json.loads(_card(message, lines))
    return found


def _card(message: Message, lines: list[str]) -> str:
    colour = "good" if message.good_news else CARD_COLOURS[message.severity]
    links = " · ".join(f"[{link.name}]({link.url})" for link in message.links)
    texts = [{"text": message.headline, "weight": "bolder", "size": "medium", "color": colour}]
    texts += [{"text": _plain(line)} for line in lines] + [{"text": links}]
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [{"type": "TextBlock", "wrap": True, **text} for text in texts],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": content}
    return json.dumps({"type": "message", "attachments": [attachment]})


def _plain(text: str) -> str:
    """Text whose stars, underscores and brackets stay what they are in a card's Markdown."""
    for mark in "\\*_[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _post(connection: "Connection", body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    address = connection.password or ""
    host = urlsplit(address).hostname
    if not host:
        raise ChannelError(f"the Airflow connection {connection.conn_id} has no address in its password")
    local = host in ("127.0.0.1", "localhost", "::1")
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not local) as client:
        response = client.post(address, json=body, headers=dict(headers))
    if not response.is_success:  # a redirect too: nobody has read what was posted
        raise ChannelError(f"{host} answered HTTP {response.status_code}")


def _connection(channel: Channel) -> "Connection":
    from airflow.sdk import BaseHook

    assert channel.connection  # the configuration check holds that
    return BaseHook.get_connection(channel.connection)


def _without_address(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPException | OSError) and not isinstance(error, smtplib.SMTPAuthenticationError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


_SENDERS: Mapping[str, Callable[[Channel, Message], None]] = {
    "log": _log,
    "email": _email,
    "teams": _teams,
    "webhook": _webhook,
}
