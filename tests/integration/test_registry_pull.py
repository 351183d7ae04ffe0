"""Reading from registries that keep the rules, and from some that don't."""

import random
import time

import pytest
from worlds.registries import environment
from worlds.servers import INDEX, MANIFEST, Reply, an_image, digest_of, ranged, refused, registry_of, serving

from builder.errors import BuilderError, RegistryError
from builder.image.documents import Descriptor, Manifest
from builder.image.names import Digest, Reference
from builder.registry import download, transport
from builder.registry.client import Registry
from builder.registry.listing import catalog, tags
from builder.registry.pull import fetch_blobs
from builder.store import Store

LAYER = random.Random(1).randbytes(3 << 20)
MANIFEST_BYTES, BLOBS = an_image(LAYER)


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.01)
    return Registry(environment(tmp_path), budget=1.0, etc=tmp_path / "etc")


def layer(data=LAYER, **changes):
    return Descriptor(
        **(
            {"media_type": "application/vnd.oci.image.layer.v1.tar", "digest": Digest.of(data), "size": len(data)}
            | changes
        )
    )


def reference(server, tail=":latest"):
    return Reference.parse(f"{server.address}/team/app{tail}")


def read(client, server, descriptor=None, tail=":latest"):
    found, repository = client.resolve(reference(server, tail))
    if descriptor is None:
        return repository.read(found)
    with repository.open(descriptor) as stream:
        return stream.read()


def failure(client, server, descriptor=None, tail=":latest"):
    with pytest.raises(BuilderError) as caught:
        read(client, server, descriptor, tail)
    assert "\n" not in caught.value.message
    return caught.value


def override(part, change):
    """An honest registry, but for requests whose path holds *part*: ``change(got, honest)`` answers them."""
    honest = registry_of(MANIFEST_BYTES, BLOBS)
    return lambda got: change(got, honest(got)) if part in got.path else honest(got)


# --- what is asked -------------------------------------------------------------------------------------------------


def test_a_tag_is_resolved_without_reading_the_manifest(client):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as server:
        found, repository = client.resolve(reference(server))
        assert found == Descriptor(media_type=MANIFEST, digest=Digest.of(MANIFEST_BYTES), size=len(MANIFEST_BYTES))
        assert server.requests("GET", "/manifests/") == []
        assert repository.read(found) == MANIFEST_BYTES
        assert [got.path for got in server.requests("GET", "/manifests/")] == [f"/v2/team/app/manifests/{found.digest}"]


def test_a_registry_that_does_not_say_the_digest_is_read_once(client):
    def change(got, reply):
        if got.method == "HEAD":
            return Reply(405)
        del reply.headers["Docker-Content-Digest"]
        return reply

    with serving(override("/manifests/", change)) as server:
        found, repository = client.resolve(reference(server))
        assert repository.read(found) == MANIFEST_BYTES
        assert len(server.requests("GET", "/manifests/")) == 1


def test_config_and_layers_are_read(client):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as server:
        _, repository = client.resolve(reference(server))
        manifest = Manifest.read(MANIFEST_BYTES)
        assert Digest.of(repository.read(manifest.config)) == manifest.config.digest
        with repository.open(manifest.layers[0]) as stream:
            assert stream.read(10) == LAYER[:10]
            assert stream.read() == LAYER[10:]
            assert stream.read() == b""


def test_several_blobs_are_fetched_at_once_and_each_once(client, tmp_path):
    layers = [random.Random(n).randbytes(200_000) for n in range(6)]
    manifest, blobs = an_image(*layers)
    reports = []
    with serving(registry_of(manifest, blobs)) as server, Store.open(tmp_path / "store") as store:
        _, repository = client.resolve(reference(server))
        wanted = [layer(data) for data in (*layers, layers[0])]
        fetch_blobs(repository, wanted, store.blobs, report=lambda *report: reports.append(report))
        assert [store.blobs.read(Digest.of(data)) for data in layers] == layers
        assert len(server.requests("GET", "/blobs/")) == 6
        assert sorted(r[0].digest for r in reports if r[2]) == sorted(Digest.of(data) for data in layers)


def test_one_blob_that_fails_ends_the_others(client, tmp_path):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as server, Store.open(tmp_path / "store") as store:
        _, repository = client.resolve(reference(server))
        wanted = [layer(b"there is none"), *(layer(b"nor %d" % n) for n in range(20))]
        with pytest.raises(RegistryError) as caught:
            fetch_blobs(repository, wanted, store.blobs, report=lambda *_: None)
        assert caught.value.message.endswith("team/app:latest: not found: blob unknown to registry")
        assert not any((tmp_path / "store" / "tmp").rglob("*.*"))


# --- lies ----------------------------------------------------------------------------------------------------------


def test_a_manifest_that_is_not_its_digest_is_refused(client):
    other = MANIFEST_BYTES + b" "
    wanted = digest_of(MANIFEST_BYTES)

    def change(got, reply):
        return Reply(200, {"Content-Type": MANIFEST}, other)

    with serving(override("/manifests/", change)) as server:
        error = failure(client, server, tail=f"@{wanted}")
        assert error.code == "digest-mismatch"
        assert error.message == f"{server.address}/team/app@{wanted}: the registry sent something else than {wanted}"
        assert error.where.describe() == f"GET http://{server.address}/v2/team/app/manifests/{wanted}"


def test_a_digest_that_the_registry_names_itself_must_be_true(client):
    def change(got, reply):
        reply.headers["Docker-Content-Digest"] = digest_of(b"another")
        return Reply(405) if got.method == "HEAD" else reply

    with serving(override("/manifests/", change)) as server:
        assert failure(client, server).message.endswith(f"sent something else than {digest_of(b'another')}")


def test_a_head_that_names_another_digest_than_asked_for_is_refused(client):
    def change(got, reply):
        return Reply(200, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(b"x")}, MANIFEST_BYTES)

    with serving(override("/manifests/", change)) as server:
        error = failure(client, server, tail=f"@{digest_of(MANIFEST_BYTES)}")
        assert error.code == "digest-mismatch"
        assert "the registry has something else under" in error.message


def test_a_manifest_that_calls_itself_something_else_is_refused(client):
    def change(got, reply):
        if got.method == "HEAD":
            return Reply(404)
        reply.headers["Content-Type"] = INDEX
        return reply

    with serving(override("/manifests/", change)) as server:
        error = failure(client, server)
        assert error.code == "type-mismatch"
        assert error.message.endswith(f"the registry sent {INDEX} that calls itself {MANIFEST}")


def test_a_page_is_not_a_manifest(client):
    page = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>log in to the hotel")
    with serving(override("/manifests/", lambda *_: page)) as server:
        error = failure(client, server)
        assert error.code == "unsupported-media-type"
        assert error.message.endswith("the registry sent 'text/html', which is no manifest")


def test_a_manifest_without_any_type_is_taken_for_what_it_says(client):
    def change(got, reply):
        reply.headers["Content-Type"] = "application/json"
        return reply

    with serving(override("/manifests/", change)) as server:
        assert client.resolve(reference(server))[0].media_type == MANIFEST


def test_a_manifest_of_schema_1_is_named_as_such(client):
    old = Reply(200, {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, b"{}")
    with serving(override("/manifests/", lambda *_: old)) as server:
        assert failure(client, server).message.endswith("is an image of Docker's schema 1, which cannot be read")


def test_a_blob_that_is_not_its_digest_is_refused(client):
    with serving(override("/blobs/", lambda *_: Reply(200, {}, bytes(len(LAYER))))) as server:
        error = failure(client, server, layer())
        assert error.code == "digest-mismatch"
        assert error.message == f"{reference(server)}: {Digest.of(LAYER)} is not what the registry sent"


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_blob_that_says_another_size_is_refused_at_once(client, difference):
    data = LAYER[:-1] if difference < 0 else LAYER + b"."
    with serving(override("/blobs/", lambda *_: Reply(200, {}, data))) as server:
        error = failure(client, server, layer())
        assert error.code == "size-mismatch"
        assert error.message.endswith(f"has {len(data)} bytes, not {len(LAYER)}")
        assert len(server.requests("GET", "/blobs/")) == 1


def test_an_endless_blob_is_read_no_further_than_it_may_be_long(client):
    with serving(override("/blobs/", lambda *_: Reply(200, {}, bytes(1 << 16), endless=True))) as server:
        assert failure(client, server, layer()).code == "digest-mismatch"
        assert server.sent < len(LAYER) + (64 << 20)  # what the kernel's buffers took


@pytest.mark.parametrize("status", [200, 404, 500, 401])
def test_an_endless_answer_is_read_no_further_than_it_may_be_long(client, status):
    def change(got, reply):
        return (
            Reply(405)
            if got.method == "HEAD"
            else Reply(status, {"Content-Type": MANIFEST}, bytes(1 << 16), endless=True)
        )

    with serving(override("/manifests/", change)) as server:
        began = time.monotonic()
        error = failure(client, server)
        assert error.code in ("too-large", "unauthorized")
        assert time.monotonic() - began < 20


def test_a_long_list_of_headers_is_an_error_of_ours(client):
    flood = Reply(200, {f"X-{n}": "x" for n in range(500)})
    with serving(override("/manifests/", lambda *_: flood)) as server:
        assert failure(client, server).code == "unreachable"


# --- connections that are cut ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_download_that_is_cut_is_taken_up_where_it_ended(client, seed):
    dice = random.Random(seed)

    def change(got, reply):
        if dice.random() < 0.6:
            reply.cut = dice.randrange(len(reply.body))
        return reply

    with serving(override("/blobs/", change)) as server:
        assert read(client, server, layer()) == LAYER
        ranges = [got.headers.get("range") for got in server.requests("GET", "/blobs/")]
        assert ranges[0] is None


def test_without_ranges_a_cut_download_begins_anew_and_passes_over_what_is_known(client):
    cuts = iter([100, 70_000, 2_000_000, 5])

    def change(got, reply):
        return Reply(200, {}, LAYER, cut=next(cuts, None))

    with serving(override("/blobs/", change)) as server:
        assert read(client, server, layer()) == LAYER
        assert len(server.requests("GET", "/blobs/")) == 5


def test_a_download_that_never_gets_on_is_given_up(client):
    def change(got, reply):
        reply.cut = 1
        return reply

    with serving(override("/blobs/", change)) as server:
        error = failure(client, server, layer())
        assert error.code == "broken-download"
        assert error.message.startswith(f"{reference(server)}: the download of {Digest.of(LAYER)} broke off: ")
        assert error.hint == "try again: what is complete is kept"
        assert len(server.requests("GET", "/blobs/")) == download.MOST_RESUMES + 1


def test_a_download_that_goes_on_somewhere_else_than_asked_is_refused(client):
    def change(got, reply):
        if reply.status == 206:
            return Reply(206, {"Content-Range": f"bytes 0-{len(LAYER) - 1}/{len(LAYER)}"}, LAYER)
        reply.cut = 1000
        return reply

    with serving(override("/blobs/", change)) as server:
        assert failure(client, server, layer()).code == "invalid-range"


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(client, monkeypatch):
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.05)
    body = iter([b"x"] * 1000)

    class Slow:
        status, url = 200, "http://localhost/blob"
        headers = {}  # noqa: RUF012 (nobody changes it)

        def read(self, size):
            time.sleep(0.01)
            return next(body)

        def close(self):
            pass

    stream = download.BlobStream(layer(), lambda digest, offset: Slow(), "app")
    with pytest.raises(RegistryError) as caught:
        stream.read()
    assert caught.value.code == "stalled"


# --- refusals ------------------------------------------------------------------------------------------------------


def refusing(*replies):
    """Answers every request for a manifest with the next of *replies*, the last one for ever."""
    rest = list(replies)
    return override("/manifests/", lambda got, reply: rest.pop(0) if len(rest) > 1 else rest[0] or reply)


def test_what_is_not_there_is_said_to_be_so(client):
    with serving(refusing(refused(404, "MANIFEST_UNKNOWN", "manifest unknown"))) as server:
        error = failure(client, server)
        assert (error.code, error.message) == ("not-found", f"{reference(server)}: not found: manifest unknown")
        assert error.hint == "check the name and the tag"


def test_without_a_login_a_401_says_how_to_get_one(client):
    with serving(refusing(Reply(401, {"WWW-Authenticate": 'Basic realm="x"'}))) as server:
        error = failure(client, server)
        assert error.code == "unauthorized"
        assert error.message == (
            f"{reference(server)}: access denied, or there is no such repository: "
            f"no login is known for {server.address}"
        )
        assert error.hint == f"log in with: pybuild login {server.address}"


def test_a_403_repeats_what_the_registry_says(client):
    with serving(refusing(refused(403, "DENIED", "pull\naccess denied"))) as server:
        error = failure(client, server)
        assert (error.code, error.message) == (
            "denied",
            f"{reference(server)}: whoever is not logged in may not do this: pull access denied",
        )


def test_errors_that_may_pass_are_tried_again(client):
    replies = [refused(503), refused(429, Retry_After="0"), refused(500), refused(502), None]
    with serving(refusing(*replies)) as server:
        assert read(client, server) == MANIFEST_BYTES


def test_the_pause_that_a_registry_asks_for_is_kept(client):
    with serving(refusing(refused(429, Retry_After="1"), None)) as server:
        client.transport.budget = 5.0
        began = time.monotonic()
        assert read(client, server) == MANIFEST_BYTES
        assert time.monotonic() - began >= 1


def test_a_pause_beyond_our_patience_is_told_at_once(client):
    with serving(refusing(refused(429, "TOOMANYREQUESTS", "slow down", Retry_After="3600"))) as server:
        began = time.monotonic()
        error = failure(client, server)
        assert time.monotonic() - began < 60
        assert error.code == "rate-limited"
        assert error.message == f"{reference(server)}: the registry's rate limit is reached, it asks to wait for 3600 s"
        assert error.hint == "log in, wait, or use a mirror"


def test_patience_ends_with_the_budget(client):
    with serving(refusing(refused(503, "UNAVAILABLE", "being upgraded"))) as server:
        began = time.monotonic()
        error = failure(client, server)
        assert time.monotonic() - began < 60
        # A HEAD has no body that could say why.
        assert (error.code, error.message) == ("refused", f"{reference(server)}: the registry answered 503")


def test_a_connection_that_is_reset_is_made_again(client):
    cuts = iter([0, 0])

    def change(got, reply):
        return Reply(200, reply.headers, reply.body, cut=next(cuts, None)) if got.method == "GET" else reply

    with serving(override("/manifests/", change)) as server:
        assert read(client, server) == MANIFEST_BYTES


def test_a_closed_port_is_told_at_once(client):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as server:
        address = server.address
    with pytest.raises(RegistryError) as caught:
        client.resolve(Reference.parse(f"{address}/team/app"))
    assert caught.value.message == f"cannot reach the registry {address}: Connection refused"
    assert caught.value.code == "unreachable"


# --- listing -------------------------------------------------------------------------------------------------------


def test_tags_are_listed_page_by_page(client):
    def answer(got):
        if "last=" in got.path:
            return Reply(200, {}, b'{"tags": ["c"]}')
        return Reply(200, {"Link": '</v2/team/app/tags/list?last=b&n=2>; rel="next"'}, b'{"tags": ["a", "b"]}')

    with serving(answer) as server:
        assert list(tags(client, reference(server))) == ["a", "b", "c"]


def test_a_list_that_goes_on_elsewhere_is_not_followed(client):
    link = {"Link": '<http://127.0.0.1:9/v2/_catalog>; rel="next"'}
    with serving(lambda got: Reply(200, link, b'{"repositories": ["a"]}')) as server:
        names = catalog(client, server.address)
        assert next(names) == "a"
        with pytest.raises(RegistryError) as caught:
            next(names)
        assert caught.value.code == "redirect"


def test_ranges_are_what_the_test_registry_says():
    class Asked:
        headers = {"range": "bytes=2-"}  # noqa: RUF012 (nobody changes it)

    reply = ranged(Asked(), b"hello")
    assert (reply.status, reply.body, reply.headers) == (206, b"llo", {"Content-Range": "bytes 2-4/5"})
