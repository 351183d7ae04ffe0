"""What a registry has: tags of a repository, repositories; page by page.

source   OCI distribution-spec v1.1, "Listing Tags"; distribution/distribution, docs/spec/api.md, "Listing Repositories"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from builder.errors import RegistryError
from builder.image.documents import read_json
from builder.registry.client import pull_scope
from builder.registry.origins import Origin, Request

if TYPE_CHECKING:
    from builder.image.names import Reference
    from builder.registry.auth import Scopes
    from builder.registry.client import Registry
    from builder.registry.session import Session

PAGE_LIMIT = 8 << 20
MOST_PAGES = 1000
CATALOG_SCOPE = frozenset({"registry:catalog:*"})
_NEXT = re.compile(r'<([^>]{1,4096})>\s*;[^,]*\brel="?next\b')


def tags(registry: Registry, reference: Reference) -> Iterator[str]:
    """The tags of *reference*'s repository, in the registry's order. Errors as ``Registry.resolve``'s."""
    endpoint = registry.endpoints.for_push(reference)
    session = registry.session(endpoint, reference.familiar)
    url = f"{session.base}/v2/{endpoint.repository}/tags/list"
    yield from _pages(session, url, pull_scope(endpoint.repository), "tags")


def catalog(registry: Registry, host: str) -> Iterator[str]:
    """The repositories of the registry at *host*."""
    session = registry.session(registry.endpoints.of_host(host), host)
    yield from _pages(session, f"{session.base}/v2/_catalog?n=1000", CATALOG_SCOPE, "repositories")


def _pages(session: Session, url: str, scopes: Scopes, key: str) -> Iterator[str]:
    for _ in range(MOST_PAGES):
        answer = session.fetch("GET", url, scopes, limit=PAGE_LIMIT)
        names = read_json(answer.data, f"{session.name}: the list of {key}").get(key)
        if names is not None and not isinstance(names, list):
            raise RegistryError(f"{session.name}: the list of {key} is none", code="refused", where=Request("GET", url))
        for name in names or ():
            if isinstance(name, str) and name.isprintable():
                yield name
        following = _NEXT.search(answer.headers.get("Link", ""))
        if following is None:
            return
        url = urljoin(answer.url, following[1])
        if Origin.of(url) != Origin.of(session.base):
            raise RegistryError(
                f"{session.name}: the list of {key} goes on at another server",
                code="redirect",
                where=Request("GET", url),
            )
    raise RegistryError(f"{session.name}: the list of {key} does not end", code="too-large", where=Request("GET", url))
