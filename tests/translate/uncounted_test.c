// Random programs where host code counts nothing, as it does for guests in use: strings in runs, loops that poll only
// where they must, jumps that pass by the flags' stores. Accesses go to ends of pages of every kind, to both sides of
// 4 GiB, of the hole in the address space and of its end, through several places of the same memory, while somebody
// asks for attention at any time. What halts in the interpreter halts in host code, and all is the same.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>

#include "support_writer.h"
#include "translate/translate.h"

#define PLAIN 10u // data pages without tricks begin here
#define PLAIN_PAGES 6u
#define TOP_TABLE 0x10000u // support_guest.c's tables
#define MIDDLE_TABLE 0x11000u
#define MORE_TABLES 0x14000u // those of more places: directory, page table, directory of directories
#define LARGE 0x83u
#define MOST_INSTRUCTIONS 200000u
#define REQUEST_MICROSECONDS 150

// ---- places -------------------------------------------------------------------------------------------------------
static void map_more(struct guest *g)
{
    static const uint16_t halves[] = {255, 256, 511};
    const uint64_t directory = MORE_TABLES | 7, table = (MORE_TABLES + 0x1000) | 7, middle = (MORE_TABLES + 0x2000) | 7,
                   large = LARGE | 4;
    guest_load(g, MORE_TABLES, &table, 8);
    guest_load(g, MORE_TABLES + 8, &large, 8);
    guest_load(g, MORE_TABLES + 511 * 8, &table, 8);
    for (unsigned i = 0; i < 512; i++) {
        uint64_t leaf = (GUEST_DATA + (PLAIN + i % 5) * PAGE_SIZE) | 7;
        if (i % 16 == 5)
            leaf = 0;
        if (i % 16 == 11)
            leaf ^= 2;
        guest_load(g, MORE_TABLES + 0x1000 + i * 8, &leaf, 8);
    }
    guest_load(g, MORE_TABLES + 0x2000, &directory, 8);
    guest_load(g, MORE_TABLES + 0x2000 + 511 * 8, &directory, 8);
    guest_load(g, MIDDLE_TABLE + 3 * 8, &directory, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(halves); i++)
        guest_load(g, TOP_TABLE + halves[i] * 8, &middle, 8);
}

static uint64_t place(struct writer *w)
{
    static const uint64_t edges[] = {UINT64_C(0x100000000), UINT64_C(0x800000000000), UINT64_C(0xffff800000000000), 0};
    static const uint64_t middles[] = {UINT64_C(0xffe00000), UINT64_C(0x7fffffe00000), UINT64_C(0xffff800000000000),
                                       UINT64_C(0xffff800000200000) + GUEST_DATA};
    uint64_t near = pick(w, 300) - UINT64_C(150);
    switch (pick(w, 8)) {
    case 0:
        return edges[w->long_mode ? pick(w, ARRAY_SIZE(edges)) : 0] + near;
    case 1:
        return middles[w->long_mode ? pick(w, ARRAY_SIZE(middles)) : 0] + pick(w, 16) * PAGE_SIZE + near;
    case 2:
        return GUEST_DATA + pick(w, GUEST_DATA_PAGES) * PAGE_SIZE + near;
    case 3:
        return GUEST_DATA + (PLAIN + pick(w, PLAIN_PAGES)) * PAGE_SIZE + pick(w, PAGE_SIZE);
    default:
        return GUEST_DATA + (PLAIN + 1 + pick(w, PLAIN_PAGES - 1)) * PAGE_SIZE +
               (pick(w, 2) ? near : near & -UINT64_C(16));
    }
}

static void put_constant(struct writer *w, unsigned reg, uint64_t value)
{
    if (w->long_mode)
        put_byte(w, 0x48 | reg >> 3);
    put_byte(w, 0xb8 | (reg & 7));
    put_number(w, value, w->long_mode ? 8 : 4);
}

// ---- strings ------------------------------------------------------------------------------------------------------
static void put_string(struct writer *w)
{
    static const uint8_t opcodes[] = {0xa4, 0xa4, 0xa5, 0xa5, 0xa5, 0xaa, 0xab,
                                      0xab, 0xa6, 0xa7, 0xac, 0xad, 0xae, 0xaf};
    static const uint16_t counts[] = {4, 20, 70, 600, 2500};
    uint64_t from = place(w), count = pick(w, counts[pick(w, ARRAY_SIZE(counts))]);
    bool narrow = !pick(w, 4);
    if (narrow && w->long_mode) {
        count |= pick(w, 2) ? BIT(40) : 0;
        from |= pick(w, 2) ? BIT(36) : 0;
    }
    put_constant(w, RSI, from);
    put_constant(w, RDI, pick(w, 2) ? from + pick(w, 200) - 100 : place(w));
    put_constant(w, RCX, count);
    put_byte(w, pick(w, 5) ? 0xfc : 0xfd);
    if (narrow && w->long_mode)
        put_byte(w, 0x67);
    if (!pick(w, 6))
        put_byte(w, pick(w, 2) ? 0x64 : 0x65);
    if (!pick(w, 6))
        put_byte(w, 0x66);
    if (pick(w, 6))
        put_byte(w, pick(w, 3) ? 0xf3 : 0xf2);
    if (w->long_mode && pick(w, 2))
        put_byte(w, 0x48);
    put_byte(w, opcodes[pick(w, ARRAY_SIZE(opcodes))]);
}

// ---- loops --------------------------------------------------------------------------------------------------------
static const uint8_t pointers[] = {RSI, RDI, RBX, R8, R14};

static unsigned pointer(struct writer *w)
{
    return pointers[pick(w, w->long_mode ? 5 : 3)];
}

static void put_access(struct writer *w)
{
    static const struct {
        uint8_t prefix, bytes[2], size, digit; // 8: eax or edx, 9: vector
    } accesses[] = {
        {0, {0x8b}, 1, 8},          {0, {0x89}, 1, 8},          {0, {0x89}, 1, 8},          {0, {0x03}, 1, 8},
        {0, {0x01}, 1, 8},          {0, {0x39}, 1, 8},          {0x66, {0x89}, 1, 8},       {0, {0x88}, 1, 8},
        {0, {0x0f, 0xb6}, 2, 8},    {0, {0x32}, 1, 8},          {0, {0x11}, 1, 8},          {0, {0xff}, 1, 0},
        {0, {0x0f, 0x10}, 2, 9},    {0, {0x0f, 0x11}, 2, 9},    {0xf3, {0x0f, 0x7f}, 2, 9}, {0, {0x0f, 0x29}, 2, 9},
        {0x66, {0x0f, 0xd6}, 2, 9}, {0, {0x0f, 0x7f}, 2, 9},    {0, {0xdd}, 1, 3},          {0, {0xdd}, 1, 0},
        {0, {0xff}, 1, 6},          {0, {0x8f}, 1, 0},          {0, {0x0f, 0x94}, 2, 0},    {0, {0x0f, 0xb1}, 2, 8},
        {0x66, {0x0f, 0x7e}, 2, 9}, {0, {0xdb}, 1, 7},          {0, {0xdb}, 1, 5},          {0, {0x0f, 0x17}, 2, 9},
        {0xc5, {0xfe, 0x7f}, 2, 9}, {0xc5, {0xfe, 0x6f}, 2, 9},
    };
    unsigned n = pick(w, ARRAY_SIZE(accesses)), base = pointer(w), digit = accesses[n].digit;
    unsigned index = pick(w, 4) ? RSP : pick(w, 2) ? RCX : RBP; // RSP: none
    int displacement = pick(w, 3) ? (int)pick(w, 12) * 8 : (int)pick(w, 400) - 200;
    bool wide = displacement != (int8_t)displacement || !pick(w, 10);
    if (accesses[n].prefix == 0xc5)
        base &= 7; // RSP instead of R14, RAX instead of R8
    if (base == RSP || base == RAX)
        base = RSI;
    if (digit == 8)
        digit = pick(w, 2) ? RAX : RDX;
    else if (digit == 9)
        digit = pick(w, 4);
    if (accesses[n].prefix)
        put_byte(w, accesses[n].prefix);
    if (w->long_mode && accesses[n].prefix != 0xc5 && (base >= 8 || pick(w, 2)))
        put_byte(w, 0x40 | (pick(w, 2) ? 8 : 0) | base >> 3);
    put(w, accesses[n].bytes, accesses[n].size);
    put_byte(w, (wide ? 0x80 : 0x40) | digit << 3 | (index == RSP ? base & 7 : RSP));
    if (index != RSP)
        put_byte(w, pick(w, 4) << 6 | index << 3 | (base & 7));
    put_number(w, (uint64_t)displacement, wide ? 4 : 1);
}

static void put_step(struct writer *w, unsigned reg)
{
    static const int16_t steps[] = {1, 2, 4, 8, 8, 8, 16, 16, 32, 64, 100, -8, -16, -1, -32, 120, 256, -256, 192, 255};
    int step = steps[pick(w, ARRAY_SIZE(steps))];
    if (w->long_mode && (pick(w, 8) || reg >= 8))
        put_byte(w, (pick(w, 12) ? 0x48 : 0x40) | (reg >= 8 ? 1 : 0));
    put_byte(w, step == (int8_t)step ? 0x83 : 0x81);
    put_byte(w, 0xc0 | (reg & 7));
    put_number(w, (uint64_t)step, step == (int8_t)step ? 1 : 4);
}

static void put_between(struct writer *w)
{
    static const char *const between[] = {"\x83\xd0\x00", "\x01\xd0\x90", "\x0f\x92\xc0",
                                          "\x0f\x44\xc2", "\xd1\xe0\x90", "\x21\xc2\x90",
                                          "\xff\xc2\x90", "\x0f\xc8\x90", "\x85\xc0\x90"};
    put(w, between[pick(w, ARRAY_SIZE(between))], 3);
}

/// A loop of at most some hundred turns, which perhaps another one is around.
static void put_loop(struct writer *w)
{
    unsigned outer, inner, accesses = 1 + pick(w, 4);
    bool nested = !pick(w, 3);
    for (unsigned i = 0; i < (w->long_mode ? 5u : 3u); i++)
        put_constant(w, pointers[i], place(w));
    put_constant(w, RBP, 1 + pick(w, 6));
    outer = w->size;
    put_constant(w, RCX, 1 + pick(w, pick(w, 2) ? 12 : 400));
    inner = w->size;
    for (unsigned i = 0; i < accesses; i++) {
        unsigned skip = 0;
        if (!pick(w, 5)) { // by a condition
            put_byte(w, 0x70 | pick(w, 16));
            put_byte(w, 0);
            skip = w->size;
        }
        put_access(w);
        if (pick(w, 2))
            put_between(w);
        if (!pick(w, 16))
            put(w, pick(w, 2) ? "\xa4" : "\xab", 1);
        if (skip)
            w->code[skip - 1] = (uint8_t)(w->size - skip);
    }
    for (unsigned i = 0; i < (w->long_mode ? 5u : 3u); i++) {
        if (pick(w, 4))
            put_step(w, pointers[i]);
    }
    put(w, pick(w, 2) ? "\xff\xc9\x90" : "\x83\xe9\x01", 3); // dec ecx, or sub ecx, 1
    put(w, "\x0f\x85", 2);
    put_number(w, (uint64_t)inner - (w->size + 4), 4);
    if (!nested)
        return;
    put_access(w);
    put(w, "\xff\xcd\x0f\x85", 4); // dec ebp; jnz
    put_number(w, (uint64_t)outer - (w->size + 4), 4);
}

static void write_program(struct writer *w)
{
    unsigned pieces = 1 + pick(w, 5);
    w->size = 0;
    for (unsigned i = 0; i < pieces && w->size < WRITER_MOST_CODE - 500; i++) {
        if (pick(w, 3))
            put_loop(w);
        else
            put_string(w);
        if (pick(w, 2))
            put(w, "\x9c\x58\x01\xc2", 4); // pushf; pop rax; add edx, eax
    }
    put_byte(w, 0xf4);
}

// ---- both engines -------------------------------------------------------------------------------------------------
// What a signal handler must know: handlers have no other way to reach it.
static atomic_uint *volatile requested;

static void request(int number)
{
    if (requested)
        atomic_store(requested, 1);
}

static void set_timer(unsigned microseconds)
{
    struct itimerval timer = {.it_interval = {.tv_usec = microseconds}, .it_value = {.tv_usec = microseconds}};
    signal(SIGALRM, request);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void reset(struct guest *g, enum guest_mode mode, uint64_t seed, const struct writer *w)
{
    guest_reset(g, mode, seed);
    map_more(g);
    guest_load(g, GUEST_CODE, w->code, w->size);
}

static void clear(struct guest *g)
{
    memset(g->memory.host, 0, GUEST_RAM);
}

/// All page tables' entries, but for Accessed and Dirty bits, as one number.
static uint64_t hash_tables(const struct guest *g)
{
    uint64_t hash = 0;
    for (uint64_t at = TOP_TABLE; at < MORE_TABLES + 3 * PAGE_SIZE; at += 8)
        hash = (hash ^ (load_le64(g->memory.host + at) & ~UINT64_C(0x60))) * UINT64_C(0x9e3779b97f4a7c15);
    return hash;
}

static void set_registers(struct guest *g, uint64_t random)
{
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++)
        g->cpu->var[i] = guest_random(&random) & UINT32_MAX;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    cpu_set_rflags(g->cpu, 2 | (guest_random(&random) & FLAGS_ARITHMETIC));
    for (unsigned i = 0; i < 4; i++)
        g->cpu->vreg[i].u64[0] = g->cpu->vreg[i].u64[1] = guest_random(&random);
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->activity = ACTIVITY_RUN;
}

static void compare(struct guest_pair *pair, const struct writer *w, unsigned number)
{
    char text[1024];
    pair->interp.cpu->instructions = pair->jit.cpu->instructions = 0;
    if (guest_equal(&pair->interp, &pair->jit, text, sizeof text) &&
        !memcmp(pair->interp.memory.host, pair->jit.memory.host, GUEST_RAM))
        return;
    print_message("program %u: %s\n   ", number, text);
    for (unsigned b = 0; b < w->size; b++)
        print_message(" %02x", w->code[b]);
    print_message("\n");
    fail();
}

static unsigned run_case(struct guest_pair *pair, unsigned number, uint64_t *random)
{
    static const enum guest_mode modes[] = {GUEST_64_CPL0, GUEST_64_CPL0, GUEST_64_CPL3, GUEST_32_CPL0};
    enum guest_mode mode = modes[guest_random(random) % ARRAY_SIZE(modes)];
    struct writer w = {.random = guest_random(random), .long_mode = mode != GUEST_32_CPL0};
    uint64_t seed = guest_random(random);
    uint64_t tables;
    unsigned halted = 0;

    write_program(&w);
    translate_set_threshold(pair->jit.state, number % 3);
    reset(&pair->interp, mode, seed, &w);
    reset(&pair->jit, mode, seed, &w);
    tables = hash_tables(&pair->interp);
    for (unsigned round = 0; round < 3 && pair->interp.cpu->cpl == (mode == GUEST_64_CPL3 ? 3 : 0); round++) {
        set_registers(&pair->interp, seed + round);
        set_registers(&pair->jit, seed + round);
        // Its code may have become what never ends. Changed tables nobody was told of: a page may be where it was or
        // not, as long as the TLB and what host code holds live.
        if (guest_run(&pair->interp, MOST_INSTRUCTIONS) != STOP_HALT || hash_tables(&pair->interp) != tables) {
            clear(&pair->interp); // what guest_reset leaves alone
            clear(&pair->jit);
            break;
        }
        requested = &pair->jit.cpu->exit_request;
        assert_int_equal(guest_run(&pair->jit, UINT32_MAX), STOP_HALT);
        requested = NULL;
        compare(pair, &w, number);
        halted++;
    }
    return halted;
}

static void test_uncounted(void **state)
{
    struct guest_pair *pair = *state;
    uint64_t random = getenv("DOPPEL_TEST_SEED") ? strtoull(getenv("DOPPEL_TEST_SEED"), NULL, 0) : 3;
    unsigned cases = getenv("DOPPEL_TEST_STATES") ? 60000 : 4000, halted = 0;
    pair->interp.cpu->counting = pair->jit.cpu->counting = false;
    set_timer(REQUEST_MICROSECONDS);
    for (unsigned i = 0; i < cases; i++)
        halted += run_case(pair, i, &random);
    set_timer(0);
    assert_in_range(halted, cases, 3 * cases);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(test_uncounted, guest_pair_open, guest_pair_close),
    };
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests_name("translate: uncounted", all, NULL, NULL);
}
