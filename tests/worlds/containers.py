"""pybuild in a container of a real Docker daemon, as a CI runner starts it: an image with Python, and no privilege.

The checkout, a room and a base are seen in there at their own paths; all else is the container's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worlds.building import Bench
from worlds.command import Pybuild
from worlds.docker import DockerDaemon
from worlds.people import Person

CHECKOUT = Path(__file__).resolve().parents[2]
PODMAN_PROFILE = Path("/usr/share/containers/seccomp.json")
RANDOM_USER = ("--user", "1000680000:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
"""As OpenShift starts a pod: no entry in passwd(5), root's group, no privileges to be had."""
UNCONFINED = ("--security-opt", "seccomp=unconfined")
"""As Kubernetes starts a pod that names no profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One way to start a container.

    options      for ``docker run``
    note         what a build in there says that it took
    """

    name: str
    options: tuple[str, ...] = ()
    note: str = "isolation: overlay, identities: own"

    def __str__(self) -> str:
        return self.name


DEFAULT = Place(name="default", note="isolation: copy, identities: chroot")
"""Docker's own profile and capabilities: no namespace, no mount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """Where they are started, and from which image."""

    daemon: DockerDaemon
    image: str

    def bench(self, place: Place, room: Path, base: Path) -> Bench:
        """A bench in the new folder ``room/<name>``; each command has a container of its own, the store is a volume."""
        folder = room / f"in-{place.name}"
        for each in (folder, folder / "store"):
            each.mkdir()
            each.chmod(0o777)
        person = Person(name="root", uid=0, gid=0, home=folder)
        launch = self.launch(place, folder, base, name="")
        pybuild = Pybuild(person=person, store=folder / "store", launch=launch, environment={})
        return Bench(pybuild=pybuild, room=folder, base=base)

    def launch(self, place: Place, room: Path, *seen: Path, name: str) -> tuple[str, ...]:
        """The words that start pybuild in a new container; *seen*: what can be read there beside the room."""
        prefix = Path(sys.base_prefix)
        readable = [CHECKOUT, *seen, *([prefix] if prefix != Path("/usr") else [])]
        return (
            *(self.daemon.client, "--host", f"unix://{self.daemon.socket}", "run", "--rm", "--interactive"),
            *("--network", "host", "--env", "PYBUILD_ROOT", "--env", "PYTHONDONTWRITEBYTECODE=1"),
            *("--workdir", str(room), "--volume", f"{room}:{room}", *_volumes(readable)),
            *(("--name", name) if name else ()),
            *(*place.options, self.image, sys.executable, "-P", "-m", "builder"),
        )


def with_own_store(bench: Bench) -> Bench:
    """The same, with the store in the container's own root, an overlay; it is gone with each command."""
    return replace(bench, pybuild=bench.pybuild.with_store(Path("/var/lib/pybuild")))


def profile_without_unshare(folder: Path) -> Path:
    """Podman's profile as CRI-O has it: unshare(2) wants CAP_SYS_ADMIN, clone(2) does not."""
    profile = json.loads(PODMAN_PROFILE.read_bytes())
    for rule in profile["syscalls"]:
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("includes"):
            rule["names"] = [name for name in rule["names"] if name not in ("unshare", "setns")]
    path = folder / "without-unshare.json"
    path.write_text(json.dumps(profile))
    return path


def _volumes(folders: Sequence[Path]) -> list[str]:
    return [word for folder in folders for word in ("--volume", f"{folder}:{folder}:ro")]
