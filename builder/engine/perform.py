"""Performing steps, behind the gate: each takes the snapshot before it and gives the one after it."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from builder.engine.copying import perform_copy, perform_workdir
from builder.engine.packed import pack_snapshot
from builder.engine.running import perform_run
from builder.engine.source import SourceRoot, TreeRoot
from builder.errors import InternalError
from builder.image.names import Digest
from builder.layer.content import content_digest
from builder.plan.steps import AnyStep, ContextInput, CopyStep, Input, RunStep, WorkdirStep
from builder.snapshot.contract import Draft, Snapshot
from builder.store.layers import LayerInfo

if TYPE_CHECKING:
    from builder.engine.inputs import Inputs
    from builder.engine.solve import Position, Solver
    from builder.engine.world import Inside, World


class Performer:
    """Performs steps and packs their layers. Used by several threads at once, one for each stage."""

    def __init__(self, world: World, inside: Inside, inputs: Inputs) -> None:
        self.world = world
        self.inside = inside
        self.inputs = inputs
        self._packing = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._packs: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._unpacking: dict[str, threading.Lock] = {}

    def close(self) -> None:
        """Wait for what is being packed, begin nothing new."""
        self._packing.shutdown(wait=True, cancel_futures=True)

    def cancel(self) -> None:
        """End the commands that are running."""
        self.inside.runner.cancel()

    def holds(self, snapshot: str) -> bool:
        """Whether the snapshot's tree, and all it stands on but bases, is here."""
        return self.inside.snapshotter.get(snapshot) is not None and self.world.store.layers.get(snapshot) is not None

    def perform(self, step: AnyStep, position: Position, solver: Solver, *, content: Digest, wanted: bool) -> str:
        """The id of the snapshot that *step* makes.

        content  digest of the layer's content, where instruction and inputs decide it; a command decides for itself
        wanted   the layer belongs to the image that is built
        """
        parent = self.snapshot(position)
        with self.draft(parent) as draft:
            match step:
                case RunStep():
                    perform_run(step, draft, self, solver)
                case CopyStep():
                    perform_copy(step, draft, self, solver)
                case WorkdirStep():
                    perform_workdir(step, draft, self)
                case _:
                    assert_never(step)
            snapshot = self.inside.snapshotter.commit(draft)
        info = LayerInfo(
            snapshot=snapshot.id,
            parent=parent.id if parent else "",
            content=None if isinstance(step, RunStep) else content,
            created=_now(),
        )
        self.world.store.layers.put(info)
        if wanted:
            self.pack(snapshot.id)
        return snapshot.id

    @contextmanager
    def draft(self, parent: Snapshot | None) -> Iterator[Draft]:
        """A draft that is discarded if it isn't committed."""
        snapshotter = self.inside.snapshotter
        draft = snapshotter.prepare(parent)
        try:
            yield draft
        except BaseException:
            snapshotter.discard(draft)
            raise

    def snapshot(self, position: Position) -> Snapshot | None:
        """The snapshot where a stage stands, its base unpacked first if it isn't yet; None for an empty root."""
        if not position.layers:
            return None
        snapshotter = self.inside.snapshotter
        if position.base is not None:
            with self._lock:
                lock = self._unpacking.setdefault(position.root[-1], threading.Lock())
            with lock:
                if snapshotter.get(position.root[-1]) is None:
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
            with self.inside.snapshotter.view(snapshot) as root:
                yield root

    @contextmanager
    def throwaway(self, position: Position) -> Iterator[Draft]:
        """A draft on the root where a stage stands, whose changes reach nobody."""
        draft = self.inside.snapshotter.prepare(self.snapshot(position))
        try:
            yield draft
        finally:
            self.inside.snapshotter.discard(draft)

    @contextmanager
    def source(self, of: Input, solver: Solver) -> Iterator[SourceRoot]:
        """Where a copy takes from."""
        if isinstance(of, ContextInput):
            yield self.world.context(of.name).root
        else:
            with self.root(solver.position_of(of)) as root:
                yield TreeRoot(root)

    def content(self, snapshot: str) -> Digest | None:
        """What all layers up to *snapshot* hold, without history and times; None if a tree is gone."""
        found = self.inside.snapshotter.get(snapshot)
        if found is None:
            return None
        whole = Digest.of(b"")
        for name in found.layers:
            own = self._layer_content(name)
            if own is None:
                return None
            whole = Digest.of(f"{whole} {own}".encode())
        return whole

    def _layer_content(self, name: str) -> Digest | None:
        info = self.world.store.layers.get(name)
        if info is not None and info.content is not None:
            return info.content
        layer = self.inside.snapshotter.get(name)
        if layer is None:
            return None
        digest = content_digest(self.inside.snapshotter.changes(layer), self.inside.snapshotter.tree(layer))
        self.world.store.layers.update(name, content=digest)
        return digest

    def pack(self, snapshot: str) -> Future[None]:
        """Begin to write the snapshot's layer as a tar blob, unless the store has it."""
        with self._lock:
            if snapshot not in self._packs:
                self._packs[snapshot] = self._packing.submit(self._pack, snapshot)
            return self._packs[snapshot]

    def _pack(self, snapshot: str) -> None:
        layer = self.inside.snapshotter.get(snapshot)
        if layer is None:
            raise InternalError(f"no snapshot {snapshot}", code="missing-snapshot")
        pack_snapshot(self.world.store, self.inside.snapshotter, layer, self.world.settings.clamp)

    def finish(self, position: Position) -> None:
        """See to it that the store holds all layers of the wanted image as blobs: those of steps, and the base's."""
        if position.base is not None:
            self.world.bases.fetch(position.base)
        for future in [self.pack(snapshot) for snapshot in position.made]:
            future.result()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
