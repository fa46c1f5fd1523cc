// A small guest for tests of engines: RAM, one device page, long mode with page tables that hold every kind of page,
// and handlers that halt. Two of them with different engines must behave alike.
#ifndef DOPPEL_TESTS_TRANSLATE_SUPPORT_GUEST_H
#define DOPPEL_TESTS_TRANSLATE_SUPPORT_GUEST_H

#include "cpu/block.h"
#include "cpu/engine.h"
#include "cpu/model.h"
#include "mmu/memory.h"

#define GUEST_CODE 0x100000u // two pages of code
#define GUEST_DATA 0x110000u // pages by number: see support_guest.c
#define GUEST_DATA_PAGES 16u
#define GUEST_STACK 0x11a800u
#define GUEST_HANDLERS 0x5000u // vector n halts at + n
#define GUEST_RAM (2u << 20)

enum guest_mode { GUEST_64_CPL0, GUEST_64_CPL3, GUEST_32_CPL0, GUEST_16, GUEST_MODES };

struct guest {
    struct memory memory;
    struct address_space space, ports;
    struct cpu_model model;
    struct block_cache *blocks;
    struct cpu *cpu;
    const struct engine *engine;
    void *state;
    uint64_t device; // hash of what the device saw
};

void guest_start(struct guest *g, const struct engine *engine);
void guest_end(struct guest *g);
/// Fresh tables, data and registers; no block survives. Data are made from `seed`.
void guest_reset(struct guest *g, enum guest_mode mode, uint64_t seed);
void guest_load(struct guest *g, uint64_t address, const void *bytes, unsigned size);
/// Runs for at most `instructions` more.
enum engine_stop guest_run(struct guest *g, uint64_t instructions);
/// Compares everything architectural; describes the first differences.
bool guest_equal(struct guest *a, struct guest *b, char *text, size_t size);

/// A guest in each engine; the translator makes host code at once. Set-up and tear-down of a cmocka test.
struct guest_pair {
    struct guest interp, jit;
};
int guest_pair_open(void **state);
int guest_pair_close(void **state);

static inline uint64_t guest_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

#endif
