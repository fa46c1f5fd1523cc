// What the benchmark's kernels share. A kernel is a function of some tenths of a second under an emulator that
// returns a checksum; the checksum must not depend on addresses, process numbers or time, because the columns of
// the benchmark are compared by it.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct kernel {
    const char *group;
    const char *name;
    uint64_t (*run)(void);
    bool (*usable)(void); // NULL: on every x86-64 processor
};

// Each ends with an entry whose name is NULL.
extern const struct kernel integer_kernels[];
extern const struct kernel scalar_kernels[];
extern const struct kernel packed_kernels[];
extern const struct kernel crypto_kernels[];
extern const struct kernel x87_kernels[];
extern const struct kernel memory_kernels[];
extern const struct kernel system_kernels[];
extern const struct kernel modified_kernels[];

// A program of the host that runs as it is; paths are relative to the directory that is the guest's root.
struct program {
    const char *group;
    const char *name;
    const char *argv[12];
};

extern const struct program programs[];

// Where files lie in memory: a tmpfs, natively and in the guest.
#define BENCH_TMPFS "/dev/shm"

// The next of a fixed sequence of numbers.
static inline uint32_t bench_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

// Folds VALUE into CHECKSUM, so that order counts.
static inline uint64_t bench_fold(uint64_t checksum, uint64_t value)
{
    return (checksum ^ value) * 0x100000001b3u;
}

// The kernel's work is not to be removed or moved by the compiler: what POINTER points to may change here.
static inline void bench_touch(void *pointer)
{
    __asm__ volatile("" : : "r"(pointer) : "memory");
}
