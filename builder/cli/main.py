"""To be furnished."""


def entry() -> None:
    """Run the command line."""
