"""Copies whose tree the next step takes over: what is left of them is the same snapshot, whatever happens meanwhile."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from test_snapshotter import BASE, LINKED, World, behind_the_gate, remove
from trees import Fifo, File, Link, Same, Tree, filled, make, read
from worlds.people import Person, whoever_runs_this

from builder.errors import StoreError
from builder.layer.content import content_digest
from builder.snapshot.contract import Draft, Snapshot


@pytest.fixture
def kind() -> str:
    return "copy, taken over"


@pytest.fixture(params=["root", "ordinary user"])
def who(request: pytest.FixtureRequest) -> Person:
    if request.param == "root":
        request.getfixturevalue("require_root")()
        return whoever_runs_this()
    return request.getfixturevalue("ordinary_user")


def folder_of(world: World, snapshot: Snapshot) -> Path:
    return world.place / "store/snapshots/key" / snapshot.id


def is_whole(world: World, snapshot: Snapshot) -> bool:
    return (folder_of(world, snapshot) / "fs").is_dir()


def one_step(world: World, below: Tree = BASE) -> Snapshot:
    return world.step(world.base(below), lambda root: make(root, {"d/new": File("n"), "x": File("x")}))


def seen_with_times(world: World, snapshot: Snapshot) -> Tree:
    """What is seen, folders' times too."""
    with world.snapshotter.view(snapshot) as root:
        return read(root, folder_times=True)


def everything(root: Path) -> None:
    """A step that does a little of all."""
    make(root, {"d/fifo": Fifo(mode=0o620), "d/link": Link("a", uid=3), "p/one": File("1"), "p/two": Same("p/one")})
    (root / "etc/motd").unlink()
    remove(root / "d/sub")
    (root / "d/sub").write_text("was a folder")
    os.setxattr(root / "d/b", "user.k", b"v")
    os.utime(root / "usr/lib", (77, 77))  # which no layer tells
    (root / "bin").chmod(0o700)
    os.mknod(root / "d/socket", 0o140600)


# Taking over


@behind_the_gate
def test_the_next_step_has_the_very_files_and_the_parent_what_it_changed(world: World) -> None:
    parent = one_step(world)
    inode = (folder_of(world, parent) / "fs/bin/sh").stat().st_ino
    draft = world.snapshotter.prepare(parent, last_use=True)
    assert (draft.tree / "bin/sh").stat().st_ino == inode
    assert not is_whole(world, parent)
    assert sorted(path.name for path in (folder_of(world, parent) / "part/fs").rglob("*")) == ["d", "new", "x"]
    world.snapshotter.discard(draft)


@behind_the_gate
def test_an_image_is_never_taken_over(world: World) -> None:
    base = world.base(BASE)
    world.step(base, lambda root: make(root, {"x": File("x")}))
    assert is_whole(world, base)


@behind_the_gate
def test_what_was_taken_over_is_the_same_snapshot_to_everybody(world: World) -> None:
    one = world.step(world.base(BASE), everything)
    seen, told, shipped = seen_with_times(world, one), world.told(one), world.shipped(one)
    assert seen["usr/lib"].mtime == 77
    two = world.step(one, lambda root: (remove(root / "d"), remove(root / "p")))
    three = world.step(two, lambda root: make(root, {"d/again": File("a")}))
    assert [is_whole(world, each) for each in (one, two, three)] == [False, False, True]
    assert world.again().get(one.id) == one
    del seen["d/socket"]
    assert world.told(one) == told
    assert world.shipped(one) == shipped
    assert seen_with_times(world, one) == seen
    assert world.told(two) == [".wh.d", ".wh.p"]
    gone = ("d", "p")
    assert seen_with_times(world, two) == {name: node for name, node in seen.items() if name.split("/")[0] not in gone}
    assert world.told(one) == told  # also now that its tree is there again


@behind_the_gate
def test_what_a_file_was_between_two_folders_of_a_name_hides_the_lower_one(world: World) -> None:
    base = world.base(BASE)
    one = world.step(base, lambda root: (remove(root / "d"), make(root, {"d": File("no folder")})))
    two = world.step(one, lambda root: ((root / "d").unlink(), make(root, {"d/own": File("")})))
    three = world.step(two, lambda root: make(root, {"x": File("")}))
    world.step(three, lambda root: make(root, {"y": File("")}))
    for snapshot in (three, two):
        assert [name for name in world.seen(snapshot) if name.startswith("d")] == ["d", "d/own"]


@behind_the_gate
def test_a_draft_on_what_was_taken_over_is_a_copy_of_all_of_it(world: World) -> None:
    one = world.step(world.base(LINKED), everything_of_linked)
    two = world.step(one, lambda root: make(root, {"y": File("y")}))
    for parent, names in ((one, set()), (two, {"y"})):
        following = world.step(parent, lambda root: (root / "p/b").write_text("other"))
        assert world.told(following) == ["p/", "p/b"]
        assert set(world.seen(following)) == set(filled(LINKED)) | {"q/new"} | names
        assert world.seen(following)["p/c"] == Same("p/a")


def everything_of_linked(root: Path) -> None:
    make(root, {"q/new": File("new")})


@behind_the_gate
def test_names_of_one_file_are_parted_again_for_each_step(world: World) -> None:
    snapshot = world.base(LINKED)
    for number in range(3):
        snapshot = world.step(snapshot, lambda root, number=number: make(root, {f"n{number}": File("")}))
        assert world.seen(snapshot)["p/b"] == Same("p/a")
    changed = world.step(snapshot, lambda root: (root / "p/b").write_text("other"))
    assert world.told(changed) == ["p/", "p/b"]
    assert world.seen(changed)["p/c"] == Same("p/a")


@behind_the_gate
def test_what_is_equal_to_a_file_further_below_is_no_change(world: World) -> None:
    snapshot = world.step(world.base(BASE), lambda root: make(root, {"mine": File("mine", mtime=5)}))
    for _ in range(2):
        snapshot = world.step(snapshot, lambda _root: None)

    def touch(root: Path) -> None:
        for path, text in (("d/a", "a\n"), ("mine", "mine")):
            status = os.stat(root / path)
            (root / path).write_text(text)
            os.utime(root / path, ns=(status.st_mtime_ns, status.st_mtime_ns))

    assert world.told(world.step(snapshot, touch)) == []


@behind_the_gate
def test_a_change_right_after_the_last_step_is_told_though_size_and_time_are_as_they_were(world: World) -> None:
    snapshot = one_step(world)
    for number in range(30):
        draft = world.snapshotter.prepare(snapshot, last_use=True)
        status = os.stat(draft.tree / "x")
        (draft.tree / "x").write_text(chr(ord("a") + number % 26))
        os.utime(draft.tree / "x", ns=(status.st_mtime_ns, status.st_mtime_ns))
        snapshot = world.snapshotter.commit(draft)
        assert world.told(snapshot) == ["x"]


# Others who want it


@behind_the_gate
def test_what_another_process_uses_is_copied(world: World) -> None:
    to_child, of_parent = os.pipe()
    to_parent, of_child = os.pipe()
    child = os.fork()  # before there are locks that it would inherit
    if child == 0:
        os.close(of_parent)
        found = world.again().get(os.read(to_child, 100).decode())
        os.write(of_child, b"held" if found else b"lost")
        os.read(to_child, 1)
        os._exit(0)
    snapshot = one_step(world)
    os.write(of_parent, snapshot.id.encode())
    assert os.read(to_parent, 4) == b"held"
    world.step(snapshot, everything)
    assert is_whole(world, snapshot)
    os.close(of_parent)
    os.waitpid(child, 0)
    world.step(snapshot, everything)
    assert not is_whole(world, snapshot)


@behind_the_gate
def test_what_is_being_read_is_copied(world: World) -> None:
    snapshot = one_step(world)
    uses: list[Callable[[], object]] = [
        lambda: world.snapshotter.view(snapshot),
        lambda: world.snapshotter.reading(snapshot),
    ]
    for use in uses:
        with use() as tree:  # type: ignore[attr-defined]  # both are context managers
            world.step(snapshot, everything)
            assert (tree / "x").read_text() == "x"
        assert is_whole(world, snapshot)
    changes = world.snapshotter.changes(snapshot)
    next(changes)
    world.step(snapshot, everything)
    assert [os.fsdecode(change.path) for change in changes] == ["d/new", "x"]


@behind_the_gate
def test_what_an_earlier_process_made_is_copied(world: World) -> None:
    snapshot = one_step(world)
    other = world.again()
    found = other.get(snapshot.id)
    draft = other.prepare(found, last_use=True)
    assert is_whole(world, snapshot)
    other.discard(draft)


@behind_the_gate
def test_threads_that_begin_on_one_snapshot_all_have_its_tree(world: World) -> None:
    snapshot = one_step(world)
    seen = world.seen(snapshot)
    drafts: list[Draft] = []

    def begin() -> None:
        drafts.append(world.snapshotter.prepare(snapshot, last_use=True))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [world.snapshotter.commit(draft) for draft in drafts]
    assert [world.told(each) for each in made] == [[]] * 4
    assert [world.seen(each) for each in made] == [seen] * 4


# Ends


@behind_the_gate
def test_a_draft_that_took_a_tree_over_and_is_discarded_costs_only_the_tree(world: World) -> None:
    snapshot = one_step(world)
    seen = world.seen(snapshot)
    draft = world.snapshotter.prepare(snapshot, last_use=True)
    remove(draft.tree / "d")
    world.snapshotter.discard(draft)
    assert world.seen(snapshot) == seen


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(2))
def test_killed_while_taking_over_nothing_is_lost(who: Person, kind: str, call: int, when: str) -> None:
    @behind_the_gate
    def inside(world: World) -> None:
        to_parent, of_child = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                snapshot = world.step(world.base(BASE), everything)
                os.write(of_child, snapshot.id.encode())
                _kill_at(call, when)
                world.snapshotter.prepare(snapshot, last_use=True)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        snapshotter = world.snapshotter = world.again()
        assert snapshotter.sweep() == 1
        snapshot = snapshotter.get(os.read(to_parent, 100).decode())
        assert snapshot is not None
        shown = world.seen(snapshot)
        shown.pop("d/socket", None)
        expected = world.seen(world.step(world.base(BASE), everything))
        del expected["d/socket"]
        assert _timeless(shown) == _timeless(expected)

    inside(kind, who)


def _kill_at(call: int, when: str) -> None:
    """Have the process killed before or after its *call*th rename: each leaves something else behind."""
    real, count = os.rename, iter(range(100))

    def rename(*names: object, **more: object) -> None:
        last = next(count) == call
        if not last or when == "after":
            real(*names, **more)  # type: ignore[arg-type]  # passed on as they are
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = rename  # type: ignore[assignment]  # in a child that ends


@behind_the_gate
def test_a_snapshot_that_stands_on_one_torn_by_a_crash_of_the_machine_is_not_trusted(world: World) -> None:
    import json

    one = one_step(world)
    two = world.step(one, lambda root: make(root, {"y": File("y")}))
    three = world.step(two, lambda root: make(root, {"z": File("z")}))
    world.snapshotter.sync()
    meta = folder_of(world, one) / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"boot": "an earlier one"}))
    (folder_of(world, one) / "durable").unlink()
    assert world.again().get(two.id) is None
    assert world.again().get(three.id) == three  # it has its whole tree


@behind_the_gate
def test_a_tree_that_was_made_again_is_trusted_after_the_next_sync_only(world: World) -> None:
    one = one_step(world)
    world.step(one, lambda _root: None)
    world.snapshotter.sync()
    assert (folder_of(world, one) / "durable").exists()
    world.seen(one)
    assert not (folder_of(world, one) / "durable").exists()
    world.snapshotter.sync()
    assert (folder_of(world, one) / "durable").exists()


@behind_the_gate
def test_a_step_that_does_not_say_what_it_changed_is_not_there(world: World) -> None:
    snapshot = one_step(world)
    (folder_of(world, snapshot) / "changed").unlink()  # as copies were kept before
    assert world.again().get(snapshot.id) is None


@behind_the_gate
def test_what_cannot_be_read_of_a_step_is_told(world: World) -> None:
    snapshot = one_step(world)
    (folder_of(world, snapshot) / "changed").write_bytes(b"[")
    with pytest.raises(StoreError) as error:
        world.told(snapshot)
    assert error.value.message.startswith(f"what the snapshot {snapshot.id} changed cannot be read: ")
    assert error.value.code == "damaged-snapshot"


# Anything


def test_any_steps_tell_and_leave_what_overlays_do(who: Person) -> None:
    for seed in range(4):
        _compare(seed, who)


def _compare(seed: int, who: Person) -> None:
    @behind_the_gate
    def inside(world: World) -> None:
        worlds = {}
        for each in ("overlay", "copy", "copy, taken over"):
            (world.place / each).mkdir()
            worlds[each] = World(each, world.place / each)
        ends: dict[str, list[object]] = {}
        for name, other in worlds.items():
            chooser = random.Random(seed)
            snapshot, made, shown = other.base(BASE), [], []
            for _ in range(6):
                snapshot = other.step(snapshot, lambda root, chooser=chooser: _anything(root, chooser))
                made.append(snapshot)
                shown.append(seen_with_times(other, snapshot))
            ends[name] = [
                (other.told(each), _content(other, each), _timeless(seen))
                for each, seen in zip(made, shown, strict=True)
            ]
            for number, each in enumerate(made):
                chooser = random.Random(f"{seed} {number}")
                end = other.step(each, lambda root, chooser=chooser: _anything(root, chooser))
                ends[name].append((other.told(end), _content(other, end)))
            if name != "overlay":
                again = [_apart(seen_with_times(other, each)) for each in made]
                assert again == [_apart(each) for each in shown], seed
        assert ends["copy"] == ends["overlay"], seed
        assert ends["copy, taken over"] == ends["overlay"], seed

    inside("overlay", who)


def _content(world: World, snapshot: Snapshot) -> str:
    with world.snapshotter.reading(snapshot) as tree:
        return str(content_digest(world.snapshotter.changes(snapshot), tree))


def _timeless(tree: Tree) -> Tree:
    """Without times, which the clock gave."""
    from dataclasses import replace

    return {name: replace(node, mtime=0) if hasattr(node, "mtime") else node for name, node in tree.items()}


def _apart(tree: Tree) -> Tree:
    """With each name a file of its own: one that is made anew, and equal, no layer tells to be so."""
    return {name: tree[node.of] if isinstance(node, Same) else node for name, node in tree.items()}


def _anything(root: Path, chooser: random.Random) -> None:
    """A few changes of a tree, the same ones for the same *chooser* and tree."""
    for _ in range(chooser.randrange(1, 7)):
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        folders = sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())
        file = chooser.choice(files) if files else None
        folder = chooser.choice([root, *folders])
        new = folder / chooser.choice("abcdefg")
        act = chooser.randrange(15)
        if act < 4:
            if not os.path.lexists(new):
                new.write_text("new" * chooser.randrange(5))
        elif act == 4 and not os.path.lexists(new):
            new.mkdir()
            (new / "in").write_text("in")
        elif act == 5 and folder != root:
            remove(folder)
        elif act == 6 and folder != root:
            remove(folder)
            folder.write_text("no folder any more")
        elif file is None:
            continue
        elif act == 7:
            file.write_text(file.read_text() + "more")
        elif act == 8:
            file.unlink()
        elif act == 9:
            file.chmod(chooser.choice((0o600, 0o644, 0o755)))
        elif act == 10:
            os.chown(file, chooser.randrange(3), chooser.randrange(3))
        elif act == 11:
            status, text = file.stat(), file.read_text()
            file.unlink()
            file.write_text(text if chooser.randrange(2) else text[::-1])
            file.chmod(status.st_mode & 0o7777)
            os.chown(file, status.st_uid, status.st_gid)
            os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
        elif act == 12 and not os.path.lexists(new):
            os.link(file, new)
        elif act == 13:
            file.unlink()
            file.mkdir()
            (file / "was a file").write_text("")
        elif act == 14 and not os.path.lexists(new):
            os.rename(file, new)
