"""Whether a server speaks TLS, asked only of this machine and of registries that are configured as insecure."""

from __future__ import annotations

import socket

from builder.registry.origins import is_loopback, split_host

SECONDS = 5.0


def scheme_of(host: str, *, insecure: bool) -> str:
    """``https``; or ``http`` for a *host* (``name[:port]``) that speaks it, and may."""
    name, port = split_host(host)
    if not insecure and not is_loopback(name):
        return "https"
    if port is None:
        return "https" if _connects(name, 443) or not _connects(name, 80) else "http"
    return "http" if _speaks_http(host, name, port) else "https"


def _connects(name: str, port: int) -> bool:
    try:
        with socket.create_connection((name, port), SECONDS):
            return True
    except OSError:
        return False


def _speaks_http(host: str, name: str, port: int) -> bool:
    """Whether a plain request is answered. A server of TLS says 400 to it (Go's, nginx), or nothing that is HTTP."""
    request = f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((name, port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(request.encode())
            head = b""
            while len(head) < 12 and (data := connection.recv(64)):
                head += data
    except OSError:
        return False  # the request itself will say why
    return head.startswith(b"HTTP/1.") and head[9:12] != b"400"
