"""An image told: as Docker's inspect tells it, and the history of its layers.

source   moby, api/types/image/image_inspect.go (fields); daemon/images/image_history.go (which layer belongs to which
         entry)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.engine.images.kept import platforms
from builder.image.configuration import ImageConfig, RunConfig
from builder.image.documents import Json
from builder.image.names import Digest

if TYPE_CHECKING:
    from builder.engine.images.kept import Image
    from builder.engine.images.sizes import Sizes
    from builder.store.store import Store


def inspected(store: Store, image: Image, sizes: Sizes) -> dict[str, Any]:
    """The object that ``docker image inspect`` shows of *image*."""
    _, config = image.whole()
    size = sizes.of(image)
    top = image.top.json() | {"annotations": dict(image.top.annotations)} if image.top.annotations else image.top.json()
    value: dict[str, Any] = {
        "Id": str(image.id),
        "RepoTags": [name.familiar for name in image.names if name.tag and not name.digest],
        "RepoDigests": sorted({name.at(image.top.digest).familiar for name in image.names}),
        "Parent": "",
        "Comment": _comment(config),
        "Created": config.created or "",
        "DockerVersion": str(config.extra.get("docker_version") or ""),
        "Author": config.author,
        "Config": _run_config(config.config),
        "Architecture": config.platform.architecture,
        "Os": config.platform.os,
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {"Data": None, "Name": "pybuild"},
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Metadata": {"LastTagTime": _rfc3339(image.kept)},
        "Descriptor": top,
        "Platforms": [str(platform) for platform in platforms(store, image)],
    }
    if config.platform.variant:
        value["Variant"] = config.platform.variant
    return value


def _comment(config: ImageConfig) -> str:
    own = str(config.extra.get("comment") or "")
    return own or (config.history[-1].comment if config.history else "")


def _run_config(config: RunConfig) -> dict[str, Json]:
    """The fields that Docker always shows, and those that are set."""
    always: Mapping[str, Json] = {
        "User": "",
        "Env": None,
        "Cmd": None,
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": None,
    }
    return dict(always) | config.json()


def _rfc3339(seconds: int) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One entry of a history. ``created`` is RFC 3339 or None; ``size`` the bytes of its layer, 0 without one."""

    id: Digest | None
    created: str | None
    created_by: str
    size: int
    comment: str
    tags: tuple[str, ...] = ()


def history(image: Image, sizes: Sizes) -> tuple[Past, ...]:
    """The image's history, the latest entry first; the first of these has the image's id."""
    _, config = image.whole()
    layers = iter(sizes.layers(image))
    past = []
    last = len(config.history) - 1
    for number, entry in enumerate(config.history):
        past.append(
            Past(
                id=image.id if number == last else None,
                created=entry.created,
                created_by=entry.created_by,
                size=0 if entry.empty_layer else next(layers, 0),
                comment=entry.comment,
                tags=tuple(name.familiar for name in image.names) if number == last else (),
            )
        )
    return tuple(reversed(past))
