"""The files in which registries are configured: registries.conf and its drop-ins, Docker's daemon.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import RegistryError

FILE_LIMIT = 1 << 20
PULLS = ("all", "digest-only", "tag-only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """``[[registry.mirror]]``. ``pulls`` is one of PULLS."""

    location: str
    insecure: bool = False
    pulls: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """``[[registry]]``: what begins with *prefix* is at *location* ("": where its name says). *path* is the file."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    path: Path


def read_registries(environment: Mapping[str, str], etc: Path) -> tuple[Entry, ...]:
    """All entries, one for each prefix: that of a later file replaces that of an earlier one.

    raises   RegistryError ``invalid-registries-file``
    source   containers-registries.conf(5) and containers-registries.conf.d(5)
    """
    found: dict[str, Entry] = {}
    for path in _files(environment, etc):
        for entry in _read(path):
            found[entry.prefix] = entry
    return tuple(found.values())


def _files(environment: Mapping[str, str], etc: Path) -> Iterator[Path]:
    given = environment.get("CONTAINERS_REGISTRIES_CONF")
    if given:
        yield Path(given)
        return
    config = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/") / ".config")
    own, system = config / "containers" / "registries.conf", etc / "containers" / "registries.conf"
    yield own if own.is_file() else system
    for main in (system, own):
        folder = main.with_name("registries.conf.d")
        if folder.is_dir():
            yield from sorted(folder.glob("*.conf"))


def _read(path: Path) -> Iterator[Entry]:
    data = _bytes(path)
    if not data.strip():
        return
    # Most machines have no such file.
    import tomllib

    try:
        value = tomllib.loads(data.decode())
        if isinstance(value.get("registries"), dict):
            yield from _first_version(value["registries"], path)
        for item in value.get("registry", ()):
            mirrors = tuple(_mirror(mirror) for mirror in item.get("mirror", ()))
            digests_only = item.get("mirror-by-digest-only") is True
            location = _place(item.get("location", ""))
            yield Entry(
                prefix=_place(item.get("prefix") or location),
                location=location,
                insecure=item.get("insecure") is True,
                blocked=item.get("blocked") is True,
                mirrors=tuple(_digests(mirror) for mirror in mirrors) if digests_only else mirrors,
                path=path,
            )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as e:
        raise RegistryError(f"{path} cannot be understood: {e}", code="invalid-registries-file") from None


def _mirror(value: Mapping[str, Any]) -> Mirror:
    pulls = value.get("pull-from-mirror") or "all"
    if pulls not in PULLS:
        raise ValueError(f"pull-from-mirror is {pulls!r}")
    return Mirror(location=_place(value["location"]), insecure=value.get("insecure") is True, pulls=pulls)


def _digests(mirror: Mirror) -> Mirror:
    return Mirror(location=mirror.location, insecure=mirror.insecure, pulls="digest-only")


def _place(value: object) -> str:
    """A host with or without a path, as prefixes and locations are."""
    if not isinstance(value, str) or "://" in value or "@" in value or any(letter.isspace() for letter in value):
        raise ValueError(f"not a registry's place: {value!r}")
    return value.rstrip("/")


def _first_version(value: Mapping[str, Any], path: Path) -> Iterator[Entry]:
    """``[registries.insecure]`` and ``[registries.block]`` of version 1."""
    insecure = {_place(name) for name in value.get("insecure", {}).get("registries", ())}
    blocked = {_place(name) for name in value.get("block", {}).get("registries", ())}
    for name in sorted(insecure | blocked):
        yield Entry(prefix=name, insecure=name in insecure, blocked=name in blocked, path=path)


def read_daemon(environment: Mapping[str, str], etc: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Docker Hub's mirrors as URLs, and the insecure registries, of the first daemon.json there is.

    raises   RegistryError ``invalid-registries-file``
    """
    config = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/") / ".config")
    for path in (config / "docker" / "daemon.json", etc / "docker" / "daemon.json"):
        data = _bytes(path)
        if not data.strip():
            continue
        try:
            value = json.loads(data)
            mirrors = tuple(str(item).rstrip("/") for item in value.get("registry-mirrors") or ())
            insecure = tuple(str(item) for item in value.get("insecure-registries") or ())
            if not all(mirror.startswith(("http://", "https://")) for mirror in mirrors):
                raise ValueError("a mirror is not a URL")
        except (ValueError, TypeError, AttributeError, RecursionError) as e:
            raise RegistryError(f"{path} cannot be understood: {e}", code="invalid-registries-file") from None
        return mirrors, insecure
    return (), ()


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return b""  # another user's file is not for us
    if len(data) > FILE_LIMIT:
        raise RegistryError(f"{path} is larger than such a file can be", code="invalid-registries-file")
    return data
