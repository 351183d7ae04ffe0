"""Containers that ``run`` left: what was run, how it ended, and the snapshot of its root.

    containers/<id>         one sealed JSON object each
    locks/containers        held while one is added, so that names stay unique

A container is the last thing written when a command has ended: before that there is nothing to be found. Its snapshot
is kept by the garbage collection as long as the container is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from builder.errors import StoreError
from builder.image.names import Digest
from builder.store import atomic, sealed

if TYPE_CHECKING:
    from builder.store.store import Store

_ID = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
"""source: moby, daemon/names/names.go, RestrictedNamePattern"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that has ended.

    image      the id of the image that it was made of;  image_name  what was written
    manifest   the descriptor of its manifest: what it was made of is kept with it
    snapshot   its root;  shelf  the folder of ``snapshots/`` that holds it
    created, started, finished   RFC 3339
    config     how it was run, as Docker's inspect has it
    mounts     ``SOURCE:TARGET[:ro]``
    """

    id: str
    name: str
    image: Digest
    image_name: str
    manifest: dict[str, Any]
    snapshot: str
    shelf: str
    argv: tuple[str, ...]
    exit_code: int
    created: str
    started: str
    finished: str
    config: dict[str, Any] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()

    def inspected(self) -> dict[str, Any]:
        """The object that ``docker container inspect`` shows."""
        return {
            "Id": self.id,
            "Created": self.created,
            "Path": self.argv[0] if self.argv else "",
            "Args": list(self.argv[1:]),
            "State": {
                "Status": "exited",
                "Running": False,
                "Paused": False,
                "Restarting": False,
                "OOMKilled": False,
                "Dead": False,
                "Pid": 0,
                "ExitCode": self.exit_code,
                "Error": "",
                "StartedAt": self.started,
                "FinishedAt": self.finished,
            },
            "Image": str(self.image),
            "Name": f"/{self.name}",
            "Driver": self.shelf.partition("-")[0],
            "Platform": "linux",
            "Mounts": [_mount(text) for text in self.mounts],
            "Config": dict(self.config) | {"Image": self.image_name},
        }


def _mount(text: str) -> dict[str, Any]:
    source, target, *rest = text.split(":")
    return {"Type": "bind", "Source": source, "Destination": target, "Mode": "".join(rest), "RW": rest != ["ro"]}


class Containers:
    """All containers of a store."""

    def __init__(self, store: Store) -> None:
        self._root = store.root / "containers"
        self._store = store

    def list(self) -> tuple[Container, ...]:
        """All of them, the latest first."""
        try:
            names = os.listdir(self._root)
        except FileNotFoundError:
            return ()
        found = [container for name in names if _ID.fullmatch(name) and (container := self._read(name))]
        return tuple(sorted(found, key=lambda container: container.created, reverse=True))

    def find(self, text: str) -> Container | None:
        """The container of that name, or whose id begins so; StoreError ``ambiguous-id`` if there are several."""
        known = self.list()
        for container in known:
            if text.removeprefix("/") == container.name or text == container.id:
                return container
        found = [container for container in known if text and container.id.startswith(text)]
        if len(found) > 1:
            raise StoreError(f"several containers have an id that begins with {text}", code="ambiguous-id")
        return found[0] if found else None

    def add(self, container: Container) -> None:
        """Keep *container*; StoreError ``name-in-use``."""
        with atomic.locked(self._store.lock("containers")):
            self.must_be_free(container.name)
            with atomic.storing(self._root):
                self._root.mkdir(mode=0o700, exist_ok=True)
            data = sealed.seal_json(asdict(container))
            atomic.write(self._root / container.id, data, temporary=self._store.scratch.file())

    def must_be_free(self, name: str) -> None:
        """StoreError ``name-in-use`` if a container has that name."""
        other = next((one for one in self.list() if one.name == name), None)
        if other is not None:
            raise StoreError(
                f"the container name {name} is already in use by {other.id[:12]}",
                code="name-in-use",
                hint=f"remove that first: pybuild container rm {name}",
            )

    def delete(self, container: Container) -> None:
        """Forget *container*; its snapshot is the caller's to remove."""
        atomic.discard(self._root / container.id)

    def _read(self, name: str) -> Container | None:
        try:
            value = sealed.unseal_json((self._root / name).read_bytes())
        except FileNotFoundError:
            return None  # removed meanwhile
        if value is None:
            return None
        for key in ("argv", "mounts"):
            value[key] = tuple(value[key])
        value["image"] = Digest(value["image"])
        return Container(**value)


def fresh_name(taken: Iterable[str]) -> str:
    """A name that nobody has: a word of colour and one of nature, as people remember them."""
    used = set(taken)
    while True:
        number = int.from_bytes(os.urandom(4), "big")
        name = f"{_FIRST[number % len(_FIRST)]}_{_SECOND[number // len(_FIRST) % len(_SECOND)]}"
        if name not in used:
            return name
        name += str(number % 1000)
        if name not in used:
            return name


_FIRST = (
    *("amber", "azure", "brave", "bright", "calm", "clear", "copper", "crimson", "early", "gentle", "golden", "green"),
    *("happy", "indigo", "ivory", "jolly", "keen", "light", "lucky", "mellow", "misty", "noble", "olive", "pale"),
    *("proud", "quick", "quiet", "ruby", "sandy", "silver", "steady", "sunny", "swift", "tidy", "vivid", "warm"),
)
_SECOND = (
    *("aspen", "badger", "beech", "birch", "brook", "cedar", "cliff", "cloud", "dune", "falcon", "fern", "finch"),
    *("fjord", "glade", "grove", "harbor", "hazel", "heron", "island", "lagoon", "larch", "maple", "marsh", "meadow"),
    *("oak", "otter", "pebble", "pine", "pond", "raven", "reef", "ridge", "river", "spruce", "stone", "willow"),
)
