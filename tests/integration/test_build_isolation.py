"""However roots and identities are made, and whoever builds: the image is the same."""

from __future__ import annotations

from worlds.building import Bench, leftovers

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
WORKDIR /work/place
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
