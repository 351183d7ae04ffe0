"""How a diagnosis is told."""

from __future__ import annotations

import pytest
from worlds.terminal import Recorded, surroundings

from builder.cli.commands import doctor
from builder.cli.main import main
from builder.engine.doctor import Diagnosis, Rung
from builder.image.names import Platform

RUNGS = (
    Rung(topic="identities", name="none", works=False, detail="not root"),
    Rung(topic="identities", name="subid", works=True, taken=True, detail="sub-ids"),
    Rung(topic="identities", name="single", works=False, detail="not supported", hint="use another"),
    Rung(topic="namespaces", name="namespaces", works=True, taken=True, detail="65,537 user ids"),
    Rung(topic="isolation", name="overlay", works=False, detail="NFS", hint="another file system"),
    Rung(topic="isolation", name="copy", works=True, taken=True, detail="copies"),
)


def told(monkeypatch: pytest.MonkeyPatch, *rungs: Rung) -> tuple[int, str]:
    found = Diagnosis(
        kernel="Linux 6.1",
        platform=Platform("linux", "amd64"),
        store="/s",
        filesystem="nfs4",
        free=5_000_000_000,
        rungs=rungs,
    )
    monkeypatch.setattr(doctor, "diagnose", lambda _: found)
    world = surroundings({"HOME": "/nonexistent"})
    code = main(["doctor"], world)
    assert isinstance(world.stdout, Recorded)
    return code, world.stdout.text


def test_what_is_taken_is_marked_and_what_would_be_better_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, *RUNGS) == (
        0,
        "Kernel:  Linux 6.1, linux/amd64\n"
        "Store:   /s (nfs4, 5GB free)\n"
        "\n"
        "Identities (--userns)\n"
        "  no   none: not root\n"
        "  yes  subid (taken): sub-ids\n"
        "  no   single: not supported\n"
        "\n"
        "Namespaces\n"
        "  yes  65,537 user ids\n"
        "\n"
        "Root file systems (--isolation)\n"
        "  no   overlay: NFS\n"
        "       hint: another file system\n"
        "  yes  copy (taken): copies\n"
        "\n"
        "Builds can be made here.\n",
    )


def test_a_machine_that_allows_nothing_gives_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Rung(topic="namespaces", name="namespaces", works=False, detail="refused", hint="ask root")
    code, text = told(monkeypatch, *RUNGS[:3], refused)
    assert code == 1
    assert text.endswith(
        "Namespaces\n  no   refused\n       hint: ask root\n\n"
        "Commands cannot be run here: only Dockerfiles without RUN can be built.\n"
    )
