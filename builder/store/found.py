"""What a layout or an archive that somebody else wrote holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from builder.image.documents import Descriptor
from builder.image.names import Digest

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class Content:
    """What was found: where each blob can be opened, documents that were made here, and the images by name.

    open  gives a blob's bytes by digest, not verified; raises FileNotFoundError
    """

    open: Callable[[Digest], BinaryIO]
    made: dict[Digest, bytes]
    manifests: tuple[Descriptor, ...]
