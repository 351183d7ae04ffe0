"""The values of options, each kind read as Docker reads it; UsageError where it says nothing sensible."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

from builder.errors import BuilderError, UsageError
from builder.image.names import Platform, Reference


def reject(message: str, hint: str | None = None, *, code: str = "invalid-value") -> NoReturn:
    """Raise the UsageError that says so."""
    raise UsageError(message, code=code, hint=hint)


def fields(text: str, what: str) -> list[str]:
    """*text* as one line of CSV, as buildx reads the values of its options."""
    if '"' not in text:
        return text.split(",")
    # Quotes are rare.
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as e:
        reject(f"{what} {text!r}: {e}")
    return rows[0] if rows else [text]


def attributes(text: str, what: str) -> dict[str, str]:
    """``key=value,…`` as a mapping with keys in lower case; *what* names the option in errors."""
    found: dict[str, str] = {}
    for field in fields(text, what):
        key, equals, value = field.partition("=")
        if not equals:
            reject(f"{what} {text!r}: {field!r} is not key=value")
        found[key.strip().lower()] = value
    return found


def pairs(values: Iterable[str], what: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """``NAME=value`` options as a mapping.

    environ   where the value of a bare ``NAME`` comes from, and without it there the name is left out; None: a bare
              name has an empty value
    source    docker/buildx, commands/build.go, listToMap
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name:
            reject(f"{what} {value!r}: the name is empty", f"write {what} NAME=value")
        if equals or environ is None:
            found[name] = text
        elif name in environ:
            found[name] = environ[name]
    return found


# source: docker/go-units, size.go, RAMInBytes
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtp])?i?b?)", re.IGNORECASE)


def memory(text: str, what: str) -> int:
    """A size in bytes: ``64m``, ``1.5g``, ``67108864``; units are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        reject(f"{what} {text!r} is not a size", "write it as 64m or 1g")
    return int(float(match[1]) * 1024 ** " kmgtp".index((match[2] or " ").lower()))


# source: docker/go-units, ulimit.go, ulimitNameMapping
_ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
    *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)


def ulimit(text: str) -> tuple[str, int, int]:
    """``NAME=SOFT[:HARD]`` as (name, soft, hard); -1 is unlimited, and hard is soft where it is not given."""
    name, _, limits = text.partition("=")
    match = re.fullmatch(r"(-1|\d+)(?::(-1|\d+))?", limits)
    if not match:
        reject(f"--ulimit {text!r} is not NAME=SOFT[:HARD]", "write it as --ulimit nofile=1024:2048")
    if name not in _ULIMITS:
        reject(f"--ulimit: there is no limit called {name!r}", "one of " + ", ".join(_ULIMITS))
    soft, hard = int(match[1]), int(match[2] or match[1])
    if hard != -1 and (soft == -1 or soft > hard):
        reject(f"--ulimit {text!r}: the soft limit is above the hard one")
    return name, soft, hard


def host(text: str) -> list[str]:
    """``HOST=IP`` or ``HOST:IP`` as ``HOST:IP`` entries; several addresses are given with several options.

    ``host-gateway`` is 127.0.0.1: a build has its host's network, so that the host is this machine itself.

    source   docker/buildx, build/utils.go, toBuildkitExtraHosts
    """
    name, separator, address = text.partition("=" if "=" in text else ":")
    if not separator or not name or not address or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        reject(f"--add-host {text!r} is not HOST:IP")
    if address == "host-gateway":
        return [f"{name}:127.0.0.1"]
    # The only use of a big module.
    import ipaddress

    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    try:
        return [f"{name}:{ipaddress.ip_address(address)}"]
    except ValueError:
        reject(f"--add-host {text!r}: {address!r} is no IP address")


def platforms(values: Iterable[str], machine: str) -> tuple[str, ...]:
    """The platforms of all ``--platform``, in order, each once; ``local`` is Linux on *machine*."""
    found: list[str] = []
    for text in (part.strip() for value in values for part in value.split(",")):
        try:
            platform = Platform.normalised("linux", machine) if text == "local" else Platform.parse(text)
        except BuilderError as e:
            raise UsageError(f"--platform: {e.message}", code=e.code, hint=e.hint) from None
        if str(platform) not in found:
            found.append(str(platform))
    return tuple(found)


def tag(text: str) -> str:
    """*text*, known to be the name of an image without a digest."""
    try:
        reference = Reference.parse(text)
    except BuilderError as e:
        raise UsageError(f"--tag: {e.message}", code=e.code, hint=e.hint) from None
    if reference.digest:
        reject(f"--tag {text!r}: a digest cannot be given to what is yet to be built", code="invalid-reference")
    return text


def manifest_annotations(values: Iterable[str]) -> dict[str, str]:
    """``[manifest:]KEY=VALUE`` as a mapping; indexes and descriptors bear none.

    source   docker/buildx, util/buildflags/export.go, ParseAnnotations: ``TYPE[PLATFORM],…:KEY=VALUE``
    """
    found: dict[str, str] = {}
    for text in values:
        left, equals, value = text.partition("=")
        kinds, colon, key = left.rpartition(":")
        if not equals or not key:
            reject(f"--annotation {text!r} is not KEY=VALUE")
        if colon and kinds != "manifest":
            reject(
                f"--annotation {text!r}: only the manifest can bear annotations", f"write --annotation {key}={value}"
            )
        found[key] = value
    return found
