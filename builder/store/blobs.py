"""Content by digest: written once, verified, never changed.

    blobs/sha256/<hex>      as in an OCI layout, so that a layout's folder can be made of links

A blob's modification time is when it was last wanted; the garbage collection spares what was wanted lately and what a
process holds (a shared flock on the blob itself).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from builder.errors import ImageError, StoreError
from builder.image.names import Digest
from builder.store.atomic import discard, explained, publish, storing, try_lock
from builder.store.scratch import Scratch

_CHUNK = 1 << 20


class BlobWriter:
    """A blob being written. Made by ``Blobs.writer``; ``size`` counts the bytes so far."""

    def __init__(self, blobs: Blobs, expected: Digest | None, size: int | None) -> None:
        self._blobs = blobs
        self._expected = expected
        self._limit = size
        self._hash = hashlib.new(expected.algorithm if expected else "sha256")
        self._temporary = blobs.scratch.file()
        self.size = 0
        with storing(self._temporary):
            self._file = open(self._temporary, "xb", buffering=1 << 18)  # noqa: SIM115 (closed by discard)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append *data*; its length. ImageError ``size-mismatch`` as soon as there is more than was announced."""
        length = len(data) if not isinstance(data, memoryview) else data.nbytes
        if self._limit is not None and self.size + length > self._limit:
            raise self._wrong_size(self.size + length)
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as e:
            raise explained(e, self._temporary) from e
        self.size += length
        return length

    def flush(self) -> None:
        """Nothing: so that compressors can treat it as a file."""

    def _wrong_size(self, size: int) -> ImageError:
        name = self._expected or "a blob"
        return ImageError(f"{name} has {size} or more bytes, not {self._limit}", code="size-mismatch")

    def commit(self) -> Digest:
        """Verify size and digest, and give the blob its name; durable when it returns.

        raises   ImageError ``size-mismatch``, ``digest-mismatch``; StoreError
        """
        if self._limit is not None and self.size != self._limit:
            name = self._expected or "a blob"
            raise ImageError(f"{name} has {self.size} bytes, not {self._limit}", code="size-mismatch")
        digest = Digest(f"{self._hash.name}:{self._hash.hexdigest()}")
        if self._expected is not None and digest != self._expected:
            raise ImageError(f"expected {self._expected}, but the content is {digest}", code="digest-mismatch")
        path = self._blobs.path(digest)
        with storing(path):
            self._file.flush()
            # The same bytes again: those that are there are durable already, and touch saves them from a collection.
            if not (self._blobs.touch(digest) and path.stat().st_size == self.size):
                os.fchmod(self._file.fileno(), 0o444)
                publish(self._temporary, path, self._file.fileno())
        self.discard()
        return digest

    def discard(self) -> None:
        """Close, and remove what was not committed."""
        try:
            self._file.close()
        except OSError:
            pass  # the last buffer found no space; the file is thrown away now
        discard(self._temporary)


class Blobs:
    """All blobs of a store."""

    def __init__(self, root: Path, scratch: Scratch) -> None:
        self.root = root
        self.scratch = scratch

    def path(self, digest: Digest) -> Path:
        """Where *digest* lies or would lie; never write to it."""
        return self.root / digest.algorithm / digest.hex

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there; with *size*, in that length: what a disk lost a part of is had again."""
        if size is None:
            return os.path.lexists(self.path(digest))
        try:
            return os.lstat(self.path(digest)).st_size == size
        except OSError:
            return False

    def size(self, digest: Digest) -> int:
        """Bytes of the blob; StoreError ``missing-blob``."""
        with self._finding(digest):
            return self.path(digest).stat().st_size

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, not verified; StoreError ``missing-blob``."""
        with self._finding(digest):
            return open(self.path(digest), "rb", buffering=0)

    def read(self, digest: Digest, limit: int = 16 << 20) -> bytes:
        """The whole blob, verified.

        raises   StoreError ``missing-blob``, ``corrupt-blob``; ImageError ``document-too-large`` beyond *limit* bytes
        """
        with self.open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise ImageError(f"{digest} has {size} bytes, more than {limit}", code="document-too-large")
            data = bytearray()
            while chunk := file.read(size + 1 - len(data)):
                data += chunk
        if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
            raise self._corrupt(digest)
        return bytes(data)

    def verify(self, digest: Digest) -> int:
        """Read the blob and compare: its size, or StoreError ``missing-blob``, ``corrupt-blob``."""
        found = hashlib.new(digest.algorithm)
        with self.open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            while chunk := file.read(_CHUNK):
                found.update(chunk)
        if found.hexdigest() != digest.hex:
            raise self._corrupt(digest)
        return size

    def write(self, data: bytes) -> Digest:
        """Keep *data*; its digest."""
        digest = Digest.of(data)
        if self.touch(digest) and self.size(digest) == len(data):
            return digest
        with self.writer(digest, len(data)) as out:
            out.write(data)
            return out.commit()

    @contextmanager
    def writer(self, expected: Digest | None = None, size: int | None = None) -> Iterator[BlobWriter]:
        """A blob to be written and committed; left without commit, it is removed.

        expected  what the content's digest must be
        size      what its length in bytes must be
        """
        out = BlobWriter(self, expected, size)
        try:
            yield out
        finally:
            out.discard()

    def touch(self, digest: Digest) -> bool:
        """Note that the blob is wanted now, so that no collection takes it soon; False if it is not there."""
        fd = self._shared(digest)
        if fd is None:
            return False
        try:
            os.utime(fd)
        except PermissionError:
            pass  # a blob that another user owns, in a store that both may write: as old as it is
        finally:
            os.close(fd)
        return True

    @contextmanager
    def hold(self, digest: Digest) -> Iterator[bool]:
        """Keep the blob from being collected meanwhile; gives False if it is not there."""
        fd = self._shared(digest)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def _shared(self, digest: Digest) -> int | None:
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(fd, fcntl.LOCK_SH)
        # A collection unlinks under the exclusive lock: after ours is granted, a blob without a name is a deleted one.
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            return None
        return fd

    def delete(self, digest: Digest) -> int:
        """Remove the blob, whoever holds it; the bytes freed, 0 if it was not there."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        with storing(path):
            discard(path)
        return size

    def delete_unwanted(self, digest: Digest, before: float) -> int | None:
        """Remove the blob if nobody holds it and it was last wanted before that time; bytes freed, or None."""
        path = self.path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if not try_lock(fd):
                return None
            status = os.fstat(fd)
            if status.st_mtime >= before or status.st_nlink == 0:
                return None
            with storing(path):
                discard(path)
            return status.st_size
        finally:
            os.close(fd)

    def __iter__(self) -> Iterator[Digest]:
        """All digests, in no order."""
        for algorithm in ("sha256", "sha384", "sha512"):
            try:
                names = os.listdir(self.root / algorithm)
            except FileNotFoundError:
                continue
            for name in names:
                try:
                    yield Digest.parse(f"{algorithm}:{name}")
                except ImageError:
                    continue  # nothing that we wrote

    @contextmanager
    def _finding(self, digest: Digest) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StoreError(
                f"{digest} is not in the store", code="missing-blob", hint="build or pull the image again"
            ) from None
        except OSError as e:
            raise StoreError(f"cannot read {self.path(digest)}: {e.strerror}", code="store-io") from e

    def _corrupt(self, digest: Digest) -> StoreError:
        path = self.path(digest)
        return StoreError(
            f"the store is damaged: {path} does not hold what its name says",
            code="corrupt-blob",
            hint=f"remove that file, then build or pull again: rm -f {path}",
        )
