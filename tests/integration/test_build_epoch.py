"""SOURCE_DATE_EPOCH from where its name leads: contexts and what stages fetch."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from worlds.building import Bench, Image, leftovers
from worlds.processes import answers, background, free_port
from worlds.servers import Got, Reply, Server, serving

TOLD, OLDER = 1_700_000_201, 1_600_000_000
DATE = "Tue, 14 Nov 2023 22:16:41 GMT"  # of TOLD
SAYS = "ARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH >/epoch\n"


def tar(**times: int) -> bytes:
    """An archive of small files with these times, and of a folder that is newer than all."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, time in times.items():
            data = b"FROM base\n" + SAYS.encode() if name == "Dockerfile" else b"content\n"
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), time
            archive.addfile(entry, io.BytesIO(data))
        newer = tarfile.TarInfo("folder")
        newer.type, newer.mtime = tarfile.DIRTYPE, TOLD + 1000
        archive.addfile(newer)
    return out.getvalue()


@dataclass
class Site:
    """What a server has: bodies by path, with the time that is said of them."""

    server: Server
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"http://{self.server.address}{path}"

    def answer(self, got: Got) -> Reply:
        body, date = self.files[got.path]
        tag = f'"{hash(body)}"'
        if got.headers.get("if-none-match") == tag:
            return Reply(status=304)
        return Reply(headers={"ETag": tag} | ({"Last-Modified": date} if date else {}), body=body)

    @property
    def sent(self) -> int:
        """How many files went out."""
        return sum("if-none-match" not in got.headers for got in self.server.got)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(lambda _: Reply(status=404)) as server:
        found = Site(server)
        server.answer = found.answer
        yield found


def dated(image: Image) -> tuple[str, str]:
    """The creation time, and what the last command saw of it."""
    return image.config["created"], image.files().get("epoch", b"").decode().strip()


WANTED = ("2023-11-14T22:16:41Z", str(TOLD))


@pytest.mark.parametrize("says", [DATE, ""])
def test_a_context_from_the_web_has_the_servers_time_or_its_newest_files(
    bench_everyone: Bench, site: Site, says: str
) -> None:
    bench = bench_everyone
    site.files["/context.tar"] = (tar(Dockerfile=OLDER, file=OLDER + 5 if says else TOLD), says)
    words = ("--build-arg", "SOURCE_DATE_EPOCH=context")
    first, image = bench.image(*words, context=site.url("/context.tar"))
    assert (len(first.performed), dated(image)) == (1, WANTED)
    again, same = bench.image(*words, context=site.url("/context.tar"))
    assert (again.performed, same.digest) == ([], image.digest)
    assert leftovers(bench.store) == []


def test_a_folder_has_no_time_and_images_have_none_either(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(f"FROM base\nCOPY file /\n{SAYS}", {"file": "content\n"})
    for words in ((), ("--build-context", "more=docker-image://base"), ("--build-context", f"more={bench.context}")):
        name = "more" if words else "context"
        done, image = bench.image("--build-arg", f"SOURCE_DATE_EPOCH={name}", *words)
        assert dated(image)[1] == ""
        assert image.config["created"] > "2024"
    layout = bench.room / "as-they-are"
    out = f"type=oci,dest={layout},tar=false,rewrite-timestamp=true"
    done = bench.build("--build-arg", "SOURCE_DATE_EPOCH=context", output=out)
    warned = [note["text"] for note in done.named("note") if note["level"] == "warning"]
    assert warned == ["rewrite-timestamp: there is no SOURCE_DATE_EPOCH, and times stay as they are"]
    assert Image.of(layout).digest == bench.image("--build-arg", "SOURCE_DATE_EPOCH=context")[1].digest


@pytest.mark.parametrize("way", ["build-arg", "environment", "file"])
def test_a_stage_that_fetches_an_archive_dates_the_image(bench_everyone: Bench, site: Site, way: str) -> None:
    bench = bench_everyone
    site.files["/src.tar.gz"] = (gzip.compress(tar(one=OLDER, two=TOLD)), "")
    default = "ARG SOURCE_DATE_EPOCH=src\n" if way == "file" else ""
    fetches = f"FROM scratch AS src\nADD {site.url('/src.tar.gz')} /\n"
    bench.write(f"{default}{fetches}FROM base\nWORKDIR /work\nCOPY --from=src /src.tar.gz /\n{SAYS}")
    words = ("--build-arg", "SOURCE_DATE_EPOCH=src") if way == "build-arg" else ()
    env = {"SOURCE_DATE_EPOCH": "src"} if way == "environment" else {}
    layout = bench.room / "layout"
    out = f"type=oci,dest={layout},tar=false,rewrite-timestamp=true"
    bench.build(*words, env=env, output=out)
    assert site.sent == 1
    image = Image.of(layout)
    assert dated(image) == WANTED
    assert image.members(1)["work"].mtime == TOLD
    assert max(member.mtime for number in (1, 2, 3) for member in image.members(number).values()) == TOLD
    again = bench.build(*words, env=env, output=out)
    assert (again.performed, again.entered, site.sent) == ([], False, 1)
    # Another file under the same address: another time, and with it another environment.
    site.files["/src.tar.gz"] = (gzip.compress(tar(one=OLDER)), "")
    later, image = bench.image(*words, env=env)
    assert sorted(title.split()[0] for title in later.performed) == ["ADD", "COPY", "RUN", "WORKDIR"]
    assert dated(image)[1] == str(OLDER)


def test_a_number_given_comes_before_the_files_source_which_is_not_asked(bench: Bench, site: Site) -> None:
    bench.write(f"ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {site.url('/gone')} /\nFROM base\n{SAYS}")
    _, image = bench.image("--build-arg", f"SOURCE_DATE_EPOCH={TOLD}")
    assert (dated(image), site.server.got) == (WANTED, [])


def test_a_named_context_from_the_web_dates_the_image(bench: Bench, site: Site) -> None:
    bench.write(f"ARG SOURCE_DATE_EPOCH=more\nFROM base\n{SAYS}")
    site.files["/dated"] = (tar(file=OLDER), DATE)
    site.files["/archive"] = (tar(file=TOLD), "")
    site.files["/plain"] = (b"no archive\n", "")
    for path, wanted in (("/dated", WANTED), ("/archive", WANTED)):
        _, image = bench.image("--build-context", f"more={site.url(path)}")
        assert dated(image) == wanted
    _, image = bench.image("--build-context", f"more={site.url('/plain')}")
    assert dated(image)[1] == ""


@pytest.fixture
def repository(room: Path, require: Callable[..., None]) -> Iterator[str]:
    """A git URL whose commit is of TOLD."""
    require("git")
    work = room / "git" / "app"
    work.mkdir(parents=True)
    moment = f"{TOLD} +0300"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(room),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": "1500000000 +0000",
        "GIT_COMMITTER_DATE": moment,
    }
    (work / "Dockerfile").write_text(f"FROM base\n{SAYS}")
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        given = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main", *words]
        subprocess.run(given, cwd=work, env=environment, check=True, capture_output=True)
    port, top = free_port(), room / "git"
    command = ["git", "daemon", f"--base-path={top}", "--export-all", "--listen=127.0.0.1", f"--port={port}", str(top)]
    with background(command, log=room / "git.log", ready=lambda: answers("127.0.0.1", port)):
        yield f"git://127.0.0.1:{port}/app/.git"


def test_a_repository_has_the_time_of_its_commit(bench_everyone: Bench, repository: str) -> None:
    bench = bench_everyone
    _, image = bench.image("--build-arg", "SOURCE_DATE_EPOCH=context", context=repository)
    assert dated(image) == WANTED
    bench.write(f"FROM base\n{SAYS}")
    words = ("--build-arg", "SOURCE_DATE_EPOCH=code", "--build-context", f"code={repository}")
    _, image = bench.image(*words)
    assert dated(image) == WANTED
    bench.write(f"ARG SOURCE_DATE_EPOCH=code\nFROM scratch AS code\nADD {repository} /\nFROM base\n{SAYS}")
    _, image = bench.image()
    assert dated(image) == WANTED


def test_root_file_systems_have_one_time(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(f"ARG SOURCE_DATE_EPOCH={OLDER}\nFROM base\nCOPY f /folder/f\n", {"f": "content\n"})
    folder, archive = bench.room / "root", bench.room / "root.tar"
    bench.build(output=f"type=local,dest={folder}")
    bench.build(output=f"type=tar,dest={archive}")
    assert {os.lstat(Path(at, name)).st_mtime for at, _, names in os.walk(folder / "folder") for name in names} == {
        OLDER
    }
    with tarfile.open(archive) as tar_:
        assert {member.mtime for member in tar_} == {OLDER}


def test_one_platform_is_made_as_if_it_were_several(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write("FROM base\nCOPY f /f\n", {"f": "content\n"})
    words = ("--build-arg", "BUILDKIT_MULTI_PLATFORM=1")
    layout = bench.room / "layout"
    bench.build(*words, "-t", "one:1", output=f"type=oci,dest={layout},tar=false")
    (top,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert top["mediaType"] == "application/vnd.oci.image.index.v1+json"
    index = json.loads((layout / "blobs/sha256" / top["digest"].removeprefix("sha256:")).read_text())
    (only,) = index["manifests"]
    name = f"{only['platform']['os']}_{only['platform']['architecture']}"
    plain, image = bench.image()
    assert (plain.performed, only["digest"]) == ([], image.digest)
    bench.build(*words, output=f"type=local,dest={bench.room}/root")
    assert (bench.room / "root" / name / "f").read_text() == "content\n"
    bench.build(*words, output=f"type=tar,dest={bench.room}/root.tar")
    with tarfile.open(bench.room / "root.tar") as tar_:
        assert f"{name}/f" in tar_.getnames()
    done = bench.build(*words, "-t", "one:2", output="type=image")
    assert done.named("exported")[0]["digest"] == top["digest"]
    refused = bench.text(*words, output=f"type=docker,dest={bench.room}/docker.tar")
    assert (refused.code, refused.err) == (
        2,
        "error[invalid-value]: --output type=docker cannot hold several platforms\nhint: use type=oci,dest=FILE\n",
    )
