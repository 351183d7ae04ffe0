"""Paths that lead to /proc and /sys, where none is mounted: what a caller's path means outside. Pure.

source   proc(5); fd links of /dev: linux, Documentation/admin-guide/devices.rst, "Compulsory links"
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

ABOUT = (b"/proc", b"/sys", b"/dev/fd", b"/dev/std", b"/dev/pt", b"//", b"/.")
"""How a path begins that may be meant; of all others nothing needs to be known."""

DEVICES = frozenset(b"null zero full random urandom".split())
"""Those of /dev that are opened outside where none can be made."""
_STREAMS = {b"/dev/stdin": b"0", b"/dev/stdout": b"1", b"/dev/stderr": b"2"}
HIDDEN = frozenset(
    b"acpi asound bus fs irq kcore keys kmsg latency_stats sched_debug scsi".split()
    + b"sysrq-trigger timer_list timer_stats".split()
)
"""What a container's runtime masks, as well as what changes the machine."""
_TABLES = (b"mounts", b"mountinfo", b"mountstats")


@dataclass(frozen=True, slots=True)
class Name:
    """What a path means.

    kind   ``proc``, ``sys`` and ``dev``: a path below that folder outside;  ``mounts``: a table of mounts, made up
    path   relative to the folder; "." is itself
    pid    the process whose it is, 0: nobody's
    own    the link itself that leads to the caller, ``self`` or ``thread-self``
    link   it was named by a link that is in the root, of /dev: who asks for the link itself need not ask here
    """

    kind: str
    path: bytes
    pid: int = 0
    own: bool = False
    link: bool = False

    @property
    def inside(self) -> bytes:
        """The same in the command's own root."""
        return b"/" + self.kind.encode() + (b"" if self.path == b"." else b"/" + self.path)


def meaning(path: bytes, group: int, thread: int) -> Name | None:
    """What *path* means to a thread of the process *group*; None: a place of the root's own. Absolute paths only."""
    path = posixpath.normpath(path)
    if path.startswith(b"//"):
        path = path[1:]
    if path in _STREAMS:
        return Name("proc", b"%d/fd/%b" % (group, _STREAMS[path]), group, link=True)
    if path == b"/dev/fd" or path.startswith(b"/dev/fd/"):
        return Name("proc", b"%d/fd%b" % (group, path[7:]), group, link=path == b"/dev/fd")
    if path == b"/dev/ptmx" or path.startswith(b"/dev/pts/") or (path[:5] == b"/dev/" and path[5:] in DEVICES):
        return Name("dev", path[5:])
    top, _, rest = path[1:].partition(b"/")
    if top == b"sys":
        return Name("sys", rest or b".")
    if top != b"proc":
        return None
    head, _, tail = rest.partition(b"/")
    if head == b"self" or head == b"mounts" or head == b"net":
        if head == b"self" and not tail:
            return Name("proc", b"%d" % group, group, own=True)
        return _of(group, b"%d" % group, tail if head == b"self" else b"/".join(filter(None, (head, tail))))
    if head == b"thread-self":
        folder = b"%d/task/%d" % (group, thread)
        return _of(group, folder, tail) if tail else Name("proc", folder, group, own=True)
    if head.isdigit():
        return _of(int(head), head, tail)
    return Name("proc", rest or b".") if head not in HIDDEN else Name("proc", b"hidden/" + head)


def _of(pid: int, folder: bytes, tail: bytes) -> Name:
    if tail in _TABLES:
        return Name("mounts", tail, pid)
    return Name("proc", folder + (b"/" + tail if tail else b""), pid)
