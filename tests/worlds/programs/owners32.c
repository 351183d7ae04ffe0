/* The same questions by a 32-bit program: i386's calls on x86_64, without any library. Prints "call: result uid:gid". */
typedef unsigned int u32;

static int call(int number, u32 a, u32 b, u32 c, u32 d) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return result;
}

enum { OPEN = 5, LINK = 9, UNLINK = 10, RENAME = 38, MKDIR = 39, SYMLINK = 83, STAT64 = 195, LSTAT64, FSTAT64,
       LCHOWN32 = 198, GETUID32, GETGID32, GETEUID32, FCHOWN32 = 207, CHOWN32 = 212, SETUID32, SETGID32,
       FSTATAT64 = 300, OPENAT = 295, STATX = 383 };

static void text(const char *what) {
    int size = 0;
    while (what[size]) size++;
    call(4, 1, (u32)what, size, 0);
}

static void number(long value) {
    char digits[16], *at = digits + 15;
    u32 rest = value < 0 ? -value : value;
    *at = 0;
    do *--at = '0' + rest % 10; while (rest /= 10);
    if (value < 0) *--at = '-';
    text(at);
}

static u32 status[64];

static void said(const char *what, int result) {
    text(what);
    text(": ");
    number(result);
    text("\n");
}

static void owner(const char *what, int result) {
    text(what);
    text(": ");
    number(result);
    text(" ");
    number(status[6]);
    text(":");
    number(status[7]);
    text(" mode ");
    number(status[4]);
    if ((status[4] & 0170000) != 040000) { /* a folder's is the file system's */
        text(" size ");
        number(status[11]);
    }
    text("\n");
}

void _start(void) {
    call(60, 022, 0, 0, 0);
    call(MKDIR, (u32)"short", 0777, 0, 0);
    call(12, (u32)"short", 0, 0, 0);
    call(15, (u32)".", 0777, 0, 0);
    int fd = call(OPEN, (u32)"file", 0102, 0644, 0);
    call(4, fd, (u32)"12345", 5, 0);
    said("fchown", call(FCHOWN32, fd, 11, 12, 0));
    call(SYMLINK, (u32)"file", (u32)"link", 0, 0);
    said("lchown", call(LCHOWN32, (u32)"link", 13, 14, 0));
    owner("stat", call(STAT64, (u32)"link", (u32)status, 0, 0));
    owner("lstat", call(LSTAT64, (u32)"link", (u32)status, 0, 0));
    owner("fstat", call(FSTAT64, fd, (u32)status, 0, 0));
    owner("fstatat", call(FSTATAT64, -100, (u32)"link", (u32)status, 0x100));
    said("chown", call(CHOWN32, (u32)"link", -1, 70000, 0));
    owner("stat", call(STAT64, (u32)"file", (u32)status, 0, 0));
    said("setgid", call(SETGID32, 16, 0, 0, 0));
    said("setuid", call(SETUID32, 15, 0, 0, 0));
    said("getuid", call(GETUID32, 0, 0, 0, 0));
    said("getgid", call(GETGID32, 0, 0, 0, 0));
    said("open", call(OPEN, (u32)"mine", 0102, 0644, 0) > 0);
    owner("stat", call(STAT64, (u32)"mine", (u32)status, 0, 0));
    said("mkdir", call(MKDIR, (u32)"folder", 0755, 0, 0));
    owner("stat", call(STAT64, (u32)"folder", (u32)status, 0, 0));
    call(1, 0, 0, 0, 0);
}
