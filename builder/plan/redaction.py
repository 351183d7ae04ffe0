"""Addresses without the credentials that stand in them: what is shown and kept of an instruction.

source   BuildKit, util/urlutil/redact.go, whose mask it is; RFC 3986, 3.2.1, "User Information"
"""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(https?://)[^\s/?#@\"'<>]+@", re.IGNORECASE)


def redacted(text: str) -> str:
    """*text* with ``xxxxx`` for the user and the password of each HTTP address in it."""
    return _CREDENTIALS.sub(r"\1xxxxx@", text) if "@" in text else text
