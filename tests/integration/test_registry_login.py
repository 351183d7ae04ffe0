"""Who we are, whom we trust, and who never learns it: logins, tokens, certificates, mirrors, redirects."""

import base64
import json
import os
import random
import subprocess
import sys
import time

import pytest
from worlds.registries import (
    PASSWORD,
    USER,
    environment,
    make_certificate,
    password_registry,
    token_registry,
)
from worlds.servers import MANIFEST, Reply, an_image, digest_of, refused, registry_of, serving

from builder.errors import BuilderError, UsageError
from builder.image.documents import Descriptor
from builder.image.names import Digest, Reference
from builder.registry import transport
from builder.registry.client import Registry
from builder.registry.credentials import store_login
from builder.registry.login import check_login, registry_host
from builder.registry.logins import Login
from builder.registry.push import push

LAYER = random.Random(7).randbytes(300_000)
MANIFEST_BYTES, BLOBS = an_image(LAYER)
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.01)


@pytest.fixture
def blobs(tmp_path):
    folder = tmp_path / "blobs"
    folder.mkdir()
    for digest, data in {**BLOBS, digest_of(MANIFEST_BYTES): MANIFEST_BYTES}.items():
        (folder / digest).write_bytes(data)
    return folder


def client(tmp_path, **more):
    return Registry(environment(tmp_path, **more), budget=1.0, etc=tmp_path / "etc")


def send(registry, reference, blobs, **options):
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(MANIFEST_BYTES), size=len(MANIFEST_BYTES))
    push(registry, reference, descriptor, lambda digest: blobs / digest, **options)
    return descriptor


def receive(registry, reference):
    found, repository = registry.resolve(reference)
    assert repository.read(found) == MANIFEST_BYTES
    layer = Descriptor(media_type="application/x", digest=Digest.of(LAYER), size=len(LAYER))
    with repository.open(layer) as stream:
        assert stream.read() == LAYER


def failure(function, *arguments):
    with pytest.raises(BuilderError) as caught:
        function(*arguments)
    assert "\n" not in caught.value.message
    assert PASSWORD not in str(caught.value.__dict__)
    return caught.value


def log_in(tmp_path, host, user=USER, password=PASSWORD):
    store_login(host, user, password, environment(tmp_path))


# --- TLS and passwords ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(require, tmp_path_factory):
    require("docker-registry", "openssl", "perl")
    with password_registry(tmp_path_factory.mktemp("secured")) as found:
        yield found


def test_a_password_and_an_authority_of_its_own(secured, tmp_path, blobs):
    log_in(tmp_path, secured.address)
    registry = client(tmp_path, SSL_CERT_FILE=str(secured.authority))
    reference = Reference.parse(f"{secured.address}/team/app:1")
    descriptor = send(registry, reference, blobs)
    assert registry.resolve(reference)[0] == descriptor
    receive(registry, reference)
    check_login(registry, secured.address, Login(USER, PASSWORD))
    check_login(registry, secured.address, None)


def test_an_authority_that_is_not_known_is_not_trusted(secured, tmp_path):
    error = failure(check_login, client(tmp_path), secured.address, Login(USER, PASSWORD))
    assert error.code == "untrusted-certificate"
    assert error.message.startswith(f"{secured.address} has no certificate that is trusted here: ")
    assert error.hint == (
        f"put the certificate of its authority into /etc/docker/certs.d/{secured.address}/ca.crt, "
        "or name it with SSL_CERT_FILE"
    )


@pytest.mark.parametrize("place", ["etc/docker", "home/.config/containers", "etc/containers"])
def test_an_authority_in_certs_d_is_trusted_for_its_host(secured, tmp_path, place):
    folder = tmp_path / place / "certs.d" / secured.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(secured.authority.read_bytes())
    check_login(client(tmp_path), secured.address, Login(USER, PASSWORD))


def test_an_insecure_registry_needs_no_authority(secured, tmp_path):
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{secured.address}"\ninsecure = true\n')
    check_login(client(tmp_path, CONTAINERS_REGISTRIES_CONF=str(conf)), secured.address, Login(USER, PASSWORD))


def test_a_wrong_password_is_told(secured, tmp_path):
    registry = client(tmp_path, SSL_CERT_FILE=str(secured.authority))
    error = failure(check_login, registry, secured.address, Login(USER, "wrong"))
    assert error.code == "unauthorized"
    assert error.message == (
        f"{secured.address}: access denied: {secured.address} refuses the login of {USER}: authentication required"
    )
    assert error.hint == f"log in anew with: pybuild login {secured.address}"


def test_no_password_is_told(secured, tmp_path):
    registry = client(tmp_path, SSL_CERT_FILE=str(secured.authority))
    error = failure(registry.resolve, Reference.parse(f"{secured.address}/team/app"))
    assert error.code == "unauthorized"
    assert error.hint == f"log in with: pybuild login {secured.address}"


def test_a_client_certificate_is_shown_where_it_is_asked_for(require, tmp_path):
    require("docker-registry", "openssl", "perl")
    (tmp_path / "registry").mkdir()
    with password_registry(tmp_path / "registry", client_certificates=True) as found:
        folder = tmp_path / "etc/docker/certs.d" / found.address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(found.authority.read_bytes())
        error = failure(check_login, client(tmp_path), found.address, Login(USER, PASSWORD))
        assert error.code == "unreachable"
        make_certificate(found.folder, "client")
        (folder / "client.cert").write_bytes((found.folder / "client.crt").read_bytes())
        (folder / "client.key").write_bytes((found.folder / "client.key").read_bytes())
        check_login(client(tmp_path), found.address, Login(USER, PASSWORD))
        (folder / "client.key").unlink()
        error = failure(check_login, client(tmp_path), found.address, Login(USER, PASSWORD))
        assert error.code == "invalid-certificate"
        assert error.message.startswith(f"cannot use the certificate {folder / 'client.cert'}: ")


# --- tokens --------------------------------------------------------------------------------------------------------


def test_tokens_are_got_for_what_is_done_and_no_more(require, tmp_path, blobs):
    require("docker-registry", "openssl")
    with token_registry(tmp_path) as found:
        log_in(tmp_path, found.address)
        registry = client(tmp_path)
        source = Reference.parse(f"{found.address}/team/source:1")
        target = Reference.parse(f"{found.address}/team/target:1")
        send(registry, source, blobs)
        send(registry, target, blobs, mount_from=lambda digest: (source,))
        receive(registry, target)
        scopes = [got.path.partition("scope=")[2] for got in found.tokens.requests("GET")]
        assert scopes == [
            "repository%3Ateam%2Fsource%3Apull%2Cpush",
            "repository%3Ateam%2Ftarget%3Apull%2Cpush",
            "repository%3Ateam%2Fsource%3Apull&scope=repository%3Ateam%2Ftarget%3Apull%2Cpush",
            "repository%3Ateam%2Ftarget%3Apull",
        ]
        assert {got.authorization for got in found.tokens.got} == {BASIC}
        check_login(registry, found.address, Login(USER, PASSWORD))
        assert failure(check_login, registry, found.address, Login(USER, "no")).code == "unauthorized"
        # Anybody may read, with a token for anybody.
        receive(client(tmp_path / "blobs"), target)
        denied = failure(send, client(tmp_path / "blobs"), target, blobs)
        assert denied.code == "unauthorized"


def test_a_build_outlives_its_tokens(require, tmp_path, blobs):
    require("docker-registry", "openssl")
    with token_registry(tmp_path, seconds=2) as found:
        log_in(tmp_path, found.address)
        registry = client(tmp_path)
        reference = Reference.parse(f"{found.address}/team/app:1")
        send(registry, reference, blobs)
        time.sleep(2.5)
        receive(registry, reference)
        time.sleep(1.5)
        receive(registry, reference)
        assert len(found.tokens.got) >= 3


def test_a_token_that_is_refused_before_its_end_is_replaced(tmp_path):
    good = iter(["first", "second"])
    now = []

    def token(got):
        now.append(next(good))
        return Reply(200, {}, json.dumps({"token": now[-1], "expires_in": 3600}).encode())

    honest = registry_of(MANIFEST_BYTES, BLOBS)
    with serving(token) as tokens:

        def answer(got):
            revoked = len(server.got) > 4 and got.authorization == "Bearer first"
            if got.authorization not in ("Bearer first", "Bearer second") or revoked:
                return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{tokens.address}/token",service="s"'})
            return honest(got)

        with serving(answer) as server:
            registry = client(tmp_path)
            for _ in range(3):
                receive(registry, Reference.parse(f"{server.address}/app"))
    assert now == ["first", "second"]


def test_an_identity_token_is_changed_for_others(require, tmp_path, blobs):
    require("docker-registry", "openssl")
    with token_registry(tmp_path) as found:
        config = tmp_path / "home/.docker/config.json"
        environment(tmp_path)
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"auths": {found.address: {"identitytoken": "refresh me"}}}))
        reference = Reference.parse(f"{found.address}/team/app:1")
        send(client(tmp_path), reference, blobs)
        assert b"refresh_token=refresh+me" in found.tokens.requests("POST")[0].body
        assert found.tokens.requests("POST")[0].authorization is None


def test_a_bearer_token_is_used_as_it_is(tmp_path):
    honest = registry_of(MANIFEST_BYTES, BLOBS)
    challenge = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:9/",service="s"'}
    with serving(lambda got: honest(got) if got.authorization == "Bearer abc" else Reply(401, challenge)) as server:
        (tmp_path / "home/.docker").mkdir(parents=True)
        (tmp_path / "home/.docker/config.json").write_text(
            json.dumps({"auths": {server.address: {"registrytoken": "abc"}}})
        )
        receive(client(tmp_path), Reference.parse(f"{server.address}/app"))


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(200, {}, b"{}"), "the token server answered 200 and no token"),
        (Reply(200, {}, b'{"token": "a\\nb"}'), "the token server answered 200 and no token"),
        (Reply(200, {}, b"[" * 100_000), "the token server answered 200 and no token"),
        (Reply(404, {}, b""), "the token server answered 404 and no token"),
        (Reply(200, {}, bytes(1 << 16), endless=True), "the registry answers with more than 1048576 bytes"),
    ],
)
def test_a_token_server_that_gives_no_token_is_told(tmp_path, reply, message):
    with serving(lambda got: reply) as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens.address}/token?x=1"'}
        with serving(lambda got: Reply(401, challenge)) as server:
            error = failure(client(tmp_path).resolve, Reference.parse(f"{server.address}/app"))
            assert error.message == message
            assert error.where.describe() == f"GET http://{tokens.address}/token"


def test_a_registry_cannot_ask_for_a_token_of_another_repository(tmp_path):
    with serving(lambda got: Reply(200, {}, b'{"token": "t"}')) as tokens:
        realm = f'Bearer realm="http://{tokens.address}/t",scope="repository:another/one:pull,push,delete"'
        with serving(lambda got: Reply(401, {"WWW-Authenticate": realm})) as server:
            log_in(tmp_path, server.address)
            assert failure(client(tmp_path).resolve, Reference.parse(f"{server.address}/app")).code == "unauthorized"
        assert {got.path for got in tokens.got} == {"/t?scope=repository%3Aapp%3Apull"}


def test_a_login_is_not_sent_without_encryption_to_other_machines(tmp_path):
    for realm, code in (
        ("http://tokens.example.com/t", "invalid-challenge"),
        ("http://127.0.0.1.example.com/t", "invalid-challenge"),
        ("https://user:pw@tokens.example.com/t", "invalid-challenge"),
        ("ftp://x/", "invalid-url"),
        ("", "invalid-url"),
    ):
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
        with serving(lambda got, challenge=challenge: Reply(401, challenge)) as server:
            log_in(tmp_path, server.address)
            registry = client(tmp_path, NO_PROXY="*")
            error = failure(registry.resolve, Reference.parse(f"{server.address}/app"))
            assert error.code == code


# --- redirects -----------------------------------------------------------------------------------------------------


def redirecting(target, *, demand=True):
    """Wants a password, and sends everybody to *target* for blobs and manifests."""

    def answer(got):
        if demand and got.authorization != BASIC:
            return Reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
        return Reply(307, {"Location": f"http://{target.address}{got.path}?signed=secret"})

    return answer


def test_credentials_do_not_follow_to_another_server(tmp_path):
    with serving(registry_of(MANIFEST_BYTES, BLOBS), "127.0.0.1") as other, serving(redirecting(other)) as server:
        log_in(tmp_path, server.address)
        log_in(tmp_path, other.address, "someone", "else")
        receive(client(tmp_path), Reference.parse(f"{server.address}/app"))
        assert any(got.authorization == BASIC for got in server.got)
        assert other.got
        assert not any("authorization" in got.headers or "cookie" in got.headers for got in other.got)


def test_another_servers_challenge_is_not_answered(tmp_path):
    challenge = {"WWW-Authenticate": 'Basic realm="give it to me"'}
    with serving(lambda got: Reply(401, challenge), "127.0.0.1") as other, serving(redirecting(other)) as server:
        log_in(tmp_path, server.address)
        error = failure(client(tmp_path).resolve, Reference.parse(f"{server.address}/app"))
        assert error.code == "unauthorized"
        assert "signed" not in error.where.describe()
        assert not any("authorization" in got.headers for got in other.got)


def test_a_port_makes_another_server(tmp_path):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as other, serving(redirecting(other)) as server:
        log_in(tmp_path, server.address)
        receive(client(tmp_path), Reference.parse(f"{server.address}/app"))
        assert not any("authorization" in got.headers for got in other.got)


def test_a_refresh_token_does_not_follow_a_redirect(tmp_path):
    def elsewhere(got):
        return Reply(307, {"Location": f"http://{other.address}/"})

    with (
        serving(lambda got: Reply(200, {}, b'{"access_token": "t"}'), "127.0.0.1") as other,
        serving(elsewhere) as tokens,
        serving(lambda got: Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{tokens.address}/t"'})) as server,
    ):
        (tmp_path / "home/.docker").mkdir(parents=True)
        (tmp_path / "home/.docker/config.json").write_text(
            json.dumps({"auths": {server.address: {"identitytoken": "secret"}}})
        )
        failure(client(tmp_path).resolve, Reference.parse(f"{server.address}/app"))
        assert tokens.got
        assert other.got == []


def test_redirects_in_a_circle_end(tmp_path):
    with serving(lambda got: Reply(302, {"Location": got.path})) as server:
        error = failure(client(tmp_path).resolve, Reference.parse(f"{server.address}/app"))
        assert error.message == "too many redirects"


def test_an_upload_elsewhere_takes_no_credentials_along(tmp_path, blobs):
    def elsewhere(got):
        return Reply(201)

    with serving(elsewhere, "127.0.0.1") as other:

        def answer(got):
            if got.authorization != BASIC:
                return Reply(401, {"WWW-Authenticate": 'Basic realm="r"'})
            if got.method == "HEAD":
                return Reply(404)
            if got.method == "POST":
                return Reply(202, {"Location": f"http://{other.address}/put-here?key=1"})
            return Reply(201)

        with serving(answer) as server:
            log_in(tmp_path, server.address)
            send(client(tmp_path), Reference.parse(f"{server.address}/app:1"), blobs)
        assert len(other.requests("PUT")) == 2
        assert not any("authorization" in got.headers for got in other.got)


# --- mirrors -------------------------------------------------------------------------------------------------------


def mirrored(tmp_path, text, **more):
    conf = tmp_path / "registries.conf"
    conf.write_text(text)
    return client(tmp_path, CONTAINERS_REGISTRIES_CONF=str(conf), **more)


def test_a_mirror_is_asked_first_and_gets_only_its_own_credentials(tmp_path):
    honest = registry_of(MANIFEST_BYTES, BLOBS)
    with serving(honest, "127.0.0.1") as mirror, serving(honest) as server:
        log_in(tmp_path, server.address)
        registry = mirrored(
            tmp_path,
            f'[[registry]]\nlocation = "{server.address}/team"\n'
            f'[[registry.mirror]]\nlocation = "{mirror.address}/cache/team"\n',
        )
        receive(registry, Reference.parse(f"{server.address}/team/app"))
        assert server.got == []
        assert all(got.path.startswith("/v2/cache/team/app/") for got in mirror.got if got.path != "/v2/")
        assert not any("authorization" in got.headers for got in mirror.got)


@pytest.mark.parametrize("fault", ["refuses", "lies", "lacks", "is gone", "talks nonsense"])
def test_a_mirror_that_fails_is_passed_over(tmp_path, fault):
    faults = {
        "refuses": lambda got: refused(403),
        "lies": lambda got: Reply(200, {"Content-Type": MANIFEST, "Docker-Content-Digest": "sha256:0"}, b"{}"),
        "lacks": lambda got: refused(404),
        "is gone": lambda got: refused(503),
        "talks nonsense": lambda got: Reply(200, {"Content-Type": "text/html"}, b"<html>"),
    }
    with serving(faults[fault], "127.0.0.1") as mirror, serving(registry_of(MANIFEST_BYTES, BLOBS)) as server:
        registry = mirrored(
            tmp_path,
            f'[[registry]]\nlocation = "{server.address}"\n[[registry.mirror]]\nlocation = "{mirror.address}"\n',
        )
        receive(registry, Reference.parse(f"{server.address}/app@{digest_of(MANIFEST_BYTES)}"))
        assert mirror.got


def test_docker_hubs_mirror_is_taken_from_daemon_json(tmp_path):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as mirror:
        (tmp_path / "etc/docker").mkdir(parents=True)
        (tmp_path / "etc/docker/daemon.json").write_text(
            json.dumps({"registry-mirrors": [f"http://{mirror.address}/"]})
        )
        log_in(tmp_path, "docker.io")
        receive(client(tmp_path), Reference.parse("busybox"))
        assert mirror.requests("HEAD")[0].path == "/v2/library/busybox/manifests/latest"
        assert not any("authorization" in got.headers for got in mirror.got)


def test_a_push_goes_to_the_registry_and_not_to_its_mirror(tmp_path, blobs):
    def stores(got):
        if got.method == "POST":
            return Reply(202, {"Location": "/upload"})
        return Reply(404) if got.method == "HEAD" else Reply(201)

    with serving(lambda got: Reply(500), "127.0.0.1") as mirror, serving(stores) as server:
        registry = mirrored(
            tmp_path,
            '[[registry]]\nprefix = "example.com/team"\n'
            f'location = "{server.address}/real"\n[[registry.mirror]]\nlocation = "{mirror.address}"\n',
        )
        send(registry, Reference.parse("example.com/team/app:1"), blobs)
        assert mirror.got == []
        assert [got.path for got in server.requests("PUT", "/manifests/")] == ["/v2/real/app/manifests/1"]


def test_a_blocked_registry_is_not_asked(tmp_path):
    registry = mirrored(tmp_path, '[[registry]]\nlocation = "example.com"\nblocked = true\n')
    error = failure(registry.resolve, Reference.parse("example.com/app"))
    assert error.message == f"example.com/app:latest: example.com is blocked by {tmp_path / 'registries.conf'}"


# --- names, proxies, forks -----------------------------------------------------------------------------------------


def test_plain_http_is_spoken_with_this_machine_alone(tmp_path):
    with serving(lambda got: Reply(200)) as server:
        port = server.address.partition(":")[2]
        # The name resolves to this machine, but it is not one of its own names.
        with serving(registry_of(MANIFEST_BYTES, BLOBS)) as proxy:
            registry = client(tmp_path, HTTPS_PROXY=f"http://{proxy.address}")
            error = failure(registry.resolve, Reference.parse(f"127.0.0.1.example.com:{port}/app"))
            assert error.code == "unreachable"
            assert "through the proxy" in error.message
            assert [got.method for got in proxy.got] in ([], ["CONNECT"])
        assert server.got == []


def test_what_registries_are_called_by_those_who_log_in():
    assert registry_host("") == "docker.io"
    assert registry_host("https://index.docker.io/v1/") == "docker.io"
    assert registry_host("https://registry.example.com:5000/v2/") == "registry.example.com:5000"
    with pytest.raises(UsageError):
        registry_host("user@example.com")


def test_what_is_not_a_registry_is_told(tmp_path):
    with serving(lambda got: Reply(404)) as server:
        error = failure(check_login, client(tmp_path), server.address, None)
        assert error.message == f"{server.address} is not a registry: it does not know /v2/"


def test_a_connection_from_before_a_fork_is_not_used_after_it(tmp_path):
    with serving(registry_of(MANIFEST_BYTES, BLOBS)) as server:
        registry = client(tmp_path)
        reference = Reference.parse(f"{server.address}/app")
        receive(registry, reference)
        for _ in range(2):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    receive(registry, reference)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            receive(registry, reference)


# --- memory --------------------------------------------------------------------------------------------------------

_CHILD = """
import resource, sys
from pathlib import Path
from builder.image.documents import Descriptor
from builder.image.names import Digest, Reference
from builder.registry.client import Registry
from builder.registry.push import push
from builder.store import Store

address, folder, manifest, size, blob, length, home = sys.argv[1:]
environment = {"HOME": home, "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
registry = Registry(environment, etc=Path(home))
reference = Reference.parse(f"{address}/large:1")
image = Descriptor(
    media_type="application/vnd.oci.image.manifest.v1+json", digest=Digest(manifest), size=int(size)
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
push(registry, reference, image, lambda digest: Path(folder) / digest)
from builder.registry.pull import fetch_blobs
with Store.open(Path(home) / "store") as store:
    found, repository = registry.resolve(reference)
    layer = Descriptor(media_type="application/x", digest=Digest(blob), size=int(length))
    fetch_blobs(repository, [layer], store.blobs, report=lambda *report: None)
    assert store.blobs.size(layer.digest) == layer.size
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_a_blob(registry, room):
    import hashlib

    folder, home = room / "blobs", room / "home"
    folder.mkdir()
    home.mkdir()
    piece, count = random.Random(3).randbytes(1 << 20), 300
    hashing = hashlib.sha256()
    with (folder / "layer").open("wb") as out:
        for n in range(count):
            data = n.to_bytes(8, "big") + piece[8:]
            out.write(data)
            hashing.update(data)
    blob, length = f"sha256:{hashing.hexdigest()}", count << 20
    (folder / "layer").rename(folder / blob)
    small, blobs = an_image(b"")
    document = json.loads(small)
    document["layers"] = [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob, "size": length}]
    manifest = json.dumps(document).encode()
    for data in (manifest, *blobs.values()):
        (folder / digest_of(data)).write_bytes(data)
    arguments = [registry.address, folder, digest_of(manifest), len(manifest), blob, length, home]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100 << 10  # kilobytes
