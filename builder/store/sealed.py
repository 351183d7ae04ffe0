"""Small files that say themselves whether they are whole: a checksum, a blank, the content.

    5f3a9c01 {"snapshot":"…"}

They are written without fsync, for what they hold can be computed again; a power cut may leave them empty or short, and
then they read as if they were not there.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

_HEAD = 9  # eight hexadecimal digits and a blank


def seal(content: bytes) -> bytes:
    """The bytes to write for *content*."""
    return b"%08x " % zlib.crc32(content) + content


def unseal(data: bytes) -> bytes | None:
    """The content that was sealed, or None if *data* is not whole."""
    content = data[_HEAD:]
    return content if data[:_HEAD] == b"%08x " % zlib.crc32(content) else None


def seal_json(value: dict[str, Any]) -> bytes:
    """The bytes to write for a JSON object."""
    return seal(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def unseal_json(data: bytes) -> dict[str, Any] | None:
    """The object that was sealed, or None if *data* is not whole."""
    content = unseal(data)
    if content is None:
        return None
    value = json.loads(content.decode("utf-8", "surrogatepass"))
    return value if isinstance(value, dict) else None
