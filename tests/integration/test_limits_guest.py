"""Limits of commands, kept by control groups of version 2: in a machine of its own, with Debian's kernel.

It is older than 6.7, too, as many hosts' are.
"""

from __future__ import annotations

import json
import platform
import shlex
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from worlds import guest
from worlds.command import Pybuild
from worlds.jails import refusing
from worlds.processes import remove_tree

GROUPS = "/sys/fs/cgroup"
OURS = "/builders/own"  # delegated to the ordinary user; the group above it is not
OWN_GROUP = f"cd {GROUPS}$(sed s/0::// /proc/self/cgroup)"
START = "systemd-run --user --scope -p Delegate=yes pybuild …"
ELSE = "or limit pybuild itself: what starts it, a service or a container, can"


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """The machine, and pybuild in it. base: an OCI layout."""

    guest: guest.Guest
    pybuild: Pybuild
    base: Path

    def run(
        self, *words: str, user: str = "", group: str = OURS, through: tuple[str, ...] = (), check: bool = True
    ) -> guest.Ended:
        """What ``pybuild *words*`` does for *user* (the ordinary one), alone in the control group *group*.

        through   what it is started by
        """
        user = user or self.pybuild.person.name
        person = () if user == "root" else ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
        own = {"PYBUILD_ROOT": f"/disk/{user}/store", "HOME": f"/disk/{user}", **self.pybuild.environment}
        # exec: no shell stays in the group.
        line = shlex.join((*person, *through, *self.pybuild.launch, *words))
        return self.guest.sh(f"echo $$ >{GROUPS}{group}/cgroup.procs; exec {line}", check=check, **own)

    def build(self, command: str, *words: str, output: str = "type=cacheonly", **how: Any) -> guest.Ended:
        """A build of one RUN."""
        folder = f"/disk/context-{command.encode().hex()[:40]}"
        self.guest.sh(
            f"mkdir -p {folder}; printf '%s\n' 'FROM base' {shlex.quote('RUN ' + command)} >{folder}/Dockerfile"
        )
        base = ("--build-context", f"base=oci-layout://{self.base}", "--no-cache", "--progress=plain")
        return self.run("build", *base, "-o", output, *words, folder, **how)

    def left(self) -> str:
        """What of control groups is there that was not there before: folders, and controllers enabled."""
        return self.guest.sh(f"find {GROUPS} -name 'pybuild-*'; cat {GROUPS}{OURS}/cgroup.subtree_control").out


@pytest.fixture(scope="module")
def there(
    require: Callable[..., None],
    require_root: Callable[[], None],
    pybuild_rootless_module: Pybuild,
    busybox_oci: Path,
    workroom: Path,
) -> Iterator[There]:
    if platform.machine() != "x86_64":
        pytest.skip("the machine that is emulated is x86_64, and this one is not")
    require_root()
    require(*guest.PROGRAMS)
    assert guest.kernels(), f"no kernel in {guest.KERNELS}: scripts/setup --tests unpacks one"
    room = Path(tempfile.mkdtemp(prefix="guest-", dir=workroom))
    with guest.booted(room) as machine:
        user = pybuild_rootless_module.person.name
        machine.sh(
            f"""set -e
            for name in root {user}; do mkdir /disk/$name; chown $name: /disk/$name; done
            cd {GROUPS}; echo '+memory +pids +cpu +cpuset' >cgroup.subtree_control
            mkdir builders; echo '+memory +pids +cpu +cpuset' >builders/cgroup.subtree_control; mkdir builders/own
            cd builders/own; chown {user}: . cgroup.procs cgroup.subtree_control cgroup.threads"""
        )
        yield There(guest=machine, pybuild=pybuild_rootless_module, base=busybox_oci)
    remove_tree(room)


def error_of(ended: guest.Ended) -> str:
    """The error and its hint."""
    assert ended.code == 1, ended.out
    return ended.out[ended.out.index("error[") :].strip()


def lines_of(ended: guest.Ended) -> list[str]:
    """What the first step wrote."""
    words = (line.split(" ", 2) for line in ended.out.splitlines() if line.startswith("#1 "))
    return [word[2] for word in words if len(word) == 3 and word[1].replace(".", "").isdigit()]


def test_a_command_has_what_was_asked_for_and_nothing_is_left(there: There) -> None:
    read = "memory.max memory.swap.max cpu.max cpu.weight cpuset.cpus"
    limits = ("-m", "64m", "--memory-swap=100m", "--cpu-quota=50000", "-c", "512", "--cpuset-cpus=1")
    built = there.build(f"{OWN_GROUP}; pwd; cat {read}; wc -l <cgroup.procs", *limits)
    group, *values = lines_of(built)
    assert group.startswith(f"{GROUPS}{OURS}/pybuild-")
    assert values == ["67108864", "37748736", "50000 100000", "59", "1", "1"]
    assert there.left() == ""


def test_with_one_id_owners_are_known_in_memory_file_systems_too_and_a_limit_that_is_reached_is_told(
    there: There,
) -> None:
    """Before Linux 6.6 those keep no user attributes; ``stat`` tells what was given, and not what was taken back."""
    told = "stat -c '%u:%g %t,%T' /dev/shm /dev/shm/*"
    given = "cd /dev/shm; touch a; mkdir d; mknod n c 1 3; chown 7:8 . a; chown 9 d n; chown 7:8 d; chown 0:0 d"
    command = f"{given}; {told}; tail -c 900000000 /dev/zero"
    ended = there.build(command, "-m", "16m", through=("setpriv", "--no-new-privs"), check=False)
    assert "identities: single" in ended.out
    assert lines_of(ended) == ["7:8 0,0", "7:8 0,0", "0:0 0,0", "9:0 1,3"]
    assert error_of(ended).splitlines()[0] == (
        f'error[command-failed]: process "/bin/sh -c {command}" did not complete successfully: signal 9, exit code: 137'
    )
    assert error_of(ended).splitlines()[-1] == (
        "hint: memory ran out: the command reached its limit of 16m (--memory), and the kernel killed a process of it; "
        "raise the limit, or let the command use less"
    )
    assert there.left() == ""


def test_what_is_not_delegated_is_an_error_before_anything_runs(there: There) -> None:
    ended = there.build("true", "--memory=64m", group="", check=False)
    assert error_of(ended) == (
        "error[no-control-group]: --memory cannot be kept here: the control group / is not delegated to this user\n"
        f"hint: start pybuild in one that is: {START}; {ELSE}"
    )
    assert "#1" not in ended.out


def test_others_in_the_group_are_named_and_left_alone(there: There) -> None:
    other = there.guest.sh(f"sleep 1000 & echo $! >{GROUPS}{OURS}/cgroup.procs; echo $!").out.strip()
    try:
        ended = there.build("true", "--memory=64m", check=False)
    finally:
        there.guest.sh(f"kill {other}; while kill -0 {other} 2>/dev/null; do sleep 0.05; done")
    assert error_of(ended) == (
        f"error[no-control-group]: --memory cannot be kept here: the control group {OURS} has other processes than "
        f"pybuild ({other}), so that no controller can be enabled in it\n"
        f"hint: start pybuild alone in its group: {START}; in a container, move them into a group below: mkdir "
        f"{GROUPS}{OURS}/init, and write their ids to its cgroup.procs"
    )
    assert there.left() == ""


def test_root_keeps_limits_in_the_root_of_all_and_in_a_container_too(there: There) -> None:
    there.build("true", "--tag=app", output="type=image", user="root", group="")
    # More than ten at once are not to be had: the shell, and nine others.
    many = "for n in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo all"
    ended = there.run("run", "--rm", "--pids-limit=10", "app", "sh", "-c", many, user="root", group="", check=False)
    assert ended.out == "sh: can't fork: Resource temporarily unavailable\n"
    assert ended.code == 2
    assert there.left() == ""


def test_a_jailed_command_is_limited_too_below_the_group_that_is_named(there: There) -> None:
    words = ("--cgroup-parent=builders/own", "--memory=16m")
    ended = there.build("tail -c 900000000 /dev/zero", *words, user="root", group="", through=refusing(), check=False)
    assert "identities: chroot" in ended.out
    assert "the command reached its limit of 16m (--memory)" in error_of(ended)
    # Root enabled the controller where it was told to, and others may have come to rely on it.
    assert there.left() == "memory\n"
    there.guest.sh(f"echo -memory >{GROUPS}{OURS}/cgroup.subtree_control")


def test_what_a_killed_build_left_is_removed_by_the_next(there: There) -> None:
    waits = f"{OWN_GROUP}; pwd >/dev/null; sleep 1000"
    killer = f"""
        set -e
        until pid=$(cat {GROUPS}{OURS}/pybuild-*/builder/cgroup.procs 2>/dev/null | head -1) && [ -n "$pid" ] &&
              grep -qs . {GROUPS}{OURS}/pybuild-*/run-*/cgroup.procs && pgrep -x sleep >/dev/null; do sleep 0.05; done
        kill -9 $pid
    """
    there.guest.sh(f"({killer}) </dev/null >/dev/null 2>&1 &")
    assert there.build(waits, "--memory=64m", check=False).code == -9
    there.guest.sh(f"until grep -q 'populated 0' {GROUPS}{OURS}/cgroup.events; do sleep 0.05; done")
    assert f"{GROUPS}{OURS}/pybuild-" in there.left()
    # Nobody can enter the place itself any more. doctor tries all limits: that of memory can be kept where it is, the
    # others where it may enable them.
    there.guest.sh(f"mkdir {GROUPS}{OURS}/next; cd {GROUPS}{OURS}/next; chown {there.pybuild.person.name}: . cgroup.*")
    found = json.loads(there.run("doctor", "--json", group=f"{OURS}/next").out)
    assert [rung for rung in found["Rungs"] if rung["Topic"] == "limits"] == [
        {
            "Topic": "limits",
            "Name": "memory, cpu, cpuset, pids",
            "Works": True,
            "Taken": False,
            "Detail": f"commands get control groups of their own in {OURS} or {OURS}/next",
            "Hint": None,
        }
    ]
    assert there.left() == "cpuset cpu memory pids\n"
