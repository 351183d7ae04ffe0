"""Performing steps, behind the gate: each takes the snapshot before it and gives the one after it."""

from __future__ import annotations

import datetime
import errno
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from builder.engine.copying.steps import perform_copy, perform_workdir
from builder.engine.outputs.packed import pack_snapshot
from builder.engine.position import Position, Walk
from builder.engine.running.command import perform_run
from builder.engine.workshop import Workshop
from builder.errors import InternalError
from builder.image.names import Digest, Platform
from builder.plan.steps import AnyStep, CopyStep, RunStep, WorkdirStep
from builder.store.atomic import explained
from builder.store.layers import LayerInfo


@dataclass(frozen=True, slots=True)
class Performed:
    """The snapshot that a step made, and whether it was made of what its key says, so that it may be recorded."""

    snapshot: str
    as_keyed: bool


class Performer:
    """Performs steps and packs their layers. Used by several threads at once, one for each stage.

    clamp   no time in a packed layer is later than this, seconds since the epoch; None: as the files are
    """

    def __init__(self, workshop: Workshop, clamp: int | None = None) -> None:
        self.workshop = workshop
        self._clamp = clamp
        self._packing = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._packs: dict[str, Future[None]] = {}
        self._waiting: set[str] = set()  # whose layers are to be packed
        self._lock = threading.Lock()

    def close(self) -> None:
        """Wait for what is being packed, begin nothing new."""
        self._packing.shutdown(wait=True, cancel_futures=True)

    def cancel(self) -> None:
        """End the commands that are running."""
        self.workshop.inside.runner.cancel()

    def perform(
        self,
        step: AnyStep,
        position: Position,
        walk: Walk,
        *,
        platform: Platform,
        content: Digest,
        wanted: bool,
        last_use: bool,
    ) -> Performed:
        """The snapshot that *step* makes.

        platform  whose commands are run
        content  digest of the layer's content, where instruction and inputs decide it; a command decides for itself
        wanted   the layer belongs to the image that is built
        last_use  nothing else in the plan wants the root at *position*
        """
        workshop = self.workshop
        parent = workshop.snapshot(position)
        as_keyed = True
        with _told_if_full(workshop.world.store.root), workshop.draft(parent, last_use=last_use) as draft:
            self.pack_last(position)
            match step:
                case RunStep():
                    perform_run(step, platform, draft, workshop, walk)
                case CopyStep():
                    as_keyed = perform_copy(step, draft, workshop, walk)
                case WorkdirStep():
                    perform_workdir(step, draft, workshop)
                case _:
                    assert_never(step)
            snapshot = workshop.snapshotter.commit(draft)
        info = LayerInfo(
            snapshot=snapshot.id,
            parent=parent.id if parent else "",
            content=content if as_keyed and not isinstance(step, RunStep) else None,
            created=_now(),
        )
        workshop.world.store.layers.put(info)
        if wanted:
            with self._lock:
                self._waiting.add(snapshot.id)
        return Performed(snapshot.id, as_keyed)

    def pack_last(self, position: Position) -> None:
        """Begin to write the layer of the step that led to *position*, if it was performed just now and is wanted.

        That waits until the next step has its root: a copied one cannot be taken over while it is read from.
        """
        with self._lock:
            waited = position.snapshot in self._waiting
            self._waiting.discard(position.snapshot)
        if waited:
            self.pack(position.snapshot)

    def pack(self, snapshot: str) -> Future[None]:
        """Begin to write the snapshot's layer as a tar blob, unless the store has it."""
        with self._lock:
            if snapshot not in self._packs:
                self._packs[snapshot] = self._packing.submit(self._pack, snapshot)
            return self._packs[snapshot]

    def _pack(self, snapshot: str) -> None:
        layer = self.workshop.snapshotter.get(snapshot)
        if layer is None:
            raise InternalError(f"no snapshot {snapshot}", code="missing-snapshot")
        pack_snapshot(self.workshop.world.store, self.workshop.snapshotter, layer, self._clamp)

    def finish(self, position: Position) -> None:
        """See to it that the store holds all layers of the wanted image as blobs: those of steps, and the base's."""
        if position.base is not None:
            self.workshop.world.bases.fetch(position.base)
        for future in [self.pack(snapshot) for snapshot in position.made]:
            future.result()


@contextmanager
def _told_if_full(root: Path) -> Iterator[None]:
    """The one error of the system that is nobody's mistake, with what to do: no room in the store at *root*."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise explained(error, root) from error
        raise


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
