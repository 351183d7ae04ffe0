"""COPY, ADD and WORKDIR: what is taken, by which patterns, and how it is put into a root."""
