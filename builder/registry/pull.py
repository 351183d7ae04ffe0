"""An image's blobs from a registry into the store, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from builder.image.documents import Descriptor
from builder.registry.parallel import Stopped, for_each
from builder.store.blobs import Blobs

JOBS = 4
"""Blobs that are read at once."""
_BLOCK = 1 << 20


class Source(Protocol):
    """Where blobs come from: a repository, a layout."""

    def open(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob as a stream that verifies itself."""
        ...


def fetch_blobs(
    source: Source,
    descriptors: Iterable[Descriptor],
    blobs: Blobs,
    *,
    report: Callable[[Descriptor, int, bool], None],
    jobs: int = JOBS,
) -> None:
    """See to it that *blobs* has all of *descriptors*; each is whole in the store, or not there. Memory: constant.

    report   gets a blob, how many bytes are here, and whether these are all; from one thread at a time
    raises   RegistryError, StoreError
    """
    reporting = threading.Lock()

    def tell(descriptor: Descriptor, done: int, stop: threading.Event, *, finished: bool = False) -> None:
        with reporting:
            if stop.is_set():
                raise Stopped
            report(descriptor, done, finished)

    def fetch(descriptor: Descriptor, stop: threading.Event) -> None:
        if not blobs.has(descriptor.digest, descriptor.size):
            with source.open(descriptor) as stream, blobs.writer(descriptor.digest, descriptor.size) as writer:
                while data := stream.read(_BLOCK):
                    writer.write(data)
                    tell(descriptor, writer.size, stop)
                writer.commit()
        tell(descriptor, descriptor.size, stop, finished=True)

    for_each({item.digest: item for item in descriptors}.values(), fetch, jobs)
