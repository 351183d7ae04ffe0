"""URLs as far as trust goes: who is the same server, who is this machine itself. Requests as errors show them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from builder.errors import RegistryError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as errors may show it: no credentials, no query."""

    method: str
    url: str

    def describe(self) -> str:
        """``GET https://host/path``."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return self.method  # a redirect may hold anything
        host = f"[{host}]" if ":" in host else host
        path = "".join(letter if letter.isprintable() else "?" for letter in parts.path)
        return f"{self.method} {parts.scheme}://{host}{f':{port}' if port else ''}{path}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who answers a URL; equal origins are the same server.

    source   RFC 6454, section 4: scheme, host and port
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of *url*; RegistryError ``invalid-url`` if it is not one of HTTP."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            host, port = "", None
        if not host or parts.scheme not in _PORTS:
            raise RegistryError("the registry names an address that is not one of HTTP", code="invalid-url")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme])


def split_host(registry: str) -> tuple[str, int | None]:
    """``host[:port]`` as a host without brackets and a port, None where none is written."""
    host, colon, port = registry.rpartition(":")
    if not colon or registry.endswith("]"):
        host, port = registry, ""
    return host.strip("[]").lower(), int(port) if port else None


def is_loopback(host: str) -> bool:
    """Whether *host* (without a port) is this machine itself, for which Docker allows plain HTTP."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # a name may begin with 127., too
