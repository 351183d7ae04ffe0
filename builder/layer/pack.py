"""Changes → one uncompressed layer: the same bytes for the same changes, anywhere.

The calling thread reads files and makes headers; a second one hashes and writes (and so compresses) what is ready,
for both release the interpreter's lock. Between them are at most four buffers of about 1 MiB.

source   OCI image-spec, layer.md, "Representing Changes", "Whiteouts"; POSIX.1-2017, pax
"""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ImageError, StoreError
from builder.image.names import Digest
from builder.layer import headers
from builder.layer.changes import WHITEOUT, Change, Entry, Removed
from builder.layer.compress import Writer
from builder.layer.scan import open_folder

BUFFER = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    """A layer that was written: digest and size in bytes of the uncompressed tar, and the number of its entries."""

    diff_id: Digest
    size: int
    entries: int


def pack(changes: Iterable[Change], tree: Path, out: Writer, *, clamp: int | None = None) -> PackedLayer:
    """Write *changes* as one uncompressed layer.

    changes  sorted (layer.changes)
    tree     where the contents of files are read, by the entries' paths
    out      receives the tar, from another thread; the caller closes it
    clamp    seconds since the epoch that no modification time is later than (SOURCE_DATE_EPOCH)
    raises   ImageError (``reserved-name``) if a name begins with ".wh.";
             StoreError (``file-changed``) if a file vanishes or shrinks while it is read
    """
    count = 0
    with _Sink(out) as sink, _Contents(tree) as contents:
        for change in changes:
            count += 1
            if isinstance(change, Entry):
                _entry(change, sink, contents, clamp)
            else:
                sink.put(headers.header(_marker(change), b"0"))
        sink.put(headers.END)
    return PackedLayer(diff_id=sink.digest(), size=sink.size, entries=count)


def _marker(change: Removed) -> bytes:
    """The name of the empty file that tells a deletion. Mode, owner and time are 0, as containerd writes them."""
    folder, slash, name = change.path.rpartition(b"/")
    return folder + slash + WHITEOUT + name


def _entry(entry: Entry, sink: _Sink, contents: _Contents, clamp: int | None) -> None:
    path, mode = entry.path, entry.mode
    # OCI layer.md, "Whiteouts": names that begin with .wh. cannot be in a layer, for they would delete.
    if b".wh." in path and path.rpartition(b"/")[2].startswith(WHITEOUT):
        raise ImageError(
            f"a file is called {os.fsdecode(path)!r}, and no layer can hold a name that begins with '.wh.'",
            code="reserved-name",
            hint="such names mean deletions in images; rename or remove the file in the step that makes it",
        )
    mtime = entry.mtime // 1_000_000_000
    if clamp is not None and mtime > clamp:
        mtime = clamp
    kind = headers.typeflag(mode)
    if kind is None:
        raise ImageError(f"no layer can hold a socket: {os.fsdecode(path)!r}", code="unsupported-file-type")
    records = {b"SCHILY.xattr." + name: value for name, value in entry.xattrs.items()} if entry.xattrs else None
    size = 0
    if entry.hardlink is not None:
        kind, link = b"1", entry.hardlink
    elif kind == b"0":
        size, link = entry.size, b""
    else:
        link = entry.link or b""
    name = (path + b"/" if path else b"./") if stat.S_ISDIR(mode) else path
    sink.put(
        headers.header(
            name,
            kind,
            mode=mode,
            uid=entry.uid,
            gid=entry.gid,
            size=size,
            mtime=mtime,
            link=link,
            rdev=entry.rdev,
            records=records,
        )
    )
    if size:
        contents.copy(path, size, sink)


class _Contents:
    """Reads files below *tree*; the folder of the last one stays open, for the next is most often in it."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._folder: bytes | None = None
        self._fd = -1

    def __enter__(self) -> _Contents:
        self._root = os.open(self._tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        os.close(self._root)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._folder, self._fd = None, -1

    def copy(self, path: bytes, size: int, sink: _Sink) -> None:
        """The *size* bytes of the file *path* into *sink*, padded to whole blocks. Holes are read as zeros."""
        folder, _, name = path.rpartition(b"/")
        try:
            if folder != self._folder:
                self._close()
                self._fd = open_folder(self._root, folder)
                self._folder = folder
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError as e:
            raise _changed(path, e.strerror or "") from None
        try:
            left = size
            while left:
                data = _read(file, min(left, BUFFER), path)
                if not data:
                    raise _changed(path, f"it is {left} bytes shorter than it was")
                left -= len(data)
                sink.put(data)
        finally:
            os.close(file)
        padding = -size % headers.BLOCK
        if padding:
            sink.put(bytes(padding))


def _read(file: int, size: int, path: bytes) -> bytes:
    try:
        return os.read(file, size)
    except OSError as e:
        raise _changed(path, e.strerror or "") from None


def _changed(path: bytes, why: str) -> StoreError:
    return StoreError(f"cannot read {os.fsdecode(path)!r} for its layer: {why}", code="file-changed")


class _Sink:
    """Gathers small pieces into large ones, which another thread hashes and writes.

    The thread starts with the second buffer: most steps change a few files, and need none.
    """

    def __init__(self, out: Writer) -> None:
        self._out = out
        self._pieces: list[bytes] = []
        self._held = 0
        self._sha = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] = queue.Queue(4)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.size = 0

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush(last=True)
        finally:
            if self._thread:
                self._queue.put(None)
                self._thread.join()
        if kind is None and self._error:
            raise self._error

    def put(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= BUFFER:
            self._flush()

    def digest(self) -> Digest:
        return Digest("sha256:" + self._sha.hexdigest())

    def _flush(self, *, last: bool = False) -> None:
        data = b"".join(self._pieces)
        self._pieces, self._held = [], 0
        self.size += len(data)
        if self._thread is None:
            if last:
                self._take(data)
                return
            self._thread = threading.Thread(target=self._run, name="pack", daemon=True)
            self._thread.start()
        if self._error:
            raise self._error
        self._queue.put(data)

    def _take(self, data: bytes) -> None:
        self._sha.update(data)
        self._out.write(data)

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._take(data)
                except BaseException as e:  # handed over to the caller's thread, which raises it
                    self._error = e
