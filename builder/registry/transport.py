"""HTTP as registries need it: redirects that take no credentials along, retries by class, proxies."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, NewConnectionError, SSLError

from builder.errors import RegistryError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

BUDGET = 120.0
"""Seconds for which a request is tried again, all pauses included."""
MOST_REDIRECTS = 5
RETRIED = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Request:
    """A request as errors may show it: no credentials, no query."""

    method: str
    url: str

    def describe(self) -> str:
        """``GET https://host/path``."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        return f"{self.method} {parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


class Transport:
    """Connections, kept open. Used by several threads at once.

    environment  for the proxies
    budget       seconds for retries
    """

    def __init__(self, environment: Mapping[str, str], budget: float = BUDGET) -> None:
        self._environment = environment
        self._budget = budget
        self._pools: dict[str, urllib3.PoolManager] = {}

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        expect: frozenset[int] = frozenset({200}),
    ) -> BaseHTTPResponse:
        """The answer, its body not yet read: one of *expect*, or a final refusal (4xx) for the caller to judge.

        raises   RegistryError ``unreachable`` when the budget is spent on errors that may pass
        """
        deadline = time.monotonic() + self._budget
        pause = 0.5
        while True:
            try:
                response = self._follow(method, url, headers, body)
            except (HTTPError, OSError) as e:
                if not _may_pass(e) or time.monotonic() + pause > deadline:
                    raise _unreachable(method, url, e) from None
            else:
                if response.status in expect or response.status not in RETRIED:
                    return response
                response.drain_conn()
                pause = max(pause, _asked_pause(response))
                if time.monotonic() + pause > deadline:
                    return response
            time.sleep(pause)
            pause = min(pause * 2, 15)

    def _follow(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> BaseHTTPResponse:
        sent = dict(headers)
        for _ in range(MOST_REDIRECTS + 1):
            response = self._pool(url).request(
                method,
                url,
                headers=sent,
                body=body,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=20, read=60),
            )
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.drain_conn()
            target = urljoin(url, location)
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise RegistryError(
                    "the registry redirects to an unencrypted address", code="redirect", where=Request(method, target)
                )
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                # Credentials are for the host that asked for them (RFC 9110, section 15.4).
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
            url = target
        raise RegistryError("too many redirects", code="redirect", where=Request(method, url))

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url, self._environment)
        if proxy not in self._pools:
            self._pools[proxy] = urllib3.ProxyManager(proxy, maxsize=8) if proxy else urllib3.PoolManager(maxsize=8)
        return self._pools[proxy]


def proxy_for(url: str, environment: Mapping[str, str]) -> str:
    """The proxy for *url* as the environment says, or ""."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_loopback(host):
        return ""
    for entry in (environment.get("NO_PROXY") or environment.get("no_proxy") or "").split(","):
        name = entry.strip().lower().lstrip(".").partition(":")[0]
        if name == "*" or (name and (host == name or host.endswith("." + name))):
            return ""
    name = f"{parts.scheme}_proxy"
    return environment.get(name.upper()) or environment.get(name) or ""


def is_loopback(host: str) -> bool:
    """Whether *host* (without a port) is this machine itself, for which Docker allows plain HTTP."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help: not for a name that does not resolve, a closed port, or a bad certificate."""
    reason = error.reason if isinstance(error, MaxRetryError) else error
    return not isinstance(reason, (NewConnectionError, SSLError, LocationParseError, RegistryError))


def _asked_pause(response: BaseHTTPResponse) -> float:
    """Seconds that ``Retry-After`` asks for, at most a minute (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdecimal() else 0.0


def _unreachable(method: str, url: str, error: Exception) -> RegistryError:
    reason = error.reason if isinstance(error, MaxRetryError) else error
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(reason, SSLError):
        return RegistryError(
            f"{host} has no certificate that is trusted here: {_said(reason)}",
            code="untrusted-certificate",
            where=Request(method, url),
            hint="give the certificate of its authority in SSL_CERT_FILE",
        )
    return RegistryError(
        f"cannot reach the registry {host}: {_said(reason)}", code="unreachable", where=Request(method, url)
    )


def _said(error: object) -> str:
    text = str(error)
    for mark in ("[Errno", "Failed to"):
        if mark in text:
            text = text[text.index(mark) :]
            break
    return text.splitlines()[0][:200] if text else type(error).__name__
