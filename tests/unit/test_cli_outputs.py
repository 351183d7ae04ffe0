from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.outputs import default_name, output, outputs
from builder.engine.request import Output
from builder.errors import UsageError


def several(
    *values: str, push: bool = False, tags: tuple[str, ...] = (), platforms: bool = False, terminal: bool = False
) -> tuple[Output, ...]:
    return outputs(values, push=push, tags=tags, context="/src/hello", several=platforms, terminal=terminal)


def refusal(*values: str, **more: bool) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        several(*values, **more)  # type: ignore[arg-type]  # the flags alone
    return caught.value.message, caught.value.hint


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("type=docker,dest=a.tar", Output(kind="docker", dest="a.tar")),
        ("type=docker,dest=-", Output(kind="docker", dest="-")),
        ("type=oci,dest=a,tar=0", Output(kind="oci", dest="a", attributes={"tar": "false"})),
        ("type=oci", Output(kind="oci", dest="-")),
        ("type=tar,dest=root.tar", Output(kind="tar", dest="root.tar")),
        ("type=local,dest=out", Output(kind="local", dest="out")),
        ("out", Output(kind="local", dest="out")),
        ("-", Output(kind="tar", dest="-")),
        ("type=image", Output(kind="image")),
        ("type=cacheonly", Output(kind="cacheonly")),
        ("type=image,push=true,name=a", Output(kind="registry", attributes={"name": "a"})),
        ("type=image,push=false", Output(kind="image")),
        ('type=image,"name=a,b"', Output(kind="image", attributes={"name": "a,b"})),
        (
            "type=oci,dest=a,compression=zstd,compression-level=9,force-compression=1",
            Output(
                kind="oci",
                dest="a",
                attributes={
                    "compression": "zstd",
                    "compression-level": "9",
                    "force-compression": "true",
                },
            ),
        ),
    ],
)
def test_an_output_is_read_as_buildx_reads_it(text: str, wanted: Output) -> None:
    assert output(text) == wanted


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "dest=a,x=y",
            "--output 'dest=a,x=y': the type is missing",
            "one of docker, oci, tar, local, image, cacheonly, registry",
        ),
        ("type=dokcer,dest=a", "--output: there is no type 'dokcer'", "did you mean type=docker?"),
        ("type=local", "--output type=local: a folder is needed", "name it with dest=FOLDER"),
        ("type=oci,tar=false,dest=-", "--output type=oci: a folder is needed", "name it with dest=FOLDER"),
        ("type=image,dest=a", "--output type=image has no dest", None),
        (
            "type=tar,dest=a,compression=gzip",
            "--output type=tar: 'compression' is not supported",
            "supported: rewrite-timestamp",
        ),
        ("type=cacheonly,name=a", "--output type=cacheonly: 'name' is not supported", None),
        (
            "type=oci,dest=a,annotation.a=b",
            "--output: 'annotation.a' is not supported",
            "annotate all outputs alike: --annotation NAME=VALUE",
        ),
        (
            "type=oci,dest=a,oci-mediatypes=false",
            "--output: oci-mediatypes=false is not supported: manifests have the media types of OCI",
            None,
        ),
        ("type=oci,dest=a,tar=maybe", "--output: tar is true or false, not 'maybe'", None),
        (
            "type=oci,dest=a,compression=estargz",
            "--output: compression 'estargz' is not supported",
            "one of gzip, zstd, uncompressed",
        ),
        (
            "type=oci,dest=a,compression-level=best",
            "--output: compression-level 'best' is not a number",
            "0 to 9 for gzip, 1 to 22 for zstd",
        ),
    ],
)
def test_an_output_that_cannot_be_is_refused(text: str, message: str, hint: str | None) -> None:
    assert refusal(text) == (message, hint)


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert refusal("file")[0] == "--output type=local: file is a file, not a folder"
    assert refusal("type=tar,dest=folder")[0] == "--output type=tar: folder is a folder, not a file"


def test_without_any_output_a_tarball_for_docker_load_is_written() -> None:
    assert several() == (Output(kind="docker", dest="hello.tar"),)
    assert several(tags=("example.com/team/app:1",)) == (Output(kind="docker", dest="app.tar"),)


def test_without_any_output_several_platforms_become_an_oci_archive() -> None:
    assert several(platforms=True) == (Output(kind="oci", dest="hello.tar"),)


def test_push_adds_a_registry_or_turns_an_image_into_one() -> None:
    assert several(push=True, tags=("a",)) == (Output(kind="registry"),)
    assert several("type=image,compression=zstd", "out", push=True, tags=("a",)) == (
        Output(kind="registry", attributes={"compression": "zstd"}),
        Output(kind="local", dest="out"),
    )


def test_nothing_is_pushed_without_a_name() -> None:
    assert refusal(push=True) == ("a tag is needed to push", "name the image with --tag REGISTRY/NAME")


def test_dockers_format_holds_one_platform() -> None:
    assert refusal("type=docker,dest=a.tar", platforms=True) == (
        "--output type=docker cannot hold several platforms",
        "use type=oci,dest=FILE",
    )


def test_stdout_takes_one_output_and_only_if_it_is_no_terminal() -> None:
    assert refusal("-", "type=oci") == ("only one --output can write to stdout", None)
    assert refusal("-", terminal=True) == (
        "an image is not written to a terminal",
        "redirect stdout, or name a file with dest=FILE",
    )


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ("/src/My App", "my-app"),
        ("/src/_x_", "x"),
        ("/src/ünïcode", "n-code"),
        ("/src/app.tar.gz", "app"),
        ("/", "image"),
        ("-", "image"),
        ("https://example.com/team/app.git#main:sub", "app"),
        ("https://example.com/app.tar.gz?x=1", "app"),
    ],
)
def test_the_tarball_is_named_after_the_context(context: str, name: str) -> None:
    assert default_name((), context) == name


def test_load_is_a_docker_archive_without_a_destination() -> None:
    assert outputs([], push=False, load=True, tags=(), context=".", several=False, terminal=False) == (
        Output(kind="docker"),
    )
    assert outputs(["type=docker"], push=False, load=True, tags=(), context=".", several=False, terminal=False) == (
        Output(kind="docker"),
    )
