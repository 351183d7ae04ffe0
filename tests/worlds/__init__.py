"""Worlds for tests and benchmarks: people, daemons, registries and base images, each a value with an end.

They need nothing but the standard library, so that ``scripts/bench`` can live in them too.
"""
