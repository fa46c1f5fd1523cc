// Loops whose accesses advance through memory, in both engines. Host code checks a page once for all turns that stay on
// it, so what counts is where it must notice: at ends of pages in both directions, by accesses that straddle them, at
// pages of every kind, in memory that holds code, and wherever somebody interrupts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/debug.h"
#include "support_writer.h"
#include "translate/translate.h"

#define MOST_TURNS 700u
#define PLAIN 11u      // data pages without tricks begin here
#define TABLE 0x13000u // the page table of support_guest.c; its directory of directories is at
#define DIRECTORIES 0x11000u
#define HIGH_TABLES 0x14000u        // for the data once more, in another order
#define REACH (2 * PAGE_SIZE - 300) // from there to a page that holds the code
#define HIGH BIT(32)                // there

/// The instruction's operands: `reg`, and memory near one of the pointers.
static void put_operands(struct writer *w, unsigned reg, bool aligned, unsigned index)
{
    static const uint8_t bases[] = {RSI, RSI, RDI, RDI, RBP, RBX};
    unsigned base = bases[pick(w, ARRAY_SIZE(bases))];
    int displacement = pick(w, 3) ? 0 : (int)pick(w, 256) - 128;
    if (aligned)
        displacement &= -16;
    if (index != NO_INDEX) {
        put_byte(w, 0x44 | reg << 3);
        put_byte(w, pick(w, 4) << 6 | index << 3 | base);
    } else
        put_byte(w, 0x40 | reg << 3 | base);
    put_byte(w, (uint8_t)displacement);
}

static void put_access(struct writer *w)
{
    static const struct {
        uint8_t bytes[3], size, reg; // the register's number or the operation's extension
        bool wide, aligned;
    } accesses[] = {
        {{0x8b}, 1, RAX, true, false},           // mov rax, [..]
        {{0x8b}, 1, RAX, false, false},          // mov eax, [..]
        {{0x03}, 1, RAX, true, false},           // add rax, [..]
        {{0x0f, 0xb6}, 2, RAX, false, false},    // movzx eax, byte [..]
        {{0x32}, 1, RAX, false, false},          // xor al, [..]
        {{0x89}, 1, RAX, true, false},           // mov [..], rax
        {{0x88}, 1, RAX, false, false},          // mov [..], al
        {{0x66, 0x89}, 2, RAX, false, false},    // mov [..], ax
        {{0x01}, 1, RAX, true, false},           // add [..], rax
        {{0xfe}, 1, 0, false, false},            // inc byte [..]
        {{0x0f, 0x10}, 2, 0, false, false},      // movups xmm0, [..]
        {{0x0f, 0x11}, 2, 1, false, false},      // movups [..], xmm1
        {{0x0f, 0x28}, 2, 0, false, true},       // movaps xmm0, [..]
        {{0x0f, 0x29}, 2, 1, false, true},       // movaps [..], xmm1
        {{0x66, 0x0f, 0xef}, 3, 0, false, true}, // pxor xmm0, [..]
        {{0x39}, 1, RAX, true, false},           // cmp [..], rax
    };
    unsigned which = pick(w, ARRAY_SIZE(accesses)), index = NO_INDEX;
    if (!accesses[which].aligned && !pick(w, 3)) {
        static const uint8_t indices[] = {RCX, RDX, RAX};
        index = indices[pick(w, ARRAY_SIZE(indices))];
        if (index == RAX)
            put(w, pick(w, 2) ? "\x8d\x42\x05" : "\x89\xd0\x90", 3); // lea eax, [rdx + 5], or mov eax, edx
    }
    if (accesses[which].wide && w->long_mode)
        put_byte(w, 0x48);
    put(w, accesses[which].bytes, accesses[which].size);
    put_operands(w, accesses[which].reg, accesses[which].aligned, index);
}

/// The pointer takes a step.
static void put_step(struct writer *w, unsigned reg, int step)
{
    bool wide = w->long_mode && pick(w, 8);
    unsigned way = pick(w, 8);
    if (step < 0)
        w->back = -2 * step > w->back ? -2 * step : w->back; // some take two
    if (wide)
        put_byte(w, 0x48);
    if ((step == 1 || step == -1) && way < 4) { // inc, dec
        put_byte(w, 0xff);
        put_byte(w, 0xc0 | (step < 0) << 3 | reg);
    } else if (way & 1) { // add, sub
        put_byte(w, 0x81);
        put_byte(w, (way & 2 ? 0xe8 : 0xc0) | reg);
        step = way & 2 ? -step : step;
        put(w, &step, 4);
    } else { // lea
        put_byte(w, 0x8d);
        put_byte(w, 0x80 | reg << 3 | reg);
        put(w, &step, 4);
    }
}

static void put_steps(struct writer *w)
{
    static const uint8_t pointers[] = {RSI, RDI, RBP, RBX};
    static const int16_t steps[] = {1, 1, 2, 4, 8, 8, 16, 16, 32, 3, 24, 40, 64, 100, 128, 255, 256, 257, 1000};
    bool backwards = !pick(w, 3);
    int common = steps[pick(w, ARRAY_SIZE(steps))];
    for (unsigned i = 0; i < ARRAY_SIZE(pointers); i++) {
        int step = pick(w, 2) ? common : steps[pick(w, ARRAY_SIZE(steps))];
        unsigned kind = pick(w, 12);
        step = backwards ? -step : step;
        if (kind == 0)
            continue; // stays
        put_step(w, pointers[i], kind == 1 ? -step : step);
        if (kind == 2)
            put_step(w, pointers[i], step);
        if (kind == 3) { // by what is not known: add r, rdx
            if (w->long_mode)
                put_byte(w, 0x48);
            put_byte(w, 0x01);
            put_byte(w, 0xc0 | RDX << 3 | pointers[i]);
        }
        if (!pick(w, 4))
            put_access(w);
    }
    if (pick(w, 3)) {
        static const int8_t index_steps[] = {1, 4, -1};
        int step = index_steps[pick(w, ARRAY_SIZE(index_steps))];
        put_step(w, RDX, step);
        w->back += step < 0 ? (int)MOST_TURNS : 0; // the step of a pointer, or an index
    }
}

/// A loop of rcx turns; behind it the flags go to rbx.
static void write_loop(struct writer *w)
{
    static const char once[] = "\x85\xe4\x74\x02\xff\xc0"; // test esp, esp; je on (never); inc eax
    unsigned accesses = 1 + pick(w, 4), ways = pick(w, 3);
    w->size = 0;
    if (!pick(w, 4))
        put(w, "\x83\xd0\x00", 3); // adc eax, 0: of the turn before
    for (unsigned i = 0; i < accesses; i++) {
        put_access(w);
        if (i < ways && !pick(w, 3))
            put(w, once, 6);
    }
    put_steps(w);
    if (w->long_mode && pick(w, 2))
        put_byte(w, 0x48);
    if (pick(w, 2))
        put(w, "\xff\xc9", 2); // dec ecx
    else
        put(w, "\x83\xe9\x01", 3); // sub ecx, 1
    if (!pick(w, 3)) {             // jz out; cmp [rsi], eax or al
        put(w, "\x74\x04", 2);
        put(w, pick(w, 2) ? "\x39\x06" : "\x38\x06", 2);
    }
    put_byte(w, 0x75); // jnz
    put_byte(w, (uint8_t) - (w->size + 1));
    put(w, "\x9c\x5b\xf4", 3); // pushf; pop rbx; hlt
}

/// Near an end of one of `count` pages from the first, on such an alignment.
static uint64_t near_end(uint64_t *random, unsigned first, unsigned count)
{
    uint64_t r = guest_random(random), page = first + (r >> 8) % count;
    uint64_t at = GUEST_DATA + page * PAGE_SIZE + ((r & 1) ? 0 : guest_random(random) % PAGE_SIZE);
    static const uint8_t masks[] = {0, 0, 15, 15, 7};
    return (at + (r >> 16) % 200 - 100) & ~(uint64_t)masks[(r >> 32) % ARRAY_SIZE(masks)];
}

/// The data pages stand above 4, 8, 16 and 32 GiB as well, each where below its neighbour is.
static void map_high(struct guest *g)
{
    uint64_t entry[] = {(HIGH_TABLES + PAGE_SIZE) | 7, HIGH_TABLES | 7};
    guest_load(g, HIGH_TABLES, &entry[0], 8);
    for (unsigned scale = 0; scale < 4; scale++)
        guest_load(g, DIRECTORIES + (HIGH << scale) / BIT(30) * 8, &entry[1], 8);
    for (uint64_t page = 0; page < GUEST_DATA_PAGES; page++) {
        uint64_t leaf = (GUEST_DATA + (page ^ 1) * PAGE_SIZE) | 7;
        guest_load(g, HIGH_TABLES + PAGE_SIZE + ((GUEST_DATA >> PAGE_SHIFT) + page) * 8, &leaf, 8);
    }
}

/// `plain`: nobody may write the code.
static void set_registers(struct guest *g, uint64_t random, const struct writer *w, bool plain, bool high)
{
    static const uint8_t pointers[] = {VAR_RSI, VAR_RDI, VAR_RBP, VAR_RBX};
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++)
        g->cpu->var[i] = guest_random(&random);
    for (unsigned i = 0; i < ARRAY_SIZE(pointers); i++)
        g->cpu->var[pointers[i]] =
            near_end(&random, plain ? PLAIN : 0, plain ? 5 : 16) | (high && random & 1 ? HIGH : 0);
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RCX] = 1 + guest_random(&random) % (guest_random(&random) & 1 ? 20 : MOST_TURNS);
    if (plain && w->back)
        g->cpu->var[VAR_RCX] = 1 + g->cpu->var[VAR_RCX] % (REACH / (unsigned)w->back);
    g->cpu->var[VAR_RDX] = guest_random(&random) % 64;
    if (high && guest_random(&random) & 1)
        g->cpu->var[VAR_RDX] = UINT32_MAX - 16 * g->cpu->var[VAR_RDX];
    cpu_set_rflags(g->cpu, 2 | (guest_random(&random) & FLAGS_ARITHMETIC));
    for (unsigned i = 0; i < 2; i++)
        g->cpu->vreg[i].u64[0] = g->cpu->vreg[i].u64[1] = guest_random(&random);
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->activity = ACTIVITY_RUN;
}

/// What software may change between two runs: where a page leads and what it allows, and what is watched.
static void change_something(struct guest *g, uint64_t random)
{
    uint64_t page = guest_random(&random) % GUEST_DATA_PAGES, linear = GUEST_DATA + page * PAGE_SIZE;
    static const uint8_t rights[] = {7, 7, 7, 5, 0};
    uint64_t entry = (GUEST_DATA + guest_random(&random) % GUEST_DATA_PAGES * PAGE_SIZE) |
                     rights[guest_random(&random) % ARRAY_SIZE(rights)];
    switch (guest_random(&random) % 4) {
    case 0:
        guest_load(g, TABLE + (linear >> PAGE_SHIFT) * 8, &entry, 8);
        mmu_flush_page(&g->cpu->mmu, linear);
        break;
    case 1:
        g->cpu->dr[0] = near_end(&random, 0, 16);
        g->cpu->dr[7] = DR7_ONES | 2 | (guest_random(&random) & 1 ? 1u : 3u) << 16; // writes, or reads as well
        debug_update(g->cpu);
        break;
    case 2:
        g->cpu->dr[7] = DR7_ONES;
        debug_update(g->cpu);
        break;
    default:
        break;
    }
}

static void compare(struct guest_pair *pair, const struct writer *w, unsigned number)
{
    char text[1024];
    if (guest_equal(&pair->interp, &pair->jit, text, sizeof text))
        return;
    print_message("loop %u: %s\n   ", number, text);
    for (unsigned b = 0; b < w->size; b++)
        print_message(" %02x", w->code[b]);
    print_message("\n");
    fail();
}

static void run_case(struct guest_pair *pair, unsigned number, uint64_t *random)
{
    static const enum guest_mode modes[] = {GUEST_64_CPL0, GUEST_64_CPL0, GUEST_64_CPL3, GUEST_32_CPL0};
    enum guest_mode mode = modes[guest_random(random) % ARRAY_SIZE(modes)];
    struct writer w = {.random = guest_random(random), .long_mode = mode != GUEST_32_CPL0};
    struct guest *guests[] = {&pair->interp, &pair->jit};
    uint64_t seed = guest_random(random);
    bool counting = seed & 1; // else nobody may write the code: what that does then might never end

    write_loop(&w);
    translate_set_threshold(pair->jit.state, number % 3);
    for (unsigned k = 0; k < 2; k++) {
        guest_reset(guests[k], mode, seed);
        map_high(guests[k]);
        guest_load(guests[k], GUEST_CODE, w.code, w.size);
        guests[k]->cpu->counting = counting;
    }
    for (unsigned round = 0; round < 3; round++) {
        uint8_t cpl = mode == GUEST_64_CPL3 ? 3 : 0;
        for (unsigned k = 0; k < 2; k++) {
            if (guests[k]->cpu->cpl != cpl) // a handler halted
                return;
            if (counting && round)
                change_something(guests[k], seed + round);
            set_registers(guests[k], seed + round, &w, !counting, w.long_mode && (seed >> 8) % 4 == 0);
            guests[k]->cpu->cpl = cpl;
        }
        for (unsigned part = 0; part < 12; part++) {
            uint64_t limit = 1 + guest_random(random) % (part ? 900 : 40);
            enum engine_stop stop[2];
            for (unsigned k = 0; k < 2; k++)
                stop[k] = guest_run(guests[k], counting ? limit : 1u << 20);
            if (!counting)
                pair->interp.cpu->instructions = pair->jit.cpu->instructions = 0;
            assert_int_equal(stop[0], stop[1]);
            compare(pair, &w, number);
            if (stop[0] != STOP_DEADLINE)
                break;
        }
    }
}

static void test_streams(void **state)
{
    struct guest_pair *pair = *state;
    uint64_t random = 23;
    unsigned cases = getenv("DOPPEL_TEST_STATES") ? 60000 : 6000;
    for (unsigned i = 0; i < cases; i++)
        run_case(pair, i, &random);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(test_streams, guest_pair_open, guest_pair_close),
    };
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests_name("translate: streams", all, NULL, NULL);
}
