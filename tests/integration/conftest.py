"""A bench to build on: for whoever runs the tests, for the ordinary user, or for both."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds.building import Bench
from worlds.command import Pybuild


@pytest.fixture
def bench(pybuild: Pybuild, busybox_oci: Path, room: Path) -> Bench:
    """A bench of whoever runs the tests."""
    return Bench(pybuild=pybuild, room=room, base=busybox_oci)


@pytest.fixture
def bench_rootless(pybuild_rootless: Pybuild, busybox_oci: Path, room: Path) -> Bench:
    """A bench of the ordinary user's."""
    return Bench(pybuild=pybuild_rootless, room=room, base=busybox_oci)


@pytest.fixture
def bench_everyone(pybuild_everyone: Pybuild, busybox_oci: Path, room: Path) -> Bench:
    """A bench of root's, and then one of the ordinary user's: the test runs twice."""
    return Bench(pybuild=pybuild_everyone, room=room, base=busybox_oci)
