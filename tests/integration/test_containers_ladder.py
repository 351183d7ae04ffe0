"""In containers, as CI runners start them, Dockerfiles full of owners give what root makes on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.comparing import Contents, contents, differences
from worlds.containers import (
    DEFAULT,
    PODMAN_PROFILE,
    RANDOM_USER,
    UNCONFINED,
    Containers,
    Place,
    profile_without_unshare,
)
from worlds.ladder import FILES, PACKAGES, ROOT, USERS, Case, Rung
from worlds.processes import remove_tree

Climb = Callable[[Case, Rung], Contents]

PODMAN = Place(name="podman-profile", options=("--security-opt", f"seccomp={PODMAN_PROFILE}"))
ROOT_UNCONFINED = Place(name="unconfined", options=UNCONFINED)
POD = Place(name="pod-unconfined", options=(*RANDOM_USER, *UNCONFINED), note="isolation: overlay, identities: single")


def built(containers: Containers, place: Place, case: Case, room: Path, base: Path) -> Contents:
    """What is in the image."""
    bench = containers.bench(place, room, base)
    try:
        note, image = case.build(bench, timeout=600)
        assert note == place.note
        return contents(image)
    finally:
        remove_tree(bench.room)


@pytest.mark.parametrize(
    ("place", "case"),
    [
        *((DEFAULT, case) for case in (FILES, USERS, PACKAGES)),
        (PODMAN, FILES),
        (ROOT_UNCONFINED, FILES),
        (POD, FILES),
    ],
    ids=str,
)
def test_the_image_is_root_s(
    containers: Containers, climb: Climb, ladder_bases: Mapping[str, Path], quick_room: Path, place: Place, case: Case
) -> None:
    found = built(containers, place, case, quick_room, ladder_bases[case.base])
    told = differences(climb(case, ROOT), found)
    assert not told, "\n".join(told)


def test_clone_is_enough_where_unshare_is_refused(
    containers: Containers, climb: Climb, ladder_bases: Mapping[str, Path], quick_room: Path
) -> None:
    profile = profile_without_unshare(quick_room)
    place = replace(PODMAN, name="without-unshare", options=("--security-opt", f"seccomp={profile}"))
    found = built(containers, place, FILES, quick_room, ladder_bases[FILES.base])
    told = differences(climb(FILES, ROOT), found)
    assert not told, "\n".join(told)
