"""COPY and ADD: what a step selects, put into the merged view of a draft.

source   BuildKit, solver/llbsolver/file/backend.go (docopy); tonistiigi/fsutil, copy/copy.go, whose order of looking,
         making and stamping is followed, for the results differ with it
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.engine.copying.contents import Transfer
from builder.engine.copying.hashing import same_file
from builder.engine.copying.modes import parse_mode
from builder.engine.copying.owners import resolve_owner
from builder.engine.copying.placing import Tree, copy_capability
from builder.engine.copying.select import Match, Picked, Source, below, excluded_by, matches, sources
from builder.engine.sources.fetched import Fetched
from builder.engine.sources.source import Reader, SourceRoot, TreeRoot, join, split
from builder.errors import BuilderError, HostError, StoreError
from builder.layer.ownership import Owner, Owners
from builder.plan.steps import CopyStep, GitTree, InlineFile, RemoteFile


@dataclass(slots=True)
class Copied:
    """What a step copied.

    changed  files of a context that were written to after they had been listed: the copy may not be what was hashed,
             so that it must not be found under that hash
    owners   of links and special files, by path, that the file system could not hold
    """

    files: int = 0
    size: int = 0
    changed: list[str] = field(default_factory=list)
    owners: dict[bytes, Owner] = field(default_factory=dict)


def is_independent(step: CopyStep) -> bool:
    """Whether *step* copies into nothing, for a layer that stands on any other: ``--link``.

    BuildKit, convert_copy.go: with --chmod a step is done without --link, whatever was asked.
    """
    return step.link and step.mode is None


def copy(
    step: CopyStep,
    source: SourceRoot | None,
    root: Path,
    *,
    fetched: Mapping[RemoteFile | GitTree, Fetched] | None = None,
    scratch: Path,
    fresh: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Copied:
    """Perform *step* in *root*, as root of the namespace that its owners are mapped in.

    source   where ``step.sources`` are; None if it has none
    fetched  what ``step.remote`` and ``step.git`` name
    scratch  an existing folder for what is needed only meanwhile
    fresh    *root* is no more than an empty folder: there are no names to look owners up in
    note     told what a user should know though nothing is wrong
    raises   ContextError, DockerfileError, HostError, each with ``step.where``
    """
    link = is_independent(step)
    names = None if fresh or link else root
    owner = None if step.owner is None else resolve_owner(step.owner, names, step.where, note)
    mode = None if step.mode is None else parse_mode(step.mode, step.where)
    with Tree(root, owner=owner, mode=mode, link=link, where=step.where) as tree:
        copier = _Copier(step, root, tree, scratch, note)
        try:
            with ExitStack() as stack:
                reader = stack.enter_context(source.reader()) if source is not None else None
                copier.all(source, reader, fetched or {})
        except BuilderError as e:
            e.where = e.where or step.where
            raise
        except OSError as e:
            raise _failed(e, step) from e
        copier.copied.owners |= tree.noted
        return copier.copied


def _failed(error: OSError, step: CopyStep) -> BuilderError:
    shown = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
    message = f"cannot copy to {step.target}: {error.strerror}{shown}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(message, code="disk-full", where=step.where, hint="pybuild prune makes room in the store")
    return HostError(message, code="copy-failed", where=step.where)


class _Copier:
    def __init__(self, step: CopyStep, path: Path, tree: Tree, scratch: Path, note: Callable[[str], None]) -> None:
        self._step = step
        self._path = path
        self._tree = tree
        self._scratch = scratch
        self._note = note
        self._transfer = Transfer()
        self._folder_mode = tree.mode.for_new_folders if tree.mode else 0o755
        self.copied = Copied()

    def all(
        self, root: SourceRoot | None, reader: Reader | None, fetched: Mapping[RemoteFile | GitTree, Fetched]
    ) -> None:
        """All sources, in the order in which they are written: of two with one name the later one stays."""
        step = self._step
        patterns, remotes, trees = sources(step), iter(step.remote), iter(step.git)
        groups = (("sources", step.sources), ("remote", step.remote), ("git", step.git))
        for kind in step.order or [name for name, group in groups for _ in group]:
            if kind == "remote":
                self._download(remote := next(remotes), fetched[remote].path())
            elif kind == "git":
                self._checked_out(tree := next(trees), fetched[tree].path())
            elif root is not None and reader is not None:
                self._pattern(root, reader, next(patterns))
        for inline in step.inline:
            self._inline(inline)

    def _pattern(self, root: SourceRoot, reader: Reader, source: Source) -> None:
        for match in matches(root, source, self._step.where):
            if not (self._step.unpack and self._unpacked(root, reader, match)):
                self._match(root, reader, match, source)

    def _download(self, remote: RemoteFile, path: Path) -> None:
        root = TreeRoot(path.parent, label=remote.name, owners=False)
        with root.reader() as reader:
            match = Match(remote.name, path.name, os.stat(path, follow_symlinks=False))
            if not (self._step.unpack_remote and self._unpacked(root, reader, match)):
                self._match(root, reader, match, Source(path.name))

    def _checked_out(self, tree: GitTree, path: Path) -> None:
        root = TreeRoot(path, label=tree.remote, owners=False)
        with root.reader() as reader:
            self._match(root, reader, Match("", "", os.stat(path)), Source("", excluded_by(self._step)))

    def _match(self, root: SourceRoot, reader: Reader, match: Match, source: Source) -> None:
        target = self._target(match.name, match.is_folder)
        if match.is_folder:
            self._folder(root, reader, match, source, target)
        else:
            for _ in below(root, match, source, self._step.where):
                pass  # nothing is in a file, but --parents may demand that something were
            folder, name = split(match.path)
            self._place(root, reader, Picked(folder, "", name, match.status), target, {})

    def _target(self, name: str, is_folder: bool) -> str:
        """Where a source called *name* goes, everything on the way made."""
        tree, step = self._tree, self._step
        above = step.target if step.target_is_folder else split(step.target.rstrip("/"))[0]
        tree.make_folders(tree.resolve(above), self._folder_mode)
        target = tree.resolve(step.target)
        status = tree.status(target)
        if not is_folder and status is not None and stat.S_ISDIR(status.st_mode):
            target = join(target, name)
        tree.make_folders(target if is_folder and status is None else split(target)[0], self._folder_mode)
        return target

    def _unpacked(self, root: SourceRoot, reader: Reader, match: Match) -> bool:
        """Unpack the match below the destination if it is an archive; its content says so, never its name."""
        if not stat.S_ISREG(match.status.st_mode):
            return False
        tree = self._tree
        with open(reader.file(*split(match.path)), "rb") as stream:
            # Rare, and it brings every decompressor along.
            from builder.layer.extract import extract, is_archive

            if not is_archive(stream):
                return False
            stream.seek(0)
            target = tree.resolve(self._step.target)
            # BuildKit, unpack.go: whatever --chmod says, it is not for archives nor for the folders they go to
            tree.make_folders(target, 0o755)
            if not tree.link:
                done = extract(stream, self._path, target, owner=tree.owner)
                tree.forget()
                tree.noted.update((os.fsencode(join(target, "")) + path, each) for path, each in done.owners.items())
            else:
                with TemporaryDirectory(dir=self._scratch) as folder:
                    done = extract(stream, Path(folder), "/", owner=tree.owner)
                    self._moved(Path(folder), target, done.owners)
            self._check(root, match.path, match.status, os.fstat(stream.fileno()))
        self.copied.files += done.entries
        self.copied.size += done.size
        for text in done.notes:
            self._note(text)
        return True

    def _moved(self, folder: Path, target: str, owners: Owners) -> None:
        """With ``--link`` an archive cannot be unpacked in place, among files that it must not see."""
        root = TreeRoot(folder, label="the archive", noted=owners)
        with root.reader() as reader:
            self._folder(root, reader, Match("", "", os.stat(folder)), Source(""), target)

    def _inline(self, inline: InlineFile) -> None:
        tree = self._tree
        place = self._target(split(inline.name)[1], False)
        data = inline.content.encode("utf-8", "surrogateescape")
        target = tree.create(place)
        with open(target, "wb") as file:
            file.write(data)
            tree.chown(target, tree.owner or (0, 0))
            os.fchmod(target, tree.mode.apply(stat.S_IFREG | 0o644) if tree.mode else 0o644)
        self.copied.files += 1
        self.copied.size += len(data)

    def _folder(self, root: SourceRoot, reader: Reader, match: Match, source: Source, target: str) -> None:
        tree = self._tree
        status = tree.status(target)
        if status is None or not stat.S_ISDIR(status.st_mode):
            tree.folder(target)  # for its error
        links: dict[tuple[int, int], str] = {}
        open_folders: list[tuple[str, Picked]] = []
        for picked in below(root, match, source, self._step.where):
            place = join(target, join(picked.inner, picked.name))
            above = split(place)[0]
            while open_folders and open_folders[-1][0] != above:
                self._finish(root, *open_folders.pop())
            if stat.S_ISDIR(picked.status.st_mode):
                if self._begin(root, picked, place):
                    open_folders.append((place, picked))
            else:
                self._place(root, reader, picked, place, links)
        while open_folders:
            self._finish(root, *open_folders.pop())
        # The folder itself isn't copied, only what is in it; yet fsutil gives it the source's time, whether it was
        # there before or not. A context's own folder has none: BuildKit receives only what is in it.
        if match.path or root.owners:
            os.utime(tree.enter(target), ns=(match.status.st_atime_ns, match.status.st_mtime_ns))

    def _begin(self, root: SourceRoot, picked: Picked, place: str) -> bool:
        """Make a folder; whether it is to be finished when all in it is done."""
        new = self._tree.folder(place)
        if not picked.late:
            return True
        if new:
            self._finish(root, place, picked)
        else:
            os.fchmod(self._tree.enter(place), stat.S_IMODE(picked.status.st_mode))
        return False

    def _finish(self, root: SourceRoot, place: str, picked: Picked) -> None:
        """Stamp a folder: its owner, mode and time."""
        tree, status = self._tree, picked.status
        folder = tree.enter(place)
        tree.chown(folder, tree.owner_for(status, root.owners))
        os.fchmod(folder, tree.mode_for(status))
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _place(
        self, root: SourceRoot, reader: Reader, picked: Picked, place: str, links: dict[tuple[int, int], str]
    ) -> None:
        """Put one thing that is no folder at *place*."""
        status = picked.status
        self.copied.files += 1
        if stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                first = links.setdefault((status.st_dev, status.st_ino), place)
                if first is not place and self._tree.link_to(first, place):
                    return
            self._file(root, reader, picked, place)
        else:
            self._special(root, reader, picked, place)

    def _file(self, root: SourceRoot, reader: Reader, picked: Picked, place: str) -> None:
        tree, status = self._tree, picked.status
        source = reader.file(picked.folder, picked.name)
        try:
            target = tree.create(place)
            try:
                self.copied.size += self._transfer(source, target, status.st_size)
                self._check(root, join(picked.folder, picked.name), status, os.fstat(source))
                owner, made = tree.owner_for(status, root.owners), os.fstat(target)
                # New files are root's, but for the group of a set-group-ID folder; chown(2) is four messages with FUSE.
                if not owner == (made.st_uid, made.st_gid) == (0, 0):
                    tree.chown(target, owner)
                os.fchmod(target, tree.mode_for(status))
                copy_capability(source, target)
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _check(self, root: SourceRoot, path: str, listed: os.stat_result, now: os.stat_result) -> None:
        """Note a file of a context that is not, after it was read, what it was when it was listed and hashed."""
        if not root.owners and not same_file(listed, now):
            self.copied.changed.append(path)

    def _special(self, root: SourceRoot, reader: Reader, picked: Picked, place: str) -> None:
        """A link, fifo or device; a socket becomes an empty file, as in BuildKit."""
        tree, status = self._tree, picked.status
        mode = status.st_mode
        device: tuple[int, int] | None = None
        if stat.S_ISLNK(mode):
            text = root.readlink(join(picked.folder, picked.name))
            if not root.owners:  # a context, where somebody may be writing
                now = os.stat(picked.name, dir_fd=reader.folder(picked.folder), follow_symlinks=False)
                self._check(root, join(picked.folder, picked.name), status, now)
            tree.put(place, lambda name, folder: os.symlink(text, name, dir_fd=folder))
        elif stat.S_ISSOCK(mode):
            os.close(tree.create(place))
        else:
            device = tree.put_node(place, stat.S_IFMT(mode), status.st_rdev)
        above, name = split(place)
        folder = tree.enter(above)
        tree.chown_name(place, tree.owner_for(status, root.owners), device)
        if not stat.S_ISLNK(mode):
            os.chmod(name, tree.mode_for(status), dir_fd=folder)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=folder, follow_symlinks=False)
