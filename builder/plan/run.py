"""RUN: the command, what it sees, and how it is written into the history.

source   BuildKit, convert.go: dispatchRun; instructions/commands_runnetwork.go, commands_runsecurity.go,
         commands_rundevice.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from builder.dockerfile.heredocs import is_marker
from builder.dockerfile.instructions import Heredoc, Run, Word
from builder.dockerfile.numbers import truth
from builder.dockerfile.source import Span
from builder.errors import DockerfileError
from builder.plan.findings import mistake
from builder.plan.history import run_text
from builder.plan.mounts import read_mount
from builder.plan.scope import with_value
from builder.plan.state import Job, StageState
from builder.plan.steps import RunMount, RunStep, SecretMount, SshMount
from builder.plan.titles import title

_HOSTNAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

PIPES = "/dev/pipes"
"""Where the files of here-documents are while a command runs."""


def default_shell(os: str) -> tuple[str, ...]:
    """What shell form means where no SHELL was there."""
    return ("cmd", "/S", "/C") if os == "windows" else ("/bin/sh", "-c")


def with_shell(state: StageState, line: str) -> tuple[str, ...]:
    """A command line for the stage's shell."""
    return (*(state.config.shell or default_shell(state.image.platform.os)), line)


def run(state: StageState, instruction: Run, job: Job) -> StageState:
    """The stage after RUN."""
    words, files, summary = _command(state, instruction)
    argv = with_shell(state, " ".join(words)) if instruction.shell_form else words
    if not argv:
        raise mistake("arguments are required", instruction.span, "empty-command", "RUN [] names no program")
    mounts = _mounts(state, instruction, job)
    step = RunStep(
        title=_title(state, instruction, job, mounts, summary),
        where=instruction.span,
        number=job.number,
        argv=argv,
        env=tuple(f"{name}={value}" for name, value in _with_agent(state.env, mounts).items()),
        quiet_env=job.scope.proxies,
        user=state.config.user,
        cwd=state.cwd,
        mounts=mounts,
        files=files,
        network=_network(instruction) or job.options.network,
        security=_security(instruction),
        devices=tuple(_device(word) for word in instruction.devices),
        hostname=_hostname(instruction, job),
    )
    return state.stepped(f"RUN {run_text(argv, state.args, state.env)} # buildkit", job.created, step)


def _command(state: StageState, run: Run) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]:
    """The words, the files that here-documents make, and what the title says of a script."""
    words = tuple(word.text for word in run.words)
    if not run.heredocs or not run.shell_form:
        return words, (), ""
    line, first = words[0], run.heredocs[0]
    if is_marker(line) is None:  # ``<<EOF bash`` is a command and its input, and no script
        return (_with_documents(line, run.heredocs),), (), ""
    summary = _first_line(first.raw)
    if first.content.startswith("#!") and state.image.platform.os != "windows":
        path = f"{PIPES}/{first.name}"
        return (path,), ((path, first.content),), summary
    return (first.content,), (), summary


def _with_documents(line: str, documents: Sequence[Heredoc]) -> str:
    """The line with its here-documents after it, for a shell that knows them."""
    return line + "".join(f"\n{document.raw}{document.name}" for document in documents)


def _first_line(content: str) -> str:
    first, _, rest = content.strip().partition("\n")
    return f" ({first.rstrip()}{'...' if rest else ''})"


def _mounts(state: StageState, run: Run, job: Job) -> tuple[RunMount, ...]:
    def expand_value(text: str, where: Span) -> str:
        return job.expand(state, Word(text, where))

    mounts: list[RunMount] = []
    sockets = 0
    namespace = job.scope.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    for flag, taken in zip(run.mounts, job.inputs, strict=True):
        mount = read_mount(flag, expand_value, state.cwd, taken, sockets, namespace)
        sockets += isinstance(mount, SshMount)
        mounts.append(mount)
    # BuildKit sorts them by target: of two flags in another order it makes the same mounts, and the same cache key.
    return tuple(sorted(mounts, key=lambda mount: mount.target or ""))


def _with_agent(env: Mapping[str, str], mounts: Sequence[RunMount]) -> Mapping[str, str]:
    """The environment with the place of the first agent's socket."""
    socket = next((mount.target for mount in mounts if isinstance(mount, SshMount)), None)
    return env if socket is None or "SSH_AUTH_SOCK" in env else with_value(env, "SSH_AUTH_SOCK", socket)


def _title(state: StageState, run: Run, job: Job, mounts: Sequence[RunMount], summary: str) -> str:
    secrets = {mount.env: "****" for mount in mounts if isinstance(mount, SecretMount) and mount.env}
    return title(run.original + summary, {**state.env, **secrets}, job.scope.escape, command=True)


def _hostname(run: Run, job: Job) -> str:
    """BUILDKIT_SANDBOX_HOSTNAME; "" for the usual one."""
    name = job.scope.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", "")
    if name and not _HOSTNAME.fullmatch(name):
        message = f"BUILDKIT_SANDBOX_HOSTNAME={name[:80]} is no host name"
        raise mistake(message, run.span, "invalid-hostname", "at most 64 letters, digits, dots and hyphens")
    return name


def _network(run: Run) -> str:
    """What --network says; "" for nothing and for ``default``."""
    if run.network is None:
        return ""
    if run.network.text not in ("default", "none", "host"):
        raise _unknown(f'invalid network mode "{run.network.text}"', run.network, "default, none and host")
    return "" if run.network.text == "default" else run.network.text


def _security(run: Run) -> str:
    if run.security is None:
        return "sandbox"
    if run.security.text not in ("sandbox", "insecure"):
        raise _unknown(f'security "{run.security.text}" is not valid', run.security, "sandbox and insecure")
    return run.security.text


def _unknown(message: str, word: Word, known: str) -> DockerfileError:
    return mistake(message, word.span, "invalid-flag", f"known are {known}")


def _device(word: Word) -> str:
    """``NAME`` or ``NAME,required``, of ``[name=]NAME[,required[=BOOL]]``."""
    name, required = "", False
    for field in word.text.split(","):
        key, equals, value = field.partition("=")
        if key.lower() == "required":
            on = truth(value) if equals else True
            if on is None:
                raise mistake(f"invalid value for required: {value}", word.span, "invalid-device")
            required = on
        elif key.lower() == "name" and equals:
            if name:
                raise mistake(f"device name already set to {name}", word.span, "invalid-device")
            name = value
        elif not name:
            name = field  # a CDI name holds an equals sign: vendor.com/class=device
        else:
            raise mistake(f"unexpected key '{key}' in '{field}'", word.span, "invalid-device")
    return f"{name},required" if required else name
