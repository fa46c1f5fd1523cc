// Memory: copying and filling through the C library and through string instructions, streams, random reads.
#include "bench.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    MEBIBYTE = 1 << 20,
};

// Touched memory that is no part of the program's data.
static void *allocate(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    return memory;
}

static uint64_t run_memcpy(void)
{
    char *from = allocate(MEBIBYTE), *to = allocate(MEBIBYTE);
    memset(from, 1, MEBIBYTE);
    for (unsigned i = 0; i < 1500; i++) {
        memcpy(to, from, MEBIBYTE);
        from[i] = (char)(to[i + 1] + 1);
        bench_touch(to);
    }
    return (unsigned char)to[1000];
}

static uint64_t run_memset(void)
{
    char *to = allocate(MEBIBYTE);
    uint64_t sum = 0;
    for (unsigned i = 0; i < 800; i++) {
        memset(to, (int)i, MEBIBYTE);
        bench_touch(to);
        sum += (unsigned char)to[i * 7];
    }
    return sum;
}

static uint64_t run_small_copies(void)
{
    char *from = allocate(65536), *to = allocate(65536);
    uint32_t random = 1;
    uint64_t sum = 0;
    for (unsigned i = 0; i < 65536; i++) {
        from[i] = (char)bench_random(&random);
    }
    for (unsigned i = 0; i < 12000000; i++) {
        uint32_t r = bench_random(&random);
        size_t size = r >> 26;
        memcpy(to + (r & 0x7fff), from + (r >> 8 & 0x7fff), size);
        sum += (unsigned char)to[r & 0x7fff];
    }
    return sum;
}

static void rep_movsb(void *to, const void *from, size_t count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static void rep_stosq(void *to, uint64_t value, size_t count)
{
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static uint64_t run_rep_movs(void)
{
    char *from = allocate(MEBIBYTE), *to = allocate(MEBIBYTE);
    for (unsigned i = 0; i < 40; i++) {
        rep_movsb(to, from, MEBIBYTE - 64);
        from[i] = (char)(to[i + 1] + 1);
    }
    return (unsigned char)to[100];
}

static uint64_t run_rep_stos(void)
{
    char *to = allocate(MEBIBYTE);
    uint64_t sum = 0;
    for (unsigned i = 0; i < 800; i++) {
        rep_stosq(to, i * 0x0101010101010101u, MEBIBYTE / 8);
        sum += (unsigned char)to[i * 7];
    }
    return sum;
}

// Three arrays of 4 MiB, whose starts are DISTANCE bytes apart.
static uint64_t stream(size_t distance)
{
    enum {
        COUNT = MEBIBYTE / 2,
    };
    char *memory = allocate(3 * distance);
    uint64_t *a = (uint64_t *)memory, *b = (uint64_t *)(memory + distance), *c = (uint64_t *)(memory + 2 * distance);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            a[i] = b[i] + c[i] * 3;
        }
        for (unsigned i = 0; i < COUNT; i++) {
            c[i] = a[i] ^ (b[i] += i);
        }
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        sum += a[i] ^ c[i];
    }
    return sum;
}

// As malloc lays out large arrays: a page apart.
static uint64_t run_stream(void)
{
    return stream(4 * MEBIBYTE + 4096);
}

// A power of two apart: the pages fall together wherever a TLB is indexed by the low bits of their numbers.
static uint64_t run_stream_aligned(void)
{
    return stream(4 * MEBIBYTE);
}

// Reads that depend on each other, over SIZE bytes (a power of two).
static uint64_t read_randomly(size_t size, unsigned reads)
{
    uint32_t *words = allocate(size), at = 0, random = 5;
    uint32_t mask = (uint32_t)(size / sizeof words[0]) - 1;
    for (size_t i = 0; i <= mask; i++) {
        words[i] = bench_random(&random);
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < reads; i++) {
        at = (words[at] + i) & mask;
        sum += at;
    }
    return sum;
}

static uint64_t run_random_16k(void)
{
    return read_randomly(16 * 1024, 40000000);
}

static uint64_t run_random_1m(void)
{
    return read_randomly(MEBIBYTE, 15000000);
}

static uint64_t run_random_64m(void)
{
    return read_randomly(64 * MEBIBYTE, 3000000);
}

const struct kernel memory_kernels[] = {
    {"memory", "memcpy", run_memcpy, NULL},
    {"memory", "memset", run_memset, NULL},
    {"memory", "small_copies", run_small_copies, NULL},
    {"memory", "rep_movs", run_rep_movs, NULL},
    {"memory", "rep_stos", run_rep_stos, NULL},
    {"memory", "stream", run_stream, NULL},
    {"memory", "stream_aligned", run_stream_aligned, NULL},
    {"memory", "random_16k", run_random_16k, NULL},
    {"memory", "random_1m", run_random_1m, NULL},
    {"memory", "random_64m", run_random_64m, NULL},
    {NULL, NULL, NULL, NULL},
};
