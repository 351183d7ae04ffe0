"""Streams of blobs on their way: what is read is kept, counted and told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol

from builder.errors import ImageError
from builder.events import Emit, Progress
from builder.image.documents import Descriptor
from builder.image.views import DOCUMENT_LIMIT

if TYPE_CHECKING:
    from builder.store.store import Store


class Source(Protocol):
    """Where an image's blobs come from: the store, an OCI layout, a repository of a registry."""

    def read(self, descriptor: Descriptor) -> bytes:
        """A small blob, verified."""
        ...

    def open(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob as a stream that verifies digest and size as it is read."""
        ...


class Unpacking:
    """Progress of one layer, in uncompressed bytes; their number is not known before the end."""

    def __init__(
        self, name: str, layer: Descriptor, stream: Callable[[], AbstractContextManager[BinaryIO]], emit: Emit
    ) -> None:
        self._task = f"unpack {layer.digest}"
        self._label = f"{name} {layer.digest.hex[:12]}"
        self._stream = stream
        self._emit = emit
        self._done = 0

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The layer's stream; when it is left, the layer is unpacked."""
        with self._stream() as stream:
            yield stream
        self._emit(Progress(self._task, "unpack", self._label, self._done, self._done, finished=True))

    def report(self, count: int) -> None:
        """*count* further bytes are unpacked."""
        self._done += count
        self._emit(Progress(self._task, "unpack", self._label, self._done, 0))


class StoreSource:
    """The store as a source."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, descriptor: Descriptor) -> bytes:
        """A small blob; ImageError if the store does not have it."""
        self._must(descriptor)
        return self._store.blobs.read(descriptor.digest, DOCUMENT_LIMIT)

    def open(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob as a stream; ImageError if the store does not have it."""
        self._must(descriptor)
        return self._store.blobs.open(descriptor.digest)

    def _must(self, descriptor: Descriptor) -> None:
        if not self._store.blobs.has(descriptor.digest, descriptor.size):
            raise ImageError(f"the store does not have {descriptor.digest}", code="missing-blob")


class Remembered(StoreSource):
    """An image that the store knows by name: layers that it has not, or no more, come from where the name leads."""

    def __init__(self, store: Store, elsewhere: Callable[[], Source]) -> None:
        super().__init__(store)
        self._elsewhere = elsewhere

    def open(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob as a stream."""
        if self._store.blobs.has(descriptor.digest, descriptor.size):
            return super().open(descriptor)
        return self._elsewhere().open(descriptor)


class Tee:
    """A stream whose bytes are also given to *copy* as they are read; *report* gets their running number."""

    def __init__(self, stream: IO[bytes], copy: Callable[[bytes], object], report: Callable[[int], None]) -> None:
        self._stream = stream
        self._copy = copy
        self._report = report
        self._done = 0
        self._told = 0

    def read(self, size: int = -1) -> bytes:
        """Like any stream's."""
        data = self._stream.read(size)
        if data:
            self._copy(data)
            self._done += len(data)
            if self._done - self._told >= 1 << 20:
                self._told = self._done
                self._report(self._done)
        return data
