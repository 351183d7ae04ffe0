"""Talking to one repository of one registry: logged in where the registry asks for it, refusals as errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from builder.errors import RegistryError
from builder.registry.auth import Authenticator, Denied, Scopes
from builder.registry.logins import Login
from builder.registry.origins import Origin, Request
from builder.registry.transport import Answer, Body, Stream, Transport, asked_pause

SAID_LIMIT = 64 << 10


class _Answered(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def url(self) -> str: ...
    def leave(self) -> None: ...


_Got = TypeVar("_Got", bound=_Answered)


class Session:
    """Requests as one user to one registry.

    name     of the image or registry, for messages
    host     of the registry as users write it, for messages
    base     its URL, ``https://host``
    budget   seconds for retries; None: the transport's
    """

    def __init__(
        self,
        transport: Transport,
        authenticator: Authenticator,
        *,
        name: str,
        host: str,
        base: str,
        login: Login | None,
        budget: float | None = None,
    ) -> None:
        self._transport = transport
        self._authenticator = authenticator
        self._login = login
        self._budget = budget
        self.name = name
        self.host = host
        self.base = base
        self._origin = Origin.of(base)

    def fetch(
        self,
        method: str,
        url: str,
        scopes: Scopes,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 1 << 20,
        expect: frozenset[int] = frozenset({200}),
    ) -> Answer:
        """The answer as a whole, its status one of *expect*.

        raises   RegistryError ``unauthorized``, ``denied``, ``not-found``, ``rate-limited``, ``refused``, and those
                 of ``Transport.fetch``
        """

        def once(sent: Mapping[str, str]) -> Answer:
            return self._transport.fetch(method, url, sent, body=body, limit=limit, budget=self._budget)

        answer = self._logged_in(url, headers or {}, scopes, once)
        if answer.status not in expect:
            raise self.refusal(method, answer)
        return answer

    def open(self, url: str, scopes: Scopes, headers: Mapping[str, str], expect: frozenset[int]) -> Stream:
        """The answer to a GET, its body still to be read. Errors as ``fetch``'s."""
        stream = self._logged_in(
            url, headers, scopes, lambda sent: self._transport.open(url, sent, budget=self._budget)
        )
        if stream.status in expect:
            return stream
        # The body of a refusal says why; it may just as well never end.
        try:
            data = stream.whole(SAID_LIMIT)
        except (OSError, RegistryError):
            data = b""
        raise self.refusal("GET", Answer(status=stream.status, headers=stream.headers, data=data, url=stream.url))

    def send(
        self, method: str, url: str, scopes: Scopes, headers: Mapping[str, str], body: Callable[[], Body]
    ) -> Answer:
        """Send what *body* gives, once; any answer. Raises what ``Transport.send`` does."""
        return self._logged_in(url, headers, scopes, lambda sent: self._transport.send(method, url, sent, body))

    def _logged_in(
        self, url: str, headers: Mapping[str, str], scopes: Scopes, once: Callable[[Mapping[str, str]], _Got]
    ) -> _Got:
        ours = Origin.of(url) == self._origin  # what a registry names for uploads may be another server
        try:
            known = self._authenticator.header(scopes) if ours else None
            answer = once({**headers, "Authorization": known} if known else headers)
            # A 401 from elsewhere, after a redirect, is not the registry's and gets no answer.
            if answer.status == 401 and ours and Origin.of(answer.url) == self._origin:
                challenge = answer.headers.get("WWW-Authenticate", "")
                value = self._authenticator.answer(challenge, scopes, known)
                answer.leave()
                answer = once({**headers, "Authorization": value})
            return answer
        except Denied:
            raise self._unauthorized(url, "") from None

    def refusal(self, method: str, answer: Answer) -> RegistryError:
        """The error for an answer that is not what was asked for."""
        where, status, said = Request(method, answer.url), answer.status, told(answer.data)
        detail = f": {said}" if said else ""
        if status == 401:
            return self._unauthorized(answer.url, said, method)
        if status == 403:
            return RegistryError(
                f"{self.name}: {self._who()} may not do this{detail}",
                code="denied",
                where=where,
                hint=f"log in as another user with: pybuild login {self.host}",
            )
        if status == 404:
            return RegistryError(
                f"{self.name}: not found{detail}", code="not-found", where=where, hint="check the name and the tag"
            )
        if status == 429:
            seconds = asked_pause(answer.headers)
            return RegistryError(
                f"{self.name}: the registry's rate limit is reached"
                + (f", it asks to wait for {seconds:.0f} s" if seconds else detail),
                code="rate-limited",
                where=where,
                hint="wait, or use a mirror" if self._login else "log in, wait, or use a mirror",
            )
        return RegistryError(f"{self.name}: the registry answered {status}{detail}", code="refused", where=where)

    def _who(self) -> str:
        if self._login is None:
            return "whoever is not logged in"
        return self._login.user if self._login.kind == "password" else "the owner of the token"

    def _unauthorized(self, url: str, said: str, method: str = "GET") -> RegistryError:
        detail = f": {said}" if said else ""
        if self._login is None:
            message, how = f"access denied, or there is no such repository: no login is known for {self.host}", "log in"
        else:
            message, how = f"access denied: {self.host} refuses the login of {self._who()}", "log in anew"
        return RegistryError(
            f"{self.name}: {message}{detail}",
            code="unauthorized",
            where=Request(method, url),
            hint=f"{how} with: pybuild login {self.host}",
        )


def told(data: bytes) -> str:
    """The registry's own words, on one line, from its JSON of errors (distribution-spec, "Error Codes")."""
    try:
        errors = json.loads(data)["errors"]
        text = "; ".join(str(item.get("message") or item.get("code") or "") for item in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip("; ")
