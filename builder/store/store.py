"""The store as a whole: made once, opened by any number of processes at the same time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from builder.errors import StoreError
from builder.store.atomic import storing, try_lock, write
from builder.store.blobs import Blobs
from builder.store.images import Images
from builder.store.layers import Layers
from builder.store.memory import Memory
from builder.store.records import Records
from builder.store.scratch import Scratch

_VERSION = "1"
_ANOTHER = "choose another store with --root or PYBUILD_ROOT"
_FOLDERS = ("blobs/sha256", "records", "layers", "memory", "locks", "tmp", "snapshots")


class Store:
    """What survives a crash; see the package's text for what lies where. Thread-safe, and may be used across fork."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = Scratch(root / "tmp")
        self.blobs = Blobs(root / "blobs", self.scratch)
        self.records = Records(root / "records", self.scratch)
        self.layers = Layers(root / "layers", root / "locks" / "layers", self.scratch)
        self.images = Images(root / "images.json", root / "locks" / "images", self.scratch)
        self._memory = Memory(root / "memory", self.scratch)
        self._use: int | None = None

    @classmethod
    def open(cls, root: Path) -> Self:
        """The store in the folder *root*, made if it is not there.

        raises   StoreError ``store-owner``, ``store-unwritable``, ``store-version``, ``not-a-store``, ``disk-full``
        """
        root = Path(os.path.abspath(root))
        version = root / "version"
        try:
            with open(version, encoding="ascii", errors="replace") as file:
                owner = os.fstat(file.fileno()).st_uid
                text = file.read(64)
        except FileNotFoundError:
            return cls._make(root)
        except NotADirectoryError:
            raise _no_folder(root) from None
        except OSError as e:
            raise _unusable(root, e.strerror) from e
        if owner != os.geteuid():
            raise StoreError(
                f"the store {root} belongs to user {owner}, and you are user {os.geteuid()}",
                code="store-owner",
                hint="choose a store of your own with --root or PYBUILD_ROOT",
            )
        if text != f"pybuild store {_VERSION}\n":
            raise StoreError(
                f"{root} was made by another version of pybuild, or is no store",
                code="store-version",
                hint="choose another store with --root, or remove this one",
            )
        if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
            raise _unusable(root, "not writable")
        return cls(root)

    @classmethod
    def _make(cls, root: Path) -> Self:
        with storing(root):
            try:
                # Private: the store holds what builds were given, and must be entered by nobody else.
                root.mkdir(mode=0o700, parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise _no_folder(root) from None
            strange = [name for name in os.listdir(root) if name not in _KNOWN]
            if strange and (root / "version").exists():  # another opening has made the store in the meantime
                return cls.open(root)
            if strange:
                raise StoreError(
                    f"{root} is not empty and holds no store: {sorted(strange)[0]} is there",
                    code="not-a-store",
                    hint="choose an empty folder with --root",
                )
            for name in _FOLDERS:
                (root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        store = cls(root)
        # Last: a crash before this leaves folders that the next opening completes.
        write(root / "version", f"pybuild store {_VERSION}\n".encode(), temporary=store.scratch.file())
        return store

    def tmp(self) -> Path:
        """A new empty folder in the store's file system; removed by its user, or after the process has ended."""
        return self.scratch.folder()

    def memory(self, name: str) -> dict[Any, Any]:
        """What was remembered under *name*, or an empty dictionary."""
        return self._memory.read(name)

    def remember(self, name: str, value: dict[Any, Any]) -> None:
        """Remember *value* (what marshal can write) under *name*."""
        self._memory.write(name, value)

    def lock(self, name: str) -> Path:
        """The path of the lock file *name*, for ``atomic.locked``."""
        return self.root / "locks" / name

    @contextmanager
    def alone(self, patience: float = 1.0) -> Iterator[bool]:
        """Whether nobody else uses the store; if so, others wait until the block ends.

        Only for what removes, and only for as long as that takes. A store that is used by ``with`` cannot be had alone.

        patience  seconds for which to wait for others
        """
        fd = self._open_use()
        try:
            until = time.monotonic() + patience
            while not (alone := try_lock(fd)) and time.monotonic() < until:
                time.sleep(0.02)
            yield alone
        finally:
            os.close(fd)

    def _open_use(self) -> int:
        path = self.lock("use")
        with storing(path):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Remove this process's temporary files. The store can still be used."""
        self.scratch.close()
        if self._use is not None:
            os.close(self._use)
            self._use = None

    def __enter__(self) -> Self:
        # Shared, and inherited by what is forked: users never wait for each other, only for a prune that is removing.
        if self._use is None:
            self._use = self._open_use()
            fcntl.flock(self._use, fcntl.LOCK_SH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


_KNOWN = {*(name.partition("/")[0] for name in _FOLDERS), "images.json", "lost+found"}


def _no_folder(root: Path) -> StoreError:
    return StoreError(f"{root} is not a folder", code="not-a-store", hint=_ANOTHER)


def _unusable(root: Path, why: str | None) -> StoreError:
    return StoreError(f"cannot use the store {root}: {why}", code="store-unwritable", hint=_ANOTHER)
