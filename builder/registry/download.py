"""A blob being downloaded: verified while it is read, taken up again where a connection broke.

source   OCI distribution-spec v1.1, "Pulling blobs", "Resumable Pull"; RFC 9110, section 14
"""

from __future__ import annotations

import hashlib
import io
import re
import time
from typing import TYPE_CHECKING, Protocol

from urllib3.exceptions import HTTPError

from builder.errors import RegistryError
from builder.registry.failures import said
from builder.registry.origins import Request

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from builder.image.documents import Descriptor
    from builder.image.names import Digest
    from builder.registry.transport import Stream

MOST_RESUMES = 8
"""Times in a row that a download is taken up again without having got on by PROGRESS bytes; without ranges, in all."""
PROGRESS = 1 << 20
SLOW_SECONDS, SLOW_BYTES = 120.0, 4096
"""A server that sends less than so many bytes in so many seconds is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


class Opens(Protocol):
    """Opens a blob from an offset on."""

    def __call__(self, digest: Digest, offset: int) -> Stream:
        """An answer of 200 or 206, or a RegistryError."""
        ...


class BlobStream(io.RawIOBase):
    """A blob as a stream; ``read`` gives as many bytes as it is asked for, unless the blob ends.

    raises   RegistryError ``size-mismatch``, ``digest-mismatch``, ``broken-download``, ``stalled`` while it is read;
             wrong bytes may have been given before
    """

    def __init__(self, descriptor: Descriptor, opens: Opens, name: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._opens = opens
        self._name = name
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._done = 0
        self._stream: Stream | None = None
        self._url = ""
        self._resumes = 0
        self._resumed_at = 0
        self._ranged = True
        self._slow_seconds, self._slow_bytes = 0.0, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """The next bytes, some at least unless the blob ended."""
        view = memoryview(buffer).cast("B")
        data = self._some(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """*size* bytes, fewer only at the end; all of them for -1."""
        if size < 0:
            return self.readall()
        pieces = []
        while size and (data := self._some(min(size, 1 << 20))):
            pieces.append(data)
            size -= len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Leave the connection."""
        self._leave()
        super().close()

    def _some(self, size: int) -> bytes:
        """Between one byte and *size*; none at the end, which is then verified."""
        while size and self._done < self._descriptor.size:
            try:
                if self._stream is None:
                    self._stream = self._open()
                data = self._timed(self._stream, size)
            except (HTTPError, OSError) as e:
                self._resume(said(e))
                continue
            if not data:
                self._resume("the registry sent less than the blob")
                continue
            if self._done + len(data) > self._descriptor.size:
                raise self._wrong("size-mismatch", f"is larger than {self._descriptor.size} bytes")
            self._hash.update(data)
            self._done += len(data)
            return data
        if size:
            self._verify()
        return b""

    def _open(self) -> Stream:
        stream = self._opens(self._descriptor.digest, self._done)
        self._url = stream.url
        if stream.status == 206:
            found = re.match(r"bytes (\d{1,20})-\d+/(\d+|\*)$", stream.headers.get("Content-Range", "").strip())
            if found is None or int(found[1]) != self._done:
                stream.close()
                raise self._wrong("invalid-range", "is continued somewhere else than asked")
            return stream
        length = stream.headers.get("Content-Length", "")[:20]
        if length.isdecimal() and int(length) != self._descriptor.size:
            stream.close()
            raise self._wrong("size-mismatch", f"has {length} bytes, not {self._descriptor.size}")
        self._ranged = self._done == 0
        try:
            self._pass_over(stream, self._done)
        except (HTTPError, OSError):
            stream.close()
            raise
        return stream

    def _pass_over(self, stream: Stream, count: int) -> None:
        """Skip what is known already, where there are no ranges. Should it differ now, the digest will tell."""
        while count:
            data = self._timed(stream, min(count, 1 << 20))
            if not data:
                raise OSError("the registry sent less than the blob")
            count -= len(data)

    def _timed(self, stream: Stream, size: int) -> bytes:
        """What *stream* gives; RegistryError ``stalled`` where it gives next to nothing for long."""
        began = time.monotonic()
        data = stream.read(size)
        self._slow_seconds += time.monotonic() - began
        self._slow_bytes += len(data)
        if self._slow_bytes >= SLOW_BYTES:
            self._slow_seconds, self._slow_bytes = 0.0, 0
        elif self._slow_seconds > SLOW_SECONDS:
            raise self._wrong("stalled", f"comes with less than {SLOW_BYTES} bytes in {SLOW_SECONDS:.0f} s")
        return data

    def _resume(self, why: str) -> None:
        """Count, wait a little, and leave the connection; RegistryError after too many times."""
        where = Request("GET", self._url)
        self._leave()
        if self._ranged and self._done - self._resumed_at >= PROGRESS:
            self._resumes = 0
        if self._resumes >= MOST_RESUMES:
            raise RegistryError(
                f"{self._name}: the download of {self._descriptor.digest} broke off: {why}",
                code="broken-download",
                where=where,
                hint="try again: what is complete is kept",
            )
        time.sleep(min(FIRST_PAUSE * 2**self._resumes, LONGEST_PAUSE))
        self._resumes += 1
        self._resumed_at = self._done

    def _verify(self) -> None:
        if self._hash.hexdigest() != self._descriptor.digest.hex:
            raise self._wrong("digest-mismatch", "is not what the registry sent")
        self._leave()

    def _wrong(self, code: str, what: str) -> RegistryError:
        return RegistryError(
            f"{self._name}: {self._descriptor.digest} {what}", code=code, where=Request("GET", self._url)
        )

    def _leave(self) -> None:
        if self._stream is not None:
            # Once all is read the connection goes back by itself; else the rest is not worth reading.
            self._stream.close()
            self._stream = None
