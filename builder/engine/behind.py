"""Behind the gate without a build: what a snapshot holds is read, or removed, where its owners are mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from builder.errors import HostError
from builder.events import Emit, Event, silent
from builder.sandbox.gate import Identity, bare, call, chrooted, identity
from builder.snapshot.choose import of_shelf

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


def snapshotter_of(store_root: Path, shelf: str) -> Snapshotter:
    """The snapshotter whose folder is *shelf*."""
    return of_shelf(store_root, shelf)
