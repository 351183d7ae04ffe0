"""How the folder of a layer says what it hides of the layers below: two spellings.

``DEVICES`` is overlayfs': a character device 0:0 in the place of what is deleted, an attribute on a folder that is
opaque. ``FILES`` is that of layers' tars, and fuse-overlayfs reads it too: empty files ``.wh.NAME`` and
``.wh..wh..opq``. Every file system can hold it, which is not so of the devices: an overlay refuses to make one.

source   Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories"; OCI image-spec, layer.md,
         "Whiteouts"; fuse-overlayfs(1)
"""

from __future__ import annotations

import os
from typing import Protocol

from builder.layer.changes import OPAQUE, WHITEOUT
from builder.layer.folders import OPAQUE_XATTR, is_whiteout


class Marks(Protocol):
    """A spelling. Folders are absolute paths."""

    apart: bool
    """Whether a mark is a file beside the name that it hides, rather than in its place."""

    def hidden(self, name: bytes, status: os.stat_result) -> bytes | None:
        """The name that the file *name* deletes; None if it is no mark."""
        ...

    def hides(self, folder: bytes, name: bytes) -> bool:
        """Whether a mark in *folder* that does not lie at *name* itself deletes *name*."""
        ...

    def is_opaque(self, folder: bytes) -> bool:
        """Whether *folder* hides all that lies below it."""
        ...


class _Devices:
    apart = False

    def hidden(self, name: bytes, status: os.stat_result) -> bytes | None:
        return name if is_whiteout(status) else None

    def hides(self, folder: bytes, name: bytes) -> bool:
        return False

    def is_opaque(self, folder: bytes) -> bool:
        try:
            return os.getxattr(folder, OPAQUE_XATTR, follow_symlinks=False) == b"y"
        except OSError:  # ENODATA: no such attribute
            return False


class _Files:
    apart = True

    def hidden(self, name: bytes, status: os.stat_result) -> bytes | None:
        # Of the opaque mark this gives a name that nothing has.
        return name[len(WHITEOUT) :] if name.startswith(WHITEOUT) else None

    def hides(self, folder: bytes, name: bytes) -> bool:
        # A name so long that no mark can be made for it has none: that is no error.
        return os.path.lexists(folder + b"/" + WHITEOUT + name)

    def is_opaque(self, folder: bytes) -> bool:
        return os.path.lexists(folder + b"/" + OPAQUE)


DEVICES: Marks = _Devices()
FILES: Marks = _Files()
