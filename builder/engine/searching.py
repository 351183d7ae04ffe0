"""Images by a word: on Docker Hub, or among the repositories that another registry lists.

source   docs.docker.com, "Docker Hub API", v1/search as moby's registry/service.go asks it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.image.names import DEFAULT_REGISTRY


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A repository that was found."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False


def search(term: str, limit: int, environment: Mapping[str, str]) -> list[Hit]:
    """What is found for *term*, at most *limit*; RegistryError where the registry cannot be asked.

    term   a word, or a registry and a part of a repository's name: ``localhost:5000/team``
    """
    # HTTP is for those alone who talk to a registry.
    from builder.registry.client import Registry

    registry = Registry(environment)
    host, slash, rest = term.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost") and host != DEFAULT_REGISTRY:
        found = sorted(name for name in registry.catalog(host) if rest in name)
        return [Hit(name=f"{host}/{name}") for name in found[:limit]]
    return _hub(registry, rest if slash and host == DEFAULT_REGISTRY else term, limit)


def _hub(registry: Any, term: str, limit: int) -> list[Hit]:
    from urllib.parse import quote

    from builder.image.documents import read_json
    from builder.registry.endpoints import Endpoint

    raise NotImplementedError
