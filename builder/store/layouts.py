"""Images that others wrote: an OCI layout in a folder or a tar, or a tar of ``docker save``.

All three answer alike. A tar is not unpacked: its members are found once and read in place, so it must be an
uncompressed file. Tars of ``docker save`` before Docker 25 have neither index nor manifests; theirs are made here.

source   OCI image-spec, image-layout.md; Docker image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format"
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from builder.errors import ImageError
from builder.image.documents import INDEX_TYPES, OCI_INDEX, Descriptor, Index
from builder.image.names import Digest, Reference
from builder.image.views import DOCUMENT_LIMIT, read_root, verify
from builder.store.found import IMAGE_NAME, REF_NAME, Content
from builder.store.verified import verified


class OciLayout:
    """Blobs of a layout or an archive; verified as they are read. Holds no descriptor open between calls.

    raises   ImageError ``no-such-layout``, ``not-a-layout``, ``invalid-document``
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._content = _of_folder(path) if path.is_dir() else _of_file(path)
        except OSError as e:
            raise ImageError(f"cannot read {path}: {e.strerror}", code="no-such-layout") from None
        self._made = dict(self._content.made)

    @property
    def images(self) -> tuple[tuple[Descriptor, tuple[Reference, ...]], ...]:
        """Each image once, with the full names that it has in here."""
        found: dict[Digest, tuple[Descriptor, list[Reference]]] = {}
        for item in self._content.manifests:
            names = found.setdefault(item.digest, (item, []))[1]
            name = _full_name(item)
            if name is not None and name not in names:
                names.append(name)
        return tuple((descriptor, tuple(names)) for descriptor, names in found.values())

    def resolve(self, name: str | None = None) -> Descriptor:
        """The image called *name*: a tag, a full name, or a digest with or without "@".

        Without a name: the only image, or else the one tagged ``latest``. Images of several platforms under one name
        are given as an index.

        raises   ImageError ``no-such-image``, whose hint lists the names there are
        """
        wanted = (name or "").removeprefix("@")
        items = self._content.manifests
        if wanted.startswith(("sha256:", "sha384:", "sha512:")):
            return self._by_digest(Digest.parse(wanted))
        if not wanted and (len({item.digest for item in items}) == 1 or not any(map(_name, items))):
            found = items
        else:
            found = tuple(item for item in items if _is_called(item, wanted or "latest"))
        if not found:
            raise self._unknown(f"called {wanted!r}" if wanted else "called 'latest', and no name was given")
        return self._together(found)

    def read(self, descriptor: Descriptor) -> bytes:
        """A document, verified; ImageError ``missing-blob``, ``document-too-large``, ``digest-mismatch``."""
        if descriptor.size > DOCUMENT_LIMIT:
            raise ImageError(
                f"{descriptor.digest} has {descriptor.size} bytes, more than {DOCUMENT_LIMIT}",
                code="document-too-large",
            )
        with self._open(descriptor.digest) as file:
            data = file.read(descriptor.size + 1)
        verify(descriptor, data)
        return data

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """A blob as a stream that verifies itself (``verified``); ImageError ``missing-blob``."""
        return verified(self._open(descriptor.digest), descriptor)

    def _open(self, digest: Digest) -> BinaryIO:
        if digest in self._made:
            return io.BytesIO(self._made[digest])
        try:
            return self._content.open(digest)
        except FileNotFoundError:
            raise ImageError(f"{self.path} does not hold {digest}", code="missing-blob") from None
        except OSError as e:
            raise ImageError(f"cannot read {digest} in {self.path}: {e.strerror}", code="missing-blob") from None

    def _by_digest(self, digest: Digest) -> Descriptor:
        """Looked for in index.json first, then in the indexes that it names."""
        waiting = list(self._content.manifests)
        seen: set[Digest] = set()
        while waiting:
            item = waiting.pop(0)
            if item.digest == digest:
                return item
            if item.media_type in INDEX_TYPES and item.digest not in seen:
                seen.add(item.digest)
                waiting += Index.read(self.read(item), item.media_type).manifests
        raise self._unknown(f"with the digest {digest}")

    def _together(self, found: tuple[Descriptor, ...]) -> Descriptor:
        """The one that was found, or an index of several that tell their platforms apart."""
        first = found[0]
        others = {item.digest for item in found} - {first.digest}
        if not others:
            return first
        if not all(item.platform for item in found):
            raise self._unknown("alone under that name")
        data = Index(media_type=OCI_INDEX, manifests=tuple(replace(item, annotations={}) for item in found)).bytes()
        digest = Digest.of(data)
        self._made[digest] = data
        return Descriptor(media_type=OCI_INDEX, digest=digest, size=len(data))

    def _unknown(self, what: str) -> ImageError:
        names = sorted({_name(item) or str(item.digest) for item in self._content.manifests})
        listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        return ImageError(
            f"{self.path} has no image {what}",
            code="no-such-image",
            hint=f"it has: {listed}" if names else "it has no image at all",
        )


def _name(item: Descriptor) -> str | None:
    return item.annotations.get(IMAGE_NAME) or item.annotations.get(REF_NAME)


def _is_called(item: Descriptor, wanted: str) -> bool:
    name, tag = item.annotations.get(IMAGE_NAME), item.annotations.get(REF_NAME)
    if wanted in (name, tag):
        return True
    full = _full_name(item)
    if full is None:
        return False
    # "app:1" asks for docker.io/library/app:1, and "1" for the tag of whatever image has it.
    return wanted in (full.familiar, str(full), full.tag)


def _full_name(item: Descriptor) -> Reference | None:
    """The name with its repository: containerd's annotation, or a ref.name that is more than a tag (skopeo's)."""
    text = item.annotations.get(IMAGE_NAME)
    if text is None:
        text = item.annotations.get(REF_NAME, "")
        if "/" not in text and ":" not in text:
            return None
    try:
        return Reference.parse(text)
    except ImageError:
        return None


def _of_folder(path: Path) -> Content:
    try:
        with _opened(path / "index.json") as file:
            data = file.read(DOCUMENT_LIMIT + 1) or b""
    except FileNotFoundError:
        raise ImageError(
            f"{path} is not an OCI layout: it has no index.json",
            code="not-a-layout",
            hint="an OCI layout holds index.json, oci-layout and blobs/",
        ) from None
    if len(data) > DOCUMENT_LIMIT:
        raise ImageError(f"{path / 'index.json'} is too large", code="document-too-large")

    def opened(digest: Digest) -> BinaryIO:
        return _opened(path / "blobs" / digest.algorithm / digest.hex)

    return Content(open=opened, made={}, manifests=read_root(data))


def _opened(path: Path) -> BinaryIO:
    # Not to hang where a pipe lies in a file's place: O_NONBLOCK says nothing for files.
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def _of_file(path: Path) -> Content:
    # Needs tarfile, which a folder and the common path do not.
    from builder.store import archives

    return archives.content(path)
