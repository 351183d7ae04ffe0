"""Tars that hold images, read in place: of ``docker save`` in its old and its new form, of podman, skopeo and buildah.

    oci-layout, index.json, blobs/…             an OCI layout; taken as such, whatever else is in the tar
    manifest.json, <hex>.json, <hex>/layer.tar  the older form; layers may be links to those of other images

Nothing is unpacked. All of the tar is hostile: members are counted, links are followed inside the tar alone, sizes come
from the headers and are compared with what the digests say.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.errors import ImageError
from builder.image.configuration import ImageConfig
from builder.image.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Json, Manifest
from builder.image.names import Digest, Reference
from builder.image.views import DOCUMENT_LIMIT, read_root
from builder.store.found import IMAGE_NAME, REF_NAME, Content

MOST_MEMBERS = 20_000
"""Members of one archive; a layer is one of them, whatever it holds."""

_CHUNK = 1 << 20
_MAGIC = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))


def content(path: Path) -> Content:
    """What the archive holds; ImageError ``not-a-layout`` if it holds no images, OSError if it cannot be read."""
    members = _Members(path)
    index = members.read("index.json")
    if index is not None and members.has("oci-layout"):
        return Content(
            open=lambda digest: members.open(f"blobs/{digest.algorithm}/{digest.hex}"),
            made={},
            manifests=read_root(index),
        )
    manifest = members.read("manifest.json")
    if manifest is None:
        raise ImageError(
            f"{path} holds no image: neither index.json nor manifest.json is in it",
            code="not-a-layout",
            hint="a tar of `docker save` or an OCI archive is wanted",
        )
    return _Saved(path, members, manifest).content()


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member's bytes lie in the archive, or whose they are."""

    offset: int
    size: int
    link: str | None


class _Members:
    """The archive's members by name; the last one of a name counts, as in tar."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_name: dict[str, _Member] = {}
        try:
            for info in _infos(path):
                name = posixpath.normpath(info.name.lstrip("/"))
                if info.isreg() and not info.issparse():
                    self._by_name[name] = _Member(info.offset_data, info.size, None)
                elif info.issym():
                    target = posixpath.join(posixpath.dirname(name), info.linkname)
                    self._by_name[name] = _Member(0, 0, posixpath.normpath(target))
                elif info.islnk():
                    self._by_name[name] = _Member(0, 0, posixpath.normpath(info.linkname))
        except (tarfile.TarError, EOFError, ValueError) as e:
            raise ImageError(
                f"{path} is not a tar: {e}",
                code="not-a-layout",
                hint="a compressed archive must be decompressed first",
            ) from None

    def has(self, name: str) -> bool:
        return name in self._by_name

    def find(self, name: str) -> _Member:
        """The member with the bytes, links followed; FileNotFoundError."""
        seen = 0
        member = self._by_name.get(posixpath.normpath(name))
        while member is not None and member.link is not None and seen < 8:
            member = self._by_name.get(member.link)
            seen += 1
        if member is None or member.link is not None:
            raise FileNotFoundError(2, "no such member", name)
        return member

    def open(self, name: str) -> BinaryIO:
        member = self.find(name)
        archive = open(self._path, "rb", buffering=0)  # noqa: SIM115 (closed with the slice)
        return io.BufferedReader(_Slice(archive, member.offset, member.size), _CHUNK)

    def read(self, name: str) -> bytes | None:
        """A small member's bytes, or None if there is none."""
        try:
            member = self.find(name)
        except FileNotFoundError:
            return None
        if member.size > DOCUMENT_LIMIT:
            raise ImageError(f"{name} in {self._path} is too large", code="document-too-large")
        with self.open(name) as file:
            data = file.read()
        if len(data) != member.size:
            raise ImageError(f"{self._path} is cut short", code="not-a-layout")
        return data


def _infos(path: Path) -> Iterator[tarfile.TarInfo]:
    with _Headers(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for count, info in enumerate(tar):
            if count >= MOST_MEMBERS:
                raise ImageError(f"{path} has more than {MOST_MEMBERS} members", code="not-a-layout")
            yield info


class _Headers(io.FileIO):
    """An archive for tarfile to find the members of: it skips their bytes by seeking, and reads headers alone.

    A PAX header that claims gigabytes is so refused instead of read.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _CHUNK:
            raise ValueError(f"a header of {size} bytes")
        return super().read(size) or b""


class _Slice(io.RawIOBase):
    """*size* bytes of a file from *offset* on; closes the file."""

    def __init__(self, file: io.FileIO, offset: int, size: int) -> None:
        self._file = file
        self._left = size
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # io passes nothing else
        count = self._file.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Saved:
    """An archive of the older form, whose manifests are made from what it holds."""

    def __init__(self, path: Path, members: _Members, manifest: bytes) -> None:
        self._path = path
        self._members = members
        self._manifest = manifest
        self._names: dict[Digest, str] = {}
        self._layers: dict[str, Descriptor] = {}
        self._made: dict[Digest, bytes] = {}

    def content(self) -> Content:
        images = [descriptor for entry in self._entries() for descriptor in self._image(entry)]
        return Content(open=self._open, made=self._made, manifests=tuple(images))

    def _open(self, digest: Digest) -> BinaryIO:
        name = self._names.get(digest)
        if name is None:
            raise FileNotFoundError(2, "no such blob", str(digest))
        return self._members.open(name)

    def _entries(self) -> list[dict[str, Json]]:
        import json

        try:
            value = json.loads(self._manifest)
        except (ValueError, RecursionError) as e:
            raise self._invalid(f"manifest.json is not JSON: {e}") from None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._invalid("manifest.json is not a list of objects")
        return value

    def _image(self, entry: dict[str, Json]) -> Iterator[Descriptor]:
        """The image's descriptor, once for each of its names."""
        config_name, layer_names, tags = entry.get("Config"), entry.get("Layers") or [], entry.get("RepoTags") or []
        if not isinstance(config_name, str) or not _all_text(layer_names) or not _all_text(tags):
            raise self._invalid("manifest.json names no Config, or its Layers or RepoTags are no lists of names")
        data = self._members.read(config_name)
        if data is None:
            raise self._invalid(f"it lacks {config_name}")
        config = ImageConfig.read(data)
        self._made[Digest.of(data)] = data
        manifest = Manifest(
            media_type=OCI_MANIFEST,
            config=Descriptor(media_type=OCI_CONFIG, digest=Digest.of(data), size=len(data)),
            layers=tuple(self._layer(name) for name in layer_names),
        )
        document = manifest.bytes()
        digest = Digest.of(document)
        self._made[digest] = document
        names = [name for tag in tags for name in _names(tag)]
        for name in names or [{}]:
            yield Descriptor(
                media_type=OCI_MANIFEST,
                digest=digest,
                size=len(document),
                platform=config.platform,
                annotations=name,
            )

    def _layer(self, name: str) -> Descriptor:
        """The layer's descriptor: it must be read once, for an archive of this form does not tell digests."""
        if name in self._layers:
            return self._layers[name]
        try:
            size = self._members.find(name).size
            with self._members.open(name) as file:
                head = file.peek(4) if isinstance(file, io.BufferedReader) else b""
                found = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
        except FileNotFoundError:
            raise self._invalid(f"it lacks {name}") from None
        digest = Digest("sha256:" + found.hexdigest())
        self._names[digest] = name
        suffix = next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), "")
        self._layers[name] = Descriptor(media_type=OCI_LAYER + suffix, digest=digest, size=size)
        return self._layers[name]

    def _invalid(self, why: str) -> ImageError:
        return ImageError(f"{self._path} is not a tar of docker save: {why}", code="not-a-layout")


def _all_text(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _names(tag: str) -> Iterator[dict[str, str]]:
    """The annotations that say *tag* in an index, if it is a name."""
    try:
        name = Reference.parse(tag)
    except ImageError:
        return  # a name that no tool of today takes: the image is there without it
    yield {IMAGE_NAME: str(name), REF_NAME: name.tag or str(name)}
