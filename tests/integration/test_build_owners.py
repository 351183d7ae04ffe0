"""The same image from the same Dockerfile whichever ids a builder may give: owners and devices are kept everywhere."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace

import pytest
from worlds.building import Bench, Image
from worlds.command import Pybuild, proxy_arguments

Told = dict[str, tuple[bytes, int, int, int, int, int, str]]
"""By layer and name, what may not differ between two builds: not times, and of what programs write not the size."""

OWNERS = """\
FROM base AS one
RUN mkdir /n && mknod -m 640 /n/char c 1 3 && mknod /n/block b 7 200 && chown 0:6 /n/block \\
 && touch /n/big && chown 3000000:4294967294 /n/big && ln -s to /n/link && chown -h 70000:70001 /n/link \\
 && mkfifo /n/fifo && chown 5:80000 /n/fifo && touch /n/bits && chmod 6755 /n/bits && chown 90000 /n/bits \\
 && mkdir /n/folder && chown -R 33:33 /n/folder && ln /n/char /n/again && mv /n/link /n/renamed \\
 && touch /n/back && chown 70000:70000 /n/back && chown 7:0 /n/back
FROM base
COPY --from=one /n /copied
COPY --from=one --chown=123456:234567 /n/big /n/fifo /n/char /given/
COPY --chown=5000000:1 <<EOF /inline
text
EOF
RUN mv /copied/big /copied/moved && rm /copied/fifo && chown 9:9 /inline
RUN --mount=type=cache,target=/cache,uid=70000,gid=5 touch /cache/x /used
"""

USERS = """\
FROM base
RUN echo 'app:x:1000:1000::/home/app:/bin/sh' >> /etc/passwd && echo 'app:x:1000:' >> /etc/group \\
 && echo 'extra:x:77:app' >> /etc/group && mkdir -m 777 /open && mkdir /group && chown 0:77 /group \\
 && chmod 2777 /group && mkdir -p /home/app && chown app:app /home/app
RUN touch /group/of-root && mkdir /group/folder
USER app
WORKDIR /home/app/work
RUN id -u > user; id -g > group; id -G > groups; umask 027; touch made; mkdir folder; ln -s x link; mkfifo pipe; \\
 mknod device c 1 3 || echo refused > refused; chown 0 made || echo kept > kept; chgrp 77 made; \\
 stat -c '%u:%g %a' made folder link > told; touch /group/of-app; sh -c 'touch inner' & wait
USER app:extra
RUN touch /open/extra
USER root
RUN stat -c '%u:%g %a %n' /group/* /home/app/work/* /open/* > /told
"""


def told(image: Image, *, sizes: bool = True) -> Told:
    found: Told = {}
    for number in range(1, len(image.manifest["layers"])):
        for name, member in image.members(number).items():
            device = (member.devmajor, member.devminor) if member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE) else (0, 0)
            rest = f"{member.linkname} {member.size if sizes else 0}"
            found[f"{number}: {name}"] = (member.type, member.mode, member.uid, member.gid, *device, rest)
    return found


@pytest.fixture
def one_id(bench_rootless: Bench, require: Callable[..., None]) -> Bench:
    """The ordinary user's bench where newuidmap is powerless."""
    require("setpriv")
    words = ("setpriv", "--no-new-privs", *bench_rootless.pybuild.launch)
    return replace(bench_rootless, pybuild=replace(bench_rootless.pybuild, launch=words)).with_store("one")


@pytest.mark.parametrize("isolation", ["overlay", "copy"])
@pytest.mark.parametrize("dockerfile", [OWNERS, USERS], ids=["owners", "users"])
def test_owners_are_the_same_on_every_rung(
    dockerfile: str, isolation: str, require_root: Callable[[], None], bench: Bench, one_id: Bench
) -> None:
    require_root()
    bench.write(dockerfile)
    rootless = replace(one_id, pybuild=replace(one_id.pybuild, launch=one_id.pybuild.launch[2:])).with_store("range")
    kinds = []
    results = []
    for each in (bench.with_store("root"), rootless, one_id):
        built, image = each.image(f"--isolation={isolation}")
        kinds += [one["text"].rpartition(" ")[2] for one in built.named("note") if "identities: " in one["text"]]
        results.append((told(image), image.files()))
    assert kinds == ["root", "subid", "single"]
    assert results[1] == results[0]
    assert results[2] == results[0]


def test_what_was_recorded_is_told_as_it_should_be(one_id: Bench) -> None:
    one_id.write(OWNERS)
    _, image = one_id.image()
    copied = image.members(1)
    assert (copied["copied/char"].type, copied["copied/char"].mode) == (tarfile.CHRTYPE, 0o640)
    assert (copied["copied/block"].devmajor, copied["copied/block"].devminor, copied["copied/block"].gid) == (7, 200, 6)
    assert (copied["copied/big"].uid, copied["copied/big"].gid) == (3000000, 4294967294)
    assert (copied["copied/renamed"].uid, copied["copied/renamed"].gid) == (70000, 70001)
    assert (copied["copied/fifo"].uid, copied["copied/fifo"].gid) == (5, 80000)
    assert (copied["copied/bits"].uid, copied["copied/bits"].mode) == (90000, 0o755)
    assert (copied["copied/back"].uid, copied["copied/back"].gid) == (7, 0)
    given = image.members(2)
    assert {(member.uid, member.gid) for name, member in given.items() if name != "given"} == {(123456, 234567)}
    assert image.members(4)["copied/moved"].uid == 3000000
    assert not any(b"pybuild" in image.layer(number) for number in range(1, 6))


def test_with_one_id_commands_see_what_they_gave_away(one_id: Bench) -> None:
    """With a range they see its highest id in place of one beyond it, and an empty file in place of a device."""
    one_id.write(OWNERS + "RUN cp -a /copied /again && stat -c '%u:%g %t:%T %n' /again/* > /seen\n")
    _, image = one_id.image()
    copied = {name: each[:6] for name, each in told(image).items() if name.startswith("6: again/")}
    assert copied["6: again/moved"][2:4] == (3000000, 4294967294)
    assert copied["6: again/char"] == (tarfile.CHRTYPE, 0o640, 0, 0, 1, 3)
    assert copied["6: again/renamed"][2:4] == (70000, 70001)
    seen = image.files()["seen"].decode().splitlines()
    assert {"0:6 7:c8 /again/block", "70000:70001 0:0 /again/renamed", "7:0 0:0 /again/back"} <= set(seen)


def test_a_hostile_archive_speaks_for_nobody(one_id: Bench) -> None:
    one_id.write("FROM base\nADD layer.tar /\n")
    with tarfile.open(one_id.context / "layer.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("claimed")
        info.pax_headers = {"SCHILY.xattr.user.pybuild.owner": "5:5 0:0 c 1:3"}
        tar.addfile(info)
    _, image = one_id.image()
    claimed = image.members(1)["claimed"]
    assert (claimed.type, claimed.uid, claimed.pax_headers) == (tarfile.REGTYPE, 0, {})


PACKAGES = """\
FROM debian
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cron dbus libcap2-bin
RUN useradd -m -u 1234 joe && install -o joe -g daemon -m 640 /etc/passwd /home/joe/x \\
 && su joe -c 'id > ~/id; touch ~/mine; mkdir ~/folder; ln -s a ~/link; stat -c "%u:%g %a %n" ~/* > ~/told' \\
 && chown -R joe:mail /home/joe/folder && mkdir -m 2775 /shared && chgrp staff /shared && touch /shared/file \\
 && cp /bin/true /shared/ping && setcap cap_net_raw+ep /shared/ping && cp -a /home/joe /home/copy \\
 && tar -C / -cf /tmp/t home/joe && mkdir /unpacked && tar -C /unpacked -xpf /tmp/t && rm /tmp/t \\
 && setpriv --reuid 5 --regid 6 --groups 7,8 id > /shared/setpriv
USER joe:mail
RUN id > ~/id2; touch ~/later
"""


def test_packages_with_users_of_their_own_are_installed_with_one_id(
    pybuild_rootless: Pybuild, one_id: Bench, debian_base: str
) -> None:
    context = one_id.room / "debian"
    context.mkdir()
    (context / "Dockerfile").write_text(PACKAGES)
    found = []
    for number, launch in enumerate((pybuild_rootless.launch, one_id.pybuild.launch)):
        layout = one_id.room / f"debian-{number}"
        replace(pybuild_rootless, launch=launch, store=one_id.room / f"store-{number}")(
            *("build", "--build-context", f"debian=docker-image://{debian_base}", *proxy_arguments()),
            *("-o", f"type=oci,dest={layout},tar=false", context),
            check=True,
            timeout=600,
        )
        found.append(Image.of(layout))
    subid, single = found
    assert told(single, sizes=False) == told(subid, sizes=False)
    for path in ("home/joe/id", "home/joe/told", "home/joe/id2", "shared/setpriv"):
        assert single.files()[path] == subid.files()[path]
    capability = single.members(2)["shared/ping"].pax_headers["SCHILY.xattr.security.capability"]
    assert capability == subid.members(2)["shared/ping"].pax_headers["SCHILY.xattr.security.capability"]
