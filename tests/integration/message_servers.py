"""Real servers on loopback that take mail and webhooks, and can refuse them."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

StateT = TypeVar("StateT")


@dataclass
class Posted:
    """A webhook that was called."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass
class WebServer:
    """Takes webhooks. ``status`` is what it answers from now on."""

    port: int = 0
    status: int = 202
    posted: list[Posted] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class MailServer:
    """Takes mail. ``refused`` recipients are answered with 550."""

    port: int = 0
    refused: tuple[str, ...] = ()
    mails: list[Message] = field(default_factory=list)
    envelopes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A running web server."""
    state = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            state.posted.append(Posted(self.path, dict(self.headers), body))
            self.send_response(state.status)
            if state.status in (301, 302):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    yield from _served(server, state)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A running mail server: as much of RFC 5321 as a client needs."""
    state = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def answer(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self) -> None:
            sender, recipients = "", []
            self.answer("220 test")
            while line := self.rfile.readline().decode().strip():
                command, argument = line[:4].upper(), line.partition(":")[2].strip().partition(" ")[0].strip("<>")
                if command == "MAIL":
                    sender = argument
                if command == "RCPT":
                    if argument in state.refused:
                        self.answer("550 no such person")
                        continue
                    recipients.append(argument)
                if command == "DATA":
                    self.answer("354 go on")
                    lines = []
                    while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        lines.append(text.removeprefix(".") if text.startswith("..") else text)
                    state.mails.append(message_from_string("\n".join(lines)))
                    state.envelopes.append((sender, tuple(recipients)))
                if command == "QUIT":
                    self.answer("221 bye")
                    return
                self.answer("250 ok")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    yield from _served(server, state)


def _served(server: socketserver.BaseServer, state: StateT) -> Iterator[StateT]:
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
