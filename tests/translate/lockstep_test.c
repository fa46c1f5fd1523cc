// Lockstep over a hand-made guest: loops, calls, memory in a loop, a device, self-modification. Equal engines and the
// translator must pass; an engine that is wrong on purpose must be found, at the very instruction.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/lockstep.h"
#include "translate/translate.h"

// rsp, rdi (data), rsi (device) are set by start().
// The function stands in a granule (64 bytes) of its own: its block dies in every round, the loop's stay.
// clang-format off
static const uint8_t program[0x60] = {
    0x31, 0xc0,                               // 00 xor eax, eax
    0xb9, 0xe8, 0x03, 0x00, 0x00,             // 02 mov ecx, 1000
    0x01, 0xc8,                               // 07 loop: add eax, ecx
    0x11, 0xc2,                               // 09 adc edx, eax
    0x89, 0x04, 0x8f,                         // 0b mov [rdi + rcx*4], eax
    0x03, 0x14, 0x8f,                         // 0e add edx, [rdi + rcx*4]
    0xe8, 0x2a, 0x00, 0x00, 0x00,             // 11 call 40
    0xff, 0xc9,                               // 16 dec ecx
    0x75, 0xed,                               // 18 jne loop
    0x8b, 0x1e,                               // 1a mov ebx, [rsi]  (device)
    0x89, 0x1e,                               // 1c mov [rsi], ebx
    0xf4,                                     // 1e hlt
    [0x40] =
    0x53,                                     // 40 push rbx
    0xfe, 0x05, 0x07, 0x00, 0x00, 0x00,       // 41 inc byte [4e]: in the immediate below
    0xc1, 0xc2, 0x05,                         // 47 rol edx, 5
    0x5b,                                     // 4a pop rbx
    0x81, 0xc3, 0x00, 0x00, 0x00, 0x00,       // 4b add ebx, imm32
    0xc3,                                     // 51 ret
};
// clang-format on

struct pair {
    struct guest a, b;
    struct lockstep_side side_a, side_b;
};

static bool start(void *opaque, struct error *error)
{
    struct guest *g = opaque;
    guest_reset(g, GUEST_64_CPL0, 7);
    guest_load(g, GUEST_CODE, program, sizeof program);
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RDI] = GUEST_DATA + 0x9000;
    g->cpu->var[VAR_RSI] = GUEST_DATA + 0x5000;
    return true;
}

static void make_pair(struct pair *pair, const struct engine *b)
{
    memset(pair, 0, sizeof *pair);
    guest_start(&pair->a, &engine_interp);
    guest_start(&pair->b, b);
    start(&pair->a, NULL);
    start(&pair->b, NULL);
    pair->side_a = (struct lockstep_side){.name = "interp",
                                          .cpu = pair->a.cpu,
                                          .restart = start,
                                          .opaque = &pair->a,
                                          .engine = pair->a.engine,
                                          .state = pair->a.state};
    pair->side_b = (struct lockstep_side){.name = "other",
                                          .cpu = pair->b.cpu,
                                          .restart = start,
                                          .opaque = &pair->b,
                                          .engine = pair->b.engine,
                                          .state = pair->b.state};
}

static void end_pair(struct pair *pair)
{
    guest_end(&pair->a);
    guest_end(&pair->b);
}

static void test_translator(void **state)
{
    static const uint64_t steps[] = {1, 7, 100, 5000};
    struct lockstep_result result;
    struct translate_statistics statistics;
    struct error error = {0};
    struct pair pair;

    make_pair(&pair, &engine_jit);
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        start(&pair.a, NULL);
        start(&pair.b, NULL);
        assert_true(lockstep_run(&pair.side_a, &pair.side_b, steps[i], 100000, true, &result, &error));
        if (result.diverged)
            print_message("%s\n", result.text);
        assert_false(result.diverged);
        assert_true(result.ended);
        assert_int_equal(result.instructions, 2 + 1000 * 13 + 3);
        assert_int_equal(pair.a.device, pair.b.device);
    }
    translate_statistics(pair.b.state, &statistics);
    assert_true(statistics.host_instructions > 1000);
    end_pair(&pair);
}

/// With room for a few blocks, everything is dropped and made again all the time.
static void test_full_code_memory(void **state)
{
    struct lockstep_result result;
    struct translate_statistics statistics;
    struct error error = {0};
    struct pair pair;

    make_pair(&pair, &engine_jit);
    translate_set_threshold(pair.b.state, 0); // the function that changes itself is translated in every round
    translate_set_code_limit(pair.b.state, 264u << 10);
    assert_true(lockstep_run(&pair.side_a, &pair.side_b, 5000, 100000, true, &result, &error));
    assert_false(result.diverged);
    assert_true(result.ended);
    translate_statistics(pair.b.state, &statistics);
    assert_true(statistics.code_flushes > 10);
    assert_true(statistics.host_instructions > 1000);
    end_pair(&pair);
}

// The interpreter, but at instruction 6000 one bit of rdx flips: the divergence that must be found.
static void *broken_create(struct cpu *cpu, struct error *error)
{
    return cpu;
}

static void broken_destroy(void *state)
{
}

static enum engine_stop broken_run(void *state, struct cpu *cpu)
{
    uint64_t limit = cpu->instruction_limit;
    enum engine_stop stop;
    if (cpu->instructions < 6000 && limit >= 6000) {
        cpu->instruction_limit = 6000;
        stop = engine_interp.run(state, cpu);
        if (stop != STOP_DEADLINE)
            return stop;
        cpu->var[VAR_RDX] ^= 0x10;
        cpu->instruction_limit = limit;
    }
    return engine_interp.run(state, cpu);
}

static const struct engine broken = {.name = "broken",
                                     .description = "wrong once",
                                     .create = broken_create,
                                     .destroy = broken_destroy,
                                     .run = broken_run};

static void test_divergence_is_found(void **state)
{
    struct lockstep_result result;
    struct error error = {0};
    struct pair pair;

    make_pair(&pair, &broken);
    assert_true(lockstep_run(&pair.side_a, &pair.side_b, 1000, 100000, false, &result, &error));
    assert_true(result.diverged);
    assert_int_equal(result.different_at, 6000);
    assert_int_equal(result.instructions, 5999);
    assert_non_null(strstr(result.text, "rdx"));

    // Without a way back the step is all that is known.
    start(&pair.a, NULL);
    start(&pair.b, NULL);
    pair.side_a.restart = NULL;
    assert_true(lockstep_run(&pair.side_a, &pair.side_b, 1000, 100000, false, &result, &error));
    assert_true(result.diverged);
    assert_int_equal(result.instructions, 5000);
    assert_int_equal(result.different_at, 6000);

    // Two that differ from the start are an error.
    start(&pair.a, NULL);
    start(&pair.b, NULL);
    pair.b.cpu->var[VAR_R9] = 1;
    assert_false(lockstep_run(&pair.side_a, &pair.side_b, 1000, 100000, false, &result, &error));
    assert_non_null(strstr(error.text, "r9"));
    end_pair(&pair);
}

static void test_memory_counts(void **state)
{
    char text[256] = "";
    struct pair pair;
    make_pair(&pair, &engine_jit);
    pair.b.memory.host[GUEST_DATA + 5] ^= 1;
    assert_true(lockstep_compare(pair.a.cpu, pair.b.cpu, false, text, sizeof text));
    assert_false(lockstep_compare(pair.a.cpu, pair.b.cpu, true, text, sizeof text));
    assert_non_null(strstr(text, "memory file at 110005"));
    end_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translator),
        cmocka_unit_test(test_full_code_memory),
        cmocka_unit_test(test_divergence_is_found),
        cmocka_unit_test(test_memory_counts),
    };
    return cmocka_run_group_tests_name("translate: lockstep", tests, NULL, NULL);
}
