// String instructions in host code that counts nothing, where they have a way of their own, against the interpreter:
// all pages that there are, directions, overlaps, sizes, segments, with vector registers in use around them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "cpu/helper.h"
#include "support_guest.h"

struct program {
    uint8_t bytes[64];
    unsigned size;
};

static void put(struct program *p, const void *bytes, unsigned size)
{
    memcpy(p->bytes + p->size, bytes, size);
    p->size += size;
}

static void put_byte(struct program *p, uint8_t byte)
{
    put(p, &byte, 1);
}

/// One string instruction, MOVS or STOS most of the time.
static void put_string(struct program *p, uint64_t *random, enum guest_mode mode)
{
    static const uint8_t operations[] = {0xa4, 0xaa, 0xa4, 0xaa, 0xac, 0xae, 0xa6};
    uint64_t r = guest_random(random);
    if ((r & 7) == 0)
        put_byte(p, 0x65); // GS
    if ((r >> 3 & 7) == 0)
        put_byte(p, 0x67);
    if ((r >> 6 & 3) == 0)
        put_byte(p, 0x66);
    if ((r >> 8 & 3) != 0)
        put_byte(p, (r >> 10 & 7) ? 0xf3 : 0xf2);
    if (mode != GUEST_32_CPL0 && (r >> 13 & 1))
        put_byte(p, 0x48);
    put_byte(p, (uint8_t)(operations[(r >> 14) % 7] | (r >> 20 & 1)));
}

static void make_program(struct program *p, uint64_t *random, enum guest_mode mode)
{
    static const uint8_t before[] = {0x66, 0x0f, 0xfc, 0xc1, // paddb xmm0, xmm1
                                     0x66, 0x0f, 0xef, 0xd8, // pxor xmm3, xmm0
                                     0x29, 0xd8};            // sub eax, ebx
    static const uint8_t after[] = {0x66, 0x0f, 0xfc, 0xd3}; // paddb xmm2, xmm3
    p->size = 0;
    if (guest_random(random) % 8 == 0)
        put_byte(p, 0xfd); // std
    put(p, before, sizeof before);
    for (unsigned i = 0; i < 2; i++) {
        put_string(p, random, mode);
        put(p, after, sizeof after);
        if (guest_random(random) % 4 == 0)
            put_byte(p, 0x9c); // pushf
        if (guest_random(random) % 2)
            put(p, (uint8_t[]){0xb9, (uint8_t)guest_random(random), 0, 0, 0}, 5); // mov ecx, n
    }
    put_byte(p, 0xf4);
}

static uint64_t random_place(uint64_t *random)
{
    uint64_t at = GUEST_DATA + guest_random(random) % ((GUEST_DATA_PAGES - 1) * PAGE_SIZE);
    if (guest_random(random) % 2) // mostly plain pages
        at = GUEST_DATA + 0xb000 + at % 0x3000;
    if (guest_random(random) % 8 == 0) // where 16-bit addresses wrap
        return (GUEST_DATA | 0xffc0) + guest_random(random) % 64;
    if (guest_random(random) % 3 == 0)
        at = (at | (PAGE_SIZE - 1)) - guest_random(random) % 24;
    return at;
}

static void prepare(struct guest *g, const struct program *p, enum guest_mode mode, uint64_t seed)
{
    struct cpu *cpu = g->cpu;
    uint64_t random = seed;
    cpu->counting = false;
    guest_reset(g, mode, seed);
    guest_load(g, GUEST_CODE, p->bytes, p->size);
    for (unsigned i = 0; i < 16; i++) {
        cpu->vreg[i].u64[0] = guest_random(&random);
        cpu->vreg[i].u64[1] = guest_random(&random);
        cpu->var[VAR_RAX + i] = guest_random(&random);
    }
    cpu->var[VAR_RSP] = GUEST_STACK;
    cpu->var[VAR_RSI] = random_place(&random);
    cpu->var[VAR_RDI] =
        guest_random(&random) % 2 ? random_place(&random) : cpu->var[VAR_RSI] + guest_random(&random) % 80 - 40;
    cpu->var[VAR_RCX] = guest_random(&random) % (guest_random(&random) % 2 ? 40 : 3000);
    if (guest_random(&random) % 4 == 0)
        cpu->var[VAR_RAX] = 0;
}

/// To a halt, or to the shutdown after faults whose handlers strings wrote over.
static void run_to_halt(struct guest *g)
{
    enum engine_stop stop;
    g->cpu->instruction_limit = UINT64_MAX;
    stop = g->engine->run(g->state, g->cpu);
    assert_true(stop == STOP_HALT || stop == STOP_SHUTDOWN);
    g->cpu->instructions = 0; // nobody counts them
}

static void strings_in_host_code(void **state)
{
    struct guest_pair *pair = *state;
    uint64_t random = 77;
    for (unsigned i = 0; i < 4000; i++) {
        enum guest_mode mode = (enum guest_mode)(guest_random(&random) % GUEST_16);
        uint64_t seed = guest_random(&random);
        struct program p;
        char text[1000];
        make_program(&p, &random, mode);
        prepare(&pair->interp, &p, mode, seed);
        prepare(&pair->jit, &p, mode, seed);
        if (guest_random(&random) % 8 == 0) { // somebody waits, and goes away
            cpu_set_pending(pair->jit.cpu, PENDING_INTR);
            cpu_set_pending(pair->interp.cpu, PENDING_INTR);
        }
        run_to_halt(&pair->interp);
        run_to_halt(&pair->jit);
        if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text)) {
            print_message("case %u, mode %d:", i, mode);
            for (unsigned j = 0; j < p.size; j++)
                print_message(" %02x", p.bytes[j]);
            fail_msg("%s", text);
        }
        cpu_clear_pending(pair->jit.cpu, PENDING_INTR);
        cpu_clear_pending(pair->interp.cpu, PENDING_INTR);
    }
    // Many were done there. Comparisons, what goes downwards, faults and devices come to the helper.
    assert_in_range(pair->jit.cpu->stat_call[HELPER_string], 1, pair->interp.cpu->stat_call[HELPER_string] / 4 * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(strings_in_host_code, guest_pair_open, guest_pair_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
