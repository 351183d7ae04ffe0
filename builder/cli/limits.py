"""The options that limit what a command may use: as ``docker run`` has them, by docker's rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.cli.options import Option, Parsed
from builder.cli.values import memory, reject

if TYPE_CHECKING:
    from decimal import Decimal

    from builder.sandbox.groups.limits import Limits

_LEAST = 6 << 20
_FEWEST, _MOST = 2, 1 << 18

_OF_BUILD = (
    ("memory", "m", "BYTES", "Limit of memory"),
    ("memory-swap", "", "BYTES", "Limit of memory and swap together (default: twice the memory; -1: all swap)"),
    ("cpu-shares", "c", "N", "Weight of the processor time among those who want it (default: 1024)"),
    ("cpu-period", "", "N", "Microseconds to which --cpu-quota refers (default: 100000)"),
    ("cpu-quota", "", "N", "Microseconds of processor time in each period"),
    ("cpuset-cpus", "", "LIST", "Processors that may be used: 0-2,4"),
    ("cpuset-mems", "", "LIST", "Memory nodes that may be used: 0,1"),
    ("cgroup-parent", "", "PATH", "Control group below which a command's is made (default: the nearest possible)"),
)
_OF_RUN = (
    ("memory-reservation", "", "BYTES", "Memory that is left to it while others want memory"),
    ("cpus", "", "N", "Processors' worth of time: 1.5"),
    ("pids-limit", "", "N", "Limit of processes and threads (-1: none)"),
)


def options(*, group: str = "Options", run: bool = False) -> tuple[Option, ...]:
    """The options; *run*: those of ``docker run`` that ``docker build`` has not, too."""
    rows = (*_OF_BUILD, *(_OF_RUN if run else ()))
    return tuple(Option(name=name, short=s, metavar=m, group=group, summary=text) for name, s, m, text in rows)


def limits(parsed: Parsed, processors: int) -> Limits | None:
    """What *parsed* asks for; None if nothing is limited.

    processors   how many there are, which --cpus may not exceed
    raises   UsageError
    source   moby, daemon_unix.go, verifyPlatformContainerResources and adaptContainerSettings: rules and words
    """
    if not any(parsed.value(name) for name, *_ in (*_OF_BUILD, *_OF_RUN)):
        return None
    # Most builds have no limits.
    from builder.sandbox.groups.limits import DEFAULT_PERIOD, Limits

    most, both = _size(parsed, "memory"), _size(parsed, "memory-swap", endless=True)
    reservation = _size(parsed, "memory-reservation")
    if both > 0 and not most:
        reject("--memory-swap: you should always set the memory limit when using the memoryswap limit", "add --memory")
    if 0 < both < most:
        reject("--memory-swap: the memoryswap limit, which includes the memory, should be larger than the memory limit")
    if 0 < most < reservation:
        reject("--memory: the minimum memory limit can not be less than the memory reservation limit")
    period, quota = _number(parsed, "cpu-period"), _number(parsed, "cpu-quota")
    cpus = _processors(parsed, processors)
    if cpus and (period or quota > 0):
        other = "--cpu-period" if period else "--cpu-quota"
        reject(f"conflicting options: --cpus and {other} cannot both be set")
    if period and not 1_000 <= period <= 1_000_000:
        reject("--cpu-period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1_000:
        reject("--cpu-quota can not be less than 1ms (i.e. 1000)")
    found = Limits(
        memory=most,
        memory_swap=both if most else 0,
        memory_reservation=reservation,
        cpu_shares=_shares(parsed),
        cpu_period=DEFAULT_PERIOD if cpus else period,
        cpu_quota=int(cpus * DEFAULT_PERIOD) if cpus else max(quota, 0),
        cpuset_cpus=_list(parsed, "cpuset-cpus", "cpus"),
        cpuset_mems=_list(parsed, "cpuset-mems", "mems"),
        pids=max(_number(parsed, "pids-limit"), 0),
        parent=_parent(parsed),
    )
    return found if found.options else None


def _size(parsed: Parsed, name: str, *, endless: bool = False) -> int:
    text = parsed.value(name)
    if not text:
        return 0
    if endless and text == "-1":
        return -1
    found = memory(text, f"--{name}")
    if 0 < found < _LEAST and not endless:
        what = "memory reservation" if name == "memory-reservation" else "memory limit"
        reject(f"--{name} {text!r}: the minimum {what} allowed is 6MB")
    return found


def _number(parsed: Parsed, name: str) -> int:
    text = parsed.value(name)
    if text and not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        reject(f"--{name} {text!r} is not a number")
    return int(text or 0)


def _shares(parsed: Parsed) -> int:
    shares = _number(parsed, "cpu-shares")
    if shares < 0:
        reject(f"--cpu-shares '{shares}': shares: invalid argument", "a number from 2 to 262144")
    return min(max(shares, _FEWEST), _MOST) if shares else 0


def _processors(parsed: Parsed, there: int) -> Decimal | int:
    text = parsed.value("cpus")
    if not text:
        return 0
    from decimal import Decimal  # as exact as docker's fraction, and for this alone

    # source: docker/cli, opts.NanoCPUs, ParseCPUs: nine digits behind the point at most
    if not re.fullmatch(r"[0-9]{0,9}(\.[0-9]{0,9})?", text) or text == ".":
        reject(f"--cpus {text!r} is not a number of processors")
    found = Decimal(text)
    # The kernel takes no quota of less than 1 ms in the period of 100 ms.
    if found and not Decimal("0.01") <= found <= there:
        reject(f"--cpus {text!r}: range of CPUs is from 0.01 to {there}.00, as there are only {there} CPUs available")
    return found


def _list(parsed: Parsed, name: str, what: str) -> str:
    from builder.sandbox.groups.limits import numbers  # as above

    text = parsed.value(name)
    try:
        numbers(text)
    except ValueError:
        reject(f"--{name}: invalid value {text!r} for cpuset {what}", "write it as 0-2,4")
    return text.strip()


def _parent(parsed: Parsed) -> str:
    text = parsed.value("cgroup-parent")
    # source: BuildKit, executor/oci/spec.go: SLICE:PREFIX: is for runc's systemd driver, all else a path from the top
    if ".slice" in text and text.endswith(":"):
        reject(
            f"--cgroup-parent {text!r} asks systemd to make the group, and pybuild makes it itself",
            "name a group that is there: --cgroup-parent /my.slice",
        )
    if "\0" in text or ".." in text.split("/"):
        reject(f"--cgroup-parent {text!r} is no path of a control group")
    return "/" + "/".join(name for name in text.split("/") if name not in ("", ".")) if text else ""


Refuse = Callable[..., Option]


def refused(refuse: Refuse) -> tuple[Option, ...]:
    """Options of ``docker run`` that ask for what there is not, made by *refuse*, which takes a name and a reason."""
    first = "cgroup v2 has no such limit"
    return (
        refuse("memory-swappiness", first, "--memory-swap limits what may be swapped"),
        refuse("oom-kill-disable", first, "leave it out: a command that reaches its limit is ended", kind="flag"),
        refuse("kernel-memory", first, "--memory counts the kernel's memory, too"),
        refuse("cpu-rt-period", first),
        refuse("cpu-rt-runtime", first),
        *(
            refuse(
                name, "what is read and written is not limited", "limit pybuild itself, for instance with systemd-run"
            )
            for name in (
                *("blkio-weight", "blkio-weight-device", "device-read-bps", "device-read-iops"),
                *("device-write-bps", "device-write-iops"),
            )
        ),
        refuse(
            "oom-score-adj", "an ordinary user can only raise it", "choom(1) sets pybuild's, which commands inherit"
        ),
    )
