"""``pybuild doctor``: what this machine allows, which ways are taken, and what would allow better ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.commands import Command
from builder.cli.diagnostics import Style
from builder.cli.environment import Surroundings, store_root, wants_colours
from builder.cli.figures import size
from builder.cli.options import Option, Parsed
from builder.cli.text import harmless
from builder.engine.doctor import diagnose

if TYPE_CHECKING:
    from builder.engine.doctor import Diagnosis, Rung

_TITLES = {
    "identities": "Identities (--userns)",
    "namespaces": "Namespaces",
    "isolation": "Root file systems (--isolation)",
    "platforms": "Other platforms (--platform)",
    "limits": "Limits of a command (--memory, --cpu-quota, --cpuset-cpus, --pids-limit)",
    "store": "The store",
}


def run(parsed: Parsed, world: Surroundings) -> int:
    """Diagnose; 0 if builds can be made here, else 1."""
    found = diagnose(Path(store_root(parsed.value("root"), world.environ)))
    if parsed.flag("json"):
        world.stdout.write(_json(found))
    else:
        world.stdout.write(_text(found, Style(wants_colours(world.stdout, world.environ))))
    return 0 if found.able else 1


def _text(found: Diagnosis, style: Style) -> str:
    lines = [
        f"Kernel:  {found.kernel}, {found.platform}",
        f"Store:   {harmless(found.store)} ({found.filesystem}, {size(found.free)} free)",
    ]
    for topic, title in _TITLES.items():
        rungs = [rung for rung in found.rungs if rung.topic == topic]
        if rungs:
            lines += ["", style.bold(title)]
            reached = False
            for rung in rungs:
                lines.append(_rung(rung, style))
                # What is worse than what is taken need not be mended.
                if rung.hint and not reached:
                    lines.append(f"       {style.blue('hint')}: {harmless(rung.hint)}")
                reached = reached or rung.taken
    able, unable = "Builds can be made here.", "Commands cannot be run here: only Dockerfiles without RUN can be built."
    lines += ["", able if found.able else style.red(unable)]
    return "".join(f"{line}\n" for line in lines)


def _rung(rung: Rung, style: Style) -> str:
    mark = {True: style.blue("yes"), False: style.yellow("no "), None: style.faint("?  ")}[rung.works]
    taken = " (taken)" if rung.taken and rung.works else ""
    name = "" if rung.name == rung.topic else f"{rung.name}{taken}: "
    return f"  {mark}  {name}{harmless(rung.detail)}"


def _json(found: Diagnosis) -> str:
    # Only what is asked for it pays for it.
    import json

    rungs = [
        {
            "Topic": rung.topic,
            "Name": rung.name,
            "Works": rung.works,
            "Taken": rung.taken,
            "Detail": rung.detail,
            "Hint": rung.hint,
        }
        for rung in found.rungs
    ]
    told = {
        "Able": found.able,
        "Kernel": found.kernel,
        "Platform": str(found.platform),
        "Store": found.store,
        "FileSystem": found.filesystem,
        "Free": found.free,
        "Rungs": rungs,
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


COMMAND = Command(
    name="doctor",
    usage="doctor [OPTIONS]",
    description=(
        "Tells what this machine allows a build, by trying it: as whom commands can run, how root file systems are "
        "made, whether commands of other platforms run, whether one can be limited; which ways are taken, and what has "
        "to be done for better ones. The exit code is 1 where no command can be run."
    ),
    options=(Option(name="json", kind="flag", summary="Print one JSON object"),),
    examples=("pybuild doctor", "pybuild doctor --json", "pybuild --root /scratch/pybuild doctor"),
    arguments=(0, 0),
    run=run,
)
