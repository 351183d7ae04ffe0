"""Logging in: whether a registry accepts a login, and what registries are called by those who log in.

The login is kept by ``credentials.store_login``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.errors import RegistryError, UsageError
from builder.image.names import DEFAULT_REGISTRY
from builder.registry.origins import Request

if TYPE_CHECKING:
    from builder.registry.client import Registry
    from builder.registry.logins import Login

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")


def registry_host(text: str) -> str:
    """The registry that *text* means: ``host[:port]``, also from a URL; Docker Hub for ``""``.

    raises   UsageError ``invalid-registry``
    """
    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not text or host in (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"):
        return DEFAULT_REGISTRY
    if not _HOST.fullmatch(host):
        raise UsageError(f"not a registry: {text!r}", code="invalid-registry", hint="write it as HOST or HOST:PORT")
    return host


def check_login(registry: Registry, host: str, login: Login | None) -> None:
    """Ask the registry at *host* whether it accepts *login*; None: what the credentials say, or nobody.

    raises   RegistryError ``unauthorized``, ``not-a-registry``, ``unreachable`` …
    source   OCI distribution-spec v1.1, "Determining Support": GET /v2/
    """
    session = registry.session(registry.endpoints.of_host(host), host, login)
    url = f"{session.base}/v2/"
    answer = session.fetch("GET", url, frozenset(), expect=frozenset(range(200, 600)))
    if answer.status == 404:
        raise RegistryError(
            f"{host} is not a registry: it does not know /v2/", code="not-a-registry", where=Request("GET", url)
        )
    if answer.status != 200:
        raise session.refusal("GET", answer)
