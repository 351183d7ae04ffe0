"""ARG and ENV: what is visible where.

An environment is a mapping whose order is that of the last setting: a variable that is set anew moves to the end, as
in BuildKit's ``llb.EnvList``. ARG and ENV share it; what an image keeps of it is ``config``'s business.

source   BuildKit, frontend/dockerfile/dockerfile2llb: buildMetaArgs, dispatchArg, platform.go
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.words import expand
from builder.image.names import Platform
from builder.plan.epoch import EPOCH, seconds, source_named
from builder.plan.steps import Datable, Options

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NOT_IN_ENVIRONMENT = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
"""Arguments that instruct the builder, and reach neither commands nor expansions."""


def with_value(env: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    """*env* with *name* set, last in order."""
    after = dict(env)
    after.pop(name, None)
    after[name] = value
    return after


def split_env(entry: str) -> tuple[str, str]:
    """Name and value of an entry of an image's environment."""
    name, _, value = entry.partition("=")
    return name, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What holds for a whole Dockerfile.

    values      the global arguments: platform arguments, then the ARGs before the first FROM that have a value
    declared    the names of those ARGs, with a value or without
    build_args  as given, with SOURCE_DATE_EPOCH resolved
    epoch       seconds, or None
    proxies     ``NAME=value``, for commands but for no cache key
    escape      the file's escape character
    """

    values: Mapping[str, str]
    declared: frozenset[str]
    build_args: Mapping[str, str]
    epoch: int | None
    proxies: tuple[str, ...]
    escape: str


def global_scope(dockerfile: Dockerfile, options: Options) -> Scope:
    """The arguments that FROM sees; DockerfileError if a default cannot be expanded."""
    values = _global_values(dockerfile, options)
    build_args = dict(options.build_args)
    epoch = _epoch(dockerfile, options, values, build_args)
    return Scope(
        values=values,
        declared=frozenset(pair.key.text for arg in dockerfile.globals for pair in arg.pairs),
        build_args=build_args,
        epoch=epoch,
        proxies=proxy_env(options.build_args),
        escape=dockerfile.directives.escape,
    )


def _global_values(dockerfile: Dockerfile, options: Options) -> dict[str, str]:
    values = platform_args(options, _target_name(dockerfile, options))
    return with_globals(dockerfile, values, options.build_args)


def with_globals(dockerfile: Dockerfile, values: Mapping[str, str], build_args: Mapping[str, str]) -> dict[str, str]:
    """*values* and the ARGs before the first FROM: the given argument, else the default, expanded by those before."""
    values = dict(values)
    for arg in dockerfile.globals:
        for pair in arg.pairs:
            name = pair.key.text
            if name in build_args:
                values = with_value(values, name, build_args[name])
            elif pair.value is not None:
                text = expand(pair.value.text, values, escape=dockerfile.directives.escape, where=pair.value.span)
                values = with_value(values, name, text)
    return values


def _target_name(dockerfile: Dockerfile, options: Options) -> str:
    last = dockerfile.stages[-1].origin.stage_name if dockerfile.stages else ""
    return options.target or last or "default"


def platform_args(options: Options, target: str) -> dict[str, str]:
    """The arguments that are predefined before any FROM; ``--build-arg`` overrides them."""
    build, wanted = options.build_platform, options.platform
    args = {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": "",
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(wanted),
        "TARGETOS": wanted.os,
        "TARGETOSVERSION": "",
        "TARGETARCH": wanted.architecture,
        "TARGETVARIANT": wanted.variant,
        "TARGETSTAGE": target,
    }
    return {name: options.build_args.get(name, value) for name, value in args.items()}


def proxy_env(build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The predefined proxy arguments as commands get them, in capitals and in small letters.

    source   BuildKit, proxyEnvFromBuildArgs, and proxyEnvList of solver/llbsolver/ops/exec.go
    """
    found: dict[str, str] = {}
    for name in sorted(build_args):
        if name.lower() in _PROXIES:
            found[name.lower()] = build_args[name]
    given = [(name, found[name]) for name in _PROXIES if found.get(name)]
    return tuple(f"{form}={value}" for name, value in given for form in (name.upper(), name))


_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def dated_by(dockerfile: Dockerfile, options: Options) -> Datable | None:
    """The source whose time SOURCE_DATE_EPOCH asks for; None where it is a number, or nothing.

    raises   DockerfileError, as ``global_scope`` does
    """
    values = _global_values(dockerfile, options)
    text = _epoch_text(values, options.build_args)
    return source_named(text, dockerfile, values, options) if text and seconds(text) is None else None


def _epoch_text(values: Mapping[str, str], build_args: Mapping[str, str]) -> str | None:
    """What is said of SOURCE_DATE_EPOCH; None: nothing. A build argument without a value says that there is none."""
    return build_args[EPOCH] if EPOCH in build_args else values.get(EPOCH) or None


def _epoch(dockerfile: Dockerfile, options: Options, values: dict[str, str], build_args: dict[str, str]) -> int | None:
    """The moment that all times are clamped to. *values* and *build_args* get it as a plain number."""
    text = _epoch_text(values, build_args)
    if text is None:
        return options.source_date_epoch
    epoch = seconds(text)
    if epoch is None and text:
        epoch = options.moments.get(source_named(text, dockerfile, values, options))
    for mapping in (build_args, values):
        if EPOCH in mapping:
            if epoch is None:
                del mapping[EPOCH]
            else:
                mapping[EPOCH] = str(epoch)
    # A source without a time leaves it to the caller, as if nothing had been said.
    return options.source_date_epoch if epoch is None and text else epoch


def same_system(a: Platform, b: Platform) -> bool:
    """Whether two platforms have the same system and architecture, whatever the variant."""
    return (a.os, a.architecture) == (b.os, b.architecture)
