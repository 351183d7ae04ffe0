"""What libc and the kernel offer, declared for cffi once; makes the committed module ``native/_kernel.py``.

Out-of-line ABI mode: nothing is compiled, neither at install nor at run time, and nothing is parsed at start. After a
change here run ``python -m native.declarations``. A contract test makes the module anew, compares it with the committed
one, and compiles structures and constants against the kernel's own headers.

source   cffi's documentation, "Preparing and Distributing modules", ``ffibuilder.emit_python_code``
"""

from __future__ import annotations

from pathlib import Path

MODULE = "native._kernel"

# syscall(2) is variadic in C; it is declared with its six register-wide arguments because a fixed prototype lets cffi
# prepare the call once. Integer arguments are passed alike in either form. source: System V AMD64 psABI 3.2.3; AAPCS64
FUNCTIONS = """
long syscall(long number, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);
int mount(const char *source, const char *target, const char *kind, unsigned long flags, const char *data);
int umount2(const char *target, int flags);
int unshare(int flags);
int setns(int fd, int kind);
int sethostname(const char *name, size_t length);
int syncfs(int fd);
int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long);
"""

STRUCTURES = """
struct open_how { uint64_t flags; uint64_t mode; uint64_t resolve; };
struct mount_attr { uint64_t attr_set; uint64_t attr_clr; uint64_t propagation; uint64_t userns_fd; };
struct __user_cap_header_struct { uint32_t version; int pid; };
struct __user_cap_data_struct { uint32_t effective; uint32_t permitted; uint32_t inheritable; };
struct iovec { uintptr_t iov_base; size_t iov_len; };
struct landlock_ruleset_attr { uint64_t handled_access_fs; uint64_t handled_access_net; uint64_t scoped; };
struct sock_filter { uint16_t code; uint8_t jt; uint8_t jf; uint32_t k; };
struct sock_fprog { unsigned short len; struct sock_filter *filter; };
"""


def source() -> str:
    """The text of ``native/_kernel.py``."""
    # Only whoever changes the declarations needs the parser.
    import tempfile

    from cffi import FFI

    builder = FFI()
    builder.cdef(FUNCTIONS + STRUCTURES)
    builder.set_source(MODULE, None)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "_kernel.py")
        builder.emit_python_code(str(target))
        return target.read_text()


if __name__ == "__main__":
    Path(__file__).with_name("_kernel.py").write_text(source())
