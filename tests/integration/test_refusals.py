"""Places that refuse what a build would do: the next way is taken and the image is the same, or a line says what to do.

Whoever builds does so under a filter that refuses some calls, as containers' profiles and other kernels do. The tables
are a choice of what was tried call by call, with EPERM, ENOSYS, EINVAL and ENOSPC each.
"""

from __future__ import annotations

import errno
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench, Built, Image
from worlds.command import Pybuild, installed_for
from worlds.people import Person, whoever_runs_this
from worlds.processes import remove_tree
from worlds.refusing import refusing

NEW_MOUNTS = ("fsopen", "fsconfig", "fsmount", "move_mount", "open_tree", "mount_setattr")
DOCKERFILE = (
    "FROM base\nCOPY file /file\n"
    "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t mkdir -p /a/b && echo x >/a/b/c && rm -rf /file"
    " && chown 33:44 /a/b/c && ln -s c /a/b/l && ln /a/b/c /a/h && cat /proc/self/comm >/dev/null\n"
    "RUN rm -rf /a/b && mkdir /a/b && echo second >/a/b/d\n"
)
ROOT, SUB_IDS, ONE_ID, JAILED = (
    "overlay, identities: root",
    "overlay, identities: subid",
    "overlay, identities: single",
    "copy, identities: chroot",
)


@pytest.fixture(scope="module")
def place(
    require_root: Callable[[], None], ordinary_user: Person, workroom: Path, busybox_oci: Path
) -> Iterator[Callable[[str], Bench]]:
    """``place("root")``, ``place("ordinary user")``: a bench with the Dockerfile, and a new store each time."""
    require_root()
    folder = Path(tempfile.mkdtemp(prefix="refusals-", dir=workroom))
    folder.chmod(0o777)

    def make(who: str) -> Bench:
        person = whoever_runs_this() if who == "root" else ordinary_user
        launch, environment = installed_for(person, workroom)
        room = Path(tempfile.mkdtemp(dir=folder))
        person.owns(room)
        pybuild = Pybuild(person=person, store=room / "store", launch=launch, environment=environment)
        bench = Bench(pybuild=pybuild, room=room, base=busybox_oci)
        bench.write(DOCKERFILE, {"file": "hello"})
        return bench

    yield make
    remove_tree(folder)


@pytest.fixture(scope="module")
def expected(place: Callable[[str], Bench]) -> str:
    """The digest of the image where nothing is refused."""
    return _image(place("root"))[1].digest


def _image(bench: Bench, *words: str) -> tuple[str, Image]:
    """What the build took, and its image."""
    built, image = bench.image("--reproducible", *words, env={"SOURCE_DATE_EPOCH": "1000000000"})
    (took,) = [one["text"] for one in built.named("note") if one["text"].startswith("isolation: ")]
    return took.removeprefix("isolation: "), image


def _failed(bench: Bench, *words: str) -> Built:
    """A build that fails as it should: not by a mistake of ours, and in one error."""
    built = bench.build(*words, check=False)
    assert built.code == 1
    assert built.error["code"] not in ("internal", "gate-lost", "server-gone")
    return built


WAYS = [
    ("root", ("fsopen",), errno.EPERM, ROOT),
    ("root", ("fsmount",), errno.EPERM, ROOT),
    ("ordinary user", ("move_mount",), errno.ENOSYS, SUB_IDS),
    ("ordinary user", NEW_MOUNTS, errno.ENOSYS, SUB_IDS),
    ("root", NEW_MOUNTS, errno.EPERM, ROOT),
    ("ordinary user", ("sethostname", "pivot_root"), errno.ENOSYS, SUB_IDS),
    ("root", ("linkat", "copy_file_range", "ioctl"), errno.EPERM, ROOT),
    ("ordinary user", ("mknodat", "mknod"), errno.EINVAL, "copy, identities: subid"),
    ("root", ("clone(CLONE_NEWNS)", "unshare"), errno.EPERM, JAILED),
    ("root", ("clone(CLONE_NEWPID)",), errno.ENOSPC, JAILED),
    ("ordinary user", ("pidfd_open", "pidfd_getfd"), errno.EPERM, ONE_ID),
    ("ordinary user", ("process_vm_readv", "process_vm_writev"), errno.EPERM, ONE_ID),
    ("ordinary user", ("process_vm_readv", "process_vm_writev", "landlock_create_ruleset"), errno.ENOSYS, ONE_ID),
]


@pytest.mark.parametrize(("who", "calls", "number", "took"), WAYS)
def test_there_is_another_way(
    place: Callable[[str], Bench], expected: str, who: str, calls: tuple[str, ...], number: int, took: str
) -> None:
    words = ("--userns=single",) if took == ONE_ID else ()
    found, image = _image(refusing(place(who), calls, number), *words)
    assert found == took
    assert image.digest == expected


PROFILE = "a seccomp profile, a security module or the file system refuses it: 'pybuild doctor' says what this machine"
UNCONFINED = (
    "start the container with a profile that allows clone and mount: podman's default one, or docker run --security-opt"
    " seccomp=unconfined --security-opt apparmor=unconfined; or "
)
ALL = "in a container, start it with a seccomp profile that allows clone with all namespaces: podman's default one"
LINES = [
    (
        *("ordinary user", ("clone(CLONE_NEWUSER)",), errno.EPERM, "user-namespaces-refused"),
        "user namespaces are refused here, most likely by the container's seccomp profile",
        UNCONFINED + "start it as root",
    ),
    (
        *("ordinary user", ("clone(CLONE_NEWUSER)",), errno.EINVAL, "no-user-namespaces"),
        "this kernel has no user namespaces",
        "a kernel with CONFIG_USER_NS and CONFIG_PID_NS is needed, Linux 5.11 or later",
    ),
    (
        *("ordinary user", ("clone(CLONE_NEWUSER)",), errno.ENOSPC, "user-namespaces-disabled"),
        "no more user namespaces can be made here: clone: No space left on device",
        "raise user.max_user_namespaces in the namespaces around this one, or nest less deeply",
    ),
    (
        *("ordinary user", ("mount(MS_PRIVATE)",), errno.EACCES, "mounts-refused"),
        "mounting is refused inside the namespaces: mount: Permission denied",
        "in a container, start it with --security-opt apparmor=unconfined and a seccomp profile that allows mount",
    ),
    (
        *("root", ("clone(CLONE_NEWIPC)",), errno.EPERM, "namespaces-refused"),
        "no namespaces for a command: Operation not permitted",
        ALL,
    ),
    (
        *("ordinary user", ("clone(CLONE_NEWUTS)",), errno.ENOSPC, "namespaces-refused"),
        "no namespaces for a command: No space left on device",
        "raise user.max_pid_namespaces and its like, or nest less deeply",
    ),
    (
        *("root", ("seccomp",), errno.EINVAL, "no-seccomp"),
        "the calls of commands cannot be filtered: seccomp: Invalid argument",
        "a kernel with CONFIG_SECCOMP_FILTER is needed, and in a container a profile that allows seccomp(2)",
    ),
    (
        *("ordinary user", ("memfd_create",), errno.EPERM, "eperm"),
        "memfd_create: operation not permitted",
        PROFILE + " allows",
    ),
    (
        *("root", ("clone3",), errno.EPERM, "no-threads"),
        "no thread can be started",
        "raise the limit of processes: ulimit -u, or the container's pids limit; Docker before 20.10.10 wants"
        " --security-opt seccomp=unconfined for newer programs' threads",
    ),
]


@pytest.mark.parametrize(("who", "calls", "number", "code", "message", "hint"), LINES)
def test_one_line_says_what_is_refused_and_another_what_to_do(
    place: Callable[[str], Bench],
    who: str,
    calls: tuple[str, ...],
    number: int,
    code: str,
    message: str,
    hint: str,
) -> None:
    error = _failed(refusing(place(who), calls, number)).error
    assert (error["code"], error["message"], error["hint"]) == (code, message, hint)


def test_a_kernel_before_openat2_is_told_as_too_old(place: Callable[[str], Bench]) -> None:
    error = _failed(refusing(place("root"), ("openat2",), errno.ENOSYS)).error
    assert error["code"] == "enosys"
    assert error["message"].startswith("openat2: function not implemented: of-base-")
    assert error["hint"].startswith("Linux 5.11 or later is needed, ")


LIMITS = [
    ("mnt", "user-namespaces-disabled", "mnt namespaces are turned off: user.max_mnt_namespaces is 0", ""),
    ("pid", "user-namespaces-disabled", "pid namespaces are turned off: user.max_pid_namespaces is 0", ""),
    ("ipc", "namespaces-refused", "no namespaces for a command: No space left on device", ""),
    (
        *("net", "namespaces-refused", "no namespaces for a command: No space left on device"),
        "; or do without --network=none",
    ),
]


@pytest.mark.parametrize(("kind", "code", "message", "besides"), LIMITS)
def test_a_limit_of_namespaces_is_named(
    place: Callable[[str], Bench], kind: str, code: str, message: str, besides: str
) -> None:
    bench = place("ordinary user")
    bench.write("FROM base\nRUN --network=none true\n")
    within = ("unshare", "-Ur", "bash", "-c", f'echo 0 >/proc/sys/user/max_{kind}_namespaces\nexec "$@"', "bash")
    bench = replace(bench, pybuild=replace(bench.pybuild, launch=(*within, *bench.pybuild.launch)))
    error = _failed(bench).error
    assert (error["code"], error["message"]) == (code, message)
    assert error["hint"] == f"as root: sysctl -w user.max_{kind}_namespaces=28633{besides}"


@pytest.mark.parametrize("who", ["root", "ordinary user"])
@pytest.mark.parametrize(
    "calls",
    [("clone(CLONE_NEWUSER)", "clone(CLONE_NEWNS)"), NEW_MOUNTS, ("seccomp",), ("mount",), ("memfd_create",)],
    ids=lambda calls: calls[0],
)
def test_doctor_says_what_it_finds_whatever_is_refused(
    place: Callable[[str], Bench], who: str, calls: tuple[str, ...]
) -> None:
    pybuild = refusing(place(who), calls, errno.EPERM).pybuild
    done: subprocess.CompletedProcess[str] = pybuild("doctor", cwd=Path("/"))
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stdout + done.stderr
    assert "error[internal]" not in done.stderr
    assert "Identities (--userns)" in done.stdout
