"""The command: which cases, which builders, how often."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worlds.bases import debian_layout
from worlds.registry import running_registry

from benchmark.builders import PEER_NAME, Builder, Task, builders
from benchmark.measure import Cost, Failed, Group, control_group, measure
from benchmark.places import fresh_place, scratch_folder
from benchmark.report import Results, document, machine, table
from benchmark.transfers import TRANSFERS, Transfers, peer_version
from benchmark.workloads import WORKLOADS, Workload, big_layout, edit, make_context

_EPILOG = """\
What a row says: the median time of a build; how many times as fast as the reference that is; processor seconds of all
its processes, the RUN commands' and the daemon's too; the most memory that they held at once; and the span of times.

examples:
  scripts/bench                              every case with every builder that is installed, three rounds
  scripts/bench --only noop,cold --rounds 5 --json bench.json
  scripts/setup --bench                      installs the builders to compare with
"""


def main(top: Path) -> int:
    """Runs the benchmarks; 0, or 1 if a build failed."""
    options = _parse()
    found = {builder.name: builder for builder in builders(top)}
    peer = peer_version()
    cases = _chosen("case", options.only, _names())
    workloads = [known for known in WORKLOADS if known.name in cases]
    transfers = [known for known in TRANSFERS if known.name in cases]
    # Who only moves images takes no part in a run that has no such case.
    chosen = _chosen("builder", options.builders, [*found, *([PEER_NAME] if peer and transfers else [])])
    versions = {name: found[name].version() if name in found else peer for name in chosen}
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print("; ".join(f"{name}: {version}" for name, version in versions.items()), end="\n\n", flush=True)

    results: Results = {}
    failures: list[str] = []
    with scratch_folder(options.folder) as folder, running_registry(_made(folder / "registry")) as registry:
        bases = {"debian": registry.push(debian_layout(), "debian:stable")}
        if any("{big}" in workload.dockerfile for workload in workloads):
            bases["big"] = registry.push(big_layout(), "big:1")
        for _, group in itertools.groupby(workloads, key=lambda workload: (workload.store, workload.dockerfile)):
            run = Run(folder=folder, builders=[found[name] for name in chosen if name in found], rounds=options.rounds)
            for workload in run.of(list(group), bases, results):
                print(table(results, [workload], options.reference), flush=True)
            for failure in run.failures:
                print(f"  {failure}\n", file=sys.stderr, flush=True)
            failures += run.failures
        moved = Transfers(top=top, folder=folder, contenders=chosen, rounds=options.rounds)
        for transfer in moved.of(transfers, lambda there: there.push(big_layout(), "big:1"), registry, results):
            print(table(results, [transfer], PEER_NAME), flush=True)
        for failure in moved.failures:
            print(f"  {failure}\n", file=sys.stderr, flush=True)
        failures += moved.failures
    if options.json:
        options.json.write_text(json.dumps(document(results, versions, options.reference), indent=2) + "\n")
    return 1 if failures else 0


@dataclass(slots=True, kw_only=True)
class Run:
    """Some cases with one Dockerfile: the stores that one has warmed serve the next."""

    folder: Path
    builders: Sequence[Builder]
    rounds: int
    failures: list[str] = field(default_factory=list)

    def of(self, workloads: Sequence[Workload], bases: dict[str, str], results: Results) -> Iterator[Workload]:
        """Each of *workloads* when its costs are in *results*."""
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(fresh_place(self.folder, workloads[0].name))
            context = place / "context"
            make_context(workloads[0], context, bases)
            groups = {}
            for builder in self.builders:
                groups[builder.name] = stack.enter_context(control_group(f"pybuild-bench-{builder.name}"))
                if workloads[0].store == "warm":
                    stack.enter_context(builder.open(_made(place / builder.name), groups[builder.name]))
            for workload in workloads:
                results[workload.name] = self._rounds(workload, groups, place, context)
                yield workload

    def _rounds(
        self, workload: Workload, groups: dict[str, Group], place: Path, context: Path
    ) -> dict[str, list[Cost]]:
        """The builders take turns, so that a slow minute of the machine is everybody's. Who fails once is out."""
        costs: dict[str, list[Cost]] = {builder.name: [] for builder in self.builders}
        out: set[str] = set()
        # The round before the first one warms the stores, and counts for nothing.
        for number in range(-1 if workload.store == "warm" else 0, self.rounds):
            for builder in self.builders:
                if builder.name in out:
                    continue
                try:
                    cost = _one(workload, builder, groups[builder.name], place, context, number)
                except Failed as error:
                    out.add(builder.name)
                    self.failures.append(f"{workload.name}, {builder.name}: {error}")
                    continue
                if number >= 0:
                    costs[builder.name].append(cost)
        return costs


def _one(workload: Workload, builder: Builder, group: Group, place: Path, context: Path, number: int) -> Cost:
    """One measured build."""
    if workload.edited:
        edit(context, f"{builder.name} {number}")
    warming = number < 0
    tarball = place / f"{builder.name}.tar" if workload.tarball and not warming else None
    task = Task(context=context, tarball=tarball, cache=workload.cache or warming)
    try:
        if workload.store == "warm":
            return measure(builder.commands(task), group, cwd=place)
        with builder.open(_made(place / f"{builder.name}-{number}"), group):
            return measure(builder.commands(task), group, cwd=place)
    finally:
        if tarball:
            tarball.unlink(missing_ok=True)  # buildah will not write over one


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _names() -> list[str]:
    return [known.name for known in (*WORKLOADS, *TRANSFERS)]


def _chosen(what: str, wanted: str | None, there: list[str]) -> list[str]:
    if wanted is None:
        return there
    names = wanted.split(",")
    unknown = [name for name in names if name not in there]
    if unknown:
        sys.exit(f"bench: error: no such {what} here: {', '.join(unknown)}; there are {', '.join(there)}")
    return [name for name in there if name in names]


def _parse() -> argparse.Namespace:
    cases = "\n".join(f"  {workload.name:<8} {workload.title}" for workload in (*WORKLOADS, *TRANSFERS))
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=f"{__import__('benchmark').__doc__}\n\ncases:\n{cases}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="CASE,…", help="only these cases")
    parser.add_argument("--builders", metavar="NAME,…", help="only these builders")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="builds of each case by each builder (3)")
    parser.add_argument("--reference", default="docker", metavar="NAME", help="compare with this one (docker)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where stores and contexts are made (/var/tmp)")
    return parser.parse_args()
