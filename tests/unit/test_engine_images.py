"""Images of the store by name and id: found, named, removed, described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from builder.engine.images.describing import history, inspected
from builder.engine.images.kept import Removed, find, images, remove, tag
from builder.engine.images.sizes import Sizes
from builder.errors import ImageError
from builder.image.names import Digest, Platform, Reference
from builder.store import Store

HERE = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as found:
        yield found


def keep(store: Store, *names: str, text: bytes = b"1", platform: str = "linux/amd64") -> Digest:
    """An image with one file, under *names*; its id."""
    descriptor = tiny.image(store, {"file": text}, platform=platform)
    for name in names:
        store.images.tag(Reference.parse(name), descriptor)
    if not names:
        store.images.keep(descriptor)
    return next(image.id for image in images(store, HERE) if image.top.digest == descriptor.digest)


def removed(
    store: Store, text: str, *, force: bool = False, users: tuple[tuple[str, Digest], ...] = ()
) -> list[Removed]:
    return list(remove(store, text, HERE, force=force, users=users))


def test_an_image_is_found_by_all_that_names_it(store: Store) -> None:
    image_id = keep(store, "app:1", "example.com/team/app")
    top = images(store, HERE)[0].top.digest
    for text in (
        *("app:1", "docker.io/library/app:1", "example.com/team/app", "example.com/team/app:latest"),
        *(image_id, image_id.hex, image_id.hex[:12], image_id.hex[:3], f"sha256:{image_id.hex[:20]}"),
        *(f"app@{top}", str(top), top.hex[:12]),
    ):
        assert find(store, text, HERE).id == image_id


@pytest.mark.parametrize("text", ["other", "app:2", "team/app:1", "example.com/app:1"])
def test_an_image_is_not_found_by_another_name(store: Store, text: str) -> None:
    keep(store, "app:1")
    with pytest.raises(ImageError) as found:
        find(store, text, HERE)
    assert (found.value.code, found.value.message) == ("no-such-image", f"no such image: {text}")


def test_the_hint_names_what_may_have_been_meant(store: Store) -> None:
    with pytest.raises(ImageError) as found:
        find(store, "app", HERE)
    assert found.value.hint == "no image is here yet"
    keep(store, "app:1")
    with pytest.raises(ImageError) as found:
        find(store, "app", HERE)
    assert found.value.hint == "did you mean app:1?"
    with pytest.raises(ImageError) as found:
        find(store, "apq:1", HERE)
    assert found.value.hint == "did you mean app:1?"
    with pytest.raises(ImageError) as found:
        find(store, "nothing-like-it", HERE)
    assert found.value.hint == "'pybuild images' lists what is here; pybuild pull gets others"


def test_an_id_that_means_several_is_refused(store: Store) -> None:
    ids = [keep(store, text=b"%d" % number) for number in range(40)]
    first = next(digit for digit in "0123456789abcdef" if sum(one.hex.startswith(digit) for one in ids) > 1)
    with pytest.raises(ImageError) as found:
        find(store, first, HERE)
    assert found.value.code == "ambiguous-id"


def test_a_name_wins_over_the_beginning_of_an_id(store: Store) -> None:
    other = keep(store, text=b"other")
    named = keep(store, other.hex[:6])
    assert find(store, other.hex[:6], HERE).id == named


def test_of_an_index_the_platforms_image_is_shown(store: Store) -> None:
    top = tiny.index(store, tiny.image(store, {"a": b"1"}), tiny.image(store, {"a": b"1"}, platform="linux/arm64"))
    store.images.tag(Reference.parse("both"), top)
    for name in ("amd64", "arm64"):
        image = find(store, "both", Platform("linux", name))
        assert image.config is not None
        assert image.config.platform.architecture == name


def test_an_image_whose_documents_are_gone_is_listed_and_can_be_removed(store: Store) -> None:
    keep(store, "app")
    store.blobs.delete(images(store, HERE)[0].top.digest)
    (image,) = images(store, HERE)
    assert (image.manifest, image.config, Sizes(store).of(image)) == (None, None, 0)
    with pytest.raises(ImageError) as found:
        image.whole()
    assert found.value.hint == "pull it again: pybuild pull app:latest"
    assert [one.kind for one in removed(store, "app")] == ["Untagged", "Deleted"]


def test_a_further_name_takes_nothing_from_the_first(store: Store) -> None:
    keep(store, "app")
    tag(store, "app", "other:1", HERE)
    assert [name.familiar for name in find(store, "other:1", HERE).names] == ["app:latest", "other:1"]
    with pytest.raises(ImageError, match="a digest cannot be given"):
        tag(store, "app", "other@sha256:" + "0" * 64, HERE)


def test_a_name_of_several_is_taken_alone(store: Store) -> None:
    keep(store, "app:1", "app:2")
    assert removed(store, "app:1") == [Removed("Untagged", "app:1")]
    assert [name.familiar for name in images(store, HERE)[0].names] == ["app:2"]


def test_the_last_name_takes_the_image_with_it(store: Store) -> None:
    image_id = keep(store, "app:1")
    assert removed(store, "app:1") == [Removed("Untagged", "app:1"), Removed("Deleted", str(image_id))]
    assert images(store, HERE) == ()


def test_an_id_with_one_name_goes_with_it(store: Store) -> None:
    image_id = keep(store, "app:1")
    assert [one.kind for one in removed(store, image_id.hex[:12])] == ["Untagged", "Deleted"]


def test_an_id_with_several_names_needs_force(store: Store) -> None:
    image_id = keep(store, "app:1", "app:2")
    with pytest.raises(ImageError) as found:
        removed(store, image_id.hex)
    assert found.value.message == f"{image_id.hex} has several names: app:1, app:2"
    assert [one.what for one in removed(store, image_id.hex, force=True)] == ["app:1", "app:2", str(image_id)]


def test_what_a_container_was_made_of_needs_force(store: Store) -> None:
    image_id = keep(store, "app:1")
    with pytest.raises(ImageError) as found:
        removed(store, "app:1", users=(("try", image_id),))
    assert (found.value.code, found.value.message) == ("image-in-use", "app:1 is used by the container try")
    assert len(removed(store, "app:1", force=True, users=(("try", image_id),))) == 2


def test_the_size_is_that_of_the_files(store: Store) -> None:
    descriptor = tiny.image(store, {"a": b"12345", "b": b"123"}, {"c": b"1"})
    store.images.tag(Reference.parse("app"), descriptor)
    image = find(store, "app", HERE)
    sizes = Sizes(store)
    assert (sizes.layers(image), sizes.of(image)) == ((8, 1), 9)
    sizes.keep()
    assert image.manifest is not None
    for layer in image.manifest.layers:
        store.blobs.delete(layer.digest)
    assert Sizes(store).of(image) == 9  # remembered


def test_inspect_has_dockers_shape(store: Store) -> None:
    image_id = keep(store, "app:1")
    value = inspected(store, find(store, "app:1", HERE), Sizes(store))
    top = images(store, HERE)[0].top.digest
    assert value["Id"] == image_id
    assert value["RepoTags"] == ["app:1"]
    assert value["RepoDigests"] == [f"app@{top}"]
    assert (value["Os"], value["Architecture"], value["Size"]) == ("linux", "amd64", 1)
    assert value["RootFS"]["Type"] == "layers"
    assert value["Config"]["Cmd"] == ["/hello"]
    assert value["Config"]["Labels"] is None


def test_the_history_is_told_from_the_last_entry(store: Store) -> None:
    image_id = keep(store, "app:1")
    past = history(find(store, "app:1", HERE), Sizes(store))
    assert past[0].id == image_id
    assert [entry.id for entry in past[1:]] == [None] * (len(past) - 1)
    assert sum(entry.size for entry in past) == 1
