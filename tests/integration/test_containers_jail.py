"""What a command finds in a container of Docker's default profile, where nothing can be mounted; other containers."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from worlds.building import Bench
from worlds.containers import DEFAULT, RANDOM_USER, UNCONFINED, Containers, Place, with_own_store


@pytest.fixture
def jail(containers: Containers, room: Path, busybox_oci: Path) -> Bench:
    """A bench in containers that are started as Docker does by itself."""
    return containers.bench(DEFAULT, room, busybox_oci)


def test_mounts_are_there_for_one_command_and_leave_nothing(jail: Bench) -> None:
    (jail.room / "secret").write_text("words")
    jail.write(
        "FROM base AS other\nRUN mkdir /made && echo made >/made/file && echo under >/etc/secret\n"
        "FROM other\n"
        "RUN --mount=type=secret,id=one,target=/etc/secret,mode=0440,uid=3,gid=5"
        " --mount=type=bind,from=other,source=/made,target=/bound"
        " --mount=type=bind,target=/context,rw --mount=type=tmpfs,target=/made"
        " --mount=type=cache,target=/cache,mode=0700,uid=7"
        " --mount=type=cache,target=/again/deep,id=/cache,mode=0700,uid=7"
        " cat /etc/secret /bound/file >/told; stat -Lc '%a %u:%g %n' /etc/secret /made /cache >>/told;"
        " ls /made /context >>/told; echo lost >/made/lost; echo lost >/context/lost; echo kept >/cache/kept;"
        " cat /again/deep/kept >>/told\n"
        "RUN --mount=type=cache,target=/cache cat /cache/kept /etc/secret /made/file >/second\n",
        {"file": "content\n"},
    )
    _, image = jail.image(f"--secret=id=one,src={jail.room}/secret")
    assert image.files()["told"].decode().splitlines() == [
        "wordsmade",
        *("440 3:5 /etc/secret", "755 0:0 /made", "700 7:0 /cache"),
        *("/context:", "Dockerfile", "file", "", "/made:"),
        "kept",
    ]
    assert image.files()["second"] == b"kept\nunder\nmade\n"
    # Neither mount points nor what was in their way is told, nor the folders above.
    assert sorted(image.members(2)) == ["told"]
    assert sorted(image.members(3)) == ["second"]


def test_a_hard_link_out_of_a_cache_is_a_copy(jail: Bench) -> None:
    jail.write(
        "FROM base\nRUN --mount=type=cache,target=/cache echo one >/cache/file && ln /cache/file /linked"
        " && ln /cache/file /cache/beside\n"
        "RUN --mount=type=cache,target=/cache echo two >/cache/file && cat /cache/beside >/beside\n"
    )
    _, image = jail.image()
    assert image.files() == {"linked": b"one\n", "beside": b"two\n"}
    assert not image.members(1)["linked"].islnk()


@pytest.mark.parametrize("how", ["ln", "mv"])
def test_a_secret_cannot_be_taken_into_the_image_but_by_copying(jail: Bench, how: str) -> None:
    (jail.room / "secret").write_text("words")
    jail.write(f"FROM base\nRUN --mount=type=secret,id=one {how} /run/secrets/one /kept\n")
    failed = jail.build(f"--secret=id=one,src={jail.room}/secret", check=False)
    assert (failed.error["code"], failed.error["message"]) == (
        "secret-kept",
        "the command linked or renamed the secret at /run/secrets/one into the image",
    )


def test_proc_sys_and_the_streams_are_as_programs_expect_them(jail: Bench, room: Path) -> None:
    jail.write(
        "FROM base\nRUN echo 'joe:x:1000:1000::/:/bin/sh' >>/etc/passwd\n"
        "RUN readlink /proc/self/exe >/told; readlink /proc/thread-self/root >>/told;"
        " cat /proc/self/comm /proc/sys/kernel/ostype >>/told;"
        " echo to-stderr >/dev/stderr; echo to-stdout >/dev/stdout; echo through | cat /dev/stdin >>/told;"
        " { cat /dev/fd/3; cat /proc/self/fd/3; } 3</etc/passwd | wc -l >>/told;"
        " test -d /proc/1 || echo hidden >>/told; cd /proc/self && readlink /proc/self/cwd | sed s/[0-9]/n/g >>/told;"
        " cd /; ls /proc/self/fd >>/told; cut -d' ' -f2 /proc/mounts >>/told; ls -d /sys/class >>/told;"
        " (: >/proc/sys/kernel/hostname) 2>&1 | cut -d: -f3 >>/told; /proc/self/exe 2>>/told;"
        " ls /proc/.. | grep -c proc >>/told; df / | wc -l >>/told\n"
        "USER joe\n"
        "RUN ps -o user,args | grep -c '^joe' >/tmp/joe; cat /proc/self/status | grep ^Uid: | cut -f2 >>/tmp/joe;"
        " readlink /proc/self/exe >>/tmp/joe; cat /proc/1/environ 2>&1 | wc -l >>/tmp/joe\n"
    )
    built, image = jail.image()
    told = image.files()["told"].decode().splitlines()
    assert told == [
        *("/bin/busybox", "/", "cat", "Linux", "through", "4", "hidden", "/proc/nn", "0", "1", "2"),
        *("/", "/proc", "/dev", "/sys", "/sys/class", " Read-only file system", "exe: applet not found", "1", "2"),
    ]
    assert sorted(built.said.splitlines()) == ["to-stderr", "to-stdout"]  # two pipes have no order
    joe = image.files()["tmp/joe"].decode().splitlines()
    assert int(joe[0]) >= 1
    assert joe[1:] == ["1000", "/bin/busybox", "1"]


def test_a_shell_substitutes_processes_for_any_user(
    containers: Containers, ladder_bases: Mapping[str, Path], room: Path
) -> None:
    jail = containers.bench(DEFAULT, room, ladder_bases["debian"])
    jail.write(
        'FROM base\nSHELL ["/bin/bash", "-euc"]\n'
        "RUN useradd -s /bin/bash joe; diff <(echo one) <(echo one; echo two) >/told || true;"
        " su joe -c 'cat <(id -un)' >>/told; tee >(cat >/teed) </proc/self/comm >/dev/null; wait\n"
    )
    _, image = jail.image()
    assert image.files()["told"].decode().splitlines() == ["1a2", "> two", "joe"]
    # It is read when the shell's child has become tee.
    assert image.files()["teed"] == b"tee\n"


def test_devices_that_cannot_be_made_are_opened_outside(containers: Containers, room: Path, busybox_oci: Path) -> None:
    place = Place(name="no-mknod", options=("--cap-drop", "MKNOD"))
    jail = containers.bench(place, room, busybox_oci)
    jail.write(
        "FROM base\nRUN echo lost >/dev/null; cat /dev/null >/told; head -c 3 /dev/zero | od -An -tx1 >>/told;"
        " stat -c '%F %t:%T %a' /dev/null /dev/full >>/told; head -c 9 /dev/urandom | wc -c >>/told;"
        " { echo full >/dev/full; } 2>&1 | grep -c 'No space' >>/told\n"
    )
    built, image = jail.image()
    assert [one["text"] for one in built.named("note") if "identities" in one["text"]] == [DEFAULT.note]
    assert image.files()["told"].decode().splitlines() == [
        " 00 00 00",
        *("character special file 1:3 666", "character special file 1:7 666"),
        *("9", "1"),
    ]


def test_a_command_can_have_a_terminal_made(
    containers: Containers, ladder_bases: Mapping[str, Path], room: Path
) -> None:
    jail = containers.bench(DEFAULT, room, ladder_bases["debian"])
    jail.write(
        "FROM base\nRUN script -qec 'test -t 1 && tty' /typescript && grep -o /dev/pts/ /typescript >/told\n"
        "RUN useradd joe && su joe -c \"script -qec 'test -t 1 && tty' /tmp/typescript\" | tr -d '0-9\\r' >>/told\n"
    )
    _, image = jail.image()
    assert image.files()["told"] == b"/dev/pts/\n/dev/pts/\n"


def test_what_needs_a_namespace_is_an_error(jail: Bench) -> None:
    jail.write("FROM base\nRUN --network=none true\n")
    failed = jail.text()
    assert failed.code == 1
    assert failed.err.splitlines()[-5:] == [
        "error[needs-namespace]: a command without network needs a namespace, and none is to be had here",
        "  Dockerfile:2",
        "    RUN --network=none true",
        "    ^^^^^^^^^^^^^^^^^^^^^^^",
        "hint: podman's seccomp profile, or --security-opt seccomp=unconfined, lets containers have it",
    ]


def test_an_image_is_run(jail: Bench) -> None:
    jail.write("FROM base\nRUN mkdir /data && echo first >/data/file\nVOLUME /data\nENV A=b\n")
    jail.build("--tag=tried")
    (jail.room / "given").mkdir()
    (jail.room / "given/file").write_text("given\n")
    ran = jail.pybuild(
        *("run", "--rm", "-u", "3:4", "-v", f"{jail.room}/given:/given:ro", "tried"),
        *("sh", "-c", "id -u; echo $A; cat /data/file /given/file; exit 5"),
    )
    assert (ran.returncode, ran.stdout) == (5, "3\nb\nfirst\ngiven\n")
    refused = jail.pybuild("run", "--rm", "-v", f"{jail.room}/given:/given", "tried", "true")
    assert refused.returncode == 125
    assert refused.stderr.startswith(f"error[needs-namespace]: {jail.room}/given cannot be mounted here")


def test_doctor_names_the_rung_and_what_is_lost(jail: Bench) -> None:
    done = jail.pybuild("doctor", check=True)
    assert "  yes  none (taken): root, without any namespace\n" in done.stdout
    assert "  yes  jail (taken): commands run by chroot in copied trees" in done.stdout
    assert "hint: start the container with a profile that allows clone and mount: podman's default one" in done.stdout
    assert done.stdout.endswith("Builds can be made here.\n")


def test_the_store_may_be_in_the_container_s_own_root(jail: Bench) -> None:
    jail.write("FROM base\nRUN mkdir /low && echo low >/low/file && chown 7:8 /low/file\nRUN mv /low /high\n")
    _, image = with_own_store(jail).image()
    assert image.files() == {"high/file": b"low\n"}
    assert (image.members(2)["high/file"].uid, image.members(2)["high/file"].gid) == (7, 8)


def test_a_random_user_builds_what_copies_and_is_told_what_commands_want(
    containers: Containers, room: Path, busybox_oci: Path
) -> None:
    bench = containers.bench(Place(name="pod", options=RANDOM_USER), room, busybox_oci)
    bench.write("FROM base\nCOPY --chown=33:44 file /file\nWORKDIR /work\n", {"file": "content\n"})
    built, image = bench.image()
    assert [one["text"] for one in built.named("note") if "identities" in one["text"]] == [
        "isolation: copy, identities: bare"
    ]
    assert (image.members(1)["file"].uid, image.members(1)["file"].gid) == (33, 44)
    bench.write("FROM base\nCOPY file /file\nRUN true\n", {"file": "content\n"})
    failed = bench.text()
    assert failed.err.splitlines()[-5:] == [
        "error[user-namespaces-refused]: user namespaces are refused here, most likely by the container's seccomp"
        " profile",
        "  Dockerfile:3",
        "    RUN true",
        "    ^^^^^^^^",
        "hint: start the container with a profile that allows clone and mount: podman's default one, or docker run"
        " --security-opt seccomp=unconfined --security-opt apparmor=unconfined; or start it as root",
    ]


def test_root_without_capabilities_is_told_to_keep_them(containers: Containers, room: Path, busybox_oci: Path) -> None:
    bench = containers.bench(Place(name="dropped", options=("--cap-drop", "ALL", *UNCONFINED)), room, busybox_oci)
    shutil.chown(bench.store, 0, 0)
    bench.write("FROM base\nRUN true\n")
    failed = bench.build(check=False)
    assert failed.error["code"] == "id-map-refused"
    assert failed.error["hint"] == (
        "the container needs the capabilities SETUID, SETGID and SETFCAP (docker's default set has them)"
    )


def test_an_image_built_in_a_container_runs_in_the_daemon(jail: Bench, containers: Containers) -> None:
    jail.write(
        "FROM base\nRUN echo 'app:x:900:900::/srv:/bin/sh' >>/etc/passwd && mkdir /srv && chown 900 /srv\n"
        "USER app\nWORKDIR /srv\nRUN echo made >file\nCMD id -u; cat /srv/file; stat -c %u /srv /srv/file\n"
    )
    archive = jail.room / "image.tar"
    jail.build("--tag=built-inside", output=f"type=docker,dest={archive}")
    assert stat.S_ISREG(archive.stat().st_mode)
    assert containers.daemon.run(containers.daemon.load(archive)) == "900\nmade\n900\n900\n"
