"""Real registries of several kinds: over TLS with an authority of their own, with passwords, with a token server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from worlds.processes import answers, background, free_port
from worlds.servers import Got, Reply, Server, serving

USER, PASSWORD = "ada", "the secret of ada"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A registry that wants something. *authority* is the certificate of who signed its own, None for plain HTTP."""

    address: str
    authority: Path | None
    folder: Path
    tokens: Server | None = None


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL)


def make_authority(folder: Path, name: str = "ca") -> None:
    """``NAME.crt`` and ``NAME.key``: an authority of our own."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    out = ("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"))
    openssl("req", "-x509", *curve, *out, "-subj", f"/CN={name} of the tests")


def make_certificate(folder: Path, name: str, *, authority: str = "ca") -> None:
    """``NAME.crt`` and ``NAME.key``, signed, for localhost and 127.0.0.1."""
    request, extension = folder / f"{name}.csr", folder / f"{name}.ext"
    extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-new", *curve, "-keyout", str(folder / f"{name}.key"), "-out", str(request), "-subj", f"/CN={name}")
    ca = ("-CA", str(folder / f"{authority}.crt"), "-CAkey", str(folder / f"{authority}.key"), "-CAcreateserial")
    out = ("-out", str(folder / f"{name}.crt"), "-days", "2")
    openssl("x509", "-req", "-in", str(request), *ca, *out, "-extfile", str(extension))


@contextlib.contextmanager
def password_registry(folder: Path, *, client_certificates: bool = False) -> Iterator[Secured]:
    """TLS from an authority of its own, and USER with PASSWORD."""
    make_authority(folder)
    make_certificate(folder, "server")
    (folder / "htpasswd").write_text(f"{USER}:{bcrypt(PASSWORD)}\n")
    clients = f"clientcas: [{folder / 'ca.crt'}], " if client_certificates else ""
    tls = f"tls: {{{clients}certificate: {folder / 'server.crt'}, key: {folder / 'server.key'}}}"
    auth = f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}\n"
    with _running(folder, tls, auth) as address:
        yield Secured(address=address, authority=folder / "ca.crt", folder=folder)


def bcrypt(password: str) -> str:
    """crypt(3) of the C library knows bcrypt; Python's module of that name is on its way out."""
    salt = "$2y$05$abcdefghijklmnopqrstuu"
    program = "print crypt($ARGV[0], $ARGV[1])"
    return subprocess.run(["perl", "-e", program, password, salt], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def token_registry(folder: Path, *, seconds: int = 60, public: bool = True) -> Iterator[Secured]:
    """Plain HTTP, and a token server for USER with PASSWORD; *public*: anybody may read. Tokens last for *seconds*."""
    make_authority(folder, "tokens")
    with serving(lambda got: _give_token(got, folder, seconds, public)) as tokens:
        realm = f"http://{tokens.address}/token"
        auth = (
            f"auth: {{token: {{realm: '{realm}', service: tests, issuer: tests, "
            f"rootcertbundle: {folder / 'tokens.crt'}}}}}\n"
        )
        with _running(folder, "", auth) as address:
            yield Secured(address=address, authority=None, folder=folder, tokens=tokens)


def _give_token(got: Got, folder: Path, seconds: int, public: bool) -> Reply:
    """What a token server answers: token.md, oauth.md."""
    fields = parse_qs(got.body.decode() if got.method == "POST" else urlsplit(got.path).query)
    if got.method == "POST":
        known = fields.get("refresh_token") == ["refresh me"] and fields.get("grant_type") == ["refresh_token"]
    else:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = got.authorization == f"Basic {login}"
        if got.authorization and not known:
            return Reply(401)
    access = []
    scopes = [scope for text in fields.get("scope", []) for scope in text.split()]
    for scope in scopes:
        kind, name, actions = scope.split(":")
        allowed = [action for action in actions.split(",") if known or (public and action == "pull")]
        access.append({"type": kind, "name": name, "actions": allowed})
    token = make_token(folder, access, seconds)
    key = "access_token" if got.method == "POST" else "token"
    return Reply(200, {"Content-Type": "application/json"}, json.dumps({key: token, "expires_in": seconds}).encode())


def make_token(folder: Path, access: list[dict[str, object]], seconds: int) -> str:
    """A JSON web token for docker-registry, its certificate in the header. source: RFC 7515, RFC 7518 section 3.4"""
    der = ssl.PEM_cert_to_DER_cert((folder / "tokens.crt").read_text())
    now = int(time.time())
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    claims = {
        "iss": "tests",
        "aud": "tests",
        "sub": USER,
        "jti": os.urandom(8).hex(),
        "access": access,
        "nbf": now - 5,
        "iat": now,
        "exp": now + seconds,
    }
    text = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    key = str(folder / "tokens.key")
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), capture_output=True)
    return f"{text}.{_base64(_raw_signature(signed.stdout))}"


def _raw_signature(der: bytes) -> bytes:
    """The two numbers of an ECDSA signature, 32 bytes each, out of their DER."""
    first = der[4 : 4 + der[3]]
    second = der[6 + der[3] :]
    return b"".join(number[-32:].rjust(32, b"\0") for number in (first, second))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextlib.contextmanager
def _running(folder: Path, tls: str, auth: str) -> Iterator[str]:
    port = free_port()
    config, log = folder / "config.yml", folder / "log"
    http_part = f"addr: '127.0.0.1:{port}'" + (f", {tls}" if tls else "")
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn, accesslog: {disabled: false}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{{http_part}}}\n{auth}"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    argv = ["docker-registry", "serve", str(config)]
    with background(argv, log=log, ready=lambda: answers("127.0.0.1", port), env=env):
        yield f"localhost:{port}"


def environment(folder: Path, **more: str) -> Mapping[str, str]:
    """A caller's environment whose home is in *folder*, with nothing of this machine's configuration."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "CONTAINERS_REGISTRIES_CONF": os.devnull, "PATH": os.environ["PATH"], **more}
