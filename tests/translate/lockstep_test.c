// Lockstep over a hand-made guest: loops, calls, memory in a loop, a device, self-modification. Equal engines and the
// translator must pass; an engine that is wrong on purpose must be found, at the very instruction, and the reproducer
// must show it again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/lockstep.h"
#include "translate/passes.h"
#include "translate/reproducer.h"
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

static const struct lockstep_options whole = {.step = 5000, .until = 100000, .every = 5000};

static bool start(struct guest *g)
{
    guest_reset(g, GUEST_64_CPL0, 7);
    guest_load(g, GUEST_CODE, program, sizeof program);
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RDI] = GUEST_DATA + 0x9000;
    g->cpu->var[VAR_RSI] = GUEST_DATA + 0x5000;
    return true;
}

static bool restart(void *opaque, enum lockstep_slot slot, struct error *error)
{
    return start(opaque);
}

static void make_pair(struct pair *pair, const struct engine *b)
{
    memset(pair, 0, sizeof *pair);
    guest_start(&pair->a, &engine_interp);
    guest_start(&pair->b, b);
    start(&pair->a);
    start(&pair->b);
    pair->side_a = (struct lockstep_side){.name = "interp",
                                          .cpu = pair->a.cpu,
                                          .restore = restart,
                                          .opaque = &pair->a,
                                          .engine = pair->a.engine,
                                          .state = pair->a.state};
    pair->side_b = (struct lockstep_side){.name = "other",
                                          .cpu = pair->b.cpu,
                                          .restore = restart,
                                          .opaque = &pair->b,
                                          .engine = pair->b.engine,
                                          .state = pair->b.state};
}

static void end_pair(struct pair *pair)
{
    guest_end(&pair->a);
    guest_end(&pair->b);
}

static void run(struct pair *pair, const struct lockstep_options *options, struct lockstep_result *result)
{
    struct error error = {0};
    if (!lockstep_run(&pair->side_a, &pair->side_b, options, result, &error))
        fail_msg("%s", error.text);
}

static void test_translator(void **state)
{
    static const uint64_t steps[] = {0, 1, 7, 100, 5000}; // 0: block by block
    struct lockstep_result result;
    struct translate_statistics statistics;
    struct pair pair;

    make_pair(&pair, &engine_jit);
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        struct lockstep_options options = whole;
        options.step = steps[i];
        options.every = 100;
        start(&pair.a);
        start(&pair.b);
        run(&pair, &options, &result);
        if (result.diverged)
            print_message("%s\n", result.text);
        assert_false(result.diverged);
        assert_true(result.ended);
        assert_int_equal(result.instructions, 2 + 1000 * 13 + 3);
        assert_int_equal(pair.a.device, pair.b.device);
        if (i == 0) // three blocks a round: more would be single instructions
            assert_in_range(result.comparisons, 3000, 3100);
    }
    translate_statistics(pair.b.state, &statistics);
    assert_true(statistics.host_instructions > 1000);
    end_pair(&pair);
}

/// With room for a few blocks, host code is dropped and made again all the time.
static void test_full_code_memory(void **state)
{
    struct lockstep_result result;
    struct translate_statistics statistics;
    struct pair pair;

    make_pair(&pair, &engine_jit);
    translate_set_threshold(pair.b.state, 0); // the function that changes itself is translated in every round
    translate_set_code_limit(pair.b.state, 0);
    run(&pair, &whole, &result);
    assert_false(result.diverged);
    assert_true(result.ended);
    translate_statistics(pair.b.state, &statistics);
    assert_true(statistics.code_evictions > 3);
    assert_true(statistics.host_instructions > 1000);
    end_pair(&pair);
}

// ---- wrong on purpose -----------------------------------------------------------------------------------------------
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
    struct lockstep_options options = {.step = 1000, .until = 100000};
    struct lockstep_result result;
    struct error error = {0};
    struct pair pair;

    make_pair(&pair, &broken);
    run(&pair, &options, &result);
    assert_true(result.diverged);
    assert_true(result.narrowed);
    assert_int_equal(result.different_at, 6000);
    assert_int_equal(result.instructions, 5999);
    assert_non_null(strstr(result.text, "rdx"));

    // Without a way back the step is all that is known.
    start(&pair.a);
    start(&pair.b);
    pair.side_a.restore = NULL;
    run(&pair, &options, &result);
    assert_true(result.diverged);
    assert_false(result.narrowed);
    assert_int_equal(result.instructions, 5000);
    assert_int_equal(result.different_at, 6000);

    // Two that differ from the start are an error.
    start(&pair.a);
    start(&pair.b);
    pair.b.cpu->var[VAR_R9] = 1;
    assert_false(lockstep_run(&pair.side_a, &pair.side_b, &options, &result, &error));
    assert_non_null(strstr(error.text, "r9"));
    end_pair(&pair);
}

/// Makes the translator subtract from EDX what it should add.
static void turn_around(void *opaque, const struct block *block, struct pass_block *pass)
{
    for (unsigned i = 0; i < pass->count; i++)
        if (pass->uops[i].op == UOP_ADD && pass->uops[i].dst == VAR_RDX)
            pass->uops[i].op = UOP_SUB;
}

static void configure_plain(void *opaque, void *state)
{
    translate_set_threshold(state, 0);
}

static void configure_broken(void *opaque, void *state)
{
    static const struct translate_hooks hooks = {.before = turn_around};
    translate_set_threshold(state, 0);
    translate_set_hooks(state, &hooks);
}

static const struct lockstep_engine oracle = {.engine = &engine_interp};
static const struct lockstep_engine plain = {.engine = &engine_jit, .configure = configure_plain};
static const struct lockstep_engine wrong = {.engine = &engine_jit, .configure = configure_broken};

/// The state of a guest before instruction `count`, to be run for `instructions`.
static void describe_at(struct guest *g, uint64_t count, uint64_t instructions, struct world_description *d)
{
    struct error error = {0};
    start(g);
    guest_run(g, count);
    if (!world_describe(d, g->cpu, &error) || !world_add_memory(d, &g->memory, &error))
        fail_msg("%s", error.text);
    d->instructions = instructions;
    d->device = g->device;
}

static bool pair_differs(const struct world_description *d, const struct lockstep_engine *b)
{
    struct lockstep_pair pair;
    struct error error = {0};
    char text[512];
    if (!lockstep_pair_create(&pair, d, &oracle, b, NULL, &error))
        fail_msg("%s", error.text);
    bool differs = !lockstep_pair_run(&pair, d, text, sizeof text);
    lockstep_pair_destroy(&pair);
    return differs;
}

/// What was written to a file and read again must be the same: it still differs, and writing it again gives equal text.
static void check_file(const struct world_description *d)
{
    struct world_description again;
    struct error error = {0};
    char *text[2] = {NULL, NULL}, comment[4000];
    size_t size[2];
    // Two lines, the second longer than any line of a file: some of it in words, some not.
    snprintf(comment, sizeof comment, "a test\nof two lines%3000s%.*d", "", 900, 0);
    for (unsigned i = 0; i < 2; i++) {
        FILE *file = open_memstream(&text[i], &size[i]);
        if (!reproducer_write(i ? &again : d, comment, file, &error))
            fail_msg("%s", error.text);
        fclose(file);
        if (i == 1)
            break;
        file = fmemopen(text[0], size[0], "r");
        if (!reproducer_read(&again, file, &error))
            fail_msg("%s in\n%s", error.text, text[0]);
        fclose(file);
        assert_true(pair_differs(&again, &wrong));
        assert_false(pair_differs(&again, &plain));
    }
    assert_string_equal(text[0], text[1]);
    assert_true(size[0] < 60000);
    free(text[0]);
    free(text[1]);
    world_description_free(&again);
}

static void test_broken_translation_is_shrunk(void **state)
{
    struct lockstep_options options = {.step = 1000, .until = 100000, .every = 5000};
    struct lockstep_result result;
    struct world_description d;
    struct error error = {0};
    struct pair pair;
    bool differs;

    make_pair(&pair, &engine_jit);
    configure_broken(NULL, pair.b.state);
    run(&pair, &options, &result);
    assert_true(result.diverged);
    assert_true(result.narrowed);
    // From a hundred instructions before to the end of the block that was wrong.
    uint64_t from = result.instructions < 100 ? 0 : result.instructions - 100;
    describe_at(&pair.a, from, result.different_at - from, &d);
    if (!lockstep_shrink(&d, &oracle, &wrong, &differs, &error))
        fail_msg("%s", error.text);
    assert_true(differs);
    assert_int_equal(d.instructions, 1);
    assert_int_equal(d.block_length, 1);
    assert_true(d.page_count <= 6); // four page tables, code and data
    // The one instruction is ADD EDX, [...].
    struct world world;
    assert_true(world_create(&world, &d, &engine_interp, NULL, &error));
    assert_int_equal(world.cpu->var[VAR_RIP], GUEST_CODE + 0xe);
    world_destroy(&world);
    check_file(&d);
    world_description_free(&d);

    // No difference: the description stays.
    describe_at(&pair.a, 100, 300, &d);
    assert_true(lockstep_shrink(&d, &oracle, &plain, &differs, &error));
    assert_false(differs);
    assert_int_equal(d.instructions, 300);
    world_description_free(&d);
    end_pair(&pair);
}

static void refused(const char *text, const char *reason)
{
    struct world_description d;
    struct error error = {0};
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    bool good = reproducer_read(&d, file, &error);
    fclose(file);
    if (good || !strstr(error.text, reason))
        fail_msg("'%s' gives '%s', not '%s'", text, error.text, reason);
}

static void test_bad_files(void **state)
{
#define GOOD "doppel reproducer 1\nmodel max\nmemory 10000\nrun 3\n"
    refused("something", "no reproducer");
    refused("doppel reproducer 1\n", "too early");
    refused(GOOD, "too early");
    refused("doppel reproducer 1\nend\n", "no model");
    refused("doppel reproducer 1\nmodel none\n", "none");
    refused("doppel reproducer 1\nmemory 10000\nmodel max\nrun 3\nfeatures x\nend\n", "line 5");
    refused(GOOD "memory ffffffffffffffff\nend\n", "number");
    refused(GOOD "memory 1001\nend\n", "possible");
    refused(GOOD "map ram 0 20000 0\nend\n", "outside");
    refused(GOOD "map ram 0 10000 fffffffffffff000\nend\n", "outside");
    refused(GOOD "map ram 123 1000 0\nend\n", "pages");
    refused(GOOD "map ram 0 1000\nend\n", "map");
    refused(GOOD "map what 0 1000\nend\n", "map");
    refused(GOOD "page 10\nend\n", "no page");
    refused(GOOD "page 1\n+fff 00\nend\n", "number");
    refused(GOOD "page 1\n+fe0 00\nend\n", "digits");
    refused(GOOD "+0 00\nend\n", "page");
    refused(GOOD "set cr0 123456789abcdef012\nend\n", "number");
    refused(GOOD "set nonsense 1\nend\n", "nonsense");
    refused(GOOD "set cpl 100\nend\n", "cpl");
    refused(GOOD "set cpl 4\nend\n", "no CPU");
    refused(GOOD "set activity 9\nend\n", "no CPU");
    refused(GOOD "set nmi_blocked 2\nend\n", "nmi_blocked");
    refused(GOOD "set x87.top 8\nend\n", "top");
    refused(GOOD "interrupt 1 100\nend\n", "number");
    refused(GOOD "run 99999999999\nend\n", "number");
    refused(GOOD "block-length 33\nend\n", "number");
    refused(GOOD "one two three four five six seven eight nine\nend\n", "words");
    refused(GOOD "nothing\nend\n", "unknown");
}

static void test_memory_counts(void **state)
{
    char text[256] = "";
    struct pair pair;
    make_pair(&pair, &engine_jit);
    assert_true(lockstep_compare_memory(&pair.a.memory, &pair.b.memory, text, sizeof text));
    pair.b.memory.host[GUEST_DATA + 5] ^= 1;
    assert_true(lockstep_compare(pair.a.cpu, pair.b.cpu, text, sizeof text));
    assert_false(lockstep_compare_memory(&pair.a.memory, &pair.b.memory, text, sizeof text));
    assert_non_null(strstr(text, "memory file at 110000"));
    end_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translator),          cmocka_unit_test(test_full_code_memory),
        cmocka_unit_test(test_divergence_is_found), cmocka_unit_test(test_broken_translation_is_shrunk),
        cmocka_unit_test(test_bad_files),           cmocka_unit_test(test_memory_counts),
    };
    return cmocka_run_group_tests_name("translate: lockstep", tests, NULL, NULL);
}
