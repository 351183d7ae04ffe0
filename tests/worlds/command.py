"""The command line, as a person types it, with a store of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from worlds.people import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Pybuild:
    """``pybuild`` for one person: call it with the words of the command line."""

    person: Person
    store: Path  # its own PYBUILD_ROOT
    launch: tuple[str, ...]  # how it is started
    environment: Mapping[str, str]  # PYTHONPATH, where a copy is run

    def __call__(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        check: bool = False,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """What ``pybuild *words`` did; with *check*, AssertionError with all that it said unless it ended with 0."""
        return self.person.run(
            [*self.launch, *words],
            cwd=cwd,
            env={"PYBUILD_ROOT": str(self.store), **self.environment, **(env or {})},
            stdin=stdin,
            timeout=timeout,
            check=check,
        )

    def with_store(self, store: Path) -> Pybuild:
        """The same person with another store."""
        return replace(self, store=store)


def installed_for(person: Person, folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """How *person* starts the pybuild that is being tested, and with which environment.

    The checkout itself where the person can read it, else a copy in *folder* (a clone below /root, or in a private
    temporary folder, is closed to others).
    """
    # -P: nothing of the working folder is imported.
    launch = (sys.executable, "-P", "-m", "builder")
    probe = [sys.executable, "-P", "-c", "import builder, native, cffi"]
    if _runs(person, probe, {}):
        return launch, {}
    copy = folder / "installed"
    if not copy.exists():
        _copy_packages(copy)
    launch = (str(Path(sys.executable).resolve()), *launch[1:])
    environment = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    probe = [launch[0], *probe[1:]]
    done = person.run(probe, cwd=Path("/"), env=environment, check=False)
    assert done.returncode == 0, f"{person.name} cannot run {launch[0]} from a copy in {copy}: {done.stderr}"
    return launch, environment


def _runs(person: Person, argv: list[str], env: dict[str, str]) -> bool:
    try:
        return person.run(argv, cwd=Path("/"), env=env).returncode == 0
    except PermissionError:
        return False


def _copy_packages(copy: Path) -> None:
    """builder, native, and all that is installed beside pytest, readable by everybody."""
    unfinished = copy.with_name("installed-unfinished")
    site = _folder_of("cffi").parent
    shutil.copytree(site, unfinished, symlinks=True, ignore=shutil.ignore_patterns("__editable__*", "mypy*", "ruff*"))
    for package in ("builder", "native"):
        shutil.copytree(_folder_of(package), unfinished / package, dirs_exist_ok=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    unfinished.rename(copy)


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None, f"{package} has no file"
    return Path(spec.origin).parent


def proxy_arguments() -> list[str]:
    """``--build-arg`` for the machine's proxies: as with Docker, a build does not take them from the environment."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    return [f"--build-arg={name}={os.environ[name]}" for name in names if os.environ.get(name)]
