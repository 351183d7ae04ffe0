"""What each rung costs: pybuild alone, as root and as an ordinary user, with each way to make identities and roots.

Of every case the last stage is built anew each time, and all before it only once. The checkout must be readable for
the ordinary user. The first rung, root without a user
namespace on overlayfs, is what the others are compared with. Needs root, to be both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worlds.bases import debian_layout
from worlds.command import Pybuild, proxy_arguments
from worlds.people import Person, ordinary_user, whoever_runs_this

from benchmark.places import fresh_place, scratch_folder

FILES = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Who builds, and how."""

    who: str  # "root" or "user"
    userns: str
    isolation: str

    @property
    def name(self) -> str:
        """As a row is called."""
        return f"{self.who}, {self.userns}, {self.isolation}"


RUNGS = tuple(
    Rung(who=who, userns=userns, isolation=isolation)
    for who, userns in (("root", "none"), ("user", "subid"), ("user", "single"))
    for isolation in ("overlay", "fuse-overlayfs", "copy")
)

_APT = "apt-get update -qq && apt-get install -qq -y --no-install-recommends"
_SOURCES = "".join(f"int f{number}(int x) {{ return x * {number}; }}\\n" for number in range(200))
CASES = {
    "install": f"FROM debian AS again\nRUN {_APT} cron git\n",
    "copy": "FROM debian AS again\nCOPY files /files\n",
    "runs": "FROM debian AS again\n" + "".join(f"RUN echo {number} >/step-{number}\n" for number in range(20)),
    "compile": (
        "FROM debian AS tools\n"
        f"RUN {_APT} gcc libc6-dev\n"
        "FROM tools AS again\n"
        f"RUN mkdir /src && cd /src && for i in $(seq 60); do printf '{_SOURCES}' >$i.c && gcc -O1 -c $i.c; done\n"
    ),
}
"""What is built; the stage ``again`` is what is measured."""


def main(top: Path) -> int:
    """Prints the table; 0, or 1 if a build failed."""
    options = _parse()
    user = ordinary_user()
    if os.geteuid() != 0 or user is None:
        sys.exit("bench: error: the ladder is measured by root, with the user that scripts/setup --tests makes")
    cases = [name for name in CASES if options.only is None or name in options.only.split(",")]
    failed = False
    print(_line("rung", cases), flush=True)
    first: dict[str, float] = {}
    with scratch_folder(options.folder) as folder:
        folder.chmod(0o755)
        base = Path(shutil.copytree(debian_layout(), folder / "debian"))
        contexts = {name: _context(folder / name, name) for name in cases}
        wanted = [
            rung for rung in RUNGS if options.isolations is None or rung.isolation in options.isolations.split(",")
        ]
        for number, rung in enumerate(wanted):
            cells = []
            with fresh_place(folder, f"rung{number}") as place:
                for name, seconds in _rung(top, rung, user, place, base, contexts, options.rounds):
                    if seconds is None:
                        failed = True
                        cells.append("failed")
                        continue
                    cells.append(f"{seconds:.2f} s ({seconds / first.setdefault(name, seconds):.2f})")
            print(_line(rung.name, cells), flush=True)
    return 1 if failed else 0


def _rung(
    top: Path, rung: Rung, user: Person, folder: Path, base: Path, contexts: dict[str, Path], rounds: int
) -> Iterator[tuple[str, float | None]]:
    """The median seconds of each case; None where a build failed."""
    person = whoever_runs_this() if rung.who == "root" else user
    person.owns(folder)
    launch = (str(top / ".venv/bin/python"), "-P", "-m", "builder")
    pybuild = Pybuild(person=person, store=folder / "store", launch=launch, environment={"PYTHONPATH": str(top)})
    if rung.isolation == "fuse-overlayfs" and rung.who == "user":
        pybuild = _with_open_fuse(pybuild, folder)
    for name, context in contexts.items():
        words = ["build", "--quiet", "--isolation", rung.isolation, "--userns", rung.userns, "-o", "type=image"]
        words += ["--no-cache-filter=again", f"--build-context=debian=oci-layout://{base}", *proxy_arguments()]
        spans: list[float] | None = []
        for _ in range(rounds + 1):  # the first one warms the store, and counts for nothing
            began = time.monotonic()
            done = pybuild(*words, context, timeout=1800)
            if done.returncode:
                print(f"{rung.name}, {name}: {done.stderr[-600:]}", file=sys.stderr, flush=True)
                spans = None
                break
            assert spans is not None
            spans.append(time.monotonic() - began)
        yield name, statistics.median(spans[1:]) if spans else None


def _with_open_fuse(pybuild: Pybuild, folder: Path) -> Pybuild:
    """The same, where /dev/fuse is open to all: in a mount namespace of its own, made by root."""
    node = folder / "fuse"
    os.mknod(node, 0o020666, os.makedev(10, 229))
    node.chmod(0o666)
    person = pybuild.person
    script = (
        f'mount --bind {node} /dev/fuse && exec setpriv --reuid {person.uid} --regid {person.gid} --clear-groups "$@"'
    )
    launch = ("unshare", "--mount", "sh", "-c", script, "sh", "env", f"HOME={person.home}", *pybuild.launch)
    return Pybuild(person=whoever_runs_this(), store=pybuild.store, launch=launch, environment=pybuild.environment)


def _context(folder: Path, case: str) -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(CASES[case])
    if case == "copy":
        for number in range(FILES):
            file = folder / f"files/{number // 100}/{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"file {number}\n" * 40)
    return folder


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<28}" + "".join(f"{cell:>20}" for cell in cells)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench --ladder", description=__doc__)
    parser.add_argument("--ladder", action="store_true", help="this table")
    parser.add_argument("--only", metavar="CASE,…", help=f"only these cases: {', '.join(CASES)}")
    parser.add_argument("--isolations", metavar="NAME,…", help="only these: overlay, fuse-overlayfs, copy")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="builds of each case on each rung (2)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where stores and contexts are made (/var/tmp)")
    return parser.parse_args()
