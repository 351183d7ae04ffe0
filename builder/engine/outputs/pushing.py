"""The output that is a registry: what was built, under each of its names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from builder.events import Exported, Progress

if TYPE_CHECKING:
    from builder.engine.solve import Solution
    from builder.engine.world import World
    from builder.image.documents import Descriptor
    from builder.image.names import Digest, Reference


def push_names(
    descriptor: Descriptor, names: Sequence[Reference], size: int, solutions: Sequence[Solution], world: World
) -> None:
    """Push *descriptor*, all of whose blobs are in the store, under each of *names*.

    size    of its layers, for the event
    raises  RegistryError
    """
    # Most builds do not talk to a registry, and HTTP takes its time to import.
    from builder.engine.places import blobs_of, remember_places
    from builder.registry.client import Registry
    from builder.registry.push import push

    registry = Registry(world.settings.environment)
    sources = _sources(solutions, world)
    for name in names:
        push(
            registry,
            name,
            descriptor,
            world.store.blobs.path,
            report=_reporter(name, world),
            mount_from=lambda digest: sources.get(digest, ()),
        )
        remember_places(world.store, name, blobs_of(world.store, descriptor))
        world.emit(Exported("registry", name.familiar, size, (name.familiar,), descriptor.digest))


def _reporter(name: Reference, world: World) -> Callable[[Descriptor, int, bool, str], None]:
    def report(blob: Descriptor, done: int, finished: bool, how: str) -> None:
        label = f"{name.familiar} {blob.digest.hex[:12]}"
        world.emit(Progress(f"push {name} {blob.digest}", "push", label, done, blob.size, finished, how))

    return report


def _sources(solutions: Sequence[Solution], world: World) -> dict[Digest, Iterable[Reference]]:
    """Where the layers of the bases came from, and where all else was seen: that registry need not be sent it again."""
    from builder.engine.places import places
    from builder.errors import ImageError
    from builder.image.names import Reference
    from builder.store.layouts import OciLayout

    found: dict[Digest, Iterable[Reference]] = dict(places(world.store))
    for solution in solutions:
        if solution.target.base is None:
            continue
        base = world.bases.find(solution.target.base)
        if isinstance(base.source, OciLayout):
            continue  # its name is a build context's, which says nothing of a registry
        try:
            reference = Reference.parse(base.base.pinned)
        except ImageError:
            continue  # likewise
        found |= {layer.digest: (reference, *found.get(layer.digest, ())) for layer in base.manifest.layers}
    return found
