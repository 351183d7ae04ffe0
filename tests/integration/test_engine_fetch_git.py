"""ADD of a git repository: from one that is served on this machine by git itself, over HTTP."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from copies import step
from trees import File, make, read

from builder.engine.copying.copy import copy
from builder.engine.request import Secret
from builder.engine.sources.fetch import fetch
from builder.engine.sources.fetched import Fetched
from builder.engine.world import Settings
from builder.errors import ContextError, HostError
from builder.plan.steps import GitTree

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2001-09-09T01:46:40Z",
    "GIT_COMMITTER_DATE": "2001-09-09T01:46:40Z",
}


@pytest.fixture(autouse=True)
def _with_git(require: Callable[..., None]) -> None:
    require("git")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Server(ThreadingHTTPServer):
    """``git http-backend`` as CGI; all that it serves is in *folder*. With ``wants`` only for that Authorization."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.wants: str | None = None
        self.asked = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked += 1
        if server.wants is not None and self.headers.get("Authorization") != server.wants:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        environment = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": str(server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if line]
        status = next((value for name, value in headers if name == "Status"), "200")
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


class Served:
    """A repository with two commits, a branch, tags and a submodule; and the server."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.work = make(folder / "work", {"a": File("one"), "sub/b": File("b"), "sub/run": File("", mode=0o755)})
        inner = make(folder / "inner", {"i": File("inner")})
        self._init(inner, "inner")
        git(self.work, "init", "-q", "-b", "main")
        self.first = self.commit("first")
        git(self.work, "tag", "light")
        git(self.work, "tag", "-a", "-m", "annotated", "v1")
        (self.work / "a").write_text("two")
        module = f'[submodule "m"]\n\tpath = m\n\turl = {server.url("inner.git")}\n'
        (self.work / ".gitmodules").write_text(module)
        git(self.work, "update-index", "--add", "--cacheinfo", f"160000,{git(inner, 'rev-parse', 'HEAD')},m")
        self.second = self.commit("second")
        git(self.work, "checkout", "-q", "-b", "other", self.first)
        (self.work / "a").write_text("three")
        self.third = self.commit("third")
        git(self.work, "checkout", "-q", "main")
        git(self.work, "clone", "-q", "--bare", ".", str(server.folder / "outer.git"))

    def _init(self, folder: Path, name: str) -> None:
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", "x")
        git(folder, "clone", "-q", "--bare", ".", str(self.server.folder / f"{name}.git"))

    def commit(self, text: str) -> str:
        git(self.work, "add", ".gitmodules" if (self.work / ".gitmodules").exists() else ".", "a")
        git(self.work, "commit", "-q", "-m", text)
        return git(self.work, "rev-parse", "HEAD")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Server(make(tmp_path / "served", {})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Served(tmp_path, server)
        finally:
            server.shutdown()
            thread.join()


def get(served: Served, folder: Path, *, secrets: dict[str, Secret] | None = None, **more: Any) -> Fetched:
    url = served.server.url("outer.git")
    settings = Settings(secrets=secrets or {}, environment={"PATH": ENVIRONMENT["PATH"]})
    return fetch(GitTree(url=url, remote=url, **more), make(folder / "fetched", {}), settings)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts}


def test_the_default_branch_is_taken_with_its_submodules(served: Served, tmp_path: Path) -> None:
    fetched = get(served, tmp_path)
    assert fetched.identity == f"git:{served.second}"
    path = fetched.path()
    assert names(path) == {"a", "m", "m/i", "sub", "sub/b", "sub/run", ".gitmodules"}
    assert (path / "a").read_text() == "two"
    assert (path / "sub/run").stat().st_mode & 0o777 == 0o755
    assert list(path.rglob(".git")) == []


@pytest.mark.parametrize("ref", ["other", "refs/heads/other", "heads/other"])
def test_a_branch_may_be_named(served: Served, tmp_path: Path, ref: str) -> None:
    fetched = get(served, tmp_path, ref=ref)
    assert fetched.identity == f"git:{served.third}"
    assert (fetched.path() / "a").read_text() == "three"


@pytest.mark.parametrize("ref", ["light", "v1", "refs/tags/v1"])
def test_a_tag_is_its_commit(served: Served, tmp_path: Path, ref: str) -> None:
    fetched = get(served, tmp_path, ref=ref)
    assert fetched.identity == f"git:{served.first}"
    assert (fetched.path() / "a").read_text() == "one"


def test_a_full_commit_asks_nobody_until_it_is_wanted(served: Served, tmp_path: Path) -> None:
    before = served.server.asked
    fetched = get(served, tmp_path, ref=served.first)
    assert (fetched.identity, served.server.asked) == (f"git:{served.first}", before)
    assert (fetched.path() / "a").read_text() == "one"


def test_a_commit_can_be_fetched_by_itself(served: Served, tmp_path: Path) -> None:
    git(served.server.folder / "outer.git", "config", "uploadpack.allowAnySHA1InWant", "true")
    fetched = get(served, tmp_path, ref="gone", commit=served.first, fetch_by_commit=True)
    assert fetched.identity == f"git:{served.first}"
    assert (fetched.path() / "a").read_text() == "one"


def test_a_commit_that_the_ref_must_have_is_checked(served: Served, tmp_path: Path) -> None:
    assert get(served, tmp_path, ref="main", commit=served.second[:12]).identity == f"git:{served.second}"
    with pytest.raises(ContextError) as error:
        get(served, tmp_path, ref="main", commit=served.first)
    assert error.value.message == (
        f"{served.server.url('outer.git')}: expected checksum to match {served.first}, got {served.second}"
    )


def test_a_part_of_the_tree_may_be_wanted(served: Served, tmp_path: Path) -> None:
    fetched = get(served, tmp_path, subdir="sub")
    assert fetched.identity == f"git:{served.second}:sub"
    assert names(fetched.path()) == {"b", "run"}


@pytest.mark.parametrize("subdir", ["gone", "a", "sub/..", ".git"])
def test_a_part_that_is_no_folder_is_an_error(served: Served, tmp_path: Path, subdir: str) -> None:
    with pytest.raises(ContextError) as error:
        get(served, tmp_path, subdir=subdir).path()
    assert error.value.message == f"{served.server.url('outer.git')} has no folder {subdir}"


def test_submodules_may_be_left_out(served: Served, tmp_path: Path) -> None:
    fetched = get(served, tmp_path, submodules=False)
    assert fetched.identity == f"git:{served.second}(skip-submodules)"
    assert "m/i" not in names(fetched.path())


def test_the_git_folder_may_be_kept_and_knows_its_remote(served: Served, tmp_path: Path) -> None:
    fetched = get(served, tmp_path, ref="main", keep_git_dir=True)
    assert fetched.identity == f"git:{served.second}.git#refs/heads/main"
    path = fetched.path()
    assert git(path, "rev-parse", "HEAD") == served.second
    assert git(path, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(path, "remote", "get-url", "origin") == served.server.url("outer.git")


def test_an_unknown_ref_is_an_error(served: Served, tmp_path: Path) -> None:
    with pytest.raises(ContextError) as error:
        get(served, tmp_path, ref="gone")
    assert error.value.message == f"{served.server.url('outer.git')} does not contain the ref gone"
    with pytest.raises(ContextError) as error:
        get(served, tmp_path, ref="--upload-pack=touch /tmp/x")
    assert error.value.code == "unknown-ref"


def test_a_repository_that_is_not_there_is_an_error_without_credentials(served: Served, tmp_path: Path) -> None:
    url = served.server.url("gone.git").replace("//", "//user:secret@")
    settings = Settings(environment={"PATH": ENVIRONMENT["PATH"]})
    with pytest.raises(ContextError) as error:
        fetch(GitTree(url=url, remote=url), make(tmp_path / "fetched", {}), settings)
    assert error.value.message.startswith(f"cannot fetch {served.server.url('gone.git')}: ")
    assert "secret" not in error.value.message


def test_a_repository_on_this_machines_disk_is_not_reached(served: Served, tmp_path: Path) -> None:
    remote = f"file://{served.server.folder}/outer.git"
    settings = Settings(environment={"PATH": ENVIRONMENT["PATH"]})
    with pytest.raises(ContextError) as error:
        fetch(GitTree(url=remote, remote=remote), make(tmp_path / "fetched", {}), settings)
    assert error.value.message == f"cannot fetch {remote}: transport 'file' not allowed"


def test_a_token_opens_a_private_repository(served: Served, tmp_path: Path) -> None:
    served.server.wants = "basic " + base64.b64encode(b"x-access-token:t0ken").decode()
    token = {"GIT_AUTH_TOKEN": Secret(id="GIT_AUTH_TOKEN", value=b"t0ken\n")}
    # The submodule is another repository: the token is not for it.
    assert (get(served, tmp_path, secrets=token, submodules=False).path() / "a").read_text() == "two"
    with pytest.raises(ContextError) as error:
        get(served, tmp_path)
    assert error.value.message.startswith(f"cannot fetch {served.server.url('outer.git')}: could not read Username")
    assert error.value.hint == "give credentials with --secret id=GIT_AUTH_TOKEN,env=VARIABLE"


def test_a_header_for_the_host_comes_first(served: Served, tmp_path: Path) -> None:
    served.server.wants = "Custom x"
    host = f"127.0.0.1:{served.server.server_address[1]}"
    secrets = {
        "GIT_AUTH_TOKEN": Secret(id="GIT_AUTH_TOKEN", value=b"wrong"),
        f"GIT_AUTH_HEADER.{host}": Secret(id="h", value=b"Custom x"),
    }
    assert get(served, tmp_path, secrets=secrets).identity == f"git:{served.second}"


def test_without_git_there_is_one_line_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(HostError) as error:
        fetch(
            GitTree(url="x", remote="https://example.com/x.git"), tmp_path, Settings(environment={"PATH": "/nowhere"})
        )
    assert error.value.message == "cannot fetch https://example.com/x.git: there is no git here"
    assert error.value.hint == "install git, or COPY the tree"


def test_hooks_and_filters_of_a_repository_do_not_run(served: Served, tmp_path: Path) -> None:
    (served.work / ".gitattributes").write_text("* filter=evil\n")
    git(served.work, "add", ".gitattributes")
    git(served.work, "commit", "-q", "-m", "filter")
    git(served.work, "push", "-q", str(served.server.folder / "outer.git"), "main")
    assert (get(served, tmp_path).path() / "a").read_text() == "two"


def test_an_added_tree_is_roots(served: Served, tmp_path: Path, require_root: Callable[[], None]) -> None:
    require_root()
    url = served.server.url("outer.git")
    source = GitTree(url=url, remote=url, submodules=False)
    settings = Settings(environment={"PATH": ENVIRONMENT["PATH"]})
    fetched = {source: fetch(source, make(tmp_path / "fetched", {}), settings)}
    root, scratch = make(tmp_path / "root", {}), make(tmp_path / "scratch", {})
    copy(step(to="/src", git=(source,), excludes=("sub",)), None, root, fetched=fetched, scratch=scratch)
    tree = read(root)
    assert set(tree) == {"src", "src/a", "src/m", "src/.gitmodules"}
    assert {(node.uid, node.gid) for node in tree.values()} == {(0, 0)}
