"""Instructions → stages → steps: what is to be built, decided without looking at the world.

``compile`` has the two doors, ``missing_bases`` and ``compile_plan``; ``steps`` the values that come out of them;
``cachekey`` what a step's instruction says, as a digest. ``check`` and ``outline`` tell of a file that is not built.
"""
