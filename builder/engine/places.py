"""Where blobs were seen: the repositories that they were pulled from or pushed to.

A registry that has a blob in one repository puts it into another for the asking, and nothing is sent. What is
remembered may be out of date: then the registry says so, and gets the blob.

source   OCI distribution-spec v1.1, "Mounting a blob from another repository"; moby, distribution/metadata
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from builder.image.names import Digest, Reference
from builder.image.views import ImageFiles

if TYPE_CHECKING:
    from builder.store.store import Store

MOST_PLACES = 8
"""Of one blob: the last ones. A layer of a base can be in a hundred repositories, and one that is near is enough."""

MOST_BLOBS = 10_000

_MEMORY = "places of blobs"


def places(store: Store) -> Mapping[Digest, tuple[Reference, ...]]:
    """The repositories of each blob, the latest first."""
    found = {}
    for digest, names in store.memory(_MEMORY).items():
        found[Digest(digest)] = tuple(Reference(*name.split("/", 1)) for name in reversed(names))
    return found


def remember_places(store: Store, reference: Reference, blobs: Iterable[Descriptor]) -> None:
    """Remember that *reference*'s repository has *blobs*."""
    name = f"{reference.registry}/{reference.repository}"
    known = store.memory(_MEMORY)
    before = dict(known)
    for blob in blobs:
        names = [other for other in known.pop(str(blob.digest), ()) if other != name]
        known[str(blob.digest)] = [*names, name][-MOST_PLACES:]
    # What another process remembers meanwhile is lost, and costs an upload at the most.
    if known != before:
        store.remember(_MEMORY, dict(list(known.items())[-MOST_BLOBS:]))


def origins(store: Store, digest: Digest) -> tuple[Reference, ...]:
    """The repositories that a blob or a document was seen in, the latest first."""
    return places(store).get(digest, ())


def blobs_of(store: Store, descriptor: Descriptor) -> Iterable[Descriptor]:
    """All that hangs on *descriptor* but documents: those are not mounted."""
    files = ImageFiles(descriptor=descriptor, blob=store.blobs.path)
    return [item for item in files.contents() if item.media_type not in (*INDEX_TYPES, *MANIFEST_TYPES)]
