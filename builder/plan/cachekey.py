"""What a step's instruction says, as a digest, and in parts.

Everything that the instruction determines goes in, each part under its name; what the step begins with and takes from
(its parent, the content of its inputs) is the engine's to add. Each value is framed by its type and its length, so that
no two different values are written alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from builder.image.names import Digest, Platform
from builder.plan.redaction import redacted
from builder.plan.steps import (
    AnyStep,
    BindMount,
    CacheMount,
    CopyStep,
    GitTree,
    RemoteFile,
    RunStep,
    SecretMount,
    SshMount,
    TmpfsMount,
    WorkdirStep,
)

_VERSION = "3"
"""Of what the parts mean: raised when an equal step would be performed differently."""

_NOTHING: Mapping[str, Any] = {}

_STEPS = (RunStep, CopyStep, WorkdirStep)
_MOUNTS = (BindMount, CacheMount, TmpfsMount, SecretMount, SshMount)

EXCLUDED: dict[tuple[type, str], str] = {
    **{(step, "title"): "it is for people" for step in _STEPS},
    **{(step, "number"): "moving an instruction changes nothing" for step in _STEPS},
    **{(kind, "where"): "moving an instruction changes nothing" for kind in (*_STEPS, *_MOUNTS)},
    (RunStep, "quiet_env"): "proxy settings lead to the same files (Dockerfile reference, Predefined ARGs)",
    (CopyStep, "input"): "the engine adds the content of what is copied",
    (BindMount, "input"): "the engine adds the content of what is mounted",
    (CacheMount, "input"): "the engine adds the content of what the cache begins with",
}
"""Fields that do not change the digest, and why."""

_ADDRESSES: dict[type, tuple[str, ...]] = {RemoteFile: ("url",), GitTree: ("url", "remote")}
"""Whose credentials are left out: they are kept nowhere, and what comes is told by its content."""


def step_digest(
    step: AnyStep, *, platform: Platform, around: Mapping[str, Any] = _NOTHING
) -> tuple[Digest, dict[str, Any]]:
    """The digest of a step, and the named parts that it was made of, as values that JSON can hold.

    Secrets are in it by their ids and targets, never by their values.

    around   what the step can see that no instruction says, the command line's choices: plain values by name, which go
             before the step's own fields of the same name
    """
    parts: dict[str, Any] = {"version": _VERSION, "kind": type(step).__name__, "platform": str(platform)}
    parts |= _record(step) | {name: _plain(value) for name, value in around.items()}
    hasher = hashlib.sha256()
    _feed(hasher, parts)
    return Digest(f"sha256:{hasher.hexdigest()}"), parts


def _record(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that count."""
    kind = type(value)
    found = {
        field.name: _plain(getattr(value, field.name)) for field in fields(value) if (kind, field.name) not in EXCLUDED
    }
    for name in _ADDRESSES.get(kind, ()):
        found[name] = redacted(found[name])
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {"": type(value).__name__} | _record(value)
    return value


def _feed(hasher: Any, value: Any) -> None:
    """Type, length, content."""
    match value:
        case None:
            hasher.update(b"n")
        case bool():
            hasher.update(b"b1" if value else b"b0")
        case int():
            _frame(hasher, b"i", str(value).encode())
        case str():
            _frame(hasher, b"s", value.encode("utf-8", "surrogatepass"))
        case list():
            hasher.update(b"l%d:" % len(value))
            for item in value:
                _feed(hasher, item)
        case dict():
            hasher.update(b"d%d:" % len(value))
            for key, item in value.items():
                _feed(hasher, key)
                _feed(hasher, item)
        case _:
            raise TypeError(f"no rule for {type(value)!r}")


def _frame(hasher: Any, kind: bytes, data: bytes) -> None:
    hasher.update(b"%s%d:" % (kind, len(data)))
    hasher.update(data)
