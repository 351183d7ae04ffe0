"""The ladder's exam: Dockerfiles full of owners, and every rung that a host has to build them on.

A rung is who builds, with which snapshots, and what they lack; root's is the first, and what it makes is right by
definition. ``worlds.comparing`` says whether another one made the same.
"""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from worlds.building import Bench, Image
from worlds.command import Pybuild, installed_for, proxy_arguments
from worlds.people import Person

# --- rungs ----------------------------------------------------------------------------------------------------------

_SUB_IDS = ("/etc/subuid", "/etc/subgid")
_MAPPERS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to build on this machine.

    isolation, identities   what the build is to say that it took
    words     added to its command line
    ids       who builds: None is the ordinary user; else a uid and a gid, which no passwd(5) need know
    hidden    files of the host over which /dev/null is mounted for it
    powerless   whether no_new_privs is set, which makes newuidmap so
    fuse      whether /dev/fuse is one that everybody may open
    alike    it differs from another rung in how it is found only, so that the quickest cases will do
    """

    name: str
    isolation: str
    identities: str
    words: tuple[str, ...] = ()
    ids: tuple[int, int] | None = None
    hidden: tuple[str, ...] = ()
    powerless: bool = False
    fuse: bool = False
    alike: bool = False

    def __str__(self) -> str:
        return self.name


ROOT = Rung(name="root", isolation="overlay", identities="root", ids=(0, 0))
RUNGS = (
    Rung(name="sub-ids", isolation="overlay", identities="subid"),
    Rung(name="sub-ids-copy", isolation="copy", identities="subid", words=("--isolation=copy",)),
    Rung(
        name="sub-ids-fuse",
        isolation="fuse-overlayfs",
        identities="subid",
        words=("--isolation=fuse-overlayfs",),
        fuse=True,
    ),
    Rung(name="single", isolation="overlay", identities="single", words=("--userns=single",)),
    Rung(
        name="single-fuse",
        isolation="fuse-overlayfs",
        identities="single",
        words=("--userns=single", "--isolation=fuse-overlayfs"),
        fuse=True,
    ),
    Rung(name="no-range-copy", isolation="copy", identities="single", words=("--isolation=copy",), hidden=_SUB_IDS),
    Rung(name="no-newuidmap", isolation="overlay", identities="single", hidden=_MAPPERS, alike=True),
    Rung(name="no-new-privs", isolation="overlay", identities="single", powerless=True, alike=True),
    # As OpenShift starts a pod: no entry in passwd(5), root's group, no privileges to be had.
    Rung(name="pod-user", isolation="overlay", identities="single", ids=(1000680000, 0), powerless=True),
)
"""All that are to make what ROOT makes."""

# $1: what is hidden; $2: where to make the device of fuse, if at all; the rest is what is executed.
_PREPARE = """
for file in $1; do mount --bind /dev/null "$file"; done
if [ "$2" ]; then [ -e "$2" ] || mknod -m 666 "$2" c 10 229; mount --bind "$2" /dev/fuse; fi
shift 2
exec "$@"
"""


def bench_of(rung: Rung, ordinary: Person, room: Path, workroom: Path) -> Bench:
    """A bench for *rung* in the new folder ``room/<name>``, made by root; each case brings its base."""
    uid, gid = rung.ids or (ordinary.uid, ordinary.gid)
    folder = room / rung.name
    folder.mkdir()
    home = folder / "home"
    home.mkdir()
    for each in (folder, home):
        replace(ordinary, uid=uid, gid=gid).owns(each)
    launch, environment = installed_for(ordinary, workroom)
    if uid:
        become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        become += ["--no-new-privs"] if rung.powerless else []
        device = str(folder / "fuse") if rung.fuse else ""
        launch = ("sh", "-euc", _PREPARE, "sh", " ".join(rung.hidden), device, *become, "--", *launch)
        launch = ("unshare", "--mount", "--propagation=private", "--", *launch)
    person = Person(name=ordinary.name if uid else "root", uid=0, gid=0, home=home)
    pybuild = Pybuild(person=person, store=folder / "store", launch=launch, environment=environment)
    return Bench(pybuild=pybuild, room=folder, base=folder, words=rung.words)


_PROGRAMS = Path(__file__).with_name("programs")

# --- Dockerfiles ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One Dockerfile, over ``base``: a busybox, or Debian with apt.

    programs   of the folder ``programs``, compiled into the context, for this machine or its 32-bit ones
    single   with sub-ids it makes another image, which docs/differences.md tells of
    kernels  so it does with fuse-overlayfs
    """

    name: str
    base: str
    dockerfile: str
    files: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    single: bool = False
    kernels: bool = False

    def __str__(self) -> str:
        return self.name

    def build(self, bench: Bench, *words: str, timeout: float = 300) -> tuple[str, Image]:
        """The note on isolation and identities, and the image."""
        bench.write(self.dockerfile, {**self.files, **{name: _compiled(name) for name in self.programs}})
        built, image = bench.image(*words, *proxy_arguments(), timeout=timeout)
        (note,) = [one["text"] for one in built.named("note") if one["text"].startswith("isolation: ")]
        return str(note), image


@cache
def _compiled(name: str) -> bytes:
    """A static program, of any name with "32" in it the machine's 32-bit one, which has no library."""
    small = ["-m32", "-ffreestanding", "-nostdlib", "-fno-pie", "-no-pie", "-fno-stack-protector"]
    options = small if "32" in name else ["-pthread"]
    with tempfile.TemporaryDirectory() as folder:
        argv = ["gcc", "-O1", "-static", *options, "-o", f"{folder}/{name}", _PROGRAMS / f"{name}.c"]
        subprocess.run(argv, check=True)
        return Path(folder, name).read_bytes()


CALLS = Case(
    name="calls",
    base="busybox",
    programs=("owners", "owners32") if platform.machine() == "x86_64" else ("owners",),
    single=True,
    kernels=True,
    # Its answers, and what the next command and the layers say of what it made.
    dockerfile="""\
FROM base
COPY --chmod=755 owners* /bin/
WORKDIR /work
RUN owners > /told && if test -e /bin/owners32; then owners32 > /told32; fi
RUN find . -exec stat -c '%n %F %u:%g %a %t:%T' {} + | sort > /told-later
USER 2147483647:2000000000
RUN id > /tmp/id; touch /tmp/mine; stat -c '%u:%g' /tmp/mine >> /tmp/id
""",
)

FILES = Case(
    name="files",
    base="busybox",
    files={"file": "content\n", "folder/inner": "inner\n"},
    dockerfile="""\
FROM base AS lower
RUN echo 'web:x:33:33::/srv:/bin/sh' >> /etc/passwd && echo 'web:x:33:' >> /etc/group \\
 && echo 'team:x:50:web' >> /etc/group && mkdir -p /low/keep /low/gone /low/opaque /low/moved /dev
RUN cd /low && for n in 1 2 3 4 5 6; do echo $n > keep/$n; echo $n > gone/$n; echo $n > opaque/$n; done \\
 && chown -R web:team keep && chown 70000:4294967294 keep/2 && chmod 4755 keep/3 && chmod 2750 keep/4 \\
 && ln -s 3 keep/link && chown -h 33:50 keep/link && mkfifo keep/fifo && chown 44:55 keep/fifo \\
 && mknod -m 620 keep/tty c 5 0 && chown 0:5 keep/tty && mknod keep/disk b 8 1 && ln keep/1 keep/hard \\
 && mkdir -m 1777 keep/sticky && mkdir -m 2775 keep/group && chgrp team keep/group && touch keep/group/inherits \\
 && mkdir keep/group/folder && mkdir moved/inner && touch moved/inner/x && chown -R 8:9 moved/inner
# Every way in which an owner may be lost: rename, hard link, replacement, removal and making anew, over lower layers.
RUN cd /low && rm -rf gone/1 gone/2 && rm -rf opaque && mkdir opaque && echo new > opaque/7 \\
 && mv keep/link keep/link2 && mv keep/tty keep/console \\
 && ln keep/3 keep/three && ln keep/disk keep/again && echo more >> keep/2 && chmod 600 keep/5 \\
 && chown web keep/5 && echo other > tmp && mv tmp keep/6 && rm keep/1 && echo fresh > keep/1 \\
 && mv moved/inner moved/elsewhere && chown -R 12:34 moved/elsewhere/x && rm keep/three && mv keep/2 keep/renamed \\
 && mkdir other && chown 900000:9 other && mv other moved/other && touch a && chown 7:8 a && mv a b && touch a
RUN cd /low && rm keep/link2 && ln -s gone keep/link2 && rm -r keep/group && echo file > keep/group \\
 && touch bits && chown 5:5 bits && chmod 6755 bits && chown 6:6 bits && touch s && chmod 1644 s
COPY --chown=web:team file /copied/named
COPY --chown=12345:54321 --chmod=4711 file /copied/numbered
COPY --chown=3000000:web folder /copied/folder
FROM base
COPY --from=lower /low /low
COPY --from=lower --chown=6:7 /low/keep /given
RUN touch -d @1000000000 /low/keep/console && chown 21:22 /low/keep/fifo && rm /given/4 && ln /given/5 /given/five
USER 12345:54321
WORKDIR /home/nobody/work
RUN id -u > id; id -g >> id; touch mine; mkdir -m 2755 folder; touch folder/inner; mkfifo pipe; ln -s id link
USER root
RUN chown -R 4:5 /home/nobody && rm /home/nobody/work/mine
""",
)

LINKS = Case(
    name="links",
    base="busybox",
    # Links and fifos of a lower layer come to other paths, and others to theirs. No two are alike, for one that takes
    # the place of its like is told only if it has another time.
    dockerfile="""\
FROM base
RUN mkdir -p /l/folder && cd /l && for n in 1 2 3 4 5 6 7; do ln -s to$n $n; mkfifo -m 60$n f$n; done \\
 && chown -h 5:6 1 2 3 4 5 6 7 && chown 7:8 f1 f2 f3 f4 && ln -s x folder/link && chown -h 9:10 folder/link
RUN cd /l && mv 1 renamed && ln -sfn other 2 && rm 3 && ln -s again 3 && mv 4 5 && mv f1 folder/ && mv f2 f3 \\
 && ln f4 f8 && mv f5 f6 && rm f7 && mkfifo f7 && cp -a folder copied && chown -h 0:0 6 && mv 7 /
RUN cd /l && mv folder moved && mv copied again && mv moved/link moved/l && ln -s new a && chown -h 11:12 a \\
 && ln -sf b a && mkdir sub && mv again sub/ && mv sub other
""",
)

TOUCHED = Case(
    name="touched",
    base="busybox",
    kernels=True,  # it tells no link that was touched from one that it copied up
    dockerfile="""FROM base
RUN ln -s to /given && chown -h 5:6 /given && ln -s to /own
RUN touch -h /given /own
""",
)

USERS = Case(
    name="users",
    base="debian",
    files={"etc/app.conf": "setting\n"},
    dockerfile="""\
FROM base
RUN groupadd -g 4000 team && useradd -m -u 1234 -G team joe && useradd -r -s /usr/sbin/nologin service \\
 && echo 'joe:$6$salt$iVwXrQ9nA5wK0c1Ztn1bB0JbKq1' | chpasswd -e && passwd -l service \\
 && usermod -aG mail joe && gpasswd -a joe staff
COPY --chown=joe:team etc /etc/app
COPY --chown=1234:60000 etc/app.conf /srv/
RUN install -o joe -g team -m 2750 -d /srv/joe && install -o service -g daemon -m 4711 /bin/true /srv/joe/program \\
 && install -o 99999 -g 88888 /dev/null /srv/far && chown -R joe: /srv/joe && chmod u+s /srv/joe/program \\
 && dpkg-statoverride --update --add root shadow 6755 /usr/bin/chage \\
 && su joe -c 'umask 027; id > ~/su; touch ~/a; mkdir ~/b; ln -s a ~/c; stat -c "%u:%g %a %n" ~/* > ~/told' \\
 && runuser -u joe -- sh -c 'id -un > /home/joe/runuser; chgrp team /home/joe/a; touch /srv/joe/by-joe' \\
 && setpriv --reuid=5 --regid=6 --groups=7,8 id > /srv/setpriv && mkdir /home/joe/b/x && cp -a /home/joe /home/copy \\
 && chown -R --from=joe 4321:team /home/copy && mv /home/copy/b /home/copy/d
RUN tar -C / -cf /tmp/joe.tar home srv/joe srv/app.conf etc/app && mkdir /unpacked \\
 && tar -C /unpacked -xpf /tmp/joe.tar \\
 && tar --owner=31337 --group=77777 -C / -cf /tmp/far.tar etc/app && tar -C /unpacked/etc -xpf /tmp/far.tar \\
 && rm /tmp/joe.tar /tmp/far.tar && rm -r /home/copy/d && mv /unpacked/home/joe /unpacked/home/moved
USER joe:team
RUN id > ~/id; touch ~/later; mkdir ~/folder; cp -p ~/told ~/folder/
""",
)

SEEN = Case(
    name="seen",
    base="busybox",
    single=True,
    # What a command sees of owners and devices, and passes on.
    dockerfile="""\
FROM base
RUN mkdir /one && cd /one && mkfifo pipe && chown 44:55 pipe && mknod -m 620 tty c 5 0 && chown 0:5 tty \\
 && mknod disk b 8 1 && touch far && chown 70000:4294967294 far && chmod 4755 far \\
 && ln -s far link && chown -h 99999:1 link
RUN cp -a /one /two && tar -C / -cf /tmp/x one && mkdir /three && tar -C /three -xpf /tmp/x && rm /tmp/x \\
 && find /one /two /three -exec stat -c '%n %F %u:%g %a %t:%T' {} + | sort > /told
USER 70000:80000
RUN cp -p /told /tmp/mine; touch /tmp/other; id > /tmp/id
""",
)

PACKAGES = Case(
    name="packages",
    base="debian",
    files={"hello.c": '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n'},
    kernels=True,  # dpkg purges by replacing and removing
    # redis-server: a user of its own; cron: a program with the set-group-ID bit; tcc: a small compiler.
    dockerfile="""\
FROM base AS installed
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
 redis-server cron libcap2-bin tcc libc6-dev
FROM installed AS compiled
COPY --chown=games hello.c /src/
RUN tcc -o /src/hello /src/hello.c && setcap cap_net_raw+ep /src/hello \\
 && install -o games -g www-data /src/hello /src/other
FROM installed
COPY --from=compiled /src /usr/local/bin
RUN cp -a /usr/local/bin/hello /usr/local/bin/cap && setcap cap_chown=ep /usr/local/bin/other \\
 && rm /usr/local/bin/hello.c && getcap /usr/local/bin/* > /told && apt-get -y purge tcc \\
 && mv /usr/local/bin/hello /usr/local/bin/hi
USER redis
RUN id > /var/lib/redis/id; touch /var/lib/redis/dump; \\
 stat -c '%n %F %u:%g %a' /var/lib/* /etc/redis/* /var/spool/cron/* > /tmp/told
""",
)

CASES = (CALLS, FILES, LINKS, SEEN, TOUCHED, USERS, PACKAGES)


def matrix(*cases: Case) -> list[tuple[Rung, Case]]:
    """What is to be built where."""
    return [
        (rung, case)
        for rung in RUNGS
        for case in cases
        if not (case.single and rung.identities != "single")
        and not (case.kernels and rung.fuse)
        and not (rung.alike and case.base == "debian")
    ]
