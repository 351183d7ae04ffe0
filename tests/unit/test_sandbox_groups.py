"""Where a control group can be made, told of facts alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import HostError
from builder.sandbox.groups.facts import Facts, Group, Mounted, below, memberships, mounts
from builder.sandbox.groups.limits import Limits
from builder.sandbox.groups.places import Place, places

TOP = Path("/sys/fs/cgroup")
MOUNTED = Mounted(top="/", folder=TOP, read_only=False)
ALL = frozenset({"cpu", "cpuset", "memory", "pids"})
OURS = frozenset({100, 101})
MEMORY = Limits(memory=1 << 30)
START = "systemd-run --user --scope -p Delegate=yes pybuild …"
ELSE = "or limit pybuild itself: what starts it, a service or a container, can"


def group(path: str, **how: object) -> Group:
    return Group(**{"path": path, "folder": TOP / path.strip("/"), "controllers": ALL, **how})  # type: ignore[arg-type]


def found(*groups: Group, limits: Limits = MEMORY, root: bool = False) -> tuple[Place, ...]:
    return places(Facts(mounted=MOUNTED, groups=groups), limits, OURS, root=root)


def refused(facts: Facts, limits: Limits = MEMORY, *, root: bool = False) -> tuple[str, str | None]:
    with pytest.raises(HostError) as caught:
        places(facts, limits, OURS, root=root)
    assert caught.value.code == "no-control-group"
    return caught.value.message, caught.value.hint


# Where it can be


def test_our_own_group_is_taken_and_our_processes_leave_it() -> None:
    own = group("/a/b", processes=OURS)
    assert found(own, group("/a")) == (
        Place(group=own, enable=frozenset({"memory"}), moves=OURS),
        Place(group=group("/a"), enable=frozenset({"memory"}), moves=frozenset()),
    )


def test_the_root_of_all_may_have_processes() -> None:
    root = group("/", kind="", processes=OURS | {1, 2})
    assert found(root) == (Place(group=root, enable=frozenset({"memory"}), moves=frozenset()),)


def test_where_others_are_the_one_above_is_taken() -> None:
    busy, above = group("/a/b", processes=OURS | {7}), group("/a", enabled=ALL)
    assert found(busy, above) == (Place(group=above, enable=frozenset(), moves=frozenset()),)


def test_a_process_that_is_in_no_namespace_of_ours_is_somebody_elses() -> None:
    above = group("/a", enabled=ALL)
    assert found(group("/a/b", processes=OURS | {0}), above)[0].group == above


def test_who_only_wants_a_group_needs_no_controller() -> None:
    busy = group("/a", processes=OURS | {7}, controllers=frozenset())
    assert found(busy, limits=Limits(parent="/a")) == (Place(group=busy, enable=frozenset(), moves=frozenset()),)


def test_only_what_is_not_enabled_yet_is_enabled() -> None:
    both = Limits(memory=1 << 30, pids=10)
    assert found(group("/a", enabled=frozenset({"pids"})), limits=both)[0].enable == {"memory"}


# Where it can't


def test_controllers_of_version_1_are_told() -> None:
    facts = Facts(first_version=frozenset({"memory"}), mounted=MOUNTED, groups=(group("/", kind=""),))
    assert refused(facts) == (
        "--memory cannot be kept here: this host has its controllers on cgroup v1",
        f"boot it with systemd.unified_cgroup_hierarchy=1, or cgroup_no_v1=all; {ELSE}",
    )
    assert places(facts, Limits(pids=5), OURS, root=False)


def test_nothing_mounted() -> None:
    assert refused(Facts()) == (
        "--memory cannot be kept here: no cgroup v2 file system with our own group is mounted",
        f"mount it, as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup; {ELSE}",
    )


def test_mounted_read_only_as_in_a_container() -> None:
    facts = Facts(mounted=Mounted(top="/", folder=TOP, read_only=True), groups=(group("/"),))
    assert refused(facts, Limits(memory=1 << 30, cpu_shares=2)) == (
        "--memory --cpu-shares cannot be kept here: /sys/fs/cgroup is mounted read-only",
        "start the container with its control groups writable: docker run --security-opt writable-cgroups=true, or "
        f"--privileged --cgroupns=private; {ELSE}",
    )


def test_nothing_delegated() -> None:
    facts = Facts(mounted=MOUNTED, groups=(group("/user.slice/s", writable=False), group("/", writable=False)))
    assert refused(facts) == (
        "--memory cannot be kept here: the control group /user.slice/s is not delegated to this user",
        f"start pybuild in one that is: {START}; {ELSE}",
    )


def test_other_processes_in_the_way() -> None:
    facts = Facts(mounted=MOUNTED, groups=(group("/", processes=OURS | {0, 1, 7}),))
    assert refused(facts, root=True) == (
        "--memory cannot be kept here: the control group / has other processes than pybuild (1, 7), so that no "
        "controller can be enabled in it",
        "start pybuild alone in its group: systemd-run --scope -p Delegate=yes pybuild …; in a container, move them "
        "into a group below: mkdir /sys/fs/cgroup/init, and write their ids to its cgroup.procs",
    )


def test_a_controller_that_is_not_delegated() -> None:
    facts = Facts(mounted=MOUNTED, groups=(group("/a", controllers=frozenset({"memory", "pids"})),))
    assert refused(facts, Limits(cpuset_cpus="0", cpu_shares=2)) == (
        "--cpu-shares --cpuset-cpus cannot be kept here: the control group /a has no controller cpu cpuset",
        "have it delegated: as root, systemctl edit user@.service, [Service] Delegate=cpu cpuset pids, and log in "
        "again; or, where the kernel was told to do without, boot it with cgroup_enable=memory",
    )


def test_a_threaded_group() -> None:
    facts = Facts(mounted=MOUNTED, groups=(group("/a", kind="threaded"),))
    assert refused(facts) == (
        "--memory cannot be kept here: the control group /a is threaded",
        f"start pybuild elsewhere: {START}",
    )


def test_a_parent_that_is_not_there() -> None:
    assert refused(Facts(mounted=MOUNTED), Limits(parent="/my/builds")) == (
        "--cgroup-parent cannot be kept here: there is no control group /my/builds",
        "make it first, and give it to the builder's user: mkdir /sys/fs/cgroup/my/builds",
    )


# What the kernel tells


def test_memberships_of_both_versions() -> None:
    assert memberships("9:name=systemd:/\n4:memory:/x\n1:cpu,cpuacct:/\n0::/a:b/c\n") == (
        "/a:b/c",
        frozenset({"memory", "cpu", "cpuacct"}),
    )
    assert memberships("") == ("", frozenset())


def test_mounts_of_version_2() -> None:
    text = (
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "41 31 0:38 /docker/x /sys/fs/my\\040cgroup ro,nosuid shared:3 - cgroup2 cgroup2 rw,nsdelegate\n"
        "42 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 ro\n"
        "43 31 0:38 / /other rw - cgroup2 cgroup2 rw\n"
    )
    assert list(mounts(text)) == [
        Mounted(top="/docker/x", folder=Path("/sys/fs/my cgroup"), read_only=True),
        Mounted(top="/", folder=TOP, read_only=True),
        Mounted(top="/", folder=Path("/other"), read_only=False),
    ]


@pytest.mark.parametrize(
    ("path", "top", "names"),
    [
        ("/", "/", ()),
        ("/a/b", "/", ("a", "b")),
        ("/docker/x/y", "/docker/x", ("y",)),
        ("/docker/xy", "/docker/x", None),
        ("/../other", "/", None),
    ],
)
def test_our_group_below_the_top_of_a_mount(path: str, top: str, names: tuple[str, ...] | None) -> None:
    assert below(path, top) == names
