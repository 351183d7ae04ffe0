"""The build context: a folder without what its ignore file excludes.

Folders are listed when something looks into them and once in a build, so a COPY of one file never walks the rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from builder.dockerfile.ignore import IgnoreFile
from builder.engine.sources.file_hashes import FileHashes
from builder.engine.sources.patterns import clean
from builder.engine.sources.source import CONTEXT, TooManyLinks, TreeRoot, join, resolve, split
from builder.errors import ContextError

IGNORE_NAME = ".dockerignore"

IGNORE_LIMIT = 1 << 20
"""Bytes of an ignore file at the most."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Something in a context: its path, and its status as ``lstat`` has it."""

    path: str
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Why:
    """Whether a path is in the context, and which line of which file decides that (line 0: none does)."""

    path: str
    included: bool
    name: str = ""
    line: int = 0
    pattern: str = ""


class Filtered(TreeRoot):
    """A folder seen through an ignore file."""

    def __init__(
        self, folder: Path, ignore: IgnoreFile | None, *, label: str, hashes: FileHashes, without: frozenset[str]
    ) -> None:
        super().__init__(folder, label=label, owners=False, hashes=hashes)
        self._without = without
        self._ignore = ignore
        self._listed: dict[str, Mapping[str, os.stat_result]] = {}
        # Once in a build, too: what is copied later is compared with what was hashed.
        self._looked_at: dict[str, os.stat_result | None] = {}
        self._holding: dict[str, bool] = {}

    def entries(self, path: str) -> Mapping[str, os.stat_result]:
        """What the folder holds and no pattern excludes."""
        listed = self._listed.get(path)
        if listed is None:
            listed = super().entries(path)
            if self._ignore is not None or self._without:
                prefix = path + "/" if path else ""
                listed = {name: status for name, status in listed.items() if self._keeps(prefix + name, status)}
            self._listed[path] = listed
        return listed

    def lstat(self, path: str) -> os.stat_result | None:
        """The status of *path*, if it is in the context."""
        folder, name = split(path)
        listed = self._listed.get(folder) if path else None
        if listed is not None:
            return listed.get(name)
        if path not in self._looked_at:
            status = super().lstat(path)
            kept = status is None or not path or self._keeps(path, status)
            self._looked_at[path] = status if kept else None
        return self._looked_at[path]

    def _keeps(self, path: str, status: os.stat_result) -> bool:
        """Whether *path* is in the context: not excluded, or a folder with something in it that is taken back in."""
        if path in self._without:
            return False
        ignore = self._ignore
        if ignore is None or not ignore.decide(path).ignored:
            return True
        return stat.S_ISDIR(status.st_mode) and ignore.may_take_back_below(path) and self._holds_any(path, ignore)

    def _holds_any(self, path: str, ignore: IgnoreFile) -> bool:
        """Whether something in the excluded folder *path* is taken back in. Without recursion: folders may be deep."""
        waiting = [(path, self._unfiltered(path))]
        while waiting:
            folder, found = waiting[-1]
            known = self._holding.get(folder)
            item = None if known is not None else next(found, None)
            if known or (item is not None and not ignore.decide(join(folder, item[0])).ignored):
                self._holding.update((above, True) for above, _ in waiting)
                return True
            if item is None:
                self._holding[folder] = False
                waiting.pop()
            elif stat.S_ISDIR(item[1].st_mode):
                inner = join(folder, item[0])
                if ignore.may_take_back_below(inner):
                    waiting.append((inner, self._unfiltered(inner)))
        return False

    def _unfiltered(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        try:
            return iter(super().entries(path).items())
        except ContextError:
            return iter(())  # fsutil, filter.go: an excluded folder that cannot be read is passed over

    def why_missing(self, path: str) -> str | None:
        """The line that excludes *path*, if it is on disk."""
        if self._ignore is None or super().lstat(path) is None:
            return None
        decision = self._ignore.decide(path)
        return (
            f"it is excluded by {self._ignore.name}:{decision.line}: {decision.pattern}" if decision.ignored else None
        )


class Context:
    """A build context. One object for a whole build; used by several threads at once."""

    def __init__(self, root: Filtered, ignore: IgnoreFile | None) -> None:
        self.root = root
        self._ignore = ignore

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        ignore: IgnoreFile | None = None,
        without: frozenset[str] = frozenset(),
        name: str = "",
        load: Callable[[], dict[Any, Any]] | None = None,
        save: Callable[[dict[Any, Any]], None] | None = None,
    ) -> Self:
        """The context in *folder*; nothing is read yet.

        ignore      the parsed ignore file: see ``find_ignore``
        without     paths that are not part of it, whatever the ignore file says: what the build itself writes there
        name        of a named context, "" for the main one
        load, save  keep what was hashed between builds: see ``FileHashes``
        raises      ContextError, code ``no-context``
        """
        label = f"{CONTEXT} {name}" if name else CONTEXT
        root = Filtered(folder, ignore, label=label, hashes=FileHashes(load, save), without=without)
        try:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as e:
            hint = "the context is a folder: pybuild [OPTIONS] FOLDER" if isinstance(e, NotADirectoryError) else None
            raise ContextError(
                f"{label} {folder} cannot be opened: {e.strerror}", code="no-context", hint=hint
            ) from None
        return cls(root, ignore)

    @property
    def ignore(self) -> IgnoreFile | None:
        """The patterns of what is left out, or None."""
        return self._ignore

    def ls(self) -> Iterator[Listed]:
        """All that is in the context, folders before what is in them, names in order."""
        waiting = [("", iter(self.root.entries("").items()))]
        while waiting:
            folder, found = waiting[-1]
            item = next(found, None)
            if item is None:
                waiting.pop()
                continue
            name, status = item
            path = join(folder, name)
            yield Listed(path, status)
            if stat.S_ISDIR(status.st_mode):
                waiting.append((path, iter(self.root.entries(path).items())))

    def left_out(self) -> Iterator[Why]:
        """What is on disk and not in the context, in order; of an excluded folder the folder alone."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            kept = self.root.entries(folder)
            below = []
            for name, status in TreeRoot.entries(self.root, folder).items():
                path = join(folder, name)
                if name not in kept:
                    yield self.why(path)
                elif stat.S_ISDIR(status.st_mode):
                    below.append(path)
            waiting.extend(reversed(below))

    def why(self, path: str) -> Why:
        """Whether *path* is in the context, and why; asked of the patterns alone if nothing is there."""
        path = clean(path)
        if self._ignore is None or not path:
            return Why(path, True)
        decision = self._ignore.decide(path)
        included = not decision.ignored or self.root.lstat(path) is not None
        return Why(path, included, self._ignore.name, decision.line or 0, decision.pattern or "")

    def newest(self) -> int:
        """The time of the newest file, whole seconds since the epoch; 0 for an empty context."""
        times = (item.status.st_mtime for item in self.ls() if not stat.S_ISDIR(item.status.st_mode))
        return int(max(times, default=0))


def open_context(
    folder: Path,
    dockerfile: Path | None,
    *,
    name: str = "",
    without: frozenset[str] = frozenset(),
    whole: bool = False,
    load: Callable[[], dict[Any, Any]] | None = None,
    save: Callable[[dict[Any, Any]], None] | None = None,
) -> Context:
    """The context in *folder* with the ignore file that holds for it; parameters as in ``find_ignore`` and ``open``.

    whole   it was fetched, and no ignore file counts. source: BuildKit, frontend/dockerui/config.go, MainContext
    """
    found = None if whole else find_ignore(folder, dockerfile)
    ignore = IgnoreFile.parse(found[1].decode("utf-8", "surrogateescape"), found[0]) if found else None
    return Context.open(folder, ignore=ignore, without=without, name=name, load=load, save=save)


def find_ignore(folder: Path, dockerfile: Path | None) -> tuple[str, bytes] | None:
    """The name and the content of the ignore file that holds for *folder*, or None.

    dockerfile   None for a named context, or when the Dockerfile comes from elsewhere
    raises       ContextError if it is there but cannot be read
    source       Dockerfile reference, ".dockerignore files": one that is called as the Dockerfile, with
                 ``.dockerignore`` behind it, comes before the one in the root of the context
    """
    if dockerfile is not None:
        own = _read(dockerfile.parent, f"{dockerfile.name}{IGNORE_NAME}")
        if own is not None:
            return f"{dockerfile.name}{IGNORE_NAME}", own
    found = _read(folder, IGNORE_NAME)
    return None if found is None else (IGNORE_NAME, found)


def _read(folder: Path, name: str) -> bytes | None:
    try:
        root = TreeRoot(folder, label=CONTEXT)
        real = resolve(root, name)  # a link leads nowhere outside the folder
        status = root.lstat(real)
        if status is None:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise ContextError(f"{folder / name} is not a file", code="bad-ignore-file")
        with root.reader() as reader, open(reader.file(*split(real)), "rb") as file:
            data = file.read(IGNORE_LIMIT + 1)
    except (OSError, TooManyLinks) as e:
        why = e.strerror if isinstance(e, OSError) else "too many links"
        raise ContextError(f"{folder / name} cannot be read: {why}", code="bad-ignore-file") from None
    if len(data) > IGNORE_LIMIT:
        raise ContextError(f"{folder / name} is larger than {IGNORE_LIMIT >> 20} MiB", code="bad-ignore-file")
    return data
