"""What a caller asks for, and what comes back: plain values, everything from the environment already resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.dockerfile.numbers import truth
from builder.errors import UsageError
from builder.image.names import Digest

if TYPE_CHECKING:
    from builder.sandbox.groups.limits import Limits

OUTPUT_KINDS = ("docker", "oci", "tar", "local", "image", "cacheonly", "registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One ``--output``.

    kind        one of OUTPUT_KINDS
    dest        a path, ``-`` for stdout, "" where the kind needs none
    attributes  the rest as written: name, tar, compression, compression-level, force-compression, oci-mediatypes,
                rewrite-timestamp, annotation…
    """

    kind: str
    dest: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One ``--secret``: from a file (``source``) or given (``value``); never shown, hashed or stored."""

    id: str
    source: str | None = None
    value: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAgent:
    """One ``--ssh``: the path of an agent's socket, or key files."""

    id: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A whole build.

    context          a folder, ``-``, a tarball or a URL
    dockerfile       path as given to ``-f``, or None; dockerfile_text  what was read instead of a file
    build_args       values resolved by the caller
    platforms        as written; none: this machine's
    contexts         ``--build-context``: name (lower case) to what was written
    source_date_epoch seconds; overridden by the build argument SOURCE_DATE_EPOCH
    root             the store's folder
    environment      what builds may need of the caller's: proxies, SSL_CERT_FILE, DOCKER_CONFIG …
    jobs             how many stages at once; 0: as many as there are processors
    """

    context: str
    dockerfile: str | None = None
    dockerfile_text: bytes | None = None
    context_stream: int | None = None
    tags: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platforms: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    ssh: tuple[SshAgent, ...] = ()
    contexts: Mapping[str, str] = field(default_factory=dict)
    add_hosts: tuple[str, ...] = ()
    network: str = "default"
    shm_size: int = 64 << 20
    ulimits: tuple[tuple[str, int, int], ...] = ()
    limits: Limits | None = None
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    iidfile: str | None = None
    metadata_file: str | None = None
    isolation: str = "auto"
    userns: str = "auto"
    reproducible: bool = False
    source_date_epoch: int | None = None
    allow: tuple[str, ...] = ()
    jobs: int = 0
    root: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether what is made is for several platforms, or is one as if it were: an index, a folder for each."""
        return as_several(self.build_args, self.platforms)


def as_several(build_args: Mapping[str, str], platforms: Sequence[str]) -> bool:
    """Whether the build argument BUILDKIT_MULTI_PLATFORM, or else the number of *platforms*, asks for an index.

    raises   UsageError, worded as BuildKit words it
    source   BuildKit, frontend/dockerui/config.go, init
    """
    several = len(platforms) > 1
    text = build_args.get("BUILDKIT_MULTI_PLATFORM", "")
    if not text:
        return several
    wanted = truth(text)
    if wanted is None:
        raise UsageError(
            f"invalid boolean value for multi-platform: {text}",
            code="invalid-value",
            hint="BUILDKIT_MULTI_PLATFORM is true or false",
        )
    if several and not wanted:
        raise UsageError(
            "conflicting config: returning multiple target platforms is not allowed",
            code="invalid-value",
            hint="BUILDKIT_MULTI_PLATFORM is false, and there are several platforms",
        )
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build made.

    digest   of the manifest, or of the index when several platforms were built
    config   digest of the image configuration, Docker's image id; of the first platform
    metadata what ``--metadata-file`` holds
    """

    digest: Digest
    config: Digest
    names: tuple[str, ...]
    metadata: Mapping[str, object]
