"""ADD from elsewhere: a file by HTTP, or a tree of a git repository.

Where the identity of what will come is known beforehand (a checksum, a full commit), nothing is fetched until it is
needed: a cached build then asks nobody.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.sources.fetched import Fetched, Memory
from builder.plan.steps import GitTree, RemoteFile

if TYPE_CHECKING:
    from builder.engine.world import Settings
    from builder.store.store import Store


def fetch(source: RemoteFile | GitTree, folder: Path, settings: Settings, memory: Memory | None = None) -> Fetched:
    """Fetch *source* into the empty *folder*, or only find out what would come, if that is enough for now.

    settings   secrets with credentials, SSH agents, and the environment with proxies
    memory     of entity tags: a server that says that a file is the one from before sends nothing
    raises     ContextError (``cannot-fetch``, ``digest-mismatch``, ``unknown-ref`` …), HostError (``no-git``)
    """
    # HTTP and git are both rare, and slow to import.
    if isinstance(source, RemoteFile):
        from builder.engine.sources.download import download, modified, unchanged

        if source.checksum:
            return Fetched(f"url:{source.checksum}", lambda: download(source, folder, settings)[0], modified)
        known = unchanged(source, settings, memory) if memory is not None else None
        if known is not None:
            same = replace(source, checksum=known)
            return Fetched(f"url:{known}", lambda: download(same, folder, settings)[0], modified)
        path, digest = download(source, folder, settings, memory=memory)
        return Fetched(f"url:{digest}", lambda: path, modified)
    from builder.engine.sources.checkout import Repository

    return Repository(source, folder, settings).fetched()


class Fetches:
    """What is fetched in one build, each source once. Used by several threads at once."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._fetched: dict[RemoteFile | GitTree, Fetched] = {}
        self._lock = threading.Lock()

    def get(self, source: RemoteFile | GitTree) -> Fetched:
        """The downloaded file or tree.

        raises   as ``fetch``
        """
        with self._lock:
            if source not in self._fetched:
                self._fetched[source] = fetch(source, self._store.tmp(), self._settings, self._store)
            return self._fetched[source]
