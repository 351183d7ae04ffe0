"""One instruction folded into a stage."""

from __future__ import annotations

from builder.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from builder.errors import InternalError
from builder.plan import config
from builder.plan.copy import add, copy
from builder.plan.run import run
from builder.plan.state import Job, StageState


def fold(state: StageState, job: Job) -> StageState:
    """The stage after the job's instruction."""
    match job.instruction:
        case Run() as instruction:
            return run(state, instruction, job)
        case Copy() as instruction:
            return copy(state, instruction, job)
        case Add() as instruction:
            return add(state, instruction, job)
        case Workdir() as instruction:
            return config.workdir(state, instruction, job)
        case Env() as instruction:
            return config.env(state, instruction, job)
        case Arg() as instruction:
            return config.arg(state, instruction, job)
        case Label() as instruction:
            return config.label(state, instruction, job)
        case User() as instruction:
            return config.user(state, instruction, job)
        case Cmd() as instruction:
            return config.cmd(state, instruction, job)
        case Entrypoint() as instruction:
            return config.entrypoint(state, instruction, job)
        case Expose() as instruction:
            return config.expose(state, instruction, job)
        case Volume() as instruction:
            return config.volume(state, instruction, job)
        case StopSignal() as instruction:
            return config.stopsignal(state, instruction, job)
        case Shell() as instruction:
            return config.shell(state, instruction, job)
        case Healthcheck() as instruction:
            return config.healthcheck(state, instruction, job)
        case Maintainer() as instruction:
            return config.maintainer(state, instruction, job)
        case Onbuild() as instruction:
            return config.onbuild(state, instruction, job)
    raise InternalError(f"no rule for the instruction {job.instruction.name}", code="unknown-instruction")
