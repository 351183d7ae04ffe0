"""Which ids are mapped, and what is said where none can be."""

import errno
import os

import pytest

from builder.errors import HostError, UsageError
from builder.sandbox import identity as identities
from builder.sandbox import refusals
from builder.sandbox.identity import Identity, IdRange, identity, sub_ids

OURS = Identity(kind="subid", key="u1-2")


def test_sub_ids_are_found_by_name_and_by_number():
    text = "other:1:2\nme:100000:65536\n# comment\n1000:200000:10\nme:x:1\nme:5\n"
    assert sub_ids(text, "me", 1000) == [(100000, 65536), (200000, 10)]
    assert sub_ids(text, None, 1000) == [(200000, 10)]
    assert sub_ids(text, "nobody", 7) == []


def test_ranges_that_no_kernel_has_are_passed_over():
    assert sub_ids("me:4294967295:2\nme:1:0\nme:-1:3\n", "me", 1) == []


@pytest.fixture
def ordinary(monkeypatch):
    files = {"/etc/subuid": "me:100000:65536\n", "/etc/subgid": "me:100000:65536\n"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(identities, "_user_name", lambda _: "me")
    monkeypatch.setattr(identities, "_read", files.__getitem__)
    monkeypatch.setattr(identities, "find_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(identities, "_is_trusted", lambda _: True)
    return files


def test_the_usual_range_has_a_short_key(ordinary):
    found = identity()
    assert (found.kind, found.key) == ("subid", "u1000-100000")
    assert [str(part) for part in found.uids] == ["0 1000 1", "1 100000 65536"]


def test_several_ranges_follow_one_another_and_are_in_the_key(ordinary):
    ordinary["/etc/subuid"] += "1000:300000:5\n"
    found = identity()
    assert found.key == "u1000-100000.65536-300000.5-g1000-100000.65536"
    assert [str(part) for part in found.uids] == ["0 1000 1", "1 100000 65536", "65537 300000 5"]


def test_a_missing_range_is_named_with_its_mend(ordinary):
    ordinary["/etc/subgid"] = ""
    with pytest.raises(HostError) as caught:
        identity("subid")
    assert caught.value.message == "/etc/subgid gives me no range of ids"
    assert caught.value.hint == "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 me"


def test_a_missing_program_is_named_with_its_mend(ordinary, monkeypatch):
    monkeypatch.setattr(identities, "find_program", lambda _: None)
    with pytest.raises(HostError) as caught:
        identity("subid")
    assert caught.value.message == "newuidmap is not installed"
    assert caught.value.code == "no-newuidmap"


ONE = Identity(
    kind="single",
    key="single-u1000-g1000",
    uids=(IdRange(inside=0, outside=1000, count=1),),
    gids=(IdRange(inside=0, outside=1000, count=1),),
)


def test_one_id_is_taken_where_no_more_can_be_had(ordinary, monkeypatch):
    assert identity("single") == ONE
    assert identity().kind == "subid"
    monkeypatch.setattr(identities, "_is_trusted", lambda name: name == "newuidmap")
    assert identity() == ONE
    monkeypatch.setattr(identities, "_is_trusted", lambda _: True)
    ordinary["/etc/subuid"] = ""
    assert identity() == ONE
    monkeypatch.setattr(identities, "find_program", lambda _: None)
    assert identity() == ONE


@pytest.mark.parametrize(
    ("mode", "status", "trusted"),
    [
        (0o104755, {"NoNewPrivs": "0", "CapBnd": "000001ffffffffff"}, True),
        (0o104755, {"NoNewPrivs": "1", "CapBnd": "000001ffffffffff"}, False),
        (0o104755, {"NoNewPrivs": "0", "CapBnd": "00000000a80425fb"}, False),
        (0o100755, {"NoNewPrivs": "0", "CapBnd": "00000000a80425fb"}, True),
    ],
    ids=["an ordinary machine", "no_new_privs", "set-user-ID in a container", "file capabilities in a container"],
)
def test_programs_are_trusted_as_the_kernel_does(monkeypatch, tmp_path, mode, status, trusted):
    program = tmp_path / "newuidmap"
    program.touch()
    program.chmod(mode & 0o7777)
    monkeypatch.setattr(identities, "find_program", lambda _: str(program))
    monkeypatch.setattr(identities, "_status_field", status.__getitem__)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((0,) * 10))
    assert identities._is_trusted("newuidmap") is trusted


def test_an_unknown_mode_is_an_error(ordinary):
    with pytest.raises(UsageError, match=r"^unknown user namespace mode both$"):
        identity("both")


@pytest.mark.parametrize(
    ("number", "settings", "message", "hint"),
    [
        (
            errno.ENOSPC,
            {"/proc/sys/user/max_user_namespaces": "0"},
            "user namespaces are turned off: user.max_user_namespaces is 0",
            "as root: sysctl -w user.max_user_namespaces=28633",
        ),
        (
            errno.EPERM,
            {"/proc/sys/kernel/unprivileged_userns_clone": "0"},
            "user namespaces are refused to ordinary users: kernel.unprivileged_userns_clone is 0",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            errno.EPERM,
            {},
            "user namespaces are refused here, most likely by the container's seccomp profile",
            "start the container with a profile that allows clone and mount: podman's default one, "
            "or docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined; or start it as root",
        ),
        (
            errno.EINVAL,
            {},
            "this kernel has no user namespaces",
            "a kernel with CONFIG_USER_NS and CONFIG_PID_NS is needed, Linux 5.11 or later",
        ),
    ],
)
def test_a_refused_clone_is_explained(monkeypatch, number, settings, message, hint):
    monkeypatch.setattr(refusals, "_setting", lambda path, field=None: settings.get(path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = refusals.clone_refused(OSError(number, os.strerror(number)), OURS)
    assert (told.message, told.hint) == (message, hint)


def test_apparmor_is_named_where_it_refuses_mounts(monkeypatch):
    monkeypatch.setattr(refusals, "_setting", lambda path, field=None: "1")
    told = refusals.mount_refused(OSError(errno.EACCES, "Permission denied"))
    assert told.message == "user namespaces here may not mount: kernel.apparmor_restrict_unprivileged_userns is 1"
    assert told.hint == "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


def test_newuidmaps_own_words_are_kept(monkeypatch):
    monkeypatch.setattr(refusals, "_setting", lambda path, field=None: None)
    text = "newuidmap: write to uid_map failed: Operation not permitted\n"
    told = refusals.newuidmap_failed("newuidmap", text)
    assert told.message == "newuidmap failed: write to uid_map failed: Operation not permitted"
    assert told.hint == (
        "in a container: setcap cap_setuid=ep newuidmap, setcap cap_setgid=ep newgidmap, and no setuid bit on them"
    )
