"""What goes wrong on the way: interrupts, registries that lie, damaged files, odd names. Each is told in a line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.command import Pybuild
from worlds.registry import Registry
from worlds.servers import MANIFEST, OCI, Got, Reply, Server, digest_of, refused, registry_of, serving

TIMEOUT = 100  # a busy machine takes its time; what is tried again for ever takes longer, 120 seconds


def an_image(layer: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The manifest of an image of one layer, a tar, and its blobs by digest."""
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {"Cmd": ["sh"]}}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": f"{OCI}config.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": f"{OCI}layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}],
    }
    return json.dumps(manifest).encode(), {digest_of(config): config, digest_of(layer): layer}


LAYER = bytes(3 << 20)  # a tar without members
MANIFEST_BYTES, BLOBS = an_image(LAYER)


@pytest.fixture
def base(busybox_oci: Path) -> tuple[str, ...]:
    return ("--build-context", f"base=oci-layout://{busybox_oci}")


def build(pybuild: Pybuild, base: tuple[str, ...], name: str, *lines: str) -> None:
    text = "\n".join(("FROM base", *lines)) + "\n"
    pybuild("build", *base, "--quiet", "-t", name, "-o", "type=image", "-", stdin=text, check=True)


# --- interrupts -----------------------------------------------------------------------------------------------------


class Waiting:
    """A server that answers no request whose path *holds* says, before it is let go on."""

    def __init__(self, answer: Callable[[Got], Reply], holds: Callable[[Got], bool]) -> None:
        self._answer, self._holds = answer, holds
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, got: Got) -> Reply:
        if self._holds(got):
            self.reached.set()
            self.go_on.wait(TIMEOUT)
        return self._answer(got)


def begun(pybuild: Pybuild, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """``pybuild *words`` in a group of its own, as a shell starts it; stdin is no terminal."""
    someone_else = os.geteuid() != pybuild.person.uid
    return subprocess.Popen(
        [*pybuild.launch, *words],
        env={**pybuild.person.environment(), "PYBUILD_ROOT": str(pybuild.store), **pybuild.environment},
        cwd=pybuild.person.home,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        user=pybuild.person.uid if someone_else else None,
        group=pybuild.person.gid if someone_else else None,
        extra_groups=[] if someone_else else None,
    )


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it said after a ^C, which the terminal sends to the whole group; it ends with 130."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    return err


def leftovers(pybuild: Pybuild) -> list[Path]:
    return [*pybuild.store.glob("tmp/*"), *pybuild.store.glob("snapshots/*/drafts/*")]


def test_a_pull_that_is_interrupted_leaves_nothing_and_can_be_repeated(pybuild_everyone: Pybuild) -> None:
    pybuild = pybuild_everyone
    waiting = Waiting(registry_of(MANIFEST_BYTES, BLOBS), lambda got: digest_of(LAYER) in got.path)
    with serving(waiting) as server:
        name = f"{server.address}/team/app:1"
        with begun(pybuild, "pull", name) as process:
            assert waiting.reached.wait(TIMEOUT)
            interrupted(process)
        assert pybuild("images", "-q").stdout == ""
        assert leftovers(pybuild) == []
        waiting.go_on.set()
        assert f"Downloaded newer image for {name}" in pybuild("pull", name, check=True).stdout


def a_registry_that_takes_all(got: Got) -> Reply:
    if got.method == "HEAD":
        return Reply(404)
    if got.method == "POST":
        return Reply(202, {"Location": f"{got.path}upload"})
    return Reply(201 if got.method == "PUT" else 200)


def test_a_push_that_is_interrupted_names_nothing_and_can_be_repeated(
    pybuild_everyone: Pybuild, base: tuple[str, ...]
) -> None:
    pybuild = pybuild_everyone
    waiting = Waiting(a_registry_that_takes_all, lambda got: got.method == "PUT" and "/blobs/" in got.path)
    with serving(waiting) as server:
        name = f"{server.address}/team/app:1"
        build(pybuild, base, name, "RUN echo 1 > /1")
        with begun(pybuild, "push", name) as process:
            assert waiting.reached.wait(TIMEOUT)
            interrupted(process)
        assert server.requests("PUT", "/manifests/") == []
        assert leftovers(pybuild) == []
        waiting.go_on.set()
        assert pybuild("push", "-q", name, check=True).stdout == f"{name}\n"
        assert len(server.requests("PUT", "/manifests/1")) == 1


@pytest.mark.parametrize("words", [(), ("-i",)])
def test_a_command_whose_stdin_is_no_terminal_is_interrupted_with_all_that_it_started(
    pybuild_everyone: Pybuild, base: tuple[str, ...], words: tuple[str, ...]
) -> None:
    pybuild = pybuild_everyone
    build(pybuild, base, "app")
    reader, writer = os.pipe()
    try:
        script = "sleep 1000 & echo begun; exec sleep 1000"
        with begun(pybuild, "run", "--rm", *words, "app", "sh", "-c", script, stdin=reader) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            interrupted(process)
    finally:
        os.close(reader)
        os.close(writer)
    assert leftovers(pybuild) == []


# --- registries that refuse, and that lie ---------------------------------------------------------------------------


def pulled(pybuild: Pybuild, server: Server) -> str:
    """What pull says of ``/team/app:1``, which it must refuse, leaving nothing behind."""
    done = pybuild("pull", f"{server.address}/team/app:1", timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert pybuild("images", "-q").stdout == ""
    assert leftovers(pybuild) == []
    lines = [line for line in done.stderr.splitlines() if line.startswith("error[")]
    assert len(lines) == 1, done.stderr
    return lines[0].replace(server.address, "HOST")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            refused(401, "UNAUTHORIZED", "who are you?"),
            "error[unauthorized]: HOST/team/app:1: access denied, or there is no such repository: no login is known "
            "for HOST",
        ),
        (
            refused(403, "DENIED", "not for you"),
            "error[denied]: HOST/team/app:1: whoever is not logged in may not do this: not for you",
        ),
        (
            refused(404, "NAME_UNKNOWN", "repository name not known"),
            "error[not-found]: HOST/team/app:1: not found: repository name not known",
        ),
        (
            refused(429, "TOOMANYREQUESTS", "slow down", Retry_After="3600"),
            "error[rate-limited]: HOST/team/app:1: the registry's rate limit is reached, it asks to wait for 3600 s",
        ),
        (
            refused(418, "UNKNOWN", "tea\x1b[31m\nonly"),
            "error[refused]: HOST/team/app:1: the registry answered 418: tea [31m only",
        ),
    ],
)
def test_a_refusal_is_told_with_the_registrys_words(pybuild: Pybuild, reply: Reply, said: str) -> None:
    with serving(lambda got: Reply(200) if got.path == "/v2/" else reply) as server:
        assert pulled(pybuild, server) == said


def instead(part: str, reply: Reply) -> Callable[[Got], Reply]:
    """An honest registry but for GETs of what *part* is in the path of."""
    honest = registry_of(MANIFEST_BYTES, BLOBS)
    return lambda got: reply if part in got.path and got.method == "GET" else honest(got)


TYPE = {"Content-Type": MANIFEST}
OTHER = MANIFEST_BYTES.replace(b"schemaVersion", b"schemaversion")
LIES = {
    "another manifest": (instead("/manifests/", Reply(200, TYPE, OTHER)), "digest-mismatch"),
    "a longer manifest": (instead("/manifests/", Reply(200, TYPE, MANIFEST_BYTES + b" ")), "too-large"),
    "an endless manifest": (instead("/manifests/", Reply(200, TYPE, b" " * 4096, endless=True)), "too-large"),
    "a page": (instead("/manifests/", Reply(200, {"Content-Type": "text/html"}, MANIFEST_BYTES)), "unsupported"),
    "an index": (instead("/manifests/", Reply(200, {"Content-Type": f"{OCI}index.v1+json"}, MANIFEST_BYTES)), "type"),
    "another blob": (instead(digest_of(LAYER), Reply(200, {}, b"x" * len(LAYER))), "digest-mismatch"),
    "a shorter blob": (instead(digest_of(LAYER), Reply(200, {}, LAYER[:-1])), "size-mismatch"),
    "an endless blob": (instead(digest_of(LAYER), Reply(200, {}, b"x" * 65536, endless=True)), "digest-mismatch"),
    "a configuration that is none": (instead("/blobs/", Reply(200, {}, b"[]")), "size-mismatch"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named_and_nothing_of_it_is_kept(pybuild: Pybuild, lie: str) -> None:
    answer, code = LIES[lie]
    with serving(answer) as server:
        assert pulled(pybuild, server).startswith(f"error[{code}")


def test_a_configuration_that_says_other_layers_is_refused(pybuild: Pybuild) -> None:
    manifest, blobs = an_image(b"one layer")
    wrong = json.loads(manifest)
    wrong["layers"].append(wrong["layers"][0])
    with serving(registry_of(json.dumps(wrong).encode(), blobs)) as server:
        assert pulled(pybuild, server).startswith("error[invalid-image]: ")


# --- a store that is damaged ----------------------------------------------------------------------------------------


@pytest.fixture
def damaged(pybuild: Pybuild, registry: Registry, base: tuple[str, ...], room: Path) -> Iterator[tuple[str, Path]]:
    """An image that was pulled and never unpacked, and a file of the store with its layer, a byte of which is wrong."""
    name = registry.reference(f"scenario/{os.urandom(8).hex()}:1")
    build(pybuild, base, name, "RUN echo fine > /fine")
    pybuild("push", "-q", name, check=True)
    shutil.rmtree(pybuild.store)
    pybuild("pull", "-q", name, check=True)
    layer = max(pybuild.store.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.chmod(0o644)
    layer.write_bytes(data)
    return name, layer


def removed(layer: Path, hint: str) -> str:
    return (
        f"error[corrupt-blob]: the store is damaged: sha256:{layer.name} was not what it should be, and was removed\n"
        f"hint: {hint}\n"
    )


def test_a_damaged_layer_is_removed_when_a_command_wants_it_and_fetched_by_the_next_pull(
    pybuild: Pybuild, damaged: tuple[str, Path]
) -> None:
    name, layer = damaged
    done = pybuild("run", "--rm", name, "cat", "/fine")
    assert (done.returncode, done.stderr) == (125, removed(layer, "get the image again: pybuild pull"))
    assert not layer.exists()
    assert "Downloaded newer image" in pybuild("pull", name, check=True).stdout
    assert pybuild("run", "--rm", name, "cat", "/fine").stdout == "fine\n"


def test_a_damaged_layer_ends_a_build_and_the_next_one_fetches_it(pybuild: Pybuild, damaged: tuple[str, Path]) -> None:
    name, layer = damaged
    words = ("build", "--progress=plain", "-o", "type=image", "-t", "on-it", "-")
    done = pybuild(*words, stdin=f"FROM {name}\nRUN cat /fine > /copy\n")
    assert done.returncode == 1
    assert f"sha256:{layer.name} was not what it should be, and was removed" in done.stderr
    assert "hint: build again: it is fetched anew" in done.stderr
    pybuild(*words, stdin=f"FROM {name}\nRUN cat /fine > /copy\n", check=True)
    assert pybuild("run", "--rm", "on-it", "cat", "/copy").stdout == "fine\n"


def test_a_damaged_layer_is_neither_saved_nor_pushed(pybuild: Pybuild, damaged: tuple[str, Path], room: Path) -> None:
    name, layer = damaged
    wrong = layer.read_bytes()
    with serving(a_registry_that_takes_all) as server:
        server.answer = lambda got: (
            refused(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            if got.method == "PUT"
            else a_registry_that_takes_all(got)
        )
        other = f"{server.address}/copy:1"
        pybuild("tag", name, other, check=True)
        done = pybuild("push", "-q", other)
        assert (done.returncode, done.stderr) == (1, removed(layer, "pull or build the image again"))
    layer.write_bytes(wrong)
    done = pybuild("save", "-o", room / "saved.tar", name)
    assert (done.returncode, done.stderr) == (1, removed(layer, "pull or build the image again"))
    assert not (room / "saved.tar").exists()


def test_a_layer_that_was_cut_and_a_document_that_was_changed_are_fetched_by_a_pull(
    pybuild: Pybuild, damaged: tuple[str, Path]
) -> None:
    name, layer = damaged
    os.truncate(layer, 100)
    document = min(pybuild.store.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
    document.chmod(0o644)
    document.write_bytes(document.read_bytes()[::-1])
    pybuild("pull", name, check=True)
    assert pybuild("run", "--rm", name, "cat", "/fine").stdout == "fine\n"


# --- names ----------------------------------------------------------------------------------------------------------


ODD = ("", "a b", "Upper", "a/../b", "a\x1b[31mb", "-")
MORE = (" ", "/a", "a//b", "a:", "a:b c", "a@sha256:12", "a\nb", "é", "a" * 300, "--", "http://a/b", "a:" + "t" * 129)
PLACES = ("localhost:99999999/a", "[::1/a")
COMMANDS = ("push", "tag", "rmi", "inspect", "history", "save", "run")


@pytest.mark.parametrize(
    ("command", "name"),
    [("pull", name) for name in (*ODD, *MORE, *PLACES)] + [(command, name) for command in COMMANDS for name in ODD],
)
def test_an_odd_name_is_told_in_a_line_that_does_nothing_to_the_terminal(
    pybuild: Pybuild, command: str, name: str
) -> None:
    words = {"tag": ("tag", "--", name, "b"), "save": ("save", "-o", "/dev/null", "--", name)}.get(
        command, (command, "--", name)
    )
    done = pybuild(*words, timeout=TIMEOUT)
    assert done.returncode in (1, 2, 125)
    assert done.stdout == ("[]\n" if command == "inspect" else "")  # as with Docker
    assert done.stderr.startswith("error[")
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert sum(line.startswith("error[") for line in done.stderr.splitlines()) == 1


def test_a_refused_connection_is_told_at_once(pybuild: Pybuild) -> None:
    done = pybuild("pull", "localhost:1/a:1", timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error[unreachable]: cannot reach the registry localhost:1: Connection refused\n")
