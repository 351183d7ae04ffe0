"""The files with logins: where they are, and how they are read and replaced."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from builder.errors import RegistryError

FILE_LIMIT = 4 << 20


def config_paths(environment: Mapping[str, str]) -> list[Path]:
    """The files that may hold logins, the one that wins, and that is written, first."""
    paths = []
    if environment.get("REGISTRY_AUTH_FILE"):
        paths.append(Path(environment["REGISTRY_AUTH_FILE"]))
    home = Path(environment.get("HOME") or "/")
    paths.append(Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json")
    if environment.get("XDG_RUNTIME_DIR"):
        paths.append(Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    paths.append(Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json")
    return paths


def read_config(path: Path) -> dict[str, Any] | None:
    """The object in *path*, None where there is none that we may read; RegistryError ``invalid-credentials-file``."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as e:
        raise RegistryError(f"cannot read {path}: {e.strerror}", code="invalid-credentials-file") from None
    if not data.strip():
        return {}
    try:
        value = json.loads(data) if len(data) <= FILE_LIMIT else None
    except (ValueError, RecursionError) as e:
        raise RegistryError(f"{path} is not JSON: {e}", code="invalid-credentials-file") from None
    if not isinstance(value, dict):
        raise RegistryError(f"{path} is not a JSON object", code="invalid-credentials-file")
    return value


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Replace *path* by what *change* makes of its object, at once for every reader and for its owner alone.

    What *change* leaves alone stays. Two that change it at once wait for each other.

    raises   RegistryError ``invalid-credentials-file``, ``unwritable-credentials-file``
    """
    path = path.resolve()  # a link to a file elsewhere stays one
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            config = read_config(path)
            if config is None and path.exists():
                raise PermissionError(errno.EACCES, "it cannot be read")
            config = config or {}
            change(config)
            _replace(path, json.dumps(config, indent="\t").encode() + b"\n", folder)
        finally:
            os.close(folder)
    except OSError as e:
        raise RegistryError(
            f"cannot write {path}: {e.strerror}",
            code="unwritable-credentials-file",
            hint="name a folder that you can write to with DOCKER_CONFIG",
        ) from None


def _replace(path: Path, data: bytes, folder: int) -> None:
    fd, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # mode 0600
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)  # leaves, if killed before: a temporary file beside the old one
    except BaseException:  # an interrupt, too, must leave no passwords lying about
        os.unlink(temporary)
        raise
    os.fsync(folder)
