"""Whatever file system the store lies on, whoever builds, and however roots are made: the image is the same."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers
from worlds.filesystems import KINDS, PROGRAMS, mounted
from worlds.people import Person

from builder.errors import StoreError
from builder.layer.apply import apply

# Folders of lower layers deleted, made anew, and renamed (which no overlay does, so that mv copies); names of one file;
# modes that a change of owner takes; what is touched and is as it was. What is written with is deterministic.
DOCKERFILE = """\
FROM base AS one
RUN mkdir -p /d/sub/deep /gone/in /anew/in /opaque /modes && echo 1 >/d/file && echo 2 >/d/sub/file \\
 && ln /d/file /d/hard && ln /d/file /d/sub/hard && ln -s file /d/soft && echo x >/gone/in/x && echo y >/anew/in/y \\
 && echo z >/anew/z && echo o >/opaque/o && mkfifo /d/fifo && chown 1234:567 /d/file && chown -h 8:9 /d/soft \\
 && echo s >/modes/setuid && chown 12:13 /modes/setuid && chmod 6755 /modes/setuid && chmod 1777 /modes
RUN rm -r /gone /d/fifo && mv /d/sub /d/moved && touch -d '2001-09-09 01:46:40' /opaque/o
RUN rm -r /anew && mkdir -p /anew/in && echo new >/anew/in/new && rm -r /opaque && mkdir /opaque && rm /etc/group \\
 && mkdir /etc/group && chmod 755 /bin && chown 0:0 /etc/passwd && mv /d/moved/deep /d/deep
RUN rm /d/moved/hard && rm -r /anew/in && touch /anew/in
FROM base
COPY --from=one /d/ /copied/
COPY --from=one /modes/ /modes/
COPY --chown=7:8 file capable /deep/er/
WORKDIR /job/place
RUN rm /copied/soft && mv /copied/moved /job/moved && rm -r /deep/er && mkdir /deep/er && echo again >/deep/er/file
"""
LINKS = """\
FROM base
RUN mkdir /d && echo 1 >/d/one && ln /d/one /d/two && ln /d/one /d/three && ln /d/one /four
RUN echo more >>/d/two && mv /d/three /d/five && chmod 600 /four && ln /d/one /d/six
"""
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
EPOCH = ("--build-arg=SOURCE_DATE_EPOCH=1000000000", "--reproducible")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, require: Callable[..., None], require_root: Callable[[], None]) -> str:
    require_root()
    require(*PROGRAMS)
    return request.param


@contextmanager
def elsewhere(bench: Bench, place: Path, name: str) -> Iterator[Bench]:
    """The bench with a store in a folder of its own below *place*."""
    folder = place / name
    folder.mkdir()
    bench.pybuild.person.owns(folder)
    yield replace(bench, pybuild=bench.pybuild.with_store(folder / "store"))


def write(bench: Bench, dockerfile: str) -> None:
    bench.write(dockerfile, {"file": "content\n", "capable": "can\n"})
    (bench.context / "capable").chmod(0o755)
    os.setxattr(bench.context / "capable", "security.capability", CAPABILITY)


def built(bench: Bench, *words: str) -> tuple[str, list[tuple[str, ...]]]:
    """The image's digest, and the names in each layer, which say more where digests differ."""
    _, image = bench.image(*EPOCH, *words)
    again = bench.build(*EPOCH, *words)
    assert again.performed == []
    assert leftovers(bench.store) == []
    return image.digest, [tuple(image.members(number)) for number in range(1, len(image.manifest["layers"]))]


def test_the_image_is_the_same_wherever_the_store_is(
    kind: str, bench: Bench, bench_rootless: Bench, room: Path, require: Callable[..., None]
) -> None:
    require("fuse-overlayfs")
    for number, dockerfile in enumerate((DOCKERFILE, LINKS)):
        write(bench, dockerfile)
        expected = built(bench, "--isolation=overlay")
        with mounted(kind, room / f"{kind}{number}") as place:
            for one, who in ((bench, "root"), (bench_rootless, "user")):
                ways = ["copy", *(["overlay"] if kind != "overlay" else [])]
                if who == "root":  # to others /dev/fuse may be closed
                    ways.append("fuse-overlayfs")
                for way in ways:
                    with elsewhere(one, place, f"{who}-{way}") as own:
                        found = built(own, f"--isolation={way}")
                    assert found[1] == expected[1], (who, way)
                    assert found[0] == expected[0], (who, way)


def test_a_store_on_an_overlay_takes_copies_and_says_why_no_overlay(
    bench_everyone: Bench, room: Path, require_root: Callable[[], None]
) -> None:
    require_root()
    bench_everyone.write("FROM base\nRUN echo 1 >/one\n")
    with mounted("overlay", room / "overlay") as place, elsewhere(bench_everyone, place, "of") as own:
        taken = own.build()
        assert [one["text"].partition(",")[0] for one in taken.named("note") if "isolation" in one["text"]] == [
            "isolation: copy"
        ]
        refused = own.build("--isolation=overlay", "--no-cache", check=False)
        assert refused.code == 1
        assert refused.error["code"] == "no-overlay"
        assert refused.error["hint"] == (
            "put the store on ext4, xfs, btrfs or tmpfs, or use --isolation fuse-overlayfs or copy"
        )


@pytest.mark.parametrize("kind", ["xfs", "btrfs"], indirect=True)
def test_copies_share_their_extents_where_the_file_system_can(kind: str, bench_everyone: Bench, room: Path) -> None:
    size = 12 << 20
    stages = "".join(f"FROM first AS s{number}\nRUN echo {number} >/number\n" for number in range(8))
    last = "FROM scratch\n" + "".join(f"COPY --from=s{number} /number /{number}\n" for number in range(8))
    bench_everyone.write(f"FROM base AS first\nCOPY big /big\n{stages}{last}", {"big": os.urandom(size)})
    with mounted(kind, room / kind) as place, elsewhere(bench_everyone, place, "of") as own:
        own.build("--isolation=copy")
        os.sync()
        status = os.statvfs(place)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        copies = list(own.store.glob("snapshots/copy-*/*/fs/big"))
        assert len(copies) == 9
        # The base's tree, a few of its copies' inodes, and the file once as itself; nine of it would be 108 MiB.
        assert used < 4 * size + (24 << 20)


def test_a_store_on_a_noexec_nosuid_nodev_mount_works(
    bench_everyone: Bench, room: Path, require_root: Callable[[], None]
) -> None:
    require_root()
    bench_everyone.write("FROM base\nRUN echo 1 >/one && chmod 4755 /one\nRUN [ -u /one ] && [ -c /dev/null ]\n")
    with mounted("tmpfs", room / "tmpfs", options="nosuid,nodev,noexec") as place:
        with elsewhere(bench_everyone, place, "overlay") as own:
            assert len(own.build("--isolation=overlay").performed) == 2
        with elsewhere(bench_everyone, place, "copy") as own:
            refused = own.build("--isolation=copy", check=False)
            (shelf,) = own.store.glob("snapshots/copy-*")
            assert (refused.code, refused.error["code"]) == (1, "store-noexec")
            assert refused.error["message"] == (
                f"no command can be run from copies in {shelf}: its file system is mounted noexec"
            )
            assert refused.error["hint"] == (
                "put the store on another file system with --root or PYBUILD_ROOT, or use --isolation overlay"
            )
            own.write("FROM base\nCOPY file /\n", {"file": "f"})
            assert own.build("--isolation=copy").code == 0


# What a file system cannot hold


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def unpacked(stream: io.BytesIO, place: Path) -> StoreError | None:
    root = place / "root"
    root.mkdir()
    try:
        apply(stream, root, whiteouts="overlay")
    except StoreError as error:
        return error
    return None


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"], indirect=True)
def test_a_file_of_more_names_than_the_file_system_takes_is_one_clear_error(kind: str, room: Path) -> None:
    count = 65_536
    members = [(tarfile.TarInfo("first"), b"x")]
    for number in range(1, count + 1):
        info = tarfile.TarInfo(f"links/{number}")
        info.type, info.linkname = tarfile.LNKTYPE, "first"
        members.append((info, b""))
    with mounted(kind, room / kind) as place:
        error = unpacked(archive(*members), place)
        if kind == "xfs":
            assert error is None
            assert (place / "root/first").stat().st_nlink == count + 1
            return
        most = {"ext4": 65_000, "btrfs": 65_535}[kind]
        assert error is not None
        assert error.message == f"cannot unpack the layer: 'links/{most}': Too many links"
        assert error.hint == (
            "the store's file system allows no more names of one file: xfs and tmpfs do, --root puts the store there"
        )


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"], indirect=True)
def test_an_attribute_that_is_too_large_is_not_said_to_be_a_full_disk(kind: str, room: Path) -> None:
    info = tarfile.TarInfo("file")
    info.pax_headers = {"SCHILY.xattr.user.large": "v" * 10_000}
    with mounted(kind, room / kind) as place:
        error = unpacked(archive((info, b"x")), place)
        if kind != "ext4":
            assert error is None
            assert len(os.getxattr(place / "root/file", "user.large")) == 10_000
            return
        assert error is not None
        assert error.message == "the attribute 'user.large' of 10000 bytes is larger than the store's file system takes"
        assert error.hint == "xfs and btrfs take larger ones: --root puts the store there"


def test_a_read_only_store_is_refused(bench_everyone: Bench, room: Path, require_root: Callable[[], None]) -> None:
    require_root()
    bench_everyone.write("FROM base\nRUN echo 1 >/one\n")
    with mounted("tmpfs", room / "tmpfs") as place, elsewhere(bench_everyone, place, "of") as own:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        refused = own.build(check=False)
        assert (refused.code, refused.error["code"]) == (1, "store-unwritable")
        assert refused.error["message"] == f"cannot write {own.store}: Read-only file system"
        assert refused.error["hint"] == "choose a store that you can write to with --root"


def test_a_store_of_another_user_is_refused(
    bench: Bench, bench_rootless: Bench, room: Path, require_root: Callable[[], None], ordinary_user: Person
) -> None:
    require_root()
    bench.write("FROM base\nRUN echo 1 >/one\n")
    bench.build()
    refused = bench_rootless.build(check=False)
    assert refused.code == 1
    assert refused.error["code"] == "store-unwritable"
    assert refused.error["message"] == f"cannot use the store {bench.store}: Permission denied"
    assert refused.error["hint"] == "choose another store with --root or PYBUILD_ROOT"
