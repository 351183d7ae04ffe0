"""The instructions that change the image's configuration and nothing in its file system, and WORKDIR.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert.go: dispatchEnv … dispatchArg
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from builder.dockerfile.instructions import (
    Arg,
    Cmd,
    CommandLine,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Word,
    Workdir,
)
from builder.dockerfile.quoting import quoted
from builder.plan.findings import bounded, mistake
from builder.plan.history import healthcheck_text, plain_list, quoted_list
from builder.plan.lint import check_legacy, check_once, check_ports, check_secret, check_shell_form
from builder.plan.paths import below, clean
from builder.plan.ports import MAX_PORTS, BadPort, parse_ports
from builder.plan.run import with_shell
from builder.plan.scope import NOT_IN_ENVIRONMENT
from builder.plan.state import Job, StageState
from builder.plan.steps import WorkdirStep
from builder.plan.titles import title

# signal(7), as moby/sys/signal lists them; real-time signals are RTMIN to RTMIN+15 and RTMAX-14 to RTMAX.
_SIGNAL = re.compile(
    "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP"
    "|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN([+]([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?"
)

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def env(state: StageState, instruction: Env, job: Job) -> StageState:
    """The stage after ENV: every value is expanded by what was set before the instruction."""
    pairs = [(job.expand(state, pair.key), _value(state, pair.value, job)) for pair in instruction.pairs]
    entries, seen = list(state.config.env), dict(state.env)
    check_legacy(job, legacy=instruction.legacy)
    for name, value in pairs:
        check_secret(job, "ENV", name)
        # What is in no environment yet need not be looked for.
        place = next((i for i, item in enumerate(entries) if item.startswith(f"{name}=")), -1) if name in seen else -1
        if place < 0:
            entries.append(f"{name}={value}")
        else:
            entries[place] = f"{name}={value}"
        seen.pop(name, None)
        seen[name] = value
    said = "".join(f" {name}={value}" for name, value in pairs)
    return replace(state, env=seen).configured(env=tuple(entries)).noted(f"ENV{said}", job.created)


def _value(state: StageState, word: Word | None, job: Job) -> str:
    return job.expand(state, word) if word is not None else ""


def arg(state: StageState, instruction: Arg, job: Job) -> StageState:
    """The stage after ARG: the given argument, else its default, else the global argument of that name."""
    said: list[str] = []
    env, args = dict(state.env), list(state.args)
    for pair in instruction.pairs:
        name = pair.key.text
        check_secret(job, "ARG", name)
        value: str | None = job.scope.build_args.get(name)
        if value is None and pair.value is not None:
            # What stands before it in the same line is visible.
            value = job.expand(
                replace(state, env=env, args=tuple(args)) if "$" in pair.value.text else state, pair.value
            )
        elif value is None:
            value = job.scope.values.get(name)
        if value is not None and name not in NOT_IN_ENVIRONMENT:
            env.pop(name, None)
            env[name] = value
        args.append((name, value))
        said.append(name if value is None else f"{name}={value}")
    return replace(state, env=env, args=tuple(args)).noted("ARG " + " ".join(said), job.created)


def label(state: StageState, instruction: Label, job: Job) -> StageState:
    """The stage after LABEL."""
    pairs = [(job.expand(state, pair.key), _value(state, pair.value, job)) for pair in instruction.pairs]
    check_legacy(job, legacy=instruction.legacy)
    said = "".join(f" {name}={value}" for name, value in pairs)
    return state.configured(labels={**state.config.labels, **dict(pairs)}).noted(f"LABEL{said}", job.created)


def maintainer(state: StageState, instruction: Maintainer, job: Job) -> StageState:
    """The stage after MAINTAINER."""
    author = instruction.author.text
    return replace(state, image=replace(state.image, author=author)).noted(f"MAINTAINER {author}", job.created)


def workdir(state: StageState, instruction: Workdir, job: Job) -> StageState:
    """The stage after WORKDIR: a layer, unless it is the root."""
    written = job.expand(state, instruction.path)
    if not state.workdir_set and not written.startswith("/"):
        job.warn(
            "WorkdirRelativePath",
            f"Relative workdir {quoted(written)} can have unexpected results if the base image changes",
        )
    path = below(state.cwd, written)
    bounded(path, "the working folder", instruction.span)
    after = replace(state, workdir_set=True).configured(working_dir=path)
    if path == "/":
        return after.noted("WORKDIR /", job.created)
    step = WorkdirStep(
        title=title(instruction.original, state.env, job.scope.escape),
        where=instruction.span,
        number=job.number,
        path=clean(path),
        user=state.config.user,
        epoch=job.scope.epoch,
    )
    return after.stepped(f"WORKDIR {path}", job.created, step)


def user(state: StageState, instruction: User, job: Job) -> StageState:
    """The stage after USER."""
    name = job.expand(state, instruction.user)
    return state.configured(user=name).noted(f"USER {name}", job.created)


def cmd(state: StageState, instruction: Cmd, job: Job) -> StageState:
    """The stage after CMD."""
    words = _command_line(state, instruction, job)
    after = _placed(state, instruction, job).configured(cmd=words or None, args_escaped=True)
    return after.noted(f"CMD {quoted_list(words)}", job.created)


def entrypoint(state: StageState, instruction: Entrypoint, job: Job) -> StageState:
    """The stage after ENTRYPOINT, which takes the CMD away that was not set in this stage."""
    words = _command_line(state, instruction, job)
    after = _placed(state, instruction, job).configured(entrypoint=words or None)
    if "CMD" not in state.last:
        after = after.configured(cmd=None)
    return after.noted(f"ENTRYPOINT {quoted_list(words)}", job.created)


def _command_line(state: StageState, instruction: CommandLine, job: Job) -> tuple[str, ...]:
    words = tuple(word.text for word in instruction.words)
    if not instruction.shell_form:
        return words
    check_shell_form(state, job)
    return with_shell(state, " ".join(words))


def _placed(state: StageState, instruction: Instruction, job: Job) -> StageState:
    check_once(state, job)
    return replace(state, last={**state.last, instruction.name: instruction.span})


def healthcheck(state: StageState, instruction: Healthcheck, job: Job) -> StageState:
    """The stage after HEALTHCHECK."""
    command = instruction.command
    if command is None:
        test: tuple[str, ...] = ("NONE",)
    else:
        test = ("CMD-SHELL" if command.shell_form else "CMD", *(word.text for word in command.words))
    durations = {
        "Interval": instruction.interval,
        "Timeout": instruction.timeout,
        "StartPeriod": instruction.start_period,
        "StartInterval": instruction.start_interval,
        "Retries": instruction.retries,
    }
    check = {"Test": list(test)} | {name: value for name, value in durations.items() if value}
    after = _placed(state, instruction, job).configured(healthcheck=check)
    return after.noted(f"HEALTHCHECK {healthcheck_text(test, instruction)}", job.created)


def expose(state: StageState, instruction: Expose, job: Job) -> StageState:
    """The stage after EXPOSE."""
    ports: list[str] = []
    for word in sorted(instruction.ports, key=lambda word: word.text):
        for text in job.examine(state, word).words:
            try:
                found = parse_ports(text)
            except BadPort as e:
                raise mistake(str(e), word.span, "invalid-port", "write it as 80, 80/udp or 7000-7005/tcp") from None
            check_ports(job, text, found)
            ports.extend(found.ports)
        if len(ports) + job.findings.ports > MAX_PORTS:
            raise mistake(f"more than {MAX_PORTS} ports are exposed", word.span, "too-many-ports")
    exposed = _united(state.config.exposed_ports, ports)
    job.findings.ports += len(ports)
    return state.configured(exposed_ports=exposed).noted(f"EXPOSE {plain_list(ports)}", job.created)


def _united(held: tuple[str, ...], more: Sequence[str]) -> tuple[str, ...]:
    """*held*, which is sorted, and *more*; cheap where a few are added to many."""
    if len(more) > 100:
        return tuple(sorted({*held, *more}))
    found = list(held)
    for text in more:
        place = bisect_left(found, text)
        if found[place : place + 1] != [text]:
            found.insert(place, text)
    return tuple(found)


def volume(state: StageState, instruction: Volume, job: Job) -> StageState:
    """The stage after VOLUME."""
    paths = [(word, job.expand(state, word)) for word in instruction.paths]
    for word, path in paths:
        if not path:
            raise mistake("VOLUME specified can not be an empty string", word.span, "empty-volume")
    texts = [path for _, path in paths]
    return state.configured(volumes=_united(state.config.volumes, texts)).noted(
        f"VOLUME {plain_list(texts)}", job.created
    )


def stopsignal(state: StageState, instruction: StopSignal, job: Job) -> StageState:
    """The stage after STOPSIGNAL."""
    text = job.expand(state, instruction.signal)
    name = text.upper().removeprefix("SIG")
    number = int(text) if _NUMBER.fullmatch(text) else None
    if number == 0 or (number is None and not _SIGNAL.fullmatch(name)):
        raise mistake(f"invalid signal: {text}", instruction.signal.span, "invalid-signal", "write it as SIGTERM or 15")
    return state.configured(stop_signal=text).noted(f"STOPSIGNAL {text}", job.created)


def shell(state: StageState, instruction: Shell, job: Job) -> StageState:
    """The stage after SHELL."""
    words = tuple(word.text for word in instruction.words)
    return state.configured(shell=words or None).noted(f"SHELL {plain_list(words)}", job.created)


def onbuild(state: StageState, instruction: Onbuild, job: Job) -> StageState:
    """The stage after ONBUILD, which leaves no history."""
    return state.configured(on_build=(*state.config.on_build, instruction.trigger))
