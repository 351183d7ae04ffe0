"""Compression of layers and archives: streams in, streams out, in constant memory.

Kinds are ``uncompressed``, ``gzip``, ``zstd``, ``bzip2`` and ``xz``; the first three are written, all are read.
What is written depends on the bytes and the level alone: no time, no name, no number of threads.

source   RFC 1952 (gzip), RFC 8878 (zstd), OCI image-spec, layer.md, "+gzip" and "+zstd" media types
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

from builder.errors import ImageError, InternalError

CHUNK = 1 << 20
"""Bytes read from a compressed stream, and made of it, at once."""

# RFC 1952 2.3.1; RFC 8878 3.1.1 (and 3.1.2: a skippable frame may come first); bzip2; xz-file-format 2.1.1.1
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))

# A hostile header can ask for a window of gigabytes: xz -9 needs 65 MiB, `zstd --ultra -22` 128 MiB.
_XZ_MEMORY = 128 << 20
_ZSTD_WINDOW_LOG = 27


def sniff(head: bytes) -> str:
    """The kind of compression that the first bytes of a stream tell; six bytes are enough."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return "uncompressed"


class Writer(Protocol):
    """Where uncompressed bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take all of *data*."""
        ...


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Compressing:
    """Compresses what is written to it into another stream."""

    def __init__(self, engine: _Compressor, out: BinaryIO) -> None:
        self._engine = engine
        self._out = out

    def write(self, data: bytes) -> int:
        made = self._engine.compress(data)
        if made:
            self._out.write(made)
        return len(data)

    def finish(self) -> None:
        self._out.write(self._engine.flush())


@contextmanager
def compressor(kind: str, out: BinaryIO, level: int | None = None) -> Iterator[Writer]:
    """A stream whose ``write`` compresses into *out*; finished on leaving without an error. *out* stays open.

    kind    ``uncompressed``, ``gzip`` or ``zstd``
    level   0–9 for gzip, 1–22 for zstd; None: what is fastest for the size it gives
    """
    if kind == "uncompressed":
        yield out
        return
    if kind not in ("gzip", "zstd"):
        raise InternalError(f"layers are not written as {kind}", code="unknown-compression")
    stream = _Compressing(_gzip(level) if kind == "gzip" else _zstd(level), out)
    yield stream
    stream.finish()


def _gzip(level: int | None) -> _Compressor:
    # isal: 0.343 of the size at 399 MB/s on level 1, where zlib's level 1 makes 95 MB/s and level 6 makes 36.
    # Its levels end at 3; whoever asks for more wants smaller, so that is zlib's.
    if level is None or level <= 3:
        try:
            from isal import isal_zlib

            return cast(_Compressor, isal_zlib.compressobj(1 if level is None else level, isal_zlib.DEFLATED, 31))
        except ImportError:  # no wheel for this processor
            level = 1 if level is None else level
    import zlib

    # 31: a gzip header and trailer, with no time and no name (zlib manual, deflateInit2)
    return zlib.compressobj(level, zlib.DEFLATED, 31)


def _zstd(level: int | None) -> _Compressor:
    import pyzstd  # only for those who want zstd

    options = {pyzstd.CParameter.compressionLevel: 3 if level is None else level, pyzstd.CParameter.checksumFlag: 1}
    return cast(_Compressor, pyzstd.ZstdCompressor(options))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Decompressing(io.RawIOBase):
    """Reads frame after frame of a compressed stream, at most CHUNK bytes of either side in memory."""

    def __init__(self, kind: str, source: BinaryIO, *, padded: bool) -> None:
        self._kind = kind
        self._padded = padded
        self._source = source
        self._fresh, self._errors = _decompressors(kind)
        self._engine: _Decompressor | None = None
        self._input = b""
        self._frames = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the typeshed's wider WriteableBuffer
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Some bytes, at most *size*; b"" only at the end."""
        if size < 0:
            return self.readall()
        if size == 0:
            return b""
        while True:
            engine = self._engine
            if engine is None:
                if not self._next_frame():
                    return b""
                continue
            if not self._input and engine.needs_input:
                self._input = self._source.read(CHUNK)
                if not self._input:
                    raise _broken(self._kind, "it ends in the middle")
            data, self._input = self._input, b""
            try:
                made = engine.decompress(data, min(size, CHUNK))
            except self._errors as e:
                raise _broken(self._kind, str(e)) from None
            if engine.eof:
                self._input, self._engine = engine.unused_data, None
            if made:
                return made

    def _next_frame(self) -> bool:
        if not self._input:
            self._input = self._source.read(CHUNK)
        if self._frames and (self._kind == "xz" or (self._kind == "gzip" and self._padded)):
            self._skip_zeros()
        if not self._input:
            if not self._frames:
                raise _broken(self._kind, "it is empty")
            return False
        self._frames += 1
        self._engine = self._fresh()
        return True

    def _skip_zeros(self) -> None:
        # gzip(1), "CAVEATS", and xz-file-format 2.2: zero bytes may follow, where a medium needs whole blocks
        padding = self._input[:1] == b"\0"
        while self._input and not (rest := self._input.lstrip(b"\0")):
            self._input = rest or self._source.read(CHUNK)
        self._input = self._input.lstrip(b"\0")
        if padding and self._input and self._kind == "gzip":
            raise _broken(self._kind, "something follows the zeros at its end")


def _decompressors(kind: str) -> tuple[Callable[[], _Decompressor], tuple[type[BaseException], ...]]:
    """What makes a decompressor for one frame, and the errors it raises. Each library is imported only when needed."""
    if kind == "gzip":
        try:
            from isal import igzip_lib

            # isal's stubs call its exception an instance
            errors = (cast(type[Exception], igzip_lib.error), EOFError)
            return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), errors
        except ImportError:  # no wheel for this processor
            import zlib

            return _ZlibDecompressor, (zlib.error, EOFError)
    if kind == "zstd":
        import pyzstd

        option = {pyzstd.DParameter.windowLogMax: _ZSTD_WINDOW_LOG}
        return lambda: pyzstd.ZstdDecompressor(None, option), (pyzstd.ZstdError, EOFError)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, (OSError, ValueError, EOFError)
    if kind == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY), (lzma.LZMAError, EOFError)
    raise InternalError(f"unknown compression {kind}", code="unknown-compression")


class _ZlibDecompressor:
    """zlib's object in the shape of the others."""

    def __init__(self) -> None:
        import zlib

        self._engine = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)


def _broken(kind: str, why: str) -> ImageError:
    return ImageError(f"the {kind} stream is damaged: {why}", code="damaged-compression")


def decompressed(kind: str, source: BinaryIO, *, padded: bool = True) -> BinaryIO:
    """The bytes that *source* holds compressed, as a stream; several members or frames follow one another.

    ``read(n)`` may give fewer bytes than asked for, but b"" only at the end. *source* stays open.

    padded   zeros may follow a gzip stream, as gzip, pigz and containerd with pigz have it; Go's reader refuses them
    raises   on reading: ImageError (``damaged-compression``)
    """
    if kind == "uncompressed":
        return source
    return cast(BinaryIO, _Decompressing(kind, source, padded=padded))
