"""OCI and Docker documents as values, and canonical JSON.

Every document keeps the fields it does not know in ``extra``, so that what comes in goes out again.

source   OCI image-spec v1.1: descriptor.md, manifest.md, image-index.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from builder.errors import ImageError
from builder.image.names import Digest, Platform

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)

Json = Any
"""What json.loads gives."""


def canonical(value: Json) -> bytes:
    """*value* as the one JSON text we write for it: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_json(data: bytes, what: str) -> dict[str, Json]:
    """The JSON object in *data*; ImageError (``invalid-document``) that names *what* if there is none."""
    try:
        # RFC 8259, section 8.1: JSON that systems exchange is UTF-8. NaN and its like are Python's own.
        value = json.loads(str(data, "utf-8", "surrogatepass"), parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        raise ImageError(f"{what} is not JSON: {e}", code="invalid-document") from None
    if not isinstance(value, dict):
        raise ImageError(f"{what} is not a JSON object", code="invalid-document")
    return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def compression_of(media_type: str) -> str:
    """``gzip``, ``zstd`` or ``uncompressed``, as a layer's media type says; ImageError for any other kind of layer."""
    if media_type in (OCI_LAYER, DOCKER_LAYER):
        return "uncompressed"
    if media_type.endswith(("tar+gzip", "tar.gzip")):
        return "gzip"
    if media_type.endswith(("tar+zstd", "tar.zstd")):
        return "zstd"
    raise ImageError(f"not a layer that can be unpacked: {media_type}", code="unsupported-media-type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What and where a blob is: its type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, value: Json) -> Self:
        """The descriptor in *value*, or ImageError."""
        try:
            size, platform = value["size"], value.get("platform")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
                raise ValueError(f"size {size!r}")
            return cls(
                media_type=str(value["mediaType"]),
                digest=Digest.parse(str(value["digest"])),
                size=size,
                platform=read_platform(platform) if platform else None,
                annotations=_annotations(value),
                extra=remaining(value, "mediaType", "digest", "size", "platform", "annotations")
                | ({"platform": rest} if (rest := remaining(platform or {}, "os", "architecture", "variant")) else {}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise ImageError(f"not a descriptor: {e!r}", code="invalid-document") from None

    def json(self) -> dict[str, Json]:
        """The descriptor as it is written."""
        out: dict[str, Json] = dict(self.extra) | {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform:
            out["platform"] = dict(self.extra.get("platform") or {}) | platform_json(self.platform)
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out


def remaining(value: Json, *known: str) -> dict[str, Json]:
    """The fields of a document that are not among *known*: what its ``extra`` keeps."""
    return {key: item for key, item in value.items() if key not in known}


def _annotations(value: Json) -> dict[str, str]:
    return {str(key): str(text) for key, text in (value.get("annotations") or {}).items()}


def read_platform(value: Json) -> Platform:
    """The platform of a document that says it in these three fields: ``os``, ``architecture``, ``variant``."""
    return Platform.normalised(
        str(value.get("os") or "linux"), str(value.get("architecture") or ""), str(value.get("variant") or "")
    )


def platform_json(platform: Platform) -> dict[str, Json]:
    """A platform as documents hold it."""
    out = {"architecture": platform.architecture, "os": platform.os}
    return out | ({"variant": platform.variant} if platform.variant else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image of one platform: its config and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes, media_type: str = OCI_MANIFEST) -> Self:
        """The manifest in *data*, or ImageError."""
        value = read_json(data, "the manifest")
        if value.get("schemaVersion") == 1:
            raise ImageError("an image of Docker's schema 1 cannot be read", code="unsupported-media-type")
        # CVE-2021-41190: what is a manifest to one reader and an index to another is refused, as containerd does.
        if "manifests" in value:
            raise ImageError("not an image manifest: it has manifests", code="invalid-document")
        try:
            return cls(
                media_type=str(value.get("mediaType") or media_type),
                config=Descriptor.read(value["config"]),
                # Go writes an empty list as null.
                layers=tuple(Descriptor.read(layer) for layer in value["layers"] or ()),
                annotations=_annotations(value),
                extra=remaining(value, "schemaVersion", "mediaType", "config", "layers", "annotations"),
            )
        except (KeyError, TypeError, AttributeError) as e:
            raise ImageError(f"not an image manifest: {e!r}", code="invalid-document") from None

    def bytes(self) -> bytes:
        """The manifest as canonical JSON."""
        out = dict(self.extra) | {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.json(),
            "layers": [layer.json() for layer in self.layers],
        }
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return canonical(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several manifests under one name."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes, media_type: str = OCI_INDEX) -> Self:
        """The index in *data*, or ImageError."""
        value = read_json(data, "the index")
        if "layers" in value or "config" in value:
            raise ImageError("not an image index: it has layers", code="invalid-document")
        try:
            return cls(
                media_type=str(value.get("mediaType") or media_type),
                manifests=tuple(Descriptor.read(item) for item in value["manifests"] or ()),
                annotations=_annotations(value),
                extra=remaining(value, "schemaVersion", "mediaType", "manifests", "annotations"),
            )
        except (KeyError, TypeError, AttributeError) as e:
            raise ImageError(f"not an image index: {e!r}", code="invalid-document") from None

    def bytes(self) -> bytes:
        """The index as canonical JSON."""
        out = dict(self.extra) | {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [item.json() for item in self.manifests],
        }
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return canonical(out)
