"""What comes by standard input: a Dockerfile, or a context as a tar."""

from __future__ import annotations

import os
from typing import BinaryIO

from builder.cli.values import reject

DOCKERFILE_LIMIT = 16 << 20
"""Bytes a Dockerfile from stdin may have; BuildKit takes 16 MiB over a connection, and nobody writes so much."""

# gzip, bzip2, xz, zstd. source: docker/buildx, build/utils.go, isArchive (zstd is ours)
_MAGIC = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def dockerfile(fd: int) -> bytes:
    """All of *fd*, as a Dockerfile."""
    return _whole(fd, b"")


def context(fd: int) -> tuple[bytes | None, int | None]:
    """What *fd* holds: a Dockerfile (its bytes, None), or a tar (None, a descriptor that begins with it).

    A pipe cannot be looked into without taking from it, so a tar from there goes to an unnamed file first.
    """
    head = _read(fd, 1024)
    if not head:
        reject("nothing came by stdin", "CONTEXT is -: give a Dockerfile or a tar, as in: pybuild - < Dockerfile")
    if not _is_archive(head):
        return _whole(fd, head), None
    try:
        # A file by redirection: go back to where it began.
        os.lseek(fd, -len(head), os.SEEK_CUR)
    except OSError:
        return None, _kept(fd, head)
    return None, fd


def _is_archive(head: bytes) -> bool:
    if head.startswith(_MAGIC):
        return True
    if len(head) < 512:
        return False
    # pax(1), "ustar Interchange Format": the checksum is over the header with its own field as blanks. Older tars
    # than ustar have no magic, but this.
    try:
        written = int(head[148:156].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    return written == sum(head[:148]) + 8 * ord(" ") + sum(head[156:512]) or not any(head[:512])


def _read(fd: int, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = os.read(fd, count - len(found))
        if not data:
            break
        found += data
    return found


def _whole(fd: int, head: bytes) -> bytes:
    data = head + _read(fd, DOCKERFILE_LIMIT + 1 - len(head))
    if len(data) > DOCKERFILE_LIMIT:
        reject(f"the Dockerfile on stdin is bigger than {DOCKERFILE_LIMIT >> 20} MiB")
    return data


def _kept(fd: int, head: bytes) -> int:
    # Needed only here.
    import shutil
    import tempfile

    source: BinaryIO
    with tempfile.TemporaryFile() as file, open(fd, "rb", buffering=0, closefd=False) as source:
        file.write(head)
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        file.seek(0)
        return os.dup(file.fileno())
