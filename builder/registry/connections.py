"""Connections that are kept open, each with its host's certificates, through the proxy that the environment names."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3

from builder.errors import RegistryError
from builder.registry.certificates import own_folders, tls_context
from builder.registry.origins import Origin
from builder.registry.proxies import proxy_for

PER_HOST = 8
"""Connections that are kept to one host."""
BLOCK = 256 << 10
"""Bytes that are read from a file and sent at once."""

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


# A connection that two processes use is broken for both. A process's number doesn't tell: in a container, and in a
# namespace, ours may be 1 on both sides of the fork.
os.register_at_fork(after_in_child=_count_fork)


class Connections:
    """All connections of one client. Thread-safe; after a fork the child begins with none.

    environment  for proxies and certificates
    etc          where the system's certs.d are
    """

    def __init__(self, environment: Mapping[str, str], etc: Path) -> None:
        self._environment = environment
        self._etc = etc
        self._lock = threading.Lock()
        self._insecure: set[tuple[str, int]] = set()
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._forks = _forks

    def trust(self, origin: Origin) -> None:
        """Take any certificate from *origin*: the user configured it as insecure."""
        # urllib3 would warn at each request, on stderr.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        with self._lock:
            self._insecure.add((origin.host, origin.port))

    def pool(self, origin: Origin) -> urllib3.PoolManager:
        """What connects to *origin*; RegistryError if its proxy or its certificates cannot be used."""
        proxy = proxy_for(origin, self._environment)
        with self._lock:
            if self._forks != _forks:
                self._pools, self._forks = {}, _forks
            key = (proxy, self._tls_key(origin))
            if key not in self._pools:
                self._pools[key] = self._make(proxy, origin)
            return self._pools[key]

    def _tls_key(self, origin: Origin) -> str:
        """Hosts without certificates of their own share a context, for loading the authorities takes its time."""
        if origin.scheme == "http":
            return "http"
        insecure = (origin.host, origin.port) in self._insecure
        own = insecure or self._folders(origin)
        return f"{origin.host}:{origin.port}" if own else "https"

    def _folders(self, origin: Origin) -> tuple[Path, ...]:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        names = [f"{host}:{origin.port}"] + ([host] if origin.port == 443 else [])
        return tuple(folder for name in names for folder in own_folders(name, self._environment, self._etc))

    def _make(self, proxy: str, origin: Origin) -> urllib3.PoolManager:
        context = None
        if origin.scheme == "https":
            verified = (origin.host, origin.port) not in self._insecure
            context = tls_context(self._environment, self._folders(origin), verified=verified)
        if not proxy:
            return urllib3.PoolManager(maxsize=PER_HOST, ssl_context=context, blocksize=BLOCK)
        try:
            parts = urlsplit(proxy)
            login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
            return urllib3.ProxyManager(
                proxy,
                maxsize=PER_HOST,
                ssl_context=context,
                proxy_ssl_context=tls_context(self._environment, ()) if proxy.startswith("https:") else None,
                blocksize=BLOCK,
                proxy_headers=urllib3.make_headers(proxy_basic_auth=login),
            )
        except (ValueError, urllib3.exceptions.HTTPError):
            # The text may hold a password.
            raise RegistryError(
                f"{origin.scheme.upper()}_PROXY is not the address of a proxy", code="unsupported-proxy"
            ) from None
