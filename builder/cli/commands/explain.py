"""``pybuild explain``: what a build would find in the cache, and what changed since the last one that it would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.cli import tables
from builder.cli.build_options import OPTIONS
from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.request import compile_request
from builder.cli.storing import progress
from builder.cli.text import harmless
from builder.engine.explain import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.engine.explain import Explained

_VERDICTS = {
    "cached": "cached",
    "changed": "to be performed",
    "new": "to be performed",
    "after": "perhaps cached",
    "forced": "to be performed",
}
_TAKEN = (
    *("file", "target", "platform", "build-arg", "build-context", "secret", "ssh", "network", "add-host", "shm-size"),
    *("ulimit", "allow", "no-cache", "no-cache-filter", "pull", "reproducible", "tag", "output"),
)


def run(parsed: Parsed, world: Surroundings) -> int:
    """Explain what a build with the same options would do."""
    asked = Parsed(command="build", flags=parsed.flags, lists=parsed.lists, arguments=parsed.arguments or (".",))
    request, _ = compile_request(asked, world)
    with progress(world, quiet=True) as emit:
        found = explain(request, emit)
    world.stdout.write(_json(found) if parsed.flag("json") else _text(found))
    return 0


def _text(found: Sequence[Explained]) -> str:
    lines = []
    for step in found:
        stage = f"stage-{step.stage}" if step.stage.isdecimal() else step.stage
        place = f"{step.number}/{len(found)}"
        label = f"[{place}]" if stage == "stage-0" else f"[{stage} {place}]"
        lines.append(f"{label} {step.title}")
        verdict = f"  {_VERDICTS[step.verdict]}"
        lines.append(f"{verdict}: {step.reasons[0]}" if step.reasons else verdict)
        lines += [f"    {reason}" for reason in step.reasons[1:]]
    return "".join(f"{harmless(line)}\n" for line in lines) or "there are no steps\n"


def _json(found: Sequence[Explained]) -> str:
    return tables.as_json(
        [
            {
                "Step": step.number,
                "Stage": step.stage,
                "Instruction": step.title,
                "Line": step.line,
                "Verdict": step.verdict,
                "Reasons": step.reasons,
            }
            for step in found
        ]
    )


COMMAND = Command(
    name="explain",
    usage="explain [OPTIONS] [CONTEXT]",
    description=(
        "Tells, step by step, whether a build with the same options would find the step in the cache, and if not, what "
        "changed since it was last performed: words of the instruction, variables, files of the context, what is "
        "below. Nothing is built. CONTEXT is by default the current folder."
    ),
    options=(
        Option(name="json", kind="flag", summary="Print one JSON array"),
        *(option for option in OPTIONS if option.name in _TAKEN),
    ),
    examples=("pybuild explain", "pybuild explain --target test --build-arg VERSION=1.2 app", "pybuild explain --json"),
    arguments=(0, 1),
    run=run,
)
