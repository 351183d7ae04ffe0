/* Asks the kernel about owners in every way there is, and prints its answers: they are to be the same for whoever builds.

   Permissions are not asked about: docs/differences.md says why. Built static, run as root in an empty folder. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void said(const char *what, long value) {
    printf("%s: %ld %s\n", what, value, value < 0 ? strerrorname_np(errno) : "");
}

static void owner(const char *path) {
    struct stat one;
    if (lstat(path, &one) < 0) {
        said(path, -1);
        return;
    }
    printf("%s: %o %u:%u\n", path, one.st_mode, one.st_uid, one.st_gid);
}

static int file(const char *path, int mode) {
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    fchmod(fd, mode);
    return fd;
}

static void whoami(const char *when) {
    uid_t r, e, s;
    gid_t g, h, t, groups[64];
    getresuid(&r, &e, &s);
    getresgid(&g, &h, &t);
    int count = getgroups(64, groups);
    printf("%s: %u %u %u, %u %u %u,", when, r, e, s, g, h, t);
    for (int i = 0; i < count; i++) printf(" %u", groups[i]);
    printf("; %u %u %u %u\n", getuid(), geteuid(), getgid(), getegid());
}

/* Run *function* in a process of its own, whose ids are gone with it. */
static void apart(void (*function)(void)) {
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        function();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (status) printf("ended with %x\n", status);
}

static void ways_to_give(void) {
    int fd = file("a", 0644);
    said("fchown", fchown(fd, 11, 12));
    owner("a");
    symlink("a", "to-a");
    said("chown through a link", chown("to-a", 13, -1));
    said("lchown", lchown("to-a", -1, 14));
    owner("a");
    owner("to-a");
    int path = open("a", O_PATH | O_CLOEXEC);
    said("AT_EMPTY_PATH", fchownat(path, "", 15, 16, AT_EMPTY_PATH));
    owner("a");
    int link = open("to-a", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    said("AT_EMPTY_PATH of a link", fchownat(link, "", 17, 18, AT_EMPTY_PATH));
    owner("to-a");
    mkdir("d", 02755);
    chmod("d", 02755);
    int folder = open("d", O_DIRECTORY | O_CLOEXEC);
    symlink("../a", "d/l");
    said("at, a link itself", fchownat(folder, "l", 19, 20, AT_SYMLINK_NOFOLLOW));
    said("at, through it", fchownat(folder, "l", 21, 22, 0));
    said("at, nothing", fchownat(folder, "", 1, 1, 0));
    said("at, not there", fchownat(folder, "none", 1, 1, 0));
    said("a folder keeps its bit", chown("d", 23, 24));
    owner("d");
    owner("d/l");
    owner("a");
    char name[64];
    sprintf(name, "/proc/self/fd/%d", fd);
    said("by /proc", chown(name, 25, 26));
    sprintf(name, "/dev/fd/%d", fd);
    said("by /dev/fd", chown(name, -1, 27));
    owner("a");
    chown("a", 70000, 4294967294u);
    owner("a");
    chown("a", 0, 0);
    owner("a");
    said("bad address", chown((char *)1, 1, 1));
    file("bits", 06755);
    chown("bits", 5, 5);
    owner("bits");
    chmod("bits", 06755);
    chown("bits", -1, 6);
    owner("bits");
    chmod("bits", 06745);
    chown("bits", 0, 0);
    owner("bits");
}

static void ways_to_ask(void) {
    struct stat one;
    struct statx more;
    int fd = file("asked", 0640);
    fchown(fd, 31, 32);
    symlink("asked", "asking");
    lchown("asking", 33, 34);
    stat("asking", &one);
    printf("stat %u:%u %o\n", one.st_uid, one.st_gid, one.st_mode);
    lstat("asking", &one);
    printf("lstat %u:%u %ld\n", one.st_uid, one.st_gid, (long)one.st_size);
    fstat(fd, &one);
    printf("fstat %u:%u\n", one.st_uid, one.st_gid);
    syscall(SYS_fstat, fd, &one);
    printf("SYS_fstat %u:%u %lu\n", one.st_uid, one.st_gid, (long)one.st_nlink);
    fstatat(fd, "", &one, AT_EMPTY_PATH);
    printf("fstatat %u:%u\n", one.st_uid, one.st_gid);
    fstatat(AT_FDCWD, "asking", &one, AT_SYMLINK_NOFOLLOW);
    printf("fstatat %u:%u %o\n", one.st_uid, one.st_gid, one.st_mode);
    int path = open("asking", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    fstat(path, &one);
    printf("fstat of O_PATH %u:%u %o\n", one.st_uid, one.st_gid, one.st_mode);
    statx(AT_FDCWD, "asking", 0, STATX_BASIC_STATS, &more);
    printf("statx %u:%u %o %d\n", more.stx_uid, more.stx_gid, more.stx_mode, (more.stx_mask & STATX_UID) != 0);
    statx(path, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &more);
    printf("statx %u:%u %o\n", more.stx_uid, more.stx_gid, more.stx_mode);
    said("mknod", mknod("disk", S_IFBLK | 0640, makedev(8, 300)));
    stat("disk", &one);
    printf("disk %o %u:%u\n", one.st_mode, major(one.st_rdev), minor(one.st_rdev));
    statx(AT_FDCWD, "disk", 0, STATX_BASIC_STATS, &more);
    printf("disk %o %u:%u\n", more.stx_mode, more.stx_rdev_major, more.stx_rdev_minor);
}

/* What keeps owners by inode, or by path, is deceived here. */
static void another_in_its_place(void) {
    symlink("x", "l");
    lchown("l", 41, 42);
    unlink("l");
    symlink("y", "l");
    owner("l");
    for (int i = 0; i < 40; i++) {
        char name[16];
        sprintf(name, "many%d", i);
        symlink("x", name);
        lchown(name, 41, 42);
        unlink(name);
        close(file(name, 0644));
        owner(name);
        unlink(name);
        mkfifo(name, 0600);
        owner(name);
        unlink(name);
        symlink("y", name);
        owner(name);
    }
    symlink("x", "r1");
    lchown("r1", 43, 44);
    symlink("y", "r2");
    rename("r2", "r1");
    owner("r1");
    symlink("x", "r3");
    lchown("r3", 45, 46);
    rename("r3", "r4");
    owner("r4");
    symlink("z", "r5");
    said("exchange", renameat2(AT_FDCWD, "r4", AT_FDCWD, "r5", RENAME_EXCHANGE));
    owner("r4");
    owner("r5");
    said("noreplace", renameat2(AT_FDCWD, "r4", AT_FDCWD, "r5", RENAME_NOREPLACE));
    mkfifo("f1", 0600);
    chown("f1", 47, 48);
    said("link", link("f1", "f2"));
    rename("f1", "f3");
    owner("f2");
    owner("f3");
    chown("f2", 0, 0);
    owner("f3");
    symlink("x", "back");
    lchown("back", 49, 50);
    lchown("back", 0, 0);
    owner("back");
    file("over", 0644);
    chown("over", 51, 52);
    file("new", 0644);
    rename("new", "over");
    owner("over");
    file("hard1", 0644);
    link("hard1", "hard2");
    chown("hard1", 53, 54);
    owner("hard2");
    mkdir("moved", 0755);
    symlink("x", "moved/l");
    lchown("moved/l", 55, 56);
    file("moved/f", 0644);
    chown("moved/f", 57, 58);
    rename("moved", "elsewhere");
    owner("elsewhere/l");
    owner("elsewhere/f");
    mkfifo("was-fifo", 0600);
    chown("was-fifo", 59, 60);
    unlink("was-fifo");
    mkdir("was-fifo", 0700);
    owner("was-fifo");
}

static void what_another_makes(void) {
    gid_t groups[] = {80, 7, 70000};
    mkdir("open", 0777);
    chmod("open", 0777);
    mkdir("open/group", 0777);
    chown("open/group", 0, 77);
    chmod("open/group", 02777);
    symlink("dangling-target", "open/dangling");
    mkfifo("open/old-fifo", 0666);
    chmod("open/old-fifo", 0666);
    file("open/group/of-root", 0644);
    mkdir("open/group/folder-of-root", 0755);
    symlink("x", "open/group/link-of-root");
    mkfifo("open/group/fifo-of-root", 0600);
    said("setgroups", setgroups(3, groups));
    said("setgid", setgid(61));
    said("setuid", setuid(60));
    whoami("became");
    said("setuid back", setuid(0));
    said("setgroups again", setgroups(0, groups));
    umask(027);
    said("new", open("open/new", O_CREAT | O_WRONLY, 0666) >= 0);
    said("again", open("open/new", O_CREAT | O_EXCL | O_WRONLY, 0666));
    said("dangling", open("open/dangling", O_CREAT | O_WRONLY, 0644) >= 0);
    said("dangling, exclusively", open("open/dangling", O_CREAT | O_EXCL | O_WRONLY, 0644));
    said("old fifo", open("open/old-fifo", O_CREAT | O_RDWR | O_NONBLOCK, 0644) >= 0);
    said("folder", open("open", O_CREAT | O_WRONLY, 0644));
    said("in nothing", open("open/none/x", O_CREAT | O_WRONLY, 0644));
    said("mkdir", mkdir("open/folder", 0777));
    said("mkdir again", mkdir("open/folder", 0777));
    said("symlink", symlink("x", "open/link"));
    said("mkfifo", mkfifo("open/fifo", 0666));
    said("mknod", mknod("open/regular", S_IFREG | 0666, 0));
    said("mknod of a device", mknod("open/device", S_IFCHR | 0666, makedev(1, 3)));
    said("in a group's folder", open("open/group/file", O_CREAT | O_WRONLY, 0666) >= 0);
    said("mkdir in it", mkdir("open/group/folder", 0777));
    int fd = open("open", O_TMPFILE | O_RDWR, 0644);
    char name[64];
    sprintf(name, "/proc/self/fd/%d", fd);
    said("a nameless one", linkat(AT_FDCWD, name, AT_FDCWD, "open/named", AT_SYMLINK_FOLLOW));
    struct { unsigned long long flags, mode, resolve; } how = {O_CREAT | O_WRONLY, 0640, 0};
    said("openat2", syscall(SYS_openat2, AT_FDCWD, "open/two", &how, sizeof how) >= 0);
    said("gives away", chown("open/new", 1, -1));
    said("to its group", chown("open/new", -1, 80));
    said("to another group", chown("open/new", -1, 81));
    said("what is root's", chown("open/group/of-root", 60, -1));
    said("appends", open("open/new", O_CREAT | O_APPEND | O_WRONLY, 0644) >= 0);
}

static void told_of_what_was_made(void) {
    const char *names[] = {"new", "dangling-target", "folder", "link", "fifo", "regular", "group/file", "group/folder",
                           "named", "two", "group/of-root", "group/folder-of-root", "group/link-of-root",
                           "group/fifo-of-root"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        sprintf(path, "open/%s", names[i]);
        owner(path);
    }
}

static void changes_of_ids(void) {
    whoami("root");
    said("seteuid", seteuid(5));
    whoami("effective 5");
    said("setegid, not allowed", setegid(9));
    said("seteuid back", seteuid(0));
    said("setreuid", setreuid(6, 7));
    whoami("6 7");
    said("setreuid swaps", setreuid(7, 6));
    whoami("7 6");
    said("setresuid, not held", setresuid(1, 2, 3));
    said("setresuid, held", setresuid(6, 7, 7));
    whoami("6 7 7");
    said("setuid, not held", setuid(100));
}

static void changes_of_groups(void) {
    said("setresgid", setresgid(1, 2, 3));
    said("setfsgid", setfsgid(9));
    said("setfsuid", setfsuid(8));
    said("setfsuid tells", setfsuid(-1));
    file("open/by-fsuid", 0644);
    setfsuid(0);
    owner("open/by-fsuid");
    whoami("groups");
    said("too many groups", setgroups(70000, 0));
    said("keepcaps", prctl(PR_SET_KEEPCAPS, 1));
    setuid(4);
    said("keeps", prctl(PR_GET_KEEPCAPS));
    said("invalid", setgid(-1));
}

static void *in_a_thread(void *which) {
    whoami(which);
    return 0;
}

static void threads(void) {
    pthread_t one;
    pthread_create(&one, 0, in_a_thread, "a thread of root's");
    pthread_join(one, 0);
    setgid(72);
    setuid(71);
    pthread_create(&one, 0, in_a_thread, "a thread after setuid");
    pthread_join(one, 0);
}

static char self[4096];

static void programs(void) {
    /* Copies of this program with the bits. */
    char command[9000];
    sprintf(command, "cp %s suid && chown 73:74 suid && chmod 6755 suid && cp suid sgid && chown 75:76 sgid && chmod 2755 sgid"
            " && printf '#!/bin/sh\\nid -u\\n' > script && chmod 4755 script && cp %s plain && cp suid no-group && chown 77:78 no-group && chmod 6745 no-group", self, self);
    said("copies", system(command));
    setgid(100);
    setuid(101);
    const char *names[] = {"./suid", "./sgid", "./plain", "./no-group"};
    for (int i = 0; i < 4; i++) {
        fflush(stdout);
        pid_t pid = vfork();
        if (!pid) {
            execl(names[i], names[i], "who", (char *)0);
            _exit(1);
        }
        waitpid(pid, 0, 0);
    }
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        int fd = open("suid", O_RDONLY | O_CLOEXEC);
        char *arguments[] = {"by descriptor", "who", 0}, *none[] = {0};
        execveat(fd, "", arguments, none, AT_EMPTY_PATH);
        _exit(1);
    }
    waitpid(pid, 0, 0);
    said("a script", system("./script; printf '#!/bin/sh\\nid -u\\n' > open/other; chmod 4755 open/other; open/other"));
    said("not there", execl("./none", "none", (char *)0));
}

static void capabilities(void) {
    struct vfs_cap_data held, data = {VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, {{1 << CAP_NET_RAW, 0}, {0, 0}}};
    char names[256];
    int fd = file("capable", 0755);
    fchown(fd, 81, 82);
    said("setxattr", setxattr("capable", "security.capability", &data, sizeof data, 0));
    said("getxattr", getxattr("capable", "security.capability", &held, sizeof held));
    printf("%x %x\n", held.magic_etc, held.data[0].permitted);
    long size = listxattr("capable", names, sizeof names);
    for (char *at = names; at < names + size; at += strlen(at) + 1)
        if (strncmp(at, "user.pybuild", 12)) printf("lists %s\n", at);
    chown("capable", 83, 84);
    said("after chown", getxattr("capable", "security.capability", &held, sizeof held));
    setxattr("capable", "security.capability", &data, sizeof data, 0);
    said("removexattr", removexattr("capable", "security.capability"));
    said("after it", fgetxattr(fd, "security.capability", &held, sizeof held));
    setxattr("capable", "security.capability", &data, sizeof data, 0);
}

static void peers(void) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct sockaddr_un at = {AF_UNIX, "socket"};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&at, sizeof at);
    listen(listener, 1);
    chmod("socket", 0777);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        setgid(92);
        setuid(91);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        connect(fd, (struct sockaddr *)&at, sizeof at);
        char byte;
        read(fd, &byte, 1);
        _exit(0);
    }
    int fd = accept(listener, 0, 0);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    printf("peer %d %u:%u\n", peer.pid == pid, peer.uid, peer.gid);
    close(fd);
    waitpid(pid, 0, 0);
    unlink("socket");
}

static volatile int interrupts;

static void interrupted(int number) {
    (void)number;
    interrupts++;
}

/* A call that was answered by making something must not be made again after a signal. */
static void signals(void) {
    struct sigaction action = {.sa_handler = interrupted, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    mkdir("busy", 0777);
    chmod("busy", 0777);
    setuid(95);
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    int wrong = 0;
    for (int i = 0; i < 500; i++) {
        char name[32];
        sprintf(name, "busy/%d", i);
        int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0) wrong++;
        close(fd);
        strcat(name, "d");
        if (mkdir(name, 0755) < 0) wrong++;
    }
    setitimer(ITIMER_REAL, &never, 0);
    said("wrong after signals", wrong);
    owner("busy/499");
    owner("busy/499d");
    said("descriptors", dup(0));
}

static void roots(void) {
    mkdir("cage", 0755);
    mkdir("cage/in", 0755);
    file("cage/in/file", 0644);
    symlink("/in/file", "cage/absolute");
    chroot("cage");
    chdir("/");
    said("in a cage", chown("/in/file", 96, 97));
    said("by an absolute link", chown("absolute", -1, 98));
    owner("/in/file");
    chmod("in", 0777);
    setuid(99);
    file("in/of-99", 0644);
    owner("in/of-99");
}

static void crowd(void) {
    enum { MANY = 300 };
    int ready[2];
    mkdir("crowd", 0777);
    chmod("crowd", 0777);
    pipe(ready);
    for (int i = 0; i < MANY; i++) {
        if (fork() == 0) {
            char name[32], byte;
            setgid(2000 + i);
            setuid(1000 + i);
            sprintf(name, "crowd/%d", i);
            close(file(name, 0644));
            close(ready[1]);
            read(ready[0], &byte, 1); /* all live at once */
            struct stat one;
            stat(name, &one);
            _exit(!(getuid() == 1000u + i && one.st_uid == 1000u + i && one.st_gid == 2000u + i));
        }
    }
    close(ready[0]);
    close(ready[1]);
    int wrong = 0, status;
    while (wait(&status) > 0) wrong += status != 0;
    said("wrong in the crowd", wrong);
}

int main(int count, char **arguments) {
    if (count > 1) {
        whoami(arguments[0]);
        return 0;
    }
    umask(022);
    readlink("/proc/self/exe", self, sizeof self - 1);
    apart(ways_to_give);
    apart(ways_to_ask);
    apart(another_in_its_place);
    apart(what_another_makes);
    apart(told_of_what_was_made);
    apart(changes_of_ids);
    apart(changes_of_groups);
    apart(threads);
    apart(programs);
    apart(capabilities);
    apart(peers);
    apart(signals);
    apart(roots);
    apart(crowd);
    return 0;
}
