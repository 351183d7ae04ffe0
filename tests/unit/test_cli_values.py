from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.cli import values
from builder.errors import UsageError


def refusal(act: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        act()
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [("64m", 64 << 20), ("1g", 1 << 30), ("1.5g", 3 << 29), ("128MiB", 128 << 20), ("64 MB", 64 << 20), ("4096", 4096)],
)
def test_sizes_are_in_units_of_1024(text: str, size: int) -> None:
    assert values.memory(text, "--shm-size") == size


def test_what_is_no_size_is_refused() -> None:
    assert refusal(lambda: values.memory("-1m", "--shm-size")) == (
        "--shm-size '-1m' is not a size",
        "write it as 64m or 1g",
    )


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("nofile=1024:2048", ("nofile", 1024, 2048)),
        ("core=0", ("core", 0, 0)),
        ("memlock=-1:-1", ("memlock", -1, -1)),
        ("nproc=5:-1", ("nproc", 5, -1)),
    ],
)
def test_a_ulimit_has_a_soft_and_a_hard_limit(text: str, limit: tuple[str, int, int]) -> None:
    assert values.ulimit(text) == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nofile", "--ulimit 'nofile' is not NAME=SOFT[:HARD]"),
        ("nofile=a", "--ulimit 'nofile=a' is not NAME=SOFT[:HARD]"),
        ("nofiles=1", "--ulimit: there is no limit called 'nofiles'"),
        ("nofile=2:1", "--ulimit 'nofile=2:1': the soft limit is above the hard one"),
        ("nofile=-1:1", "--ulimit 'nofile=-1:1': the soft limit is above the hard one"),
    ],
)
def test_a_ulimit_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    assert refusal(lambda: values.ulimit(text))[0] == message


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("db:10.0.0.1", ["db:10.0.0.1"]),
        ("db=10.0.0.1", ["db:10.0.0.1"]),
        ("db:::1", ["db:::1"]),
        ("db=[::1]", ["db:::1"]),
        ("host.docker.internal:host-gateway", ["host.docker.internal:127.0.0.1"]),
    ],
)
def test_a_host_has_a_name_and_an_address(text: str, entries: list[str]) -> None:
    assert values.host(text) == entries


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("db", "--add-host 'db' is not HOST:IP"),
        ("db:", "--add-host 'db:' is not HOST:IP"),
        ("d b:1.2.3.4", "--add-host 'd b:1.2.3.4' is not HOST:IP"),
        ("db:1.2.3", "--add-host 'db:1.2.3': '1.2.3' is no IP address"),
    ],
)
def test_a_host_without_an_address_is_refused(text: str, message: str) -> None:
    assert refusal(lambda: values.host(text))[0] == message


def test_platforms_come_from_lists_each_once_under_its_standard_name() -> None:
    assert values.platforms(["linux/amd64,linux/arm64/v8", "arm64", "local"], "x86_64") == (
        "linux/amd64",
        "linux/arm64",
    )


def test_a_wrong_platform_is_refused() -> None:
    assert refusal(lambda: values.platforms(["linux/amd 64"], "x86_64")) == (
        "--platform: invalid platform: 'linux/amd 64'",
        "write it as linux/amd64",
    )


def test_a_bare_name_takes_its_value_from_the_environment_or_is_left_out() -> None:
    assert values.pairs(["A=1", "B", "C", "A=2=3"], "--build-arg", {"B": "b"}) == {"A": "2=3", "B": "b"}


def test_a_bare_label_is_empty() -> None:
    assert values.pairs(["a", "b="], "--label") == {"a": "", "b": ""}


def test_an_empty_name_is_refused() -> None:
    assert refusal(lambda: values.pairs(["=x"], "--label")) == (
        "--label '=x': the name is empty",
        "write --label NAME=value",
    )


def test_annotations_are_those_of_the_manifest() -> None:
    assert values.manifest_annotations(["a=1", "manifest:b=2:3"]) == {"a": "1", "b": "2:3"}


def test_an_annotation_of_anything_else_is_refused() -> None:
    assert refusal(lambda: values.manifest_annotations(["index:a=1"])) == (
        "--annotation 'index:a=1': only the manifest can bear annotations",
        "write --annotation a=1",
    )


def test_a_tag_is_a_reference_without_a_digest() -> None:
    assert values.tag("localhost:5000/a/b:1") == "localhost:5000/a/b:1"
    assert refusal(lambda: values.tag("App")) == (
        "--tag: invalid reference format: repository name (library/App) must be lowercase",
        None,
    )
    digest = "sha256:" + "0" * 64
    assert refusal(lambda: values.tag(f"a@{digest}"))[0] == (
        f"--tag 'a@{digest}': a digest cannot be given to what is yet to be built"
    )


def test_a_list_of_attributes_is_csv_so_that_quotes_protect_commas() -> None:
    assert values.attributes('id=x,"src=/a,b"', "--secret") == {"id": "x", "src": "/a,b"}


def test_a_word_without_a_value_among_attributes_is_refused() -> None:
    assert (
        refusal(lambda: values.attributes("id=x,src", "--secret"))[0] == "--secret 'id=x,src': 'src' is not key=value"
    )
