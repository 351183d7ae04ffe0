"""The names of things: digests, references and platforms, as values."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Self

from builder.errors import ImageError

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"

_HEX = re.compile(r"[0-9a-f]+")
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


class Digest(str):
    """A content digest, ``sha256:<hex>``; a string that is known to be well formed.

    source   OCI image-spec, descriptor.md, "Digests"
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that *text* says; ImageError if it says none or names an algorithm that is not known here."""
        algorithm, _, digits = text.partition(":")
        if _LENGTHS.get(algorithm) != len(digits) or not _HEX.fullmatch(digits):
            raise ImageError(f"not a digest: {text!r}", code="invalid-digest")
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The SHA-256 digest of *data*."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    def matches(self, data: bytes) -> bool:
        """Whether this is the digest of *data*."""
        return hashlib.new(self.algorithm, data).hexdigest() == self.hex

    @property
    def algorithm(self) -> str:
        """``sha256``."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digits alone."""
        return self.partition(":")[2]


# docker/distribution reference grammar, as restated in the OCI distribution-spec, "Pulling manifests":
# <name> must match [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*, <reference> as a tag [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image in a registry, normalised as Docker does it.

    registry    host and port; ``docker.io`` where none is written
    repository  path below the registry; ``library/debian`` for ``debian``
    tag         None only beside a digest
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference that *text* says, ``latest`` where it names neither tag nor digest.

        raises   ImageError, code ``invalid-reference``
        source   distribution/reference, normalize.go: the first component is a host if it holds "." or ":" or is
                 "localhost" or has capitals
        """
        if _IMAGE_ID.fullmatch(text):
            # normalize.go, ParseNormalizedNamed: a name that could be taken for an image's id is refused.
            raise ImageError(f"invalid reference format: {text!r} is an image id", code="invalid-reference")
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
            registry, path = head, tail
        else:
            registry, path = DEFAULT_REGISTRY, rest
        path, colon, tag_text = path.partition(":")
        tag = tag_text if colon else None
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = DEFAULT_REGISTRY
        if registry == DEFAULT_REGISTRY and "/" not in path:
            path = "library/" + path
        if path != path.lower():
            raise ImageError(
                f"invalid reference format: repository name ({path}) must be lowercase", code="invalid-reference"
            )
        if not _HOST.fullmatch(registry) or not _PATH.fullmatch(path) or len(path) > 255:
            raise ImageError(f"invalid reference format: {text!r}", code="invalid-reference")
        if tag is not None and not _TAG.fullmatch(tag):
            raise ImageError(f"invalid tag in {text!r}", code="invalid-reference")
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        return cls(registry, path, tag, digest)

    def __str__(self) -> str:
        """The whole name: ``docker.io/library/debian:latest``."""
        return f"{self.registry}/{self.repository}" + self._suffix()

    @property
    def familiar(self) -> str:
        """The name as people write it: ``debian:latest``."""
        if self.registry != DEFAULT_REGISTRY:
            return str(self)
        official = self.repository.removeprefix("library/")
        # library/a/b stays what it is: a/b would be another repository.
        return (self.repository if "/" in official else official) + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def at(self, digest: Digest) -> Self:
        """The same repository, at *digest*, without a tag."""
        return replace(self, tag=None, digest=digest)


_OS = {"macos": "darwin"}
# containerd/platforms, database.go: what may stand alone.
_KNOWN_OS = {
    *("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "macos", "netbsd"),
    *("openbsd", "plan9", "solaris", "windows", "zos"),
}
_KNOWN_ARCHITECTURES = {
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64"),
    *("s390x", "sparc64", "wasm"),
}
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on: ``linux/arm64/v8``, normalised as containerd does it (``arm64/v8`` is ``arm64``)."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str, default: Platform | None = None) -> Self:
        """The platform that *text* says: ``OS/ARCH[/VARIANT]``, or one part alone, the other from *default*.

        raises   ImageError, code ``invalid-platform``
        source   containerd/platforms, platforms.go, Parse
        """
        parts = text.lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts):
            raise ImageError(f"invalid platform: {text!r}", code="invalid-platform", hint="write it as linux/amd64")
        if len(parts) == 1:
            base = default or cls("linux", "amd64")
            if parts[0] in _KNOWN_OS:
                return cls.normalised(parts[0], base.architecture, base.variant)
            if parts[0] in _KNOWN_ARCHITECTURES or parts[0] in _ARCHITECTURES:
                return cls.normalised(base.os, parts[0], "")
            raise ImageError(
                f"unknown operating system or architecture: {text!r}",
                code="invalid-platform",
                hint="write it as linux/amd64",
            )
        return cls.normalised(*parts)

    @classmethod
    def normalised(cls, os: str, architecture: str, variant: str = "") -> Self:
        """The platform under its standard names."""
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = variant or implied
        if (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
            variant = ""
        if architecture == "arm":
            variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
        return cls(_OS.get(os, os), architecture, variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
