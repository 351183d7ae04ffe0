"""Authentication: what to say to a registry that wants to know who we are.

A token is asked for with exactly the scopes that we want, never with those that a challenge names: a registry must not
be able to get a token for another repository out of us. Tokens are renewed before they end, so that a build outlives
them.

source   distribution/distribution, docs/spec/auth/token.md, oauth.md, scope.md; RFC 6749, section 6
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from builder.errors import RegistryError
from builder.registry.challenges import Challenge, parse_challenge
from builder.registry.logins import Login, basic
from builder.registry.origins import Origin, Request, is_loopback
from builder.registry.transport import Answer, Transport

Scopes = frozenset[str]
"""``repository:library/debian:pull`` …"""

DEFAULT_SECONDS, MOST_SECONDS = 60.0, 86400.0
MARGIN = 10.0
"""Seconds before its end at which a token is taken for ended: the request must get there in time."""
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,65536}")
CLIENT = "pybuild"


class Denied(Exception):
    """The login, or its absence, is not accepted."""


@dataclass(frozen=True, slots=True)
class _Known:
    value: str
    until: float
    scopes: Scopes | None  # None: whatever is asked for


class Authenticator:
    """Gives the ``Authorization`` for requests to one registry under one login. Thread-safe.

    origin   of the registry
    """

    def __init__(self, transport: Transport, origin: Origin, login: Login | None) -> None:
        self._transport = transport
        self._origin = origin
        self._login = login
        self._known: list[_Known] = []
        self._challenge: Challenge | None = None
        self._lock = threading.Lock()

    def header(self, scopes: Scopes) -> str | None:
        """What will be accepted for *scopes*; None as long as the registry has not said what it wants.

        raises   Denied; RegistryError as ``answer``
        """
        with self._lock:
            known = self._find(scopes)
            if known is None and self._challenge is not None and self._challenge.scheme == "bearer":
                known = self._obtain(self._challenge, scopes)
            return known.value if known else None

    def answer(self, header: str, scopes: Scopes, refused: str | None) -> str:
        """The ``Authorization`` that meets the challenge of a 401.

        header   its WWW-Authenticate
        refused  what was sent with the request that was answered so
        raises   Denied; RegistryError ``invalid-challenge``, ``no-token``, ``unreachable``
        """
        challenge = parse_challenge(header)
        if challenge is None:
            raise Denied
        with self._lock:
            self._challenge = challenge
            known = self._find(scopes)
            if known is not None and known.value != refused:
                return known.value  # another thread was faster
            self._known = [item for item in self._known if item.value != refused]
            value = self._obtain(challenge, scopes).value
        if value == refused:
            raise Denied
        return value

    def _find(self, scopes: Scopes) -> _Known | None:
        now = time.monotonic()
        for item in self._known:
            if now < item.until and (item.scopes is None or scopes <= item.scopes):
                return item
        return None

    def _obtain(self, challenge: Challenge, scopes: Scopes) -> _Known:
        login = self._login
        if login is not None and login.kind == "bearer":
            known = _Known(f"Bearer {_checked(login.password)}", float("inf"), None)
        elif challenge.scheme == "basic":
            if login is None or login.kind != "password":
                raise Denied
            known = _Known(basic(login), float("inf"), None)
        else:
            answer, shown = self._ask(challenge, scopes)
            token, seconds = _token(answer, shown)
            known = _Known(f"Bearer {token}", time.monotonic() + seconds, scopes)
        now = time.monotonic()
        self._known = [known, *(item for item in self._known if item.until > now)]
        return known

    def _ask(self, challenge: Challenge, scopes: Scopes) -> tuple[Answer, Request]:
        realm, login = self._realm(challenge), self._login
        fields = [("service", challenge.parameters["service"])] if challenge.parameters.get("service") else []
        if login is not None and login.kind == "identity":
            # A refresh token is in the body, which must not follow to another server.
            fields += [("grant_type", "refresh_token"), ("refresh_token", login.password), ("client_id", CLIENT)]
            fields += [("scope", " ".join(sorted(scopes)))] if scopes else []
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(fields).encode()
            answer = self._transport.fetch("POST", realm, headers, body=body, redirects=0)
            return answer, Request("POST", realm)
        fields += [("scope", scope) for scope in sorted(scopes)]
        joint = "&" if urlsplit(realm).query else "?"
        headers = {"Authorization": basic(login)} if login else {}
        return self._transport.fetch("GET", realm + joint + urlencode(fields), headers), Request("GET", realm)

    def _realm(self, challenge: Challenge) -> str:
        """Where tokens are given: over TLS, unless on this machine, or for a registry elsewhere without TLS itself."""
        realm = challenge.parameters.get("realm", "")
        origin = Origin.of(realm)
        insecure = self._origin.scheme == "http" and not is_loopback(self._origin.host)
        if (origin.scheme == "http" and not insecure and not is_loopback(origin.host)) or "@" in urlsplit(realm).netloc:
            raise RegistryError(
                "the registry wants the login to be sent without encryption",
                code="invalid-challenge",
                where=Request("GET", realm),
            )
        return realm.partition("#")[0]


def _token(answer: Answer, shown: Request) -> tuple[str, float]:
    """The token, and for how many seconds it is good."""
    if answer.status in (400, 401, 403):
        raise Denied
    try:
        value = json.loads(answer.data) if answer.status == 200 else {}
        token = _checked(value.get("token") or value["access_token"])
        seconds = value.get("expires_in")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise RegistryError(
            f"the token server answered {answer.status} and no token", code="no-token", where=shown
        ) from None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds <= MOST_SECONDS:
        # token.md, "expires_in": "If omitted, this defaults to 60 seconds."
        seconds = DEFAULT_SECONDS
    return token, max(seconds - MARGIN, seconds / 2)


def _checked(token: object) -> str:
    """*token*, which must fit into a header; ValueError."""
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise ValueError("not a token")
    return token
