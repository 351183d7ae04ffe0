"""A stack of layers → a snapshot: several at once, each made by one process only, finished from the lowest up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from builder.errors import ImageError, StoreError
from builder.layer.apply import Applied
from builder.snapshot.contract import Draft, Packed, Snapshot
from builder.snapshot.shelf import Shelf

_AT_ONCE = 3
"""Each has a thread that decompresses and one that writes; more only take memory."""

Apply = Callable[[Draft, Packed, Callable[[int], None]], Applied]
Settle = Callable[[Draft, Applied], None]


def base_id(layer: Packed) -> str:
    """The id of the snapshot that ends with *layer*."""
    return f"base-{layer.chain.hex}"


def is_base(snapshot_id: str) -> bool:
    """Whether the snapshot is an image's, unpacked."""
    return snapshot_id.startswith("base-")


def unpack_all(shelf: Shelf, layers: Sequence[Packed], apply: Apply, settle: Settle) -> Snapshot:
    """The snapshot of *layers*; those that are there are not opened.

    Nobody waits for a layer in a circle: a layer is finished as soon as those below it are, everyone begins with the
    lowest, and whoever holds the lowest that is missing waits for nothing.
    """
    if not layers:
        raise ImageError("an image without layers has no root file system", code="no-layers")
    top, missing = _topmost(shelf, layers)
    if not missing:
        assert top is not None
        return top
    from concurrent.futures import ThreadPoolExecutor  # a cached build needs none

    stop = threading.Event()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="layer") as pool:
        jobs = [pool.submit(_one, shelf, layer, apply, stop) for layer in missing]
        try:
            for layer, job in zip(missing, jobs, strict=True):
                top = _finish(shelf, layer, top, job.result(), settle)
        except BaseException:
            stop.set()
            for job in jobs:
                job.cancel()
            for job in jobs:
                _abandon(shelf, job.result() if _ended_well(job) else None)
            raise
    assert top is not None
    return top


def _topmost(shelf: Shelf, layers: Sequence[Packed]) -> tuple[Snapshot | None, Sequence[Packed]]:
    """The highest snapshot of the stack that is there, and the layers above it."""
    for count in range(len(layers), 0, -1):
        found = shelf.get(base_id(layers[count - 1]))
        if found is not None:
            return found, layers[count:]
    return None, layers


_Made = tuple[Draft, Applied] | None


def _one(shelf: Shelf, layer: Packed, apply: Apply, stop: threading.Event) -> _Made:
    """Unpack one layer; None if another process did."""

    def report(size: int) -> None:
        if stop.is_set():
            raise StoreError("unpacking was stopped", code="stopped")
        layer.report(size)

    draft = shelf.claim(base_id(layer), None, stop.is_set)
    if draft is None:
        return None
    try:
        applied = apply(draft, layer, report)
        if applied.diff_id != layer.diff_id:
            raise ImageError(
                f"a layer's content is {applied.diff_id}, and the image says {layer.diff_id}", code="diff-id-mismatch"
            )
    except BaseException:
        shelf.discard(draft)
        raise
    return draft, applied


def _finish(shelf: Shelf, layer: Packed, below: Snapshot | None, made: _Made, settle: Settle) -> Snapshot:
    if made is None:
        found = shelf.get(base_id(layer))
        if found is None:
            raise StoreError(f"the snapshot {base_id(layer)} vanished while it was needed", code="snapshot-lost")
        return found
    draft, applied = made
    draft.parent = below
    settle(draft, applied)
    return shelf.finish(draft)


def _ended_well(job: object) -> bool:
    from concurrent.futures import CancelledError, Future

    assert isinstance(job, Future)
    try:
        return job.exception() is None
    except CancelledError:
        return False


def _abandon(shelf: Shelf, made: _Made) -> None:
    """Remove a layer that was unpacked but has nothing to stand on now."""
    if made is not None and made[0].folder.exists() and shelf.get(made[0].id) is None:
        shelf.discard(made[0])
