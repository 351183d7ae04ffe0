"""``pybuild logout``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Parsed
from builder.image.names import DEFAULT_REGISTRY


def run(parsed: Parsed, world: Surroundings) -> int:
    """Forget the login for a registry."""
    from builder.registry.credentials import remove
    from builder.registry.login import registry_host

    host = registry_host(parsed.arguments[0] if parsed.arguments else "")
    if remove(host, passed_on(world.environ)):
        world.stdout.write(f"Removing login credentials for {host}\n")
    else:
        world.stdout.write(f"Not logged in to {host}\n")
    return 0


COMMAND = Command(
    name="logout",
    usage="logout [REGISTRY]",
    description=f"Forgets the login for a registry (default: {DEFAULT_REGISTRY}).",
    options=(),
    examples=("pybuild logout registry.example.com",),
    arguments=(0, 1),
    run=run,
)
