"""Where a stage stands, and what a step may ask of the walk that brought it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from builder.plan.steps import BaseKey, BindMount, CacheMount, Root


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stage stands: the base that it began with (None: an empty root), and the snapshots its steps made."""

    base: BaseKey | None
    root: tuple[str, ...]
    made: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """All snapshots, lowest first."""
        return self.root + self.made

    @property
    def snapshot(self) -> str:
        """The topmost snapshot's id; "" for an empty root."""
        return self.layers[-1] if self.layers else ""

    def then(self, snapshot: str) -> Position:
        """One step further."""
        return Position(self.base, self.root, (*self.made, snapshot))


EMPTY = Position(None, ())
"""The empty root."""


class Walk(Protocol):
    """What steps ask of the walk over the plan."""

    def position_of(self, root: Root) -> Position:
        """Where *root* stands; waits for a stage that is still being walked."""
        ...

    def brought(self, mount: BindMount | CacheMount) -> Position:
        """A root with what *mount* shows of a context, at the same place; kept, for the next command and build."""
        ...
