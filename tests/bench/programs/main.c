// Runs kernels and programs on request: natively as `bench serve`, in a guest as its init. A request is a line with a
// name; the answer is a line "BENCH name ok|unsupported|failed checksum nanoseconds". Between an answer and the next
// request this program sleeps, so that whoever measures from outside finds the guest idle. `bench list` names all.
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum {
    EXIT_UNSUPPORTED = 77,
};

static const struct kernel *const kernel_tables[] = {
    integer_kernels, scalar_kernels, packed_kernels, crypto_kernels,
    x87_kernels,     memory_kernels, system_kernels, modified_kernels,
};

static const struct kernel *find_kernel(const char *name)
{
    for (unsigned t = 0; t < sizeof kernel_tables / sizeof kernel_tables[0]; t++) {
        for (const struct kernel *k = kernel_tables[t]; k->name; k++) {
            if (!strcmp(k->name, name)) {
                return k;
            }
        }
    }
    return NULL;
}

static const struct program *find_program(const char *name)
{
    for (const struct program *p = programs; p->name; p++) {
        if (!strcmp(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

static void list(void)
{
    for (unsigned t = 0; t < sizeof kernel_tables / sizeof kernel_tables[0]; t++) {
        for (const struct kernel *k = kernel_tables[t]; k->name; k++) {
            printf("%s %s\n", k->group, k->name);
        }
    }
    for (const struct program *p = programs; p->name; p++) {
        printf("%s %s %s\n", p->group, p->name, p->argv[0]);
    }
}

// In a child process, standard output into a pipe: runs NAME and does not return.
static _Noreturn void run_child(const char *name)
{
    const struct kernel *kernel = find_kernel(name);
    if (kernel) {
        if (kernel->usable && !kernel->usable()) {
            _exit(EXIT_UNSUPPORTED);
        }
        printf("%016llx\n", (unsigned long long)kernel->run());
        fflush(stdout);
        _exit(0);
    }
    const struct program *program = find_program(name);
    if (program) {
        if (access(program->argv[0], X_OK) != 0) {
            _exit(EXIT_UNSUPPORTED);
        }
        execv(program->argv[0], (char *const *)program->argv);
    }
    _exit(127);
}

// FNV-1a of all that comes out of a pipe.
static uint64_t checksum_of(int descriptor)
{
    static unsigned char buffer[65536];
    uint64_t checksum = 0xcbf29ce484222325u;
    ssize_t count;
    while ((count = read(descriptor, buffer, sizeof buffer)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            checksum = bench_fold(checksum, buffer[i]);
        }
    }
    return checksum;
}

static long long nanoseconds_of_children(void)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static void run(const char *name)
{
    int ends[2];
    int status = -1;
    uint64_t checksum = 0;
    long long before = nanoseconds_of_children();
    if (pipe(ends) == 0) {
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], STDOUT_FILENO);
            close(ends[0]);
            close(ends[1]);
            run_child(name);
        }
        close(ends[1]);
        checksum = checksum_of(ends[0]);
        close(ends[0]);
        if (child < 0 || waitpid(child, &status, 0) != child) {
            status = -1;
        }
    }
    bool unsupported = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_UNSUPPORTED;
    printf("\nBENCH %s %s %016llx %lld\n", name,
           status == 0   ? "ok"
           : unsupported ? "unsupported"
                         : "failed",
           (unsigned long long)checksum, nanoseconds_of_children() - before);
    fflush(stdout);
}

// Requests until the end of the input or "quit".
static void serve(void)
{
    char line[128];
    printf("\nBENCH ready ok 0 0\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!strcmp(line, "quit")) {
            break;
        }
        if (line[0]) {
            run(line);
        }
    }
}

static void become_init(void)
{
    struct termios terminal;
    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mkdir(BENCH_TMPFS, 0777);
    mount("tmpfs", BENCH_TMPFS, "tmpfs", 0, NULL);
    if (tcgetattr(STDIN_FILENO, &terminal) == 0) {
        terminal.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
    }
    serve();
    reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (getpid() == 1) {
        become_init();
    } else if (!strcmp(verb, "exit")) {
        return 0; // what fork_exec starts
    } else if (!strcmp(verb, "list")) {
        list();
    } else if (!strcmp(verb, "serve")) {
        serve();
    } else {
        fprintf(stderr, "usage: bench list|serve\n");
        return 1;
    }
    return 0;
}
