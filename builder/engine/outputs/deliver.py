"""From solutions to outputs: each platform's image is assembled, named, and written wherever it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engine.outputs.assemble import Assembled, assemble, layers_of
from builder.engine.outputs.recompress import Packing, recompress
from builder.engine.request import BuildRequest, Built, Output
from builder.events import Exported, Progress
from builder.image.documents import OCI_INDEX, Descriptor, Index
from builder.image.names import Reference
from builder.image.views import ImageFiles

if TYPE_CHECKING:
    from builder.engine.solve import Solution
    from builder.engine.world import World
    from builder.plan.steps import Plan

IMAGES = ("docker", "oci", "image", "registry")
ROOTS = ("tar", "local")


@dataclass(frozen=True, slots=True)
class Needs:
    """What outputs need: the layers as blobs, and which of them are root file systems, written behind the gate."""

    blobs: bool
    roots: tuple[Output, ...]


def needs(outputs: Sequence[Output]) -> Needs:
    """What *outputs* need."""
    return Needs(
        blobs=any(output.kind in IMAGES for output in outputs),
        roots=tuple(output for output in outputs if output.kind in ROOTS),
    )


def deliver(plans: Sequence[Plan], solutions: Sequence[Solution], request: BuildRequest, world: World) -> Built | None:
    """Write all outputs that are images; None where no image was asked for."""
    if not needs(request.outputs).blobs:
        _notes(None, request)
        return None
    names = tuple(Reference.parse(tag) for tag in request.tags)
    built: Built | None = None
    for output in request.outputs:
        if output.kind not in IMAGES:
            continue
        packing = Packing.of(output)
        images = [
            assemble(
                plan,
                recompress(layers_of(solution.target, world, world.settings.clamp(plan)), packing, world),
                world,
                annotations=request.annotations,
                epoch=plan.source_date_epoch,
            )
            for plan, solution in zip(plans, solutions, strict=True)
        ]
        descriptor = _top(images, world, several=request.several)
        own = names or _named(output)
        _keep(own, descriptor, world)
        _write(output, descriptor, own, images, solutions, world)
        if built is None:
            built = _built(images, descriptor, own)
    _notes(built, request)
    return built


def _named(output: Output) -> tuple[Reference, ...]:
    return tuple(Reference.parse(name) for name in output.attributes.get("name", "").split(",") if name)


def _top(images: Sequence[Assembled], world: World, *, several: bool) -> Descriptor:
    """The one image's manifest, or an index of all."""
    if not several:
        return replace(images[0].descriptor, platform=None)
    data = Index(media_type=OCI_INDEX, manifests=tuple(image.descriptor for image in images)).bytes()
    return Descriptor(media_type=OCI_INDEX, digest=world.store.blobs.write(data), size=len(data))


def _keep(names: Sequence[Reference], descriptor: Descriptor, world: World) -> None:
    if names:
        world.store.images.tag_all(names, descriptor)
    else:
        world.store.images.keep(descriptor)


def _write(
    output: Output,
    descriptor: Descriptor,
    names: tuple[Reference, ...],
    images: Sequence[Assembled],
    solutions: Sequence[Solution],
    world: World,
) -> None:
    if output.kind == "registry":
        # HTTP is imported by those who push.
        from builder.engine.outputs.pushing import push_names

        push_names(descriptor, names, _size(images), solutions, world)
        return
    if output.kind == "image":
        world.emit(Exported("image", "", 0, tuple(name.familiar for name in names), descriptor.digest))
        return
    from builder.export.archive import write_archive
    from builder.export.layout import NamedImage, write_layout, write_layout_folder

    familiar = tuple(name.familiar for name in names)
    named = NamedImage(files=ImageFiles(descriptor=descriptor, blob=world.store.blobs.path), names=names)
    meter = Meter(world, output.dest, _size(images))
    if output.kind == "docker" and not output.dest:
        from builder.export.daemon import load_into_daemon

        size = load_into_daemon([named], world.settings.environment, report=meter)
        meter.done()
        world.emit(Exported("daemon", "", size, familiar, descriptor.digest))
        return
    if output.attributes.get("tar") == "false":
        size = write_layout_folder([named], output.dest, report=meter)
    elif output.kind == "oci":
        size = write_layout([named], output.dest, report=meter)
    else:
        size = write_archive([named], output.dest, report=meter)
    meter.done()
    world.emit(Exported(output.kind, output.dest, size, familiar, descriptor.digest))


def _size(images: Sequence[Assembled]) -> int:
    return sum(layer.size for image in images for layer in image.manifest.layers)


class Meter:
    """Progress of one output, in bytes."""

    def __init__(self, world: World, dest: str, total: int) -> None:
        self._world = world
        self._dest = dest
        self._total = total
        self._written = 0

    def __call__(self, count: int) -> None:
        """*count* further bytes were written."""
        self._written += count
        self._tell(finished=False)

    def done(self) -> None:
        """All is written."""
        self._tell(finished=True)

    def _tell(self, *, finished: bool) -> None:
        label = {"-": "standard output", "": "the Docker daemon"}.get(self._dest, self._dest)
        done = min(self._written, self._total)
        self._world.emit(Progress(f"export {self._dest}", "export", label, done, self._total, finished))


def _built(images: Sequence[Assembled], descriptor: Descriptor, names: Sequence[Reference]) -> Built:
    config = images[0].manifest.config
    metadata: Mapping[str, object] = {
        "containerimage.config.digest": str(config.digest),
        "containerimage.descriptor": descriptor.json(),
        "containerimage.digest": str(descriptor.digest),
    } | ({"image.name": ",".join(str(name) for name in names)} if names else {})
    return Built(
        digest=descriptor.digest,
        config=config.digest,
        names=tuple(name.familiar for name in names),
        metadata=metadata,
    )


def _notes(built: Built | None, request: BuildRequest) -> None:
    """``--iidfile`` and ``--metadata-file``.

    source   docker/buildx, commands/build.go: the image id is the configuration's digest
    """
    if not (request.iidfile or request.metadata_file):
        return
    import json

    from builder.export.destination import write_all, writing

    if request.iidfile and built is not None:
        with writing(request.iidfile) as fd:
            write_all(fd, built.config.encode())
    if request.metadata_file:
        # Without an image there is nothing to tell, but whoever reads the file finds one.
        metadata = {} if built is None else built.metadata
        with writing(request.metadata_file) as fd:
            write_all(fd, json.dumps(metadata, indent=2).encode() + b"\n")
