"""Images come, get names, are looked at, go to a registry, and go; the room they took is free then."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from pathlib import Path

import pytest
from worlds.command import Pybuild
from worlds.registry import Registry


@pytest.fixture
def base(busybox_oci: Path) -> tuple[str, ...]:
    return ("--build-context", f"base=oci-layout://{busybox_oci}")


def build(pybuild: Pybuild, base: tuple[str, ...], name: str, *lines: str) -> str:
    """Build an image that is kept in the store alone; its id."""
    text = "\n".join(("FROM base", *lines)) + "\n"
    done = pybuild("build", *base, "--quiet", "-t", name, "-o", "type=image", "-", stdin=text, check=True)
    return done.stdout.strip()


def room_of(pybuild: Pybuild) -> int:
    """Bytes of the store, as du(1) tells."""
    done = subprocess.run(["du", "-s", "-B1", pybuild.store], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])


def figures(pybuild: Pybuild) -> dict[str, int]:
    return {row["Type"]: row["Bytes"] for row in json.loads(pybuild("df", "--json", check=True).stdout)}


def test_names_are_given_and_taken(pybuild_rootless: Pybuild, base: tuple[str, ...]) -> None:
    pybuild = pybuild_rootless
    image_id = build(pybuild, base, "app:1", "LABEL a=b")
    pybuild("tag", "app:1", "localhost:5000/team/app:2", check=True)
    assert (
        pybuild("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.splitlines()
        == [
            "localhost:5000/team/app:2",
            "app:1",
        ]
        or pybuild("images", "-q").stdout == image_id[7:19] + "\n"
    )
    assert pybuild("rmi", "app:1").stdout == "Untagged: app:1\n"
    done = pybuild("rmi", image_id[7:15])
    assert done.stdout == f"Untagged: localhost:5000/team/app:2\nDeleted: {image_id}\n"
    assert pybuild("images", "-q").stdout == ""


def test_an_id_with_several_names_is_removed_with_force_only(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    image_id = build(pybuild, base, "app:1", "LABEL a=b")
    pybuild("tag", "app:1", "app:2", check=True)
    done = pybuild("rmi", image_id)
    assert done.returncode == 1
    assert done.stderr == (
        f"error[image-in-use]: {image_id} has several names: app:1, app:2\n"
        "hint: remove the names, or all at once with --force\n"
    )
    assert pybuild("rmi", "-f", image_id).stdout == f"Untagged: app:1\nUntagged: app:2\nDeleted: {image_id}\n"


def test_a_wrong_name_is_told_with_a_near_one(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    build(pybuild, base, "app:1")
    done = pybuild("history", "app")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error[no-such-image]: no such image: app\nhint: did you mean app:1?\n"


def test_one_of_several_that_is_missing_does_not_hinder_the_others(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    build(pybuild, base, "app:1")
    done = pybuild("inspect", "nope", "app:1")
    assert done.returncode == 1
    assert [value["RepoTags"] for value in json.loads(done.stdout)] == [["app:1"]]


def test_an_image_that_is_named_anew_leaves_the_old_one_dangling(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    old = build(pybuild, base, "app", "LABEL n=1")
    new = build(pybuild, base, "app", "LABEL n=2")
    assert sorted(pybuild("images", "-q", "--no-trunc").stdout.split()) == sorted((old, new))
    assert pybuild("images", "-q", "--no-trunc", "--filter", "dangling=true").stdout == f"{old}\n"
    assert f"deleted: {old}\n" in pybuild("image", "prune", "-f", check=True).stdout


def test_df_tells_what_the_disk_tells(pybuild_everyone: Pybuild, base: tuple[str, ...]) -> None:
    pybuild = pybuild_everyone
    build(pybuild, base, "app", "RUN head -c 3000000 /dev/urandom > /a; mkdir -m 700 /b; chown 5 /b; echo > /b/c")
    pybuild("run", "app", "sh", "-c", "head -c 1000000 /dev/zero > /z; chown 77:77 /z; chmod 0 /z", check=True)
    told = figures(pybuild)
    assert sum(told.values()) == room_of(pybuild)
    assert told["Containers"] >= 1_000_000
    assert told["Images"] >= 3_000_000


def test_prune_frees_what_it_says_it_freed(pybuild_everyone: Pybuild, base: tuple[str, ...]) -> None:
    pybuild = pybuild_everyone
    build(pybuild, base, "kept", "RUN head -c 2000000 /dev/urandom > /kept")
    build(pybuild, base, "gone", "RUN head -c 3000000 /dev/urandom > /gone; chown 9:9 /gone; chmod 0 /gone")
    pybuild("run", "kept", "sh", "-c", "head -c 1000000 /dev/zero > /z", check=True)
    pybuild("rmi", "gone", check=True)
    before = room_of(pybuild)
    done = pybuild("prune", "-f", check=True)
    freed = before - room_of(pybuild)
    assert freed > 7_000_000  # tree and tar of the image, and the container's tree
    assert done.stdout.endswith(f"Total reclaimed space: {freed / 1e6:.3g}MB\n")
    assert pybuild("images", "--format", "{{.Repository}}").stdout == "kept\n"
    # What is part of an image that stayed is still in the cache.
    again = pybuild(
        "build",
        *base,
        "--progress=plain",
        "-o",
        "type=image",
        "-",
        check=True,
        stdin="FROM base\nRUN head -c 2000000 /dev/urandom > /kept\n",
    )
    assert "1 of 1 steps cached" in again.stderr
    before = room_of(pybuild)
    done = pybuild("prune", "-af", check=True)
    assert done.stdout.endswith(f"Total reclaimed space: {(before - room_of(pybuild)) / 1e6:.3g}MB\n")
    assert room_of(pybuild) < 100_000
    assert pybuild("images", "-q").stdout == ""


def test_prune_asks_first(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    build(pybuild, base, "app")
    done = pybuild("prune", "-a", stdin="n\n")
    assert done.returncode == 1
    assert done.stdout.startswith("WARNING! This will remove:\n  - all containers\n")
    assert done.stderr == "prune has been cancelled\n"
    assert pybuild("images", "-q").stdout != ""
    assert pybuild("prune", "-a", stdin="y\n").returncode == 0
    assert pybuild("images", "-q").stdout == ""


def test_prune_goes_by_age_label_and_size(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    build(pybuild, base, "app", "LABEL keep=yes", "RUN head -c 4000000 /dev/urandom > /a")
    build(pybuild, base, "other", "RUN head -c 5000000 /dev/urandom > /b")
    assert "Total reclaimed space: 0B" in pybuild("prune", "-af", "--filter", "until=1h", check=True).stdout
    pybuild("prune", "-af", "--filter", "label!=keep", check=True)
    assert pybuild("images", "--format", "{{.Repository}}").stdout == "app\n"
    build(pybuild, base, "other", "RUN head -c 5000000 /dev/urandom > /c")
    pybuild("prune", "-f", "--keep-storage", "8m", check=True)
    assert 4_000_000 < figures(pybuild)["Build Cache"] <= 8 << 20
    done = pybuild("prune", "--filter", "colour=red", "-f")
    assert done.returncode == 2
    assert "invalid filter 'colour=red'" in done.stderr


def test_prunes_and_builds_at_once_disturb_nobody(pybuild_rootless: Pybuild, base: tuple[str, ...], room: Path) -> None:
    pybuild = pybuild_rootless
    failures: list[str] = []
    stop = threading.Event()

    def builds(number: int) -> None:
        for turn in range(3):
            text = f"FROM base\nRUN echo {number % 2} > /a\nRUN echo {number}.{turn % 2} > /b\n"
            dest = f"type=docker,dest={room}/{number}.tar"
            done = pybuild("build", *base, "--progress=plain", "-t", f"n{number}", "-o", dest, "-", stdin=text)
            if done.returncode:
                failures.append(done.stderr)

    def prunes(*words: str) -> None:
        while not stop.is_set():
            done = pybuild("prune", "-f", *words)
            if done.returncode:
                failures.append(done.stderr)

    builders = [threading.Thread(target=builds, args=(number,)) for number in range(5)]
    pruners = [threading.Thread(target=prunes, args=words) for words in ((), ("-a",))]
    for thread in (*builders, *pruners):
        thread.start()
    for thread in builders:
        thread.join()
    stop.set()
    for thread in pruners:
        thread.join()
    assert failures == []


def test_an_image_goes_to_a_registry_and_comes_back(
    pybuild_rootless: Pybuild, base: tuple[str, ...], registry: Registry
) -> None:
    pybuild = pybuild_rootless
    name = f"{registry.address}/team/app:1"
    image_id = build(pybuild, base, name, "RUN echo there > /there")
    pushed = pybuild("push", name, check=True).stdout
    digest = pybuild("images", "--digests", "--format", "{{.Digest}}").stdout.strip()
    assert pushed.startswith(f"{name}: digest: {digest} size: ")
    skopeo = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    raw = subprocess.run(skopeo, check=True, capture_output=True).stdout
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == digest
    types = {layer["mediaType"] for layer in json.loads(raw)["layers"]}
    assert types == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    pybuild("prune", "-af", check=True)
    pulled = pybuild("pull", name, check=True).stdout
    assert pulled == f"Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n"
    assert pybuild("images", "-q", "--no-trunc").stdout == f"{image_id}\n"
    assert "Status: Image is up to date" in pybuild("pull", name).stdout
    assert pybuild("pull", "-q", name).stdout == f"{name}\n"
    assert pybuild("run", "--rm", name, "cat", "/there").stdout == "there\n"


def test_run_pulls_what_is_not_here(pybuild_rootless: Pybuild, busybox_base: str) -> None:
    done = pybuild_rootless("run", "--rm", busybox_base, "echo", "pulled")
    assert (done.returncode, done.stdout) == (0, "pulled\n")


def test_an_index_is_made_pushed_and_pulled_by_platform(
    pybuild: Pybuild, registry: Registry, base: tuple[str, ...], room: Path
) -> None:
    (room / "file").write_text("x")
    names = {}
    for architecture in ("amd64", "arm64"):
        names[architecture] = f"{registry.address}/team/multi:{architecture}"
        (room / "Dockerfile").write_text(f"FROM scratch\nCOPY file /{architecture}\n")
        pybuild(
            "build", f"--platform=linux/{architecture}", "-t", names[architecture], "-o", "type=image", room, check=True
        )
    whole = f"{registry.address}/team/multi:all"
    pybuild("manifest", "create", whole, *names.values(), check=True)
    digest = pybuild("manifest", "push", "--purge", whole, check=True).stdout.strip()
    pybuild("prune", "-af", check=True)
    shown = json.loads(pybuild("manifest", "inspect", whole, check=True).stdout)
    assert [item["platform"]["architecture"] for item in shown["manifests"]] == ["amd64", "arm64"]
    for architecture in ("arm64", "amd64"):
        pybuild("pull", f"--platform=linux/{architecture}", whole, check=True)
        told = json.loads(pybuild("inspect", f"--platform=linux/{architecture}", whole, check=True).stdout)[0]
        assert (told["Architecture"], told["Descriptor"]["digest"]) == (architecture, digest)


def test_a_root_file_system_becomes_an_image(pybuild_everyone: Pybuild, room: Path, busybox_oci: Path) -> None:
    pybuild = pybuild_everyone
    context = ("--build-context", f"base=oci-layout://{busybox_oci}")
    rootfs = room / "rootfs.tar"
    pybuild(
        "build", *context, "-o", f"type=tar,dest={rootfs}", "-", stdin="FROM base\nRUN echo here > /here\n", check=True
    )
    compressed = subprocess.run(["xz", "-0", "-c", rootfs], check=True, capture_output=True).stdout
    done = pybuild(
        "import",
        "-c",
        "ENV A=b",
        "-c",
        'CMD ["cat", "/here"]',
        "-m",
        "mine",
        "-",
        "imported:1",
        stdin=compressed,
        check=True,
    )
    assert done.stdout == pybuild("images", "-q", "--no-trunc").stdout
    assert pybuild("run", "--rm", "imported:1").stdout == "here\n"
    assert pybuild("history", "--format", "{{.Comment}}", "imported:1").stdout == "mine\n"
    wrong = pybuild("import", "-c", "RUN true", "-", stdin=compressed)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "RUN is not an instruction that can change an image" in wrong.stderr


def test_what_is_no_image_is_told(pybuild: Pybuild, room: Path) -> None:
    (room / "text").write_text("no image at all, " * 100)
    done = pybuild("load", "-i", room / "text")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error[not-a-layout]: ")
    assert "Traceback" not in done.stderr
    assert pybuild("load", "-i", room / "nothing").stderr == (
        f"error[no-such-file]: cannot read {room / 'nothing'}: No such file or directory\n"
    )


def test_search_finds_what_a_registry_lists(pybuild: Pybuild, registry: Registry, busybox_base: str) -> None:
    found = json.loads(pybuild("search", "--json", f"{registry.address}/busy", check=True).stdout)
    assert [row["Name"] for row in found] == [busybox_base.rpartition(":")[0]]


def test_a_differing_file_is_told_between_two_images(pybuild: Pybuild, base: tuple[str, ...]) -> None:
    build(pybuild, base, "one", "RUN mkdir /d && echo 1 > /d/same && echo 1 > /d/changed && echo 1 > /d/gone")
    build(pybuild, base, "two", "RUN mkdir /d && echo 1 > /d/same && echo 2 > /d/changed && echo 2 > /d/new")
    assert pybuild("diff", "one", "two", check=True).stdout.splitlines() == [
        "C /d",
        "C /d/changed",
        "D /d/gone",
        "A /d/new",
    ]
    assert pybuild("diff", "one", "one", check=True).stdout == ""


def test_an_image_of_a_list_is_said_to_be_for_another_platform(pybuild: Pybuild, room: Path) -> None:
    (room / "file").write_text("x")
    for name in ("old", "new"):
        (room / "Dockerfile").write_text(f"FROM scratch\nCOPY file /{name}\n")
        pybuild("build", "--platform=linux/arm/v7", "-t", f"team/{name}", "-o", "type=image", room, check=True)
    pybuild("manifest", "create", "team/both:1", "team/old", "team/new", check=True)
    words = ("--arch", "arm", "--variant", "v6", "--os-version", "5.10")
    done = pybuild("manifest", "annotate", *words, "team/both:1", "team/old", check=True)
    assert (done.stdout, done.stderr) == ("", "")
    old, new = json.loads(pybuild("manifest", "inspect", "team/both:1", check=True).stdout)["manifests"]
    assert old["platform"] == {"architecture": "arm", "os": "linux", "os.version": "5.10", "variant": "v6"}
    assert new["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}
    pybuild("manifest", "annotate", "--arch", "arm64", "team/both:1", new["digest"], check=True)
    told = json.loads(pybuild("manifest", "inspect", "team/both:1", check=True).stdout)["manifests"][1]
    assert told["platform"] == {"architecture": "arm64", "os": "linux"}
    # What was made on the way is not left among the images without a name.
    assert pybuild("images", "-q", "--filter", "dangling=true").stdout == ""

    def refused(*words: str) -> str:
        done = pybuild("manifest", *words)
        assert done.returncode == 1
        return done.stderr

    assert refused("annotate", "--arch", "arm", "team/old", "team/new") == (
        "error[not-an-index]: team/old:latest is an image of one platform, and no list of them\n"
        "hint: make one: pybuild manifest create NAME IMAGE...\n"
    )
    absent = f"sha256:{64 * '0'}"
    assert refused("annotate", "--arch", "arm", "team/both:1", absent) == (
        f"error[not-a-member]: team/both:1 has no image {absent}\nhint: it has: {old['digest']}, {new['digest']}\n"
    )
    assert refused("rm", "team/old").startswith("error[not-an-index]: ")
    pybuild("manifest", "rm", "team/both:1", check=True)
    assert refused("rm", "team/both:1").startswith("error[no-such-image]: no such image: docker.io/team/both:1\n")
    assert sorted(pybuild("images", "--format", "{{.Repository}}").stdout.split()) == ["team/new", "team/old"]
