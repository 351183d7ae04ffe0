"""``python -m builder`` is ``pybuild``."""

from builder.cli.main import entry

entry()
