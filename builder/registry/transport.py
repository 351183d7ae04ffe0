"""HTTP as registries need it: redirects that take no credentials along, retries by class, bounded answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError

from builder.errors import RegistryError
from builder.registry.connections import Connections
from builder.registry.failures import may_pass, unreachable
from builder.registry.origins import Origin, Request

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

BUDGET = 120.0
"""Seconds for which a request is tried again, all pauses included."""
ANSWER_SECONDS = 120.0
"""Within which an answer that is read as a whole must be here: a server could send a byte a minute."""
CONNECT_SECONDS, READ_SECONDS = 20, 60
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
MOST_REDIRECTS = 5
USER_AGENT = "pybuild"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_DRAINED = 64 << 10


class Body(Protocol):
    """What is sent, from a file: given anew for each try."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, none at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as a whole. ``url`` is where it came from in the end; header names are matched in any case."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str

    def leave(self) -> None:
        """Nothing: it was read."""


class Stream:
    """An answer whose body is still to be read."""

    def __init__(self, response: BaseHTTPResponse, url: str) -> None:
        self._response = response
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def read(self, size: int) -> bytes:
        """Between one byte and *size* of them, none at the end; urllib3's HTTPError or OSError where it breaks off."""
        return self._response.read1(size, decode_content=False)

    def whole(self, limit: int) -> bytes:
        """The rest of the body; RegistryError ``too-large``, ``stalled``."""
        deadline = time.monotonic() + ANSWER_SECONDS
        pieces, size = [], 0
        while data := self.read(64 << 10):
            pieces.append(data)
            size += len(data)
            if size > limit or time.monotonic() > deadline:
                self.close()
                code, what = ("too-large", f"more than {limit} bytes") if size > limit else ("stalled", "too slowly")
                raise RegistryError(f"the registry answers with {what}", code=code, where=Request("GET", self.url))
        self._response.release_conn()
        return b"".join(pieces)

    def leave(self) -> None:
        """Be done with it; the connection is kept if little of the body is left."""
        length = self.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= _DRAINED:
            try:
                self.whole(_DRAINED)
            except (HTTPError, OSError, RegistryError):
                self.close()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


_Got = TypeVar("_Got", Answer, Stream)


class Transport:
    """Sends requests, from several threads at once.

    environment  for proxies and certificates
    budget       seconds for retries
    etc          where the system's configuration is
    """

    def __init__(self, environment: Mapping[str, str], budget: float = BUDGET, etc: Path = Path("/etc")) -> None:
        self.connections = Connections(environment, etc)
        self.budget = budget

    def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        limit: int = 1 << 20,
        redirects: int = MOST_REDIRECTS,
        budget: float | None = None,
    ) -> Answer:
        """The answer as a whole, at most *limit* bytes; tried again while it may pass.

        raises   RegistryError ``unreachable``, ``untrusted-certificate``, ``redirect``, ``too-large`` …
        """
        return self._persist(
            method, url, lambda: self._whole(self._follow(method, url, headers, body, redirects), limit), budget
        )

    def open(self, url: str, headers: Mapping[str, str], *, budget: float | None = None) -> Stream:
        """The answer to a GET, its body not yet read; tried again while it may pass. Errors as ``fetch``'s."""
        return self._persist("GET", url, lambda: self._follow("GET", url, headers, None, MOST_REDIRECTS), budget)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Callable[[], Body]) -> Answer:
        """Send what *body* gives, once: how to go on after a failure depends on what had arrived.

        raises   urllib3's HTTPError, OSError; RegistryError as ``fetch``
        """
        return self._whole(self._follow(method, url, headers, body, MOST_REDIRECTS), 1 << 20)

    def _whole(self, stream: Stream, limit: int) -> Answer:
        return Answer(status=stream.status, headers=stream.headers, data=stream.whole(limit), url=stream.url)

    def _persist(self, method: str, url: str, attempt: Callable[[], _Got], budget: float | None) -> _Got:
        deadline = time.monotonic() + (self.budget if budget is None else budget)
        pause = FIRST_PAUSE
        while True:
            asked = 0.0
            try:
                got = attempt()
            except (HTTPError, OSError) as e:
                if not may_pass(e) or time.monotonic() + pause > deadline:
                    raise unreachable(method, url, e) from None
            else:
                asked = asked_pause(got.headers)
                if got.status not in RETRIED or time.monotonic() + max(pause, asked) > deadline:
                    return got
                got.leave()
            time.sleep(max(pause, asked))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Callable[[], Body] | None,
        redirects: int,
    ) -> Stream:
        sent = {"User-Agent": USER_AGENT, **headers}
        for _ in range(redirects + 1):
            response = self.connections.pool(Origin.of(url)).request(
                method,
                url,
                headers=sent,
                body=body() if callable(body) else body,  # type: ignore[arg-type]  # urllib3 wants IO, but only reads
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
            stream = Stream(response, url)
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not location:
                return stream
            if method not in ("GET", "HEAD") and response.status not in (307, 308):
                # RFC 9110, section 15.4: only these two keep the method.
                return stream
            stream.leave()
            target = _target(method, url, location)
            if Origin.of(target) != Origin.of(url):
                # Credentials are for the server that asked for them (RFC 9110, section 15.4).
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
            url = target
        raise RegistryError("too many redirects", code="redirect", where=Request(method, url))


def _target(method: str, url: str, location: str) -> str:
    """Where a redirect leads, without the user that may be written in it."""
    try:
        parts = urlsplit(urljoin(url, location))
        target = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        target = ""
    if Origin.of(url).scheme == "https" and Origin.of(target).scheme != "https":
        raise RegistryError(
            "the registry redirects to an unencrypted address", code="redirect", where=Request(method, target)
        )
    return target


def asked_pause(headers: Mapping[str, str]) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or as a date (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
