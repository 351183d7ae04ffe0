"""ADD of a URL: from a server on this machine."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from copies import step
from trees import File, filled, make, read

from builder.engine.copying.copy import copy
from builder.engine.request import Secret
from builder.engine.sources.download import download, redacted
from builder.engine.sources.fetch import fetch
from builder.engine.sources.fetched import Fetched
from builder.engine.sources.source import TreeRoot
from builder.engine.world import Settings
from builder.errors import ContextError
from builder.image.names import Digest
from builder.plan.steps import RemoteFile

DATE = "Sun, 09 Sep 2001 01:46:40 GMT"


class Server(ThreadingHTTPServer):
    """Answers by path: (status, headers, body). Keeps the headers of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        status, headers, body = server.answers.get(self.path, (404, {}, b"nothing"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(url: str, folder: Path, *, checksum: str = "", **settings: Any) -> Fetched:
    return fetch(RemoteFile(url=url, name="f", checksum=checksum), folder, Settings(**settings))


def secret(name: str, value: str) -> dict[str, Secret]:
    return {name: Secret(id=name, value=value.encode())}


def test_a_file_comes_with_its_time_and_mode_0600(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {"Last-Modified": DATE}, b"content")
    fetched = get(server.url("/f"), tmp_path)
    assert fetched.identity == f"url:{Digest.of(b'content')}"
    status = fetched.path().stat()
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o600, 1_000_000_000)
    assert fetched.path().read_bytes() == b"content"
    assert len(server.asked) == 1


@pytest.mark.parametrize("headers", [{}, {"Last-Modified": "yesterday"}])
def test_a_file_without_a_time_is_of_1970(server: Server, tmp_path: Path, headers: dict[str, str]) -> None:
    server.answers["/f"] = (200, headers, b"")
    assert get(server.url("/f"), tmp_path).path().stat().st_mtime == 0


def test_a_file_with_a_checksum_is_fetched_only_when_it_is_wanted(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {}, b"content")
    fetched = get(server.url("/f"), tmp_path, checksum=Digest.of(b"content"))
    assert (fetched.identity, server.asked) == (f"url:{Digest.of(b'content')}", [])
    assert fetched.path().read_bytes() == b"content"


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {}, b"other")
    wanted = Digest.of(b"content")
    with pytest.raises(ContextError) as error:
        get(server.url("/f"), tmp_path, checksum=wanted).path()
    assert error.value.message == f"digest mismatch for {server.url('/f')}: {Digest.of(b'other')} (expected: {wanted})"
    assert error.value.code == "digest-mismatch"
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_may_be_of_another_algorithm(server: Server, tmp_path: Path) -> None:
    import hashlib

    server.answers["/f"] = (200, {}, b"content")
    checksum = "sha512:" + hashlib.sha512(b"content").hexdigest()
    assert get(server.url("/f"), tmp_path, checksum=checksum).path().read_bytes() == b"content"


def test_redirections_are_followed(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = (302, {"Location": "/b?x=1"}, b"")
    server.answers["/b?x=1"] = (308, {"Location": server.url("/c")}, b"")
    server.answers["/c"] = (200, {}, b"there")
    assert get(server.url("/a"), tmp_path).path().read_bytes() == b"there"


def test_redirections_end(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = (302, {"Location": "/a"}, b"")
    with pytest.raises(ContextError) as error:
        get(server.url("/a"), tmp_path)
    assert error.value.message == f"cannot fetch {server.url('/a')}: stopped after 10 redirects"


def test_a_redirection_leads_to_no_file_of_this_machine(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = (302, {"Location": "file:///etc/passwd"}, b"")
    with pytest.raises(ContextError) as error:
        get(server.url("/a"), tmp_path)
    assert error.value.message == f"cannot fetch {server.url('/a')}: file:///etc/passwd is no address of a file"


def test_a_refusal_is_told_with_its_number(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ContextError) as error:
        get(server.url("/gone"), tmp_path)
    assert error.value.message == f"cannot fetch {server.url('/gone')}: invalid response status 404"
    assert error.value.code == "cannot-fetch"


def test_a_refusal_for_want_of_credentials_says_how_to_give_them(server: Server, tmp_path: Path) -> None:
    server.answers["/private"] = (401, {}, b"")
    with pytest.raises(ContextError) as error:
        get(server.url("/private"), tmp_path)
    assert error.value.hint == "give credentials with --secret id=HTTP_AUTH_TOKEN_127.0.0.1,env=VARIABLE"


def test_a_closed_port_is_told(tmp_path: Path) -> None:
    with pytest.raises(ContextError) as error:
        get("http://127.0.0.1:1/f", tmp_path)
    assert error.value.message == "cannot fetch http://127.0.0.1:1/f: connection refused"


def test_an_answer_that_breaks_off_is_an_error(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {"Content-Length": "100"}, b"short")
    with pytest.raises(ContextError) as error:
        get(server.url("/f"), tmp_path)
    assert error.value.message == f"cannot fetch {server.url('/f')}: the connection broke off"


def test_an_endless_answer_is_cut(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {}, b"x" * 100_000)
    with pytest.raises(ContextError) as error:
        download(RemoteFile(url=server.url("/f"), name="f"), tmp_path, Settings(), most=1000)
    assert error.value.message == f"cannot fetch {server.url('/f')}: it is larger than 1000 bytes"


def test_compression_for_the_way_is_undone(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"content"))
    assert get(server.url("/f"), tmp_path).path().read_bytes() == b"content"


def test_a_token_is_for_its_host_alone(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = (302, {"Location": server.url("/b", "localhost")}, b"")
    server.answers["/b"] = (200, {}, b"")
    secrets = secret("HTTP_AUTH_TOKEN_127.0.0.1", "s3cret\n")
    get(server.url("/a"), tmp_path, secrets=secrets).path()
    assert [headers.get("authorization") for _, headers in server.asked] == ["Bearer s3cret", None]


def test_a_header_is_sent_as_it_is(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = (200, {}, b"")
    get(server.url("/a"), tmp_path, secrets=secret("HTTP_AUTH_HEADER_127.0.0.1", "Basic eDp5")).path()
    get(server.url("/a"), tmp_path, secrets=secret("HTTP_AUTH_HEADER_example.com", "Basic eDp5")).path()
    assert [headers.get("authorization") for _, headers in server.asked] == ["Basic eDp5", None]


def test_a_secret_cannot_make_further_headers(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ContextError) as error:
        get(server.url("/a"), tmp_path, secrets=secret("HTTP_AUTH_TOKEN_127.0.0.1", "x\r\nEvil: 1"))
    assert error.value.message == "the secret HTTP_AUTH_TOKEN_127.0.0.1 is no header value"
    assert server.asked == []


def test_a_password_in_the_url_is_used_and_never_shown(server: Server, tmp_path: Path) -> None:
    url = server.url("/gone?token=abc").replace("//", "//user:p%40ss@")
    with pytest.raises(ContextError) as error:
        get(url, tmp_path)
    assert error.value.message == f"cannot fetch {server.url('/gone')}?…: invalid response status 404"
    assert server.asked[0][1]["authorization"] == "Basic dXNlcjpwQHNz"
    assert redacted("http://u:p@example.com:8080/a/b?q#f") == "http://example.com:8080/a/b?…"


def test_a_proxy_is_asked_where_the_environment_names_one(server: Server, tmp_path: Path) -> None:
    server.answers["http://example.com/f"] = (200, {}, b"by proxy")
    environment = {"http_proxy": server.url("").replace("//", "//me:pw@")}
    assert get("http://example.com/f", tmp_path, environment=environment).path().read_bytes() == b"by proxy"
    assert server.asked[0][1]["proxy-authorization"] == "Basic bWU6cHc="


def test_what_is_added_is_mode_0600_and_roots(server: Server, tmp_path: Path, require_root: Callable[[], None]) -> None:
    require_root()
    server.answers["/dir/f"] = (200, {"Last-Modified": DATE}, b"content")
    source = RemoteFile(url=server.url("/dir/f"), name="f")
    fetched = {source: fetch(source, make(tmp_path / "tmp", {}), Settings())}
    root, scratch = make(tmp_path / "root", {}), make(tmp_path / "scratch", {})
    copy(step(to="/dst/", remote=(source,)), None, root, fetched=fetched, scratch=scratch)
    copy(step(to="/as", remote=(source,), mode="0755", owner="5:6"), None, root, fetched=fetched, scratch=scratch)
    assert read(root) == filled({"dst/f": File("content", mode=0o600), "as": File("content", mode=0o755, uid=5, gid=6)})


def test_a_remote_archive_is_unpacked_if_that_is_asked_for(
    server: Server, tmp_path: Path, require_root: Callable[[], None]
) -> None:
    from test_engine_copy_archives import tarball

    require_root()
    server.answers["/a.tar"] = (200, {}, tarball({"inner": File("x")}))
    source = RemoteFile(url=server.url("/a.tar"), name="a.tar")
    fetched = {source: fetch(source, make(tmp_path / "tmp", {}), Settings())}
    root, scratch = make(tmp_path / "root", {}), make(tmp_path / "scratch", {})
    copy(step(to="/one/", remote=(source,), unpack=True), None, root, fetched=fetched, scratch=scratch)
    copy(step(to="/two/", remote=(source,), unpack_remote=True), None, root, fetched=fetched, scratch=scratch)
    assert set(read(root)) == {"one", "one/a.tar", "two", "two/inner"}


def test_several_threads_fetch_once(server: Server, tmp_path: Path) -> None:
    server.answers["/f"] = (200, {}, b"content")
    fetched = get(server.url("/f"), tmp_path, checksum=Digest.of(b"content"))
    threads = [threading.Thread(target=fetched.path) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    assert os.listdir(tmp_path) == ["file"]


class Remembered:
    """A memory of this test."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[Any, Any]] = {}

    def memory(self, name: str) -> dict[Any, Any]:
        return self.kept.get(name, {})

    def remember(self, name: str, value: dict[Any, Any]) -> None:
        self.kept[name] = value


def test_a_server_that_says_that_nothing_changed_sends_nothing(server: Server, tmp_path: Path) -> None:
    memory = Remembered()
    source = RemoteFile(url=server.url("/f"), name="f")
    server.answers["/f"] = (200, {"ETag": '"one"'}, b"content")
    first = fetch(source, make(tmp_path / "a", {}), Settings(), memory)
    server.answers["/f"] = (304, {}, b"")
    second = fetch(source, make(tmp_path / "b", {}), Settings(), memory)
    assert second.identity == first.identity == f"url:{Digest.of(b'content')}"
    assert os.listdir(tmp_path / "b") == []
    # Only whoever needs the file fetches it, and gets no other one.
    server.answers["/f"] = (200, {"ETag": '"one"'}, b"content")
    assert second.path().read_bytes() == b"content"
    server.answers["/f"] = (200, {"ETag": '"two"'}, b"other")
    assert fetch(source, make(tmp_path / "c", {}), Settings(), memory).identity == f"url:{Digest.of(b'other')}"
    tags = [headers.get("if-none-match") for _, headers in server.asked]
    assert tags == [None, '"one"', None, '"one"', None]


def test_of_equal_names_the_one_written_last_stays(
    server: Server, tmp_path: Path, require_root: Callable[[], None]
) -> None:
    require_root()
    server.answers["/f"] = (200, {}, b"remote")
    source = RemoteFile(url=server.url("/f"), name="f")
    fetched = {source: fetch(source, make(tmp_path / "tmp", {}), Settings())}
    local = TreeRoot(make(tmp_path / "local", {"f": File("local")}), owners=False)
    root, scratch = make(tmp_path / "root", {}), make(tmp_path / "scratch", {})
    for order in (("remote", "sources"), ("sources", "remote")):
        wanted = step("f", to=f"/{order[0]}/", remote=(source,), order=order)
        copy(wanted, local, root, fetched=fetched, scratch=scratch)
    assert (root / "remote/f").read_text() == "local"
    assert (root / "sources/f").read_text() == "remote"
