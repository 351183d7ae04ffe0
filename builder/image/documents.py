"""OCI and Docker documents as values, and canonical JSON.

Every document keeps the fields it does not know in ``extra``, so that what comes in goes out again.

source   OCI image-spec v1.1: descriptor.md, manifest.md, image-index.md, config.md; Docker image spec v1.2 for
         Healthcheck, OnBuild, Shell and ArgsEscaped
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
                platform=_platform(platform) if platform else None,
                annotations=_annotations(value),
                extra=_rest(value, "mediaType", "digest", "size", "platform", "annotations")
                | ({"platform": rest} if (rest := _rest(platform or {}, "os", "architecture", "variant")) else {}),
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


def _rest(value: Json, *known: str) -> dict[str, Json]:
    return {key: item for key, item in value.items() if key not in known}


def _annotations(value: Json) -> dict[str, str]:
    return {str(key): str(text) for key, text in (value.get("annotations") or {}).items()}


def _platform(value: Json) -> Platform:
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
                extra=_rest(value, "schemaVersion", "mediaType", "config", "layers", "annotations"),
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
                extra=_rest(value, "schemaVersion", "mediaType", "manifests", "annotations"),
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

    def select(self, platform: Platform) -> Descriptor | None:
        """The manifest for *platform*: the same variant, else the next lower one, else the only architecture.

        source   containerd/platforms, compare.go, platformVector: an arm/v7 also runs v6 and v5, an amd64/v3 v2 and v1
        """
        images = [m for m in self.manifests if m.annotations.get("vnd.docker.reference.type") is None]
        same = [
            m
            for m in images
            if m.platform and (m.platform.os, m.platform.architecture) == (platform.os, platform.architecture)
        ]
        version = platform.variant.removeprefix("v")
        lower = [f"v{n}" for n in range(int(version) - 1, 0, -1)] if re.fullmatch("[1-9]", version) else []
        for variant in (platform.variant, *lower, ""):
            for item in same:
                if item.platform and item.platform.variant == variant:
                    return item
        if same and not platform.variant:
            return same[0]
        if len(images) == 1 and images[0].platform is None:
            return images[0]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How a container of the image is run: the ``config`` object of an image configuration.

    env         ``NAME=value`` strings, in order
    entrypoint, cmd, shell   None where not set; an empty tuple is written as an empty array
    healthcheck the Docker object (Test, Interval … in nanoseconds), or None
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    shell: tuple[str, ...] | None = None
    healthcheck: Mapping[str, Json] | None = None
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, value: Json) -> Self:
        """The run configuration in *value* (None: an empty one), or ImageError."""
        if value is None:
            return cls()
        try:
            words = {key: _words(value, name) for key, name in _WORDS.items()}
            return cls(
                user=str(value.get("User") or ""),
                exposed_ports=tuple(value.get("ExposedPorts") or ()),
                env=words["env"] or (),
                entrypoint=words["entrypoint"],
                cmd=words["cmd"],
                volumes=tuple(value.get("Volumes") or ()),
                working_dir=str(value.get("WorkingDir") or ""),
                labels={str(k): str(v) for k, v in (value.get("Labels") or {}).items()},
                stop_signal=str(value.get("StopSignal") or ""),
                shell=words["shell"],
                healthcheck=None if value.get("Healthcheck") is None else dict(value["Healthcheck"]),
                on_build=words["on_build"] or (),
                args_escaped=bool(value.get("ArgsEscaped")),
                extra=_rest(value, *_RUN_FIELDS),
            )
        except (TypeError, ValueError, AttributeError) as e:
            raise ImageError(f"not an image configuration: {e!r}", code="invalid-document") from None

    def json(self) -> dict[str, Json]:
        """The object as it is written: fields that are not set are left out."""
        out: dict[str, Json] = dict(self.extra)
        for name, text in (("User", self.user), ("WorkingDir", self.working_dir), ("StopSignal", self.stop_signal)):
            if text:
                out[name] = text
        for key, name in _WORDS.items():
            words = getattr(self, key)
            if words or (words is not None and name in ("Entrypoint", "Cmd", "Shell")):
                out[name] = list(words)
        for name, names in (("ExposedPorts", self.exposed_ports), ("Volumes", self.volumes)):
            if names:
                out[name] = {item: {} for item in names}
        if self.labels:
            out["Labels"] = dict(self.labels)
        if self.healthcheck is not None:
            out["Healthcheck"] = dict(self.healthcheck)
        if self.args_escaped:
            out["ArgsEscaped"] = True
        return out


_WORDS = {"env": "Env", "entrypoint": "Entrypoint", "cmd": "Cmd", "shell": "Shell", "on_build": "OnBuild"}
_RUN_FIELDS = {
    *_WORDS.values(),
    "User",
    "ExposedPorts",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "Healthcheck",
    "ArgsEscaped",
}


def _words(value: Json, name: str) -> tuple[str, ...] | None:
    words = value.get(name)
    if words is None:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ImageError(f"not an image configuration: {name} is not a list of strings", code="invalid-document")
    return tuple(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """How one layer, or one change of the configuration, came to be. ``created`` is RFC 3339, or None."""

    created_by: str
    created: str | None = None
    empty_layer: bool = False
    comment: str = ""
    author: str = ""

    def json(self) -> dict[str, Json]:
        """The entry as it is written."""
        out: dict[str, Json] = {}
        for name in ("created", "created_by", "comment", "author"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        return out | ({"empty_layer": True} if self.empty_layer else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """An image configuration: platform, how to run it, its layers' diff ids and its history."""

    platform: Platform
    config: RunConfig = field(default_factory=RunConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    created: str | None = None
    author: str = ""
    extra: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The configuration in *data*, or ImageError."""
        value = read_json(data, "the image configuration")
        try:
            history = tuple(
                HistoryEntry(
                    created_by=str(item.get("created_by") or ""),
                    created=_moment(item.get("created")),
                    empty_layer=bool(item.get("empty_layer")),
                    comment=str(item.get("comment") or ""),
                    author=str(item.get("author") or ""),
                )
                for item in value.get("history") or ()
            )
            return cls(
                platform=_platform(value),
                config=RunConfig.read(value.get("config")),
                diff_ids=tuple(Digest.parse(d) for d in (value.get("rootfs") or {}).get("diff_ids") or ()),
                history=history,
                created=_moment(value.get("created")),
                author=str(value.get("author") or ""),
                extra=_rest(value, *_CONFIG_FIELDS),
            )
        except (TypeError, AttributeError) as e:
            raise ImageError(f"not an image configuration: {e!r}", code="invalid-document") from None

    def bytes(self) -> bytes:
        """The configuration as canonical JSON."""
        out: dict[str, Json] = dict(self.extra) | platform_json(self.platform)
        out["config"] = self.config.json()
        out["rootfs"] = {"type": "layers", "diff_ids": [str(d) for d in self.diff_ids]}
        out["history"] = [entry.json() for entry in self.history]
        if self.created:
            out["created"] = self.created
        if self.author:
            out["author"] = self.author
        return canonical(out)

    def with_config(self, **changes: Any) -> Self:
        """The same image run another way."""
        return replace(self, config=replace(self.config, **changes))


def _moment(value: Json) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"created is {value!r}")
    return value


_CONFIG_FIELDS = {"os", "architecture", "variant", "config", "rootfs", "history", "created", "author"}


def chain_id(diff_ids: tuple[Digest, ...]) -> Digest:
    """What identifies a stack of layers by content: ImageError for an empty one.

    source   OCI image-spec, config.md, "Layer ChainID":
             ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln))
    """
    if not diff_ids:
        raise ImageError("an image without layers has no chain id", code="invalid-document")
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = Digest.of(f"{chain} {diff_id}".encode())
    return chain
