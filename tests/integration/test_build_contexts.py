"""Where contexts come from: folders, stdin, tarballs, URLs, git; and what of them a build sees."""

from __future__ import annotations

import functools
import http.server
import io
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers
from worlds.processes import answers, background, free_port

DOCKERFILE = "FROM base\nCOPY . /all/\nRUN find /all | sort >/list\n"


def _tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid = len(data), 12345, 54321
            entry.mtime = 1_000_000_000
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_on_stdin_is_a_context(bench_everyone: Bench, mode: str) -> None:
    bench = bench_everyone
    tar = _tar(
        {"Dockerfile": DOCKERFILE.encode(), "folder/file": b"content\n", ".dockerignore": b"ignored\n", "ignored": b""},
        mode,
    )
    layout = bench.room / "layout"
    words = ("-o", f"type=oci,dest={layout},tar=false")
    first = bench.build(*words, output="", context="-", stdin=tar)
    assert len(first.performed) == 2
    from worlds.building import Image

    image = Image.of(layout)
    assert image.files()["all/folder/file"] == b"content\n"
    # BuildKit reads the ignore file of folders alone: what was sent was meant.
    names = ("", "/.dockerignore", "/Dockerfile", "/folder", "/folder/file", "/ignored")
    assert image.files()["list"].decode() == "".join(f"/all{name}\n" for name in names)
    # Whose files they were in the tar means nothing.
    assert {(member.uid, member.gid) for member in image.members(1).values()} == {(0, 0)}
    again = bench.build(*words, output="", context="-", stdin=tar)
    assert again.performed == []
    assert leftovers(bench.store) == []


def test_a_dockerfile_on_stdin_has_no_context_or_the_one_that_is_named(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write("FROM base\nRUN false\n", {"file": "content\n"})
    bench.build(context="-", stdin="FROM base\nRUN echo hello >/hello\n")
    done = bench.text(context="-", stdin="FROM base\nCOPY file /\n")
    assert done.code == 1
    assert 'error[source-not-found]: "/file": not found\n' in done.err
    _, image = bench.image("-f", "-", stdin="FROM base\nCOPY file /\n")
    assert image.files() == {"file": b"content\n"}
    done = bench.text("-f", "-", context="-", stdin="FROM base\n")
    assert done.code == 2
    assert done.err == "error[invalid-value]: stdin cannot be both the context and the Dockerfile\n"
    for empty in ("", "\n"):
        done = bench.text(context="-", stdin=empty)
        assert done.code == (1 if empty else 2), done.err
        assert "Traceback" not in done.err


def test_hostile_tars_stay_inside(bench_everyone: Bench) -> None:
    bench = bench_everyone
    dockerfile = {"Dockerfile": DOCKERFILE.encode()}
    outside = bench.room / "outside"
    for name in ("../outside", "/etc/../../outside", str(outside)):
        bench.build(context="-", stdin=_tar({**dockerfile, name: b"got out\n"}), check=False)
        assert not outside.exists()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(bench.room)
        tar.addfile(link)
        entry = tarfile.TarInfo("way/outside")
        tar.addfile(entry, io.BytesIO())
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(DOCKERFILE)
        tar.addfile(entry, io.BytesIO(DOCKERFILE.encode()))
    bench.build(context="-", stdin=out.getvalue(), check=False)
    assert not outside.exists()
    done = bench.text(context="-", stdin=_tar({**dockerfile, "file": b"x" * 100_000})[:50_000])
    assert done.code == 1
    assert "error[bad-context]: the context on stdin cannot be unpacked: " in done.err
    assert leftovers(bench.store) == []


@pytest.fixture
def served(room: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL under which its files can be had."""
    folder = room / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_tarballs_from_disk_and_from_the_web(bench_everyone: Bench, served: tuple[Path, str]) -> None:
    bench, (folder, url) = bench_everyone, served
    files = {
        "Dockerfile": DOCKERFILE.encode(),
        "sub/other.Dockerfile": b"FROM base\nCOPY sub /sub\n",
        "file": b"content\n",
    }
    (folder / "context.tar.gz").write_bytes(_tar(files, "w:gz"))
    (folder / "Dockerfile").write_text("FROM base\nRUN echo from the web >/web\n")
    _, image = bench.image(context=folder / "context.tar.gz")
    assert image.files()["all/file"] == b"content\n"
    built, other = bench.image(context=f"{url}/context.tar.gz")
    assert built.performed == []
    assert other.digest == image.digest
    _, image = bench.image("-f", "sub/other.Dockerfile", context=f"{url}/context.tar.gz")
    assert list(image.files()) == ["sub/other.Dockerfile"]
    # Of a URL that is no tar, what comes is the Dockerfile.
    _, image = bench.image(context=f"{url}/Dockerfile")
    assert image.files() == {"web": b"from the web\n"}
    done = bench.text(context=f"{url}/nothing.tar")
    assert done.code == 1
    assert "404" in done.err
    assert f"{url}/nothing.tar" in done.err
    assert leftovers(bench.store) == []


@pytest.fixture
def repository(room: Path, require: Callable[..., None]) -> Iterator[str]:
    """A git URL with a branch, a tag and a folder."""
    require("git")
    top = room / "git"
    work = top / "app"
    work.mkdir(parents=True)

    def git(*words: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(top), "GIT_CONFIG_NOSYSTEM": "1"}
        given = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main", *words]
        return subprocess.run(given, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout

    git("init")
    (work / "Dockerfile").write_text(DOCKERFILE)
    (work / "sub").mkdir()
    (work / "sub/Dockerfile").write_text("FROM base\nCOPY . /sub/\n")
    (work / "file").write_text("first\n")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "v1")
    git("checkout", "-b", "other")
    (work / "file").write_text("second\n")
    git("commit", "-am", "second")
    git("checkout", "main")
    port = free_port()
    command = ["git", "daemon", f"--base-path={top}", "--export-all", "--listen=127.0.0.1", f"--port={port}", str(top)]
    with background(command, log=room / "git.log", ready=lambda: answers("127.0.0.1", port)):
        yield f"git://127.0.0.1:{port}/app/.git"


def test_git_repositories_are_contexts(bench_everyone: Bench, repository: str) -> None:
    bench = bench_everyone
    _, image = bench.image(context=repository)
    assert image.files()["all/file"] == b"first\n"
    assert not any(".git/" in name for name in image.files())
    again, same = bench.image(context=f"{repository}#v1")
    assert (again.performed, same.digest) == ([], image.digest)
    _, image = bench.image(context=f"{repository}#other")
    assert image.files()["all/file"] == b"second\n"
    _, image = bench.image(context=f"{repository}#main:sub")
    assert image.files() == {"sub/Dockerfile": b"FROM base\nCOPY . /sub/\n"}
    done = bench.text(context=f"{repository}#nowhere")
    assert done.code == 1
    assert "nowhere" in done.err
    assert "Traceback" not in done.err
    bench.write("FROM base\nCOPY --from=code file /\n")
    _, image = bench.image("--build-context", f"code={repository}#other")
    assert image.files() == {"file": b"second\n"}


def test_further_contexts_by_all_their_names(bench_everyone: Bench, served: tuple[Path, str]) -> None:
    bench, (folder, url) = bench_everyone, served
    for name in ("one", "two"):
        (bench.room / name).mkdir()
        (bench.room / name / "file").write_text(f"{name}\n")
    (bench.room / "one/.dockerignore").write_text("ignored\n")
    (bench.room / "one/ignored").write_text("x")
    (folder / "web.txt").write_text("web\n")
    bench.write(
        "FROM base AS stage\nRUN echo stage >/file\n"
        "FROM scratch\nCOPY --from=one . /one/\nCOPY --from=two file /two\nCOPY --from=web context /web\n"
        "COPY --from=image /etc/passwd /passwd\nCOPY --from=stage /file /stage\n"
    )
    given = {
        "one": str(bench.room / "one"),
        "TWO": "two",  # relative to where the command is typed
        "web": f"{url}/web.txt",
        "image": f"oci-layout://{bench.base}:latest",
    }
    words = [word for name, value in given.items() for word in ("--build-context", f"{name}={value}")]
    layout = bench.room / "root"
    built = bench.build(*words, output=f"type=local,dest={layout}")
    assert len(built.performed) == 6
    assert sorted(path.name for path in (layout / "one").iterdir()) == [".dockerignore", "file"]
    assert (layout / "two").read_text() == "two\n"
    assert (layout / "web").read_text() == "web\n"
    assert (layout / "stage").read_text() == "stage\n"
    assert "root" in (layout / "passwd").read_text()
    # A context takes the place of a stage, and target: is the stage that it would have hidden.
    (bench.room / "one/file").write_text("instead of the stage\n")
    bench.build(*words, "--build-context", f"stage={bench.room}/one", output=f"type=local,dest={layout}")
    assert (layout / "stage").read_text() == "instead of the stage\n"


def test_dockerfiles_beside_the_context_and_ignore_files_of_their_own(bench: Bench) -> None:
    bench.write(
        "FROM base\nRUN false\n",
        {
            "keep": "keep\n",
            "drop": "drop\n",
            "other": "other\n",
            ".dockerignore": "drop\n",
            "app.Dockerfile": "FROM base\nCOPY . /all/\n",
            "app.Dockerfile.dockerignore": "*\n!keep\n",
        },
    )
    _, image = bench.image("-f", bench.context / "app.Dockerfile")
    assert image.files() == {"all/keep": b"keep\n"}
    elsewhere = bench.room / "elsewhere.Dockerfile"
    elsewhere.write_text("FROM base\nCOPY . /all/\n")
    _, image = bench.image("-f", elsewhere)
    assert "all/drop" not in image.files()
    assert "all/other" in image.files()
    (bench.room / "elsewhere.Dockerfile.dockerignore").write_text("other\n")
    _, image = bench.image("-f", elsewhere)
    assert "all/drop" in image.files()
    assert "all/other" not in image.files()
    # --file is relative to where the command is typed, the default to the context.
    _, image = bench.image("-f", "app.Dockerfile", cwd=bench.context)
    assert image.files() == {"all/keep": b"keep\n"}


def test_what_a_build_writes_is_no_part_of_its_context(bench: Bench) -> None:
    bench.write("FROM base\nCOPY . /all/\n", {"file": "content\n"})
    outputs = (
        *("-o", f"type=docker,dest={bench.context}/one.tar", "-o", f"type=local,dest={bench.context}/root"),
        *("-o", f"type=oci,dest={bench.context}/layout,tar=false", "--metadata-file", bench.context / "meta.json"),
    )
    assert bench.build(*outputs, output="").performed == ["COPY . /all/"]
    assert (bench.context / "meta.json").exists()
    again = bench.build(*outputs, output="")
    assert again.performed == []


def test_a_store_in_the_context_is_no_part_of_it(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write("FROM base\nCOPY . /copied\n", {"file": "content\n"})
    bench.context.chmod(0o777)
    inside = bench.with_store("context/.pybuild")
    _, image = inside.image()
    assert sorted(image.members(-1)) == ["copied", "copied/Dockerfile", "copied/file"]
    assert inside.build().performed == []


def test_files_of_every_kind_and_name(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write("FROM base\nCOPY . /all/\nRUN find /all | wc -l >/count && ls -la /all/pipe >/pipe\n")
    os.mkfifo(bench.context / "pipe")
    names = [
        b"\xff\xfe",
        "ünïcode ☃".encode(),
        b"a" * 255,
        b"new\nline",
        b"back\\slash",
        b"-dash",
        b"*",
        b"[a]",
        b"tab\t",
    ]
    for name in names:
        (bench.context / os.fsdecode(name)).write_bytes(name)
    deep = b"/".join([b"d" * 200] * 15)
    folder = os.open(bench.context, os.O_DIRECTORY)
    for part in deep.split(b"/"):
        os.mkdir(part, dir_fd=folder)
        inner = os.open(part, os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
    os.fchmod(folder, 0o755)
    os.chmod("leaf", 0o644, dir_fd=folder)
    os.close(folder)
    before = bench.text()
    assert before.code == 0, before.err
    _, image = bench.image()
    files = image.files()
    assert {
        os.fsencode(name.removeprefix("all/")): data
        for name, data in files.items()
        if data and name != "count" and name != "pipe" and "Dockerfile" not in name
    } == {name: name for name in names}
    assert os.fsdecode(b"all/" + deep + b"/leaf") in image.members(1)
    assert files["pipe"].startswith(b"prw-r--r--")
    assert bench.build().performed == []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bench.context / "socket")[:107])
        done = bench.text()
        assert done.code == 0, done.err


def _special(name: str, kind: bytes, target: str = "", **more: bytes) -> bytes:
    """A tar of one link or pipe, and files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        tar.addfile(entry)
        for path, data in more.items():
            file = tarfile.TarInfo(path)
            file.size = len(data)
            tar.addfile(file, io.BytesIO(data))
    return out.getvalue()


def test_a_dockerfile_that_somebody_else_made_leads_to_no_file_of_ours(bench_everyone: Bench) -> None:
    bench = bench_everyone
    secret = bench.room / "secret"
    secret.write_text("PASSWORD\n")
    secret.chmod(0o644)
    for target in (str(secret), f"../../../../../../../..{secret}"):
        done = bench.text(context="-", stdin=_special("Dockerfile", tarfile.SYMTYPE, target))
        assert done.code == 1
        assert "PASSWORD" not in done.err
        assert done.err.startswith("error[no-dockerfile]: no Dockerfile: "), done.err
    done = bench.text("-f", "in/secret", context="-", stdin=_special("in", tarfile.SYMTYPE, str(bench.room)))
    assert "PASSWORD" not in done.err
    # A link inside is as good as a file, and nobody waits for a pipe.
    tar = _special("Dockerfile", tarfile.SYMTYPE, "/other", other=b"FROM base\nCOPY other /\n")
    assert bench.build(context="-", stdin=tar).performed == ["COPY other /"]
    done = bench.text(context="-", stdin=_special("Dockerfile", tarfile.FIFOTYPE), timeout=60)
    told = "error[no-dockerfile]: Dockerfile in the context is not a file\nhint: name it with --file\n"
    assert done.err == told
