from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.terminal import surroundings

from builder.cli.build_options import OPTIONS
from builder.cli.environment import passed_on, proxy_arguments, store_root
from builder.cli.options import parse
from builder.cli.request import check_attestations, compile_request
from builder.cli.sources import contexts, secrets, ssh_agents
from builder.engine.request import BuildRequest, Output, Secret, SshAgent
from builder.errors import UsageError
from builder.events import Note


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stdin_of(tmp_path: Path) -> Iterator[Callable[[bytes], int]]:
    opened: list[int] = []

    def make(data: bytes) -> int:
        read, write = os.pipe()
        opened.append(read)
        assert len(data) < 65536, "more than a pipe holds"
        os.write(write, data)
        os.close(write)
        return read

    yield make
    for fd in opened:
        os.close(fd)


def request(*words: str, stdin: int = -1, **environ: str) -> BuildRequest:
    from builder.cli import common

    parsed = parse("build", (*OPTIONS, *common.OPTIONS), words)
    return compile_request(parsed, surroundings(environ, stdin))[0]


def refusal(*words: str, stdin: int = -1, **environ: str) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        request(*words, stdin=stdin, **environ)
    return caught.value.message, caught.value.hint


def test_the_shortest_command_line_asks_for_a_tarball(tmp_path: Path) -> None:
    assert request(".") == BuildRequest(
        context=".",
        outputs=(Output(kind="docker", dest=f"{tmp_path.name}.tar"),),
        root="/home/nobody/.local/share/pybuild",
        environment={"HOME": "/home/nobody"},
    )


def test_every_option_arrives() -> None:
    asked = request(
        *("-f", "docker/Dockerfile", "-t", "a:1", "-t", "b", "-o", "type=image", "--target", "test"),
        *("--build-arg", "A=1", "--build-arg", "B", "--label", "l=1", "--annotation", "a=1"),
        *("--platform", "linux/arm64", "--add-host", "h:1.2.3.4,i:1.2.3.5", "--network", "host"),
        *("--shm-size", "1m", "--ulimit", "nofile=1", "--no-cache", "--no-cache-filter", "x,y", "--pull"),
        *("--iidfile", "iid", "--metadata-file", "meta", "--isolation", "copy", "--userns", "none"),
        *("--reproducible", "--allow", "security.insecure", "--jobs", "3", "--root", "/store", "."),
        B="b",
        HTTPS_PROXY="http://proxy:3128",
        SECRET="not passed on",
    )
    assert asked == BuildRequest(
        context=".",
        dockerfile="docker/Dockerfile",
        tags=("a:1", "b"),
        outputs=(Output(kind="image"),),
        build_args={"A": "1", "B": "b"},
        target="test",
        platforms=("linux/arm64",),
        labels={"l": "1"},
        annotations={"a": "1"},
        add_hosts=("h:1.2.3.4", "i:1.2.3.5"),
        network="host",
        shm_size=1 << 20,
        ulimits=(("nofile", 1, 1),),
        no_cache=True,
        no_cache_filter=("x", "y"),
        pull=True,
        iidfile="iid",
        metadata_file="meta",
        isolation="copy",
        userns="none",
        reproducible=True,
        allow=("network.host", "security.insecure"),
        jobs=3,
        root="/store",
        environment={"HOME": "/home/nobody", "HTTPS_PROXY": "http://proxy:3128"},
    )


def test_source_date_epoch_is_a_build_argument_that_one_on_the_command_line_replaces() -> None:
    asked = request(".", SOURCE_DATE_EPOCH="1000")
    assert asked.build_args == {"SOURCE_DATE_EPOCH": "1000"}
    asked = request(".", SOURCE_DATE_EPOCH="context")
    assert asked.build_args == {"SOURCE_DATE_EPOCH": "context"}
    asked = request("--build-arg", "SOURCE_DATE_EPOCH=5", ".", SOURCE_DATE_EPOCH="1000")
    assert asked.build_args == {"SOURCE_DATE_EPOCH": "5"}


def test_dockers_default_platform_is_taken_where_none_is_given() -> None:
    assert request(".", DOCKER_DEFAULT_PLATFORM="linux/arm64").platforms == ("linux/arm64",)
    assert request("--platform", "linux/amd64", ".", DOCKER_DEFAULT_PLATFORM="linux/arm64").platforms == (
        "linux/amd64",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-f", "-", "-"), "stdin cannot be both the context and the Dockerfile"),
        (("--allow", "device", "."), "--allow 'device' is not supported"),
        (("--jobs", "all", "."), "--jobs 'all' is not a number"),
        (
            ("--iidfile", "x", "-o", "out", "."),
            "--iidfile does not go with --output type=local or type=tar, which make no image",
        ),
        (
            ("-t", "UPPER", "."),
            "--tag: invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(words: tuple[str, ...], message: str) -> None:
    assert refusal(*words)[0] == message


def test_a_dockerfile_comes_by_stdin(stdin_of: Callable[[bytes], int]) -> None:
    asked = request("-f", "-", ".", stdin=stdin_of(b"FROM scratch\n"))
    assert (asked.context, asked.dockerfile, asked.dockerfile_text) == (".", "-", b"FROM scratch\n")


def test_a_context_of_nothing_but_a_dockerfile_comes_by_stdin(stdin_of: Callable[[bytes], int]) -> None:
    asked = request("-", stdin=stdin_of(b"FROM scratch\n"))
    assert (asked.context, asked.dockerfile_text, asked.context_stream) == ("-", b"FROM scratch\n", None)
    assert asked.outputs[0].dest == "image.tar"


def tar(kind: int = tarfile.PAX_FORMAT, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=kind) as archive:
        info = tarfile.TarInfo("Dockerfile")
        info.size = 13
        archive.addfile(info, io.BytesIO(b"FROM scratch\n"))
    return out.getvalue()


@pytest.mark.parametrize(
    "data", [tar(), tar(tarfile.GNU_FORMAT), tar(mode="w:gz"), tar(mode="w:bz2"), tar(mode="w:xz")]
)
@pytest.mark.parametrize("kind", ["a pipe", "a file"])
def test_a_context_as_a_tar_comes_by_stdin_and_is_handed_on_whole(
    data: bytes, kind: str, stdin_of: Callable[[bytes], int], tmp_path: Path
) -> None:
    (tmp_path / "context.tar").write_bytes(data)
    with open(tmp_path / "context.tar", "rb", buffering=0) as file:
        asked = request("-", stdin=stdin_of(data) if kind == "a pipe" else file.fileno())
        assert asked.dockerfile_text is None
        assert asked.context_stream is not None
        with open(asked.context_stream, "rb", closefd=kind == "a pipe") as stream:
            assert stream.read() == data


def test_a_dockerfile_on_stdin_and_another_by_name_are_refused(stdin_of: Callable[[bytes], int]) -> None:
    assert refusal("-f", "x", "-", stdin=stdin_of(b"FROM scratch\n")) == (
        "stdin holds a Dockerfile, and --file names another",
        "leave out --file, or give a tar as the context",
    )


def test_an_empty_stdin_is_refused(stdin_of: Callable[[bytes], int]) -> None:
    assert refusal("-", stdin=stdin_of(b"")) == (
        "nothing came by stdin",
        "CONTEXT is -: give a Dockerfile or a tar, as in: pybuild - < Dockerfile",
    )


def test_a_secret_comes_from_a_file_or_a_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    found, notes = secrets(
        ["id=a,src=file", "id=b,env=B", "id=file", "type=env,id=c,src=B", "id=B"], {"B": "value", "A": "no"}
    )
    path = str(tmp_path / "file")
    assert found == (
        Secret(id="a", source=path),
        Secret(id="b", value=b"value"),
        Secret(id="file", source=path),
        Secret(id="c", value=b"value"),
        Secret(id="B", value=b"value"),
    )
    assert notes == ()


def test_a_secret_whose_variable_is_not_set_is_left_out_with_a_warning() -> None:
    assert secrets(["id=a,env=A"], {}) == (
        (),
        (Note("warning", "--secret a: the variable A is not set; going on without it"),),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("src=x", "--secret: the id is missing"),
        ("id=a,src=missing", "--secret a: cannot read missing: No such file or directory"),
        ("id=a,src=.", "--secret a: . is a folder"),
        ("id=a,src=big", "--secret a: big is bigger than 500 KiB"),
        ("id=a,value=x", "--secret: unknown key 'value'"),
        ("id=a,type=vault", "--secret: unsupported type 'vault'"),
    ],
)
def test_a_secret_without_a_place_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(500 * 1024 + 1))
    with pytest.raises(UsageError) as caught:
        secrets([text], {})
    assert caught.value.message == message


def test_an_ssh_agent_is_the_callers_or_keys(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert ssh_agents(["default", "deploy=key"], {"SSH_AUTH_SOCK": str(tmp_path / "key")}) == (
        SshAgent(id="default", paths=(str(tmp_path / "key"),)),
        SshAgent(id="deploy", paths=(str(tmp_path / "key"),)),
    )


def test_without_an_ssh_agent_the_error_says_how_to_get_one() -> None:
    with pytest.raises(UsageError) as caught:
        ssh_agents(["default"], {})
    assert (caught.value.message, caught.value.hint) == (
        "--ssh default: no SSH agent: SSH_AUTH_SOCK is not set",
        "start one with `eval $(ssh-agent)`, and add the key with ssh-add",
    )


def test_named_contexts_have_names_like_images(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert contexts(["Base=d", "docker.io/library/alpine:latest=docker-image://alpine:3", "src=oci-layout:///x"]) == {
        "base": "d",
        "alpine": "docker-image://alpine:3",
        "src": "oci-layout:///x",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "--build-context 'x' is not NAME=WHERE"),
        ("x=", "--build-context 'x=' is not NAME=WHERE"),
        ("x=target:y", "--build-context x: target:y names a target of a bake file, of which there is none"),
        ("x=ftp://y", "--build-context x: unsupported source ftp"),
        ("x::a/b/c/d=.", "--build-context: invalid name 'x::a/b/c/d'"),
        ("a b=.", "--build-context: invalid name 'a b'"),
        ("x=nowhere", "--build-context x: there is no folder nowhere"),
    ],
)
def test_a_named_context_that_is_nowhere_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        contexts([text])
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("given", "environ", "root"),
    [
        ("/a", {"PYBUILD_ROOT": "/b"}, "/a"),
        ("", {"PYBUILD_ROOT": "/b", "XDG_DATA_HOME": "/c"}, "/b"),
        ("", {"XDG_DATA_HOME": "/c", "HOME": "/h"}, "/c/pybuild"),
        ("", {"XDG_DATA_HOME": "relative", "HOME": "/h"}, "/h/.local/share/pybuild"),
    ],
)
def test_the_store_is_where_it_is_said_to_be(given: str, environ: dict[str, str], root: str) -> None:
    assert store_root(given, environ) == root


def test_nothing_but_what_builds_need_is_passed_on() -> None:
    assert passed_on({"http_proxy": "p", "DOCKER_CONFIG": "/d", "AWS_SECRET_ACCESS_KEY": "s", "NO_PROXY": ""}) == {
        "http_proxy": "p",
        "DOCKER_CONFIG": "/d",
    }


def test_the_proxies_of_dockers_configuration_are_build_arguments(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://p", "noProxy": "localhost"}}}')
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert proxy_arguments(environ) == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "localhost",
        "no_proxy": "localhost",
    }
    asked = request("--build-arg", "http_proxy=mine", ".", **environ)
    assert asked.build_args == {"http_proxy": "mine", "NO_PROXY": "localhost", "no_proxy": "localhost"}


@pytest.mark.parametrize("text", ["{", "[]", '{"proxies": 1}'])
def test_a_configuration_of_docker_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json is not a Docker configuration") as caught:
        proxy_arguments({"DOCKER_CONFIG": str(tmp_path)})
    assert caught.value.code == "invalid-config"


@pytest.mark.parametrize(
    "words",
    [("--provenance=false",), ("--sbom", "0"), ("--attest", "type=provenance,disabled=true"), ("--call=build",)],
)
def test_no_attestation_is_made_where_none_is_wanted(words: tuple[str, ...]) -> None:
    check_attestations(parse("build", OPTIONS, words))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--provenance=mode=max", "--provenance=mode=max is not supported: no attestations are made"),
        ("--sbom=true", "--sbom=true is not supported: no attestations are made"),
        ("--attest=type=sbom", "--attest 'type=sbom' is not supported: no attestations are made"),
    ],
)
def test_an_attestation_that_is_wanted_is_refused(word: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_attestations(parse("build", OPTIONS, (word,)))
    assert caught.value.message == message
