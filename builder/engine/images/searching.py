"""Images by a word: on Docker Hub, or among the repositories that another registry lists.

source   docs.docker.com, "Docker Hub API", v1/search as moby's registry/service.go asks it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import RegistryError
from builder.image.names import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from builder.registry.client import Registry

ANSWER_LIMIT = 4 << 20
SECONDS = 10.0
"""For which Docker Hub is asked again: whoever searches waits."""


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
    from builder.registry.listing import catalog

    registry = Registry(environment)
    host, slash, rest = term.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost") and host != DEFAULT_REGISTRY:
        found = sorted(name for name in catalog(registry, host) if rest in name)
        return [Hit(name=f"{host}/{name}") for name in found[:limit]]
    return _hub(registry, rest if slash and host == DEFAULT_REGISTRY else term, limit)


def _hub(registry: Registry, term: str, limit: int) -> list[Hit]:
    from urllib.parse import quote

    from builder.image.documents import read_json

    url = f"https://index.docker.io/v1/search?q={quote(term.encode('utf-8', 'surrogateescape'), safe='')}&n={limit}"
    try:
        answer = registry.transport.fetch("GET", url, {}, limit=ANSWER_LIMIT, budget=SECONDS)
    except RegistryError as e:
        hint = "name another registry, which is asked for its catalogue: pybuild search HOST/TERM"
        raise RegistryError(e.message, code=e.code, where=e.where, hint=e.hint or hint) from None
    if answer.status != 200:
        raise RegistryError(
            f"Docker Hub's search answers {answer.status}",
            code="refused",
            hint="name another registry, which is asked for its catalogue: pybuild search HOST/TERM",
        )
    results = read_json(answer.data, "Docker Hub's answer").get("results")
    return [_hit(item) for item in results if isinstance(item, dict)] if isinstance(results, list) else []


def _hit(item: dict[str, Any]) -> Hit:
    stars = item.get("star_count")
    return Hit(
        name=str(item.get("name") or ""),
        description=str(item.get("description") or ""),
        stars=stars if isinstance(stars, int) else 0,
        official=bool(item.get("is_official")),
    )
