"""How an instruction is shown while it is performed.

source   BuildKit, convert.go: uppercaseCmd, processCmdEnv, summarizeHeredoc
"""

from __future__ import annotations

from collections.abc import Mapping

from builder.dockerfile.words import expand
from builder.errors import DockerfileError
from builder.plan.redaction import redacted


def title(original: str, env: Mapping[str, str], escape: str, *, command: bool = False) -> str:
    """The instruction in one line, its name in capitals and its variables replaced, as far as that goes.

    command   it is a RUN: quotes stay, and what is not set stays for the shell
    """
    try:
        text = expand(original, env, escape=escape, raw_quotes=command, skip_unset=command)
    except DockerfileError:
        # It is for people: a line that only the shell understands is shown as it is.
        text = original
    name, _, rest = text.strip().partition(" ")
    # A token that an ARG gave would be in every log.
    return redacted(" ".join(f"{name.upper()} {rest}".split("\n")).strip())
