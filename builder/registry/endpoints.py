"""Which servers have a repository: mirrors first, then the registry itself, as users of Podman and Docker configure it.

source   containers-registries.conf(5), version 2, and what it says of version 1;
         Docker's manual, "daemon.json": registry-mirrors (Docker Hub's alone), insecure-registries
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from builder.errors import RegistryError
from builder.image.names import DEFAULT_REGISTRY, Reference
from builder.registry.origins import split_host
from builder.registry.registries_conf import Entry, read_daemon, read_registries


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A repository on one server.

    host        host and port, as credentials and certificates know it; ``docker.io`` for Docker Hub
    repository  its path there, which may be another than in the image's name
    insecure    whether plain HTTP and any certificate will do
    scheme      ``http`` or ``https`` where the configuration says it, else ""
    mirror      whether it may lack what the registry has
    """

    host: str
    repository: str
    insecure: bool = False
    scheme: str = ""
    mirror: bool = False


class Endpoints:
    """What the configuration files say, read when first needed.

    environment  for CONTAINERS_REGISTRIES_CONF, XDG_CONFIG_HOME and HOME
    etc          where the system's configuration is
    """

    def __init__(self, environment: Mapping[str, str], etc: Path = Path("/etc")) -> None:
        self._environment = environment
        self._etc = etc
        self._entries: tuple[Entry, ...] | None = None
        self._mirrors: tuple[str, ...] = ()
        self._insecure: tuple[str, ...] = ()

    def for_pull(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Where *reference* may be had, in the order to ask; the registry itself is last.

        raises   RegistryError ``blocked-registry``, ``invalid-registries-file``
        """
        entry = self._entry(reference)
        primary = self._primary(reference, entry)
        found = []
        for mirror in entry.mirrors if entry is not None else ():
            by_digest = reference.digest is not None
            if mirror.pulls != "all" and (mirror.pulls == "digest-only") != by_digest:
                continue
            host, repository = _placed(reference, _prefix(reference, entry), mirror.location)
            found.append(
                Endpoint(
                    host=host, repository=repository, insecure=mirror.insecure or self._is_insecure(host), mirror=True
                )
            )
        if reference.registry == DEFAULT_REGISTRY and not found:
            found = [self._hub_mirror(url, reference) for url in self._mirrors]
        return (*found, primary)

    def for_push(self, reference: Reference) -> Endpoint:
        """Where *reference* is pushed to: never a mirror. Errors as ``for_pull``'s."""
        return self._primary(reference, self._entry(reference))

    def of_host(self, host: str) -> Endpoint:
        """The registry at *host* (``name[:port]``) itself, none of its repositories. Errors as ``for_pull``'s."""
        entry = self._entry(Reference(host, ""))
        if entry is not None and entry.blocked:
            raise RegistryError(f"{host} is blocked by {entry.path}", code="blocked-registry")
        insecure = entry is not None and entry.insecure
        return Endpoint(host=host, repository="", insecure=insecure or self._is_insecure(host))

    def _hub_mirror(self, url: str, reference: Reference) -> Endpoint:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        insecure = parts.scheme == "http" or self._is_insecure(host)
        return Endpoint(host=host, repository=reference.repository, insecure=insecure, scheme=parts.scheme, mirror=True)

    def _primary(self, reference: Reference, entry: Entry | None) -> Endpoint:
        host, repository, insecure = reference.registry, reference.repository, False
        if entry is not None:
            if entry.blocked:
                raise RegistryError(
                    f"{reference.familiar}: {entry.prefix} is blocked by {entry.path}", code="blocked-registry"
                )
            insecure = entry.insecure
            if entry.location:
                host, repository = _placed(reference, _prefix(reference, entry), entry.location)
        return Endpoint(host=host, repository=repository, insecure=insecure or self._is_insecure(host))

    def _entry(self, reference: Reference) -> Entry | None:
        """The entry of registries.conf with the longest prefix."""
        if self._entries is None:
            self._mirrors, self._insecure = read_daemon(self._environment, self._etc)
            self._entries = read_registries(self._environment, self._etc)
        fitting = [entry for entry in self._entries if _prefix(reference, entry)]
        return max(fitting, key=lambda entry: len(entry.prefix), default=None)

    def _is_insecure(self, host: str) -> bool:
        return any(_covers(entry, host) for entry in self._insecure)


def _prefix(reference: Reference, entry: Entry | None) -> str:
    """The part of the reference's name that the entry's prefix stands for, "" if it is not for it.

    "*.example.com" stands for any host below example.com.
    """
    if entry is None:
        return ""
    if entry.prefix.startswith("*."):
        return reference.registry if reference.registry.endswith(entry.prefix[1:]) else ""
    whole = f"{reference.registry}/{reference.repository}".rstrip("/")
    return entry.prefix if f"{whole}/".startswith(f"{entry.prefix}/") else ""


def _placed(reference: Reference, prefix: str, location: str) -> tuple[str, str]:
    """Host and path with *location* in the place of *prefix*."""
    whole = location + f"{reference.registry}/{reference.repository}".removeprefix(prefix)
    host, _, repository = whole.partition("/")
    return host, repository


def _covers(entry: str, host: str) -> bool:
    """Whether an entry of insecure-registries, a host with or without a port or a network, means *host*."""
    if entry.lower() == host.lower():
        return True
    name, _ = split_host(host)
    try:
        return "/" in entry and ipaddress.ip_address(name) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
