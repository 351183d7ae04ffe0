"""Base images made from what the machine has: Debian by mmdebstrap, a small one from the static busybox.

Nothing is fetched but from the machine's own Debian mirror, and no mirror is named here: the sources, proxies and
certificates are those that the machine is set up with, as in a company's own base image.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from worlds.processes import remove_tree

Layer = Callable[[BinaryIO], None]

RECIPE = "6"  # a new number makes every cached base anew
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def cache_folder() -> Path:
    """Where bases are kept from one run to the next; it is ours alone."""
    folder = Path(os.environ.get("PYBUILD_TEST_CACHE") or f"/var/tmp/pybuild-test-cache-{os.geteuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def debian_layout(name: str = "debian", *packages: str) -> Path:
    """An OCI layout of this machine's Debian (or Ubuntu): what is required and apt, as in the official image.

    name, packages   of another one, which has these packages too
    """
    sources = apt_sources()
    options = apt_options()
    certificates = _certificates()
    parts = [RECIPE, *packages, *options, *(path.read_text(errors="replace") for path in (*sources, *certificates))]
    environment = _environment(certificates)

    def make(layout: Path) -> None:
        archive = layout.with_suffix(".tar")
        hooks = [f"copy-in {path} {_LOCAL_CERTIFICATES}" for path in certificates]
        if hooks:
            hooks = [f'mkdir -p "$1{_LOCAL_CERTIFICATES}"', *hooks, 'chroot "$1" update-ca-certificates']
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={','.join(('ca-certificates', *packages))}",
                "--format=tar",
            ]
            + [f"--aptopt={option}" for option in options]
            + [f"--customize-hook={hook}" for hook in hooks]
            # An empty suite: the sources name theirs.
            + ["", str(archive), *map(str, sources)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        with archive.open("rb") as tar:
            layer = partial(shutil.copyfileobj, tar)
            write_layout(layout, layer, config={"Cmd": ["bash"], "Env": [PATH, *environment]})
        archive.unlink()

    return kept_layout(name, [*parts, *environment], make)


def runner_layout() -> Path:
    """The same with Python, as a CI runner's image may be."""
    return debian_layout("runner", "python3")


def busybox_layout() -> Path:
    """An OCI layout of one static busybox with all its applets, /etc/passwd and /tmp: a base of two megabytes."""
    program = Path(shutil.which("busybox") or "/bin/busybox").resolve()

    def make(layout: Path) -> None:
        write_layout(layout, partial(write_busybox, program), config={"Cmd": ["sh"], "Env": [PATH]})

    return kept_layout("busybox", [RECIPE, hashlib.sha256(program.read_bytes()).hexdigest()], make)


def write_layout(
    layout: Path, *layers: Layer, config: Mapping[str, Any], tag: str = "latest", architecture: str = ""
) -> None:
    """An OCI image layout with one image.

    layers   each writes its uncompressed tar to the stream that it is given
    config   as in the image configuration: Cmd, Env …
    architecture   as images call it; this machine's where none is given
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    packed = [_pack(blobs, layer) for layer in layers]

    def blob(document: object, kind: str) -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return _descriptor(kind, digest, len(data))

    document = {
        "architecture": architecture or ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in packed]},
        # The specification makes it optional, but buildah counts its entries.
        "history": [{"created": "2001-09-09T01:46:40Z", "created_by": "tests"} for _ in packed],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _media_type("manifest.v1+json"),
        "config": blob(document, "config.v1+json"),
        "layers": [descriptor for descriptor, _ in packed],
    }
    found = blob(manifest, "manifest.v1+json") | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [found]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _pack(blobs: Path, layer: Layer) -> tuple[dict[str, Any], str]:
    """The descriptor and the diff_id of *layer*, gzipped among the *blobs*."""
    temporary = blobs / "layer"
    with temporary.open("wb") as out, gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed:
        hashing = _Hashing(packed)
        layer(cast("BinaryIO", hashing))  # all that a writer of tars calls is write()
    with temporary.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    size = temporary.stat().st_size
    temporary.rename(blobs / digest)
    return _descriptor("layer.v1.tar+gzip", digest, size), f"sha256:{hashing.sha256.hexdigest()}"


def _media_type(kind: str) -> str:
    return f"application/vnd.oci.image.{kind}"


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": _media_type(kind), "digest": f"sha256:{digest}", "size": size}


class _Hashing:
    """Passes on what is written, and knows its digest."""

    def __init__(self, out: gzip.GzipFile) -> None:
        self._out, self.sha256 = out, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._out.write(data)


def kept_layout(name: str, parts: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The layout that *make* wrote for these *parts*, now or in an earlier run; several workers make it once."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    layout = cache_folder() / f"{name}-{key}"
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layout.exists():
            for old in cache_folder().glob(f"{name}-*"):
                # A younger one may be another checkout's, whose tests are running.
                if time.time() - old.stat().st_mtime > 24 * 3600:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            unfinished = layout.with_name(layout.name + "-unfinished")
            remove_tree(unfinished)  # of a run that was killed
            make(unfinished)
            unfinished.rename(layout)
    return layout


def apt_sources() -> list[Path]:
    """The distribution's own sources; those of other parties say nothing about a base image."""
    folder = Path("/etc/apt")
    candidates = (
        folder / "sources.list",
        folder / "sources.list.d/debian.sources",
        folder / "sources.list.d/ubuntu.sources",
    )
    return [path for path in candidates if path.exists() and _has_entries(path)]


def _has_entries(path: Path) -> bool:
    return any(line.strip() and not line.startswith("#") for line in path.read_text().splitlines())


def apt_options() -> list[str]:
    """How this machine reaches its mirror (proxies, a mirror of old snapshots), as apt.conf(5) lines."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    wanted = ("Acquire::http::Proxy ", "Acquire::https::Proxy ", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    return [
        line.removesuffix(";") for line in dump.splitlines() if line.startswith(wanted) and not line.endswith('"";')
    ]


def _certificates() -> list[Path]:
    """The authorities that somebody added to this machine, without which it reaches no HTTPS."""
    added = sorted(_LOCAL_CERTIFICATES.glob("**/*.crt")) if _LOCAL_CERTIFICATES.is_dir() else []
    return [path for path in added if path.is_file()]


def _environment(certificates: Sequence[Path]) -> list[str]:
    """What pip and npm need to be told in there, so that a Dockerfile need not know whose machine it is built on."""
    found: dict[str, str] = {}
    if certificates:
        # Both bring their own list of authorities along unless told.
        found |= {"PIP_CERT": BUNDLE, "NODE_EXTRA_CA_CERTS": BUNDLE}
    index = _answer("pip", "config", "get", "global.index-url") or os.environ.get("PIP_INDEX_URL", "")
    if index.startswith("http") and "@" not in index:  # never a password: the layout lies in a cache
        found["PIP_INDEX_URL"] = index
    registry = _answer("npm", "config", "get", "registry")
    if registry.startswith("http") and "@" not in registry:
        found["NPM_CONFIG_REGISTRY"] = registry
    return [f"{name}={value}" for name, value in found.items()]


def _answer(*argv: str) -> str:
    if shutil.which(argv[0]) is None:
        return ""
    return subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()


def write_busybox(program: Path, out: BinaryIO, *, applets_of: Path | None = None) -> None:
    """A root of one static busybox. *applets_of* tells the names of the applets where *program* does not run here."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, *, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
            tar.addfile(entry, io.BytesIO(data))

        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            add(folder, kind=tarfile.DIRTYPE, mode=mode)
        add("bin/busybox", kind=tarfile.REGTYPE, mode=0o755, data=program.read_bytes())
        applets = subprocess.run(
            [applets_of or program, "--list"], check=True, capture_output=True, text=True
        ).stdout.split()
        for applet in sorted(set(applets) - {"busybox"}):
            add(f"bin/{applet}", kind=tarfile.SYMTYPE, mode=0o777, link="busybox")
        add("etc/passwd", kind=tarfile.REGTYPE, mode=0o644, data=b"root:x:0:0:root:/root:/bin/sh\n")
        add("etc/group", kind=tarfile.REGTYPE, mode=0o644, data=b"root:x:0:\n")
