"""The command: which cases, which builders, how often."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from worlds.bases import debian_layout
from worlds.processes import remove_tree
from worlds.registry import running_registry

from benchmark.builders import Builder, Task, builders
from benchmark.measure import Cost, Failed, Group, control_group, measure
from benchmark.report import document, machine, table
from benchmark.workloads import WORKLOADS, Workload, big_layout, edit, make_context

_EPILOG = """\
What a row says: the median time of a build, how many times as fast as the reference that is, processor seconds of all
processes (the RUN commands' own and the daemon's included), the most memory that they held at once, and the span of times.

examples:
  scripts/bench                              every case with every builder that is installed, three rounds
  scripts/bench --only noop,cold --rounds 5 --json bench.json
  scripts/setup --bench                      installs the builders to compare with
"""


def main(top: Path) -> int:
    """Runs the benchmarks; 0, or 1 if a build failed."""
    options = _parse()
    found = {builder.name: builder for builder in builders(top)}
    chosen = _chosen("builder", options.builders, list(found))
    workloads = [known for known in WORKLOADS if known.name in _chosen("case", options.only, _names())]
    versions = {name: found[name].version() for name in chosen}
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print("; ".join(f"{name}: {version}" for name, version in versions.items()), end="\n\n", flush=True)

    results: dict[str, dict[str, list[Cost]]] = {}
    failed = False
    with _place(options.folder) as folder, running_registry(_made(folder / "registry")) as registry:
        bases = {"debian": registry.push(debian_layout(), "debian:stable")}
        if any("{big}" in workload.dockerfile for workload in workloads):
            bases["big"] = registry.push(big_layout(), "big:1")
        for workload in workloads:
            costs = results[workload.name] = {name: [] for name in chosen}
            failures = _run_workload(workload, [found[name] for name in chosen], costs, folder, bases, options.rounds)
            failed = failed or bool(failures)
            print(table(results, [workload], options.reference), flush=True)
            for failure in failures:
                print(f"  {failure}\n", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(document(results, versions, options.reference), indent=2) + "\n")
    return 1 if failed else 0


def _run_workload(
    workload: Workload,
    chosen: Sequence[Builder],
    costs: dict[str, list[Cost]],
    folder: Path,
    bases: dict[str, str],
    rounds: int,
) -> list[str]:
    """All rounds of one case: the builders take turns, so that a slow minute of the machine is everybody's."""
    failures: list[str] = []
    place = _made(folder / workload.name)
    context = place / "context"
    make_context(workload, context, bases)
    with contextlib.ExitStack() as stack:
        open_builders: list[tuple[Builder, Group]] = []
        for builder in chosen:
            group = stack.enter_context(control_group(f"pybuild-bench-{builder.name}"))
            if workload.store == "warm":
                stack.enter_context(builder.open(_made(place / builder.name), group))
                try:
                    measure(builder.commands(Task(context=context, tarball=None, cache=True)), group, cwd=place)
                except Failed as error:
                    failures.append(f"{builder.name}: {error}")
                    continue
            open_builders.append((builder, group))
        for number in range(rounds):
            for builder, group in open_builders:
                if any(failure.startswith(f"{builder.name}: ") for failure in failures):
                    continue
                try:
                    costs[builder.name].append(_one(workload, builder, group, place, context, number))
                except Failed as error:
                    failures.append(f"{builder.name}: {error}")
    shutil.rmtree(place)
    return failures


def _one(workload: Workload, builder: Builder, group: Group, place: Path, context: Path, number: int) -> Cost:
    """One measured build."""
    if workload.edited:
        edit(context, f"{builder.name} {number}")
    tarball = place / f"{builder.name}.tar" if workload.tarball else None
    task = Task(context=context, tarball=tarball, cache=workload.cache)
    try:
        if workload.store == "warm":
            return measure(builder.commands(task), group, cwd=place)
        with builder.open(_made(place / f"{builder.name}-{number}"), group):
            return measure(builder.commands(task), group, cwd=place)
    finally:
        if tarball:
            tarball.unlink(missing_ok=True)  # buildah will not write over one


@contextlib.contextmanager
def _place(wanted: Path | None) -> Iterator[Path]:
    """A folder for stores and contexts, gone afterwards. Its name is short: a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=wanted or "/var/tmp"))
    try:
        yield folder
    finally:
        remove_tree(folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _names() -> list[str]:
    return [workload.name for workload in WORKLOADS]


def _chosen(what: str, wanted: str | None, there: list[str]) -> list[str]:
    if wanted is None:
        return there
    names = wanted.split(",")
    unknown = [name for name in names if name not in there]
    if unknown:
        sys.exit(f"bench: error: no such {what} here: {', '.join(unknown)}; there are {', '.join(there)}")
    return [name for name in there if name in names]


def _parse() -> argparse.Namespace:
    cases = "\n".join(f"  {workload.name:<8} {workload.title}" for workload in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=f"{__import__('benchmark').__doc__}\n\ncases:\n{cases}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="CASE,…", help="only these cases")
    parser.add_argument("--builders", metavar="NAME,…", help="only these builders")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="builds of each case by each builder (3)")
    parser.add_argument(
        "--reference", default="docker", metavar="NAME", help="whom the others are compared with (docker)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where stores and contexts are made (/var/tmp)")
    return parser.parse_args()
