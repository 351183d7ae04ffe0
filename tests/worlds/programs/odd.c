/* Odd calls, one by each name given: what is said is a line "name: what the call did". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *done(long result) { return result < 0 ? strerrorname_np(errno) : "done"; }

static void owner(const char *what, const char *path) {
    struct stat s;
    if (lstat(path, &s) < 0) printf("%s: %s\n", what, done(-1));
    else printf("%s: %d:%d\n", what, (int)s.st_uid, (int)s.st_gid);
}

static void make(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static int to_abstract(const char *name) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path + 1, name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static void abstract(const char *name) {
    printf("abstract: %s\n", done(to_abstract(name)));
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path + 1, "own");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(fd, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + 4);
    listen(fd, 1);
    fflush(stdout);
    pid_t child = fork();
    if (!child) { printf("own abstract: %s\n", done(to_abstract("own"))); fflush(stdout); _exit(0); }
    waitpid(child, NULL, 0);
}

static void around(void) {
    char params[256] = {0};
    printf("io_uring: %s\n", done(syscall(425, 1, params)));
#ifdef __x86_64__
    printf("x32: %s\n", done(syscall(0x40000000 | 39)));
#endif
    printf("clone3: %s\n", done(syscall(435, params, 8)));
    printf("user namespace: %s\n", done(unshare(CLONE_NEWUSER)));
    struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, allow};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int own = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    printf("listener: %s\n", done(own));
    if (own >= 0) close(own);
}

static void names(void) {
    make("one");
    int fd = open("one", O_PATH);
    printf("fchownat of what is open: %s\n", done(fchownat(fd, "", 33, 44, AT_EMPTY_PATH)));
    owner("one", "one");
    struct statx x;
    for (int flags = 0; flags < 3; flags++) {
        int kinds[] = {AT_STATX_SYNC_AS_STAT, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC};
        int result = statx(fd, "", AT_EMPTY_PATH | kinds[flags], STATX_BASIC_STATS | STATX_BTIME, &x);
        printf("statx: %s %d:%d\n", done(result), (int)x.stx_uid, (int)x.stx_gid);
    }
    int nameless = open(".", O_TMPFILE | O_RDWR, 0600);
    fchown(nameless, 7, 8);
    char path[64];
    sprintf(path, "/proc/self/fd/%d", nameless);
    printf("linkat of what has no name: %s\n", done(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW)));
    owner("named", "named");
    symlink("one", "link");
    lchown("link", 5, 6);
    make("two");
    chown("two", 9, 10);
    printf("exchange: %s\n", done(syscall(SYS_renameat2, AT_FDCWD, "link", AT_FDCWD, "two", RENAME_EXCHANGE)));
    owner("link, which was two", "link");
    owner("two, which was link", "two");
    printf("a whiteout: %s\n", done(mknod("white", S_IFCHR | 0644, 0)));
    printf("a rename that leaves one: %s\n",
           done(syscall(SYS_renameat2, AT_FDCWD, "link", AT_FDCWD, "three", RENAME_WHITEOUT)));
    make("\xff\xfe n\xc3");
    printf("a name that is no UTF-8: %s\n", done(chown("\xff\xfe n\xc3", 11, 12)));
    owner("it", "\xff\xfe n\xc3");
    char top[4200];
    getcwd(top, sizeof top);
    for (int size = 4095; size <= 4096; size++) {
        /* "./././one" of so many bytes */
        char *longest = malloc(size + 1);
        for (int i = 0; i < size; i++) longest[i] = i % 2 ? '/' : '.';
        memcpy(longest + size - 3, "one", 3);
        if ((size - 3) % 2) longest[size - 4] = '/', longest[size - 5] = '/';
        longest[size] = 0;
        printf("a path of %d: %s\n", size, done(chown(longest, 13, 14)));
    }
    owner("one", "one");
    printf("no path: %s\n", done(syscall(SYS_fchownat, AT_FDCWD, (char *)8, 1, 1, 0)));
    printf("an empty path: %s\n", done(chown("", 1, 1)));
}

static volatile int alarms;
static void count(int number) { alarms += number > 0; }

static void interrupted(void) {
    make("busy");
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &often, NULL);
    int failed = 0, calls = 0;
    while (alarms < 50 || calls < 300) { calls++; if (chown("busy", calls % 60000, 1)) failed++; }
    memset(&often, 0, sizeof often);
    setitimer(ITIMER_REAL, &often, NULL);
    struct stat s;
    stat("busy", &s);
    printf("interrupted: %d failed, %s\n", failed, (int)s.st_uid == calls % 60000 ? "done" : "lost");
}

static void killed(void) {
    make("victim");
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (!child) for (;;) { chown("victim", 70000, 70000); getuid(); }
        usleep(100 * (i % 20));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    printf("after 60 were killed: %s\n", done(chown("victim", 21, 22)));
    owner("victim", "victim");
}

static void *thread(void *number) {
    char name[32];
    sprintf(name, "t%ld", (long)number);
    make(name);
    struct stat s;
    return (void *)(long)(chown(name, 100 + (long)number, 1) || stat(name, &s) || s.st_uid != 100 + (long)number);
}

static void threads(void) {
    pthread_t all[200];
    long wrong = 0;
    void *result;
    for (long i = 0; i < 200; i++) if (pthread_create(&all[i], NULL, thread, (void *)i)) printf("no thread\n");
    for (int i = 0; i < 200; i++) { pthread_join(all[i], &result); wrong += (long)result; }
    printf("200 threads: %ld wrong\n", wrong);
}

static void processes(int count) {
    int start[2], wrong = 0, status;
    pipe(start);
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) { printf("only %d processes: %s\n", i, done(-1)); count = i; break; }
        if (!child) {
            char c;
            close(start[1]);
            read(start[0], &c, 1);
            setgid(i + 1);
            setuid(i + 1);
            _exit(getuid() != (uid_t)i + 1 || getgid() != (gid_t)i + 1);
        }
    }
    close(start[1]);
    while (wait(&status) > 0) wrong += status != 0;
    printf("processes at once: %d wrong\n", wrong);
}

static void started(void) {
    char *words[] = {"true", NULL}, *none[] = {NULL};
    pid_t child;
    int status = -1;
    int failed = posix_spawn(&child, "/bin/true", NULL, NULL, words, none);
    if (!failed) waitpid(child, &status, 0);
    printf("posix_spawn: %d %d\n", failed, status);
    printf("posix_spawn of what is not there: %s\n", strerrorname_np(posix_spawn(&child, "/no", NULL, NULL, words, none)));
    int script = open("script", O_CREAT | O_WRONLY, 0755);
    write(script, "#!/no/interpreter\n", 18);
    close(script);
    printf("a script without interpreter: %s\n", strerrorname_np(posix_spawn(&child, "script", NULL, NULL, words, none)));
    child = vfork();
    if (!child) { execve("/bin/true", words, none); _exit(9); }
    waitpid(child, &status, 0);
    printf("vfork: %d\n", status);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "abstract")) abstract(argv[++i]);
        else if (!strcmp(argv[i], "around")) around();
        else if (!strcmp(argv[i], "names")) names();
        else if (!strcmp(argv[i], "interrupted")) interrupted();
        else if (!strcmp(argv[i], "killed")) killed();
        else if (!strcmp(argv[i], "threads")) threads();
        else if (!strcmp(argv[i], "processes")) processes(atoi(argv[++i]));
        else if (!strcmp(argv[i], "started")) started();
        fflush(stdout);
    }
    return 0;
}
