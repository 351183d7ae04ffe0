"""pybuild: container images from Dockerfiles, without a daemon and without root."""
