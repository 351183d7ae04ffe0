"""The same image from the same Dockerfile, whichever ids a builder may give: owners and devices are kept on each rung."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace

import pytest
from worlds.building import Bench, Image
from worlds.command import Pybuild, proxy_arguments

# What was made, as far as it may not differ between two builds: not times, and of what programs write not the size.
Told = dict[str, tuple[bytes, int, int, int, int, int, str]]

OWNERS = """\
FROM base AS one
RUN mkdir /n && mknod -m 640 /n/char c 1 3 && mknod /n/block b 7 200 && chown 0:6 /n/block \\
 && touch /n/big && chown 3000000:4294967294 /n/big && ln -s to /n/link && chown -h 70000:70001 /n/link \\
 && mkfifo /n/fifo && chown 5:80000 /n/fifo && touch /n/bits && chmod 6755 /n/bits && chown 90000 /n/bits \\
 && mkdir /n/folder && chown -R 33:33 /n/folder && ln /n/char /n/again && mv /n/link /n/renamed \\
 && touch /n/back && chown 70000:70000 /n/back && chown 7:0 /n/back
FROM base
COPY --from=one /n /copied
COPY --from=one --chown=123456:234567 /n/big /n/renamed /given/
COPY --chown=5000000:1 <<EOF /inline
text
