"""Commands of other platforms than this machine's: as whom they are run, and with what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from builder.errors import HostError
from builder.events import Emit, Note
from builder.sandbox.elf import this_machine
from builder.sandbox.gate import Identity, bare, chrooted, identity
from builder.sandbox.refusals import NO_USER_NAMESPACE

if TYPE_CHECKING:
    from builder.image.names import Platform
    from builder.sandbox.emulation import Emulation
    from builder.sandbox.runner import Runner

T = TypeVar("T")


def foreign(platforms: Iterable[Platform]) -> frozenset[Platform]:
    """Those of *platforms* whose programs this machine does not run by itself."""
    here = this_machine()
    return frozenset(
        platform for platform in platforms if (platform.os, platform.architecture) != (here.os, here.architecture)
    )


def as_somebody(
    function: Callable[[Identity], T], userns: str, others: frozenset[Platform], *, bare_too: bool = False
) -> T:
    """What *function* returns, called with the best identity; where commands of *others* are run, one with a namespace.

    A user namespace has a table of emulators of its own. Root can do without one, and then has the host's emulators, if
    there are any: that is tried where none is granted. Where sub-ids turn out not to be granted one id has to do.

    Root without any namespace runs commands in a jail (``sandbox.jail``).

    bare_too   without even that at last: *function* can do without, unless a command is to be run
    """
    refusal = None
    for who in dict.fromkeys((identity(userns, fresh=bool(others)), identity(userns))):
        try:
            return function(who)
        except HostError as error:
            if error.code not in (*NO_USER_NAMESPACE, "newuidmap-failed"):
                raise
            refusal = refusal or error
    assert refusal is not None
    if userns != "auto":
        raise refusal
    if refusal.code == "newuidmap-failed":
        return function(identity("single"))
    jailed = chrooted()
    if jailed is not None:
        return function(jailed)
    if not bare_too:
        raise refusal
    try:
        return function(bare())
    except HostError as error:
        if error.code != "namespaces-refused":
            raise
        # A command: what it needs is what was refused in the first place.
        refusal.where = error.where
        raise refusal from None


def emulation(
    runner: Runner, who: Identity, others: frozenset[Platform], store_root: Path, emit: Emit
) -> Emulation | None:
    """What sees to it that commands of *others* run; None where there are none."""
    if not others:
        return None
    # Only other platforms need it.
    from builder.sandbox.emulation import Emulation

    return Emulation(runner, who, others, store_root / "emulation", lambda text: emit(Note("info", text)))
