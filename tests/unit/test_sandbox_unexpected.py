"""What nobody expected: the machine's refusals are told as that, the rest as a mistake of ours."""

from __future__ import annotations

import errno
import os

import pytest

from builder.errors import BuilderError, HostError, InternalError, StoreError
from builder.sandbox.channel import as_internal
from builder.sandbox.unexpected import MENDS, told


@pytest.mark.parametrize("number", sorted(MENDS.keys() - {errno.ENOSPC, errno.EDQUOT}), ids=errno.errorcode.get)
def test_what_the_machine_refuses_is_its_own_error_with_what_to_do(number: int) -> None:
    error = told(OSError(number, os.strerror(number), "/some/file"))
    assert type(error) is HostError
    assert error.code == errno.errorcode[number].lower()
    assert error.message == f"{os.strerror(number).lower()}: /some/file"
    assert error.hint == MENDS[number]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_no_room_is_the_stores(number: int) -> None:
    error = told(OSError(number, os.strerror(number)))
    assert type(error) is StoreError
    assert error.code == "disk-full"


def test_a_call_without_a_file_is_named_by_the_line_that_made_it() -> None:
    with pytest.raises(OSError) as caught:
        os.sched_setscheduler(0, -1, os.sched_param(0))
    assert told(caught.value).message == "invalid argument"  # two calls in the line: nobody knows which it was
    with pytest.raises(OSError) as caught:
        os.sched_rr_get_interval(-1)
    assert told(caught.value).message == "sched_rr_get_interval: invalid argument"


@pytest.mark.parametrize(
    ("error", "code"), [(MemoryError(), "out-of-memory"), (RuntimeError("can't start new thread"), "no-threads")]
)
def test_what_runs_out_is_named(error: Exception, code: str) -> None:
    assert (type(told(error)), told(error).code) == (HostError, code)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "none", "/a/file"), OSError(errno.EBADF, "bad"), ValueError("odd")]
)
def test_all_else_is_a_mistake_of_ours(error: Exception) -> None:
    assert isinstance(told(error), InternalError)


def test_where_it_arose_goes_along_as_a_note() -> None:
    try:
        os.stat(b"\0".hex() * 3000)
    except OSError as error:
        mistake: BuilderError = as_internal(error)
    assert "Traceback (most recent call last)" in mistake.__notes__[0]
    assert "test_where_it_arose_goes_along_as_a_note" in mistake.__notes__[0]
