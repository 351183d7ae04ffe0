"""RUN --mount: what commands see, what of it they may change, and what of that is left."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers


def test_binds_show_contexts_and_stages_and_lose_what_is_written(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base AS tools\nRUN mkdir /tools && echo tool >/tools/tool && chown 5:6 /tools/tool\n"
        "FROM base\n"
        "RUN --mount=target=/context --mount=type=bind,source=folder/file,target=/single \\\n"
        "    --mount=from=tools,source=/tools,target=/mnt/tools \\\n"
        "    --mount=from=base,target=/base \\\n"
        "    set -e; ls -a /context; cat /single /mnt/tools/tool; \\\n"
        "    stat -c %u:%g /mnt/tools/tool /context/folder/file; \\\n"
        "    ls /base/bin/busybox; touch /context/new 2>/dev/null || echo read-only; touch /single 2>&1 || true\n"
        "RUN --mount=target=/context,rw --mount=from=tools,source=/tools,target=/tools,rw=true \\\n"
        "    echo changed >/context/folder/file && rm /tools/tool && touch /tools/other && cat /context/folder/file\n"
        "RUN --mount=target=/context --mount=from=tools,source=/tools,target=/tools \\\n"
        "    cat /context/folder/file /tools/tool\n",
        {"folder/file": "file\n", "ignored": "x", ".dockerignore": "ignored\n"},
    )
    built, image = bench.image()
    assert built.said == (
        ".\n..\n.dockerignore\nDockerfile\nfolder\nfile\ntool\n5:6\n0:0\n/base/bin/busybox\nread-only\n"
        "touch: /single: Read-only file system\n"
        "changed\nfile\ntool\n"
    )
    assert image.files() == {}
    assert (bench.context / "folder/file").read_text() == "file\n"
    # The places where they were mounted are gone.
    names = {name for number in (1, 2, 3) for name in image.members(number)}
    assert not names & {"context", "single", "mnt", "mnt/tools", "base", "tools"}, names
    assert bench.build().performed == []
    # What is ignored or beside is no input; what is shown is.
    bench.write(files={"ignored": "y"})
    assert bench.build().performed == []
    bench.write(files={"folder/file": "other\n"})
    assert len(bench.build().performed) == 3
    assert leftovers(bench.store) == []


def test_a_part_of_the_context_alone_is_an_input(bench: Bench) -> None:
    bench.write("FROM base\nRUN --mount=source=a,target=/a cat /a/file >/file\n", {"a/file": "1\n", "b/file": "1\n"})
    bench.build()
    bench.write(files={"b/file": "2\n"})
    assert bench.build().performed == []
    bench.write(files={"a/file": "2\n"})
    _, image = bench.image()
    assert image.files() == {"file": b"2\n"}
    bench.write("FROM base\nRUN --mount=source=nothing,target=/a true\n")
    done = bench.text()
    assert done.code == 1
    assert "error[source-not-found]: " in done.err
    assert '"/nothing": not found\n' in done.err
    assert "Dockerfile:2" in done.err


def test_links_on_the_way_to_what_a_bind_shows_are_followed(bench: Bench) -> None:
    bench.write(
        "FROM base\n"
        "RUN --mount=source=link,target=/a --mount=source=folder/up,target=/b --mount=source=other/file,target=/c \\\n"
        "    --mount=source=other,target=/d,rw cat /a /b /c; ls /d\n",
        {"top": "top\n", "folder/file": "file\n"},
    )
    for name, target in (("link", "folder/up"), ("folder/up", "/top"), ("other", "folder")):
        (bench.context / name).symlink_to(target)
    assert bench.build().said == "top\ntop\nfile\nfile\nup\n"
    assert bench.build().performed == []
    bench.write(files={"top": "changed\n"})
    assert bench.build().said == "changed\nchanged\nfile\nfile\nup\n"


def test_what_a_bound_link_of_a_stage_leads_to_is_an_input(bench: Bench) -> None:
    bench.write(
        "FROM base AS made\nCOPY file /\nRUN ln -s file /link\n"
        "FROM base\nRUN --mount=from=made,source=/link,target=/a cat /a\n",
        {"file": "one\n"},
    )
    assert bench.build().said == "one\n"
    bench.write(files={"file": "two\n"})
    assert bench.build().said == "two\n"


def test_what_begins_empty_has_no_part_to_show_and_a_tmpfs_may_be_read_only(bench: Bench) -> None:
    bench.write("FROM base\nRUN --mount=type=tmpfs,target=/t,ro touch /t/x 2>&1 || true\n")
    assert bench.build().said == "touch: /t/x: Read-only file system\n"
    for mount in ("type=tmpfs,target=/t,source=etc", "type=cache,target=/t,source=/etc"):
        bench.write(f"FROM base\nRUN --mount={mount} true\n")
        done = bench.text()
        assert done.code == 1
        assert "error[source-not-found]: open /etc: no such file or directory\n" in done.err


def test_caches_outlive_builds_and_are_in_no_layer(bench_everyone: Bench) -> None:
    bench = bench_everyone
    text = (
        "FROM base\nARG N\n"
        "RUN --mount=type=cache,target=/var/cache/x,uid=7,gid=8,mode=0711 \\\n"
        "    stat -c '%u:%g %a' /var/cache/x; echo $N >>/var/cache/x/lines; cat /var/cache/x/lines\n"
    )
    bench.write(text)
    first, image = bench.image("--build-arg=N=1")
    assert first.said == "7:8 711\n1\n"
    assert image.files() == {}
    assert bench.build("--build-arg=N=2").said == "7:8 711\n1\n2\n"
    assert bench.build("--build-arg=N=3", "--no-cache").said == "7:8 711\n1\n2\n3\n"
    # The cache's content is no input.
    assert bench.build("--build-arg=N=2").performed == []
    # Another id, another cache; the same id at another place is the same.
    bench.write(text.replace("type=cache,", "type=cache,id=other,"))
    assert bench.build("--build-arg=N=4").said == "7:8 711\n4\n"
    bench.write("FROM base\nRUN --mount=type=cache,id=/var/cache/x,target=/y cat /y/lines\n")
    assert bench.build().said == "1\n2\n3\n"
    bench.write("FROM base\nRUN --mount=type=cache,id=/var/cache/x,target=/y,ro touch /y/z 2>&1; true\n")
    assert bench.build().said == "touch: /y/z: Read-only file system\n"


def test_a_cache_begins_with_its_seed_and_keeps_what_was_added(bench_everyone: Bench) -> None:
    bench = bench_everyone
    text = (
        "FROM base AS seed\nRUN mkdir -p /s/in && echo seeded >/s/in/file && chown 9:9 /s/in/file\n"
        "FROM base\nARG N\nRUN --mount=type=cache,from=seed,source=/s,target=/c,id=c \\\n"
        "    stat -c %u /c/in/file; echo $N >>/c/in/file; cat /c/in/file\n"
    )
    bench.write(text)
    assert bench.build("--build-arg=N=1").said == "9\nseeded\n1\n"
    assert bench.build("--build-arg=N=2").said == "9\nseeded\n1\n2\n"
    bench.write("FROM base\nRUN --mount=type=cache,source=folder,target=/c,from=ctx cat /c/file\n")
    bench.write(files={"other/folder/file": "from a context\n"})
    assert bench.build("--build-context", f"ctx={bench.context}/other").said == "from a context\n"


def test_tmpfs_is_empty_and_of_its_size(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base\nRUN mkdir /full && echo x >/full/x\n"
        "RUN --mount=type=tmpfs,target=/full --mount=type=tmpfs,target=/small,size=1m \\\n"
        "    ls /full; touch /full/y; dd if=/dev/zero of=/small/z bs=1M count=3 2>&1 | tail -n1; "
        "stat -f -c %T /small; wc -c </small/z\n"
        "RUN ls /full\n"
    )
    built = bench.build()
    assert built.said.splitlines()[-3:] == ["tmpfs", str(1 << 20), "x"]


def test_secrets_are_files_or_variables_and_only_for_their_command(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base\n"
        "RUN --mount=type=secret,id=one --mount=type=secret,id=two,target=/deep/two,mode=0440,uid=3,gid=4 \\\n"
        "    --mount=type=secret,id=three,env=THREE --mount=type=secret,id=absent \\\n"
        "    stat -c '%a %u:%g %s' /run/secrets/one /deep/two; printf '%s' \"$THREE\" | wc -c; ls /run/secrets\n"
        'RUN ls -d /run/secrets /deep 2>/dev/null; echo "<$THREE>"\n'
    )
    one = bench.room / "one"
    one.write_bytes(b"\x00binary\xff")
    given = ("--secret", f"id=one,src={one}", "--secret", "id=two,env=TWO", "--secret", "id=three,env=THREE")
    built, image = bench.image(*given, env={"TWO": "second", "THREE": "third!"})
    assert built.said == "400 0:0 8\n440 3:4 6\n6\none\n<>\n"
    assert image.files() == {}
    assert not any("secret" in name or "deep" in name for name in image.members(1))
    bench.write("FROM base\nRUN --mount=type=secret,id=needed,required true\n")
    done = bench.text()
    assert done.code == 1
    assert done.err[done.err.index("error[") :] == (
        "error[missing-secret]: secret needed: not found\n"
        "  Dockerfile:2\n    RUN --mount=type=secret,id=needed,required true\n"
        "                " + "^" * len("type=secret,id=needed,required") + "\n"
        "hint: give it with --secret id=needed,src=FILE\n"
    )


@pytest.fixture
def agent(bench_everyone: Bench, require: Callable[..., None]) -> Iterator[Path]:
    """A socket of the builder's that answers as an agent without keys would."""
    path = bench_everyone.room / "agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        bench_everyone.pybuild.person.owns(path)
        listening.listen()
        listening.settimeout(60)

        def answer() -> None:
            try:
                while True:
                    caller, _ = listening.accept()
                    with caller:
                        caller.sendall(b"here I am\n")
            except OSError:
                return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield path
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_an_agent_is_reached_through_its_socket(bench_everyone: Bench, agent: Path) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base\n"
        "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK\n"
        'RUN --mount=type=ssh,id=absent echo "<$SSH_AUTH_SOCK>"\n'
        "RUN --mount=type=ssh,target=/tmp/agent,uid=5 echo $SSH_AUTH_SOCK; test -S /tmp/agent\n"
        "RUN --mount=type=ssh,target=/tmp/agent,uid=5,gid=6,mode=0640 stat -c '%a %u:%g' /tmp/agent\n"
    )
    # As with BuildKit the variable is set even where no agent is.
    said = "/run/buildkit/ssh_agent.0\n</run/buildkit/ssh_agent.0>\n/tmp/agent\n640 5:6\n"
    assert bench.build("--ssh", f"default={agent}").said == said
    assert bench.build("--ssh", "default", "--no-cache", env={"SSH_AUTH_SOCK": str(agent)}).said == said
    # The agent is no input.
    assert bench.build().performed == []
    bench.write("FROM base\nRUN --mount=type=ssh,required true\n")
    done = bench.text()
    assert done.code == 1
    assert "error[missing-ssh-agent]: unset ssh forward key default\n" in done.err


def test_what_a_command_leaves_running_is_gone(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base\nRUN (sleep 300; echo late >/late) & (setsid sleep 301 &) ; echo done\nRUN ls /late 2>&1; true\n"
    )
    built = bench.build(timeout=60)
    assert built.said == "done\nls: /late: No such file or directory\n"


def test_output_of_every_kind_comes_through(bench: Bench) -> None:
    bench.write(
        "FROM base\nRUN printf 'no newline'; printf 'caf\\303\\251 \\377\\n' >&2; "
        "yes | head -c 3000000 | tr -d '\\n'; echo; echo end\nRUN cat; echo nothing to read; test ! -t 0\n"
    )
    built = bench.build()
    assert "café \\xff\n" in built.said
    assert "end\n" in built.said
    assert built.said.count("y") >= 3_000_000 // 2
    assert "nothing to read" in built.said
    assert bench.text("--no-cache").code == 0


def test_a_mount_of_a_link_that_leads_to_itself_is_told(bench: Bench) -> None:
    bench.write("FROM base\nRUN --mount=source=loop,target=/m true\n", {"file": ""})
    (bench.context / "loop").symlink_to("loop")
    done = bench.text()
    assert done.err.endswith(
        'error[bad-source]: "/loop": too many levels of symbolic links\n'
        "  Dockerfile:2\n"
        "    RUN --mount=source=loop,target=/m true\n"
        "    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
    ), done.err


def test_mounts_lie_as_deep_as_their_targets_whatever_their_order(bench: Bench) -> None:
    bench.write(
        "FROM base\nRUN mkdir -m 751 /there\n"
        "RUN --mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a --mount=type=tmpfs,target=/there \\\n"
        "    touch /a/x /a/b/y; ls /a /a/b; stat -c %a /a /there\n"
    )
    # A tmpfs over a folder has the folder's mode, as runc makes it.
    assert bench.build().said == "/a:\nb\nx\n\n/a/b:\ny\n1777\n751\n"


def test_a_seeded_cache_is_the_folder_with_its_owner_and_mode(bench_everyone: Bench) -> None:
    bench_everyone.write(
        "FROM base AS seed\nRUN mkdir -m 710 /seed && touch /seed/f && chown 5:6 /seed\n"
        "FROM base\nRUN --mount=type=cache,target=/c,from=seed,source=/seed,uid=9,mode=0700 \\\n"
        "  stat -c '%u:%g %a' /c /c/f\n"
    )
    assert bench_everyone.build().said == "5:6 710\n0:0 644\n"


def test_build_arguments_name_the_host_and_part_the_caches(bench: Bench) -> None:
    bench.write(
        "FROM base\nRUN --mount=type=cache,target=/c hostname; grep -c some-host /etc/hosts; ls /c; touch /c/f\n"
    )
    host, caches = "--build-arg=BUILDKIT_SANDBOX_HOSTNAME=some-host", "--build-arg=BUILDKIT_CACHE_MOUNT_NS="
    assert bench.build("--no-cache", host, caches + "one").said == "some-host\n1\n"
    again = bench.build("--no-cache", host, caches + "one").said
    other = bench.build("--no-cache", host, caches + "two").said
    assert (again, other) == ("some-host\n1\nf\n", "some-host\n1\n")
