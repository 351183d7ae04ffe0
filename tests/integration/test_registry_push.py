"""Pushing: to a real registry, whose images others then read, and to some that break off, lie or refuse."""

import json
import random
import subprocess
import threading

import pytest
from worlds.registries import environment
from worlds.servers import INDEX, MANIFEST, Reply, Server, an_image, digest_of, refused, serving

from builder.errors import BuilderError, ImageError, RegistryError
from builder.image.documents import Descriptor
from builder.image.names import Digest, Reference
from builder.registry import upload
from builder.registry.client import Registry
from builder.registry.listing import catalog, tags
from builder.registry.parallel import for_each
from builder.registry.push import push

LAYERS = tuple(random.Random(n).randbytes(1_500_000 + n) for n in range(3))


class Image:
    """An image whose blobs lie in a folder."""

    def __init__(self, folder, *layers, index=False):
        manifest, blobs = an_image(*layers)
        self.folder = folder
        self.blobs = dict(blobs) | {digest_of(manifest): manifest}
        self.descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(manifest), size=len(manifest))
        if index:
            data = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX,
                    "manifests": [
                        self.descriptor.json() | {"platform": {"os": "linux", "architecture": name}}
                        for name in ("amd64", "arm64")
                    ],
                }
            ).encode()
            self.blobs[digest_of(data)] = data
            self.descriptor = Descriptor(media_type=INDEX, digest=Digest.of(data), size=len(data))
        for digest, data in self.blobs.items():
            self.path(digest).write_bytes(data)

    def path(self, digest):
        return self.folder / digest.partition(":")[2]


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "FIRST_PAUSE", 0.001)
    return Registry(environment(tmp_path), budget=1.0, etc=tmp_path / "etc")


@pytest.fixture
def image(tmp_path):
    (tmp_path / "blobs").mkdir()
    return Image(tmp_path / "blobs", *LAYERS)


def skopeo(*arguments):
    done = subprocess.run(["skopeo", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return done.stdout


def log_of(registry, needle):
    return [line for line in registry.log.read_text().splitlines() if needle in line]


# --- a real registry -----------------------------------------------------------------------------------------------


def test_skopeo_reads_what_was_pushed(client, image, registry, tmp_path):
    reference = Reference.parse(registry.reference("push/plain:1"))
    reports = []
    push(client, reference, image.descriptor, image.path, report=lambda *report: reports.append(report))
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")
    assert Digest.of(raw) == image.descriptor.digest
    copy = ("--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false")
    skopeo(*copy, f"docker://{reference}", f"oci:{tmp_path / 'out'}")
    assert {path.name for path in (tmp_path / "out/blobs/sha256").iterdir()} == {
        digest.partition(":")[2] for digest in image.blobs
    }
    ended = [report for report in reports if report[2]]
    assert len(ended) == 4
    assert all(done == descriptor.size for descriptor, done, _, _ in ended)


def test_what_we_pushed_we_pull(client, image, registry):
    reference = Reference.parse(registry.reference("push/back:1"))
    push(client, reference, image.descriptor, image.path)
    found, repository = client.resolve(reference)
    assert found == image.descriptor
    for digest, data in image.blobs.items():
        if digest != found.digest:
            with repository.open(
                Descriptor(media_type="application/octet-stream", digest=Digest(digest), size=len(data))
            ) as stream:
                assert stream.read() == data
    assert "push/back" in list(catalog(client, registry.address))
    assert list(tags(client, reference)) == ["1"]


def test_a_second_push_sends_no_blob_again(client, image, registry, tmp_path):
    reference = Reference.parse(registry.reference("push/twice:1"))
    push(client, reference, image.descriptor, image.path)
    another = Registry(environment(tmp_path), budget=1.0, etc=tmp_path / "etc")
    push(another, Reference.parse(registry.reference("push/twice:2")), image.descriptor, image.path)
    assert len(log_of(registry, '"POST /v2/push/twice/blobs/uploads/')) == 4
    assert sorted(tags(client, reference)) == ["1", "2"]


def test_a_second_name_costs_one_request_only(client, image, registry):
    push(client, Reference.parse(registry.reference("push/names:1")), image.descriptor, image.path)
    before = len(log_of(registry, "/v2/push/names/"))
    push(client, Reference.parse(registry.reference("push/names:2")), image.descriptor, image.path)
    assert len(log_of(registry, "/v2/push/names/")) == before + 1


def test_blobs_of_another_repository_are_mounted(client, image, registry, tmp_path):
    source = Reference.parse(registry.reference("push/source:1"))
    push(client, source, image.descriptor, image.path)
    another = Registry(environment(tmp_path), budget=1.0, etc=tmp_path / "etc")
    target = Reference.parse(registry.reference("push/target:1"))
    push(another, target, image.descriptor, image.path, mount_from=lambda digest: (source,))
    assert len(log_of(registry, '"POST /v2/push/target/blobs/uploads/?mount=')) == 4
    assert not log_of(registry, '"PUT /v2/push/target/blobs/')
    assert another.resolve(target)[0] == image.descriptor


def test_an_index_is_pushed_after_what_it_names(client, tmp_path, registry):
    (tmp_path / "blobs").mkdir()
    index = Image(tmp_path / "blobs", LAYERS[0], index=True)
    reference = Reference.parse(registry.reference("push/index:1"))
    push(client, reference, index.descriptor, index.path)
    assert Digest.of(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")) == (
        index.descriptor.digest
    )


def test_an_image_is_pushed_by_its_digest_alone(client, image, registry):
    reference = Reference.parse(registry.reference(f"push/digest@{image.descriptor.digest}"))
    push(client, reference, image.descriptor, image.path)
    assert client.resolve(reference)[0] == image.descriptor


# --- hostile and weak ones -----------------------------------------------------------------------------------------


class Shelf:
    """A registry that stores what it gets; ``hook(got)`` may answer instead."""

    def __init__(self, hook=lambda got: None):
        self.hook = hook
        self.blobs, self.manifests, self.uploads = {}, {}, {}
        self.order = []
        self.lock = threading.Lock()

    def __call__(self, got):
        with self.lock:
            return self.hook(got) or self.answer(got)

    def answer(self, got):
        path, _, query = got.path.partition("?")
        name = path.rpartition("/")[2]
        if path == "/v2/":
            return Reply(200)
        if got.method == "HEAD":
            return Reply(200) if name in self.blobs else Reply(404)
        if got.method == "POST":
            number = str(len(self.uploads))
            self.uploads[number] = b""
            return Reply(202, {"Location": f"/v2/app/blobs/uploads/{number}?state=a%2Fb"})
        if "/manifests/" in path:
            self.order.append(name)
            self.manifests[name] = got.body
            return Reply(201)
        if name not in self.uploads:
            return refused(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown")
        if got.method != "GET":
            self.uploads[name] += got.body
        data = self.uploads[name]
        if got.method == "PUT":
            digest = query.rpartition("digest=")[2]
            if digest != digest_of(data):
                return refused(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            self.blobs[digest] = data
            self.order.append(digest)
            return Reply(201, {"Docker-Content-Digest": digest})
        headers = {"Location": f"/v2/app/blobs/uploads/{name}?state=a%2Fb", "Range": f"0-{max(len(data) - 1, 0)}"}
        return Reply(204 if got.method == "GET" else 202, headers)


def send(client, server, image, **options):
    push(client, Reference.parse(f"{server.address}/app:1"), image.descriptor, image.path, **options)


def failure(client, server, image):
    with pytest.raises(BuilderError) as caught:
        send(client, server, image)
    assert "\n" not in caught.value.message
    return caught.value


def test_the_name_is_given_last(client, tmp_path):
    (tmp_path / "blobs").mkdir()
    index = Image(tmp_path / "blobs", *LAYERS, index=True)
    shelf = Shelf()
    with serving(shelf) as server:
        send(client, server, index)
    assert set(shelf.order[:4]) == set(shelf.blobs)
    child = next(digest for digest, data in index.blobs.items() if MANIFEST.encode() in data[:120])
    assert shelf.order[4:] == [child, "1"]


def test_state_in_an_upload_address_is_sent_back_as_it_came(client, image):
    with serving(Shelf()) as server:
        send(client, server, image)
        assert all("?state=a%2Fb&digest=sha256:" in got.path for got in server.requests("PUT", "/uploads/"))


def test_a_registry_that_takes_no_large_requests_gets_chunks(client, image, monkeypatch):
    monkeypatch.setattr(upload, "CHUNK", 400_000)
    shelf = Shelf(lambda got: Reply(413) if len(got.body) > 500_000 else None)
    with serving(shelf) as server:
        send(client, server, image)
        ranges = [got.headers["content-range"] for got in server.requests("PATCH")]
        assert "400000-799999" in ranges
        assert max(len(got.body) for got in server.requests("PATCH")) == 400_000
    assert set(shelf.blobs) == set(image.blobs) - {image.descriptor.digest}


def test_an_upload_that_failed_goes_on_where_the_registry_says(client, image):
    failed = set()

    def hook(got):
        name = got.path.partition("?")[0].rpartition("/")[2]
        if got.method == "PUT" and "/uploads/" in got.path and len(got.body) > 1_000_000 and name not in failed:
            failed.add(name)
            shelf.uploads[name] = got.body[:700_000]
            return Reply(503)
        return None

    shelf = Shelf(hook)
    with serving(shelf) as server:
        send(client, server, image)
        starts = [got.headers["content-range"].partition("-")[0] for got in server.requests("PATCH")]
        assert starts == ["700000"] * 3
    assert set(shelf.blobs) == set(image.blobs) - {image.descriptor.digest}


def test_an_upload_that_the_registry_forgot_begins_anew(client, image):
    failed = []

    def hook(got):
        name = got.path.partition("?")[0].rpartition("/")[2]
        if got.method == "PUT" and "/uploads/" in got.path and len(failed) < 3:
            failed.append(shelf.uploads.pop(name, None))
            shelf.uploads[f"gone {name}"] = b""
            return Reply(500)
        return None

    shelf = Shelf(hook)
    with serving(shelf) as server:
        send(client, server, image)
    assert set(shelf.blobs) == set(image.blobs) - {image.descriptor.digest}


def test_a_blob_that_arrived_although_the_answer_was_lost_is_not_sent_again(client, image):
    lost = set()

    def hook(got):
        if got.method == "PUT" and "/uploads/" in got.path and got.path not in lost:
            lost.add(got.path)
            shelf.answer(got)
            return Reply(201, {}, b"x" * 100, cut=0)
        return None

    shelf = Shelf(hook)
    with serving(shelf) as server:
        send(client, server, image)
        assert len(server.requests("PUT", "/uploads/")) == 4


@pytest.mark.parametrize("said", ["0-9", "0-99999999"])
def test_a_registry_that_counts_wrongly_does_not_keep_us(client, image, monkeypatch, said):
    monkeypatch.setattr(upload, "CHUNK", 400_000)

    def hook(got):
        if got.method == "PATCH":
            return Reply(202, {"Location": got.path, "Range": said})
        return Reply(413) if len(got.body) > 500_000 else None

    with serving(Shelf(hook)) as server:
        assert failure(client, server, image).code == "broken-upload"
        assert len(server.requests("PATCH")) < 50


def test_a_registry_that_always_loses_what_it_had_is_given_up(client, image):
    def hook(got):
        if got.method == "PUT" and "/uploads/" in got.path:
            return Reply(500)
        if got.method == "GET" and "/uploads/" in got.path:
            asked.append(got)
            # Now it has all of the largest blob, now nothing.
            return Reply(204, {"Range": "0-1500000"} if len(asked) % 2 else {})
        return None

    asked: list[object] = []
    image.descriptor, small = Image(image.folder, random.Random(9).randbytes(1_500_001)).descriptor, image
    with serving(Shelf(hook)) as server:
        assert failure(client, server, small).code == "broken-upload"
        assert len(server.got) < 200


def test_an_upload_that_never_succeeds_is_given_up(client, image):
    with serving(Shelf(lambda got: Reply(500) if got.method == "PUT" else None)) as server:
        error = failure(client, server, image)
        assert error.code == "broken-upload"
        assert error.message.endswith("broke off: the registry answered 500")
        assert "?" not in error.where.describe()


def test_a_refused_blob_ends_the_push_with_the_registrys_words(client, image):
    with serving(Shelf(lambda got: refused(403, "DENIED", "over quota") if got.method == "POST" else None)) as server:
        error = failure(client, server, image)
        assert (error.code, error.message) == (
            "denied",
            f"{server.address}/app:1: whoever is not logged in may not do this: over quota",
        )


def test_a_manifest_is_not_pushed_when_a_blob_failed(client, image):
    shelf = Shelf(lambda got: refused(400, "X", "no") if got.method == "PUT" and "/uploads/" in got.path else None)
    with serving(shelf) as server:
        failure(client, server, image)
        assert server.requests("PUT", "/manifests/") == []


def test_a_registry_that_stored_another_manifest_is_caught(client, image):
    reply = Reply(201, {"Docker-Content-Digest": digest_of(b"other")})
    with serving(Shelf(lambda got: reply if "/manifests/" in got.path else None)) as server:
        error = failure(client, server, image)
        assert error.code == "digest-mismatch"
        assert error.message == (
            f"{server.address}/app:1: the registry stored something else than {image.descriptor.digest}"
        )


def test_a_source_that_must_not_be_read_is_no_obstacle(client, image):
    def hook(got):
        return Reply(403) if "mount=" in got.path else None

    shelf = Shelf(hook)
    with serving(shelf) as server:
        send(client, server, image, mount_from=lambda digest: (Reference.parse(f"{server.address}/secret"),))
    assert set(shelf.blobs) == set(image.blobs) - {image.descriptor.digest}


def test_other_registries_are_not_mounted_from(client, image):
    with serving(Shelf()) as server:
        send(client, server, image, mount_from=lambda digest: (Reference.parse("example.com/secret"),))
        assert not any("mount=" in got.path for got in server.got)


def test_a_registry_that_names_no_upload_address_is_an_error(client, image):
    with serving(Shelf(lambda got: Reply(202) if got.method == "POST" else None)) as server:
        assert failure(client, server, image).message.endswith("the registry does not say where to send it")


def test_a_missing_blob_is_an_error_of_the_image(client, image):
    lost = next(digest for digest in image.blobs if image.blobs[digest] == LAYERS[0])
    image.path(lost).unlink()
    with serving(Shelf()) as server:
        assert failure(client, server, image).message == f"{lost} is not at {image.path(lost)}"
    image.path(image.descriptor.digest).unlink()
    with serving(Shelf()) as server, pytest.raises(ImageError):
        send(client, server, image)


def test_foreign_layers_are_left_where_they_are(client, tmp_path):
    (tmp_path / "blobs").mkdir()
    image = Image(tmp_path / "blobs", b"ours")
    document = json.loads(image.blobs[image.descriptor.digest])
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": digest_of(b"theirs"),
        "size": 6,
    }
    document["layers"].append(foreign)
    data = json.dumps(document).encode()
    image.descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(data), size=len(data))
    image.path(image.descriptor.digest).write_bytes(data)
    shelf = Shelf()
    with serving(shelf) as server:
        send(client, server, image)
    assert digest_of(b"theirs") not in shelf.blobs
    assert shelf.manifests["1"] == data


def test_four_are_sent_at_once(client, tmp_path):
    (tmp_path / "blobs").mkdir()
    image = Image(tmp_path / "blobs", *(b"%d" % n for n in range(8)))
    shelf = Shelf()
    barrier = threading.Barrier(4, timeout=5)

    def answer(got):
        # The first four questions are answered only once all four are there.
        if got.method == "HEAD" and not barrier.broken and barrier.n_waiting < 4 and len(seen) < 4:
            seen.append(got)
            barrier.wait()
        return shelf(got)

    seen: list[object] = []
    with serving(answer) as server:
        assert isinstance(server, Server)
        send(client, server, image)
    assert len(shelf.blobs) == 9


def test_the_first_failure_is_the_one_that_is_raised():
    def fail(item, stop):
        raise RegistryError(str(item), code="x")

    with pytest.raises(RegistryError) as caught:
        for_each(range(100), fail, 4)
    assert caught.value.code == "x"
    for_each([], fail, 4)


# --- what speaks of another manifest ---------------------------------------------------------------------------------


SUBJECT = f"sha256:{64 * 'a'}"


def signature(tmp_path):
    """A manifest that speaks of another one, as a file; its descriptor, and where its blobs are."""
    manifest, blobs = an_image(b"signature")
    data = json.dumps(
        json.loads(manifest) | {"subject": {"mediaType": MANIFEST, "digest": SUBJECT, "size": 5}}
    ).encode()
    for digest, content in {**blobs, digest_of(data): data}.items():
        (tmp_path / digest).write_bytes(content)
    return Descriptor(media_type=MANIFEST, digest=Digest.of(data), size=len(data)), lambda digest: tmp_path / digest


def takes_all(got, listed, **headers):
    if "/manifests/sha256-" in got.path and got.method == "GET":
        return listed
    if got.method == "POST":
        return Reply(202, {"Location": f"{got.path}one"})
    return Reply(404 if got.method == "HEAD" else 201, {name.replace("_", "-"): text for name, text in headers.items()})


def test_a_registry_that_notes_subjects_itself_is_told_nothing_more(client, tmp_path):
    descriptor, path = signature(tmp_path)
    with serving(lambda got: takes_all(got, Reply(404), OCI_Subject=SUBJECT)) as server:
        push(client, Reference.parse(f"{server.address}/a:1"), descriptor, path)
        assert [got.path for got in server.requests("PUT", "/manifests/")] == ["/v2/a/manifests/1"]


@pytest.mark.parametrize("listed", [Reply(404), Reply(200, {}, b'{"schemaVersion":2,"manifests":null}')])
def test_any_other_registry_gets_a_list_under_the_subjects_tag(client, tmp_path, listed):
    descriptor, path = signature(tmp_path)
    with serving(lambda got: takes_all(got, listed)) as server:
        push(client, Reference.parse(f"{server.address}/a:1"), descriptor, path)
        last = server.requests("PUT", "/manifests/")[-1]
    assert last.path == f"/v2/a/manifests/sha256-{64 * 'a'}"
    (item,) = json.loads(last.body)["manifests"]
    assert (item["digest"], item["size"]) == (str(descriptor.digest), descriptor.size)


def test_an_image_that_has_the_subjects_tag_is_not_replaced(client, tmp_path):
    descriptor, path = signature(tmp_path)
    with serving(lambda got: takes_all(got, Reply(200, {}, an_image(b"x")[0]))) as server:
        with pytest.raises(RegistryError) as error:
            push(client, Reference.parse(f"{server.address}/a:1"), descriptor, path)
        assert len(server.requests("PUT", "/manifests/")) == 1
    assert error.value.message == (
        f"{server.address}/a:1: the tag sha256-{64 * 'a'} is needed for what speaks of {SUBJECT}, "
        "but names something else"
    )
