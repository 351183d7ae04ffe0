"""An image of 1.2 GB from a registry, into a root file system, and to a registry: pybuild beside skopeo and umoci."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from worlds.registry import Registry, running_registry

from benchmark.builders import PEER_NAME, Pybuild, plain
from benchmark.measure import Command, Cost, Failed, Group, control_group, measure
from benchmark.places import fresh_place
from benchmark.report import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A case: what is measured; what each contender types for it is the contender's."""

    name: str
    title: str


TRANSFERS = (
    Transfer(name="pull", title="an empty store: 1.2 GB (530 MB packed) from a registry"),
    Transfer(name="unpack", title="what was pulled, as a root file system of 68,000 files"),
    Transfer(name="push", title="what was pulled, to an empty registry"),
)


class Contender(Protocol):
    """Keeps an image in a folder of its own, one for each round."""

    name: str

    def commands(self, case: str, folder: Path, source: str, target: str) -> list[Command]:
        """What one types for *case*: *source* and *target* are names in registries."""
        ...


class _Ours:
    def __init__(self, top: Path) -> None:
        self._pybuild = Pybuild(top)
        self.name = self._pybuild.name

    def commands(self, case: str, folder: Path, source: str, target: str) -> list[Command]:
        words = {
            "pull": [["pull", "--quiet", source]],
            # There is no command that only unpacks: this one runs a program in the root that it made.
            "unpack": [["run", "--rm", source, "true"]],
            "push": [["tag", source, target], ["push", "--quiet", target]],
        }
        return [self._pybuild.typed(folder / "store", argv) for argv in words[case]]


class _Theirs:
    name = PEER_NAME

    def commands(self, case: str, folder: Path, source: str, target: str) -> list[Command]:
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet"]
        layout = f"{folder}/layout:1"
        words = {
            "pull": [*copy, "--src-tls-verify=false", f"docker://{source}", f"oci:{layout}"],
            "unpack": ["umoci", "unpack", "--rootless", "--image", layout, str(folder / "bundle")],
            "push": [*copy, "--dest-tls-verify=false", f"oci:{layout}", f"docker://{target}"],
        }
        return [Command(argv=tuple(words[case]), env=plain())]


def peer_version() -> str:
    """What skopeo and umoci call themselves; "" where one is missing."""
    if not all(shutil.which(program) for program in ("skopeo", "umoci")):
        return ""
    found = [subprocess.run([name, "--version"], check=True, capture_output=True, text=True) for name in _PEERS]
    return ", ".join(done.stdout.splitlines()[0] for done in found)


_PEERS = ("skopeo", "umoci")


@dataclass(slots=True, kw_only=True)
class Transfers:
    """The cases *wanted*, in their order; those before them in the story are done too, and not shown.

    contenders   names of those that take part
    """

    top: Path
    folder: Path
    contenders: Sequence[str]
    rounds: int
    failures: list[str] = field(default_factory=list)

    def of(
        self, wanted: Sequence[Transfer], push: Callable[[Registry], str], registry: Registry, results: Results
    ) -> Iterator[Transfer]:
        """Each of *wanted* when its costs are in *results*. *push* puts the image into *registry*: its name there."""
        if not wanted:
            return
        source = push(registry)
        there = [one for one in (_Theirs(), _Ours(self.top)) if one.name in self.contenders]
        last = max(TRANSFERS.index(case) for case in wanted)
        costs: Results = {case.name: {one.name: [] for one in there} for case in TRANSFERS}
        with fresh_place(self.folder, "transfers") as place:
            for number in range(self.rounds):
                for one in there:
                    self._round(one, place / f"{one.name}-{number}", source, TRANSFERS[: last + 1], costs)
        for case in wanted:
            results[case.name] = costs[case.name]
            yield case

    def _round(self, one: Contender, folder: Path, source: str, cases: Sequence[Transfer], costs: Results) -> None:
        """All cases once: each goes on where the one before it ended."""
        folder.mkdir()
        (folder / "registry").mkdir()
        # A registry that has nothing yet: skopeo remembers what it saw in another, and has it shared.
        with running_registry(folder / "registry") as target, control_group(f"pybuild-bench-{one.name}") as group:
            for case in cases:
                try:
                    cost = _measured(one, case, folder, source, target, group)
                except Failed as error:
                    self.failures.append(f"{case.name}, {one.name}: {error}")
                    return
                costs[case.name][one.name].append(cost)


def _measured(one: Contender, case: Transfer, folder: Path, source: str, target: Registry, group: Group) -> Cost:
    return measure(one.commands(case.name, folder, source, target.reference("pushed:1")), group, cwd=folder)
