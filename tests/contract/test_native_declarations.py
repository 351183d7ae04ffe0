"""The committed module is what the declarations make, and both agree with the kernel's own headers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from native import constants, declarations, notified, seccomp
from native._kernel import ffi

HEADERS = (
    "sys/syscall.h",
    "linux/mount.h",
    "linux/fcntl.h",
    "linux/fs.h",
    "linux/openat2.h",
    "linux/sched.h",
    "linux/prctl.h",
    "linux/capability.h",
    "linux/seccomp.h",
    "linux/audit.h",
    "linux/filter.h",
    "linux/types.h",
    "linux/uio.h",
    "linux/landlock.h",
)
# Under another name in the headers, or in a header that clashes with the others.
NAMES = {"LINUX_CAPABILITY_VERSION_3": "_LINUX_CAPABILITY_VERSION_3"}
GENERIC = "#define __BITS_PER_LONG 64\n#define __ARCH_WANT_NEW_STAT\n#define __ARCH_WANT_SET_GET_RLIMIT\n"
ELSEWHERE = {"MNT_DETACH", "OPEN_TREE_CLOEXEC"}


def test_the_committed_module_is_what_the_declarations_make():
    pytest.importorskip("cffi")
    committed = Path(declarations.__file__).with_name("_kernel.py").read_text()
    assert declarations.source() == committed


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """``compiled(lines)``: compiles C whose assertions are *lines*, and gives the compiler's complaints."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("headers")

    def compile_these(lines: list[str], headers: tuple[str, ...] = HEADERS) -> str:
        present = [name for name in headers if Path("/usr/include", name).exists()]
        source = "".join(f"#include <{name}>\n" for name in present) + "\n".join(lines)
        (folder / "check.c").write_text(source)
        done = subprocess.run(
            [compiler, "-fsyntax-only", "-std=gnu11", str(folder / "check.c")],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    return compile_these


def equal(name: str, value: int) -> str:
    # Headers older than a constant do not have it; what they have must agree.
    return f'#ifdef {name}\n_Static_assert((unsigned long long)({name}) == {value}ULL, "{name}");\n#endif'


def test_constants_are_the_headers(compiled):
    if not Path("/usr/include/linux/openat2.h").exists():
        pytest.skip("no kernel headers")
    found = {name: value for name, value in vars(constants).items() if re.match(r"[A-Z]", name)}
    numbers = {name: value for name, value in found.items() if isinstance(value, int)} | constants.CAPABILITIES
    lines = [equal(NAMES.get(n, n), v & (1 << 64) - 1) for n, v in numbers.items() if n not in ELSEWHERE]
    # The fsconfig commands are an enumeration, which no #ifdef sees.
    lines += [
        f'_Static_assert({name} == {numbers[name]}, "{name}");'
        for name in ("FSCONFIG_SET_FLAG", "FSCONFIG_SET_STRING", "FSCONFIG_CMD_CREATE")
    ]
    assert compiled(lines) == ""
    assert compiled([equal(n, numbers[n]) for n in ELSEWHERE], ("sys/mount.h",)) == ""


def test_call_numbers_are_the_headers(compiled):
    x86 = Path("/usr/include/x86_64-linux-gnu/asm")
    generic = Path("/usr/include/asm-generic/unistd.h")
    checked = 0
    for machine, header, define in (
        ("x86_64", x86 / "unistd_64.h", ""),
        ("aarch64", generic, "#define __BITS_PER_LONG 64\n#define __ARCH_WANT_RENAMEAT\n"),
    ):
        if header.exists():
            lines = [define + f"#include <{header}>"]
            lines += [equal(f"__NR_{name}", number) for name, number in constants.NUMBERS[machine].items()]
            assert compiled(lines, ()) == ""
            checked += 1
    if not checked:
        pytest.skip("no kernel headers")


def test_refused_calls_have_the_headers_numbers(compiled):
    x86 = Path("/usr/include/x86_64-linux-gnu/asm")
    tables = (
        (1, x86 / "unistd_64.h", ""),
        (2, x86 / "unistd_32.h", ""),
        (3, Path("/usr/include/asm-generic/unistd.h"), "#define __BITS_PER_LONG 64\n"),
    )
    if not any(header.exists() for _, header, _ in tables):
        pytest.skip("no kernel headers")
    for column, header, define in tables:
        if not header.exists():
            continue
        lines = [define + f"#include <{header}>"]
        for row in seccomp.REFUSED:
            if row[column] != -1:
                lines.append(equal(f"__NR_{row[0]}", int(row[column])))
            else:
                # Only that which is 64 bits wide by nature has a name there without being answered.
                lines.append(f'#ifdef __NR_{row[0]}\n#error "{row[0]} is there after all"\n#endif')
        assert compiled(lines, ()) == ""


def test_supervised_calls_have_the_headers_numbers(compiled):
    x86 = Path("/usr/include/x86_64-linux-gnu/asm")
    tables = ((0, x86 / "unistd_64.h", ""), (2, Path("/usr/include/asm-generic/unistd.h"), GENERIC))
    thirty_two = x86 / "unistd_32.h"
    if not any(header.exists() for _, header, _ in tables):
        pytest.skip("no kernel headers")
    for column, header, define in tables:
        if header.exists():
            lines = [define + f"#include <{header}>"]
            # Generic headers have the name of a 32 bit machine's call for the same number.
            for name, row in notified.CALLS.items():
                present = row[column] != -1
                lines.append(equal(f"__NR_{name}", row[column]) if present else f"#ifdef __NR_{name}\n#error\n#endif")
            assert compiled(lines, ()) == ""
    if thirty_two.exists():
        lines = [f"#include <{thirty_two}>"]
        for name, row in notified.CALLS.items():
            if row[1] != -1:
                lines.append(equal(f"__NR_{notified.HEADER_NAMES.get(name, name)}", row[1]))
        assert compiled(lines, ()) == ""


def test_structures_have_the_headers_sizes_and_offsets(compiled):
    if not Path("/usr/include/linux/openat2.h").exists():
        pytest.skip("no kernel headers")
    lines = ["#include <stddef.h>"]
    for name in (
        "open_how",
        "mount_attr",
        "__user_cap_header_struct",
        "__user_cap_data_struct",
        "iovec",
        "sock_filter",
        "sock_fprog",
    ):
        kind = ffi.typeof(f"struct {name}")
        lines.append(f'_Static_assert(sizeof(struct {name}) == {ffi.sizeof(kind)}, "{name}");')
        lines += [
            f'_Static_assert(offsetof(struct {name}, {field}) == {ffi.offsetof(kind, field)}, "{name}.{field}");'
            for field, _ in kind.fields
        ]
    assert compiled(lines) == ""
