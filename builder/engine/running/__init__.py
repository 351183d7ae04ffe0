"""RUN, and what a command finds around it: mounts, caches, agents, and whoever can run it on this machine."""
