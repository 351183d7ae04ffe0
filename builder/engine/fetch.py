"""ADD from elsewhere: a file by HTTP, or a tree of a git repository.

Where the identity of what will come is known beforehand (a checksum, a full commit), nothing is fetched until it is
needed: a cached build then asks nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from builder.plan.steps import GitTree, RemoteFile

if TYPE_CHECKING:
    from builder.engine.world import Settings


class Fetched:
    """Something that was fetched, or will be when its path is asked for. Used by several threads at once.

    identity   ``url:DIGEST`` or ``git:COMMIT…``: equal for equal content
    """

    def __init__(self, identity: str, get: Callable[[], Path]) -> None:
        self.identity = identity
        self._get = get
        self._path: Path | None = None
        self._lock = threading.Lock()

    def path(self) -> Path:
        """The file (mode 0600, with the time that the server gives it), or the folder of the tree.

        raises   ContextError, HostError
        """
        with self._lock:
            if self._path is None:
                self._path = self._get()
            return self._path


def fetch(source: RemoteFile | GitTree, folder: Path, settings: Settings) -> Fetched:
    """Fetch *source* into the empty *folder*, or only find out what would come, if that is enough for now.

    settings   secrets with credentials, SSH agents, and the environment with proxies
    raises     ContextError (``cannot-fetch``, ``digest-mismatch``, ``unknown-ref`` …), HostError (``no-git``)
    """
    # HTTP and git are both rare, and slow to import.
    if isinstance(source, RemoteFile):
        from builder.engine.download import download

        if source.checksum:
            return Fetched(f"url:{source.checksum}", lambda: download(source, folder, settings)[0])
        path, digest = download(source, folder, settings)
        return Fetched(f"url:{digest}", lambda: path)
    from builder.engine.checkout import Repository

    return Repository(source, folder, settings).fetched()
