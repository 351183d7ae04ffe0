"""Which image of an index is for a platform.

An image runs on more than the platform that it names: one for arm/v6 on an arm/v7, one for 386 on an amd64. But not the
other way round: what was compiled for amd64/v3 is likely to die on a plain amd64.

source   containerd/platforms, compare.go, platformVector; platforms.go, Match
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.image.documents import Descriptor, Index
from builder.image.names import Platform

# What a version of arm64 has in it of the one before: v9.N of v8.N+5.
_BEFORE_9 = 5


def select(index: Index, platform: Platform) -> Descriptor | None:
    """The manifest of *index* that suits *platform* best, or None; what only speaks of images is no choice."""
    images = [item for item in index.manifests if item.annotations.get("vnd.docker.reference.type") is None]
    for suitable in suited(platform):
        for item in images:
            if item.platform == suitable:
                return item
    # An index of one image needs no platform to choose by.
    return images[0] if len(images) == 1 and images[0].platform is None else None


def suited(platform: Platform) -> Iterator[Platform]:
    """The platforms whose images run on *platform*, the best one first."""
    yield platform
    os, architecture, variant = platform.os, platform.architecture, platform.variant
    if architecture == "amd64":
        yield from (Platform.normalised(os, "amd64", f"v{n}") for n in range(_number(variant) - 1, 0, -1))
        yield Platform(os, "386")
    elif architecture == "arm":
        yield from (Platform(os, "arm", f"v{n}") for n in range(_number(variant) - 1, 4, -1))
    elif architecture == "arm64":
        yield from (Platform.normalised(os, "arm64", older) for older in _older_arm64(variant or "v8"))
        # The 32 bit ones: there is no v9 of them.
        yield from (Platform(os, "arm", f"v{n}") for n in range(8, 4, -1))


def _older_arm64(variant: str) -> Iterator[str]:
    found = re.fullmatch(r"v([89])(?:\.([0-9]))?", variant)
    if found is None:
        return
    major, last = int(found[1]), int(found[2] or 0)
    yield from (_arm64(major, n) for n in range(last - 1, -1, -1))
    if major == 9:
        yield from (_arm64(8, n) for n in range(min(last + _BEFORE_9, 9), -1, -1))


def _arm64(major: int, minor: int) -> str:
    return f"v{major}.{minor}" if minor else f"v{major}"


def _number(variant: str) -> int:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isdecimal() and len(digits) < 3 else 0
