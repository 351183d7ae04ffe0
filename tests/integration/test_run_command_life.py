"""``pybuild run``: what a command sees, how it ends, and what it leaves."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from worlds.command import Pybuild

DOCKERFILE = """\
FROM base
RUN mkdir /data && echo seed > /data/seed && chown 7:7 /data
RUN echo someone:x:1234:1234::/home/someone:/bin/sh >> /etc/passwd
ENV GREETING="hello there"
WORKDIR /work
USER someone
VOLUME /data
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo $GREETING; pwd; id -u"]
"""


@pytest.fixture(scope="module")
def image() -> str:
    return "run-me"


@pytest.fixture
def runner(pybuild_everyone: Pybuild, busybox_oci: Path, image: str) -> Pybuild:
    """The command line, with the image in its store."""
    context = ("--build-context", f"base=oci-layout://{busybox_oci}")
    pybuild_everyone("build", *context, "-t", image, "-o", "type=image", "-", stdin=DOCKERFILE, check=True)
    return pybuild_everyone


def test_the_image_says_how_it_is_run(runner: Pybuild, image: str) -> None:
    assert runner("run", "--rm", image, check=True).stdout == "hello there\n/work\n1234\n"


def test_the_caller_may_say_otherwise(runner: Pybuild, image: str, room: Path) -> None:
    (room / "env").write_text("# a comment\nFROM_FILE=file\nTAKEN\n")
    script = 'echo "$GREETING $FROM_FILE $TAKEN $ONE"; pwd; id -u; hostname; cat /etc/hosts | grep -c example'
    done = runner(
        *("run", "--rm", "-e", "GREETING=bye", "-e", "ONE", "--env-file", room / "env", "-w", "/tmp/new", "-u", "0:5"),
        *("--hostname", "box", "--add-host", "db.example.com:10.0.0.9", "--entrypoint", "sh", image, "-c", script),
        env={"TAKEN": "taken", "ONE": "1"},
        check=True,
    )
    assert done.stdout == "bye file taken 1\n/tmp/new\n0\nbox\n1\n"


@pytest.mark.parametrize(
    ("argv", "code"),
    [(("exit 0",), 0), (("exit 42",), 42), (("sh -c 'kill -9 $$'; exit $?",), 137), (("nonesuch",), 127)],
)
def test_the_exit_code_is_the_commands(runner: Pybuild, image: str, argv: tuple[str, ...], code: int) -> None:
    assert runner("run", "--rm", image, *argv).returncode == code


def test_what_cannot_be_run_ends_as_with_docker(runner: Pybuild, image: str) -> None:
    missing = runner("run", "--rm", "--entrypoint", "nonesuch", image)
    assert (missing.returncode, missing.stdout) == (127, "")
    assert missing.stderr.startswith('error[command-not-found]: exec: "nonesuch": executable file not found in $PATH')
    folder = runner("run", "--rm", "--entrypoint", "/etc", image)
    assert folder.returncode == 126
    user = runner("run", "--rm", "-u", "nobody-here", image)
    assert user.returncode == 125
    assert "unable to find user nobody-here" in user.stderr
    assert runner("run", "--pull=never", "no-such-image").returncode == 125


def test_options_behind_the_image_are_the_commands(runner: Pybuild, image: str) -> None:
    done = runner("run", "--rm", "--entrypoint", "echo", image, "--rm", "-it", "--help")
    assert done.stdout == "--rm -it --help\n"


def test_stdin_is_given_with_i_alone(runner: Pybuild, image: str) -> None:
    assert runner("run", "--rm", "-i", image, "cat", stdin="typed\n").stdout == "typed\n"
    assert runner("run", "--rm", image, "cat", stdin="typed\n").stdout == ""


def test_output_and_errors_stay_apart(runner: Pybuild, image: str) -> None:
    done = runner("run", "--rm", image, "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_folders_of_the_host_are_seen(runner: Pybuild, image: str, room: Path) -> None:
    given = room / "given"
    given.mkdir()
    runner.person.owns(given)
    (given / "in").write_text("from outside\n")
    script = "cat /given/in; echo from inside > /given/out"
    done = runner("run", "--rm", "-u", "0", "-v", f"{given}:/given", image, script, check=True)
    assert done.stdout == "from outside\n"
    assert (given / "out").read_text() == "from inside\n"
    assert (given / "out").stat().st_uid == runner.person.uid
    done = runner("run", "--rm", "-u", "0", "-v", f"{given}:/given:ro", image, "echo > /given/no")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_a_read_only_root_leaves_volumes_and_tmpfs_writable(runner: Pybuild, image: str) -> None:
    script = "touch /x 2>/dev/null || echo read-only; cat /data/seed; echo > /data/y && echo > /scratch/z && echo done"
    done = runner("run", "--rm", "-u", "0", "--read-only", "--tmpfs", "/scratch:size=1m", image, script, check=True)
    assert done.stdout == "read-only\nseed\ndone\n"


def test_without_a_network_there_is_loopback_alone(runner: Pybuild, image: str) -> None:
    done = runner("run", "--rm", "--network=none", image, "ls /sys/class/net", check=True)
    assert done.stdout == "lo\n"
    bridge = runner("run", "--rm", "--network=bridge", image)
    assert (bridge.returncode, bridge.stdout) == (2, "")


def test_a_published_port_gets_a_note(runner: Pybuild, image: str) -> None:
    done = runner("run", "--rm", "-p", "80:80", image, "true", check=True)
    assert done.stderr == "note: -p: the network is the host's, so that every port is reached as it is\n"


def test_what_needs_a_daemon_is_refused_with_a_way_out(runner: Pybuild, image: str) -> None:
    done = runner("run", "-d", image)
    assert done.returncode == 2
    assert done.stderr == (
        "error[unsupported-flag]: -d is not supported: there is no daemon: a container runs in the foreground\n"
        "hint: append & to run it in the background\n"
    )
    named = runner("run", "-v", "volume:/x", image)
    assert named.returncode == 2
    assert "name a folder of this machine: -v ./volume:/x" in named.stderr


def test_what_a_container_left_is_listed_compared_committed_and_removed(runner: Pybuild, image: str) -> None:
    script = "echo 1 > /new; mkdir /etc/more; echo 2 > /etc/more/x; rm /etc/group; echo 3 > /data/unseen; exit 3"
    assert runner("run", "--name", "left", "-u", "0", image, script).returncode == 3
    listed = json.loads(runner("ps", "--json", check=True).stdout)
    assert [(row["Names"], row["Image"], row["ExitCode"]) for row in listed] == [("left", image, 3)]
    assert runner("ps", "--format", "{{.Status}}").stdout.startswith("Exited (3) ")
    # What is written to a volume is no part of the container.
    assert runner("diff", "left", check=True).stdout.splitlines() == [
        "C /etc",
        "D /etc/group",
        "A /etc/more",
        "A /etc/more/x",
        "A /new",
    ]
    assert runner("inspect", "-f", "{{.State.ExitCode}} {{.Name}}", "left").stdout == "3 /left\n"
    taken = runner("run", "--name", "left", image)
    assert taken.returncode == 125
    assert "the container name left is already in use" in taken.stderr
    assert runner("rmi", image).returncode == 1
    runner("commit", "left", "committed", check=True)
    done = runner(
        "run", "--rm", "--entrypoint", "sh", "committed", "-c", "cat /new; ls /data; ls /etc/group", check=False
    )
    assert done.stdout == "1\nseed\n"
    assert runner("container", "rm", "left", check=True).stdout == "left\n"
    assert runner("ps", "-q").stdout == ""
    assert runner("diff", "left").returncode == 1


def test_with_rm_nothing_is_left(runner: Pybuild, image: str) -> None:
    runner("run", "--rm", image, check=True)
    assert runner("ps", "-q").stdout == ""
    assert list(runner.store.glob("snapshots/*/drafts/*")) == []


def test_two_containers_at_once_do_not_see_each_other(runner: Pybuild, image: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        done = list(
            pool.map(
                lambda n: runner("run", "-u", "0", image, f"echo {n} > /n; sleep 0.2; cat /n; ls /n* | wc -l"), range(4)
            )
        )
    assert [one.stdout for one in done] == [f"{n}\n1\n" for n in range(4)]
    assert len(runner("ps", "-q").stdout.split()) == 4


def begun(runner: Pybuild, image: str) -> subprocess.Popen[bytes]:
    """A container that runs, and has said so."""
    environment = {**runner.person.environment(), "PYBUILD_ROOT": str(runner.store), **runner.environment}
    someone_else = os.geteuid() != runner.person.uid
    process = subprocess.Popen(
        [*runner.launch, "run", "--rm", image, "echo begun; head -c 3000000 /dev/zero > /tmp/z; echo on; sleep 1000"],
        env=environment,
        cwd=runner.person.home,
        stdout=subprocess.PIPE,
        user=runner.person.uid if someone_else else None,
        group=runner.person.gid if someone_else else None,
        extra_groups=[] if someone_else else None,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    assert process.stdout.readline() == b"on\n"
    return process


def test_ctrl_c_ends_all_and_leaves_nothing(runner: Pybuild, image: str) -> None:
    with begun(runner, image) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert list(runner.store.glob("snapshots/*/drafts/*")) == []


def test_what_one_that_was_killed_left_is_found_by_prune(runner: Pybuild, image: str) -> None:
    with begun(runner, image) as process:
        process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == b""  # ended by the kernel, with all that it started
    (draft,) = runner.store.glob("snapshots/*/drafts/*")
    other = next(row for row in json.loads(runner("df", "--json").stdout) if row["Type"] == "Other")
    assert other["Bytes"] > 3_000_000
    said = runner("prune", "-f", check=True).stdout.splitlines()[-1]
    assert float(said.removeprefix("Total reclaimed space: ").removesuffix("MB")) > 3
    assert not draft.exists()


def test_a_terminal_is_a_real_one(pybuild: Pybuild, busybox_oci: Path, image: str) -> None:
    context = ("--build-context", f"base=oci-layout://{busybox_oci}")
    pybuild("build", *context, "-t", image, "-o", "type=image", "-", stdin="FROM base\n", check=True)
    pid, ours = pty.fork()
    if pid == 0:
        environment = {**os.environ, "PYBUILD_ROOT": str(pybuild.store), **pybuild.environment}
        os.execve(pybuild.launch[0], [*pybuild.launch, "run", "--rm", "-it", image, "sh"], environment)
    said = _until(ours, b"# ")
    os.write(ours, b"test -t 0 && test -t 1 && echo is''tty; echo $TERM\r")
    said += _until(ours, b"xterm\r\n")
    os.write(ours, b"echo go''ing; sleep 1000\r")
    said += _until(ours, b"going")
    time.sleep(0.5)  # until the sleep has the terminal
    os.write(ours, b"\x03")
    said += _until(ours, b"# ")
    os.write(ours, b"exit 7\r")
    said += _until(ours, b"\0no more", seconds=5)
    assert b"istty" in said
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(ours)


def _until(fd: int, wanted: bytes, seconds: float = 10) -> bytes:
    said = b""
    end = time.monotonic() + seconds
    while wanted not in said and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            said += data
    return said
