"""Whose commands are foreign, and as whom they are run."""

from __future__ import annotations

import pytest

from builder.engine.running import foreign as module
from builder.engine.running.foreign import as_somebody, foreign
from builder.errors import HostError
from builder.image.names import Platform
from builder.sandbox.gate import Identity

ROOT, OWN = Identity(kind="root", key="root"), Identity(kind="own", key="root")
OTHERS = frozenset({Platform("linux", "arm64")})


@pytest.fixture(autouse=True)
def _root_of_an_amd64_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "this_machine", lambda: Platform("linux", "amd64"))
    monkeypatch.setattr(module, "identity", lambda userns, *, fresh=False: OWN if fresh and userns == "auto" else ROOT)


def test_variants_of_this_machine_s_architecture_are_its_own() -> None:
    theirs = [Platform("linux", "arm", "v7"), Platform("windows", "amd64")]
    assert foreign([Platform("linux", "amd64", "v3"), Platform("linux", "amd64"), *theirs]) == set(theirs)


def test_root_takes_a_user_namespace_only_for_commands_of_others() -> None:
    assert as_somebody(lambda who: who, "auto", frozenset()) == ROOT
    assert as_somebody(lambda who: who, "auto", OTHERS) == OWN
    assert as_somebody(lambda who: who, "none", OTHERS) == ROOT


def test_where_none_is_granted_root_does_without() -> None:
    tried = []

    def refused(who: Identity) -> str:
        tried.append(who)
        if who == OWN:
            raise HostError("user namespaces are turned off", code="user-namespaces-disabled")
        return "done"

    assert as_somebody(refused, "auto", OTHERS) == "done"
    assert tried == [OWN, ROOT]


def test_what_fails_inside_is_not_tried_again() -> None:
    tried = []

    def fails(who: Identity) -> None:
        tried.append(who)
        raise HostError("the loopback interface cannot be brought up", code="sandbox-failed")

    with pytest.raises(HostError, match="loopback"):
        as_somebody(fails, "auto", OTHERS)
    assert tried == [OWN]
