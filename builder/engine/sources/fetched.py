"""What came from elsewhere, or will; and what is remembered of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Memory(Protocol):
    """What is remembered of earlier downloads, by the digest of the address: the store, or nothing."""

    def memory(self, name: str) -> dict[Any, Any]:
        """What was remembered under *name*."""
        ...

    def remember(self, name: str, value: dict[Any, Any]) -> None:
        """Remember *value* under *name*."""
        ...


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
