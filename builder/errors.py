"""One hierarchy of errors, sorted by who can act on them. Imports nothing of the house.

Errors are data: a message, a stable kebab-case ``code``, a place that can describe itself, and a hint that says what to
do. Only ``cli`` draws them.
"""

from __future__ import annotations

from typing import Protocol


class Place(Protocol):
    """Anything that can say where it is: a span of a Dockerfile, a path, a request."""

    def describe(self) -> str:
        """One or more lines for people, without a final newline and without credentials."""
        ...


class BuilderError(Exception):
    """What went wrong, where, and what to do about it.

    message  one line, lower case, no final stop
    code     stable and kebab-case, for scripts: ``unknown-stage``
    where    the place, if there is one
    hint     what the user can do, one line, if there is something
    also     further errors found in the same run (all mistakes of a Dockerfile)
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        where: Place | None = None,
        hint: str | None = None,
        also: tuple[BuilderError, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.where = where
        self.hint = hint
        self.also = also

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the gate between processes; Exception's own pickling forgets keyword arguments.
        return _rebuild, (type(self), self.__dict__ | {"message": self.message})


def _rebuild(kind: type[BuilderError], state: dict[str, object]) -> BuilderError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class DockerfileError(BuilderError):
    """The Dockerfile is wrong; its author can act."""


class ContextError(BuilderError):
    """The build context lacks something, or cannot be read."""


class CommandFailed(BuilderError):
    """A command of the Dockerfile failed.

    exit_code  the command's exit status, 128 + N when signal N ended it
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        exit_code: int,
        where: Place | None = None,
        hint: str | None = None,
        also: tuple[BuilderError, ...] = (),
    ) -> None:
        super().__init__(message, code=code, where=where, hint=hint, also=also)
        self.exit_code = exit_code


class ImageError(BuilderError):
    """An image, layer or archive is not what it must be."""


class RegistryError(BuilderError):
    """A registry refused, lied or was out of reach."""


class StoreError(BuilderError):
    """The store cannot be written, or holds what it must not."""


class HostError(BuilderError):
    """What is needed is not allowed on this machine."""


class UsageError(BuilderError):
    """The command line is wrong; exit code 2."""


class InternalError(BuilderError):
    """Our own mistake: please report it."""
