"""Control groups for commands, where limits are wanted; where none are, nothing of it is even imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.sandbox.groups.delegated import Groups
    from builder.sandbox.groups.limits import Limits


@contextmanager
def limited(limits: Limits | None) -> Iterator[Groups | None]:
    """Where commands with *limits* get their groups, for the time of the gate; None where nothing is limited.

    Entered before the gate is: behind it the processes of our group could not be told from others'.

    raises   HostError (``no-control-group``) where a limit could not be kept
    """
    if limits is None:
        yield None
        return
    # Most builds have no limits.
    from builder.sandbox.groups.delegated import delegated

    with delegated(limits) as groups:
        yield groups


@contextmanager
def group_of(groups: Groups | None) -> Iterator[str]:
    """The folder of a new group for one command; "" where nothing is limited."""
    if groups is None:
        yield ""
        return
    with groups.fresh() as folder:
        yield folder


def reached(limits: Limits) -> str:
    """What to do about a command that reached its limit of memory."""
    swap = ""
    if limits.memory_swap > limits.memory:
        swap = f" with {_size(limits.memory_swap - limits.memory)} of swap (--memory-swap)"
    return (
        f"memory ran out: the command reached its limit of {_size(limits.memory)} (--memory){swap}, and the kernel"
        " killed a process of it; raise the limit, or let the command use less"
    )


def _size(count: int) -> str:
    """Bytes as --memory takes them: ``64m``."""
    for unit, name in ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")):
        if count % unit == 0:
            return f"{count // unit}{name}"
    return f"{count} bytes"
