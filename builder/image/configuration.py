"""An image's configuration as a value: how it is run, of what layers it is made, and how each came to be.

Fields that are not known stay in ``extra``, as those of all documents do.

source   OCI image-spec v1.1: config.md; Docker image spec v1.2 for Healthcheck, OnBuild, Shell and ArgsEscaped
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from builder.errors import ImageError
from builder.image.documents import Json, canonical, platform_json, read_json, read_platform, remaining
from builder.image.names import Digest, Platform


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
                user=_word(value, "User"),
                exposed_ports=tuple(value.get("ExposedPorts") or ()),
                env=words["env"] or (),
                entrypoint=words["entrypoint"],
                cmd=words["cmd"],
                volumes=tuple(value.get("Volumes") or ()),
                working_dir=_word(value, "WorkingDir"),
                labels={str(k): str(v) for k, v in (value.get("Labels") or {}).items()},
                stop_signal=str(value.get("StopSignal") or ""),
                shell=words["shell"],
                healthcheck=None if value.get("Healthcheck") is None else dict(value["Healthcheck"]),
                on_build=words["on_build"] or (),
                args_escaped=bool(value.get("ArgsEscaped")),
                extra=remaining(value, *_RUN_FIELDS),
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
    for word in words:
        _check(word, name)
    return tuple(words)


def _word(value: Json, name: str) -> str:
    word = str(value.get(name) or "")
    _check(word, name)
    return word


def _check(word: str, name: str) -> None:
    """A NUL ends every string that the kernel is given: execve(2), chdir(2)."""
    if "\0" in word:
        raise ImageError(f"not an image configuration: {name} holds a NUL", code="invalid-document")


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
                platform=read_platform(value),
                config=RunConfig.read(value.get("config")),
                diff_ids=tuple(Digest.parse(d) for d in (value.get("rootfs") or {}).get("diff_ids") or ()),
                history=history,
                created=_moment(value.get("created")),
                author=str(value.get("author") or ""),
                extra=remaining(value, *_CONFIG_FIELDS),
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
