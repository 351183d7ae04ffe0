"""``pybuild context ls``: what is in a build context, and which line of the ignore file decides."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from builder.cli import tables
from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.figures import size
from builder.cli.options import Option, Parsed
from builder.cli.request import compile_request
from builder.cli.storing import open_store
from builder.cli.text import harmless
from builder.engine.opening import main_context
from builder.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.engine.sources.context import Context, Listed, Why

_KINDS = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}


def run(parsed: Parsed, world: Surroundings) -> int:
    """List a context, or tell of single paths."""
    if parsed.flag("ignored") and parsed.given("why"):
        raise UsageError("--ignored and --why cannot be used together", code="invalid-value")
    file = {"file": (parsed.value("file"),)} if parsed.value("file") else {}
    asked = Parsed(
        command="build",
        lists={**file, **({"root": (parsed.value("root"),)} if parsed.value("root") else {})},
        arguments=parsed.arguments or (".",),
    )
    request, _ = compile_request(asked, world)
    with open_store(parsed, world) as store:
        context = main_context(request, store)
        if parsed.given("why"):
            told = _reasons((context.why(path) for path in parsed.many("why")), context, parsed.flag("json"))
        elif parsed.flag("ignored"):
            told = _reasons(context.left_out(), context, parsed.flag("json"))
        else:
            told = _listing(context.ls(), parsed.flag("json"))
    world.stdout.write(told)
    return 0


def _listing(found: Iterable[Listed], as_json: bool) -> str:
    items = list(found)
    if as_json:
        return tables.as_json([_facts(item) for item in items])
    rows = [(_size(item), item.path + "/" * stat.S_ISDIR(item.status.st_mode)) for item in items]
    files = [item.status.st_size for item in items if stat.S_ISREG(item.status.st_mode)]
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    return tables.table(("SIZE", "PATH"), rows) + f"{count}, {size(sum(files))}\n"


def _size(item: Listed) -> str:
    return size(item.status.st_size) if stat.S_ISREG(item.status.st_mode) else ""


def _facts(item: Listed) -> dict[str, object]:
    status = item.status
    return {
        "Path": _text(item.path),
        "Type": _KINDS.get(stat.S_IFMT(status.st_mode), "other"),
        "Mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "Size": status.st_size if stat.S_ISREG(status.st_mode) else 0,
    }


def _reasons(found: Iterable[Why], context: Context, as_json: bool) -> str:
    if as_json:
        return tables.as_json(
            [
                {
                    "Path": _text(why.path),
                    "Included": why.included,
                    "File": why.name if why.line else None,
                    "Line": why.line or None,
                    "Pattern": why.pattern or None,
                }
                for why in found
            ]
        )
    return "".join(f"{harmless(reason(why, there=_there(why, context)))}\n" for why in found)


def _there(why: Why, context: Context) -> bool:
    return not why.included or context.root.lstat(why.path) is not None


def reason(why: Why, *, there: bool = True) -> str:
    """Whether a path is in the context and why, in one line; *there*: whether the context has such a path."""
    line = f"{why.name}:{why.line}: {why.pattern}"
    if not there:
        return f"{why.path}: nothing is there, and no pattern excludes it"
    if not why.line:
        return f"{why.path}: in the context; no pattern excludes it"
    if not why.included:
        return f"{why.path}: left out by {line}"
    if why.pattern.startswith("!"):
        return f"{why.path}: in the context, taken back in by {line}"
    return f"{why.path}: left out by {line}, but for what a later line takes back in"


def _text(path: str) -> str:
    """*path* as JSON can hold it: bytes that are not UTF-8 are escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


COMMAND = Command(
    name="context ls",
    usage="context ls [OPTIONS] [CONTEXT]",
    description=(
        "Shows what COPY and ADD find in a build context (default: the current folder), and, with --why or --ignored, "
        "which line of which ignore file decides about a path. Nothing is built, and no Dockerfile is needed."
    ),
    options=(
        Option(
            name="file",
            short="f",
            metavar="FILE",
            summary="Dockerfile; FILE.dockerignore comes before .dockerignore",
        ),
        Option(name="why", kind="list", metavar="PATH", summary="Tell why PATH is in the context, or is not"),
        Option(name="ignored", kind="flag", summary="Show what is left out instead, and by which line"),
        Option(name="json", kind="flag", summary="Print one JSON array"),
    ),
    examples=(
        "pybuild context ls",
        "pybuild context ls --why src/secret.key .",
        "pybuild context ls --ignored --json app",
    ),
    arguments=(0, 1),
    run=run,
)
