"""A login, as a value."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password, or a token in the password's place.

    kind   ``password``; ``identity``: the password is a refresh token, which is changed for others;
           ``bearer``: it is the very token that the registry wants
    """

    user: str
    password: str = field(repr=False)
    kind: str = "password"


def basic(login: Login) -> str:
    """The ``Authorization`` of RFC 7617; what the terminal gave that is not UTF-8 goes out as it came in."""
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode("utf-8", "surrogateescape")).decode()
