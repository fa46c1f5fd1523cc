// Code that changes: patched and called at once, data in the page of the code, pages that are code and data in turn.
#include "bench.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    PAGE = 4096,
};

typedef uint64_t (*generated)(uint64_t);

static uint8_t *allocate(int protection)
{
    uint8_t *page = mmap(NULL, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        abort();
    }
    return page;
}

static generated function_at(uint8_t *code)
{
    generated function;
    memcpy(&function, &code, sizeof function);
    return function;
}

// lea rax, [rdi + displacement]; ret
static void write_add(uint8_t *code, uint32_t displacement)
{
    static const uint8_t bytes[] = {0x48, 0x8d, 0x87, 0, 0, 0, 0, 0xc3};
    memcpy(code, bytes, sizeof bytes);
    memcpy(code + 3, &displacement, sizeof displacement);
}

static uint64_t run_patch_and_call(void)
{
    uint8_t *page = allocate(PROT_READ | PROT_WRITE | PROT_EXEC);
    uint64_t x = 0;
    write_add(page, 0);
    for (uint32_t i = 0; i < 100000; i++) {
        memcpy(page + 3, &i, sizeof i);
        bench_touch(page);
        x = function_at(page)(x) ^ i;
    }
    return x;
}

// A function that counts its calls in its own page: inc qword [rip + displacement]; lea rax, [rdi + 3]; ret
static uint64_t run_data_beside_code(void)
{
    static const uint8_t bytes[] = {0x48, 0xff, 0x05, 0xf9, 0x07, 0, 0, 0x48, 0x8d, 0x47, 0x03, 0xc3};
    uint8_t *page = allocate(PROT_READ | PROT_WRITE | PROT_EXEC);
    uint64_t x = 0, count;
    memcpy(page, bytes, sizeof bytes);
    for (unsigned i = 0; i < 3000000; i++) {
        x = function_at(page)(x);
    }
    memcpy(&count, page + 7 + 0x7f9, sizeof count);
    return x * 31 + count;
}

// As a careful compiler at run time does it: never writable and executable at once.
static uint64_t run_mprotect_rewrite(void)
{
    uint8_t *page = allocate(PROT_READ | PROT_WRITE);
    uint64_t x = 0;
    for (uint32_t i = 0; i < 6000; i++) {
        if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0) {
            abort();
        }
        for (uint32_t f = 0; f < 8; f++) {
            write_add(page + f * 64, i * f);
        }
        if (mprotect(page, PAGE, PROT_READ | PROT_EXEC) != 0) {
            abort();
        }
        for (uint32_t call = 0; call < 64; call++) {
            x = function_at(page + call % 8 * 64)(x) ^ call;
        }
    }
    return x;
}

const struct kernel modified_kernels[] = {
    {"self-modifying", "patch_and_call", run_patch_and_call, NULL},
    {"self-modifying", "data_beside_code", run_data_beside_code, NULL},
    {"self-modifying", "mprotect_rewrite", run_mprotect_rewrite, NULL},
    {NULL, NULL, NULL, NULL},
};
