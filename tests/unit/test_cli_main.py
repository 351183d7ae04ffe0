from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.terminal import Recorded, surroundings

import builder.build
from builder.cli import usage
from builder.cli.commands import COMMANDS, find, load
from builder.cli.main import main
from builder.engine.request import BuildRequest, Built
from builder.errors import BuilderError, CommandFailed, UsageError
from builder.events import BuildFinished, Emit, Exported, PlanReady, StepFailed, StepOutput, StepStarted
from builder.image.names import Digest

DIGEST = Digest("sha256:" + "d" * 64)
CONFIG = Digest("sha256:" + "c" * 64)
BUILT = Built(digest=DIGEST, config=CONFIG, names=(), metadata={})

Builder = Callable[[BuildRequest, Emit], Built | None]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[BuildRequest]:
    """What was asked of a builder that always succeeds."""
    requests: list[BuildRequest] = []

    def build(request: BuildRequest, emit: Emit) -> Built:
        requests.append(request)
        emit(Exported("docker", request.outputs[0].dest, 1000, (), str(CONFIG)))
        emit(BuildFinished(0.5, 0, 0))
        return BUILT

    monkeypatch.setattr(builder.build, "build", build)
    return requests


def said(*words: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    world = surroundings(environ)
    code = main(words, world)
    assert isinstance(world.stdout, Recorded)
    assert isinstance(world.stderr, Recorded)
    return code, world.stdout.text, world.stderr.text


@pytest.mark.parametrize(
    "words", [(".",), ("build", "."), ("image", "build", "."), ("buildx", "build", "."), ("--debug", "build", ".")]
)
def test_a_context_alone_is_built(words: tuple[str, ...], asked: list[BuildRequest]) -> None:
    code, out, err = said(*words)
    (request,) = asked
    tarball = request.outputs[0].dest
    assert (code, request.context, out) == (0, ".", "")
    assert err == f"built in 0.5s\nwrote ./{tarball} (1.0 kB) — load it with: docker load -i {tarball}\n"


def test_options_before_and_after_the_commands_name_are_the_same(asked: list[BuildRequest]) -> None:
    assert said("--root", "/r", "build", "-t", "a", ".")[0] == 0
    assert said("-t", "a", "--root=/r", ".")[0] == 0
    assert asked[0] == asked[1]
    assert asked[0].root == "/r"


def test_quiet_prints_the_images_id_and_nothing_else(asked: list[BuildRequest]) -> None:
    assert said("-q", ".") == (0, f"{CONFIG}\n", "")
    assert said("-q", "--platform", "linux/amd64,linux/arm64", "-t", "a", "--push", ".") == (0, f"{DIGEST}\n", "")
    assert said("--progress=none", ".") == (0, "", "")


def test_a_folder_that_is_called_like_no_command_is_a_context(asked: list[BuildRequest], tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    assert said("app")[0] == 0
    assert asked[0].context == "app"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("buidl", "."),
            "error[unknown-command]: 'buidl' is neither a command nor a folder\nhint: did you mean build?\n",
        ),
        (
            ("zzz",),
            "error[unknown-command]: 'zzz' is neither a command nor a folder\n"
            "hint: 'pybuild --help' lists the commands\n",
        ),
        (
            ("build",),
            "error[wrong-arguments]: build takes 1 argument, not 0\n"
            "hint: name the build context, for instance the current folder: pybuild build .\n",
        ),
        (
            (".", "x"),
            "error[wrong-arguments]: build takes 1 argument, not 2: '.', 'x'\nhint: see 'pybuild build --help'\n",
        ),
        (
            ("help", "nothing"),
            "error[unknown-command]: there is no command 'nothing'\nhint: 'pybuild --help' lists them\n",
        ),
        (
            ("--cache-to", "type=inline", "."),
            "error[unsupported-flag]: --cache-to is not supported: no cache is written elsewhere\n"
            "hint: the store is the cache: keep it with --root FOLDER\n",
        ),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_right(words: tuple[str, ...], text: str) -> None:
    assert said(*words) == (2, "", text)


def failing(error: BaseException) -> Builder:
    def build(request: BuildRequest, emit: Emit) -> Built:
        emit(PlanReady(1))
        emit(StepStarted(1, "0", "RUN make", 2))
        emit(StepOutput(1, 2, b"oh no\n"))
        emit(StepFailed(1, 1.0))
        raise error

    return build


COMMAND_FAILED = CommandFailed("the command failed", code="command-failed", exit_code=7)
SHOWN = "error[command-failed]: the command failed: exit code: 7\n"


def test_a_failed_build_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.build, "build", failing(COMMAND_FAILED))
    code, out, err = said(".")
    timeless = re.sub(r"(?m)^#1 \d+\.\d{3} ", "#1 … ", err)  # since the build began, by this machine's clock
    assert (code, out, timeless) == (1, "", f"#1 [1/1] RUN make\n#1 … oh no\n#1 ERROR after 1.0s\n{SHOWN}")
    assert said("-q", ".") == (1, "", f"last output of [1/1] RUN make:\n  | oh no\n{SHOWN}")


def test_debug_shows_where_the_error_arose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.build, "build", failing(COMMAND_FAILED))
    code, _, err = said("-qD", ".")
    assert code == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith(SHOWN)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageError("no such target", code="x"), 2, "error[x]: no such target\n"),
        (BuilderError("no", code="x"), 1, "error[x]: no\n"),
        (OSError(errno.EROFS, "Read-only file system", "/store"), 1, "error[erofs]: read-only file system: /store\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_how_a_build_ends_is_its_exit_code(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder.build, "build", failing(error))
    done, out, err = said("--progress=none", ".")
    assert (done, out, err.startswith(text)) == (code, "", True)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",), ("--root", "/x")])
def test_help_lists_the_commands(words: tuple[str, ...]) -> None:
    code, out, err = said(*words)
    assert (code, out, err) == (0, usage.of_all(), "")
    for name, entry in COMMANDS.items():
        assert (f"\n  {name} " in out) is not entry.hidden


@pytest.mark.parametrize("words", [("build", "--help"), ("build", ".", "-h"), ("help", "build"), ("--help", "build")])
def test_help_of_a_command_tells_its_options_and_examples(words: tuple[str, ...]) -> None:
    code, out, err = said(*words)
    assert (code, out, err) == (0, usage.of_command(load("build")), "")
    assert "\nExamples:\n  pybuild . " in out
    for option in load("build").options:
        assert option.hidden != (f"--{option.name}" in out), option.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_has_examples(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.examples
    assert max(len(line) for line in usage.of_command(command).splitlines()) <= 100


def test_a_commands_long_names_lead_to_it() -> None:
    assert find(["image", "build", "."]) == ("build", 2)
    assert find(["build", "image"]) == ("build", 1)
    assert find(["image"]) == ("image", 1)
    assert find(["container", "rm", "x"]) == ("container rm", 2)


def test_the_version_is_shown() -> None:
    code, out, _ = said("--version")
    assert (code, out.split()[0]) == (0, "pybuild")


def test_a_wrong_command_line_needs_no_builder_to_be_refused() -> None:
    """Nor anything else that takes long to import."""
    heavy = ("builder.build", "builder.plan", "builder.store", "argparse", "asyncio", "urllib3", "tqdm", "logging")
    probe = (
        "import sys; from builder.cli.main import main; from builder.cli.environment import Surroundings\n"
        "main(['-t', 'A', '.'], Surroundings.of_process())\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n", done.stderr
