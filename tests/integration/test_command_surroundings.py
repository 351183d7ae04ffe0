"""Where the command is started from: old locales, closed streams, a working folder that is gone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import pytest
from worlds.building import Bench

OLD_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""What Latin-1 is elsewhere: file names are not UTF-8."""


def _shell(bench: Bench, script: str, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    line = shlex.join([*bench.pybuild.launch, *words])
    environment = {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment, **(env or {})}
    done = bench.pybuild.person.run(["sh", "-c", script.replace("PYBUILD", line)], env=environment, cwd=bench.room)
    return done.returncode, done.stderr


@pytest.mark.parametrize("environment", [{}, OLD_LOCALE], ids=["UTF-8", "old locale"])
def test_names_in_a_dockerfile_are_utf8_in_any_locale(bench: Bench, environment: Mapping[str, str]) -> None:
    bench.write("FROM base\nCOPY größe /€\nRUN echo é >/ß\n", {"größe": "1\n"})
    _, image = bench.image(env=environment)
    assert image.files() == {"€": b"1\n", "ß": "é\n".encode()}


def test_closed_streams_are_nobodys_files(bench: Bench) -> None:
    bench.write("FROM base\nCOPY file /\n", {"file": "1\n"})
    archive = bench.room / "x.tar"
    words = bench.all_words(output=f"type=oci,dest={archive}")
    assert _shell(bench, "exec PYBUILD <&- >&- 2>&-", *words)[0] == 0
    assert archive.read_bytes().startswith(b"oci-layout\0")
    code, said = _shell(bench, "exec PYBUILD <&-", *bench.all_words("-f-"))
    assert (code, said) == (1, "error[empty-dockerfile]: the Dockerfile cannot be empty\n  Dockerfile\n")


def test_a_working_folder_that_is_gone(bench: Bench) -> None:
    bench.write("FROM base\n")
    said = _shell(bench, "mkdir gone && cd gone && rmdir ../gone && exec PYBUILD", "build", ".")
    told = "error[no-working-folder]: the working folder is gone\nhint: change to a folder that is there: cd\n"
    assert said == (1, told)
