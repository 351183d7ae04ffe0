"""A command's life, as real root, as a container's root without CAP_SYS_ADMIN, and as an ordinary user with sub-ids."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.processes import remove_tree
from worlds.sandboxes import MASKED_PROC, NO_NEW_PRIVILEGES, Sandbox, as_person, busybox_root

from builder.errors import CommandFailed, DockerfileError, HostError, InternalError
from builder.sandbox.command import ExitStatus, Extra
from builder.sandbox.runner import Runner
from builder.sandbox.stubs import clean_stubs
from native import syscalls

EVERYBODY = {
    "root": (),
    "container root": ("CAP_SYS_ADMIN",),
    "container root with a masked /proc": ("CAP_SYS_ADMIN", MASKED_PROC),
    "ordinary user": (),
    "ordinary user with one id": (NO_NEW_PRIVILEGES,),
}


@pytest.fixture(scope="module", params=EVERYBODY)
def who(request: pytest.FixtureRequest) -> tuple[Person, tuple[str, ...]]:
    if request.param.startswith("ordinary user"):
        return request.getfixturevalue("ordinary_user"), EVERYBODY[request.param]
    if os.geteuid() != 0:
        pytest.skip("not root")
    return whoever_runs_this(), EVERYBODY[request.param]


@pytest.fixture(scope="module")
def lower(who: tuple[Person, tuple[str, ...]], workroom: Path, require: Callable[..., None]) -> Iterator[Path]:
    require("busybox")
    folder = Path(tempfile.mkdtemp(prefix="lower-", dir=workroom))
    folder.chmod(0o755)
    who[0].owns(folder)
    yield as_person(who[0], lambda: busybox_root(folder / "root"))
    remove_tree(folder)


@pytest.fixture
def sandbox(who: tuple[Person, tuple[str, ...]], lower: Path, room: Path) -> Sandbox:
    who[0].owns(room)
    return Sandbox(person=who[0], lower=lower, room=room, without=who[1])


# --- how it ends


def test_the_exit_code_is_the_commands(sandbox):
    assert sandbox.run("exit 37").status == ExitStatus(code=37)
    assert sandbox.run("true").status == ExitStatus(code=0)


def test_a_signal_that_ends_the_command_is_told(sandbox):
    ran = sandbox.run("sh", "-c", "trap - TERM; sh -c 'kill -TERM $PPID' & wait; sh -c 'kill -SEGV $$'; exit $?")
    assert ran.status.code == 128 + 11


def test_a_missing_program_is_named(sandbox):
    with pytest.raises(CommandFailed) as caught:
        sandbox.run("/opt/absent-prog", "x")
    assert str(caught.value) == 'exec: "/opt/absent-prog": stat /opt/absent-prog: no such file or directory'
    assert caught.value.exit_code == 127


def test_a_name_that_path_does_not_have_is_named(sandbox):
    with pytest.raises(CommandFailed) as caught:
        sandbox.run("absent-prog", "x")
    assert str(caught.value) == 'exec: "absent-prog": executable file not found in $PATH'
    assert caught.value.exit_code == 127


def test_a_file_that_is_not_executable_cannot_be_run(sandbox):
    with pytest.raises(CommandFailed) as caught:
        sandbox.run("/etc/passwd", "x")
    assert str(caught.value) == 'exec: "/etc/passwd": permission denied'
    assert caught.value.exit_code == 126


def test_a_folder_cannot_be_run(sandbox):
    with pytest.raises(CommandFailed) as caught:
        sandbox.run("/etc", "x")
    assert str(caught.value) == 'exec: "/etc": is a directory'


def test_a_missing_interpreter_is_explained(sandbox):
    script = Extra(target="/run.sh", kind="file", content=b"#!/opt/none\n", mode=0o755)
    with pytest.raises(CommandFailed) as caught:
        sandbox.run("/run.sh", "x", extras=(script,))
    assert str(caught.value) == 'exec "/run.sh": no such file or directory'
    assert caught.value.exit_code == 127


def test_the_program_is_found_along_the_commands_path(sandbox):
    tool = Extra(target="/opt/tools/mytool", kind="file", content=b'#!/bin/sh\necho "$0 $#"\n', mode=0o755)
    assert sandbox.run("mytool", "one", env=("PATH=/opt/tools:/bin",), extras=(tool,)).text == "/opt/tools/mytool 1\n"


# --- processes


def test_the_command_is_the_first_process_and_sees_only_its_own(sandbox):
    few = "few" if MASKED_PROC not in sandbox.without else "many"  # the outer /proc is all that there is then
    ran = sandbox.run(
        "echo $$; [ $(ls -d /proc/[0-9]* | wc -l) -lt 6 ] && echo few || echo many; readlink /proc/self/exe"
    )
    assert ran.text == f"1\n{few}\n/bin/busybox\n"


def test_what_is_left_in_the_background_ends_with_the_command(sandbox):
    before = time.monotonic()
    ran = sandbox.run("(sleep 600; echo late > /late) & echo now")
    assert (ran.text, time.monotonic() - before < 60) == ("now\n", True)
    assert not _processes("sleep 600")


def test_no_signal_is_ignored_or_blocked(sandbox):
    ran = sandbox.run("awk", "/^Sig(Ign|Blk)/ { print $2 }", "/proc/self/status")
    assert ran.text == "0000000000000000\n0000000000000000\n"
    assert sandbox.run("(yes; echo $? >&2) | head -n 1").err == b"141\n"


def test_stdin_is_at_its_end(sandbox):
    assert sandbox.run("cat; [ -t 0 ] || echo none").text == "none\n"


def test_the_umask_and_the_folder_are_the_usual_ones(sandbox):
    assert sandbox.run("umask; pwd").text == "0022\n/\n"


def test_a_missing_working_directory_is_made_for_the_user(sandbox):
    ran = sandbox.run("pwd; stat -c '%u:%g %a' . ..", cwd="/new/place", user="app")
    assert ran.text == "/new/place\n1000:1000 755\n1000:1000 755\n"


def test_limits_are_set(sandbox):
    assert sandbox.run("ulimit -n; ulimit -Hn", ulimits=(("nofile", 64, 128),)).text == "64\n128\n"


def test_an_unknown_limit_is_an_error(sandbox):
    with pytest.raises(HostError, match=r"^there is no limit called wishes$"):
        sandbox.run("true", ulimits=(("wishes", 3, 3),))


# --- output


def test_output_is_kept_to_the_byte(sandbox):
    ran = sandbox.run(r"printf '\000\377\376\033[31m\r\303\050\n'; cat /bin/busybox; cat /bin/busybox >&2")
    busybox = Path("/bin/busybox").read_bytes()
    assert ran.out == b"\x00\xff\xfe\x1b[31m\r\xc3\x28\n" + busybox
    assert ran.err == busybox
    assert len(busybox) > 200_000


def test_output_comes_while_the_command_runs(sandbox):
    command = sandbox.command(("/bin/sh", "-c", "echo first; sleep 1; echo second"))

    def inside(_: object) -> list[float]:
        times: list[float] = []
        with Runner() as runner:
            runner.run(command, output=lambda *_: times.append(time.monotonic()))
        return times

    first, second = sandbox.behind(inside)
    assert 0.5 < second - first < 3


def test_a_user_can_open_its_streams_by_name(sandbox):
    assert sandbox.run("echo out > /dev/stdout; echo err > /dev/stderr", user="app").out == b"out\n"


# --- rights


def test_root_has_dockers_capabilities(sandbox):
    ran = sandbox.run("awk", "/^Cap/ { print $1 $2 }", "/proc/self/status")
    default = "00000000a80425fb"
    none = "0000000000000000"
    assert ran.text.split() == [
        f"CapInh:{none}",
        f"CapPrm:{default}",
        f"CapEff:{default}",
        f"CapBnd:{default}",
        f"CapAmb:{none}",
    ]


def test_another_user_has_no_capabilities_and_the_same_bounds(sandbox):
    ran = sandbox.run("awk", "/^Cap(Prm|Eff|Bnd)/ { print $2 }", "/proc/self/status", user="app")
    # Where ids are emulated, what another user may do is not: see builder/sandbox/supervision/filters.py.
    held = "00000000a80425fb" if NO_NEW_PRIVILEGES in sandbox.without else "0000000000000000"
    assert ran.text.split() == [held, held, "00000000a80425fb"]


def test_only_the_devices_of_dev_can_be_opened(sandbox, room):
    sandbox.person.owns(room)
    (room / "bound").mkdir(mode=0o777)
    sandbox.person.owns(room / "bound")
    extras = (Extra(target="/tmpfs", kind="tmpfs"), Extra(target="/bound", kind="bind", source=room / "bound"))
    script = (
        "head -c 1 /dev/zero | wc -c; for place in {}; do mknod $place/own c 1 5; head -c 1 $place/own | wc -c; done"
    )
    ran = sandbox.run(script.format("/srv /dev /tmpfs /bound"), extras=extras)
    assert ran.text.split() == ["1", "0", "0", "0", "0"], ran.err.decode()
    if not sandbox.without and sandbox.person.uid == 0:
        ran = sandbox.run(script.format("/srv /dev /tmpfs"), extras=extras, security="insecure")
        assert ran.text.split() == ["1", "1", "1", "1"], ran.err.decode()


def test_insecure_has_all_capabilities_and_no_filter(sandbox):
    ran = sandbox.run(
        "awk '/^CapEff|^Seccomp:/ { print $2 }' /proc/self/status; unshare -m true && echo new", security="insecure"
    )
    effective, filters, new = ran.text.split()
    assert int(effective, 16) & 1 << 12  # CAP_NET_ADMIN
    assert (filters, new) == ("2" if NO_NEW_PRIVILEGES in sandbox.without else "0", "new")


def test_the_filter_refuses_namespaces_mounts_and_host_names(sandbox):
    ran = sandbox.run(
        "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t';"
        "unshare -U true || echo no unshare; mount -t tmpfs t /srv || echo no mount; hostname other || echo no hostname"
    )
    privileges = f"NoNewPrivs:{int(NO_NEW_PRIVILEGES in sandbox.without)}"
    assert ran.text.splitlines() == [privileges, "Seccomp:2", "no unshare", "no mount", "no hostname"]


def test_proc_sys_and_sys_are_there_but_cannot_be_written(sandbox):
    ran = sandbox.run(
        "cat /proc/sys/vm/swappiness > /tmp/v; cat /tmp/v > /proc/sys/vm/swappiness || echo no;"
        "[ -d /sys/kernel ] && echo there; touch /sys/kernel || echo no; wc -c < /proc/timer_list; ls /proc/scsi"
    )
    assert ran.text == "no\nthere\nno\n0\n"


def test_a_setuid_program_works(sandbox):
    ran = sandbox.run(
        "echo 'open::0:0::/root:/bin/sh' >> /etc/passwd; rm /bin/su; cp /bin/busybox /bin/su; chmod 4755 /bin/su;"
        "chmod 777 /srv; /bin/su app -c 'id -u; /bin/su open -c \"id -u\"'"
    )
    assert ran.text == "1000\n0\n"


# --- who


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", "uid=0(root) gid=0(root) groups=0(root),10(wheel)"),
        ("app", "uid=1000(app) gid=1000(app) groups=77(extra),1000(app)"),
        ("app:extra", "uid=1000(app) gid=77(extra) groups=77(extra)"),
        ("1000", "uid=1000(app) gid=1000(app) groups=77(extra),1000(app)"),
        ("4242", "uid=4242 gid=0(root) groups=0(root)"),
        ("4242:4243", "uid=4242 gid=4243 groups=4243"),
    ],
)
def test_the_user_is_found_in_the_root(sandbox, user, ids):
    assert sandbox.run("id", user=user).text == ids + "\n"


def test_an_unknown_user_is_an_error(sandbox):
    with pytest.raises(DockerfileError, match=r"^unable to find user nobody: no matching entries in passwd file$"):
        sandbox.run("true", user="nobody")


def test_an_id_beyond_the_map_is_explained(sandbox):
    if sandbox.person.uid == 0 or NO_NEW_PRIVILEGES in sandbox.without:  # no id is beyond it, or all are emulated
        assert sandbox.run("id -u", user="70000").text == "70000\n"
        return
    with pytest.raises(HostError) as caught:
        sandbox.run("true", user="70000")
    assert str(caught.value) == (
        "cannot become user 70000 with groups 0: the uid 70000 is not among those that are mapped here, 0-65536"
    )
    assert caught.value.hint == (
        "build with --userns=single, where any id will do; or give the builder's user a larger range: as root, usermod"
        " --add-subuids FIRST-LAST, with more than 70000 in all"
    )


def test_home_and_path_are_added(sandbox):
    assert sandbox.run("env | sort | grep -v -E '^(SHLVL|PWD)='", env=("ONLY=this",), user="app").text == (
        "HOME=/home/app\nONLY=this\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    )


# --- surroundings


def test_devices_have_their_numbers(sandbox):
    ran = sandbox.run(
        "cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty;"
        "for l in fd stdin stdout stderr; do readlink $l; done;"
        "echo x > null; head -c 2 zero | od -An -tx1; [ -c ptmx ] && [ -d pts ] && echo yes"
    )
    assert ran.text == (
        "null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666\n"
        "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n 00 00\nyes\n"
    )


def test_shared_memory_is_a_tmpfs_of_its_own(sandbox):
    ran = sandbox.run(
        "stat -f -c %T /dev/shm; stat -c %a /dev/shm; df -k /dev/shm | tail -1 | awk '{print $2}'", shm_size=8 << 20
    )
    assert ran.text == "tmpfs\n1777\n8192\n"


def test_names_are_resolved_as_buildkit_has_it(sandbox):
    ran = sandbox.run(
        "cat /etc/hosts; hostname; touch /etc/hosts || echo read-only", hosts=("db:10.0.0.7", "six:[fd00::1]")
    )
    assert ran.text == (
        "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        "10.0.0.7\tdb\nfd00::1\tsix\nbuildkitsandbox\nread-only\n"
    )


def test_without_network_there_is_only_a_loopback(sandbox):
    ran = sandbox.run(
        "ls /sys/class/net; tail -n +2 /proc/net/route | wc -l; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up",
        network="none",
    )
    assert ran.text == "lo\n0\nup\n"


def test_an_unknown_network_is_an_error(sandbox):
    with pytest.raises(HostError, match=r"^there is no network called bridge here$"):
        sandbox.run("true", network="bridge")


def test_a_read_only_root_cannot_be_written(sandbox):
    assert (
        sandbox.run("touch /x 2>/dev/null || echo no; echo y > /dev/shm/y && echo yes", read_only=True).text
        == "no\nyes\n"
    )


def test_a_setting_of_the_host_is_refused(sandbox):
    with pytest.raises(HostError, match=r"^the setting vm.swappiness is the host's, not the command's own$"):
        sandbox.run("true", sysctls=(("vm.swappiness", "1"),))
    if MASKED_PROC in sandbox.without:
        with pytest.raises(HostError, match=r"^setting kernel.msgmax failed: Read-only file system"):
            sandbox.run("true", sysctls=(("kernel.msgmax", "4321"),))
        return
    assert sandbox.run("cat /proc/sys/kernel/msgmax", sysctls=(("kernel.msgmax", "4321"),)).text == "4321\n"


def test_nothing_of_the_builders_descriptors_is_seen(sandbox):
    leaked = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        # 3 is the shell's or ls's own, of the folder that it lists.
        assert sandbox.run("ls /proc/self/fd").text.split() == ["0", "1", "2", "3"]
    finally:
        os.close(leaked)


# --- extras


def test_extras_are_mounted_in_order(sandbox):
    source = sandbox.room / "source"

    def make() -> None:
        (source / "sub").mkdir(parents=True)
        (source / "a.txt").write_text("alpha\n")

    as_person(sandbox.person, make)
    ran = sandbox.run(
        "cat /srv/a.txt /srv/sub/key; stat -c '%a %u:%g' /srv/sub/key; touch /srv/b || echo read-only;"
        "stat -f -c %T /scratch/t; stat -c %a /scratch/t",
        extras=(
            Extra(target="/srv", kind="bind", source=source, read_only=True),
            Extra(target="/srv/sub", kind="tmpfs"),
            Extra(target="/srv/sub/key", kind="file", content=b"secret\n", mode=0o440, uid=1000, gid=77),
            Extra(target="/scratch/t", kind="tmpfs", mode=0o1777),
        ),
    )
    assert ran.text == "alpha\nsecret\n440 1000:77\nread-only\ntmpfs\n1777\n"


def test_a_target_is_resolved_inside_the_root(sandbox):
    extras = (
        Extra(target="/abs/mnt", kind="file", content=b"one\n"),
        Extra(target="/up/../../../../etc/two", kind="file", content=b"two\n"),
        Extra(target="/magic/three", kind="file", content=b"three\n"),
    )
    links = {"abs": "/etc", "up": "../../../../../srv", "magic": "/proc/self/cwd/srv"}

    def make() -> None:
        for name, target in links.items():
            (sandbox.room / "links" / name).parent.mkdir(exist_ok=True)
            os.symlink(target, sandbox.room / "links" / name)

    as_person(sandbox.person, make)
    assert _with_links(sandbox, "cat /etc/mnt /etc/two", extras[:2]).text == "one\ntwo\n"
    # A link into /proc is text like any other: it does not lead to our own folder.
    _with_links(sandbox, "true", extras[2:])
    assert not Path("srv").exists()


def _with_links(sandbox, script, extras):
    command = sandbox.command(("true",))
    from dataclasses import replace

    (overlay,) = command.root
    both = replace(overlay, lowers=(sandbox.room / "links", sandbox.lower))
    return sandbox.run(script, extras=extras, root=(both,), root_path=command.root_path)


# --- mount points


def test_mount_points_that_were_made_are_removed(sandbox):
    ran = sandbox.run(
        "ls /new/deep/ctx",
        extras=(Extra(target="/new/deep/ctx", kind="tmpfs"), Extra(target="/opt/x/key", kind="file", content=b"k")),
    )
    assert [stub.path for stub in ran.stubs] == [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/new",
        "/new/deep",
        "/new/deep/ctx",
        "/opt",
        "/opt/x",
        "/opt/x/key",
    ]
    before = (sandbox.lower / "etc").stat().st_mtime_ns
    assert sorted(os.listdir(ran.upper)) == ["etc", "new", "opt"]
    sandbox.behind(lambda _: clean_stubs(ran.upper, ran.stubs))
    assert sorted(os.listdir(ran.upper)) == ["etc"]
    assert os.listdir(ran.upper / "etc") == []
    assert (ran.upper / "etc").stat().st_mtime_ns == before


def test_what_a_command_wrote_beside_a_mount_point_is_kept(sandbox):
    ran = sandbox.run("echo kept > /opt/x/a.txt", extras=(Extra(target="/opt/x/ctx", kind="tmpfs"),))
    sandbox.behind(lambda _: clean_stubs(ran.upper, ran.stubs))
    assert os.listdir(ran.upper / "opt/x") == ["a.txt"]


def test_a_mount_point_below_another_mount_is_no_stub(sandbox):
    ran = sandbox.run("true", extras=(Extra(target="/srv", kind="tmpfs"), Extra(target="/srv/in", kind="tmpfs")))
    assert [stub.path for stub in ran.stubs] == ["/etc/resolv.conf", "/etc/hosts"]


def test_a_parent_that_became_a_link_is_left_alone(sandbox):
    victim = sandbox.room / "victim"
    as_person(sandbox.person, lambda: (victim / "x").mkdir(parents=True))
    ran = sandbox.run(
        f"umount /opt/x; rm -rf /opt; ln -s {victim} /opt", extras=(Extra(target="/opt/x/y", kind="file"),)
    )
    sandbox.behind(lambda _: clean_stubs(ran.upper, ran.stubs))
    assert (victim / "x").is_dir()


# --- several at once, and ends before the end


def test_commands_run_at_the_same_time(sandbox):
    commands = [sandbox.command(("/bin/sh", "-c", f"sleep 1; echo {n}")) for n in range(4)]

    def inside(_: object) -> tuple[list[bytes], float]:
        said: list[bytes] = []
        begun = time.monotonic()
        with Runner() as runner:
            threads = [
                threading.Thread(target=runner.run, args=(c,), kwargs={"output": lambda _, data: said.append(data)})
                for c in commands
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return sorted(said), time.monotonic() - begun

    said, took = sandbox.behind(inside)
    assert (said, took < 3) == ([b"0\n", b"1\n", b"2\n", b"3\n"], True)


def test_cancelling_kills_what_runs_and_refuses_what_follows(sandbox):
    command = sandbox.command(("/bin/sh", "-c", "sleep 1234 & sleep 1234"))

    def inside(_: object) -> list[str]:
        told = []
        with Runner() as runner:
            threading.Timer(0.3, runner.cancel).start()
            for _again in range(2):
                try:
                    runner.run(command, output=lambda *_: None)
                except HostError as error:
                    told.append(str(error))
        return told

    assert sandbox.behind(inside) == ["the command was cancelled"] * 2
    assert not _processes("sleep 1234")


def test_an_error_of_the_listener_kills_the_command_before_it_is_raised(sandbox):
    command = sandbox.command(("/bin/sh", "-c", "echo x; sleep 4321"))

    def inside(_: object) -> bool:
        def refuse(*_: object) -> None:
            raise DockerfileError("enough", code="enough")

        with Runner() as runner:
            try:
                runner.run(command, output=refuse)
            except DockerfileError:
                return not _processes("sleep 4321")
        return False

    assert sandbox.behind(inside)


def test_the_builders_mounts_and_processes_are_as_before(sandbox):
    sandbox.run("sleep 999 & true")
    assert str(sandbox.room) not in Path("/proc/mounts").read_text()
    assert not _processes("sleep 999")


def test_a_root_may_be_a_plain_folder(sandbox):
    folder = sandbox.room / "plain"
    as_person(sandbox.person, lambda: shutil.copytree(sandbox.lower, folder, symlinks=True))
    assert sandbox.run("echo here > /made; cat /made", root=(), root_path=folder).text == "here\n"
    assert (folder / "made").read_text() == "here\n"


def _processes(words: str) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            line = Path("/proc", entry, "cmdline").read_bytes()
        except OSError:
            continue
        if line.replace(b"\0", b" ").strip() == words.encode():
            found.append(entry)
    return found


def test_where_pivot_root_is_refused_chroot_serves(sandbox, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(syscalls, "pivot_root", refuse)
    ran = sandbox.run("ls /; cd /..; ls -d home bin; cat /proc/self/mountinfo | awk '$5 == \"/\"' | wc -l", user="app")
    assert ran.text == "bin\ndev\netc\nhome\nproc\nroot\nsrv\nsys\ntmp\nbin\nhome\n1\n"


# --- a terminal, and an interpreter that has imported nothing yet


def test_a_command_on_a_terminal_has_it_as_its_own(sandbox):
    command = sandbox.command(
        ("/bin/sh", "-c", "tty; [ -t 0 ] && [ -t 2 ] && stty size; echo to > /dev/tty; read line; echo got $line"),
        terminal=True,
    )

    def inside(_: object) -> bytes:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        os.write(ours, b"typed\n")
        with Runner() as runner:
            runner.run(command, output=lambda *_: None, stdin=theirs)
        return os.read(ours, 4096)

    assert sandbox.behind(inside).replace(b"\r\n", b"\n").split(b"\n") == [
        b"typed",
        b"/dev/console",
        b"24 80",
        b"to",
        b"got typed",
        b"",
    ]


FRESH = """
import sys
from pathlib import Path
from builder.sandbox import gate
from builder.sandbox.command import Command, Extra
from builder.sandbox.runner import Runner
from builder.errors import CommandFailed
from native.mounts import Mount

folder, lower = map(Path, sys.argv[1:])
overlay = Mount(kind="overlay", target=folder / "root", lowers=(lower,), upper=folder / "upper", work=folder / "work")

def inside(send):
    with Runner() as runner:
        for argv in (("/bin/echo", "said"), ("/absent",)):
            command = Command(
                root=(overlay,), root_path=folder / "root", argv=argv, env=(), network="none", user="app",
                ulimits=(("nofile", 64, 64),), extras=(Extra(target="/x/y", kind="file", content=b"z"),),
            )
            try:
                runner.run(command, output=lambda _, data: send(data))
            except CommandFailed as error:
                send(str(error))

gate.call(inside, identity=gate.identity(), on_message=print)
"""


def test_nothing_is_imported_after_the_root_is_switched(sandbox):
    folder = sandbox.command(("true",)).root_path.parent

    def run() -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", FRESH, folder, sandbox.lower], capture_output=True, text=True, check=False
        )
        return done.stdout, done.stderr

    told = 'exec: "/absent": stat /absent: no such file or directory'
    assert as_person(sandbox.person, run, without=sandbox.without) == (f"b'said\\n'\n{told}\n", "")


def test_a_lost_server_is_told(sandbox):
    command = sandbox.command(("/bin/sh", "-c", "sleep 7777"))

    def inside(_: object) -> str:
        with Runner() as runner:
            threading.Timer(0.3, os.kill, (runner._server, signal.SIGKILL)).start()
            try:
                runner.run(command, output=lambda *_: None)
            except InternalError as error:
                return str(error)
        return ""

    assert sandbox.behind(inside) == "the command server ended"
    assert not _processes("sleep 7777")
