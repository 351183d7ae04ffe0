"""The same Dockerfiles, built by pybuild and by each peer of this machine, in turn and in one run."""
