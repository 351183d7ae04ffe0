"""The options of ``pybuild run``, and what they say."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path

from builder.cli import limits
from builder.cli.options import Option, Parsed
from builder.cli.values import reject
from builder.sandbox.command import DEFAULT_CAPABILITIES, Extra
from native.constants import CAPABILITIES

_HOST = "the network is the host's"


def _refused(name: str, why: str, hint: str | None = None, *, kind: str = "value", short: str = "") -> Option:
    return Option(name=name, kind=kind, short=short, refused=why, refused_hint=hint, hidden=True)


OPTIONS = (
    Option(name="interactive", short="i", kind="flag", summary="Keep stdin open"),
    Option(name="tty", short="t", kind="flag", summary="Give the command a terminal"),
    Option(name="rm", kind="flag", summary="Keep nothing when the command has ended"),
    Option(name="env", short="e", kind="list", metavar="NAME[=VALUE]", summary="Set an environment variable"),
    Option(name="env-file", kind="list", metavar="FILE", summary="Read environment variables from a file"),
    Option(
        name="volume",
        short="v",
        kind="list",
        metavar="FOLDER:PATH[:ro]",
        summary="Show a folder or a file of this machine in the container; a PATH alone is an empty folder",
    ),
    Option(name="tmpfs", kind="list", metavar="PATH[:size=64m]", summary="Mount a tmpfs"),
    Option(name="workdir", short="w", metavar="PATH", summary="Working directory"),
    Option(name="user", short="u", metavar="NAME|UID[:GROUP|GID]", summary="User"),
    Option(name="entrypoint", metavar="COMMAND", summary="Instead of the image's ENTRYPOINT"),
    Option(name="read-only", kind="flag", summary="Make the root file system read-only"),
    Option(name="network", metavar="KIND", summary="host (default) or none"),
    Option(name="net", hidden=True),
    Option(name="name", metavar="NAME", summary="Name of the container"),
    Option(name="hostname", short="h", metavar="NAME", summary="Host name of the container"),
    Option(name="add-host", kind="list", metavar="HOST:IP", summary="Entry for /etc/hosts"),
    Option(name="label", short="l", kind="list", metavar="NAME=VALUE", summary="Label of the container"),
    Option(name="pull", metavar="WHEN", choices=("always", "missing", "never"), summary="When to pull the image"),
    Option(name="platform", metavar="OS/ARCH", summary="Of an image of several platforms, this one"),
    Option(name="quiet", short="q", kind="flag", summary="Show no progress of a pull"),
    Option(name="cidfile", metavar="FILE", summary="Write the container's id to a file"),
    Option(name="shm-size", metavar="BYTES", summary="Size of /dev/shm (default: 64m)"),
    Option(name="ulimit", kind="list", metavar="NAME=SOFT[:HARD]", summary="Limit, as of ulimit"),
    *limits.options(run=True),
    Option(name="cap-add", kind="list", metavar="NAME", summary="Give a capability, or ALL"),
    Option(name="cap-drop", kind="list", metavar="NAME", summary="Take a capability, or ALL"),
    Option(name="privileged", kind="flag", summary="All capabilities of this namespace, no system call filter"),
    Option(
        name="publish",
        short="p",
        kind="list",
        metavar="PORT",
        summary=f"Accepted with a note: {_HOST}, so that every port is reached as it is",
    ),
    Option(name="publish-all", short="P", kind="flag", hidden=True),
    Option(name="expose", kind="list", hidden=True),
    Option(
        name="isolation",
        metavar="KIND",
        choices=("auto", "overlay", "fuse-overlayfs", "copy"),
        summary="How the root file system is made",
    ),
    Option(
        name="userns",
        metavar="KIND",
        choices=("auto", "subid", "single", "none"),
        summary="How users and groups are mapped to this machine's",
    ),
    _refused(
        "detach",
        "there is no daemon: a container runs in the foreground",
        "append & to run it in the background",
        kind="flag",
        short="d",
    ),
    _refused("mount", "mounts are given the short way", "write -v FOLDER:PATH[:ro], or --tmpfs PATH"),
    _refused("volumes-from", "containers have no volumes that last", "give the same folder to both with -v"),
    _refused("link", _HOST),
    _refused("dns", _HOST, "its resolv.conf is the host's"),
    _refused("ip", _HOST),
    _refused("mac-address", _HOST),
    _refused("network-alias", _HOST),
    _refused(
        "init",
        "the command is process 1",
        "put an init before it: --entrypoint tini, if the image has one",
        kind="flag",
    ),
    _refused("restart", "nobody is there to restart it"),
    _refused("health-cmd", "health checks are not run"),
    _refused("device", "devices are those of every container", "use --privileged, or -v /dev/NAME:/dev/NAME"),
    _refused("gpus", "no devices are handed on"),
    _refused("security-opt", "the filter is Docker's default one", "--privileged goes without"),
    _refused("pid", "a container has its own processes"),
    _refused("ipc", "a container has its own IPC"),
    _refused("uts", "a container has its own host name"),
    _refused("cgroupns", "a container sees the control groups of this machine"),
    *limits.refused(_refused),
    _refused("detach-keys", "nothing is ever detached"),
    _refused("stop-signal", "a container is ended with pybuild"),
)


def environment(parsed: Parsed, environ: Mapping[str, str]) -> list[str]:
    """``--env-file`` and ``-e``, as NAME=value; a bare NAME is taken from *environ*, or left out.

    source   docker/cli, opts/envfile.go, opts/env.go
    """
    words = [line for path in parsed.many("env-file") for line in _env_file(path)]
    found = []
    for word in (*words, *parsed.many("env")):
        name, equals, _ = word.partition("=")
        if not name:
            reject(f"--env {word!r}: the name is empty")
        if equals:
            found.append(word)
        elif name in environ:
            found.append(f"{name}={environ[name]}")
    return found


def _env_file(path: str) -> Iterable[str]:
    try:
        text = Path(path).read_text("utf-8")
    except OSError as e:
        reject(f"--env-file: cannot read {path}: {e.strerror}")
    except UnicodeDecodeError:
        reject(f"--env-file: {path} is not UTF-8")
    for line in text.removeprefix("\ufeff").splitlines():
        line = line.lstrip()
        if line and not line.startswith("#"):
            name = line.partition("=")[0]
            if " " in name or "\t" in name:
                reject(f"--env-file: {path}: the variable {name!r} contains white space")
            yield line


def merged(own: Iterable[str], changes: Iterable[str]) -> tuple[str, ...]:
    """Variables, each in its first place and with its last value."""
    found: dict[str, str] = {}
    for word in (*own, *changes):
        found[word.partition("=")[0]] = word
    return tuple(found.values())


def mounts(parsed: Parsed) -> tuple[tuple[Extra, ...], tuple[str, ...], tuple[str, ...]]:
    """``-v`` and ``--tmpfs``: the mounts, those of this machine's folders in words, and volumes without a source.

    A folder that is not there is made, as Docker does for ``-v``.
    """
    extras: list[Extra] = []
    words: list[str] = []
    empty: list[str] = []
    for text in parsed.many("volume"):
        source, target, read_only = _volume(text)
        if not source:
            empty.append(target)
            continue
        path = Path(os.path.abspath(os.path.expanduser(source)))
        if not path.exists():
            try:
                path.mkdir(parents=True)
            except OSError as e:
                reject(f"--volume {text!r}: cannot make {path}: {e.strerror}")
        extras.append(Extra(target=target, kind="bind", source=path, read_only=read_only))
        words.append(f"{path}:{target}" + (":ro" if read_only else ""))
    return (*extras, *(_tmpfs(text) for text in parsed.many("tmpfs"))), tuple(words), tuple(empty)


def _volume(text: str) -> tuple[str, str, bool]:
    source, colon, rest = text.partition(":")
    if not colon:
        source, rest = "", text
    target, _, options = rest.partition(":")
    if not target.startswith("/"):
        reject(f"--volume {text!r}: {target!r} is not an absolute path", "write it as -v FOLDER:/PATH[:ro]")
    if posixpath.normpath(target) == "/":
        reject(f"--volume {text!r}: the root cannot be mounted over")
    if source and not source.startswith(("/", ".", "~")):
        reject(
            f"--volume {text!r}: there are no named volumes",
            f"name a folder of this machine: -v ./{source}:{target}",
        )
    words = options.split(",") if options else []
    # What these say of SELinux labels and of mount propagation makes no difference here.
    unknown = set(words) - {"ro", "rw", "z", "Z", "cached", "delegated", "consistent", "rprivate", "private", "rslave"}
    if unknown:
        reject(f"--volume {text!r}: unknown option {min(unknown)!r}", "ro, or rw")
    return source, posixpath.normpath(target), "ro" in words


def _tmpfs(text: str) -> Extra:
    from builder.cli.values import memory

    target, _, options = text.partition(":")
    if not target.startswith("/"):
        reject(f"--tmpfs {text!r}: {target!r} is not an absolute path")
    size, mode = 0, 0o1777
    for word in options.split(",") if options else ():
        key, _, value = word.partition("=")
        if key == "size":
            size = memory(value, "--tmpfs")
        elif key == "mode" and value and all(digit in "01234567" for digit in value):
            mode = int(value, 8)
        elif word not in ("rw", "noexec", "nosuid", "nodev"):
            reject(f"--tmpfs {text!r}: unknown option {word!r}", "size=…, mode=…")
    return Extra(target=posixpath.normpath(target), kind="tmpfs", size=size, mode=mode)


def network(parsed: Parsed) -> str:
    """``host`` or ``none``."""
    kind = parsed.value("network") or parsed.value("net") or "host"
    if kind in ("host", "none"):
        return kind
    if kind in ("default", "bridge"):
        reject(f"--network {kind}: there are no bridges, for they need a daemon", "host or none")
    return reject(f"--network {kind}: there is no such network", "host or none")


def capabilities(parsed: Parsed) -> tuple[str, ...] | None:
    """What ``--cap-add`` and ``--cap-drop`` leave; None: the default."""
    added, dropped = (_named(parsed.many(name), f"--{name}") for name in ("cap-add", "cap-drop"))
    if not added and not dropped:
        return None
    have = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES) - set(dropped)
    have |= set(CAPABILITIES) - set(dropped) if "ALL" in added else set(added)
    return tuple(sorted(have))


def _named(names: Iterable[str], option: str) -> list[str]:
    found = []
    for name in names:
        full = name.upper()
        if full != "ALL":
            full = full if full.startswith("CAP_") else f"CAP_{full}"
            if full not in CAPABILITIES:
                reject(f"{option}: there is no capability {name}")
        found.append(full)
    return found
