"""What every snapshotter keeps: the contract's suite, run on each, behind the gate, with file systems as values."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from trees import Device, Fifo, File, Folder, Link, Same, Tree, filled, make, read
from worlds.people import Person, whoever_runs_this
from worlds.sandboxes import CLOSED_FUSE, as_person

from builder.errors import ImageError, StoreError
from builder.image.names import Digest
from builder.layer.apply import apply
from builder.layer.changes import Change, Entry, Removed
from builder.layer.compress import compressor
from builder.layer.content import content_digest
from builder.layer.pack import pack
from builder.layer.removal import remove_tree
from builder.layer.scan import scan
from builder.sandbox.gate import call, identity
from builder.snapshot.clone import Clone
from builder.snapshot.contract import Packed, Snapshot, Snapshotter
from builder.snapshot.fuse import FuseOverlay
from builder.snapshot.overlay import MOST_LAYERS, Overlay

Act = Callable[[Path], object]
BASE: Tree = {
    "bin/sh": File("#!", mode=0o755),
    "d": Folder(mode=0o711, uid=5, gid=6),
    "d/a": File("a\n"),
    "d/b": File("b\n", mode=0o600, uid=7, gid=8),
    "d/sub/c": File("c\n"),
    "etc/hosts": File("127.0.0.1\n"),
    "etc/motd": File("hi\n"),
    "lib": Link("usr/lib"),
    "usr/lib/x": File("x"),
}


class World:
    """A snapshotter in a store of its own, and short words for what tests do with it."""

    def __init__(self, kind: str, place: Path) -> None:
        self.place = place
        self.kind = kind
        self.snapshotter: Snapshotter = self.again()

    def again(self) -> Snapshotter:
        """A second snapshotter on the same store, as another process has it."""
        kinds = {"overlay": Overlay, "fuse-overlayfs": FuseOverlay, "copy": Clone, "copy, taken over": Clone}
        return kinds[self.kind](self.place / "store", "key")

    def base(self, *layers: Tree | bytes) -> Snapshot:
        """The snapshot of an image whose layers are these trees, or tars."""
        return self.snapshotter.unpack([*self.packed(*layers)])

    def packed(self, *layers: Tree | bytes) -> list[Packed]:
        return [self._packed(layer, number, layers) for number, layer in enumerate(layers)]

    def _packed(self, layer: Tree | bytes, number: int, layers: tuple[Tree | bytes, ...]) -> Packed:
        data = layer if isinstance(layer, bytes) else self.tar(layer)
        raw = io.BytesIO()
        with compressor("gzip", raw) as out:
            out.write(data)
        chain = hashlib.sha256(
            repr((number, [each if isinstance(each, bytes) else list(each.items()) for each in layers])).encode()
        )

        @contextmanager
        def opened():
            yield io.BytesIO(raw.getvalue())

        return Packed(
            chain=Digest("sha256:" + chain.hexdigest()), diff_id=Digest.of(data), compression="gzip", open=opened
        )

    def tar(self, tree: Tree) -> bytes:
        folder = Path(tempfile.mkdtemp(dir=self.place))
        make(folder, tree)
        out = io.BytesIO()
        pack((entry for entry in scan(folder) if entry.path), folder, out)
        return out.getvalue()

    def step(self, parent: Snapshot | None, act: Act) -> Snapshot:
        draft = self.snapshotter.prepare(parent, last_use=self.kind == "copy, taken over")
        with self.snapshotter.view(draft) as root:
            act(root)
        return self.snapshotter.commit(draft)

    def told(self, snapshot: Snapshot) -> list[str]:
        return told(self.snapshotter.changes(snapshot))

    def seen(self, snapshot: Snapshot) -> Tree:
        with self.snapshotter.view(snapshot) as root:
            return read(root)

    def shipped(self, snapshot: Snapshot) -> Tree:
        """The tree that the step's layer makes when it is applied to the tree below: what another machine gets."""
        layer = io.BytesIO()
        with self.snapshotter.reading(snapshot) as tree:
            pack(self.snapshotter.changes(snapshot), tree, layer)
        there = Path(tempfile.mkdtemp(dir=self.place))
        below = Path(tempfile.mkdtemp(dir=self.place))
        make(there, {})
        os.rmdir(below)
        if len(snapshot.layers) > 1:
            parent = self.snapshotter.get(snapshot.layers[-2])
            assert parent is not None
            with self.snapshotter.view(parent) as root:
                whole = io.BytesIO()
                pack((entry for entry in scan(root) if entry.path), root, whole)
            apply(io.BytesIO(whole.getvalue()), there, whiteouts="remove")
        apply(io.BytesIO(layer.getvalue()), there, whiteouts="remove")
        return read(there)


def told(changes) -> list[str]:
    """Changes as a layer names them; a folder's name ends in "/"."""
    return [_told(change) for change in changes]


def _told(change: Change) -> str:
    path = os.fsdecode(change.path)
    if isinstance(change, Removed):
        folder, slash, name = path.rpartition("/")
        return f"{folder}{slash}.wh.{name}"
    assert isinstance(change, Entry)
    if change.hardlink is not None:
        return f"{path} = {os.fsdecode(change.hardlink)}"
    return path + ("/" if change.mode & 0o170000 == 0o040000 else "")


@pytest.fixture(params=["overlay", "fuse-overlayfs", "copy", "copy, taken over"])
def kind(request: pytest.FixtureRequest, require: Callable[..., None], require_root: Callable[[], None]) -> str:
    if request.param == "fuse-overlayfs":
        require("fuse-overlayfs")
        require_root()  # it opens /dev/fuse to the ordinary user
    return request.param


@pytest.fixture(params=["root", "ordinary user"])
def who(request: pytest.FixtureRequest) -> Person:
    if request.param == "root":
        request.getfixturevalue("require_root")()
        return whoever_runs_this()
    return request.getfixturevalue("ordinary_user")


def behind_the_gate(test: Callable[[World], None]):
    """The test, called as root of a namespace that holds a range of ids, with a world that is gone afterwards."""

    def outer(kind: str, who: Person) -> None:
        def inner(_send: object) -> None:
            parent = Path(tempfile.gettempdir())
            place = Path(tempfile.mkdtemp(prefix="snapshots-", dir=parent))
            try:
                test(World(kind, place))
            finally:
                folder = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
                remove_tree(os.fsencode(place.name), folder)
                os.close(folder)

        without = (CLOSED_FUSE,) if kind == "fuse-overlayfs" else ()
        as_person(who, lambda: call(inner, identity=identity(), on_message=print), without=without)

    outer.__doc__ = test.__doc__
    outer.__name__ = test.__name__
    return outer


# What is below


@behind_the_gate
def test_an_unpacked_image_is_the_tree_that_was_packed(world: World) -> None:
    assert world.seen(world.base(BASE)) == filled(BASE)


@behind_the_gate
def test_layers_lie_on_one_another(world: World) -> None:
    upper: Tree = {"d": BASE["d"], "d/a": File("changed"), "new/file": File("new")}
    assert world.seen(world.base(BASE, upper)) == filled({**BASE, **upper})


@behind_the_gate
def test_a_stack_that_is_there_is_not_opened_again(world: World) -> None:
    snapshot = world.base(BASE, {"x": File("")})

    def never():
        raise AssertionError("opened")

    closed = [
        Packed(chain=layer.chain, diff_id=layer.diff_id, compression="gzip", open=never)
        for layer in world.packed(BASE, {"x": File("")})
    ]
    assert world.again().unpack(closed) == snapshot


@behind_the_gate
def test_a_layer_with_another_diff_id_is_refused_and_nothing_is_left(world: World) -> None:
    good, bad = world.packed(BASE, {"x": File("")})
    lying = Packed(chain=bad.chain, diff_id=good.diff_id, compression="gzip", open=bad.open)
    with pytest.raises(ImageError) as error:
        world.snapshotter.unpack([good, lying])
    assert error.value.message == f"a layer's content is {bad.diff_id}, and the image says {good.diff_id}"
    assert world.snapshotter.get(f"base-{bad.chain.hex}") is None
    assert world.snapshotter.sweep() == 0
    assert world.seen(world.snapshotter.unpack([good, bad])) == filled({**BASE, "x": File("")})


@behind_the_gate
def test_a_folder_that_a_layer_does_not_tell_keeps_its_mode_and_owner(world: World) -> None:
    def without_folders(tree: Tree) -> bytes:
        folder = make(Path(tempfile.mkdtemp(dir=world.place)), tree)
        out = io.BytesIO()
        pack((entry for entry in scan(folder) if entry.mode & 0o170000 != 0o040000), folder, out)
        return out.getvalue()

    snapshot = world.base(BASE, without_folders({"d/new": File("n"), "fresh/f": File("f")}))
    assert world.seen(snapshot) == filled({**BASE, "d/new": File("n"), "fresh/f": File("f")})


@behind_the_gate
def test_a_layer_that_names_a_file_behind_a_link_of_a_lower_layer_puts_it_where_the_link_leads(world: World) -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, size in (("lib/y", 0), ("lib/.wh.x", 0), ("lib/deep/z", 0)):
            info = tarfile.TarInfo(name)
            info.mtime, info.size = 1_000_000_000, size
            tar.addfile(info)
    seen = world.seen(world.base(BASE, out.getvalue()))
    expected = {**BASE, "usr/lib/y": File(""), "usr/lib/deep/z": File("")}
    del expected["usr/lib/x"]
    assert seen == filled(expected)


@behind_the_gate
def test_a_hard_link_to_a_file_of_a_lower_layer_is_one_file_with_it(world: World) -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("etc/also")
        info.type, info.linkname = tarfile.LNKTYPE, "d/b"
        tar.addfile(info)
    expected = {**BASE, "etc/also": Same("d/b")}
    assert world.seen(world.base(BASE, out.getvalue())) == filled(expected)


@behind_the_gate
def test_deletions_of_an_image_hide_what_is_below_and_nothing_else(world: World) -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("etc/.wh.motd", "etc/.wh.nothing", "d/.wh..wh..opq", "d/own", "void/.wh..wh..opq"):
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000_000
            tar.addfile(info)
    expected = {
        **{name: node for name, node in BASE.items() if name != "etc/motd" and not name.startswith("d/")},
        "d/own": File(""),
        "void": Folder(),
    }
    assert world.seen(world.base(BASE, out.getvalue())) == filled(expected)


@behind_the_gate
def test_an_opaque_root_hides_everything_below(world: World) -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in (".wh..wh..opq", "etc/own"):
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000_000
            tar.addfile(info)
    seen = world.seen(world.base(BASE, out.getvalue()))
    assert list(seen) == ["etc", "etc/own"]


@behind_the_gate
def test_attributes_capabilities_special_modes_and_owners_arrive(world: World) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    tree: Tree = {
        "cap": File("x", mode=0o755, xattrs=(("security.capability", capability), ("user.a", b"1"))),
        "fifo": Fifo(mode=0o620),
        "folder": Folder(mode=0o2775, gid=50, xattrs=(("user.f", b"\0\xff"),)),
        "folder/inherits": File("", gid=0),
        "odd \udcff\n": File("", uid=65534, gid=65534),
        "one": File("1"),
        "su": File("", mode=0o4755, uid=33),
        "sticky": Folder(mode=0o1777),
        "two": Same("one"),
    }
    assert world.seen(world.base(tree)) == filled(tree)


# Steps


def step_cases() -> dict[str, tuple[Act, list[str]]]:
    """What a step does, and what its layer then tells, on BASE."""
    return {
        "a new file": (lambda r: make(r, {"d/new": File("n")}), ["d/", "d/new"]),
        "a changed file": (lambda r: (r / "d/a").write_text("A\n"), ["d/", "d/a"]),
        "a deleted file": (lambda r: (r / "etc/motd").unlink(), ["etc/", "etc/.wh.motd"]),
        "a changed mode": (lambda r: (r / "d/a").chmod(0o755), ["d/", "d/a"]),
        "a folder's mode": (lambda r: (r / "d").chmod(0o700), ["d/"]),
        "a folder's owner": (lambda r: os.chown(r / "d/sub", 9, 9), ["d/", "d/sub/"]),
        "an owner": (lambda r: os.chown(r / "d/a", 1, 2), ["d/", "d/a"]),
        "a time": (lambda r: os.utime(r / "d/a", (5, 5)), ["d/", "d/a"]),
        "a folder's time": (lambda r: os.utime(r / "d", (5, 5)), []),
        "nothing": (lambda _r: None, []),
        "its own mode and owner": (lambda r: ((r / "d/b").chmod(0o600), os.chown(r / "d/b", 7, 8)), []),
        "the same content and time": (
            lambda r: ((r / "d/a").write_text("a\n"), os.utime(r / "d/a", (1_000_000_000, 1_000_000_000))),
            [],
        ),
        "made and deleted": (lambda r: ((r / "d/tmp").write_text(""), (r / "d/tmp").unlink()), []),
        "same size and time": (
            lambda r: ((r / "d/a").write_text("Z\n"), os.utime(r / "d/a", (1_000_000_000, 1_000_000_000))),
            ["d/", "d/a"],
        ),
        "a deleted folder": (lambda r: remove(r / "d"), [".wh.d"]),
        "an attribute": (lambda r: os.setxattr(r / "d/a", "user.k", b"v"), ["d/", "d/a"]),
        "a folder's attribute": (lambda r: os.setxattr(r / "d", "user.k", b"v"), ["d/"]),
        "a file becomes a folder": (
            lambda r: ((r / "d/a").unlink(), make(r, {"d/a/in": File("in")})),
            ["d/", "d/a/", "d/a/in"],
        ),
        "a folder becomes a file": (
            lambda r: (remove(r / "d/sub"), make(r, {"d/sub": File("f")})),
            ["d/", "d/sub"],
        ),
        "a link becomes a folder": (
            lambda r: ((r / "lib").unlink(), make(r, {"lib/own": File("")})),
            ["lib/", "lib/own"],
        ),
        "through a link": (lambda r: (r / "lib/new").write_text(""), ["usr/", "usr/lib/", "usr/lib/new"]),
        "hard links": (
            lambda r: make(r, {"p/one": File("1"), "p/two": Same("p/one"), "q/three": Same("p/one")}),
            ["p/", "p/one", "p/two = p/one", "q/", "q/three = p/one"],
        ),
        "a socket": (lambda r: os.mknod(r / "d/socket", 0o140600), []),
        "a socket in a file's place": (
            lambda r: ((r / "d/a").unlink(), os.mknod(r / "d/a", 0o140600)),
            ["d/", "d/.wh.a"],
        ),
        "a fifo": (lambda r: make(r, {"pipe": Fifo(mode=0o620)}), ["pipe"]),
        "links": (lambda r: make(r, {"l": Link("/etc/passwd"), "m": Link("a b", uid=5, gid=6)}), ["l", "m"]),
        "order": (
            lambda r: make(r, {"e/f": File(""), "e.d": File(""), "e-d": File("")}),
            ["e/", "e/f", "e-d", "e.d"],
        ),
        "a sparse file": (lambda r: sparse(r / "sparse"), ["sparse"]),
        "modes of nothing": (
            lambda r: (make(r, {"closed/in": File("in", mode=0)}), (r / "closed").chmod(0)),
            ["closed/", "closed/in"],
        ),
        "long names": (
            lambda r: make(r, {"/".join(["n" * 255] * 4): File("x")}),
            [
                "n" * 255 + "/",
                "n" * 255 + "/" + "n" * 255 + "/",
                "/".join(["n" * 255] * 3) + "/",
                "/".join(["n" * 255] * 4),
            ],
        ),
        "names that are no text": (
            lambda r: make(r, {"\udcff\udcfe": File(""), "new\nline": File("")}),
            ["new\nline", "\udcff\udcfe"],
        ),
    }


def remove(path: Path) -> None:
    parent = os.open(path.parent, os.O_RDONLY)
    remove_tree(os.fsencode(path.name), parent)
    os.close(parent)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.seek(5_000_000)
        file.write(b"mid")
        file.truncate(9_000_001)


@pytest.mark.parametrize("case", step_cases())
def test_a_step_tells_what_changed_and_its_layer_makes_the_same_tree_elsewhere(
    kind: str, who: Person, case: str
) -> None:
    act, expected = step_cases()[case]
    if kind == "fuse-overlayfs" and case == "long names":
        pytest.skip("its marks make names of more than 251 bytes impossible (fuse-overlayfs, statfs: f_namemax)")

    @behind_the_gate
    def inside(world: World) -> None:
        base = world.base(BASE)
        snapshot = world.step(base, act)
        assert world.told(snapshot) == expected
        seen = world.seen(snapshot)
        without_sockets = {name: node for name, node in seen.items() if not isinstance(node, Device)}
        assert comparable(world.shipped(snapshot)) == comparable(without_sockets)
        assert world.seen(base) == filled(BASE)

    inside(kind, who)


def comparable(tree: Tree) -> Tree:
    # A layer holds whole seconds.
    from dataclasses import replace

    return {name: replace(node, mtime=node.mtime and node.mtime // 1) for name, node in tree.items()}


@behind_the_gate
def test_a_second_name_of_a_lower_file_is_all_that_a_layer_tells_and_a_file_of_its_own(world: World) -> None:
    def act(root: Path) -> None:
        os.link(root / "d/a", root / "d/z")
        os.link(root / "lib", root / "library", follow_symlinks=False)

    snapshot = world.step(world.base(BASE), act)
    assert world.told(snapshot) == ["d/", "d/z", "library"]
    assert world.shipped(snapshot) == filled({**BASE, "d/z": BASE["d/a"], "library": BASE["lib"]})


def test_a_special_file_that_was_given_what_it_has_is_not_told(kind: str, who: Person) -> None:
    def act(root: Path) -> None:
        (root / "pipe").chmod(0o620)
        os.chown(root / "pipe", 0, 0)
        os.chown(root / "lib", 0, 0, follow_symlinks=False)

    @behind_the_gate
    def inside(world: World) -> None:
        snapshot = world.step(world.base({**BASE, "pipe": Fifo(mode=0o620)}), act)
        assert world.told(snapshot) == []

    inside(kind, who)


@behind_the_gate
def test_a_socket_of_an_earlier_step_may_be_touched_or_removed_and_is_not_told(world: World) -> None:
    def touch(root: Path) -> None:
        if (root / "d/socket").exists():  # not in a copy of a root
            (root / "d/socket").chmod(0o600)

    first = world.step(world.base(BASE), lambda root: os.mknod(root / "d/socket", 0o140600))
    assert world.told(world.step(first, touch)) == []
    assert world.told(world.step(first, lambda root: (root / "d/socket").unlink(missing_ok=True))) == []


@behind_the_gate
def test_a_folder_made_anew_holds_only_the_new_content(world: World) -> None:
    def act(root: Path) -> None:
        remove(root / "d")
        make(root, {"d": Folder(mode=0o700), "d/a": File("new"), "d/sub": Folder()})

    snapshot = world.step(world.base(BASE), act)
    assert world.told(snapshot) == ["d/", "d/a", "d/.wh.b", "d/sub/", "d/sub/.wh.c"]
    tree = {name: node for name, node in BASE.items() if not name.startswith("d")}
    tree |= {"d": Folder(mode=0o700), "d/a": File("new"), "d/sub": Folder()}
    assert world.seen(snapshot) == filled(tree)
    assert world.shipped(snapshot) == filled(tree)


LINKED: Tree = {"p/a": File("data"), "p/b": Same("p/a"), "p/c": Same("p/a"), "q": Folder()}
LINKED_CASES: dict[str, tuple[Act, list[str]]] = {
    "written": (lambda r: (r / "p/b").write_text("other"), ["p/", "p/b"]),
    "given away": (lambda r: os.chown(r / "p/a", 5, 6), ["p/", "p/a"]),
    "renamed": (lambda r: os.rename(r / "p/b", r / "q/b"), ["p/", "p/.wh.b", "q/", "q/b"]),
    "named again": (lambda r: os.link(r / "p/b", r / "q/d"), ["q/", "q/d"]),
    "deleted": (lambda r: (r / "p/a").unlink(), ["p/", "p/.wh.a"]),
    "looked at": (lambda r: (r / "p/a").read_bytes(), []),
    "given its own mode": (lambda r: (r / "p/a").chmod(0o644), []),
}


@pytest.mark.parametrize("case", LINKED_CASES)
def test_one_of_several_names_of_a_lower_file_changes_alone(kind: str, who: Person, case: str) -> None:
    act, expected = LINKED_CASES[case]

    @behind_the_gate
    def inside(world: World) -> None:
        base = world.base(LINKED)
        snapshot = world.step(base, act)
        assert world.told(snapshot) == expected
        untouched = [
            name for name in ("p/a", "p/b", "p/c") if name not in expected and f"p/.wh.{name[2:]}" not in expected
        ]
        seen = world.seen(snapshot)
        assert isinstance(seen[untouched[0]], File)
        assert seen[untouched[0]].content == "data"
        if case not in ("given its own mode", "named again"):  # they part what they touch, and change nothing in it
            assert [seen[name] for name in untouched[1:]] == [Same(untouched[0])] * (len(untouched) - 1)
        # What one step parted the next one leaves so.
        following = world.step(snapshot, lambda root: make(root, {"x": File("")}))
        assert world.told(following) == ["x"]

    inside(kind, who)


DELICATE: Tree = {
    "group": Folder(mode=0o2775, gid=50, mtime=1_000_000_000),
    "group/file": File("x"),
    "old": Folder(mtime=1_000_000_000),
    "old/fifo": Fifo(mode=0o620, uid=5),
    "old/file": File("x"),
    "old/link": Link("to", uid=5, gid=6),
    "old/link of root": Link("to"),
    "old/set": File("s", mode=0o4755, uid=33),
    "old/set of root": File("s", mode=0o6755),
}
DELICATE_CASES: dict[str, tuple[Act, list[str], Tree]] = {
    "nothing": (lambda r: [path.lstat() for path in r.rglob("*")], [], DELICATE),
    "a mode in the group's folder": (
        lambda r: (r / "group/file").chmod(0o600),
        ["group/", "group/file"],
        {"group": DELICATE["group"], "group/file": File("x", mode=0o600)},
    ),
    "a folder's time": (
        lambda r: ((r / "old/file").chmod(0o600), os.utime(r / "old", (5, 5))),
        ["old/", "old/file"],
        {"old": Folder(mtime=5), "old/file": File("x", mode=0o600)},
    ),
    "a set-ID file's time": (
        lambda r: os.utime(r / "old/set", (5, 5)),
        ["old/", "old/set"],
        {"old": DELICATE["old"], "old/set": File("s", mode=0o4755, uid=33, mtime=5)},
    ),
    "the name of a set-ID file of root's": (
        lambda r: os.rename(r / "old/set of root", r / "new"),
        ["new", "old/", "old/.wh.set of root"],
        {"new": DELICATE["old/set of root"]},
    ),
    "a set-ID file's name": (
        lambda r: os.rename(r / "old/set", r / "new"),
        ["new", "old/", "old/.wh.set"],
        {"new": DELICATE["old/set"]},
    ),
    "a link's name": (
        lambda r: os.rename(r / "old/link", r / "new"),
        ["new", "old/", "old/.wh.link"],
        {"new": DELICATE["old/link"]},
    ),
    "a link's owner": (
        lambda r: os.chown(r / "old/link", 7, 8, follow_symlinks=False),
        ["old/", "old/link"],
        {"old": DELICATE["old"], "old/link": Link("to", uid=7, gid=8)},
    ),
    "the owner of a link of root's": (
        lambda r: os.chown(r / "old/link of root", 7, 8, follow_symlinks=False),
        ["old/", "old/link of root"],
        {"old": DELICATE["old"], "old/link of root": Link("to", uid=7, gid=8)},
    ),
    "a fifo's name": (
        lambda r: os.rename(r / "old/fifo", r / "new"),
        ["new", "old/", "old/.wh.fifo"],
        {"new": DELICATE["old/fifo"]},
    ),
    "a fifo's owner": (
        lambda r: os.chown(r / "old/fifo", 7, 8),
        ["old/", "old/fifo"],
        {"old": DELICATE["old"], "old/fifo": Fifo(mode=0o620, uid=7, gid=8)},
    ),
    "all owners": (
        lambda r: [os.chown(path, 7, 8, follow_symlinks=False) for path in (r / "old").iterdir()],
        ["old/", "old/fifo", "old/file", "old/link", "old/link of root", "old/set", "old/set of root"],
        {"old": DELICATE["old"], "old/file": File("x", uid=7, gid=8)},
    ),
}


@pytest.mark.parametrize("case", DELICATE_CASES)
def test_what_a_command_changes_keeps_all_else(kind: str, who: Person, case: str) -> None:
    act, expected, nodes = DELICATE_CASES[case]

    @behind_the_gate
    def inside(world: World) -> None:
        snapshot = world.step(world.base(DELICATE), act)
        assert world.told(snapshot) == expected
        with world.snapshotter.view(snapshot) as root:
            seen = read(root, folder_times=True)
        assert {name: seen[name] for name in nodes} == nodes
        if not expected and not world.kind.startswith("copy"):
            with world.snapshotter.reading(snapshot) as tree:
                assert os.listdir(tree) == []

    inside(kind, who)


@behind_the_gate
def test_a_folder_has_the_time_at_which_a_name_came_into_it_or_went(world: World) -> None:
    def act(root: Path) -> None:
        (root / "one/new").touch()
        (root / "two/old").unlink()
        (root / "three/new").touch()
        os.rename(root / "three/new", root / "three/old")

    base = world.base(
        {
            **{name: Folder(mtime=1_000_000_000) for name in ("one", "two", "three", "four")},
            **{f"{name}/{file}": File("") for name in ("one", "two", "three", "four") for file in ("old", "kept")},
        }
    )
    snapshot = world.step(base, lambda root: (act(root), [file.chmod(0o600) for file in root.glob("*/kept")]))
    with world.snapshotter.view(snapshot) as root:
        seen = read(root, folder_times=True)
    assert [name for name in ("one", "two", "three", "four") if seen[name].mtime == 1_000_000_000] == ["four"]


def test_a_file_that_was_replaced_and_then_removed_or_renamed_is_gone(kind: str, who: Person) -> None:
    if kind == "fuse-overlayfs":
        pytest.skip("fuse-overlayfs forgets that there is one below, and leaves no trace of it")

    @behind_the_gate
    def inside(world: World) -> None:
        def act(root: Path) -> None:
            for name in ("a", "b"):
                (root / "d/new").write_text("new")
                os.rename(root / "d/new", root / "d" / name)
            (root / "d/a").unlink()
            os.rename(root / "d/b", root / "d/c")

        assert world.told(world.step(world.base(BASE), act)) == ["d/", "d/.wh.a", "d/.wh.b", "d/c"]

    inside(kind, who)


@pytest.mark.parametrize("name", ["folder", "link", "file"])
def test_what_is_made_in_a_folder_with_the_set_group_id_bit_is_of_its_group(kind: str, who: Person, name: str) -> None:
    if kind == "fuse-overlayfs" and name != "file":
        pytest.skip("no version of fuse-overlayfs does it, and nothing tells it afterwards from what a command chose")

    @behind_the_gate
    def inside(world: World) -> None:
        make_it: dict[str, Callable[[Path], object]] = {
            "folder": Path.mkdir,
            "link": lambda path: path.symlink_to("to"),
            "file": Path.touch,
        }
        snapshot = world.step(world.base(DELICATE), lambda root: make_it[name](root / "group/new"))
        made = world.seen(snapshot)["group/new"]
        assert (made.gid, bool(made.mode & 0o2000)) == (50, name == "folder")

    inside(kind, who)


@behind_the_gate
def test_a_folder_that_is_put_in_its_own_place_again_is_told_only_where_it_differs(world: World) -> None:
    import shutil

    def act(root: Path) -> None:
        shutil.copytree(root / "d", root / "e", symlinks=True)
        for path in ("e", "e/a", "e/b", "e/sub", "e/sub/c"):
            status = os.stat(root / path.replace("e", "d", 1))
            os.chown(root / path, status.st_uid, status.st_gid)
        (root / "e/a").write_text("changed\n")
        remove(root / "d")
        os.rename(root / "e", root / "d")

    assert world.told(world.step(world.base(BASE), act)) == ["d/", "d/a"]


@behind_the_gate
def test_removed_names_stand_where_they_sort(world: World) -> None:
    def act(root: Path) -> None:
        remove(root / "m")
        make(root, {"m/b/y": File("new"), "m/d": File("new"), "m/b.c": File("")})
        (root / "a").unlink()
        (root / "z").unlink()

    names = ("a", "m/a", "m/b/x", "m/b/z", "m/c", "m/e", "z")
    told = world.told(world.step(world.base({name: File(name) for name in names}), act))
    inner = ["m/.wh.a", "m/b/", "m/b/.wh.x", "m/b/y", "m/b/.wh.z", "m/b.c", "m/.wh.c", "m/d", "m/.wh.e"]
    assert told == [".wh.a", "m/", *inner, ".wh.z"]


@behind_the_gate
def test_a_lower_folder_that_is_renamed_keeps_all_under_the_new_name_only(world: World) -> None:
    import shutil

    snapshot = world.step(world.base(BASE), lambda root: shutil.move(root / "d", root / "e", copy_function=_copy))
    names = world.told(snapshot)
    assert names[0] == ".wh.d"
    assert names[1:] == ["e/", "e/a", "e/b", "e/sub/", "e/sub/c"]


def _copy(source: str, target: str) -> None:
    import shutil

    shutil.copy2(source, target)


@behind_the_gate
def test_changes_are_against_the_parent_and_not_the_base(world: World) -> None:
    one = world.step(world.base(BASE), lambda root: make(root, {"thing": File("1"), "gone": File("")}))
    two = world.step(one, lambda root: ((root / "thing").unlink(), (root / "gone").unlink()))
    three = world.step(two, lambda root: make(root, {"thing/inside": File("2")}))
    assert [world.told(s) for s in (one, two, three)] == [
        ["gone", "thing"],
        [".wh.gone", ".wh.thing"],
        ["thing/", "thing/inside"],
    ]
    assert world.seen(three) == filled({**BASE, "thing/inside": File("2")}) | {
        "thing/inside": world.seen(three)["thing/inside"]
    }


@behind_the_gate
def test_deleting_one_of_two_names_leaves_the_other_with_its_content(world: World) -> None:
    base = world.base({"p/a": File("data"), "p/b": Same("p/a")})
    snapshot = world.step(base, lambda root: (root / "p/a").unlink())
    assert world.seen(snapshot) == filled({"p/b": File("data")})
    assert world.shipped(snapshot) == filled({"p/b": File("data")})


@behind_the_gate
def test_a_root_on_nothing_is_empty_and_what_is_put_there_is_told(world: World) -> None:
    snapshot = world.step(None, lambda root: make(root, {"a/b": File("x")}))
    assert snapshot.layers == (snapshot.id,)
    assert world.told(snapshot) == ["a/", "a/b"]
    assert world.seen(snapshot) == filled({"a/b": File("x")})


@behind_the_gate
def test_the_roots_own_mode_passes_on_and_is_told_when_it_changes(world: World) -> None:
    snapshot = world.step(world.base(BASE), lambda root: (root.chmod(0o700), os.chown(root, 3, 4)))
    assert world.told(snapshot) == ["/"]
    following = world.step(snapshot, lambda root: make(root, {"x": File("")}))
    assert world.told(following) == ["x"]
    with world.snapshotter.view(following) as root:
        assert (root.stat().st_mode & 0o7777, root.stat().st_uid, root.stat().st_gid) == (0o700, 3, 4)


@behind_the_gate
def test_equal_results_have_equal_contents_whenever_they_were_made(world: World) -> None:
    base = world.base(BASE)

    def content(mtime: int, text: str = "n") -> Digest:
        step = world.step(base, lambda root: make(root, {"d/new": File(text, mtime=mtime), "k": Folder(mtime=mtime)}))
        with world.snapshotter.reading(step) as tree:
            return content_digest(world.snapshotter.changes(step), tree)

    assert content(5) == content(6)
    assert content(5) != content(5, "m")


# Life and death


@behind_the_gate
def test_a_discarded_draft_leaves_nothing(world: World) -> None:
    base = world.base(BASE)
    draft = world.snapshotter.prepare(base)
    with world.snapshotter.view(draft) as root:
        make(root, {"closed/x/y": File("")})
        (root / "closed/x").chmod(0)
        (root / "closed").chmod(0)
    world.snapshotter.discard(draft)
    assert not draft.folder.exists()
    assert world.seen(base) == filled(BASE)


@behind_the_gate
def test_a_draft_is_swept_when_its_process_is_gone_and_not_before(world: World) -> None:
    base = world.base(BASE)
    mine = world.snapshotter.prepare(base)
    child = os.fork()
    if child == 0:
        world.again().prepare(base)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert world.snapshotter.sweep() == 1
    assert mine.tree.is_dir()
    world.snapshotter.discard(mine)
    assert world.snapshotter.sweep() == 0


@behind_the_gate
def test_another_process_finds_what_was_committed(world: World) -> None:
    snapshot = world.step(world.base(BASE), lambda root: make(root, {"x": File("x")}))
    assert world.again().get(snapshot.id) == snapshot
    assert world.again().get("nothing") is None


@behind_the_gate
def test_a_snapshot_that_another_process_uses_stays_and_one_that_nobody_uses_goes(world: World) -> None:
    to_child, of_parent = os.pipe()
    to_parent, of_child = os.pipe()
    child = os.fork()  # before there are locks that it would inherit
    if child == 0:
        os.close(of_parent)
        found = world.again().get(os.read(to_child, 100).decode())
        os.write(of_child, b"held" if found else b"lost")
        os.read(to_child, 1)
        os._exit(0)
    snapshot = world.step(world.base(BASE), lambda root: make(root, {"x": File("x" * 10_000)}))
    os.write(of_parent, snapshot.id.encode())
    assert os.read(to_parent, 4) == b"held"
    with pytest.raises(StoreError) as error:
        world.snapshotter.remove(snapshot.id)
    assert error.value.message == f"the snapshot {snapshot.id} is in use"
    os.close(of_parent)
    os.waitpid(child, 0)
    assert world.snapshotter.remove(snapshot.id) >= 10_000
    assert world.again().get(snapshot.id) is None


@behind_the_gate
def test_a_snapshot_that_another_stands_on_stays(world: World) -> None:
    base = world.base(BASE)
    snapshot = world.step(base, lambda root: make(root, {"x": File("x")}))
    with pytest.raises(StoreError) as error:
        world.snapshotter.remove(base.id)
    assert error.value.message == f"the snapshot {snapshot.id} stands on {base.id}"
    assert world.seen(snapshot)["x"].content == "x"


@behind_the_gate
def test_a_snapshot_torn_by_a_crash_of_the_machine_is_not_trusted(world: World) -> None:
    import json

    snapshot = world.step(world.base(BASE), lambda root: make(root, {"x": File("x")}))
    folder = world.place / "store/snapshots/key" / snapshot.id
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"boot": "an earlier one"}))
    assert world.again().get(snapshot.id) is None
    world.snapshotter.sync()
    assert world.again().get(snapshot.id) == snapshot


@behind_the_gate
def test_two_processes_unpack_one_image_once(world: World) -> None:
    layers = world.packed(BASE, {"x": File("x")}, {"y": File("y")})
    opened = world.place / "opened"
    counted = []
    for layer in layers:

        @contextmanager
        def slowly(layer=layer):
            with opened.open("a") as log:
                log.write("x")
            import time

            time.sleep(0.1)
            with layer.open() as stream:
                yield stream

        counted.append(Packed(chain=layer.chain, diff_id=layer.diff_id, compression="gzip", open=slowly))
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                world.again().unpack(counted)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert opened.read_text() == "xxx"
    assert world.seen(world.snapshotter.unpack(counted)) == filled({**BASE, "x": File("x"), "y": File("y")})


@behind_the_gate
def test_a_view_of_a_draft_is_written_to_and_one_of_a_snapshot_shows_it(world: World) -> None:
    base = world.base(BASE)
    draft = world.snapshotter.prepare(base)
    with world.snapshotter.view(draft) as root:
        (root / "first").write_text("1")
    with world.snapshotter.view(draft) as root:
        assert (root / "first").read_text() == "1"
        (root / "second").write_text("2")
    assert set(world.seen(world.snapshotter.commit(draft))) == set(filled(BASE)) | {"first", "second"}


@behind_the_gate
def test_owners_and_devices_that_have_no_place_here_are_recorded_and_told(world: World) -> None:
    import tarfile

    out = io.BytesIO()
    kinds = {"dir": tarfile.DIRTYPE, "dir/file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "pipe": tarfile.FIFOTYPE}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (kinds | {"null": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE}).items():
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind, 0o640, 3_000_000, 4_294_967_294
            info.linkname, info.devmajor, info.devminor = "to" if name == "link" else "", 300, 70000
            info.pax_headers = {"SCHILY.xattr.user.pybuild.owner": "1:1 0:0", "SCHILY.xattr.user.kept": "yes"}
            tar.addfile(info)
    base = world.base(out.getvalue())

    # fuse-overlayfs opens what it links, which without a driver cannot be.
    with world.snapshotter.reading(base) as tree:
        real = (tree / "null").is_char_device()
    linked = not (real and world.kind == "fuse-overlayfs")

    def act(root: Path) -> None:
        (root / "dir/file").rename(root / "moved")
        if linked:
            os.link(root / "null", root / "again")
        else:
            os.mknod(root / "again", 0o020640, os.makedev(300, 70000))
            os.chown(root / "again", 3_000_000, 4_294_967_294)

    step = world.step(base, act)
    for snapshot, names in ((base, {*kinds, "null", "disk"}), (step, {"moved", "null", "again"})):
        with world.snapshotter.view(snapshot) as root:
            found = {os.fsdecode(each.path): each for each in scan(root, world.snapshotter.owners(snapshot))}
        assert names <= set(found)
        for name in names:
            assert (found[name].uid, found[name].gid) == (3_000_000, 4_294_967_294), name
            assert stat.S_IMODE(found[name].mode) == (0o777 if name == "link" else 0o640)
            assert set(found[name].xattrs) <= {b"user.kept"}
        assert stat.S_ISCHR(found["null"].mode)
        assert found["null"].rdev == os.makedev(300, 70000)
    changed = {each.path: each for each in world.snapshotter.changes(step) if isinstance(each, Entry)}
    assert (changed[b"moved"].uid, changed[b"again"].rdev) == (3_000_000, os.makedev(300, 70000))


@behind_the_gate
def test_noted_owners_are_known_while_a_draft_is_seen(world: World) -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind in {"link": tarfile.SYMTYPE, "pipe": tarfile.FIFOTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.uid, info.gid = kind, "to", 3_000_000, 3_000_001
            tar.addfile(info)
    base = world.base(out.getvalue())
    draft = world.snapshotter.prepare(base)
    with world.snapshotter.view(draft) as root:
        owners = world.snapshotter.owners(draft)
        for name in ("link", "pipe"):
            status = os.lstat(root / name)
            found = owners.get(name.encode(), (status.st_uid, status.st_gid))
            assert found == (3_000_000, 3_000_001), name
    snapshot = world.snapshotter.commit(draft)
    assert world.told(snapshot) == []
    assert world.snapshotter.owners(snapshot) == world.snapshotter.owners(base)


@behind_the_gate
def test_hundreds_of_steps_lie_on_one_another(world: World) -> None:
    if world.kind.startswith("copy"):
        return  # each would be a copy; nothing is stacked
    snapshot = world.base({"file": File("0")})
    for number in range(1, MOST_LAYERS - 1):
        draft = world.snapshotter.prepare(snapshot)
        (draft.tree / "file").write_text(str(number))
        snapshot = world.snapshotter.commit(draft)
    last = world.step(snapshot, lambda root: make(root, {"last": File((root / "file").read_text())}))
    assert world.seen(last)["last"].content == str(MOST_LAYERS - 2)
    assert world.told(last) == ["last"]
    with pytest.raises(ImageError) as error:
        world.step(world.step(last, lambda _root: None), lambda _root: None)
    assert error.value.message == "501 layers are more than overlayfs can stack (500)"


@behind_the_gate
def test_devices_are_told_where_they_can_be_made(world: World) -> None:
    def act(root: Path) -> None:
        try:
            make(root, {"nodes/big": Device("c", 300, 70000), "nodes/block": Device("b", 7, 200, gid=6)})
        except PermissionError:
            pass  # a user namespace: nobody makes devices there

    snapshot = world.step(world.base(BASE), act)
    seen = world.seen(snapshot)
    assert world.shipped(snapshot) == comparable(seen)
