"""The supervisor of a command: what happens when it cannot go on, and that it holds out."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.people import Person
from worlds.sandboxes import NO_NEW_PRIVILEGES, Sandbox, as_person, busybox_root

from builder.errors import BuilderError, HostError
from builder.sandbox import gate
from builder.sandbox.runner import Runner


@pytest.fixture
def one_id(require: Callable[..., None], ordinary_user: Person, room: Path) -> Sandbox:
    """Commands of the ordinary user, for whom newuidmap is powerless."""
    require("busybox")
    as_person(ordinary_user, lambda: bool(busybox_root(room / "lower")))
    return Sandbox(person=ordinary_user, lower=room / "lower", room=room, without=(NO_NEW_PRIVILEGES,))


def supervisors() -> list[tuple[int, Path]]:
    """Called behind the gate: processes that our server forked into our own pid namespace, as the commands are not.

    Each by its number here, and its folder in this /proc, which may be another namespace's.
    """
    me, depth = os.readlink("/proc/self"), len(_status("self")["NSpid"])
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = _status(entry.name)
            if len(status["NSpid"]) == depth and _status(status["PPid"][0])["PPid"][0] == me:
                found.append((int(status["NSpid"][-1]), entry))
        except OSError:
            continue  # it ended meanwhile
    return found


def _status(process: str) -> dict[str, list[str]]:
    """source: proc_pid_status(5)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def test_a_command_whose_supervisor_is_killed_ends_with_one_error(one_id: Sandbox) -> None:
    # It makes a call that is asked about, tells, and then waits for good.
    command = one_id.command(("/bin/sh", "-c", "id -u; echo ready; sleep 1000"))

    def inside(_: object) -> str:
        def output(_stream: int, data: bytes) -> None:
            if b"ready" in data:
                ((supervisor, _),) = supervisors()
                os.kill(supervisor, signal.SIGKILL)

        with Runner() as runner:
            try:
                runner.run(command, output=output)
            except BuilderError as error:
                return f"{error.code}: {error}"
        return "it ended"

    assert one_id.behind(inside) == (
        "supervisor-gone: the process that answers for the owners of a command's files was ended by signal 9"
    )


def test_one_that_cannot_record_says_so(one_id: Sandbox) -> None:
    """/proc takes no user attributes, and neither does a file system of old."""
    with pytest.raises(HostError) as raised:
        one_id.run("echo before; chown 5:5 /proc/self/comm; echo after; sleep 1000")
    assert raised.value.code == "no-user-xattrs"


def test_a_limit_that_keeps_no_ids_is_told(one_id: Sandbox) -> None:
    command = one_id.command(("/bin/sh", "-c", "su app -c 'id -u'"))

    def inside(_: object) -> int:
        with Runner() as runner:
            return runner.run(command, output=lambda *_: None).status.code

    def limited() -> int:
        resource.setrlimit(10, (0, 0))
        return gate.call(inside, identity=gate.identity(), on_message=lambda _: None)

    with pytest.raises(HostError) as raised:
        as_person(one_id.person, limited, without=one_id.without)
    assert str(raised.value) == "the ids of processes cannot be kept: the hard limit RLIMIT_LOCKS is 0"
    assert raised.value.code == "no-supervisor"


def test_a_limit_of_whoever_builds_makes_nobody_another(one_id: Sandbox) -> None:
    command = one_id.command(("/bin/sh", "-c", "su app -c 'id -u'; id -u; sh -c 'id -u'"))

    def inside(_: object) -> bytes:
        written = bytearray()
        with Runner() as runner:
            runner.run(command, output=lambda _, data: written.extend(data))
        return bytes(written)

    def limited() -> bytes:
        resource.setrlimit(10, (1, 1000))
        return gate.call(inside, identity=gate.identity(), on_message=lambda _: None)

    out = as_person(one_id.person, limited, without=one_id.without)
    assert out.split() == [b"1000", b"0", b"0"]


def test_descriptors_of_a_supervisor_do_not_add_up(one_id: Sandbox) -> None:
    loop = (
        "mkdir -m 777 /w; cd /w; i=0; while [ $i -lt 400 ]; do touch f$i; chown 5:6 f$i; ln -s x l$i; chown -h 7:8 l$i;"
        " stat l$i >/dev/null; mv l$i m$i; i=$((i+1)); done; su app -c"
        " 'i=0; while [ $i -lt 400 ]; do echo > u$i; mkdir d$i; i=$((i+1)); done'; echo done; sleep 1000"
    )
    command = one_id.command(("/bin/sh", "-c", loop))

    def inside(_: object) -> int:
        counted: list[int] = []

        def output(_stream: int, data: bytes) -> None:
            if b"done" in data:
                ((_, folder),) = supervisors()
                counted.append(len(list((folder / "fd").iterdir())))
                runner.cancel()

        with Runner() as runner, pytest.raises(HostError, match="cancelled"):
            runner.run(command, output=output)
        return counted[0]

    assert one_id.behind(inside) < 15
