"""Through the gate and back, by root, by a container's root, and by an ordinary user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.sandboxes import as_person

from builder.errors import BuilderError, HostError, InternalError, UsageError
from builder.sandbox import gate
from builder.sandbox.identity import Identity

Through = Callable[..., object]


@pytest.fixture(params=["root", "container root", "ordinary user"])
def person(request: pytest.FixtureRequest) -> tuple[Person, tuple[str, ...]]:
    if request.param == "ordinary user":
        return request.getfixturevalue("ordinary_user"), ()
    if os.geteuid() != 0:
        pytest.skip("not root")
    return whoever_runs_this(), ("CAP_SYS_ADMIN",) if request.param == "container root" else ()


@pytest.fixture
def through(person: tuple[Person, tuple[str, ...]]) -> Through:
    def call(function, *, before=lambda: None, heard=None):
        def caller():
            before()
            messages = []
            result = gate.call(function, identity=gate.identity(), on_message=messages.append)
            return (result, messages) if heard is None else heard(result, messages)

        return as_person(person[0], caller, without=person[1])

    return call


def test_the_function_runs_as_root_inside_and_its_result_comes_back(through):
    def inside(send):
        send("one")
        send({"two": [2]})
        return os.getuid(), os.getgid(), gate.inside(), os.getpid() < 5

    assert through(inside) == ((0, 0, True, True), ["one", {"two": [2]}])
    assert not gate.inside()


def test_all_ids_of_the_map_can_own_files(through, room, person):
    person[0].owns(room)

    def inside(_):
        (room / "file").touch()
        os.chown(room / "file", 33, 65534)
        state = (room / "file").stat()
        return state.st_uid, state.st_gid

    assert through(inside)[0] == (33, 65534)


def test_what_is_mounted_inside_is_not_seen_outside(through, room, person):
    from native import syscalls

    person[0].owns(room)

    def inside(_):
        syscalls.mount("tmpfs", room, "tmpfs")
        (room / "seen").touch()
        return os.listdir(room)

    assert through(inside)[0] == ["seen"]
    assert os.listdir(room) == []


def test_an_error_crosses_as_itself(through):
    def inside(_):
        raise UsageError("no such thing", code="no-such-thing", hint="look again")

    with pytest.raises(UsageError) as caught:
        through(inside)
    error = caught.value
    assert (error.message, error.code, error.hint) == ("no such thing", "no-such-thing", "look again")


def test_any_other_exception_crosses_as_ours_with_its_traceback(through):
    def inside(_):
        return {}["absent"]

    with pytest.raises(InternalError) as caught:
        through(inside)
    assert caught.value.message == "KeyError: 'absent'"
    assert "Traceback" in caught.value.__notes__[0]
    assert "inside" in caught.value.__notes__[0]


def test_what_cannot_be_pickled_is_our_mistake(through):
    with pytest.raises(InternalError, match=r"^a message cannot cross the gate: "):
        through(lambda _: lambda: None)


def test_being_killed_is_told(through):
    with pytest.raises(HostError, match=r"^the build was killed from outside$"):
        through(lambda _: os.kill(os.getpid(), signal.SIGKILL))


def test_ending_without_a_word_is_our_mistake(through):
    with pytest.raises(InternalError) as caught:
        through(lambda _: os._exit(3))
    assert caught.value.message == "the process behind the gate ended without a word (exit code 3)"


def test_no_descriptor_and_no_child_is_left(through):
    def count(result, _):
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return result == len(os.listdir("/proc/self/fd"))

    fds = []
    assert through(lambda _: fds[0], before=lambda: fds.append(len(os.listdir("/proc/self/fd"))), heard=count)


def test_a_caller_with_threads_gets_through_as_well(through):
    stop = threading.Event()

    def before():
        threading.Thread(target=stop.wait, args=(5,), daemon=True).start()

    assert through(lambda _: len(os.listdir("/proc/self/task")), before=before)[0] == 1


def test_an_error_of_the_listener_ends_what_is_inside(through, room, person):
    person[0].owns(room)

    def inside(send):
        try:
            send("x")
            time.sleep(60)
        finally:
            (room / "cleaned").touch()

    def caller():
        def refuse(_):
            raise UsageError("enough", code="enough")

        gate.call(inside, identity=gate.identity(), on_message=refuse)

    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"^enough$"):
        as_person(person[0], caller, without=person[1])
    assert (room / "cleaned").exists()
    assert time.monotonic() - begun < 30


def test_what_does_not_end_when_asked_is_ended(through, monkeypatch, person):
    monkeypatch.setattr(gate, "GRACE", 0.3)

    def inside(send):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send("x")
        time.sleep(60)

    def caller():
        def interrupt(_):
            raise KeyboardInterrupt

        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            gate.call(inside, identity=gate.identity(), on_message=interrupt)
        return time.monotonic() - begun

    assert 0.2 < as_person(person[0], caller, without=person[1]) < 3


def test_the_gate_is_entered_once(through):
    def inside(_):
        gate.call(lambda _: None, identity=Identity(kind="root", key="root"), on_message=print)

    with pytest.raises(InternalError, match=r"^the gate is entered twice$"):
        through(inside)


PROGRAM = """
    import os, sys, time
    from pathlib import Path
    from builder.sandbox import gate
    from builder.sandbox.runner import Runner

    def inside(send):
        child = os.fork()
        if child == 0:
            os.execv("/bin/sleep", ["sleep", sys.argv[2]])
        try:
            send("ready")
            time.sleep(60)
        finally:
            Path(sys.argv[1]).touch()

    def tell(message):
        print(message, flush=True)

    gate.call(inside, identity=gate.identity(), on_message=tell)
"""


@pytest.mark.parametrize(
    ("number", "code", "cleaned"),
    [(signal.SIGINT, -signal.SIGINT, True), (signal.SIGTERM, -signal.SIGTERM, True), (signal.SIGKILL, -9, False)],
)
def test_a_signal_to_the_caller_ends_everything_at_once(room, person, number, code, cleaned):
    person[0].owns(room)
    sleep = str(100_000 + os.getpid())

    def start() -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), str(room / "cleaned"), sleep],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, number)
        process.stdout.close()
        return process.wait(10)

    assert as_person(person[0], start, without=person[1]) == code
    until = time.monotonic() + 3
    while _running(sleep) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _running(sleep)
    assert (room / "cleaned").exists() is cleaned


def _running(argument: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if (entry / "cmdline").read_bytes().split(b"\0")[1:2] == [argument.encode()]:
                return True
        except OSError:
            continue
    return False


# --- who we can be


def test_an_identity_names_its_map(ordinary_user):
    found = as_person(ordinary_user, gate.identity)
    assert found.kind == "subid"
    assert found.key.startswith(f"u{ordinary_user.uid}-")
    assert (found.uids[0].inside, found.uids[0].outside, found.uids[0].count) == (0, ordinary_user.uid, 1)


def test_root_needs_no_user_namespace(require_root):
    require_root()
    assert gate.identity() == Identity(kind="root", key="root")
    assert gate.identity("none") == gate.identity()


def test_a_containers_root_maps_its_own_ids(require_root):
    require_root()
    found = as_person(whoever_runs_this(), gate.identity, without=("CAP_SYS_ADMIN",))
    assert (found.kind, found.key) == ("own", "own")
    assert [str(part) for part in found.uids] == ["0 0 4294967295"]


def test_an_ordinary_user_cannot_do_without_a_user_namespace(ordinary_user):
    with pytest.raises(
        HostError, match=r"^only root with CAP_SYS_ADMIN or CAP_SYS_CHROOT can do without a user namespace$"
    ):
        as_person(ordinary_user, lambda: gate.identity("none"))


def test_root_that_may_not_map_its_ids_is_told_what_it_needs(require_root):
    require_root()

    def caller():
        return gate.call(lambda _: None, identity=gate.identity(), on_message=print)

    with pytest.raises(HostError) as caught:
        as_person(whoever_runs_this(), caller, without=("CAP_SYS_ADMIN", "CAP_SETFCAP"))
    assert caught.value.message == "this root may not map its own ids: Operation not permitted"


def test_newuidmap_under_no_new_privs_is_explained(ordinary_user):
    from native import constants, syscalls

    def caller():
        syscalls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
        return gate.call(lambda _: None, identity=gate.identity("subid"), on_message=print)

    with pytest.raises(BuilderError) as caught:
        as_person(ordinary_user, caller)
    assert caught.value.code == "newuidmap-failed"
    assert caught.value.hint == (
        "no_new_privs is set, which makes setuid programs powerless: allow privilege escalation for this process"
    )
