"""The last steps before a command runs: its limits, its rights, its program.

source   runc libcontainer/init_linux.go and setns/standard init, whose order and error texts are kept
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from builder.errors import BuilderError, CommandFailed, DockerfileError, HostError, InternalError
from builder.layer import ownership
from builder.sandbox import elf
from builder.sandbox.command import Command
from builder.sandbox.users import User
from native import constants, seccomp, syscalls

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""source: BuildKit util/system/path.go."""

# Names as --ulimit has them, numbers as <asm-generic/resource.h> has them.
_LIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}


def environment(command: Command, home: str) -> dict[str, str]:
    """What the command gets: its own variables, the last of each name, PATH and HOME if they are absent."""
    env = {"PATH": DEFAULT_PATH, "HOME": home}
    for word in command.env:
        name, equals, value = word.partition("=")
        if name and equals:
            env[name] = value
    return env


def set_limits(command: Command) -> None:
    """setrlimit(2), as said. raises HostError where a hard limit cannot be raised."""
    for name, soft, hard in command.ulimits:
        number = _LIMITS.get(name.lower())
        if number is None:
            raise HostError(f"there is no limit called {name}", code="unknown-ulimit")
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            highest = resource.getrlimit(number)[1]
            raise HostError(
                f"the limit {name} cannot be set to {soft}:{hard} here",
                code="ulimit-refused",
                hint=f"this user's hard limit is {highest}; a lower value, or a higher hard limit, is needed",
            ) from None


def reset_signals() -> None:
    """No signal ignored and none blocked: what is ignored stays so across execve(2), and Python ignores SIGPIPE."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def give_streams(user: User) -> None:
    """Make pipes and terminals on 0 to 2 the user's, so that opening /dev/stdout works. runc, fixStdioPermissions."""
    for fd in range(3):
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFIFO or os.isatty(fd):
            try:
                os.fchown(fd, user.uid, -1)
            except OSError:
                continue  # a pipe of somebody beyond this namespace's ids: it works, only not by its name


def drop_rights(command: Command, user: User, supervised: Callable[[], None], have: int | None = None) -> None:
    """Become *user*, with no more than the command's capabilities, and the filter that goes with them.

    The order is forced: dropping from the bounding set needs CAP_SETPCAP and the filter CAP_SYS_ADMIN (no_new_privs
    would do too, but su and sudo do not work with it); both go with the change of ids. Inheritable and ambient sets are
    empty, so that a program run by another user than root holds nothing.

    have        the capabilities that this process holds, where there is no /proc to tell them
    supervised  is called when all that comes is the command's: where ids are emulated the change of ids is, too
    source   capabilities(7), "Transformation of capabilities during execve()"; seccomp(2)
    """
    have = permitted() if have is None else have
    if command.security == "insecure":
        _keep_all(user, have, supervised)
        return
    kept = sum(1 << constants.CAPABILITIES[name] for name in command.capabilities) & have
    _bound(kept, have)
    syscalls.prctl(constants.PR_CAP_AMBIENT, constants.PR_CAP_AMBIENT_CLEAR_ALL)
    _scope()
    _filter(command)
    supervised()
    _ids(user)
    held = kept if user.uid == 0 else 0
    syscalls.capset(effective=held, permitted=held, inheritable=0)


def _scope() -> None:
    """Keep the command from what is not its own though the network and, in a jail, the processes are the host's:
    abstract sockets, which have no file that could be hidden, and signals. What it starts itself it reaches.

    source   unix(7), "Abstract"; landlock(7), "LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET"
    """
    # Before Linux 6.12, or where a profile refuses it, a command does without, as a container with the host's network.
    with suppress(OSError):
        syscalls.scope(constants.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | constants.LANDLOCK_SCOPE_SIGNAL)


def _filter(command: Command) -> None:
    try:
        seccomp.install(seccomp.default_filter(command.capabilities))
    except OSError as error:
        raise HostError(
            f"the calls of commands cannot be filtered: {error.strerror}",
            code="no-seccomp",
            hint="a kernel with CONFIG_SECCOMP_FILTER is needed, and in a container a profile that allows seccomp(2)",
        ) from None


def _bound(kept: int, have: int) -> None:
    """Let no program have more than *kept*."""
    able = have >> constants.CAPABILITIES["CAP_SETPCAP"] & 1
    if not able and syscalls.prctl(constants.PR_GET_NO_NEW_PRIVS) == 1:
        return  # then no program gets what the one before did not hold: execve(2)
    if not able:
        raise HostError(
            "the capabilities of commands cannot be bounded: CAP_SETPCAP is missing",
            code="no-setpcap",
            hint="the container needs the capability SETPCAP, which docker's default set has",
        )
    for number in range(have.bit_length()):
        if not kept >> number & 1:
            syscalls.prctl(constants.PR_CAPBSET_DROP, number)


def permitted() -> int:
    """The capabilities that this process holds. source: proc_pid_status(5)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm"))


def _keep_all(user: User, have: int, supervised: Callable[[], None]) -> None:
    """All capabilities for whatever user. source: BuildKit util/entitlements/security, WithInsecureSpec."""
    syscalls.prctl(constants.PR_SET_KEEPCAPS, 1)
    supervised()
    _ids(user)
    syscalls.capset(effective=have, permitted=have, inheritable=have)
    for number in range(have.bit_length()):
        if have >> number & 1:
            syscalls.prctl(constants.PR_CAP_AMBIENT, constants.PR_CAP_AMBIENT_RAISE, number)


def _ids(user: User) -> None:
    try:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise _unmapped(error, user) from None


def _unmapped(error: OSError, user: User) -> BuilderError:
    who = f"user {user.uid} with groups {' '.join(map(str, user.groups))}"
    if error.errno == errno.ENOSYS:
        # What a filter's calls answer when nobody has its listener any more. seccomp_unotify(2)
        return InternalError("the command server ended", code="server-gone")
    if error.errno != errno.EINVAL:
        return HostError(f"cannot become {who}: {error.strerror}", code="setuid-refused")
    able = ownership.ids()
    for kind, wanted, mapped in (("uid", (user.uid,), able.uids), ("gid", (user.gid, *user.groups), able.gids)):
        beyond = [one for one in wanted if not any(first <= one < first + count for first, count in mapped)]
        if beyond:
            ranges = ", ".join(f"{first}-{first + count - 1}" for first, count in mapped)
            return HostError(
                f"cannot become {who}: the {kind} {beyond[0]} is not among those that are mapped here, {ranges}",
                code="id-not-mapped",
                hint="build with --userns=single, where any id will do; or give the builder's user a larger range:"
                f" as root, usermod --add-sub{kind}s FIRST-LAST, with more than {beyond[0]} in all",
            )
    return HostError(f"cannot become {who}: {error.strerror}", code="setuid-refused")


def execute(argv: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    """Become the program. raises CommandFailed with 127 where there is none, 126 where it cannot be run."""
    if not argv:
        raise CommandFailed("no command is given", code="no-command", exit_code=127)
    path = find(argv[0], env.get("PATH", ""))
    try:
        os.execve(path, argv, dict(env))
    except ValueError:
        raise DockerfileError("a NUL byte can be in no argument or variable", code="nul-byte") from None
    except OSError as error:
        missing = error.errno == errno.ENOENT
        raise CommandFailed(
            f'exec "{path}": {_reason(error)}',
            code="command-not-found" if missing else "command-not-runnable",
            exit_code=127 if missing else 126,
            hint=_why(path, error),
        ) from None


def _why(path: str, error: OSError) -> str | None:
    """What is wrong with a file that was found and could not be executed."""
    if error.errno == errno.ENOENT:
        # The file itself is there, so that it is what its first line names that is not.
        return "the interpreter that its first line, or its ELF header, names is not in the image"
    if error.errno != errno.ENOEXEC:
        return None
    architecture = elf.architecture_of(_head(path))
    if architecture is None:
        return "a script begins with #! and the path of its interpreter; a program is an ELF file"
    return (
        f"it is a program for linux/{architecture}, and this machine is {elf.this_machine()}: for a base of another "
        f"platform say --platform linux/{architecture}, which wants the package qemu-user-static"
    )


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""  # who may execute a file may not always read it
    try:
        return os.read(fd, elf.HEAD)
    except OSError:
        return b""  # a folder since
    finally:
        os.close(fd)


def find(name: str, path: str) -> str:
    """The file that *name* runs: itself if it holds a slash, else the first along *path*. source: Go, exec.LookPath."""
    if "/" in name:
        problem = _problem(name)
        if problem is None:
            return name
        missing = problem[0] in (errno.ENOENT, errno.ENOTDIR)
        said = f"stat {name}: {problem[1]}" if missing else problem[1]
        raise CommandFailed(
            f'exec: "{name}": {said}',
            code="command-not-found" if missing else "command-not-runnable",
            exit_code=127 if missing else 126,
        )
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{name}"
        if name and _problem(candidate) is None:
            return candidate
    raise CommandFailed(
        f'exec: "{name}": executable file not found in $PATH',
        code="command-not-found",
        exit_code=127,
        hint=f"PATH is {path}" if path else "PATH is empty",
    )


def _problem(path: str) -> tuple[int, str] | None:
    try:
        state = os.stat(path)
    except OSError as error:
        return error.errno or 0, _reason(error)
    if stat.S_ISDIR(state.st_mode):
        return errno.EISDIR, "is a directory"
    if not os.access(path, os.X_OK, effective_ids=True):
        return errno.EACCES, "permission denied"
    return None


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()
