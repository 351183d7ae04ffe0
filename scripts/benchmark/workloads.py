"""What is built: Dockerfiles, contexts and base images, the same for every builder and on every machine."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from worlds.bases import kept_layout, write_layout

FILES = 5_000
_TWELVE_STEPS = """\
FROM {debian}
ENV APP=/app
WORKDIR /app
RUN echo 'deb none' >/etc/nothing.list
COPY d00 /app/d00
RUN find /app -type f | wc -l >/counted
COPY . /app
RUN find /app -type f | wc -l >>/counted
RUN cat /counted
LABEL org.example.title=bench
EXPOSE 8080
CMD ["cat", "/counted"]
"""
_COLD = "FROM {debian}\nRUN echo hello >/hello\nCOPY . /app\n"
_STEPS = "FROM {debian}\n" + "".join(f"RUN echo {number} >/step-{number}\n" for number in range(30))
_MANY = """\
FROM {debian}
RUN mkdir /many && cd /many && perl -e 'for my $d (1..200) { mkdir $d; \\
for my $f (1..100) { open my $o, ">", "$d/$f"; print $o "line $f\\n" x 20 } }'
"""
# 64 files of 16 MiB that gzip halves; perl is in every Debian.
_GIGABYTE = """\
FROM {debian}
RUN mkdir /data && perl -e 'srand(1); my $b = pack("L*", map { rand(65536) } 1..4194304); \\
for (1..64) { open my $f, ">", "/data/$_"; print $f pack("L", $_), substr($b, 4) }'
"""
_BIG = "FROM {big}\nRUN true\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One case."""

    name: str
    title: str
    dockerfile: str  # with {debian} or {big} for the base
    tarball: bool  # whether a tarball for `docker load` is written
    store: str  # "warm": built once before; "cold": an empty store every time
    cache: bool = True  # whether steps may be taken from the cache
    files: bool = False  # whether the context has its 5,000 files, or nothing but the Dockerfile
    edited: bool = False  # whether one file of the context changes before each build


WORKLOADS = (
    Workload(
        name="keep",
        title="12 steps, 5,000 files, all cached, nothing written",
        dockerfile=_TWELVE_STEPS,
        tarball=False,
        store="warm",
        files=True,
    ),
    Workload(
        name="noop",
        title="12 steps, 5,000 files, all cached, tarball",
        dockerfile=_TWELVE_STEPS,
        tarball=True,
        store="warm",
        files=True,
    ),
    Workload(
        name="edit",
        title="12 steps, one of 5,000 files changed, tarball",
        dockerfile=_TWELVE_STEPS,
        tarball=True,
        store="warm",
        files=True,
        edited=True,
    ),
    Workload(
        name="steps",
        title="30 trivial RUNs, no cache, nothing written",
        dockerfile=_STEPS,
        tarball=False,
        store="warm",
        cache=False,
    ),
    Workload(
        name="many",
        title="a RUN that makes 20,000 files, tarball",
        dockerfile=_MANY,
        tarball=True,
        store="warm",
        cache=False,
    ),
    Workload(
        name="cold",
        title="empty store: pull, RUN, COPY of 5,000 files, tarball",
        dockerfile=_COLD,
        tarball=True,
        store="cold",
        files=True,
    ),
    Workload(
        name="export",
        title="a cached image of 1 GiB, tarball",
        dockerfile=_GIGABYTE,
        tarball=True,
        store="warm",
    ),
    Workload(
        name="big",
        title="empty store: pull and unpack 1.2 GB, 68,000 files, three layers",
        dockerfile=_BIG,
        tarball=False,
        store="cold",
    ),
)


def make_context(workload: Workload, folder: Path, bases: dict[str, str]) -> None:
    """The context of *workload* in *folder*, with names of the base images put in."""
    folder.mkdir(parents=True)
    dockerfile = workload.dockerfile
    for name, reference in bases.items():
        dockerfile = dockerfile.replace("{" + name + "}", reference)
    (folder / "Dockerfile").write_text(dockerfile)
    if not workload.files:
        return
    pool = _text(1 << 20)
    rng = random.Random(0)
    for number in range(FILES):
        path = folder / f"d{number // 100:02}" / f"f{number % 100:02}.txt"
        path.parent.mkdir(exist_ok=True)
        start = rng.randrange(len(pool) - 8192)
        path.write_bytes(pool[start : start + rng.randrange(200, 6000)])


def edit(folder: Path, words: str) -> None:
    """One file of the context holds *words*, which no build has seen."""
    (folder / "d07" / "f42.txt").write_text(f"edited for {words}\n")


def big_layout() -> Path:
    """An OCI layout of 1.2 GB in three layers of 68,000 files and 1,360 folders, made once and kept."""

    def make(layout: Path) -> None:
        pool = _text(32 << 20)
        layers = [partial(_write_layer, number, files, pool) for number, files in enumerate((23_000, 23_000, 22_000))]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        write_layout(layout, *layers, config={"Cmd": ["sh"], "Env": [path]})

    return kept_layout("big", ["1"], make)


def _write_layer(number: int, files: int, pool: bytes, out: BinaryIO) -> None:
    rng = random.Random(number)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        if number == 0:
            _add_busybox(tar)
        _add(tar, f"layer{number}", None)
        for file in range(files):
            folder = f"layer{number}/d{file // 50:03}"
            if file % 50 == 0:
                _add(tar, folder, None)
            # Many small files and few big ones, as in a distribution: 17.6 kB on average.
            size = min(int(rng.expovariate(1 / 17_600)), 400_000)
            start = rng.randrange(len(pool) - size)
            _add(tar, f"{folder}/f{file % 50:02}", pool[start : start + size])


def _add(tar: tarfile.TarFile, name: str, data: bytes | None, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = 1_000_000_000
    if data is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    else:
        entry.size, entry.mode = len(data), mode
        tar.addfile(entry, io.BytesIO(data))


def _add_busybox(tar: tarfile.TarFile) -> None:
    _add(tar, "bin", None)
    for name in ("busybox", "sh", "true"):
        _add(tar, f"bin/{name}", Path("/bin/busybox").read_bytes(), 0o755)


def _text(size: int) -> bytes:
    """*size* bytes of words, which compress about as well as the files of a distribution."""
    rng = random.Random(size)
    words = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(4096)]

    def some() -> Iterator[bytes]:
        length = 0
        while length < size:
            word = rng.choice(words)
            length += len(word) + 1
            yield word

    return b" ".join(some())[:size]
