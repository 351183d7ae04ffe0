"""A registry that does what a test says, also what none should: HTTP on a loopback port, and a log of all it got."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json"


@dataclass(frozen=True, slots=True)
class Got:
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(slots=True)
class Reply:
    """An answer. *cut*: so many bytes of the body are sent, then the connection is closed."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    length: int | None = None  # announced instead of the true one
    endless: bool = False  # the body is sent again and again, in chunks without end


class Server:
    """A running server; ``answer`` may be replaced at any time."""

    def __init__(self, answer: Callable[[Got], Reply]) -> None:
        self.answer = answer
        self.got: list[Got] = []
        self.address = ""
        self.sent = 0

    def requests(self, method: str, part: str = "") -> list[Got]:
        return [got for got in self.got if got.method == method and part in got.path]


@contextlib.contextmanager
def serving(answer: Callable[[Got], Reply], host: str = "localhost") -> Iterator[Server]:
    """A server under *host*, a name of this machine."""
    found = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def log_message(self, *words: object) -> None:
            pass

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got = Got(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            found.got.append(got)
            self._write(got, found.answer(got))

        def _write(self, got: Got, reply: Reply) -> None:
            self.send_response(reply.status)
            length = len(reply.body) if reply.length is None else reply.length
            extra = {"Transfer-Encoding": "chunked"} if reply.endless else {"Content-Length": str(length)}
            for name, value in (extra | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if got.method == "HEAD":
                return
            if reply.endless:
                while True:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(reply.body), reply.body))
                    found.sent += len(reply.body)
            self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
            if reply.cut is not None or length != len(reply.body):
                self.close_connection = True

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)

    class Threads(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 50

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that leaves is what is tested

    with Threads(("127.0.0.1", 0), Handler) as server:
        found.address = f"{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def an_image(*layers: bytes) -> tuple[bytes, dict[str, bytes]]:
    """A manifest, and all blobs that it names, by digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    blobs = {digest_of(data): data for data in (config, *layers)}
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": f"{OCI}config.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [
            {"mediaType": f"{OCI}layer.v1.tar", "digest": digest_of(data), "size": len(data)} for data in layers
        ],
    }
    return json.dumps(manifest).encode(), blobs


def registry_of(manifest: bytes, blobs: Mapping[str, bytes]) -> Callable[[Got], Reply]:
    """The answers of an honest registry that has one image, under any tag, and knows ranges."""

    def answer(got: Got) -> Reply:
        path = got.path.partition("?")[0]
        if path == "/v2/":
            return Reply(200, body=b"{}")
        if "/manifests/" in path:
            name = path.rpartition("/")[2]
            if ":" in name and name != digest_of(manifest):
                return refused(404, "MANIFEST_UNKNOWN", "manifest unknown")
            headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(manifest)}
            return Reply(200, headers, manifest)
        data = blobs.get(path.rpartition("/")[2])
        if data is None:
            return refused(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return ranged(got, data)

    return answer


def ranged(got: Got, data: bytes) -> Reply:
    """*data*, or the part of it that *got* asks for."""
    wanted = got.headers.get("range")
    if not wanted:
        return Reply(200, {"Content-Type": "application/octet-stream"}, data)
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    return Reply(206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:])


def refused(status: int, code: str = "", message: str = "", **headers: str) -> Reply:
    """A refusal with the registry's words; ``Retry_After="1"`` is a header."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode() if code else b""
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
