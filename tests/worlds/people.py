"""People who type commands: root, and an ordinary user with subordinate ids."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ORDINARY = "pybuild-test"  # scripts/setup --tests makes this user
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a machine's network needs in every environment; nothing else of ours is handed on.
_KEPT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who runs commands with a clean environment and a home of their own."""

    name: str
    uid: int
    gid: int
    home: Path

    def environment(self) -> dict[str, str]:
        """What a fresh log-in of this person has, and the machine's proxies and certificates."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "PATH": _PATH, "LANG": "C.UTF-8"}
        return kept | own

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 300,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """What *argv* did, as this person.

        env      added to the person's own environment
        returns  stdout and stderr as text, with undecodable bytes as surrogates
        raises   AssertionError with both, where *check* is set and it failed
        """
        given = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin or b""
        someone_else = os.geteuid() != self.uid
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=cwd or self.home,
            env=self.environment() | dict(env or {}),
            input=given,
            capture_output=True,
            timeout=timeout,
            check=False,
            umask=0o022,
            user=self.uid if someone_else else None,
            group=self.gid if someone_else else None,
            extra_groups=[] if someone_else else None,
        )
        out, err = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def owns(self, path: Path) -> Path:
        """*path*, given to this person."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)
        return path


def whoever_runs_this() -> Person:
    """The person who started the tests."""
    return _person(pwd.getpwuid(os.geteuid()))


def ordinary_user() -> Person | None:
    """An ordinary user: ourselves, or, for root, the one that scripts/setup makes; None where there is none."""
    if os.geteuid() != 0:
        return whoever_runs_this()
    try:
        return _person(pwd.getpwnam(ORDINARY))
    except KeyError:
        return None


def has_subordinate_ids(person: Person) -> bool:
    """Whether subuid(5) and subgid(5) both name *person*."""
    return all(_names(Path(table), person) for table in ("/etc/subuid", "/etc/subgid"))


def _names(table: Path, person: Person) -> bool:
    try:
        lines = table.read_text().splitlines()
    except FileNotFoundError:
        return False
    return any(line.split(":")[0] in (person.name, str(person.uid)) for line in lines)


def _person(entry: pwd.struct_passwd) -> Person:
    return Person(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(entry.pw_dir))
