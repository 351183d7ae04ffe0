"""The command line of a build as one value."""

from __future__ import annotations

import os
from collections.abc import Mapping

from builder.cli import sources, stdin, values
from builder.cli.environment import Surroundings, passed_on, proxy_arguments, store_root
from builder.cli.limits import limits
from builder.cli.options import Parsed, boolean
from builder.cli.outputs import outputs
from builder.cli.values import reject
from builder.engine.request import BuildRequest, Output, as_several
from builder.events import Note


def compile_request(parsed: Parsed, world: Surroundings) -> tuple[BuildRequest, tuple[Note, ...]]:
    """What *parsed* asks for, with all that it takes from the environment, and what is worth a remark.

    raises   UsageError
    """
    (context,) = parsed.arguments
    environ = world.environ
    text, stream = _standard_input(context, parsed.value("file"), world.stdin)
    tags = tuple(values.tag(tag) for tag in parsed.many("tag"))
    platforms = parsed.many("platform") or tuple(filter(None, (environ.get("DOCKER_DEFAULT_PLATFORM"),)))
    machines = values.platforms(platforms, os.uname().machine)
    arguments = _arguments(parsed, environ)
    outs = outputs(
        parsed.many("output"),
        push=parsed.flag("push"),
        load=parsed.flag("load"),
        tags=tags,
        context=context,
        several=as_several(arguments, machines),
        terminal=world.stdout.is_terminal(),
    )
    secrets, notes = sources.secrets(parsed.many("secret"), environ)
    network = parsed.value("network", "default")
    return (
        BuildRequest(
            context=context,
            dockerfile=parsed.value("file") or None,
            dockerfile_text=text,
            context_stream=stream,
            tags=tags,
            outputs=outs,
            build_args=arguments,
            target=parsed.value("target"),
            platforms=machines,
            labels=values.pairs(parsed.many("label"), "--label"),
            annotations=values.manifest_annotations(parsed.many("annotation")),
            secrets=secrets,
            ssh=sources.ssh_agents(parsed.many("ssh"), environ),
            contexts=sources.contexts(parsed.many("build-context")),
            add_hosts=tuple(
                entry for text in parsed.many("add-host") for one in text.split(",") for entry in values.host(one)
            ),
            network=network,
            shm_size=values.memory(parsed.value("shm-size", "64m"), "--shm-size"),
            ulimits=tuple(values.ulimit(text) for text in parsed.many("ulimit")),
            limits=limits(parsed, len(os.sched_getaffinity(0))),
            no_cache=parsed.flag("no-cache"),
            no_cache_filter=_list(parsed, "no-cache-filter"),
            pull=parsed.flag("pull"),
            iidfile=_image_id_file(parsed, outs),
            metadata_file=parsed.value("metadata-file") or None,
            isolation=parsed.value("isolation", "auto"),
            userns=parsed.value("userns", "auto"),
            reproducible=parsed.flag("reproducible"),
            allow=_entitlements(parsed, network),
            jobs=_jobs(parsed),
            root=store_root(parsed.value("root"), environ),
            environment=passed_on(environ),
        ),
        notes,
    )


def _standard_input(context: str, file: str, fd: int) -> tuple[bytes | None, int | None]:
    if file == "-":
        if context == "-":
            reject("stdin cannot be both the context and the Dockerfile")
        return stdin.dockerfile(fd), None
    if context != "-":
        return None, None
    text, stream = stdin.context(fd)
    if text is not None and file:
        reject("stdin holds a Dockerfile, and --file names another", "leave out --file, or give a tar as the context")
    return text, stream


def _arguments(parsed: Parsed, environ: Mapping[str, str]) -> dict[str, str]:
    """The build arguments, among them SOURCE_DATE_EPOCH where the environment has it."""
    given = values.pairs(parsed.many("build-arg"), "--build-arg", environ)
    if epoch := environ.get("SOURCE_DATE_EPOCH", ""):
        # source: docker/buildx, commands/build.go, toOptions
        given.setdefault("SOURCE_DATE_EPOCH", epoch)
    # Docker passes them unless the same name is given in any spelling. source: docker/buildx, build/utils.go
    present = {name.lower() for name in given}
    proxies = {name: value for name, value in proxy_arguments(environ).items() if name.lower() not in present}
    return proxies | given


def _list(parsed: Parsed, name: str) -> tuple[str, ...]:
    return tuple(part for text in parsed.many(name) for part in text.split(",") if part)


def _image_id_file(parsed: Parsed, outs: tuple[Output, ...]) -> str | None:
    path = parsed.value("iidfile")
    if path and any(out.kind in ("local", "tar") for out in outs):
        reject("--iidfile does not go with --output type=local or type=tar, which make no image")
    if path and all(out.kind == "cacheonly" for out in outs):
        reject("--iidfile does not go with --output type=cacheonly, which makes no image")
    return path or None


def _entitlements(parsed: Parsed, network: str) -> tuple[str, ...]:
    allowed = [name for name in parsed.many("allow") if name != "network.host"]
    for name in allowed:
        if name != "security.insecure":
            reject(f"--allow {name!r} is not supported", "one of network.host, security.insecure")
    # --network=host is consent enough. source: docker/buildx, build/opt.go, toSolveOpt
    if network == "host" or "network.host" in parsed.many("allow"):
        allowed.append("network.host")
    return tuple(sorted(set(allowed)))


def _jobs(parsed: Parsed) -> int:
    text = parsed.value("jobs", "0")
    if not text.isdecimal():
        reject(f"--jobs {text!r} is not a number")
    return int(text)


def check_attestations(parsed: Parsed) -> None:
    """Let pass what asks for no attestation, which is what is made; refuse the rest.

    raises   UsageError (``unsupported-flag``)
    source   docker/buildx, util/buildflags/attests.go: a false value, or ``disabled=true``, takes one out
    """
    for name in ("sbom", "provenance"):
        for text in parsed.many(name):
            if boolean(text) is not False and "disabled=true" not in text.split(","):
                reject(f"--{name}={text} is not supported: no attestations are made", code="unsupported-flag")
    for text in parsed.many("attest"):
        if boolean(values.attributes(text, "--attest").get("disabled", "false")) is not True:
            reject(f"--attest {text!r} is not supported: no attestations are made", code="unsupported-flag")
