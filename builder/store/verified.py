"""Reading what may be damaged or a lie: digest and size are compared while the bytes go by.

source   OCI image-spec, descriptor.md, "Digests": "Before consuming content targeted by a descriptor from untrusted
         sources, the byte content SHOULD be verified against the digest string"
"""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from builder.errors import ImageError
from builder.image.documents import Descriptor

_BUFFER = 1 << 20


def verified(source: BinaryIO, descriptor: Descriptor) -> BinaryIO:
    """*source* as a stream that ends with ImageError unless its bytes are what *descriptor* says; closes *source*.

    Wrong bytes are told with the last of them, whether or not the end is read; ``size-mismatch``, ``digest-mismatch``.
    """
    try:
        return io.BufferedReader(_Verified(source, descriptor), _BUFFER)
    except ImageError:  # an empty blob is compared before it is read
        source.close()
        raise


class _Verified(io.RawIOBase):
    def __init__(self, source: BinaryIO, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._size = 0
        self._compare()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # io passes nothing else
        # One byte more than there may be is asked for, so that too long a blob is noticed.
        wanted = min(len(buffer), self._descriptor.size - self._size + 1)
        data = self._source.read(wanted)
        self._size += len(data)
        self._hash.update(data)
        if self._size > self._descriptor.size or (not data and self._size < self._descriptor.size):
            more = " or more" if self._size > self._descriptor.size else ""
            raise ImageError(
                f"{self._descriptor.digest} has {self._size}{more} bytes, not {self._descriptor.size}",
                code="size-mismatch",
            )
        if data:
            self._compare()
        buffer[: len(data)] = data
        return len(data)

    def _compare(self) -> None:
        if self._size == self._descriptor.size and self._hash.hexdigest() != self._descriptor.digest.hex:
            raise ImageError(f"the content of {self._descriptor.digest} is another", code="digest-mismatch")

    def close(self) -> None:
        self._source.close()
        super().close()
