"""Images to tars and back: ``save`` and ``load``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from builder.engine.damage import must_be_whole
from builder.engine.images.kept import Image, find, images
from builder.errors import ImageError
from builder.image.configuration import ImageConfig
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Manifest
from builder.image.names import Digest, Platform, Reference
from builder.image.validate import violations
from builder.image.views import ImageFiles, contents

if TYPE_CHECKING:
    from builder.engine.streams import Source
    from builder.export.layout import NamedImage
    from builder.store.store import Store

Report = Callable[[int], None]


def save(store: Store, wanted: Sequence[str], dest: str, platform: Platform, report: Report) -> int:
    """Write images as one tar that ``docker load`` and every OCI tool reads; its size in bytes.

    wanted   names, ids; a repository without a tag is all of its images
    dest     a path, or ``-``
    raises   ImageError ``no-such-image``, ``incomplete-image``; HostError
    """
    from builder.export.archive import write_archive

    chosen = [named for text in wanted for named in _chosen(store, text, platform)]
    with ExitStack() as holds:
        for image, _ in chosen:
            hold_layers(store, image, holds)
            # Whoever loads the archive could not tell where it went wrong, nor mend it.
            must_be_whole(store, image.whole()[0].layers, "pull or build the image again")
        return write_archive(_merged(store, chosen), dest, report=report)


def _chosen(store: Store, text: str, platform: Platform) -> list[tuple[Image, tuple[Reference, ...]]]:
    image = _found(store, text, platform)
    repository = _repository(text)
    # Docker saves all images of a repository that is given without a tag.
    found = [
        (other, names)
        for other in images(store, platform)
        if repository and (names := tuple(name for name in other.names if _same_repository(name, repository)))
    ]
    if found:
        return found
    if image is None:
        find(store, text, platform)  # raises, with a hint
        return []
    return [(image, _by_default(image, text))]


def _found(store: Store, text: str, platform: Platform) -> Image | None:
    try:
        return find(store, text, platform)
    except ImageError as e:
        if e.code != "no-such-image" or _repository(text) is None:
            raise
        return None


def _by_default(image: Image, text: str) -> tuple[Reference, ...]:
    """The name that *text* is, written in full; none for an id."""
    try:
        reference = Reference.parse(text)
    except ImageError:
        return ()
    return (reference,) if reference in image.names else ()


def _repository(text: str) -> Reference | None:
    """*text* as a name without a tag or a digest."""
    if "@" in text or ":" in text.rpartition("/")[2]:
        return None
    try:
        return Reference.parse(text)
    except ImageError:
        return None


def _same_repository(name: Reference, other: Reference) -> bool:
    return (name.registry, name.repository) == (other.registry, other.repository)


def _merged(store: Store, chosen: list[tuple[Image, tuple[Reference, ...]]]) -> list[NamedImage]:
    """Each image once, with all names it was asked for by."""
    from builder.export.layout import NamedImage

    names: dict[Digest, dict[Reference, None]] = {}
    tops: dict[Digest, Descriptor] = {}
    for image, given in chosen:
        tops[image.chosen.digest] = image.chosen
        names.setdefault(image.chosen.digest, {}).update(dict.fromkeys(given))
    return [
        NamedImage(files=ImageFiles(descriptor=top, blob=store.blobs.path), names=tuple(names[digest]))
        for digest, top in tops.items()
    ]


def hold_layers(store: Store, image: Image, holds: ExitStack) -> None:
    """Keep all blobs of *image* from being collected; ImageError ``incomplete-image`` if one is not here."""
    manifest, _ = image.whole()
    for item in (image.chosen, manifest.config, *manifest.layers):
        if not holds.enter_context(store.blobs.hold(item.digest)):
            hint = f"pybuild pull {image.names[0].familiar}" if image.names else "build it again"
            raise ImageError(
                f"{image.shown}: the store does not have all of its layers", code="incomplete-image", hint=hint
            )


def load(store: Store, path: Path | None, stdin: int, report: Report) -> Iterator[str]:
    """Take the images of a tar or a layout into the store; one line for each name that was given.

    path     a tar, compressed or not, or a folder; None: it comes on *stdin*
    yields   ``Loaded image: NAME``, or ``Loaded image ID: sha256:…`` of one without a name
    raises   ImageError where it is no image, or a blob is not what its digest says
    """
    from builder.store.layouts import OciLayout

    with _plain(store, path, stdin) as place:
        try:
            layout = OciLayout(place)
        except ImageError as e:
            raise _shown(e, place, path) from None
        if not layout.images:
            raise ImageError(f"{path or 'standard input'} holds no image", code="not-a-layout")
        for descriptor, names in layout.images:
            yield from _take(store, layout, descriptor, names, report)


def _shown(error: ImageError, place: Path, path: Path | None) -> ImageError:
    """*error* with the name that the user knows."""
    name = str(path) if path else "standard input"
    return ImageError(error.message.replace(str(place), name), code=error.code, hint=error.hint)


def _take(
    store: Store, source: Source, descriptor: Descriptor, names: Sequence[Reference], report: Report
) -> Iterator[str]:
    """Copy an image's blobs, documents last, and name it."""
    descriptor = Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)
    if descriptor.media_type not in (*INDEX_TYPES, *MANIFEST_TYPES):
        return  # an index may name what is no image
    # An index may name images that are not in the archive (docker save of one platform): they are left out.
    lenient = descriptor.media_type in INDEX_TYPES
    image_id = ""
    for item in contents(descriptor, source.read, lenient=lenient):
        try:
            take_blob(store, source, item, report)
        except ImageError as e:
            if not lenient or e.code != "missing-blob" or item.digest == descriptor.digest:
                raise
            continue
        if item.media_type in MANIFEST_TYPES:
            manifest = Manifest.read(store.blobs.read(item.digest), item.media_type)
            image_id = image_id or str(manifest.config.digest)
            check(store, manifest)
    if not image_id:
        raise ImageError(f"{descriptor.digest}: none of its images is in the archive", code="missing-blob")
    if not names:
        store.images.keep(descriptor)
        yield f"Loaded image ID: {image_id}"
    for name in names:
        store.images.tag(name, descriptor)
        yield f"Loaded image: {name.familiar}"


def check(store: Store, manifest: Manifest) -> None:
    """ImageError ``invalid-image`` if manifest and configuration contradict each other."""
    if not store.blobs.has(manifest.config.digest) or "config" not in manifest.config.media_type.replace(
        "container.image", "config"
    ):
        return  # of another platform, or an artifact that is no image
    config = ImageConfig.read(store.blobs.read(manifest.config.digest))
    wrong = [text for text in violations(manifest, config) if "diff ids" in text]
    if wrong:
        raise ImageError(f"{manifest.config.digest}: {wrong[0]}", code="invalid-image")


def take_blob(store: Store, source: Source, item: Descriptor, report: Report) -> None:
    """Copy one blob from *source*, verified, unless it is here."""
    if store.blobs.touch(item.digest):
        report(item.size)
        return
    with source.open(item) as stream, store.blobs.writer(item.digest, item.size) as out:
        while data := stream.read(1 << 20):
            out.write(data)
            report(len(data))
        out.commit()


@contextmanager
def _plain(store: Store, path: Path | None, stdin: int) -> Iterator[Path]:
    """A folder, or an uncompressed file that can be read anywhere."""
    from builder.layer.compress import sniff

    if path is not None and path.is_dir():
        yield path
        return
    try:
        source: BinaryIO = open(path, "rb") if path else open(stdin, "rb", closefd=False)  # noqa: SIM115 (closed below)
    except OSError as e:
        raise ImageError(f"cannot read {path}: {e.strerror}", code="no-such-file") from None
    with source:
        head = source.peek(6)[:6] if hasattr(source, "peek") else b""
        kind = sniff(head)
        if kind == "uncompressed" and path is not None:
            yield path
            return
        folder = store.tmp()
        place = folder / "archive"
        try:
            _copy(source, kind, place)
            yield place
        finally:
            place.unlink(missing_ok=True)
            os.rmdir(folder)


def _copy(source: BinaryIO, kind: str, place: Path) -> None:
    from builder.layer.compress import decompressed
    from builder.store.atomic import storing

    plain = source if kind == "uncompressed" else decompressed(kind, source)
    with storing(place), open(place, "wb") as out:
        while data := plain.read(1 << 20):
            out.write(data)
