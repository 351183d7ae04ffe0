"""--chown: names become numbers by the files of the root."""

from __future__ import annotations

from pathlib import Path

import pytest
from copies import HERE
from trees import Fifo, File, Link, make

from builder.engine.copying.owners import resolve_owner
from builder.errors import BuilderError, ContextError, DockerfileError

USERS = "root:x:0:0:root:/root:/bin/sh\n# a comment\n\napp:x:1000:1001::/home/app:\nshort:x\nodd:x:abc:7\n"
GROUPS = "root:x:0:\nstaff:x:50:app\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "root", {"etc/passwd": File(USERS), "etc/group": File(GROUPS)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", (1000, 1001)),
        ("app:staff", (1000, 50)),
        ("app:7", (1000, 7)),
        ("5", (5, 5)),
        ("5:6", (5, 6)),
        ("5:staff", (5, 50)),
        ("root", (0, 0)),
        ("root:root", (0, 0)),
        ("app:root", (1000, 0)),
        ("+5", (5, 5)),
        ("short", (0, 0)),
        ("odd", (0, 7)),
    ],
)
def test_users_and_groups_are_looked_up(root: Path, text: str, expected: tuple[int, int]) -> None:
    assert resolve_owner(text, root, HERE) == expected


@pytest.mark.parametrize(
    ("text", "expected", "notes"),
    [
        ("nobody-here", (0, 0), ["/etc/passwd has no user 'nobody-here': its files will belong to root"]),
        ("app:nobodies", (1000, 1001), ["/etc/group has no group 'nobodies': group 1001 is taken"]),
        ("4294967294", (0, 0), ["/etc/passwd has no user '4294967294': its files will belong to root"]),
    ],
)
def test_an_unknown_name_is_root_and_is_told(
    root: Path, text: str, expected: tuple[int, int], notes: list[str]
) -> None:
    told: list[str] = []
    assert resolve_owner(text, root, HERE, told.append) == expected
    assert told == notes


def test_a_root_without_the_files_knows_no_names(tmp_path: Path) -> None:
    told: list[str] = []
    assert resolve_owner("app:staff", tmp_path, HERE, told.append) == (0, 0)
    assert len(told) == 2


def test_a_name_needs_a_root() -> None:
    with pytest.raises(DockerfileError) as error:
        resolve_owner("app", None, HERE)
    assert error.value.message == 'cannot resolve the user "app": there is no /etc/passwd yet'
    with pytest.raises(DockerfileError) as error:
        resolve_owner("5:staff", None, HERE)
    assert error.value.message == 'cannot resolve the group "staff": there is no /etc/group yet'
    assert resolve_owner("5:6", None, HERE) == (5, 6)


def test_an_id_below_zero_is_refused(root: Path) -> None:
    with pytest.raises(DockerfileError) as error:
        resolve_owner("-1", root, HERE)
    assert error.value.message == "invalid owner -1: ids begin at 0"


def test_the_files_are_found_through_links_inside_the_root(tmp_path: Path) -> None:
    root = make(tmp_path / "root", {"etc/passwd": Link("/usr/users"), "usr/users": File(USERS)})
    assert resolve_owner("app", root, HERE) == (1000, 1001)


def test_the_files_are_never_read_outside_the_root(tmp_path: Path) -> None:
    make(tmp_path, {"outside": File("app:x:9:9::/:\n")})
    root = make(tmp_path / "root", {"etc/passwd": Link(str(tmp_path / "outside")), "etc/group": Link("../../outside")})
    assert resolve_owner("app:app", root, HERE) == (0, 0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Link("passwd"), '"/etc/passwd": too many links'),
        (Fifo(), "/etc/passwd of the image is not a file"),
        (File("x" * ((10 << 20) + 1)), "/etc/passwd of the image is larger than 10 MiB"),
    ],
)
def test_a_hostile_file_is_an_error(tmp_path: Path, node: File | Link | Fifo, message: str) -> None:
    root = make(tmp_path / "root", {"etc/passwd": node})
    with pytest.raises(BuilderError) as error:
        resolve_owner("app", root, HERE)
    assert isinstance(error.value, ContextError)
    assert error.value.message == message
