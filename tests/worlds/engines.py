"""The engine without a kernel: a store, images that are known by name, and steps that only pretend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from builder.engine.bases import Bases
from builder.engine.perform import Performed, Performer
from builder.engine.position import Position, Walk
from builder.engine.sources.fetch import Fetches
from builder.engine.world import Settings, World
from builder.events import Event
from builder.plan.steps import AnyStep, BaseKey
from builder.store import LayerInfo, Store


class KnownBases:
    """Every image is one layer, named after it."""

    def snapshots(self, key: BaseKey) -> tuple[str, ...]:
        return (f"base-{key.name}",)

    def fetch(self, key: BaseKey) -> None:
        """All is there."""


def world(store: Store, events: list[Event] | None = None, **settings: Any) -> World:
    """A world whose events are collected."""

    def context(name: str) -> Any:
        raise AssertionError(f"nothing is copied from a context, but {name!r} was")

    emit = (lambda _: None) if events is None else events.append
    bases = cast("Bases", KnownBases())
    chosen = Settings(**settings)
    return World(
        store=store,
        bases=bases,
        context=context,
        fetched=Fetches(store, chosen).get,
        moment=lambda _: None,
        settings=chosen,
        emit=emit,
    )


class NoTrees:
    """A snapshotter that has nothing to look into."""

    def get(self, snapshot: str) -> None:
        """Nothing."""


@dataclass
class FakeWorkshop:
    """Holds all that was made; two snapshots are the same if they were made to be."""

    made: dict[str, str] = field(default_factory=dict)
    snapshotter: NoTrees = field(default_factory=NoTrees)

    def holds(self, snapshot: str) -> bool:
        return snapshot in self.made

    def snapshot(self, position: Position) -> None:
        """As if unpacked."""

    def same_content(self, one: str, other: str) -> bool:
        return one in self.made and self.made[one] == self.made.get(other)


class FakePerformer:
    """Performs by calling *act* with the step's title, whose answer is the content that the step makes."""

    def __init__(self, store: Store, act: Callable[[str], object] = str) -> None:
        self.workshop = FakeWorkshop()
        self.titles: list[str] = []
        self.wanted: list[str] = []
        self.cancelled = threading.Event()
        self._store = store
        self._act = act
        self._lock = threading.Lock()

    def perform(self, step: AnyStep, position: Position, walk: Walk, *, wanted: bool, **_: object) -> Performed:
        content = str(self._act(step.title))
        with self._lock:
            self.titles.append(step.title)
            if wanted:
                self.wanted.append(step.title)
            name = f"made-{len(self.workshop.made)}"
            self.workshop.made[name] = content
        self._store.layers.put(LayerInfo(snapshot=name, parent=position.snapshot, created="2001-09-09T01:46:40Z"))
        return Performed(name, as_keyed=True)

    def pack_last(self, position: Position) -> None:
        """As if packed."""

    def cancel(self) -> None:
        self.cancelled.set()

    @property
    def as_performer(self) -> Performer:
        return cast("Performer", self)
