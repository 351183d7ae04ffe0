"""USER, as GetExecUser resolves it."""

import pytest

from builder.errors import DockerfileError
from builder.sandbox.users import User, resolve

PASSWD = """# comment
root:x:0:0:root:/root:/bin/sh

app:x:1000:1001:app:/home/app:/bin/sh
twin:x:1000:1002::/home/twin:/bin/sh
bare:x:55
7000:x:1:1::/named-like-a-number:
"""
GROUP = """root:x:0:root
wheel:x:10:root,app
app:x:1001:
dev:x:1005:twin
dev2:x:1006:app,twin
"""


def user(uid, gid, groups, home):
    return User(uid=uid, gid=gid, groups=groups, home=home)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", user(0, 0, (0, 10), "/root")),
        ("root", user(0, 0, (0, 10), "/root")),
        ("app", user(1000, 1001, (1001, 10, 1006), "/home/app")),
        ("1000", user(1000, 1001, (1001, 10, 1006), "/home/app")),
        ("app:dev", user(1000, 1005, (1005,), "/home/app")),
        ("app:4000", user(1000, 4000, (4000,), "/home/app")),
        ("twin", user(1000, 1002, (1002, 1005, 1006), "/home/app")),
        ("bare", user(55, 0, (0,), "")),
        ("app:dev:more", user(1000, 1005, (1005,), "/home/app")),
        ("7000", user(7000, 0, (0,), "/")),
        ("4242", user(4242, 0, (0,), "/")),
        ("1000:1000", user(1000, 1000, (1000,), "/home/app")),
        ("root:root", user(0, 0, (0,), "/root")),
        (":dev", user(0, 1005, (1005,), "/root")),
    ],
)
def test_a_user_is_resolved_in_the_roots_files(spec, expected):
    assert resolve(spec, PASSWD, GROUP) == expected


def test_without_files_numbers_and_root_are_known():
    assert resolve("", None, None) == user(0, 0, (0,), "/")
    assert resolve("5:6", None, None) == user(5, 6, (6,), "/")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:nogroup", "unable to find group nogroup: no matching entries in group file"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
        ("-1", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_what_is_not_there_is_an_error(spec, text):
    with pytest.raises(DockerfileError) as caught:
        resolve(spec, PASSWD, GROUP)
    assert str(caught.value) == text


def test_hostile_files_are_read_without_harm():
    assert resolve("", ":\n::::::\nroot:x:zero:\u0663:::\n" + "x" * 10_000, "\x00:::\n").uid == 0
