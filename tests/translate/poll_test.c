// Loops of blocks that are not counted, stopped wherever host code polls: everything is as the interpreter has it when
// it comes to the same place. Jumps between such blocks may pass by the stores of flags, and by polls.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/translate.h"

#define ROUNDS VAR_R8 // counts the loop's rounds
#define LEAST_INSNS 8 // of a round

/// Jumps up and down inside the page; every block makes all flags before it can fault.
static const uint8_t code[] = {
    0x4d, 0x8d, 0x40, 0x01,       // a: lea r8, [r8 + 1]
    0x48, 0x8d, 0x44, 0x80, 0x0b, // lea rax, [rax + rax * 4 + 11]
    0x48, 0x01, 0xc2,             // add rdx, rax
    0x48, 0x39, 0xda,             // cmp rdx, rbx
    0x72, 0x08,                   // jb c
    0x48, 0x29, 0xc3,             // b: sub rbx, rax
    0xf6, 0xc3, 0x11,             // test bl, 0x11
    0x75, 0x0c,                   // jne d
    0x48, 0x83, 0xc3, 0x07,       // c: add rbx, 7
    0x48, 0xc1, 0xca, 0x03,       // ror rdx, 3
    0x3a, 0x1e,                   // cmp bl, [rsi]
    0x77, 0xdb,                   // ja a
    0x48, 0x31, 0xc2,             // d: xor rdx, rax
    0x39, 0xda,                   // cmp edx, ebx
    0x7c, 0xd4,                   // jl a
    0x83, 0xe9, 0x01,             // sub ecx, 1
    0x74, 0xe0,                   // je b
    0x49, 0xff, 0xc1,             // inc r9
    0x83, 0xe7, 0x70,             // and edi, 0x70
    0x48, 0x8d, 0x1c, 0x4b,       // lea rbx, [rbx + rcx * 2]
    0xeb, 0xc3,                   // jmp a
};

static void *stop_soon(void *opaque) // the host needs a while to begin this
{
    cpu_set_pending(opaque, PENDING_STOP);
    return NULL;
}

static void start(struct guest *g, bool counting)
{
    uint64_t random = 5;
    g->cpu->counting = counting;
    guest_reset(g, GUEST_64_CPL0, 5);
    guest_load(g, GUEST_CODE, code, sizeof code);
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++)
        g->cpu->var[i] = guest_random(&random);
    g->cpu->var[VAR_RSI] = GUEST_DATA;
    g->cpu->var[ROUNDS] = 0;
}

/// The interpreter to where host code stopped: near, then by single instructions.
static void follow(struct guest *g, const struct cpu *cpu)
{
    uint64_t rounds;
    while ((rounds = cpu->var[ROUNDS] - g->cpu->var[ROUNDS]) > 2)
        guest_run(g, (rounds - 1) * LEAST_INSNS / 2);
    for (unsigned i = 0; i < 200; i++) {
        if (g->cpu->var[ROUNDS] == cpu->var[ROUNDS] && g->cpu->var[VAR_RIP] == cpu->var[VAR_RIP])
            return;
        guest_run(g, 1);
    }
    fail_msg("not there: rounds %lx", (unsigned long)cpu->var[ROUNDS]);
}

static void test_stops(void **state)
{
    struct guest_pair *pair = *state;
    struct cpu *cpu = pair->jit.cpu;
    unsigned stops = getenv("DOPPEL_TEST_STATES") ? 1000 : 200, places = 0;
    uint64_t seen[8] = {0};
    char text[1000];

    start(&pair->interp, true);
    start(&pair->jit, false);
    for (unsigned i = 0; i < stops; i++) {
        unsigned place = 0;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stop_soon, cpu), 0);
        cpu->instruction_limit = UINT64_MAX;
        assert_int_equal(pair->jit.engine->run(pair->jit.state, cpu), STOP_REQUEST);
        pthread_join(thread, NULL);
        follow(&pair->interp, cpu);
        cpu->instructions = pair->interp.cpu->instructions; // nobody counts them there
        if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text))
            fail_msg("stop %u at %lx: %s", i, (unsigned long)cpu->var[VAR_RIP], text);
        while (place < places && seen[place] != cpu->var[VAR_RIP])
            place++;
        if (place == places && places < ARRAY_SIZE(seen))
            seen[places++] = cpu->var[VAR_RIP];
    }
    assert_in_range(places, 2, ARRAY_SIZE(seen));
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(test_stops, guest_pair_open, guest_pair_close),
    };
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests_name("translate: polls", all, NULL, NULL);
}
