"""What speaks of an image (signatures, statements, lists of parts), brought from where the image came from.

source   OCI distribution-spec v1.1, "Listing Referrers"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.engine.places import origins
from builder.errors import ImageError
from builder.events import Emit, Progress
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from builder.image.names import Digest
from builder.image.views import ImageFiles, contents
from builder.registry.client import Registry, Repository
from builder.registry.pull import fetch_blobs
from builder.registry.referrers import subject_of

if TYPE_CHECKING:
    from builder.store.store import Store

MOST_REFERRERS = 1000
_DOCUMENTS = (*INDEX_TYPES, *MANIFEST_TYPES)


def bring_referrers(store: Store, registry: Registry, top: Descriptor, emit: Emit) -> list[Descriptor]:
    """All that speaks of *top*, of the manifests in it, or of what speaks of them, is in the store then; in that order.

    Asked are the repositories that each was pulled from or pushed to; of what was built here nobody speaks yet.

    raises   RegistryError; ImageError ``too-many-referrers``
    """
    files = ImageFiles(descriptor=top, blob=store.blobs.path)
    waiting = [(item.digest, origins(store, item.digest)) for item in files.contents() if item.media_type in _DOCUMENTS]
    found: dict[Digest, Descriptor] = {}
    for subject, places in waiting:  # which grows meanwhile
        for place in places:
            source = Repository(registry, place)
            for item in source.referrers(subject):
                known = item.digest in found or item.media_type not in _DOCUMENTS
                if known or not _bring(store, source, item, subject, emit):
                    continue
                found[item.digest] = item
                waiting.append((item.digest, (place,)))
                if len(found) > MOST_REFERRERS:
                    raise ImageError(
                        f"more than {MOST_REFERRERS} manifests speak of {top.digest}", code="too-many-referrers"
                    )
    return list(found.values())


def _bring(store: Store, source: Repository, referrer: Descriptor, subject: Digest, emit: Emit) -> bool:
    """Get *referrer* with all that hangs on it, unless it does not speak of *subject*, whatever the list says."""
    if subject_of(source.read(referrer)) != subject:
        return False

    def read(document: Descriptor) -> bytes:
        data = source.read(document)
        store.blobs.write(data)
        return data

    blobs = [item for item in contents(referrer, read) if item.media_type not in _DOCUMENTS]
    fetch_blobs(
        source,
        blobs,
        store.blobs,
        report=lambda blob, done, finished: emit(
            Progress(f"pull {blob.digest}", "pull", blob.digest.hex[:12], done, blob.size, finished)
        ),
    )
    return True
