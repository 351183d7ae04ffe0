"""A real registry on a loopback port: Debian's docker-registry, over a folder of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worlds.processes import answers, background, free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Where a registry listens (plain HTTP, no log-in) and where it keeps its files."""

    address: str  # "localhost:5001"
    storage: Path
    log: Path  # its access log, a line per request

    def reference(self, name: str) -> str:
        """*name* ("debian:stable") in this registry."""
        return f"{self.address}/{name}"

    def push(self, layout: Path, name: str) -> str:
        """The reference under which the one image of the OCI *layout* can now be pulled."""
        reference = self.reference(name)
        subprocess.run(
            [
                *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
                *(f"oci:{layout}", f"docker://{reference}"),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return reference


@contextlib.contextmanager
def running_registry(folder: Path, *, program: str = "docker-registry") -> Iterator[Registry]:
    """A registry with its storage and its log in *folder*."""
    port = free_port()
    storage, config = folder / "storage", folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn, accesslog: {disabled: false}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    # Its own settings come from REGISTRY_…: none of ours may leak in.
    env = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    log = folder / "log"
    with background([program, "serve", str(config)], log=log, ready=lambda: answers("127.0.0.1", port), env=env):
        yield Registry(address=f"localhost:{port}", storage=storage, log=log)
