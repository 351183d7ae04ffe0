"""A layer's tar → a tree, never leaving its root.

Three ways to take deletions. ``remove`` applies a layer to the full tree of those below it. ``overlay`` makes a folder
that overlayfs stacks on others: a deletion becomes a character device 0:0, an opaque folder the attribute
``user.overlay.opaque``. ``files`` makes one for fuse-overlayfs, where both are files (``marks``). Such folders can be
made before the ones below them; what needs those waits in the result, for ``settle_applied``.

source   OCI image-spec, layer.md, "Applying Changesets", "Whiteouts"; Documentation/filesystems/overlayfs.rst
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from builder.errors import ImageError
from builder.image.names import Digest
from builder.layer.changes import OPAQUE, WHITEOUT
from builder.layer.failures import translated
from builder.layer.folders import clean
from builder.layer.hiding import hide
from builder.layer.ownership import Owners
from builder.layer.reader import Reader
from builder.layer.settle import Below, settle
from builder.layer.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was read, and what is still to be settled with the layers below (unless *base_lookup* was there).

    diff_id, size   digest, and bytes, of the whole uncompressed stream
    entries         members of the archive
    notes           what could not be kept: devices, attributes
    implied         folders that no entry told
    links           (path, target) of hard links to files of the layers below
    whiteouts       deletions, which mean something only if the layers below hold such a name
    opaques         folders that hide what lies below, which mean something only if there is such a folder
    owners          of links and special files, by path, that the file system could not hold: for ``noted.note``
    empties_root    the root itself is opaque, which overlayfs does not look at
    """

    diff_id: Digest
    size: int
    entries: int
    notes: tuple[str, ...] = ()
    implied: tuple[bytes, ...] = ()
    links: tuple[tuple[bytes, bytes], ...] = ()
    whiteouts: tuple[bytes, ...] = ()
    opaques: tuple[bytes, ...] = ()
    empties_root: bool = False
    owners: Owners = field(default_factory=dict)


def apply(
    stream: BinaryIO,
    root: Path,
    *,
    whiteouts: str,
    report: Callable[[int], None] | None = None,
    base_lookup: Below | None = None,
) -> Applied:
    """Put the layer *stream* (an uncompressed tar) into the folder *root*.

    whiteouts    ``overlay``, ``files`` or ``remove``
    report       receives the number of uncompressed bytes as they are read, from another thread
    base_lookup  the layers below, where they are already there; else ``settle_applied`` is to be called with the result
    raises       ImageError if the tar is malformed or hostile, HostError (``no-user-xattrs``) if an owner can neither
                 be given nor recorded, StoreError if the disk does not take it. What was written so far stays.
    """
    work = _Apply(root, overlay=whiteouts != "remove", files=whiteouts == "files")
    with Reader(stream, report) as reader, work.tree, translated("cannot unpack the layer", work):
        entries = work.run(reader)
        work.tree.settle_times()
        diff_id, size = reader.finish()
    applied = Applied(
        diff_id=diff_id,
        size=size,
        entries=entries,
        notes=tuple(work.tree.notes),
        implied=_implied(work.tree) if work.overlay else (),
        links=tuple(work.links.items()),
        whiteouts=tuple(work.whiteouts),
        opaques=tuple(work.tree.opaques),
        empties_root=work.empties_root,
        owners=work.tree.owners,
    )
    if base_lookup is not None:
        settle_applied(root, applied, base_lookup, files=whiteouts == "files")
    return applied


def settle_applied(root: Path, applied: Applied, below: Below, *, files: bool = False) -> None:
    """Finish a layer that was applied before those *below* it were there. *files*: what is hidden is told by files."""
    with translated("cannot unpack the layer", ()):
        if files:
            settle(root, below, applied.implied, applied.links)
            hide(root, below, applied.whiteouts, applied.opaques, empties_root=applied.empties_root)
            return
        settle(
            root,
            below,
            applied.implied,
            applied.links,
            applied.whiteouts,
            applied.opaques,
            empties_root=applied.empties_root,
        )


def _implied(tree: Tree) -> tuple[bytes, ...]:
    return tuple(tree.implied) if tree.root_is_told else (b"", *tree.implied)


class _Unmarked(Tree):
    """A tree in which deletions are remembered and nothing is marked yet: what a mark hides is not known before."""

    def whiteout(self, path: bytes) -> bool:
        self.enter(path)  # the folders above it are there
        return True

    def _mark(self, real: bytes) -> None:
        self.opaques[real] = None


class _Apply:
    """One run over a layer's members. Iterating gives the path at hand, for errors."""

    def __init__(self, root: Path, *, overlay: bool, files: bool) -> None:
        self.tree = (_Unmarked if files else Tree)(root, through_links=True, overlay=overlay)
        self.overlay = overlay
        self.links: dict[bytes, bytes] = {}
        self.whiteouts: dict[bytes, None] = {}
        self.empties_root = False
        self._placed: set[bytes] = set()  # what this layer put there: whiteouts of the same layer spare it
        self._path = b""

    def __iter__(self) -> Iterator[bytes]:
        yield self._path

    def run(self, reader: Reader) -> int:
        entries = 0
        for member in reader:
            entries += 1
            path = self._path = clean(member.name)
            name = path.rpartition(b"/")[2]
            if name.startswith(WHITEOUT):
                self._whiteout(path, name)
                continue
            if not path:
                self.tree.root(member)
                continue
            if self.links:
                self.links.pop(path, None)
            if member.kind == b"1":
                target = clean(member.link)
                if not self.tree.hard_link(path, target):
                    self._foreign_link(path, target)
                    continue
            else:
                self.tree.place(member, path, reader)
            if not self.overlay:
                self._placed.add(self.tree.real(path))
        return entries

    def _foreign_link(self, path: bytes, target: bytes) -> None:
        if not self.overlay:
            raise ImageError(
                f"{path.decode(errors='replace')!r} is a hard link to {target.decode(errors='replace')!r}, which is"
                " not there",
                code="malformed-archive",
            )
        self.links[self.tree.real(path)] = target

    def _whiteout(self, path: bytes, name: bytes) -> None:
        folder = path[: -len(name)].rstrip(b"/")
        if name == OPAQUE:
            if self.overlay:
                self._opaque(folder)
            else:
                self._empty(self.tree.resolve(folder))
            return
        # OCI layer.md, "Whiteouts": the name after the prefix is the one that is deleted.
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b"..") or hidden.startswith(WHITEOUT):
            # aufs kept .wh..wh.plnk and .wh..wh.aufs in layers, which mean nothing here; others are like them.
            return
        real = self.tree.real(folder + b"/" + hidden if folder else hidden)
        if self.overlay:
            if self.tree.whiteout(real):
                self.whiteouts[real] = None
        elif real not in self._placed:
            # Layer.md: files "in the same layer as a whiteout file can only be hidden by … subsequent layers"
            parent, last = self.tree.enter(real)
            try:
                self.tree.remove(parent, last)
            except FileNotFoundError:
                return

    def _opaque(self, folder: bytes) -> None:
        if folder:
            self.tree.opaque(folder)
        else:
            self.empties_root = True

    def _empty(self, folder: bytes) -> None:
        """Remove what lower layers have in *folder*, and keep what this layer put there, at any depth."""
        keep = {path for path in self._placed if not folder or path.startswith(folder + b"/")}
        for path in sorted(keep):  # the folders above what stays
            above = path.rpartition(b"/")[0]
            while above and above not in keep:
                keep.add(above)
                above = above.rpartition(b"/")[0]
        self.tree.prune(folder, keep)
