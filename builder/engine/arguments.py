"""Build arguments that instruct the builder, and have nothing to do here: each is said, or is an error.

BUILDKIT_BUILD_NAME names a build in a list of builds, which there is not; where the others of BuildKit's are heeded is
where what they change is decided.

source   Dockerfile reference, "BuildKit built-in build args"; BuildKit, frontend/dockerui/config.go, validateMinCaps,
         and frontend/attestations/parse.go; docker/buildx, build/opt.go, toSolveOpt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.dockerfile.numbers import truth
from builder.errors import UsageError
from builder.events import Note

if TYPE_CHECKING:
    from builder.events import Emit

_ATTESTATION = "BUILDKIT_ATTEST_"


def heed_arguments(build_args: Mapping[str, str], emit: Emit) -> None:
    """Say what of *build_args* does not come about.

    raises   UsageError where the build would not be what was asked for
    """
    if not build_args.get("BUILDKIT_SYNTAX", "docker/dockerfile").strip():
        raise UsageError(
            "empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for optional"
            " behavior",
            code="invalid-value",
        )
    if truth(build_args.get("BUILDKIT_DISABLE_FILEOP", "")):
        raise UsageError(
            'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11', code="unsupported-flag"
        )
    for name in build_args:
        if name.startswith(_ATTESTATION):
            kind = name.removeprefix(_ATTESTATION).lower()
            if kind not in ("sbom", "provenance"):
                raise UsageError(f'unknown attestation type "{kind}"', code="invalid-value")
            raise UsageError(
                f"the build argument {name} is not supported: no attestations are made", code="unsupported-flag"
            )
    # Docker and buildx pass over what is no truth value.
    if truth(build_args.get("BUILDKIT_INLINE_CACHE", "")):
        emit(Note("warning", "BUILDKIT_INLINE_CACHE has no effect: no cache is written into images"))
