"""As much of Azure Blob Storage as keeping and finding texts takes, on loopback.

https://learn.microsoft.com/rest/api/storageservices: Put Blob, Get Blob, Get Blob Properties, List Blobs, Delete Blob.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

WHEN = "Tue, 24 Nov 2026 12:00:00 GMT"
KEY = "bm90IGEgc2VjcmV0"


@dataclass
class BlobServer:
    """The blobs by ``container/name``, and how to reach them."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def connection_string(self) -> str:
        address = f"http://127.0.0.1:{self.port}/account"
        return f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={KEY};BlobEndpoint={address};"


@contextmanager
def blob_server() -> Iterator[BlobServer]:
    """A running server."""
    state = BlobServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def name(self) -> str:
            return unquote(urlsplit(self.path).path).removeprefix("/account/")

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            known = {"Last-Modified": WHEN, "ETag": '"1"', "x-ms-version": "2021-08-06", "x-ms-request-id": "1"}
            for key, value in {**known, **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
                self.send_header(key, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_PUT(self) -> None:
            state.blobs[self.name()] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(201)

        def do_DELETE(self) -> None:
            if state.blobs.pop(self.name(), None) is None:
                self.answer(404, x_ms_error_code="BlobNotFound")
            else:
                self.answer(202)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            if query.get("comp") == "list":
                self.answer(200, self.listing(query).encode(), Content_Type="application/xml")
            elif query.get("restype") == "container":
                self.answer(200)
            elif (body := state.blobs.get(self.name())) is None:
                self.answer(404, x_ms_error_code="BlobNotFound")
            else:
                total = len(body)
                kind = {"x_ms_blob_type": "BlockBlob", "Content_Type": "application/octet-stream"}
                self.answer(206 if total else 200, body, Content_Range=f"bytes 0-{max(total - 1, 0)}/{total}", **kind)

        def listing(self, query: dict[str, str]) -> str:
            prefix, delimiter, container = query.get("prefix", ""), query.get("delimiter"), self.name()
            names = sorted(name.removeprefix(f"{container}/") for name in state.blobs if name.startswith(container))
            found = [name for name in names if name.startswith(prefix)]
            folders = dict.fromkeys(
                prefix + name[len(prefix) :].split("/")[0] + "/"
                for name in found
                if delimiter and "/" in name[len(prefix) :]
            )
            files = [name for name in found if not delimiter or "/" not in name[len(prefix) :]]
            blobs = "".join(
                f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{WHEN}</Last-Modified><Etag>1</Etag>"
                f"<Content-Length>{len(state.blobs[f'{container}/{name}'])}</Content-Length>"
                "<BlobType>BlockBlob</BlobType></Properties></Blob>"
                for name in files
            )
            blobs += "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in folders)
            return (
                f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}">'
                f"<Prefix>{escape(prefix)}</Prefix><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
            )

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
