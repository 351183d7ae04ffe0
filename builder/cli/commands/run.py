"""``pybuild run``: a command in a root made of an image."""

from __future__ import annotations

import os
import re
import termios
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from builder.cli.commands import Command
from builder.cli.container_options import OPTIONS, capabilities, environment, merged, mounts, network
from builder.cli.environment import Surroundings, passed_on
from builder.cli.limits import limits
from builder.cli.options import Parsed
from builder.cli.storing import complain, open_store, platform, progress
from builder.cli.values import host, memory, pairs, reject, ulimit
from builder.engine.containers.run import RunRequest
from builder.engine.containers.run import run as run_container
from builder.engine.images.kept import Image, find
from builder.errors import BuilderError, CommandFailed, ImageError, UsageError
from builder.events import silent
from builder.image.configuration import RunConfig
from builder.image.names import Reference
from builder.store.containers import NAME, Containers, fresh_name
from builder.store.store import Store

FAILED = 125
"""source: docker run reference, "Exit status": 125 if the error is Docker's own; 126 and 127 as chroot(1) has them"""


def run(parsed: Parsed, world: Surroundings) -> int:
    """Run a container; its command's exit code, or 125, 126, 127."""
    try:
        with open_store(parsed, world) as store, ExitStack() as stack:
            request = _request(parsed, world, store, stack)
            return run_container(request, store, silent).code
    except UsageError:
        raise
    except CommandFailed as e:
        complain(e, parsed, world)
        return e.exit_code
    except (BuilderError, OSError) as e:
        complain(e, parsed, world)
        return FAILED


def _request(parsed: Parsed, world: Surroundings, store: Store, stack: ExitStack) -> RunRequest:
    name = parsed.value("name")
    if name and not NAME.fullmatch(name):
        reject(f"--name {name!r} is no name of a container", "letters, digits, and _ . - after the first")
    extras, words, empty = mounts(parsed)
    if parsed.many("publish") or parsed.flag("publish-all"):
        world.stderr.write("note: -p: the network is the host's, so that every port is reached as it is\n")
    image = _image(parsed, world, store)
    config = _config(image.whole()[1].config, parsed, world)
    config = replace(config, volumes=(*config.volumes, *empty))
    identifier = os.urandom(32).hex()
    if not parsed.flag("rm") and not name:
        name = fresh_name(one.name for one in Containers(store).list())
    _cidfile(parsed.value("cidfile"), identifier)
    terminal = parsed.flag("tty")
    hostname = parsed.value("hostname")
    if hostname and not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", hostname):
        reject(f"--hostname {hostname!r} is no host name")
    return RunRequest(
        id=identifier,
        name=name,
        image=image,
        image_name=parsed.arguments[0],
        config=config,
        extras=extras,
        mounts=words,
        terminal=terminal,
        stdin=stack.enter_context(_stdin(world.stdin, parsed, terminal)),
        keep=not parsed.flag("rm"),
        read_only=parsed.flag("read-only"),
        network=network(parsed),
        hostname=hostname,
        hosts=tuple(line for text in parsed.many("add-host") for line in host(text)),
        security="insecure" if parsed.flag("privileged") else "sandbox",
        capabilities=capabilities(parsed),
        shm_size=memory(parsed.value("shm-size"), "--shm-size") if parsed.value("shm-size") else 64 << 20,
        ulimits=tuple(ulimit(text) for text in parsed.many("ulimit")),
        limits=limits(parsed, len(os.sched_getaffinity(0))),
        isolation=parsed.value("isolation", "auto"),
        userns=parsed.value("userns", "auto"),
        details={"Hostname": hostname or identifier[:12], "Tty": terminal, "OpenStdin": parsed.flag("interactive")},
    )


def _image(parsed: Parsed, world: Surroundings, store: Store) -> Image:
    """The image, pulled where it is not here or ``--pull`` wants it."""
    text, when, wanted = parsed.arguments[0], parsed.value("pull", "missing"), platform(parsed)
    try:
        if when != "always":
            image = find(store, text, wanted)
            _here(store, image)
            if not parsed.given("platform") or image.whole()[1].platform == wanted or when == "never":
                return image
    except ImageError as e:
        if when == "never" or e.code not in ("no-such-image", "incomplete-image"):
            raise
    # Only now a registry is wanted.
    from builder.engine.images.pulling import pull

    reference = Reference.parse(text)
    world.stderr.write(f"pulling {reference.familiar}\n")
    with progress(world, quiet=parsed.flag("quiet")) as emit:
        pull(store, reference, wanted, passed_on(world.environ), emit)
    return find(store, text, wanted)


def _here(store: Store, image: Image) -> None:
    manifest, _ = image.whole()
    if not all(store.blobs.has(layer.digest) for layer in manifest.layers):
        raise ImageError(
            f"{image.shown}: the store does not have all of its layers", code="incomplete-image", hint="pull it"
        )


def _config(own: RunConfig, parsed: Parsed, world: Surroundings) -> RunConfig:
    """The image's way to be run, with what the caller wants instead."""
    arguments = parsed.arguments[1:]
    entrypoint, cmd = own.entrypoint, arguments or own.cmd
    if parsed.given("entrypoint"):
        given = parsed.value("entrypoint")
        # docker/cli, run: the image's CMD belongs to its ENTRYPOINT, and goes with it
        entrypoint, cmd = ((given,) if given else None), arguments
    workdir = parsed.value("workdir", own.working_dir)
    if workdir and not workdir.startswith("/"):
        reject(f"--workdir {workdir!r} is not an absolute path")
    return replace(
        own,
        entrypoint=entrypoint,
        cmd=cmd,
        env=merged(own.env, environment(parsed, world.environ)),
        user=parsed.value("user", own.user),
        working_dir=workdir,
        labels={**own.labels, **pairs(parsed.many("label"), "--label")},
    )


def _cidfile(path: str, identifier: str) -> None:
    if not path:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise UsageError(f"--cidfile: {path} is there already", code="invalid-value", hint="remove it first") from None
    with os.fdopen(fd, "w") as file:
        file.write(identifier)


@contextmanager
def _stdin(fd: int, parsed: Parsed, terminal: bool) -> Iterator[int | None]:
    """What the command gets as its stdin; of a terminal, also as its stdout and stderr."""
    interactive = parsed.flag("interactive")
    if terminal:
        if not os.isatty(fd):
            if interactive:
                reject("the input device is not a terminal", "leave -t out where stdin is a file or a pipe")
            with _unattached() as theirs:
                yield theirs
            return
        from builder.sandbox.terminal import attached

        with attached(fd, 1) as theirs:
            yield theirs
    elif not interactive:
        yield None
    elif os.isatty(fd):
        with _relayed(fd) as reader:
            yield reader
    else:
        yield fd


@contextmanager
def _unattached() -> Iterator[int]:
    """A terminal that nobody types at, whose output goes to ours: ``-t`` in a script."""
    ours, theirs = os.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    copier = threading.Thread(target=_copy, args=(ours, 1), daemon=True)
    copier.start()
    try:
        yield theirs
    finally:
        # The last open end of theirs: what is still in it comes out, and then EIO.
        os.close(theirs)
        copier.join()
        os.close(ours)


@contextmanager
def _relayed(fd: int) -> Iterator[int]:
    """What is typed at the terminal *fd*, as a pipe: the command is not of the group that may read from there."""
    reader, writer = os.pipe()
    threading.Thread(target=_copy, args=(fd, writer, True), daemon=True).start()
    try:
        yield reader
    finally:
        os.close(reader)


def _copy(source: int, target: int, close: bool = False) -> None:
    try:
        while data := os.read(source, 1 << 16):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(target, rest) :]
    except OSError:
        pass  # the other end is gone: EIO of a terminal, EPIPE of a pipe
    if close:
        os.close(target)


COMMAND = Command(
    name="run",
    usage="run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    description=(
        "Runs a command in a new container made of an image, in the foreground; the exit code is the command's. The "
        "image is pulled where it is not here. 125: it could not be run; 126, 127: the command cannot be, or is not "
        "there."
    ),
    options=OPTIONS,
    examples=(
        "pybuild run --rm -it debian bash",
        "pybuild run --rm -v ./src:/src:ro -w /src golang go test ./...",
        "pybuild run --name try app make check && pybuild commit try app:checked",
    ),
    arguments=(1, None),
    run=run,
    interspersed=False,
)
