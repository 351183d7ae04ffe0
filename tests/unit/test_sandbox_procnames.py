"""What a path below /proc, /sys or /dev means to the process that names it, where none of them is mounted."""

from __future__ import annotations

import pytest

from builder.sandbox.jail.procnames import Name, meaning

GROUP, THREAD = 70, 72


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (b"/proc", Name("proc", b".")),
        (b"/proc/", Name("proc", b".")),
        (b"//proc//cpuinfo", Name("proc", b"cpuinfo")),
        (b"/proc/sys/kernel/ostype", Name("proc", b"sys/kernel/ostype")),
        (b"/proc/self", Name("proc", b"70", 70, own=True)),
        (b"/proc/self/exe", Name("proc", b"70/exe", 70)),
        (b"/proc/self/fd/3/below", Name("proc", b"70/fd/3/below", 70)),
        (b"/proc/thread-self", Name("proc", b"70/task/72", 70, own=True)),
        (b"/proc/thread-self/comm", Name("proc", b"70/task/72/comm", 70)),
        (b"/proc/1/environ", Name("proc", b"1/environ", 1)),
        (b"/proc/self/../1/environ", Name("proc", b"1/environ", 1)),
        (b"/proc/mounts", Name("mounts", b"mounts", 70)),
        (b"/proc/self/mountinfo", Name("mounts", b"mountinfo", 70)),
        (b"/proc/net/tcp", Name("proc", b"70/net/tcp", 70)),
        (b"/proc/kcore", Name("proc", b"hidden/kcore")),
        (b"/proc/sysrq-trigger", Name("proc", b"hidden/sysrq-trigger")),
        (b"/sys", Name("sys", b".")),
        (b"/sys/class/net", Name("sys", b"class/net")),
        (b"/dev/fd", Name("proc", b"70/fd", 70, link=True)),
        (b"/dev/fd/63", Name("proc", b"70/fd/63", 70)),
        (b"/dev/stderr", Name("proc", b"70/fd/2", 70, link=True)),
        (b"/dev/ptmx", Name("dev", b"ptmx")),
        (b"/dev/pts/4", Name("dev", b"pts/4")),
        (b"/dev/null", Name("dev", b"null")),
    ],
)
def test_a_path_that_leads_outside(path: bytes, meant: Name) -> None:
    assert meaning(path, GROUP, THREAD) == meant


@pytest.mark.parametrize(
    "path",
    [b"/", b"/process", b"/system/file", b"/dev/tty", b"/dev/shm/x", b"/proc/..", b"/proc/../etc/passwd", b"/./etc"],
)
def test_a_path_in_the_root_is_its_own(path: bytes) -> None:
    assert meaning(path, GROUP, THREAD) is None


def test_a_name_is_shown_at_the_same_place_in_the_root() -> None:
    shown = [name.inside for name in (Name("proc", b"."), Name("proc", b"7/fd"), Name("sys", b"class"))]
    assert shown == [b"/proc", b"/proc/7/fd", b"/sys/class"]
