"""A folder that is being filled from a hostile archive, and is never left.

Every name is first resolved to a path that is known to hold no link: component by component below the root's
descriptor, links resolved as if the root were "/", ".." stopping there. Then the folder is opened with ``openat2`` and
RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, so a mistake above would be an error and not an escape. Nobody else writes to the
tree meanwhile.

Most files cost four calls: open, write, utimensat, close. Owners and modes are set only where they differ from
what a new file has.

source   openat2(2); OCI image-spec, layer.md, "Applying Changesets"
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import BuilderError, HostError, ImageError, StoreError
from builder.layer import xattrs
from builder.layer.reader import Member, Reader
from builder.layer.removal import remove_tree
from native import syscalls

_MOST_LINKS = 40  # MAXSYMLINKS, path_resolution(7)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
CONFINED = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX

# overlayfs keeps its own marks under this prefix when mounted with userxattr; what an image holds there is escaped as
# the kernel does it (Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts").
OVERLAY = b"user.overlay."
OPAQUE_XATTR = b"user.overlay.opaque"


def clean(name: bytes) -> bytes:
    """*name* relative to the root: no "." and no empty parts, ".." taken back as far as the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            parts[-1:] = []
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes this file for a deletion: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Tree:
    """See the module's text.

    through_links  whether folders that are missing behind a link are made, as for layers; else that is an error
    overlay        whether the tree becomes a layer of overlayfs, so that its marks mean something
    owner          overrides the owners that members tell
    """

    def __init__(
        self, root: Path, *, through_links: bool, overlay: bool = False, owner: tuple[int, int] | None = None
    ) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._through_links = through_links
        self._overlay = overlay
        self._owner = owner
        self._unmasked = _SPECIAL | _umask()
        self._real: dict[bytes, bytes] = {}  # a folder as it is named → as it is
        self._known: set[bytes] = set()  # folders, as they are
        self._here: bytes | None = None  # the folder that is open, as it is named
        self._place = b""  # the same, as it is, with a "/" at its end
        self._fd = -1
        self._inherits = False  # whether it gives its group to new files
        self._times: dict[bytes, int] = {}
        self.implied: dict[bytes, None] = {}
        """Folders that no member told but that stand above one, in the order in which they were made."""
        self.root_is_told = False
        self.opaques: dict[bytes, None] = {}
        """Folders that were marked to hide what lies below them."""
        self.notes: list[str] = []
        """What could not be kept, for people."""

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        os.close(self._root)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._here, self._fd = None, -1

    # Where

    def enter(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of the folder that *path* is in, made if it is missing, and the last part of *path*."""
        folder, _, name = path.rpartition(b"/")
        if folder != self._here:
            real = self.resolve(folder)
            self._close()
            self._fd = syscalls.openat2(
                self._root, real or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, CONFINED
            )
            self._inherits = bool(os.fstat(self._fd).st_mode & stat.S_ISGID)
            self._here, self._place = folder, real + b"/" if real else b""
        return self._fd, name

    def real(self, path: bytes) -> bytes:
        """*path* as it is: the folder above it resolved, the last part not."""
        folder, _, name = path.rpartition(b"/")
        real = self.resolve(folder)
        return real + b"/" + name if real else name

    def resolve(self, folder: bytes, *, make: bool = True) -> bytes:
        """The folder *folder* as it is, without links; made if missing. With *make* off: FileNotFoundError."""
        known = self._real.get(folder)
        if known is not None:
            return known
        where: list[bytes] = []
        todo = folder.split(b"/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                where[-1:] = []
                continue
            if not part or part == b".":
                continue
            here = b"/".join((*where, part))
            target = self._link(here, make, through=links > 0)
            if target is None:
                where.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise _bad(folder, "is behind a loop of links")
            if target.startswith(b"/"):
                where = []
            todo.extend(reversed(target.split(b"/")))
        real = b"/".join(where)
        self._real[folder] = real
        return real

    def _link(self, here: bytes, make: bool, *, through: bool) -> bytes | None:
        """The target of *here* if it is a link; None if it is a folder, which is made if it is missing."""
        if here in self._known:
            return None
        try:
            status = os.stat(here, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            if not make:
                raise
            if through and not self._through_links:
                raise _bad(here, "is behind a link that leads to nothing here, perhaps outside") from None
            self._imply(here)
            status = os.stat(here, dir_fd=self._root, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(here, dir_fd=self._root)
        if self._overlay and make and is_whiteout(status):
            os.unlink(here, dir_fd=self._root)
            self._imply(here)
            self._mark(here)
        elif not stat.S_ISDIR(status.st_mode):
            if not make:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), here)
            raise _bad(here, "is no folder, and the archive has something in it")
        self._known.add(here)
        return None

    def _imply(self, here: bytes) -> None:
        os.mkdir(here, 0o755, dir_fd=self._root)
        os.chown(here, 0, 0, dir_fd=self._root, follow_symlinks=False)
        os.chmod(here, 0o755, dir_fd=self._root)
        self.implied[here] = None

    # What

    def place(self, member: Member, path: bytes, reader: Reader) -> None:
        """Put *member* at *path* (cleaned, not the root), instead of what is there; folders are joined."""
        parent, name = self.enter(path)
        kind = member.kind
        if kind == b"0":
            self._file(member, parent, name, reader)
        elif kind == b"5":
            self._folder(member, parent, name)
        elif kind == b"2":
            self._new(lambda: os.symlink(member.link, name, dir_fd=parent), parent, name)
            self._dress_by_name(member, parent, name)
        else:
            self._node(member, parent, name)

    def _new(self, make: Callable[[], None], parent: int, name: bytes) -> None:
        try:
            make()
        except FileExistsError:
            self.remove(parent, name)
            make()

    def _file(self, member: Member, parent: int, name: bytes, reader: Reader) -> None:
        mode = member.mode
        try:
            file = os.open(name, _NEW, mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self.remove(parent, name)
            file = os.open(name, _NEW, mode & 0o777, dir_fd=parent)
        try:
            if member.pieces is not None:
                _write_pieces(file, member, reader)
            elif member.size:
                data = reader.view(member.size)
                if data is None:
                    for part in reader.chunks(member.size):
                        _write(file, part)
                elif os.write(file, data) != len(data):
                    os.lseek(file, 0, os.SEEK_SET)
                    _write(file, data)
            uid, gid = self._owner or (member.uid, member.gid)
            if uid or gid or self._inherits:
                os.fchown(file, uid, gid)
            if mode & self._unmasked:
                os.fchmod(file, mode)
            # After fchown, which removes capabilities (chown(2)).
            if member.xattrs:
                self._xattrs(file, member)
            os.utime(file, ns=(member.mtime, member.mtime))
        finally:
            os.close(file)

    def _folder(self, member: Member, parent: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self.remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
                if self._overlay and is_whiteout(status):
                    self._mark(self._place + name)
        real = self._place + name
        self.implied.pop(real, None)
        self._known.add(real)
        uid, gid = self._owner or (member.uid, member.gid)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, member.mode, dir_fd=parent)
        if member.xattrs:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._xattrs(folder, member)
            finally:
                os.close(folder)
        self._times[real] = member.mtime

    def _node(self, member: Member, parent: int, name: bytes) -> None:
        kind = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}[member.kind]
        if kind == stat.S_IFCHR and member.rdev == 0:
            # overlayfs would take it for a deletion
            self._note(self._place + name, "a character device 0:0 cannot be kept")
            return
        try:
            self._new(lambda: os.mknod(name, kind | 0o600, member.rdev, dir_fd=parent), parent, name)
        except OSError as e:
            if e.errno != errno.EPERM or kind == stat.S_IFIFO:
                raise
            # user_namespaces(7): nobody but the first namespace's root makes devices
            self._note(self._place + name, "devices cannot be made here")
            return
        self._dress_by_name(member, parent, name)

    def _dress_by_name(self, member: Member, parent: int, name: bytes) -> None:
        uid, gid = self._owner or (member.uid, member.gid)
        if uid or gid or self._inherits:
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if member.kind != b"2":
            os.chmod(name, member.mode, dir_fd=parent)
        if member.xattrs:
            self._note(self._place + name, "attributes are kept on files and folders only")
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)

    def hard_link(self, path: bytes, target: bytes) -> bool:
        """Make *path* another name of *target*; False if there is no such file here."""
        try:
            folder, _, name = target.rpartition(b"/")
            real = self.resolve(folder, make=False)
            real = real + b"/" + name if real else name
            status = os.stat(real, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode) or not name:
            raise _bad(path, "is a hard link to a folder")
        if self._overlay and is_whiteout(status):
            return False
        if self.real(path) == real:
            return True
        parent, last = self.enter(path)
        self._new(
            lambda: os.link(real, last, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False), parent, last
        )
        return True

    def root(self, member: Member) -> None:
        """Let *member* be the root folder's metadata."""
        if member.kind != b"5":
            raise _bad(b"/", "is not a folder in the archive")
        here = b"/proc/self/fd/%d/." % self._root
        os.chown(here, member.uid, member.gid)
        os.chmod(here, member.mode)
        folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._xattrs(folder, member)
        finally:
            os.close(folder)
        self._times[b""] = member.mtime
        self.root_is_told = True

    def remove(self, parent: int, name: bytes) -> None:
        """Remove *name* of the open folder *parent*, whatever it is."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            remove_tree(name, parent)
        else:
            os.unlink(name, dir_fd=parent)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            # What was known of paths may have gone with it.
            self._real.clear()
            self._known.clear()
            self._here = None

    def prune(self, folder: bytes, keep: set[bytes]) -> None:
        """Remove all that is in *folder* (as it is) but what *keep* names."""
        prefix = folder + b"/" if folder else b""
        for name in os.listdir(self._path(folder)):
            path = prefix + os.fsencode(name)
            if path not in keep:
                parent, last = self.enter(path)
                self.remove(parent, last)
            elif stat.S_ISDIR(os.stat(path, dir_fd=self._root, follow_symlinks=False).st_mode):
                self.prune(path, keep)

    def whiteout(self, path: bytes) -> bool:
        """Hide *path* of the layers below by a device 0:0; False if this tree has something there, which hides it."""
        parent, name = self.enter(path)
        try:
            os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                self._mark(self._place + name)
            return False
        return True

    def opaque(self, folder: bytes) -> None:
        """Hide what the layers below hold in *folder*."""
        self._mark(self.resolve(folder))

    def _mark(self, real: bytes) -> None:
        self.opaques[real] = None
        if not xattrs.write(self._path(real), OPAQUE_XATTR, b"y"):
            raise HostError(
                "the store's file system keeps no user attributes, which overlayfs needs", code="no-user-xattrs"
            )

    def _path(self, real: bytes) -> bytes:
        return b"/proc/self/fd/%d/%b" % (self._root, real)

    def _xattrs(self, file: int, member: Member) -> None:
        for name, value in member.xattrs.items():
            if not name.startswith(b"user.") and name != xattrs.CAPABILITY:
                self._note(clean(member.name), f"the attribute {os.fsdecode(name)!r} is not kept")
                continue
            if self._overlay and name.startswith(OVERLAY):
                name = OVERLAY + b"overlay." + name[len(OVERLAY) :]
            value = xattrs.version_2(value) if name == xattrs.CAPABILITY else value
            if not xattrs.write(file, name, value):
                self._note(clean(member.name), f"the attribute {os.fsdecode(name)!r} cannot be set here")

    def _note(self, path: bytes, what: str) -> None:
        if len(self.notes) < 100:
            self.notes.append(f"{os.fsdecode(path)!r}: {what}")

    def settle_times(self) -> None:
        """Give folders their times, after all was put into them."""
        for real, mtime in self._times.items():
            try:
                if stat.S_ISDIR(os.stat(real or b".", dir_fd=self._root, follow_symlinks=False).st_mode):
                    os.utime(real or b".", ns=(mtime, mtime), dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError:  # a later member took its place
                continue


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _write_pieces(file: int, member: Member, reader: Reader) -> None:
    os.ftruncate(file, member.whole)
    for offset, length in member.pieces or ():
        os.lseek(file, offset, os.SEEK_SET)
        for part in reader.chunks(length):
            _write(file, part)


def _umask() -> int:
    # umask(2) can only be read by setting it, which other threads would feel. source: proc_pid_status(5), "Umask"
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass  # not known: set every mode
    return 0o777


def _bad(path: bytes, why: str) -> ImageError:
    return ImageError(f"{os.fsdecode(path)!r} {why}", code="malformed-archive")


@contextmanager
def translated(what: str, path: Iterable[bytes]) -> Iterator[None]:
    """Errors of the system as errors for people. *path* gives the path that is being worked on when asked."""
    try:
        yield
    except BuilderError:
        raise
    except OSError as e:
        raise _for_people(e, what, os.fsdecode(next(iter(path), b""))) from e


def _for_people(e: OSError, what: str, path: str) -> BuilderError:
    if e.errno == errno.EINVAL and path:
        # user_namespaces(7), "Interaction with system calls that change process UIDs or GIDs": an id without a mapping
        # is EINVAL
        return HostError(
            f"the owner of {path!r} is not among the ids that are mapped here",
            code="id-not-mapped",
            hint="give this user 65536 or more subordinate ids in /etc/subuid and /etc/subgid",
        )
    if e.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EXDEV, errno.EISDIR):
        return ImageError(f"{what}: {path!r}: {os.strerror(e.errno)}", code="malformed-archive")
    return StoreError(f"{what}: {path!r}: {e.strerror or e}", code="cannot-unpack")
