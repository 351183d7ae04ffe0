"""Results as a table for people, and as JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from benchmark.measure import Cost


class Case(Protocol):
    """What was measured."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...


Results = dict[str, dict[str, list[Cost]]]  # workload, builder, rounds


def table(results: Results, workloads: Sequence[Case], reference: str) -> str:
    """A block of lines per workload: medians, and how many times as fast as *reference* each builder was."""
    lines = []
    for workload in workloads:
        lines.append(f"{workload.name}: {workload.title}")
        costs = results.get(workload.name, {})
        against = median(costs[reference]).wall if costs.get(reference) else None
        for builder, rounds in costs.items():
            lines.append("  " + _row(builder, rounds, against))
        lines.append("")
    return "\n".join(lines)


def _row(builder: str, rounds: Sequence[Cost], against: float | None) -> str:
    if not rounds:
        return f"{builder:<10} failed"
    cost = median(rounds)
    ratio = f"{against / cost.wall:7.2f}x" if against else " " * 8
    spread = f"{min(each.wall for each in rounds):.2f}–{max(each.wall for each in rounds):.2f}"
    return f"{builder:<10} {cost.wall:8.2f} s {ratio}   cpu {cost.cpu:7.2f} s   {cost.memory >> 20:6} MiB   ({spread})"


def median(rounds: Sequence[Cost]) -> Cost:
    """The median of each figure by itself."""
    return Cost(
        wall=statistics.median(cost.wall for cost in rounds),
        cpu=statistics.median(cost.cpu for cost in rounds),
        memory=int(statistics.median(cost.memory for cost in rounds)),
    )


def document(results: Results, versions: Mapping[str, str], reference: str) -> dict[str, Any]:
    """All that was measured, and where."""
    return {
        "machine": machine(),
        "versions": dict(versions),
        "reference": reference,
        "units": {"wall": "seconds", "cpu": "seconds", "memory": "bytes"},
        "workloads": {
            workload: {
                builder: {"median": asdict(median(rounds)), "rounds": [asdict(cost) for cost in rounds]}
                for builder, rounds in costs.items()
                if rounds
            }
            for workload, costs in results.items()
        },
    }


def machine() -> dict[str, object]:
    """What was measured on, in the few words that make numbers comparable."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": pages,
        "distribution": release.get("PRETTY_NAME", "").strip('"'),
        "python": platform.python_version(),
    }
