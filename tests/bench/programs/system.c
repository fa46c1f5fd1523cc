// What goes through the kernel: system calls, page faults, processes, signals, files in memory.
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PAGE = 4096,
};

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static uint64_t run_getppid(void)
{
    long parent = syscall(SYS_getppid);
    uint64_t same = 0;
    for (unsigned i = 0; i < 250000; i++) {
        same += syscall(SYS_getppid) == parent;
    }
    return same;
}

static uint64_t run_page_faults(void)
{
    enum {
        SIZE = 4 << 20,
    };
    uint64_t sum = 0;
    for (unsigned round = 0; round < 20; round++) {
        char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED);
        madvise(memory, SIZE, MADV_NOHUGEPAGE); // a page a fault, where the kernel knows larger ones
        for (unsigned i = 0; i < SIZE; i += PAGE) {
            sum += (uint64_t)memory[i]++ + 1;
        }
        munmap(memory, SIZE);
    }
    return sum;
}

static uint64_t run_mmap_munmap(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 8000; i++) {
        char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(memory != MAP_FAILED);
        memory[PAGE] = (char)i;
        sum += (unsigned char)memory[PAGE];
        munmap(memory, 4 * PAGE);
    }
    return sum;
}

static uint64_t run_fork(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 400; i++) {
        pid_t child = fork();
        int status;
        require(child >= 0);
        if (child == 0) {
            _exit((int)(i & 63));
        }
        require(waitpid(child, &status, 0) == child);
        sum += (uint64_t)WEXITSTATUS(status);
    }
    return sum;
}

static uint64_t run_fork_exec(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 150; i++) {
        pid_t child = fork();
        int status;
        require(child >= 0);
        if (child == 0) {
            execl("bin/bench", "bench", "exit", (char *)NULL);
            _exit(1);
        }
        require(waitpid(child, &status, 0) == child);
        sum += (uint64_t)(WEXITSTATUS(status) == 0);
    }
    require(sum == 150);
    return sum;
}

// A byte to and fro between two processes.
static uint64_t run_pipe(void)
{
    enum {
        TURNS = 7000,
    };
    int to[2], from[2], status;
    char byte = 0;
    uint64_t sum = 0;
    require(pipe(to) == 0 && pipe(from) == 0);
    pid_t child = fork();
    require(child >= 0);
    for (unsigned i = 0; i < TURNS; i++) {
        if (child == 0) {
            require(read(to[0], &byte, 1) == 1);
            byte++;
            require(write(from[1], &byte, 1) == 1);
        } else {
            require(write(to[1], &byte, 1) == 1 && read(from[0], &byte, 1) == 1);
            sum += (unsigned char)byte;
        }
    }
    if (child == 0) {
        _exit(0);
    }
    require(waitpid(child, &status, 0) == child && status == 0);
    return sum;
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    signals += number == SIGUSR1;
}

static uint64_t run_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    require(sigaction(SIGUSR1, &action, NULL) == 0);
    for (unsigned i = 0; i < 70000; i++) {
        require(raise(SIGUSR1) == 0);
    }
    return (uint64_t)signals;
}

static uint64_t run_tmpfs_files(void)
{
    static char data[8192];
    char directory[] = BENCH_TMPFS "/bench.XXXXXX", path[64];
    uint64_t sum = 0;
    require(mkdtemp(directory) != NULL);
    for (unsigned i = 0; i < 5000; i++) {
        struct stat status;
        snprintf(path, sizeof path, "%s/%u", directory, i % 16);
        int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        require(file >= 0);
        data[0] = (char)i;
        require(write(file, data, sizeof data) == sizeof data);
        require(pread(file, data, 4096, 0) == 4096 && fstat(file, &status) == 0);
        sum += (uint64_t)status.st_size + (unsigned char)data[0];
        close(file);
        if (i % 16 == 15) {
            for (unsigned k = 0; k < 16; k++) {
                snprintf(path, sizeof path, "%s/%u", directory, k);
                unlink(path);
            }
        }
    }
    for (unsigned k = 0; k < 16; k++) {
        snprintf(path, sizeof path, "%s/%u", directory, k);
        unlink(path);
    }
    rmdir(directory);
    return sum;
}

const struct kernel system_kernels[] = {
    {"system", "getppid", run_getppid, NULL},
    {"system", "page_faults", run_page_faults, NULL},
    {"system", "mmap_munmap", run_mmap_munmap, NULL},
    {"system", "fork", run_fork, NULL},
    {"system", "fork_exec", run_fork_exec, NULL},
    {"system", "pipe", run_pipe, NULL},
    {"system", "signals", run_signals, NULL},
    {"system", "tmpfs_files", run_tmpfs_files, NULL},
    {NULL, NULL, NULL, NULL},
};
