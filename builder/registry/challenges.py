"""What a registry wants, as its 401 says it.

source   RFC 9110, section 11; distribution/distribution, docs/spec/auth/token.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

HEADER_LIMIT = 16 << 10
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+|\s*$|\s*,)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of ``WWW-Authenticate``: its scheme in lower case, and its parameters, their names likewise."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges in *header*; what is not one ends the list."""
    found: list[Challenge] = []
    text, at = header[:HEADER_LIMIT], 0
    while at < len(text):
        if text[at] in " \t,":
            at += 1
        elif found and (parameter := _PARAMETER.match(text, at)):
            value = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
            last = found[-1]
            found[-1] = Challenge(last.scheme, {**last.parameters, parameter[1].lower(): value})
            at = parameter.end()
        elif scheme := _SCHEME.match(text, at):
            found.append(Challenge(scheme[1].lower(), {}))
            at = scheme.end()
        else:
            break
    return tuple(found)


def parse_challenge(header: str) -> Challenge | None:
    """The challenge in *header* that we meet, a bearer's before a basic one; None if there is none."""
    challenges = parse_challenges(header)
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None
