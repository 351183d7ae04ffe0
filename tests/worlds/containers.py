"""pybuild in a container of a real Docker daemon, as a CI runner starts it: an image with Python, and no privilege.

The checkout and a room are seen in there at their own paths; all else is the container's own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worlds.building import Bench
from worlds.command import Pybuild
from worlds.docker import DockerDaemon
from worlds.people import Person

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One way to start a container.

    options      for ``docker run``
    identities   what a build in there is to say that it took
    """

    name: str
    options: tuple[str, ...] = ()
    identities: str = ""

    def __str__(self) -> str:
        return self.name


def bench_in(place: Place, daemon: DockerDaemon, image: str, room: Path, base: Path, *seen: Path) -> Bench:
    """A bench in the new folder ``room/<name>``; each command has a container of its own, the store is on a volume.

    seen   further folders of this machine that can be read in there
    """
    folder = room / place.name
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "store").mkdir()
    (folder / "store").chmod(0o777)
    prefix = Path(sys.base_prefix)
    readable = [CHECKOUT, base, *seen, *([prefix] if prefix != Path("/usr") else [])]
    launch = [
        *(daemon.client, "--host", f"unix://{daemon.socket}", "run", "--rm", "--interactive", "--network", "host"),
        *("--env", "PYBUILD_ROOT", "--env", "PYTHONDONTWRITEBYTECODE=1", "--workdir", str(folder)),
        *("--volume", f"{folder}:{folder}", *_volumes(readable)),
        *(*place.options, image, sys.executable, "-P", "-m", "builder"),
    ]
    person = Person(name="root", uid=0, gid=0, home=folder)
    pybuild = Pybuild(person=person, store=folder / "store", launch=tuple(launch), environment={})
    return Bench(pybuild=pybuild, room=folder, base=base)


def with_own_store(bench: Bench) -> Bench:
    """The same, with the store in the container's own root, an overlay; it is gone with each command."""
    return replace(bench, pybuild=bench.pybuild.with_store(Path("/var/lib/pybuild")))


def _volumes(folders: Sequence[Path]) -> list[str]:
    return [word for folder in folders for word in ("--volume", f"{folder}:{folder}:ro")]
