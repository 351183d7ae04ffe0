"""ADD: archives of the context are unpacked, by what they hold and not by what they are called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import pyzstd
from copies import HERE, step
from trees import MTIME, File, Folder, Link, Same, Tree, filled, make, read

from builder.engine.copying.copy import Copied, copy
from builder.engine.sources.context import open_context
from builder.errors import BuilderError, ImageError


@pytest.fixture(autouse=True)
def _as_root(require_root: Callable[[], None]) -> None:
    require_root()


def tarball(tree: Tree) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, node in tree.items():
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = node.mode, node.uid, node.gid, MTIME
            content = node.content.encode() if isinstance(node, File) and isinstance(node.content, str) else b""
            if isinstance(node, Folder):
                member.type = tarfile.DIRTYPE
            elif isinstance(node, Link):
                member.type, member.linkname = tarfile.SYMTYPE, node.target
            elif isinstance(node, Same):
                member.type, member.linkname = tarfile.LNKTYPE, node.of
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.root = make(folder / "root", {})
        self.scratch = make(folder / "scratch", {})
        self.context = make(folder / "context", {})

    def add(self, *sources: str, **more: object) -> Copied:
        more.setdefault("unpack", True)
        root = open_context(self.context, None).root
        return copy(step(*sources, **more), root, self.root, scratch=self.scratch)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


PLAIN = tarball({"d": Folder(mode=0o2770, uid=5, gid=6), "d/f": File("f", mode=0o4755, uid=7, gid=8), "l": Link("d/f")})
UNPACKED: Tree = {"d": Folder(mode=0o2770, uid=5, gid=6), "d/f": File("f", mode=0o4755, uid=7, gid=8), "l": Link("d/f")}


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, pyzstd.compress],
    ids=["tar", "gz", "bz2", "xz", "zst"],
)
def test_every_kind_of_archive_is_unpacked(bench: Bench, compress: Callable[[bytes], bytes]) -> None:
    make(bench.context, {"no-name-for-an-archive": File(compress(PLAIN))})
    bench.add("no-name-for-an-archive", to="/dst")
    assert read(bench.root) == filled({f"dst/{name}": node for name, node in UNPACKED.items()})


def test_what_is_only_called_an_archive_is_copied(bench: Bench) -> None:
    make(bench.context, {"a.tar": File("text"), "b.tar.gz": File(gzip.compress(b"text")), "c.tar": File("")})
    bench.add("*", to="/dst/")
    assert set(read(bench.root)) == {"dst", "dst/a.tar", "dst/b.tar.gz", "dst/c.tar"}


@pytest.mark.parametrize("unpack", [False, None])
def test_an_archive_is_a_file_where_it_is_not_to_be_unpacked(bench: Bench, unpack: bool | None) -> None:
    make(bench.context, {"a.tar": File(PLAIN)})
    bench.add("a.tar", to="/dst/", unpack=unpack)
    assert set(read(bench.root)) == {"dst", "dst/a.tar"}


def test_each_match_of_a_wildcard_is_judged_for_itself(bench: Bench) -> None:
    make(bench.context, {"in1": File(PLAIN), "in2": File("plain"), "in3/nested.tar": File(PLAIN)})
    copied = bench.add("in*", to="/dst/")
    assert set(read(bench.root)) == {"dst", "dst/d", "dst/d/f", "dst/l", "dst/in2", "dst/nested.tar"}
    assert copied.files == 5


def test_chown_is_for_archives_and_chmod_is_not(bench: Bench) -> None:
    make(bench.context, {"a.tar": File(PLAIN)})
    bench.add("a.tar", to="/new/dst/", owner="3:4", mode="0600")
    tree = read(bench.root)
    assert {(node.uid, node.gid) for node in tree.values()} == {(3, 4)}
    assert (tree["new"].mode, tree["new/dst/d/f"].mode) == (0o755, 0o4755)


def test_the_destination_is_found_through_links_and_merged_into(bench: Bench) -> None:
    make(bench.root, {"real/old": File("old"), "real/d": Folder(mode=0o700), "link": Link("/real")})
    make(bench.context, {"a.tar": File(PLAIN), "late.txt": File()})
    bench.add("a.tar", "late.txt", to="/link/")
    tree = read(bench.root)
    assert {"real/old", "real/d/f", "real/late.txt"} <= set(tree)
    assert tree["real/d"].mode == 0o2770


def test_an_archive_goes_nowhere_but_to_its_destination(bench: Bench) -> None:
    make(bench.context, {"a.tar": File(tarball({"../up": File("u"), "/abs": File("a"), "a/../../b": File("b")}))})
    bench.add("a.tar", to="/x/y/")
    assert set(read(bench.root)) == {"x", "x/y", "x/y/up", "x/y/abs", "x/y/b"}


def test_a_hostile_archive_is_an_error_with_a_place(bench: Bench) -> None:
    make(bench.context, {"a.tar": File(tarball({"up": Link("../../outside"), "up/f": File("f")}))})
    with pytest.raises(BuilderError) as error:
        bench.add("a.tar", to="/dst/")
    assert isinstance(error.value, ImageError)
    assert error.value.where is HERE


def test_a_damaged_archive_is_an_error(bench: Bench) -> None:
    whole = gzip.compress(tarball({"f": File(os.urandom(50_000).hex())}))
    make(bench.context, {"a.tgz": File(whole[: len(whole) // 2])})
    with pytest.raises(ImageError) as error:
        bench.add("a.tgz", to="/dst/")
    assert error.value.where is HERE


def test_with_link_an_archive_sees_nothing_that_was_there(bench: Bench) -> None:
    make(bench.root, {"target": Folder(), "dst/d": Link("/target"), "dst/l/inner": File(), "dst/old": File("o")})
    make(bench.context, {"a.tar": File(PLAIN)})
    bench.add("a.tar", to="/dst", link=True, owner="1:2")
    tree = read(bench.root)
    assert set(tree) == {"target", "dst", "dst/d", "dst/d/f", "dst/l", "dst/old"}
    assert tree["dst/l"] == Link("d/f", uid=1, gid=2)
    assert tree["dst/d/f"] == File("f", mode=0o4755, uid=1, gid=2)
    assert list(bench.scratch.iterdir()) == []


KINDS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": pyzstd.compress, "tar": bytes}
GARBAGE = b"garbage, and enough of it for any header"


def _tar(end: bytes) -> bytes:
    """An archive of three files with *end* behind them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("a", "b", "c"):
            entry = tarfile.TarInfo(name)
            entry.size = 20_480
            tar.addfile(entry, io.BytesIO(random.Random(name).randbytes(entry.size)))
    return out.getvalue()[: 3 * (512 + 20_480)] + end


END, WHOLE = bytes(1024), bytes(10_240)


# What BuildKit does with each was tried. A reader of Go's tells what is wrong with the bytes behind the last it gave
# only when it is asked for more, and nobody asks for more than the archive.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [END, WHOLE], ids=["short", "padded"])
def test_what_follows_an_archive_counts_for_nothing(bench: Bench, kind: str, end: bytes) -> None:
    compress, tar = KINDS[kind], _tar(end)
    archives = {
        "zero": compress(tar) + bytes(1),
        "zeros": compress(tar) + bytes(512),
        "garbage": compress(tar) + GARBAGE * 10,
        "byte": compress(tar) + b"x",
        "cut": compress(tar)[:-3],
        "members": compress(tar[:30_000]) + compress(tar[30_000:]),
        "behind": compress(tar + random.Random(0).randbytes(100_000)),
    }
    if kind == "zstd" or (kind, end) == ("tar", END):
        del archives["cut"]  # its only block, or the end itself, is not whole
    make(bench.context, {name: File(data) for name, data in archives.items()})
    for name in archives:
        bench.add(name, to=f"/{name}/")
        assert {path for path in read(bench.root) if path.startswith(name)} == {name, *(f"{name}/{x}" for x in "abc")}


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "zstd"])
@pytest.mark.parametrize("junk", [GARBAGE, bytes(512)], ids=["garbage", "zeros"])
def test_junk_before_an_archives_end_is_an_error(bench: Bench, kind: str, junk: bytes) -> None:
    compress, tar = KINDS[kind], _tar(END)
    archives = {
        "between": compress(tar[:30_000]) + junk + compress(tar[30_000:]),
        "endless": compress(_tar(b"")) + junk,
    }
    make(bench.context, {name: File(data) for name, data in archives.items()})
    for name in archives:
        with pytest.raises(ImageError) as error:
            bench.add(name, to=f"/{name}/")
        assert error.value.code == "damaged-compression"


def test_xz_may_be_padded_between_its_streams_and_an_archive_may_lack_its_end(bench: Bench) -> None:
    tar = _tar(END)
    archives = {"between": lzma.compress(tar[:30_000]) + bytes(512) + lzma.compress(tar[30_000:])}
    archives |= {kind: compress(_tar(b"")) for kind, compress in KINDS.items()}
    make(bench.context, {name: File(data) for name, data in archives.items()})
    for name in archives:
        bench.add(name, to=f"/{name}/")
        assert {path for path in read(bench.root) if path.startswith(f"{name}/")} == {f"{name}/{x}" for x in "abc"}
