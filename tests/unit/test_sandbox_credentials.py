"""Whose an emulated process is: the kernel's rules, one by one."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from builder.sandbox.supervision.credentials import (
    ROOT,
    UNCHANGED,
    Credentials,
    Ids,
    executed,
    set_files,
    set_one,
    set_three,
    set_two,
)

USER = Ids(1000, 1000, 1000, 1000)
DROPPED = Ids(0, 42, 0, 42)  # root after seteuid(42), as apt's methods are


def test_root_becomes_another_for_good():
    assert set_one(ROOT.users, 1000, privileged=True) == USER


def test_another_returns_only_to_what_it_was():
    assert set_one(DROPPED, 0, privileged=False) == Ids(0, 0, 0, 0)
    with pytest.raises(OSError, match="not permitted") as caught:
        set_one(USER, 0, privileged=False)
    assert caught.value.errno == errno.EPERM


def test_no_id_is_invalid():
    with pytest.raises(OSError, match="invalid id") as caught:
        set_one(USER, UNCHANGED, privileged=True)
    assert caught.value.errno == errno.EINVAL


def test_seteuid_keeps_the_saved_one_by_setresuid_and_sets_it_by_setreuid():
    assert set_three(ROOT.users, UNCHANGED, 42, UNCHANGED, privileged=True) == DROPPED
    assert set_two(ROOT.users, UNCHANGED, 42, privileged=True) == Ids(0, 42, 42, 42)
    assert set_two(Ids(5, 6, 7, 6), UNCHANGED, 5, privileged=False) == Ids(5, 5, 7, 5)


def test_three_at_once_are_permitted_among_those_held():
    assert set_three(Ids(1, 2, 3, 2), 3, 1, 2, privileged=False) == Ids(3, 1, 2, 1)
    with pytest.raises(OSError, match="not permitted"):
        set_three(Ids(1, 2, 3, 2), 1, 2, 4, privileged=False)
    with pytest.raises(OSError, match="not permitted"):
        set_two(Ids(1, 2, 3, 2), 3, UNCHANGED, privileged=False)


def test_the_file_systems_id_changes_without_error():
    assert set_files(ROOT.users, 7, privileged=True) == Ids(0, 0, 0, 7)
    assert set_files(USER, 7, privileged=False) == USER
    assert set_files(USER, UNCHANGED, privileged=True) == USER


def test_a_program_with_the_bits_has_its_owners_ids():
    user = Credentials(USER, USER, (5,))
    assert executed(user, None, None) == user
    assert executed(user, 0, None) == replace(user, users=Ids(1000, 0, 0, 0))
    assert executed(user, None, 43).primary == Ids(1000, 43, 43, 43)


def test_the_kept_capabilities_end_with_the_next_program():
    kept = Credentials(USER, Ids(), (), keeps=True)
    assert kept.privileged
    assert not executed(kept, None, None).privileged
