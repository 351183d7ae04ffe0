"""The commands, one module each, imported when it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: what its module calls ``COMMAND``.

    usage         what follows ``pybuild`` in the first line of its help
    description   what it does, one paragraph
    options       its own; those of all commands come with them (common.OPTIONS)
    examples      lines of a shell
    arguments     how many it takes: at least, and at most (None: any number)
    run           does it, and returns the exit code
    interspersed  whether options may stand behind arguments
    """

    name: str
    usage: str
    description: str
    options: tuple[Option, ...]
    examples: tuple[str, ...]
    arguments: tuple[int, int | None]
    run: Callable[[Parsed, Surroundings], int]
    interspersed: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what it does in a few words; ``also`` are its other names, Docker's long ones too.

    hidden  not listed by ``pybuild --help``
    """

    module: str
    summary: str
    also: tuple[str, ...] = ()
    hidden: bool = False


COMMANDS = {
    "build": Entry(
        "builder.cli.commands.build",
        "Build an image from a Dockerfile",
        ("image build", "builder build", "buildx build"),
    ),
    "pull": Entry("builder.cli.commands.pull", "Get images from registries", ("image pull",)),
    "push": Entry("builder.cli.commands.push", "Send images to registries", ("image push",)),
    "login": Entry("builder.cli.commands.login", "Log in to a registry"),
    "logout": Entry("builder.cli.commands.logout", "Log out of a registry"),
    "search": Entry("builder.cli.commands.search", "Look for images in a registry"),
    "run": Entry("builder.cli.commands.run", "Run a command in a new container", ("container run",)),
    "ps": Entry(
        "builder.cli.commands.ps",
        "List the containers that run left",
        ("container ls", "container list", "container ps"),
    ),
    "container rm": Entry("builder.cli.commands.container_rm", "Remove containers", ("container remove",), hidden=True),
    "commit": Entry("builder.cli.commands.commit", "Make an image of a container", ("container commit",)),
    "diff": Entry(
        "builder.cli.commands.diff", "Show what a container or an image changed", ("container diff", "image diff")
    ),
    "import": Entry("builder.cli.commands.import_", "Make an image of a root file system", ("image import",)),
    "images": Entry("builder.cli.commands.images", "List images", ("ls", "image ls", "image list")),
    "tag": Entry("builder.cli.commands.tag", "Give an image a further name", ("image tag",)),
    "rmi": Entry("builder.cli.commands.rmi", "Remove images", ("rm", "image rm", "image remove")),
    "history": Entry("builder.cli.commands.history", "Show the history of an image", ("image history",)),
    "inspect": Entry(
        "builder.cli.commands.inspect",
        "Show all that is known of images and containers",
        ("image inspect", "container inspect"),
    ),
    "save": Entry("builder.cli.commands.save", "Write images as a tar", ("image save",)),
    "load": Entry("builder.cli.commands.load", "Take images from a tar", ("image load",)),
    "explain": Entry("builder.cli.commands.explain", "Tell what a build would find in the cache, and why not the rest"),
    "doctor": Entry("builder.cli.commands.doctor", "Tell what this machine allows, and how to get more"),
    "context ls": Entry(
        "builder.cli.commands.context",
        "Show what is in a build context, and what keeps the rest out",
        ("context list",),
    ),
    "df": Entry("builder.cli.commands.df", "Show how much room the store takes", ("system df",)),
    "prune": Entry("builder.cli.commands.prune", "Remove what is not used", ("system prune",)),
    "image prune": Entry("builder.cli.commands.image_prune", "Remove images without a name", hidden=True),
    "container prune": Entry("builder.cli.commands.container_prune", "Remove all containers", hidden=True),
    "builder prune": Entry("builder.cli.commands.builder_prune", "Remove build cache", ("buildx prune",), hidden=True),
    "manifest inspect": Entry("builder.cli.commands.manifest_inspect", "Show a manifest or an index", hidden=True),
    "manifest create": Entry("builder.cli.commands.manifest_create", "Make one image of several", hidden=True),
    "manifest annotate": Entry("builder.cli.commands.manifest_annotate", "Say what an image is for", hidden=True),
    "manifest rm": Entry("builder.cli.commands.manifest_rm", "Remove lists of images", hidden=True),
    "manifest push": Entry("builder.cli.commands.manifest_push", "Push an image of several", hidden=True),
    "manifest": Entry("builder.cli.commands.manifest_group", "Make and show images of several platforms"),
    "image": Entry("builder.cli.commands.image_group", "Manage images"),
    "container": Entry("builder.cli.commands.container_group", "Manage containers"),
    "system": Entry("builder.cli.commands.system_group", "Manage the store"),
    "help": Entry("builder.cli.commands.help", "Show the help of a command"),
}
"""By name, in the order of ``pybuild --help``."""


def find(words: list[str]) -> tuple[str, int] | None:
    """The command that *words* begin with, and how many words its name has; or None."""
    for count in (2, 1):
        if len(words) < count:
            continue
        name = " ".join(words[:count])
        if name in COMMANDS:
            return name, count
        for main, entry in COMMANDS.items():
            if name in entry.also:
                return main, count
    return None


def load(name: str) -> Command:
    """The command called *name*, imported."""
    # The others stay on disk: what is not asked for costs nothing.
    from importlib import import_module

    command = import_module(COMMANDS[name].module).COMMAND
    assert isinstance(command, Command)
    return command
