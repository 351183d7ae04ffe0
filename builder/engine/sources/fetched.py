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
    moment_of  the time of what lies at the path: see ``moment``
    """

    def __init__(
        self, identity: str, get: Callable[[], Path], moment_of: Callable[[Path], int | None] = lambda _: None
    ) -> None:
        self.identity = identity
        self._get = get
        self._moment_of = moment_of
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

    def moment(self, memory: Memory | None = None) -> int | None:
        """The time of the source, seconds since the epoch: a commit's, or what the server says of a file, or else that
        of the newest file in an archive; None if it has none.

        memory   of what was told before: then nothing is fetched to find it out
        source   BuildKit, frontend/dockerfile/dockerfile2llb/epoch.go, resolveSourceDateEpochFromState
        """
        record = f"moment of {self.identity}"
        with self._lock:
            known = {} if memory is None or self._path is not None else memory.memory(record)
        if isinstance(found := known.get("seconds", ""), int | None):
            return found
        moment = self._moment_of(self.path())
        if memory is not None:
            memory.remember(record, {"seconds": moment})
        return moment
