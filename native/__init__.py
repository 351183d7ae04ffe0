"""The kernel, by name: cffi declarations, one function per call, mounts, seccomp; no policy."""
