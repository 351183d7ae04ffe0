"""What steps take in besides their parent: identities for the cache, and content digests where identities differ.

An identity is ``KIND:…``. ``root:SNAPSHOT`` is a whole root; ``part:SNAPSHOT:SELECTION`` the files that a step selects
from one; ``files:DIGEST`` files selected from a context, which are hashed anyway; ``url:DIGEST`` a downloaded file and
``git:COMMIT`` a checked-out tree. The last three are their content, and differ only if it does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from builder.engine.copying.hashing import selection_digest
from builder.engine.copying.shown import followed, mount_step
from builder.engine.sources.source import TreeRoot
from builder.image.names import Digest
from builder.plan.steps import (
    AnyStep,
    BindMount,
    CacheMount,
    ContextInput,
    CopyStep,
    GitTree,
    RemoteFile,
    RunStep,
    ScratchInput,
)

if TYPE_CHECKING:
    from builder.engine.position import Position, Walk
    from builder.engine.workshop import Workshop
    from builder.engine.world import World


class Inputs:
    """Identities and contents of all inputs of one build. Used by several threads at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._selections: dict[str, tuple[CopyStep, bool]] = {}
        self._positions: dict[str, Position] = {}
        self._lock = threading.Lock()

    def identities(self, step: AnyStep, walk: Walk) -> tuple[str, ...]:
        """The identity of each input of *step*, in its own order; the parent's is not among them."""
        match step:
            case CopyStep():
                own = (self._files(step, walk),) if step.sources else ()
                remote: tuple[RemoteFile | GitTree, ...] = (*step.remote, *step.git)
                return own + tuple(self._world.fetched(source).identity for source in remote)
            case RunStep():
                return tuple(
                    self._files(mount_step(mount), walk, follow=True)
                    for mount in step.mounts
                    if isinstance(mount, (BindMount, CacheMount)) and mount.input is not None
                )
            case _:
                return ()

    def root(self, position: Position) -> str:
        """The identity of the whole root where a stage stands."""
        with self._lock:
            self._positions[position.snapshot] = position
        return f"root:{position.snapshot}"

    def _files(self, step: CopyStep, walk: Walk, *, follow: bool = False) -> str:
        """The identity of what *step* selects; *follow*: with what the links on the way to it lead to."""
        if isinstance(step.input, ContextInput):
            root = self._world.context(step.input.name).root
            return f"files:{selection_digest(root, followed(step, root) if follow else step)}"
        if isinstance(step.input, ScratchInput):
            return "files:"
        said = (step.sources, step.excludes, step.parents, *(["followed"] if follow else []))
        selection = Digest.of(repr(said).encode("utf-8", "surrogatepass")).hex
        position = walk.position_of(step.input)
        with self._lock:
            self._selections[selection] = step, follow
            self._positions[position.snapshot] = position
        return f"part:{position.snapshot}:{selection}"

    def same(self, old: str, new: str, workshop: Workshop) -> bool:
        """Whether two identities that differ have the same content; False too if a tree is gone."""
        kind, _, one = old.partition(":")
        other_kind, _, other = new.partition(":")
        position = self._positions.get(other.partition(":")[0])
        if kind == other_kind and position is not None:
            # A base that is new here is not unpacked yet. Unless its content is a known one, it is needed anyway.
            workshop.snapshot(position)
        if kind == other_kind == "root":
            return workshop.same_content(one, other)
        if kind == other_kind == "part":
            first = self._part(one, workshop)
            return first is not None and first == self._part(other, workshop)
        return False

    def _part(self, identity: str, workshop: Workshop) -> Digest | None:
        """The content digest of ``SNAPSHOT:SELECTION``; None if the tree is gone."""
        snapshot, _, selection = identity.partition(":")
        if selection not in self._selections or not snapshot:
            return None
        step, follow = self._selections[selection]
        records = self._world.store.records
        names = Digest.of(f"part {selection}".encode()), Digest.of(snapshot.encode())
        known = records.find(*names)
        if known is not None:
            return Digest(known["content"])
        found = workshop.snapshotter.get(snapshot)
        if found is None:
            return None
        with workshop.snapshotter.view(found) as root:
            tree = TreeRoot(root, noted=workshop.snapshotter.owners(found))
            digest = selection_digest(tree, followed(step, tree) if follow else step)
        records.put(*names, {"content": digest})
        return digest
