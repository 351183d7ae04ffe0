"""Snapshots as whole trees, where overlayfs cannot go: copied, by reference where the file system can (reflink).

::

    <id>/fs/        the whole root
    <id>/changed    what the step changed, and
    <id>/part/      that set apart, once the tree was taken over (see ``thinning``); ``fs`` is gone then, or made again

A step that is the last to need its parent's tree takes it over, so that a stage is copied once, and each step costs one
pass of ``lstat``. What is left of the parent is still the snapshot: its tree is made again of the nearest whole one
below and the parts above that, whenever anybody wants it.

Changes are found by what ``layer.index`` remembers. What ``sameness`` does makes the layers those of overlayfs.

What a crash leaves. ``part`` appears whole, by a rename, before ``fs`` goes, by another: a snapshot has one or the
other, and what was taken over is a draft's, which ``sweep`` removes.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from builder.errors import HostError, ImageError, StoreError
from builder.layer import index as indexing
from builder.layer import noted
from builder.layer.apply import apply
from builder.layer.changes import Change
from builder.layer.compress import decompressed
from builder.layer.ownership import Owner, Owners
from builder.layer.scan import scan
from builder.snapshot import thinning
from builder.snapshot.contract import Draft, Packed, Snapshot
from builder.snapshot.copying import copy_merged
from builder.snapshot.drafts import CopiedDraft, ready, wait
from builder.snapshot.merging import Source, place_of
from builder.snapshot.sameness import Below, settle
from builder.snapshot.shelf import Shelf
from builder.snapshot.unpacking import base_id, is_base
from native.mounts import Mount


class Clone:
    """Keeps ``snapshot.contract.Snapshotter`` by copies. Threads may share it."""

    name = "copy"

    def __init__(self, store_root: Path, key: str) -> None:
        self._shelf = Shelf(store_root, key, complete=self._complete)
        self._uses = thinning.Uses()
        self._last = threading.local()  # of the snapshot that a thread committed last: its id, and its index

    def get(self, snapshot_id: str) -> Snapshot | None:
        """See the contract."""
        return self._shelf.get(snapshot_id)

    def _complete(self, snapshot: Snapshot) -> bool:
        if not (is_base(snapshot.id) or thinning.has_changed(self._shelf.folder(snapshot.id))):
            return False  # it was made before that was written
        for layer in reversed(snapshot.layers):
            folder = self._shelf.folder(layer)
            if layer != snapshot.id and not self._shelf.trusts(layer):
                return False
            if thinning.is_whole(folder):
                return True
            if not thinning.has_part(folder):
                return False
        return True

    def sync(self) -> None:
        """Let what this process made survive a crash of the machine (see ``shelf``): once, at a build's end."""
        self._shelf.sync()

    # Layers

    def unpack(self, layers: Sequence[Packed]) -> Snapshot:
        """See the contract. One layer after the other into one tree; only the whole stack becomes a snapshot."""
        if not layers:
            raise ImageError("an image without layers has no root file system", code="no-layers")
        names = tuple(base_id(layer) for layer in layers)
        below = Snapshot(id=names[-2], layers=names[:-1]) if len(names) > 1 else None
        draft = self._shelf.claim(names[-1], below, lambda: False)
        if draft is None:
            found = self._shelf.get(names[-1])
            if found is None:
                raise StoreError(f"the snapshot {names[-1]} vanished while it was needed", code="snapshot-lost")
            return found
        try:
            done = self._begin(draft, names)
            for layer in layers[done:]:
                self._apply(draft, layer)
        except BaseException:
            self._shelf.discard(draft)
            raise
        return self._shelf.finish(draft, names[-1])

    def _begin(self, draft: Draft, names: tuple[str, ...]) -> int:
        """Start from the highest part of the stack that is there; how many layers it has."""
        for count in range(len(names) - 1, 0, -1):
            found = self._shelf.get(names[count - 1])
            if found is not None:
                with self._sources(found) as sources:
                    copy_merged(sources, draft.tree)
                    noted.note(draft.folder, draft.tree, _owners(sources))
                return count
        _new_root(draft.tree)
        return 0

    def _apply(self, draft: Draft, layer: Packed) -> None:
        with layer.open() as stream:
            plain = decompressed(layer.compression, stream)
            applied = apply(plain, draft.tree, whiteouts="remove", report=layer.report)
        noted.note(draft.folder, draft.tree, applied.owners)
        if applied.diff_id != layer.diff_id:
            raise ImageError(
                f"a layer's content is {applied.diff_id}, and the image says {layer.diff_id}", code="diff-id-mismatch"
            )

    # Drafts

    def prepare(self, parent: Snapshot | None, *, last_use: bool = False) -> Draft:
        """See the contract."""
        made = self._shelf.draft(parent)
        draft = CopiedDraft(id=made.id, parent=parent, folder=made.folder, tree=made.tree, lock=made.lock)
        try:
            last = self._last.__dict__.pop("made", ("", None))
            if parent is None:
                _new_root(draft.tree)
                draft.before = indexing.index(draft.tree)
            elif last_use and self._take_over(parent, draft):
                ready(draft, last[1] if last[0] == parent.id else indexing.index(draft.tree))
            else:
                del last  # it may be large
                self._copy(parent, draft)
            wait(draft.before)
        except BaseException:
            self.discard(draft)
            raise
        return draft

    def _copy(self, parent: Snapshot, draft: CopiedDraft) -> None:
        with self._sources(parent) as sources:
            copied = copy_merged(sources, draft.tree, part=True)
            # Anew, for the copies have inodes of their own.
            noted.note(draft.folder, draft.tree, _owners(sources))
        draft.before, draft.parted = copied.index, copied.parted

    def _take_over(self, parent: Snapshot, draft: CopiedDraft) -> bool:
        """Make the tree of *parent* that of *draft*; False if others may be reading it, or there is none."""
        folder = self._shelf.folder(parent.id)
        changed = thinning.recall(folder)
        # An image, unpacked, is what all stages and builds begin with. And what an earlier build ended with survives a
        # crash of the machine, which its part would not before this build's end.
        if changed is None or not self._shelf.is_fresh(parent.id):
            return False
        with ExitStack() as stack:
            # The lock is tried for only if no thread here counts on it: it is given up for a moment.
            if not stack.enter_context(self._uses.take(parent.id)):
                return False
            if not stack.enter_context(self._shelf.alone(parent.id)) or not thinning.is_whole(folder):
                return False
            if not thinning.has_part(folder):
                thinning.keep_part(thinning.make_part(folder, changed, draft.folder), folder)
            if (folder / noted.TABLE).exists():
                shutil.copyfile(folder / noted.TABLE, draft.folder / noted.TABLE)
            os.rename(folder / "fs", draft.tree)
        return True

    def commit(self, draft: Draft) -> Snapshot:
        """See the contract, and ``shelf`` for what a crash leaves."""
        assert isinstance(draft, CopiedDraft)
        found = indexing.compare(draft.before, draft.tree)
        with ExitStack() as stack:
            settle(draft.before, found, draft.parted, draft.tree, self.owners(draft), self._below(draft, stack))
        told = indexing.told(draft.before, found)
        thinning.remember(draft.folder, told, found, draft.tree)
        snapshot = self._shelf.finish(draft)
        self._last.made = snapshot.id, found.now
        return snapshot

    def _below(self, draft: Draft, stack: ExitStack) -> Below:
        """The parent of *draft*, of which the trees are looked for when first needed, and used with *stack*."""

        @cache
        def parent() -> tuple[list[Source], dict[bytes, Owner]]:
            assert draft.parent is not None
            sources = stack.enter_context(self._sources(draft.parent))
            return sources, _owners(sources)

        def below(path: bytes) -> tuple[bytes, Owner | None]:
            sources, owners = parent()
            return place_of(sources, path), owners.get(path)

        return below

    def discard(self, draft: Draft) -> None:
        """See the contract."""
        self._shelf.discard(draft)

    # Seeing

    @contextmanager
    def _sources(self, snapshot: Snapshot) -> Iterator[list[Source]]:
        """What *snapshot* is made of, the topmost first, for as long as the block lasts."""
        found: list[Source] = []
        with ExitStack() as stack:
            for layer in reversed(snapshot.layers):
                stack.enter_context(self._uses.read(layer))
                if self._shelf.get(layer) is None:  # held from now on: no other process takes its tree over
                    raise StoreError(f"the snapshot {layer} vanished while it was needed", code="snapshot-lost")
                found.append(thinning.source(self._shelf.folder(layer)))
                if thinning.is_whole(self._shelf.folder(layer)):
                    break
            yield found

    @contextmanager
    def _whole(self, snapshot: Snapshot) -> Iterator[Path]:
        """The folder of *snapshot* with its whole tree, made again if it was taken over."""
        folder = self._shelf.folder(snapshot.id)
        with self._uses.read(snapshot.id):
            if not thinning.is_whole(folder):
                self._make_again(snapshot, folder)
            yield folder

    def _make_again(self, snapshot: Snapshot, folder: Path) -> None:
        draft = self._shelf.draft(None)
        try:
            with self._sources(snapshot) as sources:
                copy_merged(sources, draft.tree)
                # Before the tree: what a crash leaves of the table means nothing without it.
                noted.note(folder, draft.tree, _owners(sources))
            self._shelf.renew(snapshot.id)
            try:
                os.rename(draft.tree, folder / "fs")
            except OSError:
                if not thinning.is_whole(folder):  # else somebody was quicker
                    raise
        finally:
            self._shelf.discard(draft)

    def mounts(self, of: Draft | Snapshot, root: Path) -> tuple[Mount, ...]:
        """See the contract.

        raises   HostError where nothing could be executed: a bind has the flags of what it shows, an overlay not
        """
        if os.statvfs(self._shelf.root).f_flag & os.ST_NOEXEC:
            raise HostError(
                f"no command can be run from copies in {self._shelf.root}: its file system is mounted noexec",
                code="store-noexec",
                hint="put the store on another file system with --root or PYBUILD_ROOT, or use --isolation overlay",
            )
        if isinstance(of, Draft):
            return (Mount(kind="bind", target=root, source=of.tree),)
        with self._whole(of) as folder:
            return (Mount(kind="bind", target=root, source=folder / "fs", read_only=True),)

    @contextmanager
    def view(self, of: Draft | Snapshot) -> Iterator[Path]:
        """See the contract: the tree itself. Of a snapshot it is to be read only, which nothing enforces here."""
        if isinstance(of, Draft):
            yield of.tree
            return
        with self._whole(of) as folder:
            yield folder / "fs"

    def owners(self, of: Draft | Snapshot) -> Owners:
        """See the contract."""
        if isinstance(of, Draft):
            return noted.noted(of.folder, of.tree)
        with self._whole(of) as folder:
            return noted.noted(folder, folder / "fs")

    # What a step changed

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """See the contract. Of an image, which is unpacked as a whole, all that is in it."""
        folder = self._shelf.folder(snapshot.id)
        with self._uses.read(snapshot.id):
            changed, place = thinning.recall(folder), thinning.place(folder)
            owners = noted.noted(place, place / "fs")
            if changed is None:
                yield from (entry for entry in scan(place / "fs", owners) if entry.path)
            else:
                yield from indexing.changes(place / "fs", changed.told, owners)

    @contextmanager
    def reading(self, snapshot: Snapshot) -> Iterator[Path]:
        """See the contract."""
        with self._uses.read(snapshot.id):
            yield thinning.place(self._shelf.folder(snapshot.id)) / "fs"

    # Removed

    def remove(self, snapshot_id: str) -> int:
        """See the contract. StoreError (``snapshot-in-use``) if another stands on it, or a process uses it."""
        return self._shelf.remove(snapshot_id)

    def remove_all(self, snapshot_ids: Sequence[str]) -> dict[str, int]:
        """See the contract."""
        return self._shelf.remove_all(snapshot_ids)

    def sweep(self) -> int:
        """See the contract."""
        return self._shelf.sweep()


def _owners(sources: Sequence[Source]) -> dict[bytes, Owner]:
    """Those that the tables beside *sources* have of what is seen of them."""
    found: dict[bytes, Owner] = {}
    for source in sources:
        for path, owner in noted.noted(source.root.parent, source.root).items():
            if path not in found and place_of(sources, path) == os.fsencode(source.root) + b"/" + path:
                found[path] = owner
    return found


def _new_root(tree: Path) -> None:
    tree.mkdir(mode=0o755)
    tree.chmod(0o755)  # whatever the umask
