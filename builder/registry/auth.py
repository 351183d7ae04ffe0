"""Authentication: challenges, and tokens for one repository each.

source   RFC 9110, section 11; distribution/distribution, docs/spec/auth/token.md and oauth.md
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from builder.errors import RegistryError
from builder.image.names import Reference
from builder.registry.credentials import Credentials, Login
from builder.registry.transport import Request, Transport, is_loopback

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

ANSWER_LIMIT = 1 << 20
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate``: its scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def parse_challenge(header: str) -> Challenge | None:
    """The first challenge in *header* that we can meet, or None."""
    for scheme in ("bearer", "basic"):
        found = re.search(rf"(?:^|,\s*){scheme}(?:\s+|$)", header, re.IGNORECASE)
        if found:
            rest = header[found.end() :]
            return Challenge(
                scheme, {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _PARAMETER.finditer(rest)}
            )
    return None


class Authenticator:
    """Gives the ``Authorization`` for a repository, once a registry has asked for one. Thread-safe."""

    def __init__(self, transport: Transport, credentials: Credentials) -> None:
        self._transport = transport
        self._credentials = credentials
        self._known: dict[tuple[str, str, str], tuple[str, float]] = {}
        self._lock = threading.Lock()

    def header(self, reference: Reference, actions: str) -> str | None:
        """What is known to be accepted, or None: ask without, and see."""
        with self._lock:
            value, until = self._known.get((reference.registry, reference.repository, actions), ("", 0.0))
            return value if value and time.monotonic() < until else None

    def login(self, reference: Reference) -> Login | None:
        """The login that is known for *reference*."""
        return self._credentials.find(reference.registry, reference.repository)

    def answer(self, response: BaseHTTPResponse, reference: Reference, actions: str, url: str) -> str:
        """The ``Authorization`` that meets the challenge in a 401.

        raises   RegistryError ``unauthorized`` when there is nothing to answer with
        """
        challenge = parse_challenge(response.headers.get("WWW-Authenticate", ""))
        login = self.login(reference)
        if challenge is None:
            raise unauthorized(reference, login, url)
        if challenge.scheme == "basic":
            if login is None or login.identity:
                raise unauthorized(reference, login, url)
            value, seconds = basic(login), 3600.0
        else:
            value, seconds = self._token(challenge, reference, actions, login, url)
        with self._lock:
            key = (reference.registry, reference.repository, actions)
            self._known[key] = value, time.monotonic() + seconds
        return value

    def _token(
        self, challenge: Challenge, reference: Reference, actions: str, login: Login | None, url: str
    ) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise RegistryError(f"the registry names no usable realm: {realm!r}", code="invalid-challenge")
        # The scope is ours, not the challenge's: a registry must not be able to ask for a token for another repository.
        fields = {"scope": f"repository:{reference.repository}:{actions}"}
        if challenge.parameters.get("service"):
            fields["service"] = challenge.parameters["service"]
        if login is not None and login.identity:
            fields |= {"grant_type": "refresh_token", "refresh_token": login.password, "client_id": "pybuild"}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._transport.request("POST", realm, headers, body=urlencode(fields).encode())
            shown = Request("POST", realm)
        else:
            headers = {"Authorization": basic(login)} if login else {}
            joint = "&" if parts.query else "?"
            response = self._transport.request("GET", realm + joint + urlencode(fields), headers)
            shown = Request("GET", realm)
        data = response.read(ANSWER_LIMIT)
        response.release_conn()
        if response.status in (400, 401, 403):
            raise unauthorized(reference, login, url)
        try:
            value = json.loads(data) if response.status == 200 else {}
            token = value.get("token") or value["access_token"]
            seconds = float(value.get("expires_in") or 60)
        except (ValueError, KeyError, AttributeError, TypeError):
            raise RegistryError(
                f"the token server answered {response.status} and no token", code="no-token", where=shown
            ) from None
        return f"Bearer {token}", max(seconds - 10, 5)


def basic(login: Login) -> str:
    """RFC 7617."""
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def unauthorized(reference: Reference, login: Login | None, url: str) -> RegistryError:
    """The registry wants another login, or any."""
    if login is None:
        message, hint = "no login is known for it", f"log in with: pybuild login {reference.registry}"
    else:
        message, hint = f"it refuses the login of {login.user}", f"log in anew with: pybuild login {reference.registry}"
    return RegistryError(
        f"{reference.familiar}: access denied: {message}", code="unauthorized", where=Request("GET", url), hint=hint
    )
