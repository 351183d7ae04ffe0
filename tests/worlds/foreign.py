"""Bases of another platform than this machine's, and one of both: to be built with no hardware but this."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from worlds.bases import (
    BUNDLE,
    PATH,
    RECIPE,
    apt_options,
    apt_sources,
    busybox_layout,
    kept_layout,
    write_busybox,
    write_layout,
)

_INDEX = "application/vnd.oci.image.index.v1+json"

# Nothing of a package is executed: all is said to be installed, which is enough for apt and dpkg to install more.
_INSTALLED = f"""\
set -eu
dpkg=$1/var/lib/dpkg control=$1/tmp/control
for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb --field "$deb" >"$control"
  name=$(sed -n 's/^Package: //p' "$control")
  if grep -q '^Multi-Arch: same' "$control"; then name=$name:$(sed -n 's/^Architecture: //p' "$control"); fi
  sed 's/^Version:/Status: install ok installed\\nVersion:/' "$control" >>"$dpkg/status"
  echo >>"$dpkg/status"
  : >"$dpkg/info/$name.list"
done
rm "$control"
for table in passwd group; do
  [ ! -e "$1/usr/share/base-passwd/$table.master" ] ||
    cp "$1/usr/share/base-passwd/$table.master" "$1/etc/$table"
done
mkdir -p "$1/etc/ssl/certs"
[ ! -e {BUNDLE} ] || cp {BUNDLE} "$1{BUNDLE}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A platform that this machine does not run by itself."""

    architecture: str  # as images call it
    machine: str  # as uname -m and qemu do
    number: int  # ELF's e_machine
    native: str  # the architecture that this machine has

    @property
    def platform(self) -> str:
        """``linux/arm64``."""
        return f"linux/{self.architecture}"

    @property
    def here(self) -> str:
        """The platform of the machine that we are on."""
        return f"linux/{self.native}"


def foreign() -> Foreign:
    """arm64, or on arm64 amd64."""
    if platform.machine() == "aarch64":
        return Foreign(architecture="amd64", machine="x86_64", number=62, native="arm64")
    return Foreign(architecture="arm64", machine="aarch64", number=183, native="amd64")


def foreign_busybox_layout() -> Path:
    """The base of ``busybox_layout``, for the other platform."""
    other = foreign()

    def make(layout: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "root.tar"
            _extract(archive, "--include=busybox-static")
            with tarfile.open(archive) as tar:
                file = tar.extractfile(next(one for one in tar if one.isreg() and one.name.endswith("bin/busybox")))
                assert file is not None
                (Path(folder) / "busybox").write_bytes(file.read())
            here = Path(shutil.which("busybox") or "/bin/busybox")
            layer = partial(write_busybox, Path(folder) / "busybox", applets_of=here)
            write_layout(layout, layer, config={"Cmd": ["sh"], "Env": [PATH]}, architecture=other.architecture)

    return kept_layout("foreign-busybox", [RECIPE, other.architecture, *_parts()], make)


def foreign_debian_layout() -> Path:
    """The packages of a smallest Debian with apt, unpacked and nothing else, so that it is made in ten seconds."""
    other = foreign()

    def make(layout: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive, script = Path(folder) / "root.tar", Path(folder) / "installed"
            script.write_text(_INSTALLED)
            Path(folder).chmod(0o755)
            packages = ("--include=?essential", "--include=apt,ca-certificates")
            _extract(archive, *packages, f'--extract-hook=sh {script} "$1"')
            with archive.open("rb") as tar:
                layer = partial(shutil.copyfileobj, tar)
                write_layout(layout, layer, config={"Cmd": ["bash"], "Env": [PATH]}, architecture=other.architecture)

    return kept_layout("foreign-debian", [RECIPE, other.architecture, _INSTALLED, *_parts()], make)


def write_index(layout: Path, *others: Path) -> Path:
    """An OCI layout whose one image is an index of those that *others* hold."""
    manifests = []
    for other in others:
        shutil.copytree(other / "blobs", layout / "blobs", dirs_exist_ok=True)
        (descriptor,) = json.loads((other / "index.json").read_text())["manifests"]
        config = json.loads(_blob(other, json.loads(_blob(other, descriptor["digest"]))["config"]["digest"]))
        described = {"os": config["os"], "architecture": config["architecture"]}
        manifests.append({key: descriptor[key] for key in ("mediaType", "digest", "size")} | {"platform": described})
    data = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    top: dict[str, Any] = {"mediaType": _INDEX, "digest": f"sha256:{digest}", "size": len(data)}
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


def both_busyboxes(layout: Path) -> Path:
    """A busybox of this platform and one of the other, in one index."""
    return write_index(layout, busybox_layout(), foreign_busybox_layout())


def _extract(archive: Path, *options: str) -> None:
    """A tar of packages of the other platform, unpacked."""
    command = ["mmdebstrap", "--quiet", "--skip=check/qemu", f"--architectures={foreign().architecture}"]
    command += ["--variant=extract", "--format=tar", *(f"--aptopt={option}" for option in apt_options())]
    # An empty suite: the sources name theirs.
    command += [*options, "", str(archive), *map(str, apt_sources())]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _parts() -> list[str]:
    return [*apt_options(), *(path.read_text(errors="replace") for path in apt_sources())]


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
