"""Where logins are found, and where they are kept."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from builder.errors import RegistryError
from builder.registry.credentials import HUB_KEY, Credentials, remove, store_login
from builder.registry.logins import Login, basic

HOST = "registry.example.com:5000"


def auth(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def write(path, **config):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def docker(home, **config):
    return write(Path(home["HOME"], ".docker/config.json"), **config)


def helper(home, name, body):
    """A program docker-credential-NAME that notes how it was called."""
    path = Path(home["HOME"], f"bin/docker-credential-{name}")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "$1 $(cat)" >> {home["HOME"]}/called\n{body}\n')
    path.chmod(0o755)


def called(home):
    path = Path(home["HOME"], "called")
    return path.read_text().splitlines() if path.exists() else []


def find(home, registry=HOST, repository="team/app"):
    return Credentials(home).find(registry, repository)


# --- looking up ----------------------------------------------------------------------------------------------------


def test_without_files_there_is_no_login(home):
    assert find(home) is None


@pytest.mark.parametrize(
    "key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/", HOST.upper(), f"{HOST}/"]
)
def test_a_login_is_found_under_all_names_that_docker_wrote(home, key):
    docker(home, auths={key: auth("ada", "a:b")})
    assert find(home) == Login("ada", "a:b")


@pytest.mark.parametrize(
    "key",
    [
        "registry.example.com",
        "registry.example.com:50001",
        "registry.example.com:5000.evil.example",
        "xregistry.example.com:5000",
        "https://registry.example.com:5000@evil.example/",
        "evil.example/registry.example.com:5000",
        "https://evil.example/registry.example.com:5000/v1/",
        f"{HOST}/other",
        f"{HOST}/team/application",
        HUB_KEY,
    ],
)
def test_a_look_alike_is_another(home, key):
    docker(home, auths={key: auth("ada", "secret")})
    assert find(home) is None


@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"])
def test_docker_hub_has_many_names(home, key):
    docker(home, auths={key: auth("ada", "secret")})
    assert find(home, "docker.io", "library/busybox") == Login("ada", "secret")
    assert find(home, "docker.io.example.com") is None


def test_a_repositorys_own_login_comes_first(home):
    auths = {HOST: auth("all", "1"), f"{HOST}/team": auth("team", "2"), f"{HOST}/team/app": auth("app", "3")}
    docker(home, auths=auths)
    assert find(home).user == "app"
    assert find(home, repository="team/other").user == "team"
    assert find(home, repository="teams/app").user == "all"
    assert find(home, repository="").user == "all"


def test_tokens_are_told_from_passwords(home):
    docker(home, auths={HOST: {**auth("ada", "old"), "identitytoken": "i"}, "b.example.com": {"registrytoken": "r"}})
    assert find(home) == Login("<token>", "i", "identity")
    assert find(home, "b.example.com") == Login("<token>", "r", "bearer")


def test_a_password_is_not_shown():
    assert "secret" not in repr(Login("ada", "secret"))


def test_the_first_file_that_knows_the_registry_wins(home, tmp_path):
    docker(home, auths={HOST: auth("docker", "1")})
    write(tmp_path / ".config/containers/auth.json", auths={HOST: auth("podman", "2"), "b.example.com": auth("b", "3")})
    assert find(home).user == "docker"
    assert find(home, "b.example.com").user == "b"
    write(tmp_path / "run/containers/auth.json", auths={"b.example.com": auth("run", "4")})
    assert find({**home, "XDG_RUNTIME_DIR": str(tmp_path / "run")}, "b.example.com").user == "run"
    write(tmp_path / "elsewhere/config.json", auths={HOST: auth("moved", "5")})
    moved = {**home, "DOCKER_CONFIG": str(tmp_path / "elsewhere")}
    assert find(moved).user == "moved"
    named = write(tmp_path / "named.json", auths={HOST: auth("named", "6")})
    assert find({**moved, "REGISTRY_AUTH_FILE": str(named)}).user == "named"


def test_an_empty_entry_is_no_login(home):
    docker(home, auths={HOST: {}})
    assert find(home) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "PATH is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "PATH is not a JSON object"),
        (json.dumps({"auths": {HOST: {"auth": "%"}}}), f"the login for {HOST} is not valid base64"),
        (json.dumps({"auths": {HOST: {"auth": "YWRh"}}}), f"the login for {HOST} is not valid base64"),
    ],
)
def test_a_file_that_is_broken_is_told(home, tmp_path, text, message):
    path = docker(home)
    path.write_text(text)
    with pytest.raises(RegistryError) as caught:
        find(home)
    assert caught.value.message == message.replace("PATH", str(path))
    assert caught.value.code == "invalid-credentials-file"


def test_a_file_that_is_nested_without_end_is_told(home):
    path = docker(home)
    path.write_text("[" * 100_000)
    with pytest.raises(RegistryError) as caught:
        find(home)
    assert caught.value.message.startswith(f"{path} is not JSON: ")


@pytest.mark.parametrize("config", [{"auths": []}, {"auths": None}, {"credHelpers": 1}, {"auths": {HOST: 3}}])
def test_what_is_not_a_login_is_passed_over(home, config):
    docker(home, **config)
    assert find(home) is None


# --- helpers -------------------------------------------------------------------------------------------------------

KNOWN = """echo '{"ServerURL": "x", "Username": "ada", "Secret": "s"}'"""
UNKNOWN = "echo credentials not found in native keychain; exit 1"


def test_a_registrys_own_helper_is_asked_before_all(home):
    docker(home, auths={HOST: auth("file", "1")}, credsStore="store", credHelpers={HOST: "own"})
    helper(home, "own", KNOWN)
    assert find(home) == Login("ada", "s")
    assert called(home) == [f"get {HOST}"]


def test_the_store_is_asked_for_the_rest(home):
    docker(home, credsStore="store", credHelpers={"other.example.com": "own"})
    helper(home, "store", KNOWN)
    assert find(home, "docker.io", "library/x") == Login("ada", "s")
    assert called(home) == [f"get {HUB_KEY}"]


def test_a_helper_is_asked_once(home):
    docker(home, credsStore="store")
    helper(home, "store", KNOWN)
    credentials = Credentials(home)
    assert [credentials.find(HOST, "a") for _ in range(3)] == [Login("ada", "s")] * 3
    assert len(called(home)) == 1


def test_a_helpers_token_is_an_identity_token(home):
    docker(home, credsStore="store")
    helper(home, "store", """echo '{"Username": "<token>", "Secret": "t"}'""")
    assert find(home) == Login("<token>", "t", "identity")


def test_a_helper_that_knows_nothing_is_no_error(home):
    docker(home, credsStore="store")
    helper(home, "store", UNKNOWN)
    assert find(home) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "echo the keyring is locked; exit 3",
            "docker-credential-store get failed with exit code 3: the keyring is locked",
        ),
        ("echo '[]'", "docker-credential-store gave no login"),
        ("echo nonsense", "docker-credential-store gave no login"),
    ],
)
def test_a_helper_that_fails_is_told(home, body, message):
    docker(home, credsStore="store")
    helper(home, "store", body)
    with pytest.raises(RegistryError) as caught:
        find(home)
    assert (caught.value.message, caught.value.code) == (message, "credential-helper")


def test_a_helper_that_is_missing_is_told(home):
    docker(home, credsStore="absent-from-here")
    with pytest.raises(RegistryError) as caught:
        find(home)
    assert caught.value.message == "the credential helper docker-credential-absent-from-here is not installed"
    assert caught.value.hint == "install it, or take it out of Docker's config.json"


def test_a_helpers_name_is_no_path(home):
    docker(home, credsStore="../../bin/evil")
    with pytest.raises(RegistryError) as caught:
        find(home)
    assert caught.value.message == "not a credential helper's name: '../../bin/evil'"


# --- keeping -------------------------------------------------------------------------------------------------------


def test_a_login_is_kept_for_its_owner_alone(home, tmp_path):
    assert store_login(HOST, "ada", "pass:word", home) == str(tmp_path / ".docker/config.json")
    path = tmp_path / ".docker/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {"auths": {HOST: auth("ada", "pass:word")}}
    assert find(home) == Login("ada", "pass:word")
    assert list(path.parent.iterdir()) == [path]


def test_what_else_is_in_the_file_stays(home):
    path = docker(home, auths={"b.example.com": auth("b", "1"), f"https://{HOST}": auth("old", "2")}, proxies={"x": 1})
    store_login(HOST, "ada", "new", home)
    assert json.loads(path.read_text()) == {
        "auths": {"b.example.com": auth("b", "1"), HOST: auth("ada", "new")},
        "proxies": {"x": 1},
    }


def test_docker_hub_is_kept_under_dockers_own_name(home):
    store_login("docker.io", "ada", "s", home)
    assert list(json.loads((Path(home["HOME"], ".docker/config.json")).read_text())["auths"]) == [HUB_KEY]


def test_a_link_stays_one(home, tmp_path):
    real = write(tmp_path / "real.json", auths={})
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").symlink_to(real)
    store_login(HOST, "ada", "s", home)
    assert (tmp_path / ".docker/config.json").is_symlink()
    assert HOST in real.read_text()


def test_a_broken_file_is_not_overwritten(home):
    path = docker(home)
    path.write_text("{ mine")
    with pytest.raises(RegistryError):
        store_login(HOST, "ada", "s", home)
    assert path.read_text() == "{ mine"


def test_with_a_helper_no_secret_is_in_the_file(home):
    path = docker(home, credsStore="store")
    helper(home, "store", "true")
    assert store_login(HOST, "ada", "secret", home) == "docker-credential-store"
    assert json.loads(path.read_text()) == {"credsStore": "store", "auths": {HOST: {}}}
    assert called(home) == ["store " + json.dumps({"ServerURL": HOST, "Username": "ada", "Secret": "secret"})]


def test_a_login_is_forgotten(home):
    path = docker(home, auths={f"https://{HOST}/v1/": auth("a", "1"), HOST: auth("b", "2"), "c.example.com": {}})
    assert remove(HOST, home)
    assert json.loads(path.read_text())["auths"] == {"c.example.com": {}}
    assert not remove(HOST, home)
    assert find(home) is None


def test_a_helper_forgets_too(home):
    docker(home, credsStore="store", auths={HOST: {}})
    helper(home, "store", KNOWN)
    assert remove(HOST, home)
    assert called(home) == [f"get {HOST}", f"erase {HOST}"]


def test_a_folder_that_cannot_be_written_is_told(home, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError) as caught:
        store_login(HOST, "ada", "s", {**home, "DOCKER_CONFIG": str(tmp_path / "file")})
    assert caught.value.code == "unwritable-credentials-file"
    assert caught.value.message.startswith(f"cannot write {tmp_path / 'file' / 'config.json'}: ")


def test_a_password_may_be_of_any_bytes(home):
    password = b"caf\xe9".decode("utf-8", "surrogateescape")
    store_login(HOST, "ada", password, home)
    assert find(home) == Login("ada", password)
    assert base64.b64decode(basic(Login("ada", password)).removeprefix("Basic ")) == b"ada:caf\xe9"


def test_a_users_name_has_no_colon(home):
    with pytest.raises(RegistryError) as caught:
        store_login(HOST, "a:da", "s", home)
    assert caught.value.code == "invalid-login"
