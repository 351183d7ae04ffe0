"""Behind the gate without a build: what a snapshot holds is read, or removed, where its owners are mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from builder.errors import HostError
from builder.events import Emit, Event, silent
from builder.sandbox.gate import Identity, bare, call, chrooted, identity
from builder.sandbox.init import WITHOUT_NAMESPACES
from builder.snapshot.choose import choose, of_shelf

if TYPE_CHECKING:
    from builder.snapshot.contract import Snapshotter

T = TypeVar("T")


def behind(who: Identity, function: Callable[[Emit], T], emit: Emit = silent) -> T:
    """What *function* returns behind the gate; the events that it sends go to *emit*."""
    return call(lambda send: function(send), identity=who, on_message=lambda message: emit(cast(Event, message)))


def identities() -> list[Identity]:
    """All that this process can be behind the gate, the best first."""
    found: list[Identity] = []
    for mode in ("auto", "none", "subid", "single"):
        try:
            who = identity(mode)
        except HostError:
            continue
        if who.key not in [other.key for other in found]:
            found.append(who)
    if (jailed := chrooted()) is not None and jailed not in found:
        found.append(jailed)
    return [*found, bare()]


def identity_of(shelf: str) -> Identity:
    """Who made the snapshots in the folder *shelf*; HostError ``other-identity`` if we cannot be that."""
    for who in identities():
        if shelf.endswith(f"-{who.key}"):
            return who
    raise HostError(
        f"{shelf} was made with other ids than this process can have",
        code="other-identity",
        hint="use the same user, and the same /etc/subuid and /etc/subgid, as then",
    )


def snapshotter_for(store_root: Path, who: Identity, wanted: str = "auto") -> Snapshotter:
    """The snapshotter to use behind the gate. Without a mount namespace nothing is mounted, even where root could: all
    would see it, and it would outlive us.

    raises   HostError if what is wanted does not work here, UsageError for another word
    """
    if who.kind not in WITHOUT_NAMESPACES or wanted == "copy":
        return choose(store_root, who.key, wanted)
    if wanted in ("overlay", "fuse-overlayfs"):
        raise HostError(
            f"{wanted} needs a mount namespace, and none is to be had here",
            code="no-overlay" if wanted == "overlay" else "no-fuse-overlayfs",
            hint="leave --isolation at auto: roots are copied",
        )
    return choose(store_root, who.key, "copy" if wanted == "auto" else wanted)


def snapshotter_of(store_root: Path, shelf: str) -> Snapshotter:
    """The snapshotter whose folder is *shelf*."""
    return of_shelf(store_root, shelf)
