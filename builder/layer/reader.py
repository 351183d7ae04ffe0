"""A stream → the members of a tar, and their data: hostile input, in constant memory.

The stream is read, decompressed and hashed by a thread of its own, a few megabytes ahead, for these release the
interpreter's lock while the caller parses and writes.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from builder.image.names import Digest
from builder.layer import sparse
from builder.layer.headers import BLOCK
from builder.layer.members import Member, malformed, parse
from builder.layer.pax import extend

# Go's maxSpecialFileSize: a pax header or a long name is never larger
_MOST_SPECIAL = 1 << 20
_READ = 1 << 20
_AHEAD = 8
_ZEROS = bytes(BLOCK)


class Reader:
    """Members, one after the other. After each, its data is taken with ``view`` or ``chunks``, or left alone.

    source   uncompressed; the reader does not close it
    report   receives the number of uncompressed bytes, as they are read, from another thread
    """

    def __init__(self, source: BinaryIO, report: Callable[[int], None] | None = None) -> None:
        self._ahead = _Ahead(source, report)
        self._buffer = b""
        self._at = 0
        self._left = 0  # data of the present member that was not taken, padding included
        self.offset = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.stop()

    def finish(self) -> tuple[Digest, int]:
        """The digest and the size of the whole stream, what follows the archive's end included."""
        while self._ahead.next():
            pass
        return self._ahead.result()

    def __iter__(self) -> Iterator[Member]:
        """All members; ImageError (``malformed-archive``) where the stream is none."""
        special: dict[str, bytes] = {}
        while (block := self._block()) is not None:
            member, gnu = parse(block)
            if member.kind in (b"x", b"L", b"K", b"g"):
                if member.size > _MOST_SPECIAL:
                    raise malformed(f"a header of {member.size} bytes")
                data = self._take(member.size)
                # Go's archive/tar gives global headers to its caller, which ignores them, as containerd does.
                if member.kind == b"x":
                    special["pax"] = data
                elif member.kind != b"g":
                    special[member.kind.decode()] = data.split(b"\0", 1)[0]
                self._skip(-member.size % BLOCK)
                continue
            if special:
                extend(member, special)
                special = {}
            self._left = member.size + -member.size % BLOCK
            if member.kind == b"S" or member.pieces is not None:
                self._sparse(member, block if gnu else None)
            yield member
            self._skip(self._left)
            self._left = 0
        if special:
            raise malformed("it ends after an extended header")

    def _sparse(self, member: Member, block: bytes | None) -> None:
        used = sparse.read_map(member, block, self._take)
        self._left -= used
        member.size -= used
        member.kind = b"0"
        sparse.check(member)

    def view(self, size: int) -> memoryview | None:
        """All of the member's data at once, if it is at hand; else None, and it is to be taken by ``chunks``."""
        end = self._at + size
        if end > len(self._buffer):
            return None
        data = memoryview(self._buffer)[self._at : end]
        self._at = end
        self._left -= size
        return data

    def chunks(self, size: int) -> Iterator[memoryview]:
        """The next *size* bytes of the member's data, piece by piece."""
        self._left -= size
        while size:
            if self._at >= len(self._buffer) and not self._more():
                raise malformed("it ends in the middle of a file")
            data = memoryview(self._buffer)[self._at : self._at + size]
            self._at += len(data)
            size -= len(data)
            yield data

    def _block(self) -> bytes | None:
        """The next header; None at the end, which is two blocks of zeros or, as Go takes it, the stream's end."""
        block = self._one_block()
        if block == _ZEROS:
            block = self._one_block()
            if block and block != _ZEROS:
                raise malformed("a single block of zeros")
            return None
        return block

    def _one_block(self) -> bytes | None:
        at = self._at
        block = self._buffer[at : at + BLOCK]
        if len(block) == BLOCK:
            self._at = at + BLOCK
            return block
        if not block and not self._more():
            return None
        return self._take(BLOCK)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            if not self._more():
                raise malformed("it ends in the middle of a header")
        data = self._buffer[self._at : self._at + size]
        self._at += size
        return data

    def _skip(self, size: int) -> None:
        while size > len(self._buffer) - self._at:
            size -= len(self._buffer) - self._at
            self._at = len(self._buffer)
            if not self._more():
                raise malformed("it ends in the middle of a file")
        self._at += size

    def _more(self) -> bool:
        data = self._ahead.next()
        if not data:
            return False
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0
        return True


class _Ahead:
    """Reads a stream in a thread of its own, hashing it."""

    def __init__(self, source: BinaryIO, report: Callable[[int], None] | None) -> None:
        self._source = source
        self._report = report
        self._sha = hashlib.sha256()
        self._size = 0
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="unpack", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped:
                data = self._source.read(_READ)
                self._sha.update(data)
                self._size += len(data)
                self._queue.put(data)
                if not data:
                    return
                if self._report:
                    self._report(len(data))
        except BaseException as e:  # handed over to the caller's thread, which raises it
            self._queue.put(e)

    def next(self) -> bytes:
        """The next piece; b"" at the end."""
        if self._ended:
            return b""
        got = self._queue.get()
        if isinstance(got, BaseException):
            self._ended = True
            raise got
        self._ended = not got
        return got

    def result(self) -> tuple[Digest, int]:
        self._thread.join()
        return Digest("sha256:" + self._sha.hexdigest()), self._size

    def stop(self) -> None:
        """End the thread, whatever was read; the source may be closed then."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()
