"""Which servers are asked for a name, and how: mirrors, rewriting, proxies, challenges."""

import json

import pytest

from builder.errors import RegistryError
from builder.image.names import Digest, Reference
from builder.registry.challenges import Challenge, parse_challenge, parse_challenges
from builder.registry.endpoints import Endpoint, Endpoints
from builder.registry.origins import Origin, Request, is_loopback, split_host
from builder.registry.proxies import proxy_for
from builder.registry.session import told
from builder.registry.transport import asked_pause

DIGEST = Digest.of(b"")


def configured(tmp_path, conf=None, daemon=None):
    (tmp_path / "etc/containers").mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/docker").mkdir(parents=True, exist_ok=True)
    if conf is not None:
        (tmp_path / "etc/containers/registries.conf").write_text(conf)
    if daemon is not None:
        (tmp_path / "etc/docker/daemon.json").write_text(daemon if isinstance(daemon, str) else json.dumps(daemon))
    return Endpoints({"HOME": str(tmp_path / "home")}, tmp_path / "etc")


def places(endpoints, name):
    return [(e.host, e.repository, e.insecure, e.mirror) for e in endpoints.for_pull(Reference.parse(name))]


def test_without_configuration_a_name_is_its_place(tmp_path):
    endpoints = configured(tmp_path)
    assert endpoints.for_pull(Reference.parse("busybox")) == (Endpoint(host="docker.io", repository="library/busybox"),)
    assert endpoints.for_push(Reference.parse("example.com/a/b")) == Endpoint(host="example.com", repository="a/b")


CONF = """
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "example.com/foo"
location = "internal.example.net/bar"
[[registry.mirror]]
location = "mirror-0.example.net/foo"
insecure = true
[[registry.mirror]]
location = "mirror-1.example.net"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "mirror-2.example.net"
pull-from-mirror = "tag-only"
[[registry]]
location = "example.com"
insecure = true
[[registry]]
prefix = "*.wild.example"
location = "tame.example/wild"
[[registry]]
location = "docker.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "hub.example.net"
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "example.com/foo/app:1",
            [
                ("mirror-0.example.net", "foo/app", True, True),
                ("mirror-2.example.net", "app", False, True),
                ("internal.example.net", "bar/app", False, False),
            ],
        ),
        (
            f"example.com/foo/app@{DIGEST}",
            [
                ("mirror-0.example.net", "foo/app", True, True),
                ("mirror-1.example.net", "app", False, True),
                ("internal.example.net", "bar/app", False, False),
            ],
        ),
        ("example.com/foobar/app", [("example.com", "foobar/app", True, False)]),
        ("example.com.evil.example/foo", [("example.com.evil.example", "foo", False, False)]),
        ("a.b.wild.example/x", [("tame.example", "wild/x", False, False)]),
        ("wild.example/x", [("wild.example", "x", False, False)]),
        ("busybox", [("docker.io", "library/busybox", False, False)]),
        (
            f"busybox@{DIGEST}",
            [("hub.example.net", "library/busybox", False, True), ("docker.io", "library/busybox", False, False)],
        ),
    ],
)
def test_names_are_rewritten_as_registries_conf_says(tmp_path, name, expected):
    assert places(configured(tmp_path, CONF), name) == expected


def test_a_drop_in_replaces_an_entry(tmp_path):
    endpoints = configured(tmp_path, '[[registry]]\nlocation = "example.com"\nblocked = true\n')
    folder = tmp_path / "etc/containers/registries.conf.d"
    folder.mkdir()
    (folder / "50-mine.conf").write_text('[[registry]]\nlocation = "example.com"\n')
    assert places(endpoints, "example.com/x") == [("example.com", "x", False, False)]


def test_a_users_file_takes_the_place_of_the_systems(tmp_path):
    endpoints = configured(tmp_path, '[[registry]]\nlocation = "example.com"\nblocked = true\n')
    own = tmp_path / "home/.config/containers/registries.conf"
    own.parent.mkdir(parents=True)
    own.write_text('[[registry]]\nlocation = "example.com"\ninsecure = true\n')
    assert places(endpoints, "example.com/x") == [("example.com", "x", True, False)]


def test_the_old_form_says_what_is_insecure_and_blocked(tmp_path):
    endpoints = configured(
        tmp_path, "[registries.insecure]\nregistries = ['a.example']\n[registries.block]\nregistries = ['b.example']\n"
    )
    assert places(endpoints, "a.example/x") == [("a.example", "x", True, False)]
    with pytest.raises(RegistryError) as caught:
        endpoints.for_push(Reference.parse("b.example/x"))
    assert caught.value.code == "blocked-registry"


@pytest.mark.parametrize(
    "conf",
    [
        "[[registry",
        '[[registry]]\nlocation = "https://example.com"',
        "[[registry]]\nlocation = 3",
        '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\ninsecure = true',
        '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "x"',
        "registry = 1",
    ],
)
def test_a_registries_conf_that_is_broken_is_told(tmp_path, conf):
    with pytest.raises(RegistryError) as caught:
        configured(tmp_path, conf).for_pull(Reference.parse("busybox"))
    assert caught.value.code == "invalid-registries-file"
    assert caught.value.message.startswith(f"{tmp_path / 'etc/containers/registries.conf'} cannot be understood: ")


def test_daemon_json_mirrors_docker_hub_alone(tmp_path):
    daemon = {"registry-mirrors": ["https://m.example/", "http://n.example:5000"]}
    endpoints = configured(tmp_path, daemon=daemon)
    found = endpoints.for_pull(Reference.parse("busybox"))
    assert [(e.host, e.scheme, e.insecure, e.mirror) for e in found] == [
        ("m.example", "https", False, True),
        ("n.example:5000", "http", True, True),
        ("docker.io", "", False, False),
    ]
    assert len(endpoints.for_pull(Reference.parse("example.com/x"))) == 1


def test_daemon_json_names_insecure_registries(tmp_path):
    endpoints = configured(tmp_path, daemon={"insecure-registries": ["a.example:5000", "10.1.0.0/16"]})
    for host, insecure in [
        ("a.example:5000", True),
        ("a.example", False),
        ("10.1.2.3:5000", True),
        ("10.2.0.1", False),
        ("10.1.2.3.example.com", False),
    ]:
        assert endpoints.of_host(host) == Endpoint(host=host, repository="", insecure=insecure)


@pytest.mark.parametrize("daemon", ["{", "[]", '{"registry-mirrors": ["m.example"]}', '{"insecure-registries": 3}'])
def test_a_daemon_json_that_is_broken_is_told(tmp_path, daemon):
    with pytest.raises(RegistryError) as caught:
        configured(tmp_path, daemon=daemon).for_pull(Reference.parse("busybox"))
    assert caught.value.message.startswith(f"{tmp_path / 'etc/docker/daemon.json'} cannot be understood: ")


# --- origins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1", "[::1]"])
def test_this_machine_is_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["127.evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f.1", "127.1", "", "10.0.0.1"]
)
def test_what_looks_like_this_machine_is_not(host):
    assert not is_loopback(host)


def test_hosts_and_ports_are_told_apart():
    assert split_host("example.com") == ("example.com", None)
    assert split_host("Example.com:5000") == ("example.com", 5000)
    assert split_host("[::1]") == ("::1", None)
    assert split_host("[::1]:80") == ("::1", 80)


def test_the_same_server_under_two_spellings_is_the_same():
    assert Origin.of("https://Example.com/a?b") == Origin.of("https://example.com:443/")
    assert Origin.of("http://example.com") != Origin.of("https://example.com")
    assert Origin.of("https://user:pw@example.com/") == Origin.of("https://example.com/")


@pytest.mark.parametrize(
    "url", ["", "example.com", "ftp://x/", "https://", "https://[::1", "http://x:99999/", "file:///"]
)
def test_what_is_not_http_is_refused(url):
    with pytest.raises(RegistryError) as caught:
        Origin.of(url)
    assert caught.value.code == "invalid-url"


def test_a_request_is_shown_without_its_secrets():
    shown = Request("GET", "https://ada:secret@example.com:5000/v2/x\x1b[31m?token=secret#secret").describe()
    assert shown == "GET https://example.com:5000/v2/x?[31m"
    assert Request("GET", "https://[::1]:5/x").describe() == "GET https://[::1]:5/x"
    assert Request("GET", "https://[x/").describe() == "GET"


# --- proxies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("https://example.com", "", True),
        ("https://example.com", "example.com", False),
        ("https://a.example.com", "example.com", False),
        ("https://a.example.com", ".example.com", False),
        ("https://example.com", ".example.com", True),
        ("https://badexample.com", "example.com", True),
        ("https://example.com", "other, EXAMPLE.com ", False),
        ("https://example.com", "*", False),
        ("https://a.example.com", "*.example.com", False),
        ("https://example.com:5000", "example.com:5000", False),
        ("https://example.com", "example.com:5000", True),
        ("https://10.1.2.3", "10.1.0.0/16", False),
        ("https://10.2.2.3", "10.1.0.0/16", True),
        ("https://10.1.2.3", "10.1.2.3", False),
        ("https://[fd00::1]", "fd00::/8", False),
        ("https://example.com", "example.com:port", True),
        ("https://localhost:5000", "", False),
        ("https://127.0.0.2:5000", "", False),
    ],
)
def test_proxies_are_used_as_go_programs_use_them(url, no_proxy, proxied):
    environment = {"HTTPS_PROXY": "proxy.example:3128", "HTTP_PROXY": "http://other", "NO_PROXY": no_proxy}
    assert proxy_for(Origin.of(url), environment) == ("http://proxy.example:3128" if proxied else "")


def test_small_letters_do_too():
    assert proxy_for(Origin.of("http://example.com"), {"http_proxy": "http://p:1"}) == "http://p:1"
    assert proxy_for(Origin.of("https://example.com"), {"http_proxy": "http://p:1"}) == ""


def test_a_proxy_of_another_kind_is_refused():
    with pytest.raises(RegistryError) as caught:
        proxy_for(Origin.of("https://example.com"), {"HTTPS_PROXY": "socks5://ada:secret@p:1"})
    assert caught.value.message == "HTTPS_PROXY names a proxy for socks5, which is not supported"


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/t",service="s",scope="x:y:pull,push"',
            Challenge("bearer", {"realm": "https://a/t", "service": "s", "scope": "x:y:pull,push"}),
        ),
        ('Basic realm="a \\"b\\", c", charset=UTF-8', Challenge("basic", {"realm": 'a "b", c', "charset": "UTF-8"})),
        ('Negotiate, Basic realm="x", Bearer realm="y"', Challenge("bearer", {"realm": "y"})),
        ('Digest realm="Bearer realm=evil", nonce=1, BASIC realm=x', Challenge("basic", {"realm": "x"})),
        ("basic", Challenge("basic", {})),
        ("", None),
        ("Negotiate abc==", None),
        (',,, "', None),
    ],
)
def test_challenges_are_read(header, expected):
    assert parse_challenge(header) == expected


def test_a_hostile_challenge_takes_no_time():
    assert parse_challenges("Bearer " + 'a="\\' * 100_000)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors": [{"code": "A", "message": "first"}, {"code": "B"}]}', "first; B"),
        (b'{"errors": [{"message": "two\\nlines\\u001b[31m"}]}', "two lines [31m"),
        (b'{"errors": 3}', ""),
        (b'{"errors": [3]}', ""),
        (b"<html>", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_registrys_words_fit_on_one_line(body, expected):
    assert told(body) == expected


@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("", 0), ("-1", 0), ("soon", 0), ("٣", 0)])
def test_pauses_are_read(text, expected):
    assert asked_pause({"Retry-After": text}) == expected


def test_a_pause_may_be_a_date():
    assert asked_pause({"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}) > 1e9
    assert asked_pause({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0
