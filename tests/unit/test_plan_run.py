"""RUN: the command line, its surroundings and its history."""

from __future__ import annotations

import pytest
from plans import history, image, mistake, plan, run_step


def test_shell_form_is_put_behind_the_shell() -> None:
    made = plan("FROM a\nRUN echo  $X && \\\n  ls\n")
    assert run_step(made).argv == ("/bin/sh", "-c", "echo  $X &&   ls")
    assert history(made) == ["*RUN /bin/sh -c echo  $X &&   ls # buildkit"]


def test_exec_form_is_taken_as_it_is() -> None:
    made = plan('FROM a\nSHELL ["/bin/bash", "-c"]\nRUN ["/bin/x", "$A b"]\n')
    assert run_step(made).argv == ("/bin/x", "$A b")
    assert history(made) == ["SHELL [/bin/bash -c]", "*RUN /bin/x $A b # buildkit"]


def test_the_shell_is_the_stages_or_its_bases() -> None:
    assert run_step(plan('FROM a\nSHELL ["/b", "-e"]\nRUN x\n')).argv == ("/b", "-e", "x")
    assert run_step(plan("FROM a\nRUN x\n", {"a": image(shell=("/c",))})).argv == ("/c", "x")


def test_an_empty_exec_form_names_no_program() -> None:
    assert mistake("FROM a\nRUN []\n").message == "arguments are required"


def test_user_and_folder_are_those_of_the_moment() -> None:
    made = plan("FROM a\nUSER app:staff\nWORKDIR /srv\nRUN x\nUSER root\nWORKDIR y\nRUN z\n")
    first, second = run_step(made), run_step(made, 1)
    assert (first.user, first.cwd) == ("app:staff", "/srv")
    assert (second.user, second.cwd) == ("root", "/srv/y")


def test_a_here_document_is_a_script() -> None:
    made = plan("FROM a\nRUN <<EOF\necho $A\n  ls\nEOF\n")
    assert run_step(made).argv == ("/bin/sh", "-c", "echo $A\n  ls\n")
    assert run_step(made).title == "RUN <<EOF (echo $A...)"
    assert history(made) == ["*RUN /bin/sh -c echo $A\n  ls\n # buildkit"]


def test_a_here_document_with_tabs_is_chomped() -> None:
    assert run_step(plan("FROM a\nRUN <<-EOF\n\techo a\n\t\tls\n\tEOF\n")).argv[-1] == "echo a\nls\n"


def test_one_with_an_interpreter_becomes_a_file() -> None:
    made = plan("FROM a\nRUN <<S\n#!/usr/bin/env python3\nprint(1)\nS\n")
    assert run_step(made).files == (("/dev/pipes/S", "#!/usr/bin/env python3\nprint(1)\n"),)
    assert history(made) == ["*RUN /bin/sh -c /dev/pipes/S # buildkit"]


def test_beside_a_command_it_is_the_shells() -> None:
    made = plan("FROM a\nRUN cat <<-A <<B > /f\n\tone\nA\ntwo\nB\n")
    assert run_step(made).argv[-1] == "cat <<-A <<B > /f\n\tone\nA\ntwo\nB"
    assert run_step(made).files == ()


@pytest.mark.parametrize(
    ("flag", "network", "found"),
    [
        ("", "default", "default"),
        ("", "none", "none"),
        ("--network=default ", "none", "none"),
        ("--network=host ", "none", "host"),
        ("--network=none ", "default", "none"),
    ],
)
def test_the_network_is_the_instructions_or_the_builds(flag: str, network: str, found: str) -> None:
    assert run_step(plan(f"FROM a\nRUN {flag}x\n", network=network)).network == found


def test_security_is_kept_for_the_engine_to_allow() -> None:
    assert run_step(plan("FROM a\nRUN x\n")).security == "sandbox"
    assert run_step(plan("FROM a\nRUN --security=insecure x\n")).security == "insecure"


def test_devices_are_read() -> None:
    step = run_step(plan("FROM a\nRUN --device=v.com/c=d,required --device=name=v.com/c=e,required=false x\n"))
    assert step.devices == ("v.com/c=d,required", "v.com/c=e")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--network=moon", 'invalid network mode "moon"'),
        ("--security=none", 'security "none" is not valid'),
        ("--device=a,required=maybe", "invalid value for required: maybe"),
        ("--device=a,name=b", "device name already set to a"),
        ("--device=a,b=c", "unexpected key 'b' in 'b=c'"),
    ],
)
def test_wrong_flags_are_named(flag: str, message: str) -> None:
    assert mistake(f"FROM a\nRUN {flag} x\n").message == message


def test_the_title_shows_what_is_known_and_hides_secrets() -> None:
    text = 'FROM a\nARG A=1\nRUN --mount=type=secret,id=t,env=TOKEN echo "$A" $TOKEN $HOME\n'
    assert run_step(plan(text)).title == 'RUN --mount=type=secret,id=t,env=TOKEN echo "1" **** $HOME'


def test_a_title_is_one_line_whatever_the_shell_makes_of_it() -> None:
    assert run_step(plan("FROM a\nrun echo ${x@Q} 'open\n")).title == "RUN echo ${x@Q} 'open"


def test_a_document_behind_a_program_is_its_input() -> None:
    made = plan("FROM a\nRUN <<EOF bash\necho $X\nEOF\nRUN <<EOF\necho\nEOF\n")
    assert run_step(made).argv == ("/bin/sh", "-c", "<<EOF bash\necho $X\nEOF")
    assert run_step(made, 1).argv == ("/bin/sh", "-c", "echo\n")


def test_build_arguments_name_the_host() -> None:
    made = plan("FROM a\nRUN x\n", build_args={"BUILDKIT_SANDBOX_HOSTNAME": "some-host"})
    assert run_step(made).hostname == "some-host"
    error = mistake("FROM a\nRUN x\n", build_args={"BUILDKIT_SANDBOX_HOSTNAME": "a b"})
    assert error.message == "BUILDKIT_SANDBOX_HOSTNAME=a b is no host name"
