"""Roots behind the gate: unpacked when first needed, seen, written to, thrown away, and told apart by content."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.engine.position import Position, Walk
from builder.engine.sources.source import SourceRoot, TreeRoot
from builder.engine.world import Inside, World
from builder.errors import InternalError
from builder.image.names import Digest
from builder.layer.changes import Entry
from builder.layer.content import content_digest
from builder.layer.ownership import Owners
from builder.plan.steps import ContextInput, Input
from builder.snapshot.contract import Draft, Snapshot


class Workshop:
    """The world and what is behind the gate, for the steps of one build. Used by several threads at once."""

    def __init__(self, world: World, inside: Inside) -> None:
        self.world = world
        self.inside = inside
        self.snapshotter = inside.snapshotter
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def holds(self, snapshot: str) -> bool:
        """Whether the snapshot's tree, and all it stands on, is here."""
        return self.snapshotter.get(snapshot) is not None and self.world.store.layers.get(snapshot) is not None

    @contextmanager
    def draft(self, parent: Snapshot | None, *, last_use: bool) -> Iterator[Draft]:
        """A draft that is discarded if it isn't committed. *last_use*: of the parent (``snapshot.contract``)."""
        snapshotter = self.snapshotter
        draft = snapshotter.prepare(parent, last_use=last_use)
        try:
            yield draft
        except BaseException:  # an interrupt, too, must leave no draft
            snapshotter.discard(draft)
            raise

    def snapshot(self, position: Position) -> Snapshot | None:
        """The snapshot where a stage stands, its base unpacked first if it isn't yet; None for an empty root."""
        if not position.layers:
            return None
        snapshotter = self.snapshotter
        if position.base is not None:
            with self._guard:
                lock = self._locks.setdefault(position.root[-1], threading.Lock())
            with lock:
                if snapshotter.get(position.root[-1]) is None:
                    with self.world.bases.blamed(position.base):
                        snapshotter.unpack(self.world.bases.packed(position.base))
        found = snapshotter.get(position.snapshot)
        if found is None:
            raise InternalError(f"no snapshot {position.snapshot}", code="missing-snapshot")
        return found

    @contextmanager
    def root(self, position: Position) -> Iterator[Path]:
        """The root where a stage stands, to be read from."""
        snapshot = self.snapshot(position)
        if snapshot is None:
            with self.throwaway(position) as draft:
                yield draft.tree
        else:
            with self.snapshotter.view(snapshot) as root:
                yield root

    def owners(self, position: Position) -> Owners:
        """Those of links and special files of the root where a stage stands that are not told by the root itself."""
        snapshot = self.snapshot(position)
        return self.snapshotter.owners(snapshot) if snapshot is not None else {}

    @contextmanager
    def throwaway(self, position: Position) -> Iterator[Draft]:
        """A draft on the root where a stage stands, whose changes reach nobody."""
        draft = self.snapshotter.prepare(self.snapshot(position))
        try:
            yield draft
        finally:
            self.snapshotter.discard(draft)

    @contextmanager
    def source(self, of: Input, walk: Walk) -> Iterator[SourceRoot]:
        """Where a copy takes from."""
        if isinstance(of, ContextInput):
            yield self.world.context(of.name).root
        else:
            position = walk.position_of(of)
            with self.root(position) as root:
                yield TreeRoot(root, noted=self.owners(position))

    def same_content(self, one: str, other: str) -> bool:
        """Whether two snapshots hold the same, layer for layer, whatever their history and times; False if one is gone.

        Layers that both stand on are not looked at, and files are read only if names and sizes do not tell already.
        """
        first, second = self.snapshotter.get(one), self.snapshotter.get(other)
        if first is None or second is None or len(first.layers) != len(second.layers):
            return False
        pairs = [(a, b) for a, b in zip(first.layers, second.layers, strict=True) if a != b]
        known = [(self._known_content(a), self._known_content(b)) for a, b in pairs]
        if any(a and b and a != b for a, b in known):
            return False
        unknown = [pair for pair, (a, b) in zip(pairs, known, strict=True) if not (a and b)]
        if not all(self._shape(a) == self._shape(b) for a, b in unknown):
            return False
        return all(self._layer_content(a) == self._layer_content(b) is not None for a, b in unknown)

    def _known_content(self, name: str) -> Digest | None:
        info = self.world.store.layers.get(name)
        return info.content if info else None

    def _shape(self, name: str) -> tuple[int, int] | None:
        """How many changes a layer has, and of how many bytes: different shapes are different contents."""
        layer = self.snapshotter.get(name)
        if layer is None:
            return None
        count = size = 0
        for change in self.snapshotter.changes(layer):
            count += 1
            size += change.size if isinstance(change, Entry) else 0
        return count, size

    def _layer_content(self, name: str) -> Digest | None:
        known = self._known_content(name)
        if known is not None:
            return known
        layer = self.snapshotter.get(name)
        if layer is None:
            return None
        with self.snapshotter.reading(layer) as tree:
            digest = content_digest(self.snapshotter.changes(layer), tree)
        self.world.store.layers.update(name, content=digest)
        return digest
