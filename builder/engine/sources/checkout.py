"""A tree of a git repository, by the host's ``git``.

git runs in an environment of its own: no configuration of the system or the user, no hooks, no prompts, and only the
protocols that lead to another machine. Credentials reach it by its environment, not by its arguments, which everybody
on the machine can read.

source   BuildKit, source/git/source.go, util/gitutil/git_cli.go; git(1), "ENVIRONMENT"; git-config(1)
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from builder.engine.sources.fetched import Fetched
from builder.engine.sources.secrets import first_secret
from builder.engine.sources.source import TreeRoot
from builder.errors import ContextError, HostError
from builder.plan.steps import GitTree

if TYPE_CHECKING:
    from builder.engine.world import Settings

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_TIMEOUT = 3600  # seconds of one command: nobody waits longer, and nothing waits for ever


class Repository:
    """One repository, as a step wants it, in *folder*."""

    def __init__(self, source: GitTree, folder: Path, settings: Settings) -> None:
        self._source = source
        self._settings = settings
        self._repository = folder / "repository"
        self._tree = folder / "tree"
        self._shown = _redacted(source.remote)
        program = shutil.which("git", path=settings.environment.get("PATH", os.defpath))
        if program is None:
            raise HostError(
                f"cannot fetch {self._shown}: there is no git here", code="no-git", hint="install git, or COPY the tree"
            )
        self._git = program
        self._moment: int | None = None

    def fetched(self) -> Fetched:
        """What will come; the commit is asked for, unless it is written."""
        source = self._source
        if source.ref.startswith("-"):
            raise ContextError(f"invalid git ref {source.ref!r}", code="unknown-ref")
        if _COMMIT.fullmatch(source.ref):
            if not source.ref.startswith(source.commit):
                raise self._mismatch(source.ref)
            ref = commit = peeled = source.ref
        elif source.fetch_by_commit:
            if not _COMMIT.fullmatch(source.commit):
                raise ContextError(
                    f"cannot fetch {self._shown}: fetch-by-commit needs a full commit", code="unknown-ref"
                )
            ref = commit = peeled = source.commit
        else:
            ref, commit, peeled = self._ask()
        identity = f"git:{commit if source.keep_git_dir else peeled}"
        identity += f".git#{ref}" if source.keep_git_dir else ""
        identity += f":{source.subdir}" if source.subdir else ""
        identity += "" if source.submodules else "(skip-submodules)"
        identity += "(mtime=commit)" if source.commit_times else ""
        return Fetched(identity, lambda: self._check_out(ref, commit), lambda _: self._moment)

    def _ask(self) -> tuple[str, str, str]:
        """The full name of the ref, what it points to, and the commit behind that if it is an annotated tag."""
        source = self._source
        ref = source.ref or self._default_branch()
        answer = self._run("ls-remote", "--", source.remote, ref, ref + "^{}", cwd=self._repository.parent)
        found: dict[str, str] = {}
        for line in answer.splitlines():
            commit, _, name = line.partition("\t")
            if _COMMIT.fullmatch(commit):
                found[name] = commit
        # git checkout prefers branches where a name is a branch's and a tag's
        tag = "refs/tags/" + ref.removeprefix("refs/tags/")
        for name in ("refs/" + ref.removeprefix("refs/"), "refs/heads/" + ref.removeprefix("refs/heads/"), tag):
            if name in found:
                commit = found[name]
                peeled = found.get(name + "^{}", commit) if name == tag else commit
                if source.commit and not commit.startswith(source.commit) and not peeled.startswith(source.commit):
                    raise self._mismatch(commit if commit == peeled else f"{commit} or {peeled}")
                return name, commit, peeled
        raise ContextError(f"{self._shown} does not contain the ref {ref}", code="unknown-ref")

    def _default_branch(self) -> str:
        answer = self._run("ls-remote", "--symref", "--", self._source.remote, "HEAD", cwd=self._repository.parent)
        found = re.search(r"refs/heads/\S+", answer)
        if found is None:
            raise ContextError(f"{self._shown} has no default branch", code="unknown-ref")
        return found[0]

    def _mismatch(self, got: str) -> ContextError:
        return ContextError(
            f"{self._shown}: expected checksum to match {self._source.commit}, got {got}", code="digest-mismatch"
        )

    def _check_out(self, ref: str, commit: str) -> Path:
        source = self._source
        format_ = ["--object-format=sha256"] if len(commit) == 64 else []
        self._tree.mkdir()
        self._run("-c", "init.defaultBranch=master", "init", "--quiet", *format_, ".", cwd=self._tree)
        self._run("remote", "add", "origin", _redacted(source.remote), cwd=self._tree)
        self._get(ref, commit)
        if ref.startswith("refs/heads/") and source.keep_git_dir:
            branch = ref.removeprefix("refs/heads/")
            self._run("checkout", "--quiet", "-B", branch, commit, cwd=self._tree)
        else:
            self._run("checkout", "--quiet", "--detach", commit, cwd=self._tree)
        if source.submodules and (self._tree / ".gitmodules").exists():
            self._run("submodule", "update", "--init", "--recursive", "--depth=1", cwd=self._tree)
        moment = self._moment = int(self._run("show", "--no-patch", "--format=%ct", "HEAD", cwd=self._tree))
        folder = self._subdir() if source.subdir else self._whole()
        if source.commit_times:
            _stamp(folder, moment)
        return folder

    def _get(self, ref: str, commit: str) -> None:
        """Bring *commit*, alone if the server allows that, else with the history that leads to it."""
        remote = self._source.remote
        attempts: list[tuple[str, ...]] = [("--depth=1", "--no-tags", "--", remote, commit)]
        if _COMMIT.fullmatch(ref):
            attempts.append(("--tags", "--", remote, "+refs/heads/*:refs/remotes/origin/*"))
        else:
            attempts.insert(0, ("--depth=1", "--no-tags", "--", remote, f"+{ref}:{ref}"))
            attempts.append(("--no-tags", "--", remote, f"+{ref}:{ref}"))
        for attempt in attempts:
            try:
                self._run("fetch", "--quiet", "--update-head-ok", *attempt, cwd=self._tree)
                self._run("cat-file", "-e", commit + "^{commit}", cwd=self._tree)
            except ContextError:
                if attempt is attempts[-1]:
                    raise
                continue
            return

    def _whole(self) -> Path:
        if self._source.keep_git_dir:
            (self._tree / ".git" / "FETCH_HEAD").unlink(missing_ok=True)
            shutil.rmtree(self._tree / ".git" / "logs", ignore_errors=True)
        else:
            shutil.rmtree(self._tree / ".git")
            self._drop_git_files()
        return self._tree

    def _drop_git_files(self) -> None:
        # A submodule's .git is a file with the path of its repository, which is gone.
        for folder, _, names in os.walk(self._tree):
            if ".git" in names:
                os.unlink(os.path.join(folder, ".git"))

    def _subdir(self) -> Path:
        """The wanted folder of the tree: a link in its path is refused, for it might lead anywhere."""
        self._drop_git_files()
        root = TreeRoot(self._tree, label=self._shown)
        path = self._tree
        done = ""
        for part in self._source.subdir.split("/"):
            done = f"{done}/{part}" if done else part
            status = root.lstat(done)
            if status is None or part in ("", ".", "..", ".git") or status.st_mode & 0o170000 != 0o040000:
                raise ContextError(f"{self._shown} has no folder {self._source.subdir}", code="source-not-found")
            path = path / part
        return path

    def _run(self, *arguments: str, cwd: Path) -> str:
        """What git writes to its stdout.

        raises   ContextError with the last line that it wrote to its stderr
        """
        # core.hooksPath and protocol.*: a fetched repository may not run programs, or reach files of this machine
        command = [self._git, "-c", "core.hooksPath=/dev/null", "-c", "protocol.file.allow=never", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT,
                umask=0o022,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise ContextError(f"cannot fetch {self._shown}: git takes too long", code="cannot-fetch") from None
        except OSError as e:
            raise HostError(f"cannot run git: {e.strerror}", code="no-git") from None
        if done.returncode:
            why = _complaint(done.stderr)
            asked = "could not read Username" in why or "Authentication failed" in why
            hint = "give credentials with --secret id=GIT_AUTH_TOKEN,env=VARIABLE" if asked else None
            raise ContextError(f"cannot fetch {self._shown}: {why}", code="cannot-fetch", hint=hint)
        return done.stdout.decode("utf-8", "replace")

    def _environment(self) -> dict[str, str]:
        given = self._settings.environment
        environment = {
            "PATH": given.get("PATH", os.defpath),
            "HOME": os.devnull,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh:git",
            # No host's key is known in a fresh runner; BuildKit takes any as well (getGitSSHCommand).
            "GIT_SSH_COMMAND": f"ssh -F {os.devnull} -o StrictHostKeyChecking=no -o BatchMode=yes",
        }
        environment |= {name: value for name, value in given.items() if name.lower() in _PROXIES}
        environment |= {name: given[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in given}
        if "SSL_CERT_FILE" in given:
            environment["GIT_SSL_CAINFO"] = given["SSL_CERT_FILE"]
        agent = self._settings.ssh.get("default")
        if agent is not None and agent.paths:
            environment["SSH_AUTH_SOCK"] = agent.paths[0]
        header = self._authorization()
        if header:
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{_scope(self._source.remote)}.extraheader",
                "GIT_CONFIG_VALUE_0": f"Authorization: {header}",
            }
        return environment

    def _authorization(self) -> str | None:
        parts = urlsplit(self._source.remote) if "://" in self._source.remote else None
        if parts is None or parts.scheme not in ("http", "https"):
            return None
        host = parts.netloc.rpartition("@")[2]
        names = (f"GIT_AUTH_HEADER.{host}", f"GIT_AUTH_TOKEN.{host}", "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN")
        found = first_secret(names, self._settings.secrets)
        if found is None:
            return None
        name, value = found
        if name.startswith("GIT_AUTH_HEADER"):
            return value
        return "basic " + base64.b64encode(f"x-access-token:{value}".encode()).decode()


def _stamp(top: Path, moment: int) -> None:
    """Give all below *top*, and itself, one time; a folder after what is in it."""
    for folder, folders, names in os.walk(top, topdown=False):
        for name in (*names, *folders):
            os.utime(os.path.join(folder, name), (moment, moment), follow_symlinks=False)
    os.utime(top, (moment, moment))


def _scope(remote: str) -> str:
    """Where a token may go: to this repository; on GitHub to the others too, as its own checkout action has it."""
    for prefix in ("https://github.com/", "https://www.github.com/"):
        if remote.startswith(prefix):
            return prefix
    return remote


def _redacted(remote: str) -> str:
    if "://" not in remote:
        return remote
    parts = urlsplit(remote)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _complaint(stderr: bytes) -> str:
    """The line of git's complaint that says what is wrong, without addresses that may hold a password."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "git failed")
    told = re.sub(r"://[^/\s'\"]*@", "://", told.partition(": ")[2] if told.startswith(("fatal:", "error:")) else told)
    return "".join(char if char.isprintable() else " " for char in told)[:500]
