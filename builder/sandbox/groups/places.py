"""Which control group a command's own can be made in, and why none can: decided of facts alone.

source   Linux, admin-guide/cgroup-v2.rst, "Delegation", "No Internal Process Constraint", "Threads";
         systemd, CGROUP_DELEGATION.md
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.errors import HostError
from builder.sandbox.groups.facts import Facts, Group
from builder.sandbox.groups.limits import Limits

_ELSE = "or limit pybuild itself: what starts it, a service or a container, can"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A group in which others can be made.

    enable   controllers that groups in it do not have yet
    moves    our processes, which have to leave it for one in it first
    """

    group: Group
    enable: frozenset[str]
    moves: frozenset[int]


def places(facts: Facts, limits: Limits, ours: frozenset[int], *, root: bool) -> tuple[Place, ...]:
    """Where a group with *limits* can be made, the nearest place first; at least one.

    ours     ids of this process and those that it has started
    root     whether we are root, for the hints
    raises   HostError (``no-control-group``) that says what is missing, and the smallest mend
    """
    wanted = limits.controllers
    if wanted & facts.first_version:
        raise refusal(
            limits,
            "this host has its controllers on cgroup v1",
            f"boot it with systemd.unified_cgroup_hierarchy=1, or cgroup_no_v1=all; {_ELSE}",
        )
    if facts.mounted is None:
        raise refusal(
            limits,
            "no cgroup v2 file system with our own group is mounted",
            f"mount it, as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup; {_ELSE}",
        )
    if facts.mounted.read_only:
        raise refusal(
            limits,
            f"{facts.mounted.folder} is mounted read-only",
            "start the container with its control groups writable: docker run --security-opt writable-cgroups=true, or "
            f"--privileged --cgroupns=private; {_ELSE}",
        )
    if limits.parent and not facts.groups:
        raise refusal(
            limits,
            f"there is no control group {limits.parent}",
            f"make it first, and give it to the builder's user: mkdir {facts.mounted.folder}{limits.parent}",
        )
    found = [_place(group, wanted, ours, limits, root) for group in facts.groups]
    good = tuple(place for place in found if isinstance(place, Place))
    if not good:
        # What is wrong with the nearest can be mended most easily.
        raise next(place for place in found if isinstance(place, HostError))
    return good


def _place(group: Group, wanted: frozenset[str], ours: frozenset[int], limits: Limits, root: bool) -> Place | HostError:
    start = f"systemd-run {'' if root else '--user '}--scope -p Delegate=yes pybuild …"
    if not group.writable:
        return refusal(
            limits,
            f"the control group {group.path} is not delegated to this user",
            f"start pybuild in one that is: {start}; {_ELSE}",
        )
    missing = wanted - group.controllers
    if missing:
        return refusal(
            limits,
            f"the control group {group.path} has no controller {_list(missing)}",
            f"have it delegated: as root, systemctl edit user@.service, [Service] Delegate={_list(wanted | {'pids'})}, "
            "and log in again; or, where the kernel was told to do without, boot it with cgroup_enable=memory",
        )
    if group.kind not in ("", "domain"):
        return refusal(limits, f"the control group {group.path} is {group.kind}", f"start pybuild elsewhere: {start}")
    enable = wanted - group.enabled
    # "cgroups can distribute domain resources to their children only when they don't have any processes of their own";
    # the root of all is excepted.
    if not enable or group.kind == "":
        return Place(group=group, enable=enable, moves=frozenset())
    others = group.processes - ours
    if others:
        known = sorted(others - {0})
        who = f" ({', '.join(map(str, known[:5]))}{', …' if len(known) > 5 else ''})" if known else ""
        return refusal(
            limits,
            f"the control group {group.path} has other processes than pybuild{who}, so that no controller can be"
            " enabled in it",
            f"start pybuild alone in its group: {start}; in a container, move them into a group below: mkdir "
            f"{group.folder}/init, and write their ids to its cgroup.procs",
        )
    return Place(group=group, enable=enable, moves=group.processes)


def refusal(limits: Limits, reason: str, hint: str) -> HostError:
    """The error that says that *limits* cannot be kept here."""
    return HostError(
        f"{_list(limits.options, sort=False)} cannot be kept here: {reason}", code="no-control-group", hint=hint
    )


def _list(names: frozenset[str] | tuple[str, ...], *, sort: bool = True) -> str:
    return " ".join(sorted(names) if sort else names)
