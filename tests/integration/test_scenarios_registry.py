"""What people do with images and registries, one command after the other: pull, tag, push, remove, and again."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.command import Pybuild
from worlds.registries import PASSWORD, USER, Secured, password_registry, token_registry
from worlds.registry import Registry

INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def base(busybox_oci: Path) -> tuple[str, ...]:
    return ("--build-context", f"base=oci-layout://{busybox_oci}")


def build(pybuild: Pybuild, base: tuple[str, ...], name: str, *lines: str) -> str:
    """Build an image that is kept in the store alone; its id."""
    text = "\n".join(("FROM base", *lines)) + "\n"
    done = pybuild("build", *base, "--quiet", "-t", name, "-o", "type=image", "-", stdin=text, check=True)
    return done.stdout.strip()


def raw(reference: str, *options: str) -> bytes:
    """The manifest or index as skopeo gets it."""
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", *options, f"docker://{reference}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def shown_digest(pybuild: Pybuild, name: str) -> str:
    return pybuild("images", "--digests", "--format", "{{.Digest}}", name, check=True).stdout.strip()


def how(stderr: str) -> set[str]:
    """What was said of the blobs of a push, each without its name: ``push 0123456789ab: already there``."""
    return {line.partition(": ")[2] for line in stderr.splitlines() if line.startswith("push ")}


# --- there and back -------------------------------------------------------------------------------------------------


def test_an_image_is_pulled_pushed_under_two_names_removed_pulled_again_and_run(
    pybuild_everyone: Pybuild, registry: Registry, busybox_base: str, request: pytest.FixtureRequest
) -> None:
    pybuild, who = pybuild_everyone, request.node.callspec.id.replace(" ", "-")
    one, two = (registry.reference(f"scenario/{who}-{name}:1") for name in ("one", "two"))
    pybuild("pull", busybox_base, check=True)
    for name in (one, two):
        pybuild("tag", busybox_base, name, check=True)
    first = pybuild("push", one, check=True)
    # It came from the same registry, which shares what it has.
    assert how(first.stderr) == {"mounted from busybox"}
    again = pybuild("push", one, check=True)
    assert how(again.stderr) == {"already there"}
    assert again.stdout == first.stdout
    second = pybuild("push", two, check=True)
    assert all(line.startswith("mounted from ") for line in how(second.stderr))
    assert digest(raw(one)) == digest(raw(two)) == digest(raw(busybox_base)) == shown_digest(pybuild, one)
    pybuild("rmi", one, two, busybox_base, check=True)
    assert pybuild("images", "-q").stdout == ""
    pybuild("prune", "-af", check=True)
    got = pybuild("pull", two, check=True).stdout
    assert got == f"Digest: {digest(raw(two))}\nStatus: Downloaded newer image for {two}\n{two}\n"
    assert pybuild("run", "--rm", two, "echo", "back").stdout == "back\n"
    by_digest = f"{two.rpartition(':')[0]}@{digest(raw(two))}"
    assert pybuild("run", "--rm", by_digest, "echo", "by digest").stdout == "by digest\n"


def test_a_layer_that_a_build_found_in_a_registry_is_not_sent_to_it_again(
    pybuild_rootless: Pybuild, registry: Registry, busybox_base: str
) -> None:
    pybuild, name = pybuild_rootless, registry.reference("scenario/on-a-base:1")
    text = f"FROM {busybox_base}\nRUN echo new > /new\n"
    pybuild("build", "-q", "-t", name, "-o", "type=image", "-", stdin=text, check=True)
    base_layer = json.loads(raw(busybox_base))["layers"][0]["digest"].partition(":")[2][:12]
    said = pybuild("push", name, check=True).stderr.splitlines()
    assert f"push {base_layer}: mounted from busybox" in said
    # the new layer, and the configuration
    assert len([line for line in said if line.startswith("push ") and " B in " in line]) == 2


def test_all_tags_of_a_repository_are_pushed_and_pulled(
    pybuild_rootless: Pybuild, registry: Registry, base: tuple[str, ...]
) -> None:
    pybuild, repository = pybuild_rootless, registry.reference("scenario/tags")
    ids = {build(pybuild, base, f"{repository}:{tag}", f"LABEL tag={tag}") for tag in ("1", "2", "3")}
    pushed = pybuild("push", "--all-tags", repository, check=True).stdout
    assert len(pushed.splitlines()) == 3
    pybuild("prune", "-af", check=True)
    pulled = pybuild("pull", "--all-tags", repository, check=True).stdout.splitlines()
    assert [line for line in pulled if line.startswith(repository)] == [f"{repository}:{tag}" for tag in "123"]
    assert set(pybuild("images", "-q", "--no-trunc", repository).stdout.split()) == ids
    done = pybuild("pull", "-a", f"{repository}:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error[invalid-reference]: --all-tags: {repository}:1 has a tag or a digest\n"
        f"hint: name the repository: pybuild pull --all-tags {repository}\n"
    )


# --- private repositories -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["password", "token"])
def private(request: pytest.FixtureRequest, require: Callable[..., None], workroom: Path) -> Iterator[Secured]:
    """A registry that lets nobody in without a login."""
    require("docker-registry", "openssl", "perl", "skopeo")
    folder = workroom / f"private-{request.param}"
    folder.mkdir()
    opened = password_registry(folder) if request.param == "password" else token_registry(folder, public=False)
    with opened as found:
        if found.authority:
            found.authority.chmod(0o644)
        yield found


def trusting(registry: Secured, room: Path, pybuild: Pybuild) -> dict[str, str]:
    """The environment of somebody who trusts the registry, with a place for logins of their own."""
    home = room / "docker"
    if not home.exists():
        home.mkdir()
        pybuild.person.owns(home)
    trust = {"SSL_CERT_FILE": str(registry.authority)} if registry.authority else {}
    return {"DOCKER_CONFIG": str(home), **trust}


def test_a_private_repository_is_open_from_login_to_logout(
    pybuild_everyone: Pybuild, private: Secured, base: tuple[str, ...], room: Path, request: pytest.FixtureRequest
) -> None:
    pybuild, address = pybuild_everyone, private.address
    env = trusting(private, room, pybuild)
    who = request.node.callspec.id.replace(" ", "-")
    name = f"{address}/private/{who}:1"
    build(pybuild, base, name, "LABEL a=b")

    def refused(*words: str) -> None:
        done = pybuild(*words, env=env)
        assert (done.returncode, done.stdout) == (1, "")
        lines = done.stderr.splitlines()
        message = f"{name}: access denied, or there is no such repository: no login is known for {address}"
        assert lines[0].startswith(f"error[unauthorized]: {message}"), done.stderr
        assert lines[-1] == f"hint: log in with: pybuild login {address}"
        assert len(lines) == 3

    refused("push", name)
    wrong = pybuild("login", "-u", USER, "--password-stdin", address, env=env, stdin="wrong")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(f"error[unauthorized]: {address}: access denied: {address} refuses the login of")
    assert not (room / "docker" / "config.json").exists()

    done = pybuild("login", "-u", USER, "--password-stdin", address, env=env, stdin=PASSWORD + "\n")
    assert (done.returncode, done.stdout) == (0, "Login Succeeded\n")
    assert done.stderr == f"note: the password is kept unencrypted in {room}/docker/config.json\n"
    status = (room / "docker" / "config.json").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, pybuild.person.uid)

    pushed = pybuild("push", name, env=env, check=True)
    pybuild("prune", "-af", check=True)
    pybuild("pull", name, env=env, check=True)
    assert pybuild("run", "--rm", name, "echo", "in").stdout == "in\n"
    assert PASSWORD not in pushed.stdout + pushed.stderr

    assert pybuild("logout", address, env=env, check=True).stdout == f"Removing login credentials for {address}\n"
    assert address not in (room / "docker" / "config.json").read_text()
    refused("pull", name)


def test_what_docker_logged_in_to_is_open_to_us_and_the_other_way_round(
    pybuild: Pybuild, private: Secured, base: tuple[str, ...], room: Path
) -> None:
    env = trusting(private, room, pybuild)
    name = f"{private.address}/private/skopeo:1"
    build(pybuild, base, name)
    pybuild("login", "-u", USER, "--password-stdin", private.address, env=env, stdin=PASSWORD, check=True)
    pybuild("push", name, env=env, check=True)
    authority = ["--cert-dir", str(certificates(private, room))] if private.authority else ["--tls-verify=false"]
    command = ["skopeo", "inspect", "--raw", "--authfile", str(room / "docker" / "config.json"), *authority]
    seen = subprocess.run([*command, f"docker://{name}"], check=True, capture_output=True).stdout
    assert digest(seen) == shown_digest(pybuild, name)


def certificates(private: Secured, room: Path) -> Path:
    folder = room / "certificates"
    folder.mkdir()
    assert private.authority is not None
    (folder / "ca.crt").write_bytes(private.authority.read_bytes())
    return folder


HELPER = """\
#!/bin/sh
# Keeps one login in a file. source: docker/docker-credential-helpers, "Development"
case $1 in
  store) cat > "$HELPED" ;;
  get) read host; test -e "$HELPED" || { echo credentials not found in native keychain; exit 1; }; cat "$HELPED" ;;
  erase) rm -f "$HELPED" ;;
esac
"""


def test_a_helper_keeps_the_password_and_no_file_has_it(
    pybuild_everyone: Pybuild, private: Secured, base: tuple[str, ...], room: Path, request: pytest.FixtureRequest
) -> None:
    pybuild, address = pybuild_everyone, private.address
    programs = room / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-tests"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    path = f"{programs}:{pybuild.person.environment()['PATH']}"
    env = {**trusting(private, room, pybuild), "PATH": path, "HELPED": str(room / "docker" / "kept")}
    config = room / "docker" / "config.json"
    config.write_text(json.dumps({"credsStore": "tests", "HttpHeaders": {"A": "b"}}))
    pybuild.person.owns(config)
    name = f"{address}/private/helped-{request.node.callspec.id.replace(' ', '-')}:1"
    build(pybuild, base, name)
    done = pybuild("login", "-u", USER, "--password-stdin", address, env=env, stdin=PASSWORD, check=True)
    assert (done.stdout, done.stderr) == ("Login Succeeded\n", "")
    assert json.loads((room / "docker" / "kept").read_text())["Secret"] == PASSWORD
    assert json.loads(config.read_text()) == {
        "credsStore": "tests",
        "HttpHeaders": {"A": "b"},
        "auths": {address: {}},
    }
    pybuild("push", name, env=env, check=True)
    pybuild("logout", address, env=env, check=True)
    assert not (room / "docker" / "kept").exists()
    assert pybuild("push", name, env=env).returncode == 1


# --- others read what we write --------------------------------------------------------------------------------------


@pytest.fixture
def multi(pybuild_rootless: Pybuild, registry: Registry, both_busyboxes_oci: Path, room: Path) -> str:
    """An index of two platforms in the registry."""
    name = registry.reference(f"scenario/{os.urandom(8).hex()}:1")
    context = ("--build-context", f"base=oci-layout://{both_busyboxes_oci}")
    (room / "file").write_text("copied\n")
    (room / "Dockerfile").write_text("FROM base\nCOPY file /file\n")
    words = ("--platform=linux/amd64,linux/arm64", "-o", f"type=registry,name={name}")
    pybuild_rootless("build", *context, *words, room, check=True)
    return name


def test_skopeo_umoci_and_we_see_the_same_bytes_of_an_index_of_two_platforms(
    pybuild_rootless: Pybuild, registry: Registry, require: Callable[..., None], multi: str, room: Path
) -> None:
    require("umoci")
    pybuild = pybuild_rootless.with_store(room / "fresh")
    pybuild("pull", multi, check=True)
    assert shown_digest(pybuild, multi) == digest(raw(multi))
    shown = pybuild("manifest", "inspect", multi, check=True).stdout
    assert json.loads(shown) == json.loads(raw(multi))
    # With one platform here, that one is pushed; with both, the index as it came.
    part, whole, copied = (f"{multi.rpartition(':')[0]}-{name}:1" for name in ("part", "whole", "copied"))
    pybuild("tag", multi, part, check=True)
    pybuild("push", part, check=True)
    platforms = {item["platform"]["architecture"]: item["digest"] for item in json.loads(raw(multi))["manifests"]}
    assert digest(raw(part)) in platforms.values()
    pybuild("pull", "--platform=linux/arm64", multi, check=True)
    pybuild("pull", "--platform=linux/amd64", multi, check=True)
    pybuild("tag", multi, whole, check=True)
    pybuild("push", whole, check=True)
    assert raw(whole) == raw(multi)
    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", *tls]
    subprocess.run([*copy, f"docker://{whole}", f"docker://{copied}"], check=True)
    other = pybuild_rootless.with_store(room / "other")
    for architecture, wanted in platforms.items():
        other("pull", f"--platform=linux/{architecture}", copied, check=True)
        told = json.loads(other("inspect", f"--platform=linux/{architecture}", copied, check=True).stdout)[0]
        assert (told["Architecture"], shown_digest(other, copied)) == (architecture, digest(raw(multi)))
        layout = room / f"layout-{architecture}"
        subprocess.run(
            [*copy[:-3], *tls, f"docker://{multi.rpartition(':')[0]}@{wanted}", f"oci:{layout}:1"], check=True
        )
        bundle = room / f"bundle-{architecture}"
        subprocess.run(
            ["umoci", "unpack", "--rootless", "--image", f"{layout}:1", bundle], check=True, capture_output=True
        )
        assert (bundle / "rootfs/file").read_text() == "copied\n"
        stat_ = ["umoci", "stat", "--json", "--image", f"{layout}:1"]
        theirs = json.loads(subprocess.run(stat_, check=True, capture_output=True).stdout)["history"]
        ours = other("history", f"--platform=linux/{architecture}", "--no-trunc", "--json", copied, check=True).stdout
        assert [row["CreatedBy"] for row in json.loads(ours)] == [row["created_by"] for row in reversed(theirs)]


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_what_skopeo_writes_in_either_form_keeps_its_bytes_through_us(
    pybuild_rootless: Pybuild, registry: Registry, busybox_base: str, form: str
) -> None:
    pybuild = pybuild_rootless
    theirs, ours = (registry.reference(f"scenario/form-{form}-{who}:1") for who in ("theirs", "ours"))
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"--format={form}", f"docker://{busybox_base}", f"docker://{theirs}"], check=True)
    pybuild("pull", theirs, check=True)
    pybuild("tag", theirs, ours, check=True)
    pybuild("push", ours, check=True)
    assert raw(ours) == raw(theirs)
    assert pybuild("run", "--rm", ours, "echo", "runs").stdout == "runs\n"


def test_a_saved_archive_is_read_by_skopeo_and_umoci(
    pybuild_rootless: Pybuild, require: Callable[..., None], base: tuple[str, ...], room: Path
) -> None:
    require("umoci", "skopeo")
    pybuild = pybuild_rootless
    build(pybuild, base, "example.com/saved:1", "RUN echo saved > /saved", "RUN rm /etc/group")
    pybuild("save", "-o", room / "saved.tar", "example.com/saved:1", check=True)
    for kind in ("docker-archive", "oci-archive"):
        layout = room / kind
        source = f"{kind}:{room}/saved.tar" + (":example.com/saved:1" if kind == "docker-archive" else "")
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", source, f"oci:{layout}:1"], check=True)
        unpack = ["umoci", "unpack", "--rootless", "--image", f"{layout}:1", str(room / f"{kind}-bundle")]
        subprocess.run(unpack, check=True, capture_output=True)
        root = room / f"{kind}-bundle" / "rootfs"
        assert (root / "saved").read_text() == "saved\n"
        assert not (root / "etc/group").exists()
    assert os.access(room / "saved.tar", os.R_OK)


# --- what speaks of an image ----------------------------------------------------------------------------------------


def signed(registry: Registry, name: str, of: str, note: str) -> str:
    """Put a manifest that speaks of *of* into the registry as *name*: a copy of it with a subject; its digest."""
    import urllib.request

    document = json.loads(raw(of))
    document |= {
        "subject": {"mediaType": document["mediaType"], "digest": digest(raw(of)), "size": len(raw(of))},
        "artifactType": "application/vnd.example.signature",
        "annotations": {"note": note},
    }
    data = json.dumps(document).encode()
    repository, _, tag = name.removeprefix(registry.address + "/").rpartition(":")
    url = f"http://{registry.address}/v2/{repository}/manifests/{tag}"
    headers = {"Content-Type": document["mediaType"]}
    urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PUT")).close()
    return digest(data)


def test_what_speaks_of_an_image_is_found_in_a_registry_that_has_no_list_of_such(
    pybuild_rootless: Pybuild, registry: Registry, base: tuple[str, ...]
) -> None:
    pybuild, repository = pybuild_rootless, registry.reference("scenario/signed")
    image = f"{repository}:1"
    build(pybuild, base, image, "LABEL a=b")
    pybuild("push", image, check=True)
    digests = [signed(registry, f"{repository}:signature{n}", image, f"note {n}") for n in (1, 2)]
    copy = f"{repository}-copy"
    tag = digest(raw(image)).replace(":", "-")
    for name in ("1", "signature1", "signature2", "signature2"):
        pybuild("pull", f"{repository}:{name}", check=True)
        pybuild("tag", f"{repository}:{name}", f"{copy}:{name}", check=True)
        pybuild("push", f"{copy}:{name}", check=True)
    assert digest(raw(f"{copy}:signature1")) == digests[0]
    listed = json.loads(raw(f"{copy}:{tag}"))
    assert listed["mediaType"] == INDEX
    assert [(item["digest"], item["artifactType"], item["annotations"]) for item in listed["manifests"]] == [
        (found, "application/vnd.example.signature", {"note": f"note {n}"}) for n, found in enumerate(digests, 1)
    ]


def test_what_speaks_of_an_image_goes_along_where_that_is_asked_for(
    pybuild_rootless: Pybuild, registry: Registry, base: tuple[str, ...], room: Path
) -> None:
    pybuild, repository = pybuild_rootless, registry.reference("scenario/along")
    image, copy = f"{repository}:1", f"{repository}-copy:1"
    build(pybuild, base, image, "LABEL a=b")
    pybuild("push", image, check=True)
    signature = signed(registry, f"{repository}:signature", image, "of the image")
    about = signed(registry, f"{repository}:about", f"{repository}:signature", "of the signature")
    # No registry lists them here: a client that pushes them with their subjects does.
    for name in ("signature", "about"):
        pybuild("pull", f"{repository}:{name}", check=True)
        pybuild("push", f"{repository}:{name}", check=True)
    other = pybuild.with_store(room / "other")
    other("pull", image, check=True)
    other("tag", image, copy, check=True)
    said = other("push", "--referrers", copy, check=True).stdout.splitlines()
    kind = "application/vnd.example.signature"
    assert said[1:] == [f"  with {signature} ({kind})", f"  with {about} ({kind})"]
    for subject, referrer in ((raw(image), signature), (None, about)):
        name = digest(subject) if subject else signature
        listed = json.loads(raw(f"{repository}-copy:{name.replace(':', '-')}"))
        assert [item["digest"] for item in listed["manifests"]] == [referrer]
        assert digest(raw(f"{repository}-copy@{referrer}")) == referrer
    assert len(other("push", copy, check=True).stdout.splitlines()) == 1
