"""Docker as Debian 13 has it, in a root folder of its own: this machine's may be years older.

The packages are unpacked and not installed: nothing of them is run but the daemon, in a mount namespace that ends with
it. The client is this machine's, for the two speak the same API.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worlds.bases import apt_options, apt_sources, kept_layout
from worlds.docker import DockerDaemon, docker_programs
from worlds.processes import background, remove_tree

SUITE = "trixie"
_INSIDE = "/daemon"
# What the daemon needs: the kernel's file systems, one folder that both sides see, and a root that is a mount, which
# runc makes private. The old root stays in /old: what could unmount it is not in the new one.
_ENTER = """
root=$1 folder=$2
shift 2
mount --bind "$root" "$root"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$folder" "$root/daemon"
cd "$root"
pivot_root . old
exec /usr/sbin/dockerd "$@"
"""


def newer_docker_root() -> Path:
    """A folder with Debian 13's docker.io and all that it needs, made once and kept: 280 MB, in 15 seconds."""
    mirror = _mirror()

    def make(root: Path) -> None:
        options = [f"--aptopt={option}" for option in apt_options()]
        words = ["mmdebstrap", "--quiet", "--variant=extract", "--include=docker.io", "--format=directory", *options]
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
        subprocess.run(
            [*words, *excluded, SUITE, str(root), mirror], check=True, stdin=subprocess.DEVNULL, capture_output=True
        )
        # What installing would have done: base-files(7), "Merged /usr".
        for name in ("bin", "sbin", "lib", "lib64"):
            if (root / "usr" / name).is_dir() and not (root / name).exists():
                (root / name).symlink_to(f"usr/{name}")
        for name in ("run", "proc", "sys", "dev", "tmp", "old", _INSIDE.strip("/")):
            (root / name).mkdir(exist_ok=True)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")

    return kept_layout("newer-docker", ["3", SUITE, mirror], make)


def _mirror() -> str:
    """Where this machine gets Debian from: the archive that has Debian 12 has Debian 13. Skips elsewhere."""
    for path in apt_sources():
        for word in path.read_text().split():
            if word.startswith(("http://", "https://")) and word.rstrip("/").endswith("/debian"):
                return word
    pytest.skip("no source of apt is a Debian archive, so there is no Debian 13 to take a newer Docker from")


@contextlib.contextmanager
def running_newer_docker(folder: Path, *, containerd_store: bool) -> Iterator[DockerDaemon]:
    """A daemon whose every file lies in *folder*; *containerd_store*: it keeps images as containerd does."""
    programs = docker_programs()
    assert programs is not None, "dockerd and docker are not both in PATH"
    (folder / "daemon.json").write_text(json.dumps({"features": {"containerd-snapshotter": containerd_store}}))
    argv = [
        *("unshare", "--mount", "--propagation", "private", "sh", "-euc", _ENTER, "sh"),
        *(str(newer_docker_root()), str(folder)),
        *("--config-file", f"{_INSIDE}/daemon.json", "--host", f"unix://{_INSIDE}/docker.sock"),
        *("--pidfile", f"{_INSIDE}/pid", "--data-root", f"{_INSIDE}/data", "--exec-root", f"{_INSIDE}/exec"),
        *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    ]
    daemon = DockerDaemon(client=programs[1], socket=folder / "docker.sock")

    def ready() -> bool:
        asked = daemon.docker("version", "--format", "{{.Server.Version}}", check=False)
        return asked.returncode == 0

    try:
        with background(argv, log=folder / "log", ready=ready):
            yield daemon
    finally:
        remove_tree(folder)
