"""RUN --mount: keys, defaults, and what cannot be."""

from __future__ import annotations

import pytest
from plans import AMD64, mistake, plan, run_step

from builder.plan.steps import (
    BaseKey,
    BindMount,
    CacheMount,
    ContextInput,
    ImageInput,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
)


def mount(flag: str, before: str = "") -> RunMount:
    """What ``--mount=`` *flag* comes to."""
    return run_step(plan(f"FROM a\n{before}RUN --mount={flag} x\n")).mounts[0]


def said(found: RunMount) -> dict[str, object]:
    """The fields of a mount but for its place."""
    return {name: getattr(found, name) for name in type(found).__dataclass_fields__ if name != "where"}


BIND = {"input": ContextInput(), "source": "/", "writable": False}
CACHE = {
    "sharing": "shared",
    "input": None,
    "source": "/",
    "mode": 0o755,
    "uid": 0,
    "gid": 0,
    "read_only": False,
}
TMPFS = {"size": 0, "source": "/", "read_only": False}
SECRET = {"env": "", "required": False, "mode": 0o400, "uid": 0, "gid": 0}
SSH = {"id": "default", "required": False, "mode": 0o600, "uid": 0, "gid": 0}


@pytest.mark.parametrize(
    ("flag", "kind", "fields"),
    [
        ("target=/m", BindMount, BIND | {"target": "/m"}),
        ("type=bind,dst=m,src=a/../b", BindMount, BIND | {"target": "/w/m", "source": "/b"}),
        ("destination=/m/,rw", BindMount, BIND | {"target": "/m", "writable": True}),
        ("target=/m,readonly=false", BindMount, BIND | {"target": "/m", "writable": True}),
        ("target=/m,readwrite=0", BindMount, BIND | {"target": "/m"}),
        ("target=/m,rw,ro", BindMount, BIND | {"target": "/m"}),
        ("target=/m,from=img", BindMount, BIND | {"target": "/m", "input": ImageInput(base=BaseKey("img", AMD64))}),
        ("type=cache,target=/c", CacheMount, CACHE | {"target": "/c", "id": "/c"}),
        ("type=cache,target=c/./d", CacheMount, CACHE | {"target": "/w/c/d", "id": "c/d"}),
        ("TYPE=CACHE,target=/c,id=x", CacheMount, CACHE | {"target": "/c", "id": "x"}),
        (
            "type=cache,target=/c,sharing=LOCKED,mode=0700,uid=5,gid=6,ro",
            CacheMount,
            CACHE
            | {"target": "/c", "id": "/c", "sharing": "locked", "mode": 0o700, "uid": 5, "gid": 6, "read_only": True},
        ),
        (
            "type=cache,target=/c,from=img,source=s",
            CacheMount,
            CACHE | {"target": "/c", "id": "/c", "input": ImageInput(base=BaseKey("img", AMD64)), "source": "/s"},
        ),
        ("type=tmpfs,target=/t", TmpfsMount, TMPFS | {"target": "/t"}),
        ("type=tmpfs,target=/t,size=64m", TmpfsMount, TMPFS | {"target": "/t", "size": 64 << 20}),
        ("type=tmpfs,target=/t,size=1.5KiB", TmpfsMount, TMPFS | {"target": "/t", "size": 1536}),
        ("type=tmpfs,target=/t,ro", TmpfsMount, TMPFS | {"target": "/t", "read_only": True}),
        ("type=tmpfs,target=/t,size=100b", TmpfsMount, TMPFS | {"target": "/t", "size": 100}),
        ("type=secret,id=s", SecretMount, SECRET | {"id": "s", "target": "/run/secrets/s"}),
        ("type=secret,id=a/b", SecretMount, SECRET | {"id": "a/b", "target": "/run/secrets/b"}),
        ("type=secret,source=s", SecretMount, SECRET | {"id": "s", "target": "/run/secrets/s"}),
        ("type=secret,target=/x/s", SecretMount, SECRET | {"id": "s", "target": "/x/s"}),
        ("type=secret,id=s,target=x", SecretMount, SECRET | {"id": "s", "target": "/w/x"}),
        ("type=secret,id=s,env=TOKEN", SecretMount, SECRET | {"id": "s", "target": None, "env": "TOKEN"}),
        ("type=secret,id=s,env=T,target=/s", SecretMount, SECRET | {"id": "s", "target": "/s", "env": "T"}),
        (
            "type=secret,id=s,required,mode=440,uid=1,gid=2",
            SecretMount,
            SECRET | {"id": "s", "target": "/run/secrets/s", "required": True, "mode": 0o440, "uid": 1, "gid": 2},
        ),
        ("type=ssh", SshMount, SSH | {"target": "/run/buildkit/ssh_agent.0"}),
        ("type=ssh,id=k,required=true,target=/s", SshMount, SSH | {"id": "k", "required": True, "target": "/s"}),
    ],
)
def test_a_mount_means(flag: str, kind: type, fields: dict[str, object]) -> None:
    found = mount(flag, "WORKDIR /w\n")
    assert type(found) is kind
    assert said(found) == fields


def test_values_are_expanded() -> None:
    found = mount("type=$T,target=/c/$N,id=${N}x", "ARG T=cache N=n\n")
    assert isinstance(found, CacheMount)
    assert (found.target, found.id) == ("/c/n", "nx")


def test_agents_get_sockets_of_their_own_and_the_first_is_the_default() -> None:
    step = run_step(plan("FROM a\nRUN --mount=type=ssh --mount=type=ssh,id=b x\n"))
    assert [found.target for found in step.mounts] == ["/run/buildkit/ssh_agent.0", "/run/buildkit/ssh_agent.1"]
    assert step.env[-1] == "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"


def test_an_agent_socket_that_is_set_stays() -> None:
    step = run_step(plan("FROM a\nENV SSH_AUTH_SOCK=/mine\nRUN --mount=type=ssh x\n"))
    assert step.env[-1] == "SSH_AUTH_SOCK=/mine"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("type=hologram,target=/m", 'unsupported mount type "hologram"'),
        ("type=cache,target=/c,sharing=some", 'unsupported sharing value "some"'),
        ("target=/m,sharing=shared", "invalid cache sharing set for bind mount"),
        ("target=/m,colour=red", "unexpected key 'colour' in 'colour=red'"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("target=/m,ro=perhaps", "invalid value for ro: perhaps"),
        ("target=/m,required", "unexpected key 'required' for mount type 'bind'"),
        ("target=/m,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,target=/m,size=lots", "invalid value for size: lots"),
        ("type=tmpfs,target=/m,size=1x", "invalid value for size: 1x"),
        ("type=tmpfs,target=/m,size=9999999999p", "invalid value for size: 9999999999p"),
        ("target=/m,mode=0644", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/m,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("type=cache,target=/m,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/m,gid=x", "invalid value x for gid"),
        ("type=cache,target=/m,uid=4294967296", "invalid value 4294967296 for uid"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=secret,id=a,env=", "invalid value for env: it is empty"),
        ("type=ssh,source=a", "ssh does not support source"),
        ("type=bind", 'invalid mount target "/"'),
        ("target=/", 'invalid mount target "/"'),
        ("target=/m/..", 'invalid mount target "/"'),
        ("target=.", 'invalid mount target "/"'),
    ],
)
def test_what_a_mount_cannot_be(flag: str, message: str) -> None:
    error = mistake(f"FROM a\nRUN --mount={flag} x\n")
    assert error.message == message
    assert error.where is not None
    assert error.where.describe().startswith("Dockerfile:2\n")


def test_a_mistyped_key_is_guessed() -> None:
    assert mistake("FROM a\nRUN --mount=type=cache,taget=/m x\n").hint == "did you mean target?"
    assert mistake("FROM a\nRUN --mount=type=cahce,target=/m x\n").hint == "did you mean cache?"


def test_mounts_are_in_the_order_of_their_targets() -> None:
    flags = "--mount=type=tmpfs,target=/b/c --mount=type=tmpfs,target=/b --mount=type=tmpfs,target=/a"
    assert [mount.target for mount in run_step(plan(f"FROM a\nRUN {flags} x\n")).mounts] == ["/a", "/b", "/b/c"]


def test_caches_of_a_namespace_are_others() -> None:
    made = plan("FROM a\nRUN --mount=type=cache,target=/c x\n", build_args={"BUILDKIT_CACHE_MOUNT_NS": "n"})
    (mount,) = run_step(made).mounts
    assert isinstance(mount, CacheMount)
    assert mount.id == "n//c"
