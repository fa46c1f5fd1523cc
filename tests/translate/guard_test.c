// Jumps of host code to other pages and indirect ones, whose guards compare what they were made for: the page behind a
// guard is mapped elsewhere, its code changes, indirect jumps change their minds, epochs begin anew.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/translate.h"

#define FUNCTION (GUEST_DATA + 0xb000) // where a direct call leads
#define OTHER (GUEST_DATA + 0xc000)    // what is mapped there instead
#define TABLE (GUEST_DATA + 0xd000)    // of pointers for an indirect call
#define TARGETS (GUEST_DATA + 0xe000)
#define ROUNDS 1000u
#define PHASES 6u

static const uint8_t program[] = {
    0xb9, 0xe8, 0x03, 0x00, 0x00,                   // start: mov ecx, ROUNDS
    0xe8, 0xf6, 0xaf, 0x01, 0x00,                   // loop: call FUNCTION
    0x89, 0xc8,                                     // mov eax, ecx
    0xc1, 0xe8, 0x05,                               // shr eax, 5
    0x44, 0x21, 0xd8,                               // and eax, r11d
    0xff, 0x14, 0xc5, 0x00, 0xd0, 0x11, 0x00,       // call [TABLE + rax * 8]
    0xff, 0xc9,                                     // dec ecx
    0x75, 0xe8,                                     // jnz loop
    0xfe, 0x04, 0x25, 0x03, 0xb0, 0x11, 0x00,       // inc byte [FUNCTION + 3]
    0x4c, 0x89, 0x0c, 0x25, 0xd8, 0x38, 0x01, 0x00, // mov [the page's entry in the table], r9
    0x0f, 0x01, 0x3c, 0x25, 0x00, 0xb0, 0x11, 0x00, // invlpg [FUNCTION]
    0x4d, 0x87, 0xd1,                               // xchg r9, r10
    0xff, 0xce,                                     // dec esi
    0x75, 0xc5,                                     // jnz start
    0xf4,                                           // hlt
};
#define FLUSH_AT 44u
static const uint8_t reload_cr3[8] = {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x90, 0x90};

struct variant {
    uint32_t mask;       // which of eight places the indirect call goes to, from round to round
    bool reload;         // CR3 in place of INVLPG
    uint32_t last_epoch; // or 0
};

static void load_function(struct guest *g, uint64_t address, uint8_t addend)
{
    const uint8_t code[] = {0x48, 0x83, 0xc3, addend, 0xc3}; // add rbx, addend; ret
    guest_load(g, address, code, sizeof code);
}

static void run(struct guest *g, const struct variant *v)
{
    guest_reset(g, GUEST_64_CPL0, 1);
    guest_load(g, GUEST_CODE, program, sizeof program);
    if (v->reload)
        guest_load(g, GUEST_CODE + FLUSH_AT, reload_cr3, sizeof reload_cr3);
    load_function(g, FUNCTION, 1);
    load_function(g, OTHER, 0x40);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t target = TARGETS + 16 * i;
        load_function(g, target, (uint8_t)(i + 2));
        guest_load(g, TABLE + 8 * i, &target, 8);
    }
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->var[VAR_RSI] = PHASES;
    g->cpu->var[VAR_R8 + 1] = OTHER | 7;
    g->cpu->var[VAR_R8 + 2] = FUNCTION | 7;
    g->cpu->var[VAR_R8 + 3] = v->mask;
    if (v->last_epoch)
        g->cpu->mmu.last_epoch = v->last_epoch;
    guest_run(g, 200000);
    assert_int_equal(g->cpu->activity, ACTIVITY_HALT);
}

static uint64_t expected(const struct variant *v)
{
    uint64_t addend[2] = {1, 0x40}, sum = 0;
    for (unsigned phase = 0; phase < PHASES; phase++) {
        for (unsigned round = ROUNDS; round > 0; round--)
            sum += addend[phase & 1] + 2 + (round >> 5 & v->mask);
        addend[phase & 1]++;
    }
    return sum;
}

static void try(struct guest_pair *p, struct variant v)
{
    struct translate_statistics before, after;
    char text[400] = "";
    run(&p->interp, &v);
    translate_statistics(p->jit.state, &before);
    run(&p->jit, &v);
    translate_statistics(p->jit.state, &after);
    assert_int_equal(p->interp.cpu->var[VAR_RBX], expected(&v));
    if (!guest_equal(&p->interp, &p->jit, text, sizeof text))
        fail_msg("%s", text);
    // Jumps inside a page are three; what leads to a page that changes is patched anew in each phase.
    assert_true(after.links - before.links >= PHASES);
    if (v.mask == 0) // what leads to one that stays is not
        assert_true(after.links - before.links < 2 * PHASES);
    assert_true(after.host_instructions - before.host_instructions > ROUNDS * PHASES * 10);
}

static void test_one_target(void **state)
{
    try(*state, (struct variant){0});
    try(*state, (struct variant){.reload = true});
}

static void test_many_targets(void **state)
{
    try(*state, (struct variant){.mask = 1});
    try(*state, (struct variant){.mask = 7, .reload = true});
}

static void test_epochs_restart(void **state)
{
    for (unsigned i = 0; i < 6; i++)
        try(*state, (struct variant){.mask = i & 1, .last_epoch = UINT32_MAX - i});
}

// A page that calls the one behind it, and where the two are mapped.
#define TABLE_4K 0x13000u // of the first 2 MiB
#define CALLS 100u
static const uint8_t caller[] = {
    0xe8, 0xfb, 0x0f, 0x00, 0x00, // start: call start + PAGE_SIZE
    0xff, 0xc9,                   // dec ecx
    0x75, 0xf7,                   // jnz start
    0xeb, 0xfe,                   // jmp to itself
};

struct place {
    uint64_t linear, callee; // of the caller; what the page behind it is
    uint64_t sum;            // that a call adds
    bool linked;             // the guard knows this callee
};

static void map(struct guest *g, uint64_t linear, uint64_t physical)
{
    uint64_t entry = physical | 7;
    guest_load(g, TABLE_4K + 8 * (linear >> PAGE_SHIFT), &entry, sizeof entry);
}

static void call_at(struct guest *g, const struct place *place)
{
    map(g, place->linear, FUNCTION);
    map(g, place->linear + PAGE_SIZE, place->callee);
    g->cpu->var[VAR_RIP] = place->linear;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->var[VAR_RCX] = CALLS;
    assert_int_equal(guest_run(g, 10 * CALLS), STOP_DEADLINE);
    assert_int_equal(g->cpu->var[VAR_RBX], CALLS * place->sum);
}

static void try_places(struct guest_pair *p, enum guest_mode mode)
{
    static const struct place places[] = {
        {0x150000, OTHER, 2, true},    {0x160000, OTHER, 2, true},   {0x170000, TARGETS, 3, false},
        {0x150000, OTHER, 2, false},   {0x160000, OTHER, 2, true},   {0x180000, OTHER, 2, true},
        {0x170000, TARGETS, 3, false}, {0x190000, TARGETS, 3, true},
    };
    char text[400] = "";
    for (unsigned i = 0; i < 2; i++) {
        struct guest *g = i ? &p->jit : &p->interp;
        guest_reset(g, mode, 1);
        guest_load(g, FUNCTION, caller, sizeof caller);
        load_function(g, OTHER, 2);
        load_function(g, TARGETS, 3);
        call_at(g, &places[0]);
        call_at(g, &places[0]); // the way out of the loop, too
    }
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        struct translate_statistics before, after;
        translate_statistics(p->jit.state, &before);
        call_at(&p->interp, &places[i]);
        call_at(&p->jit, &places[i]);
        translate_statistics(p->jit.state, &after);
        if (!guest_equal(&p->interp, &p->jit, text, sizeof text))
            fail_msg("place %u: %s", i, text);
        // A guard that does not let pass is made anew after some failures, and there are more calls than that.
        if ((after.links != before.links) == places[i].linked)
            fail_msg("place %u: %d links", i, (int)(after.links - before.links));
    }
}

static void test_pages_side_by_side(void **state)
{
    try_places(*state, GUEST_64_CPL0);
    try_places(*state, GUEST_64_CPL3);
}

// Two pages that jump to each other, at an ordinary place and over the end of linear addresses.
static const uint8_t upper[] = {
    0xff, 0xc9,                   // dec ecx
    0x74, 0x05,                   // jz to the hlt
    0xe9, 0xf7, 0xef, 0xff, 0xff, // jmp to the page before
    0xf4,                         // hlt
};
static const uint8_t lower[] = {
    0x85, 0xd2,                         // test edx, edx
    0x0f, 0x85, 0xf8, 0x0f, 0x00, 0x00, // jnz to the page behind
    0xf4,                               // hlt
};
#define ORDINARY 0x150000u
#define OFTEN 40u // until guards are made
#define LONG 300000000u

/// Tables for the end of 64-bit and of 32-bit addresses, and for 2 MiB from 4 GiB on, of which tables + 0x5000 says
/// what they are. In all others the first 2 MiB lead to the same pages.
static void map_ends(struct guest *g)
{
    uint64_t tables = g->cpu->cr3;
    guest_load(g, tables + 511 * 8, &(uint64_t){(tables + 0x1000) | 7}, 8);
    guest_load(g, tables + 0x1000 + 511 * 8, &(uint64_t){(tables + 0x2000) | 7}, 8);
    guest_load(g, tables + 0x1000 + 3 * 8, &(uint64_t){(tables + 0x2000) | 7}, 8);
    guest_load(g, tables + 0x1000 + 4 * 8, &(uint64_t){(tables + 0x4000) | 7}, 8);
    guest_load(g, tables + 0x2000 + 511 * 8, &(uint64_t){(tables + 0x3000) | 7}, 8);
    guest_load(g, tables + 0x4000, &(uint64_t){(tables + 0x5000) | 7}, 8);
}

static enum engine_stop jump_at(struct guest *g, uint64_t linear, uint32_t count, bool goes_back)
{
    g->cpu->var[VAR_RIP] = linear;
    g->cpu->var[VAR_RCX] = count;
    g->cpu->var[VAR_RDX] = goes_back;
    g->cpu->activity = ACTIVITY_RUN;
    g->cpu->instruction_limit = UINT64_MAX;
    return g->engine->run(g->state, g->cpu);
}

static void *stop_soon(void *opaque) // the host needs a while to begin this
{
    cpu_set_pending(opaque, PENDING_STOP);
    return NULL;
}

/// A guard that was made where its jump goes from the first page to the last one lets pass everywhere else, and there
/// it goes back: a cycle that has to poll.
static void test_cycle_over_the_end(void **state)
{
    struct guest_pair *p = *state;
    struct guest *g = &p->jit;
    for (unsigned mode = GUEST_64_CPL0; mode <= GUEST_32_CPL0; mode += GUEST_32_CPL0 - GUEST_64_CPL0) {
        uint64_t last = mode == GUEST_32_CPL0 ? 0xfffff000 : UINT64_MAX - 0xfff;
        pthread_t thread;
        guest_reset(g, (enum guest_mode)mode, 1);
        g->cpu->counting = false;
        map_ends(g);
        guest_load(g, FUNCTION, lower, sizeof lower);
        guest_load(g, OTHER, upper, sizeof upper);
        map(g, ORDINARY, FUNCTION);
        map(g, ORDINARY + PAGE_SIZE, OTHER);
        map(g, 0, OTHER);
        map(g, 0x1ff000, FUNCTION);
        guest_load(g, TABLE_4K, &(uint64_t){OTHER | 7}, 8);
        for (unsigned i = 0; i < OFTEN; i++)
            assert_int_equal(jump_at(g, ORDINARY, 1, true), STOP_HALT);
        for (unsigned i = 0; i < OFTEN; i++) {
            assert_int_equal(jump_at(g, 0, 2, false), STOP_HALT);
            assert_true(g->cpu->var[VAR_RIP] == last + sizeof lower);
        }
        assert_int_equal(pthread_create(&thread, NULL, stop_soon, g->cpu), 0);
        assert_int_equal(jump_at(g, ORDINARY, LONG, true), STOP_REQUEST);
        pthread_join(thread, NULL);
        assert_int_not_equal(g->cpu->var[VAR_RCX], 0); // not only when the loop is done
        g->cpu->counting = true;
    }
}

static void set_code(struct cpu *cpu, bool is_64)
{
    cpu->segment[SEG_CS].rights &= ~(SEGMENT_L | SEGMENT_DB);
    cpu->segment[SEG_CS].rights |= is_64 ? SEGMENT_L : SEGMENT_DB;
    cpu_update_mode(cpu);
}

/// A jump of 32-bit code over the end leads to the first page, not to 4 GiB, though 64-bit code runs there.
static void test_jump_over_4g(void **state)
{
    static const uint8_t add[] = {0xff, 0xc3, 0xf4}, add_two[] = {0x83, 0xc3, 2, 0xf4},
                         behind[] = {0xe9, 0xfb, 0x0f, 0, 0};
    static const uint8_t before[] = {0xe9, 0x7b, 0xf0, 0xff, 0xff}; // jmp 0x80 bytes into the page before
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    for (unsigned i = 0; i < 2; i++) {
        struct guest *g = guests[i];
        struct cpu *cpu = g->cpu;
        guest_reset(g, GUEST_32_CPL0, 1);
        map_ends(g);
        guest_load(g, FUNCTION, behind, sizeof behind);
        guest_load(g, OTHER, add, sizeof add);
        guest_load(g, OTHER + 0x80, add, sizeof add);
        guest_load(g, TARGETS, add_two, sizeof add_two);
        guest_load(g, TABLE, before, sizeof before);
        guest_load(g, cpu->cr3 + 0x5000, &(uint64_t){OTHER | 7}, 8);
        guest_load(g, cpu->cr3 + 0x5008, &(uint64_t){TABLE | 7}, 8);
        map(g, 0x1ff000, FUNCTION);
        for (unsigned round = 0; round < 6; round++) {
            map(g, 0, round & 1 ? TARGETS : OTHER);
            mmu_flush_page(&cpu->mmu, 0);
            for (unsigned k = 0; k < OFTEN; k++) {
                cpu->var[VAR_RBX] = 0;
                set_code(cpu, true);
                jump_at(g, (UINT64_C(1) << 32) + PAGE_SIZE, 0, false);
                assert_true(cpu->var[VAR_RIP] == (UINT64_C(1) << 32) + 0x83);
                set_code(cpu, false);
                jump_at(g, 0xfffff000, 0, false);
                assert_true(cpu->var[VAR_RIP] == (round & 1 ? sizeof add_two : sizeof add));
                assert_int_equal(cpu->var[VAR_RBX], round & 1 ? 3 : 2);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_side_by_side), cmocka_unit_test(test_one_target),
        cmocka_unit_test(test_many_targets),       cmocka_unit_test(test_epochs_restart),
        cmocka_unit_test(test_cycle_over_the_end), cmocka_unit_test(test_jump_over_4g),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
