"""Credential helpers: programs that know logins.

source   docker/docker-credential-helpers, README.md, "Development": docker-credential-NAME get|store|erase, the
         server or a JSON object on stdin, a JSON object or an error message on stdout
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping

from builder.errors import RegistryError
from builder.registry.logins import Login

SECONDS = 60
_NOTHING_KNOWN = b"credentials not found"


def ask(helper: str, server: str, environment: Mapping[str, str]) -> Login | None:
    """What docker-credential-HELPER knows of *server*; None if it knows nothing.

    raises   RegistryError ``credential-helper``
    """
    output = _run(helper, "get", server.encode(), environment)
    if output is None:
        return None
    try:
        value = json.loads(output)
        user, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RegistryError(f"docker-credential-{helper} gave no login", code="credential-helper") from None
    # An empty object means: nothing known (docker/cli, credentials/native_store.go, getCredentialsFromStore).
    return Login(user, secret, "identity" if user == "<token>" else "password") if user or secret else None


def keep(helper: str, server: str, user: str, password: str, environment: Mapping[str, str]) -> None:
    """Let docker-credential-HELPER keep a login. Errors as ``ask``'s."""
    login = {"ServerURL": server, "Username": user, "Secret": password}
    _run(helper, "store", json.dumps(login).encode(), environment)


def erase(helper: str, server: str, environment: Mapping[str, str]) -> bool:
    """Let docker-credential-HELPER forget *server*; whether it knew it. Errors as ``ask``'s."""
    known = ask(helper, server, environment) is not None
    if known:
        _run(helper, "erase", server.encode(), environment)
    return known


def _run(helper: str, action: str, data: bytes, environment: Mapping[str, str]) -> bytes | None:
    """What the program wrote to stdout; None where it says that it knows nothing."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", helper):
        raise RegistryError(f"not a credential helper's name: {helper!r}", code="credential-helper")
    program = f"docker-credential-{helper}"
    # Helpers have their own variables (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS …), which are not passed to builds.
    variables = {**os.environ, **environment}
    try:
        done = subprocess.run(
            [program, action],
            input=data,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=variables,
        )
    except FileNotFoundError:
        raise RegistryError(
            f"the credential helper {program} is not installed",
            code="credential-helper",
            hint="install it, or take it out of Docker's config.json",
        ) from None
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{program} did not answer within {SECONDS} s", code="credential-helper") from None
    except OSError as e:
        raise RegistryError(f"{program} cannot be run: {e.strerror}", code="credential-helper") from None
    if done.returncode == 0:
        return done.stdout
    # The protocol tells "nothing known" by this sentence alone.
    if _NOTHING_KNOWN in done.stdout:
        return None
    raise RegistryError(
        f"{program} {action} failed with exit code {done.returncode}{_words(done.stdout, done.stderr)}",
        code="credential-helper",
    )


def _words(*outputs: bytes) -> str:
    """The first line that a program said."""
    for output in outputs:
        for line in output.decode(errors="replace").splitlines():
            if line.strip():
                return ": " + "".join(letter if letter.isprintable() else "?" for letter in line.strip())[:200]
    return ""
