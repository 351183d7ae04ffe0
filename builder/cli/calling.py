"""``--call METHOD`` and ``--check``: what can be said about a build without building.

source   docker/buildx, util/buildflags/callfunc.go, ParseCallFunc; commands/build.go, printResult
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.environment import Surroundings
from builder.cli.options import Parsed, boolean
from builder.cli.values import fields, reject
from builder.errors import BuilderError

if TYPE_CHECKING:
    from builder.engine.request import BuildRequest
    from builder.events import Emit

_FORMATS = {
    "check": ("text", "json", "sarif", "github"),
    "outline": ("text", "json"),
    "targets": ("text", "json"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked: a method of ``_FORMATS``, how it is printed, and whether findings leave the exit code 0."""

    method: str
    format: str = "text"
    ignore_status: bool = False


def call_of(parsed: Parsed) -> Call | None:
    """What ``--call`` and ``--check`` ask for; None: to build.

    raises   UsageError
    """
    call = _parse(parsed.value("call") or "build")
    if parsed.flag("check"):
        if parsed.given("call") and (call is None or call.method != "check"):
            reject(f"--check and --call={parsed.value('call')} cannot be used together")
        call = call or Call(method="check")
    if call is not None and parsed.given("metadata-file"):
        reject("--metadata-file tells of an image, and --call makes none", "redirect what is printed")
    return call


def _parse(text: str) -> Call | None:
    method, wanted, ignore = "", "text", False
    for field in fields(text, "--call"):
        key, equals, value = field.partition("=")
        if not equals:
            if method:
                reject(f"--call {text!r} names two methods")
            method = {"lint": "check"}.get(field, field)
        elif key == "format":
            wanted = value
        elif key == "ignorestatus":
            truth = boolean(value)
            if truth is None:
                reject(f"--call {text!r}: ignorestatus is true or false")
            ignore = truth
        else:
            reject(f"--call {text!r}: there is no {key!r}", "METHOD[,format=FORMAT][,ignorestatus=true]")
    if method in ("", "build"):
        return None
    if method not in _FORMATS:
        reject(f"--call: there is no method {method!r}", "one of build, " + ", ".join(_FORMATS))
    if wanted not in _FORMATS[method]:
        reject(f"--call {method}: there is no format {wanted!r}", "one of " + ", ".join(_FORMATS[method]))
    return Call(method=method, format=wanted, ignore_status=ignore)


def answer(call: Call, request: BuildRequest, world: Surroundings, emit: Emit) -> tuple[int, BuilderError | None]:
    """Print what *call* asks for to stdout.

    returns  the exit code, and what is wrong with the Dockerfile, which the caller draws
    raises   BuilderError
    """
    # All the rest of the program: wanted by --call alone.
    from builder.engine import calls

    if call.method == "check":
        from builder.cli import findings

        file, checked = calls.check(request, emit)
        report = findings.Report(file=file, checked=checked, path=_path(request))
        world.stdout.write(findings.drawn(report, call.format))
        status = 1 if checked.warnings and not call.ignore_status else 0
        return (1 if checked.error else status), checked.error
    from builder.cli import outlines

    if call.method == "outline":
        file, outline = calls.outline(request, emit)
        world.stdout.write(outlines.outline(outline, file.text, call.format))
    else:
        file, targets = calls.targets(request, emit)
        world.stdout.write(outlines.targets(targets, file.text, call.format))
    return 0, None


def _path(request: BuildRequest) -> str:
    """The Dockerfile as other programs find it from the working folder."""
    if request.dockerfile_text is not None or "://" in request.context:
        return request.dockerfile or "Dockerfile"
    path = Path(request.dockerfile) if request.dockerfile else Path(request.context) / "Dockerfile"
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return path.as_posix()
