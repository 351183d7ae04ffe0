"""Secrets that the builder uses itself: credentials for what ADD fetches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from builder.engine.request import Secret
from builder.errors import ContextError

LIMIT = 1 << 16


def first_secret(names: Iterable[str], secrets: Mapping[str, Secret]) -> tuple[str, str] | None:
    """The first of *names* that is given: the name, and the secret without the line end that files have.

    raises   ContextError, code ``unreadable-secret``; its text never holds the secret
    """
    for name in names:
        secret = secrets.get(name)
        if secret is None:
            continue
        try:
            value = secret.value if secret.value is not None else _read(secret)
            text = value.decode("utf-8").strip("\r\n")
        except OSError as e:
            raise ContextError(f"the secret {name} cannot be read: {e.strerror}", code="unreadable-secret") from None
        except UnicodeDecodeError:
            text = "\0"
        # A line end would let the secret write headers of its own.
        if len(text) > LIMIT or any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise ContextError(f"the secret {name} is no header value", code="unreadable-secret")
        return name, text
    return None


def _read(secret: Secret) -> bytes:
    with open(secret.source or "", "rb") as file:
        return file.read(LIMIT + 1)
