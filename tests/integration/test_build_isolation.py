"""However roots and identities are made, and whoever builds: the image is the same."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from worlds.building import Bench, leftovers, processes_of

DOCKERFILE = """\
FROM base AS one
RUN mkdir -p /d/sub /gone && echo 1 >/d/file && echo 2 >/d/sub/file && echo 3 >/d/plain \\
 && ln /d/file /d/hard && ln -s file /d/soft \\
 && echo x >/gone/x && chmod 4755 /d/sub/file && mkfifo /d/fifo && chown 1234:567 /d/file
RUN rm -r /gone && mv /d/sub /d/moved && echo more >>/d/plain && echo other >>/d/hard \\
 && rm /etc/group && mkdir /etc/group
FROM base
COPY --from=one /d/ /copied/
COPY --chown=7:8 file /deep/er/
WORKDIR /job/place
RUN chmod 700 /tmp && touch -d '2001-09-09 01:46:40' /tmp/old && rm /copied/soft
ENV A=b
"""
KINDS = {
    "overlay": ("--isolation=overlay",),
    "copy": ("--isolation=copy",),
}


def _build(bench: Bench, name: str, *words: str) -> tuple[str, dict[str, bytes], list[set[str]]]:
    own = bench.with_store(f"store-{name}")
    own.write(DOCKERFILE, {"file": "content\n"})
    built, image = own.image("--build-arg=SOURCE_DATE_EPOCH=1000000000", "--reproducible", *words)
    assert len(built.performed) == 6
    again = own.build("--build-arg=SOURCE_DATE_EPOCH=1000000000", "--reproducible", *words)
    assert again.performed == []
    assert leftovers(own.store) == []
    return image.digest, image.files(), [set(image.members(number)) for number in range(1, 5)]


def test_every_isolation_gives_the_same_image(bench: Bench, bench_rootless: Bench) -> None:
    expected = _build(bench, "root")
    for kind, words in KINDS.items():
        # No setuid file is written to: who is not root of the machine loses the bit by that (linux,
        # setattr_should_drop_suidgid).
        for one, who in ((bench, "root"), (bench_rootless, "user")):
            found = _build(one, f"{who}-{kind}", *words)
            assert found[1:] == expected[1:], (who, kind)
            assert found[0] == expected[0], (who, kind)


def _eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_program_behind_a_root_ends_with_its_build(
    bench: Bench, number: int, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()
    bench.write("FROM base\nRUN echo 1 >/one\nRUN echo 2 >/two && sleep 1000\n")
    pybuild = bench.pybuild
    process = subprocess.Popen(
        [*pybuild.launch, *bench.all_words("--isolation=fuse-overlayfs", "--progress=plain")],
        env=pybuild.person.environment() | {"PYBUILD_ROOT": str(pybuild.store), **pybuild.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert _eventually(lambda: any(bench.store.glob("snapshots/fuse-overlayfs-*/drafts/*/fs/two")))
    finally:
        process.send_signal(number)
        process.wait()
    assert _eventually(lambda: processes_of(bench.store) == [])
    bench.write("FROM base\nRUN echo 1 >/one\nRUN echo 2 >/two\n")
    again = bench.build("--isolation=fuse-overlayfs")
    assert again.performed == ["RUN echo 2 >/two"]
    assert leftovers(bench.store) == []
    assert processes_of(bench.store) == []
