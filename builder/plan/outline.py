"""What a build can be given, and which targets it has: ``--call outline`` and ``--call targets``.

source   BuildKit, frontend/dockerfile/dockerfile2llb: outline.go; convert.go, ListTargets
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builder.dockerfile.instructions import Arg, Dockerfile
from builder.dockerfile.source import Span
from builder.dockerfile.words import examine
from builder.plan.compile import Compiler, compiled
from builder.plan.findings import Findings
from builder.plan.graph import Node
from builder.plan.scope import platform_args, with_value
from builder.plan.stages import target_of
from builder.plan.steps import Base, BaseKey, Options, RunStep, SecretMount, SshMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A build argument that the target uses. ``value``: the one given, else the default, expanded; None: neither."""

    name: str
    value: str | None
    description: str
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A secret or an SSH agent that a command of the target mounts."""

    name: str
    required: bool
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """All that a target can be given. ``name`` is "" for a last stage without one."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    secrets: tuple[Wanted, ...]
    ssh: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A stage that can be built; ``base`` and ``platform`` as written."""

    name: str
    default: bool
    description: str
    base: str
    platform: str
    where: Span


def targets(dockerfile: Dockerfile) -> tuple[Target, ...]:
    """The stages of *dockerfile*, in order; those without a name too."""
    origins = [stage.origin for stage in dockerfile.stages]
    return tuple(
        Target(
            name=origin.stage_name,
            default=origin is origins[-1],
            description=described(origin.comment, origin.stage_name),
            base=origin.image.text,
            platform=origin.platform.text if origin.platform else "",
            where=origin.span,
        )
        for origin in origins
    )


def outline(dockerfile: Dockerfile, options: Options, bases: Mapping[BaseKey, Base]) -> Outline:
    """What the target of *dockerfile* can be given.

    raises   as ``compile_plan``; lint rules have no say
    """
    compiler = compiled(dockerfile, options, bases, Findings())
    target = target_of(compiler.graph)
    below = _globals(dockerfile, options, compiler)
    arguments: dict[str, Argument] = {}
    secrets: dict[str, Wanted] = {}
    agents: dict[str, Wanted] = {}
    for node in _needed(target):
        for argument in _used(node, compiler, below):
            arguments.setdefault(argument.name, argument)
        for kind, found in _mounted(node, compiler):
            (secrets if kind is SecretMount else agents).setdefault(found.name, found)
    origin = target.origin
    name = origin.stage_name if origin else ""
    return Outline(
        name=name,
        description=described(origin.comment, name) if origin else "",
        arguments=tuple(sorted(arguments.values(), key=lambda found: found.where.line)),
        secrets=tuple(sorted(secrets.values(), key=lambda found: found.where.line)),
        ssh=tuple(sorted(agents.values(), key=lambda found: found.where.line)),
    )


def described(comment: str, name: str) -> str:
    """What the comment above says of *name*: the line that begins with it."""
    lines = comment.splitlines() if name else ()
    return next((line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")), "")


@dataclass(frozen=True, slots=True)
class _Global:
    argument: Argument
    uses: frozenset[str]


def _globals(dockerfile: Dockerfile, options: Options, compiler: Compiler) -> dict[str, _Global]:
    """The ARGs before the first FROM, each with those that its default uses."""
    found: dict[str, _Global] = {}
    values: Mapping[str, str] = platform_args(options, compiler.scope.values["TARGETSTAGE"])
    for arg in dockerfile.globals:
        for pair in arg.pairs:
            name = pair.key.text
            value = options.build_args.get(name)
            uses: frozenset[str] = frozenset()
            if value is None and pair.value is not None:
                default = examine(pair.value.text, values, escape=compiler.scope.escape, where=pair.value.span)
                value, uses = default.text, frozenset(default.used)
                if name in uses:
                    # ARG A=1, then ARG A=$A-2: what the former used is used by the latter.
                    uses = uses - {name} | (found[name].uses if name in found else frozenset())
            if value is not None:
                values = with_value(values, name, value)
            said = Argument(name=name, value=value, description=described(arg.comment, name), where=arg.span)
            found[name] = _Global(said, uses)
    return found


def _needed(target: Node) -> Iterator[Node]:
    """*target* and all it takes from: what it stands on before what it copies, nearer ones first."""
    seen: set[int] = set()
    waiting = [target]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting.extend(reversed(list(node.sources)))
        if node.parent is not None:
            waiting.append(node.parent)


def _used(node: Node, compiler: Compiler, below: Mapping[str, _Global]) -> Iterator[Argument]:
    """The arguments that a stage declares or inherits, and those that its FROM uses."""
    if node.is_image:
        return
    declarations = [command.instruction for command in node.commands if isinstance(command.instruction, Arg)]
    own = [(arg, pair) for arg in declarations for pair in arg.pairs]
    values = compiler.states[id(node)].args[-len(own) :] if own else ()
    used: list[str] = []
    latest: dict[str, Argument] = {}
    for (arg, pair), (name, value) in zip(own, values, strict=True):
        inherited = pair.value is None and name not in compiler.scope.build_args and name in compiler.scope.values
        if inherited:
            used.append(name)
        else:
            latest[name] = Argument(name=name, value=value, description=described(arg.comment, name), where=arg.span)
    yield from latest.values()
    for word in (node.origin.image, node.origin.platform) if node.origin else ():
        if word is not None:
            used += examine(word.text, compiler.scope.values, escape=compiler.scope.escape, where=word.span).used
    seen: set[str] = set()
    while used:
        name = used.pop()
        if name in below and name not in seen:
            seen.add(name)
            used.extend(sorted(below[name].uses))
            yield below[name].argument


def _mounted(node: Node, compiler: Compiler) -> Iterator[tuple[type, Wanted]]:
    place = compiler.places.get(id(node))
    for step in compiler.stages[place].steps if place is not None else ():
        for mount in step.mounts if isinstance(step, RunStep) else ():
            if isinstance(mount, SecretMount | SshMount):
                yield type(mount), Wanted(name=mount.id, required=mount.required, where=step.where)
