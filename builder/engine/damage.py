"""Blobs that are no longer what their names say: a disk that lies, a file that somebody edited.

Nobody looks for them before something fails, since all is verified where it is used. They are removed then, for they
are of no use, and so the next pull or build fetches them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from builder.errors import BuilderError, StoreError
from builder.image.documents import Descriptor

if TYPE_CHECKING:
    from builder.store.store import Store

_OTHERS_FAULT = ("unauthorized", "denied", "unreachable", "rate-limited", "not-found")
"""Codes of failures that no blob can be the reason of."""


@contextmanager
def blamed(store: Store, blobs: Iterable[Descriptor], hint: str) -> Iterator[None]:
    """Whatever fails in the block: if a damaged one of *blobs* was the reason, that is told instead, with *hint*.

    raises   StoreError ``corrupt-blob``
    """
    try:
        yield
    except BuilderError as e:
        if e.code not in _OTHERS_FAULT:
            must_be_whole(store, blobs, hint)
        raise


def must_be_whole(store: Store, blobs: Iterable[Descriptor], hint: str) -> None:
    """Read all of *blobs* that are here, and remove those that are damaged; StoreError ``corrupt-blob`` names one."""
    wrong = [blob for blob in {item.digest: item for item in blobs}.values() if is_damaged(store, blob)]
    for blob in wrong:
        store.blobs.delete(blob.digest)
    if wrong:
        raise StoreError(
            f"the store is damaged: {wrong[0].digest} was not what it should be, and was removed",
            code="corrupt-blob",
            hint=hint,
        )


def is_damaged(store: Store, blob: Descriptor) -> bool:
    """Whether the blob is here, and is another than its descriptor says."""
    try:
        return store.blobs.verify(blob.digest) != blob.size
    except BuilderError as e:
        return e.code == "corrupt-blob"
