// Ways from block to block among a few pages of code that stand at many places: at the ends of linear addresses and of
// 32-bit ones, twice at once, in two spaces. Between runs the guest's tables, spaces, modes, code, breakpoints and the
// A20 gate change, each time with the flush that the manual asks for. An interpreter that forgets all it knows before
// each instruction says what is right.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "cpu/debug.h"
#include "support_guest.h"
#include "translate/code_cache.h"
#include "translate/translate.h"

#define ROOT 0x10000u
#define OTHER_ROOT 0x20000u // of the second space
#define LOW_TABLE (ROOT + 0x3000)
#define OTHER_LOW_TABLE (OTHER_ROOT + 0x3000)
#define TABLES_END 0x30000u
#define STACK 0x30800u
#define WORDS 64u // on the stack
#define PAGES 6u
#define SLOT 64u // bytes of a piece of code
#define SLOTS (PAGE_SIZE / SLOT)
#define SLED 16u    // bytes at a page's start that an instruction from the page before may take
#define COUNTER 5u  // bytes that count down, at a slot's start
#define CONSTANT 2u // behind them: what is added
#define PCID 1u

#define ENTRY_P 0x1u
#define ENTRY_U 0x4u
#define ENTRY_USED 0x63u // present, writable, accessed, dirty
#define ENTRY_G 0x100u

static uint64_t page_address(unsigned number)
{
    return (number < PAGES / 2 ? 0x40000 : 0x140000 - PAGES / 2 * PAGE_SIZE) + number * PAGE_SIZE;
}

struct random {
    uint64_t state;
};

static unsigned below(struct random *r, unsigned n)
{
    return (unsigned)((guest_random(&r->state) >> 32) * n >> 32);
}

static bool one_in(struct random *r, unsigned n)
{
    return below(r, n) == 0;
}

/// Of a few slots mostly, so that the same code runs again.
static unsigned some_slot(struct random *r)
{
    static const uint8_t slots[] = {0, 1, 11, 22, 33, 44, SLOTS - 2, SLOTS - 1};
    return one_in(r, 4) ? below(r, SLOTS) : slots[below(r, ARRAY_SIZE(slots))];
}

// ---- code -----------------------------------------------------------------------------------------------------------
struct code {
    uint8_t *bytes;
    unsigned at, bits;
};

static void put(struct code *c, const char *bytes, unsigned count)
{
    memcpy(c->bytes + c->at, bytes, count);
    c->at += count;
}

static void put_distance(struct code *c, int64_t distance)
{
    unsigned size = c->bits == 16 ? 2 : 4;
    memcpy(c->bytes + c->at, &distance, size);
    c->at += size;
}

/// As the last bytes of a branch, how far it is to the target `to` bytes from the page's start.
static void put_target(struct code *c, int64_t to)
{
    put_distance(c, to - (c->at + (c->bits == 16 ? 2 : 4)));
}

static void put_jump_if(struct code *c, struct random *r)
{
    c->bytes[c->at++] = 0x0f;
    c->bytes[c->at++] = (uint8_t)(0x80 + below(r, 16));
}

static int64_t slot_at(struct random *r, int page)
{
    return page * (int64_t)PAGE_SIZE + some_slot(r) * SLOT;
}

static int other_page(struct random *r)
{
    static const int8_t pages[] = {1, -1, 1, -1, 1, -1, 2, -2};
    return pages[below(r, ARRAY_SIZE(pages))];
}

static void put_work(struct code *c, struct random *r)
{
    switch (below(r, 9)) {
    case 0:
        put(c, "\xc1\xc3\x05", 3); // rol ebx, 5
        break;
    case 1:
        put(c, "\x31\xda", 2); // xor edx, ebx
        break;
    case 2:
        put(c, "\x83\xd2\x11", 3); // adc edx, 0x11
        break;
    case 3:
        put(c, "\xf6\xc3\x24", 3); // test bl, 0x24
        break;
    case 4:
        put(c, "\x53\x5d", 2); // push; pop
        break;
    case 5:
        put(c, c->bits == 16 ? "\xfe\x05" : "\xfe\x07", 2); // inc byte [rdi], in some code
        break;
    case 6:
        put(c, "\xe8\0\0\0\0", c->bits == 16 ? 3 : 5); // call to the next
        put(c, "\x5d\x01\xeb", 3);                     // pop rbp; add ebx, ebp
        break;
    case 7:
        put(c, "\x39\xd3", 2); // cmp ebx, edx
        break;
    default:
        put(c, "\x83\xfb\x40", 3); // cmp ebx, 0x40
    }
}

static void put_end(struct code *c, struct random *r)
{
    switch (below(r, 12)) {
    case 0:
    case 1:
        put(c, "\xe9", 1);
        put_target(c, slot_at(r, 0));
        break;
    case 2:
    case 3:
        put_jump_if(c, r);
        put_target(c, slot_at(r, 0));
        break;
    case 4:
        put(c, "\xe9", 1);
        put_target(c, slot_at(r, other_page(r)));
        break;
    case 5:
        put_jump_if(c, r);
        put_target(c, slot_at(r, other_page(r)));
        break;
    case 6:
        put(c, "\xe8", 1);
        put_target(c, slot_at(r, other_page(r)));
        break;
    case 7:
        put(c, "\xc3", 1); // ret
        break;
    case 8:
        put(c, one_in(r, 2) ? "\xff\xe6" : "\xff\xd6", 2); // jmp rsi; call rsi
        break;
    case 9: // far off
        if (!one_in(r, 4))
            break;
        put_jump_if(c, r);
        put_distance(c, (int32_t)guest_random(&r->state));
        break;
    default:
        break; // to the next slot
    }
}

static void make_page(struct random *r, unsigned bits, uint8_t *bytes)
{
    struct code c = {bytes, 0, bits};
    memset(bytes, 0x90, PAGE_SIZE);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        c.at = slot ? slot * SLOT : SLED;
        put(&c, "\xff\xc9\x79\x01\xf4", COUNTER); // dec ecx; jns over the hlt
        put(&c, "\x83\xc3\x01", 3);               // add ebx, 1
        for (unsigned i = below(r, 4); i > 0; i--)
            put_work(&c, r);
        if (slot != SLOTS - 1)
            put_end(&c, r);
        assert_true(c.at <= (slot + 1) * SLOT);
    }
    if (!one_in(r, 4))
        memcpy(bytes + PAGE_SIZE - 3, "\x81\xc3\x90", 3); // add ebx, what the next page begins with
}

// ---- the guest ------------------------------------------------------------------------------------------------------
static const uint64_t windows[] = {
    // clang-format off
    0x150000, 0x151000, 0x152000, 0x153000, 0x154000, 0x155000, 0x156000, 0x157000, // ordinary ones
    0x158000, 0x159000, 0x15a000, 0x15b000,
    0, 0xffffd000, 0xffffe000, 0xfffff000,
    UINT64_C(0x100000000), UINT64_C(0x100001000), UINT64_C(0x100002000),
    UINT64_C(0x7fffffe00000), UINT64_C(0x7fffffe01000),
    UINT64_C(0x7fffffffd000), UINT64_C(0x7fffffffe000), UINT64_C(0x7ffffffff000),
    UINT64_C(0xffff800000000000), UINT64_C(0xffff800000001000), UINT64_C(0xffff800000002000),
    UINT64_C(0xfffffffffffff000), UINT64_C(0xffffffffffffe000),
    // clang-format on
};
#define WINDOWS ARRAY_SIZE(windows)
#define SMALL_WINDOWS 16u // the first ones, of 32-bit addresses
#define OWN_WINDOWS 13u   // the first ones, of which each space has its own entries

static void put64(struct guest *g, uint64_t address, uint64_t value)
{
    guest_load(g, address, &value, 8);
}

/// Where a window's entry is in the tables of a space.
static uint64_t entry_address(uint64_t linear, unsigned space)
{
    uint64_t number = linear >> PAGE_SHIFT & 511;
    if (linear < GUEST_RAM)
        return (space ? OTHER_LOW_TABLE : LOW_TABLE) + number * 8;
    return (linear >> 32 == 0           ? 0x14000
            : linear >> 32 == 1         ? 0x15000
            : linear >> 47 == 0         ? 0x16000
            : linear < UINT64_MAX << 46 ? 0x17000
                                        : 0x18000) +
           number * 8;
}

static void make_tables(struct guest *g)
{
    uint64_t used = ENTRY_USED | ENTRY_U;
    for (unsigned space = 0; space < 2; space++) {
        uint64_t root = space ? OTHER_ROOT : ROOT;
        put64(g, root, (root + 0x1000) | used);
        put64(g, root + 255 * 8, 0x19000 | used);
        put64(g, root + 256 * 8, 0x1b000 | used);
        put64(g, root + 511 * 8, 0x1d000 | used);
        put64(g, root + 0x1000, (root + 0x2000) | used);
        put64(g, root + 0x1000 + 3 * 8, 0x1f000 | used);
        put64(g, root + 0x1000 + 4 * 8, 0x1f000 | used);
        put64(g, root + 0x2000, (root + 0x3000) | used);
        for (unsigned i = 0; i < 512; i++)
            put64(g, root + 0x3000 + i * 8, i << PAGE_SHIFT | ENTRY_USED | (i < 0x30 ? 0 : ENTRY_U));
    }
    put64(g, 0x1f000 + 511 * 8, 0x14000 | used);
    put64(g, 0x1f000, 0x15000 | used);
    put64(g, 0x19000 + 511 * 8, 0x1a000 | used);
    put64(g, 0x1a000 + 511 * 8, 0x16000 | used);
    put64(g, 0x1b000, 0x1c000 | used);
    put64(g, 0x1c000, 0x17000 | used);
    put64(g, 0x1d000 + 511 * 8, 0x1e000 | used);
    put64(g, 0x1e000 + 511 * 8, 0x18000 | used);
}

/// All that happens is chosen once, for each guest alike.
struct trio {
    struct guest oracle, interp, jit;
    struct guest *all[3];
    unsigned space;
    unsigned bits; // of the code: 16, or 64 for 32 as well
};

static uint64_t random_entry(struct random *r, bool global)
{
    uint64_t entry = page_address(below(r, PAGES)) | ENTRY_USED;
    entry |= one_in(r, 24) ? 0 : ENTRY_U;
    entry |= one_in(r, 24) ? BIT(63) : 0;
    entry |= global && one_in(r, 2) ? ENTRY_G : 0;
    return one_in(r, 24) ? entry & ~(uint64_t)ENTRY_P : entry;
}

/// A window leads elsewhere in a space, with the least flush that will do.
static void set_window(struct trio *t, struct random *r, unsigned space)
{
    unsigned number = below(r, one_in(r, 2) ? OWN_WINDOWS : WINDOWS);
    uint64_t linear = windows[number], at = entry_address(linear, space), entry = random_entry(r, linear >= GUEST_RAM);
    bool own = number < OWN_WINDOWS, here = !own || space == t->space, loads = one_in(r, 4);
    for (unsigned i = 0; i < 3; i++) {
        struct cpu *cpu = t->all[i]->cpu;
        bool pcid = cpu->cr4 & CR4_PCIDE;
        put64(t->all[i], at, entry);
        if (here && own && loads)
            cpu_update_paging(cpu, true);
        else if (here)
            mmu_flush_page(&cpu->mmu, linear);
        if (pcid && (!here || !own))
            mmu_invalidate_pcid(&cpu->mmu, 0, t->space ? 0 : PCID, linear);
    }
}

static void change_space(struct trio *t, struct random *r)
{
    bool keep = one_in(r, 2);
    t->space = !t->space;
    for (unsigned i = 0; i < 3; i++) {
        struct cpu *cpu = t->all[i]->cpu;
        bool pcid = cpu->cr4 & CR4_PCIDE;
        cpu->cr3 = (t->space ? OTHER_ROOT | (pcid ? PCID : 0) : ROOT) | (pcid && keep ? BIT(63) : 0);
        cpu_update_paging(cpu, true);
        cpu->cr3 &= ~BIT(63);
    }
}

/// A device changes a constant in the code, or what a page begins with.
static void write_code(struct trio *t, struct random *r)
{
    static const uint8_t harmless[] = {0x90, 0x98, 0xf5, 0xf8, 0xf9};
    uint64_t at = page_address(below(r, PAGES)) + (1 + below(r, SLOTS - 1)) * SLOT + COUNTER + CONSTANT;
    uint8_t byte = (uint8_t)below(r, 256);
    if (one_in(r, 3)) {
        at = (at & PAGE_MASK) + below(r, 3);
        byte = harmless[below(r, ARRAY_SIZE(harmless))];
    }
    for (unsigned i = 0; i < 3; i++)
        address_space_write_bytes(&t->all[i]->space, at, &byte, 1, true);
}

static void set_breakpoint(struct trio *t, struct random *r)
{
    static const uint8_t offsets[] = {0, 2, COUNTER, COUNTER + 3, SLED};
    unsigned n = below(r, 4);
    uint64_t linear =
        windows[below(r, one_in(r, 4) ? WINDOWS : 4)] + some_slot(r) * SLOT + offsets[below(r, ARRAY_SIZE(offsets))];
    bool on = one_in(r, 4);
    for (unsigned i = 0; i < 3; i++) {
        struct cpu *cpu = t->all[i]->cpu;
        cpu->dr[n] = linear;
        cpu->dr[7] = (cpu->dr[7] & ~(UINT64_C(3) << 2 * n)) | (uint64_t)on << 2 * n;
        debug_update(cpu);
    }
}

static void toggle_control(struct trio *t, struct random *r)
{
    unsigned which = below(r, 3);
    for (unsigned i = 0; i < 3; i++) {
        struct cpu *cpu = t->all[i]->cpu;
        if (which == 0)
            cpu->cr4 ^= CR4_SMEP;
        else if (which == 1)
            cpu->efer ^= EFER_NXE;
        else
            mmu_set_a20(&cpu->mmu, cpu->mmu.a20_mask != UINT64_MAX);
        if (which < 2)
            cpu_update_paging(cpu, false);
    }
}

static void change(struct trio *t, struct random *r)
{
    switch (below(r, 16)) {
    case 0:
    case 1:
        change_space(t, r);
        break;
    case 2: // there and back
        change_space(t, r);
        set_window(t, r, !t->space);
        change_space(t, r);
        break;
    case 3:
    case 4:
        write_code(t, r);
        break;
    case 5:
        set_breakpoint(t, r);
        break;
    case 6:
        if (one_in(r, 3))
            toggle_control(t, r);
        break;
    default:
        set_window(t, r, below(r, 2));
    }
}

struct mode {
    unsigned bits, cpl;
    uint64_t base;
    uint32_t limit;
    bool trap;
};

static void enter_mode(struct cpu *cpu, const struct mode *mode)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        struct segment *s = &cpu->segment[i];
        s->selector = (uint16_t)((i == SEG_CS ? 8 : 16) | mode->cpl);
        s->limit = i == SEG_CS ? mode->limit : UINT32_MAX;
        s->rights = SEGMENT_P | SEGMENT_S | mode->cpl << 5 | (i == SEG_CS ? 0xbu : 0x3u | SEGMENT_DB);
        if (i == SEG_CS && mode->bits != 16)
            s->rights |= mode->bits == 64 ? SEGMENT_L : SEGMENT_DB;
        cpu_set_segment_base(cpu, i, i == SEG_CS ? mode->base : 0);
    }
    cpu->cpl = (uint8_t)mode->cpl;
    cpu_set_rflags(cpu, 2 | (mode->trap ? FLAG_TF : 0));
}

/// Code that is not flat begins some pages below the window, perhaps below address 0, with a limit of its own.
static struct mode random_mode(const struct trio *t, struct random *r, uint64_t linear, uint64_t ip)
{
    struct mode mode = {.bits = t->bits == 16                       ? 16
                                : one_in(r, 3) && linear >> 32 == 0 ? 32
                                                                    : 64,
                        .cpl = one_in(r, 2) ? 3 : 0,
                        .limit = UINT32_MAX,
                        .trap = one_in(r, 40)};
    if (mode.bits == 16 || (mode.bits == 32 && one_in(r, 2))) {
        mode.base = (uint32_t)(linear - 5 * below(r, 4) * PAGE_SIZE);
        if (one_in(r, 3))
            mode.limit = (uint32_t)(linear + ip + SLOT * below(r, 3) + below(r, 16) - mode.base);
        else if (one_in(r, 2))
            mode.limit = 0xffff;
    }
    return mode;
}

static void start_run(struct trio *t, struct random *r)
{
    unsigned count = t->bits == 16 ? SMALL_WINDOWS : WINDOWS;
    uint64_t linear = windows[below(r, one_in(r, 3) ? OWN_WINDOWS : count)];
    uint64_t stack[WORDS], values[4], ip = some_slot(r) * SLOT;
    struct mode mode = random_mode(t, r, linear, ip);
    unsigned turns = 1 + below(r, one_in(r, 8) ? 400 : 60);
    for (unsigned i = 0; i < WORDS; i++)
        stack[i] = windows[below(r, one_in(r, 4) ? count : OWN_WINDOWS)] + some_slot(r) * SLOT - mode.base;
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
        values[i] = guest_random(&r->state);
    uint64_t victim = one_in(r, 2) ? page_address(below(r, PAGES)) : windows[below(r, count)];
    victim += (1 + below(r, SLOTS - 1)) * SLOT + COUNTER + CONSTANT;
    for (unsigned i = 0; i < 3; i++) {
        struct guest *g = t->all[i];
        struct cpu *cpu = g->cpu;
        enter_mode(cpu, &mode);
        for (unsigned k = 0; k < WORDS; k++)
            guest_load(g, STACK + k * mode.bits / 8, &stack[k], mode.bits / 8);
        cpu->var[VAR_RIP] = mode.bits == 64 ? linear + ip : (uint32_t)(linear + ip - mode.base);
        cpu->var[VAR_RAX] = BIT(48);
        cpu->var[VAR_RBX] = values[0];
        cpu->var[VAR_RDX] = values[1];
        cpu->var[VAR_RBP] = values[2];
        cpu->var[VAR_RCX] = turns;
        cpu->var[VAR_RSP] = STACK;
        cpu->var[VAR_RSI] = stack[WORDS - 1];
        cpu->var[VAR_RDI] = victim;
        if (mode.bits != 64)
            for (unsigned var = VAR_RAX; var <= VAR_RDI; var++)
                cpu->var[var] = (uint32_t)cpu->var[var];
        cpu->activity = ACTIVITY_RUN;
        cpu->instructions = 0;
        cpu->cr2 = 0;
        cpu->debug_traps = 0;
    }
}

#define LONGEST 4000u

static void run_oracle(struct guest *g, unsigned longest)
{
    for (unsigned i = 0; i < longest && g->cpu->activity == ACTIVITY_RUN; i++) {
        block_cache_flush(g->blocks);
        mmu_flush_all(&g->cpu->mmu);
        guest_run(g, 1);
    }
}

static void run_engine(struct guest *g, struct random r)
{
    if (!g->cpu->counting) {
        g->cpu->instruction_limit = UINT64_MAX;
        g->engine->run(g->state, g->cpu);
        return;
    }
    while (g->cpu->activity == ACTIVITY_RUN && g->cpu->instructions < LONGEST) {
        uint64_t left = LONGEST - g->cpu->instructions, slice = one_in(&r, 2) ? left : 1 + below(&r, 30);
        guest_run(g, slice < left ? slice : left);
    }
}

static void compare(struct trio *t, struct guest *g, unsigned world, unsigned run)
{
    char text[400] = "";
    bool same = true;
    if (!g->cpu->counting)
        g->cpu->instructions = t->oracle.cpu->instructions;
    g->cpu->dr[6] ^= t->oracle.cpu->dr[6];
    same = guest_equal(&t->oracle, g, text, sizeof text) && !g->cpu->dr[6];
    for (unsigned i = 0; i < PAGES; i++)
        same &= !memcmp(t->oracle.memory.host + page_address(i), g->memory.host + page_address(i), PAGE_SIZE);
    same &= !memcmp(t->oracle.memory.host + (STACK & PAGE_MASK), g->memory.host + (STACK & PAGE_MASK), PAGE_SIZE);
    if (!same)
        fail_msg("world %u run %u, %s: %s", world, run, g == &t->jit ? "jit" : "interpreter", text);
    g->cpu->dr[6] = t->oracle.cpu->dr[6];
}

static void make_world(struct trio *t, struct random *r)
{
    uint64_t entries[WINDOWS][2];
    uint8_t code[PAGES][PAGE_SIZE];
    bool pcid = one_in(r, 2), counting = !one_in(r, 3);
    uint32_t last_epoch = one_in(r, 4) ? UINT32_MAX - below(r, 100) : 0; // 0: as it is
    t->bits = one_in(r, 4) ? 16 : 64;
    t->space = 0;
    for (unsigned i = 0; i < PAGES; i++)
        make_page(r, t->bits, code[i]);
    for (unsigned i = 0; i < WINDOWS; i++)
        for (unsigned space = 0; space < 2; space++)
            entries[i][space] = i >= OWN_WINDOWS && space ? entries[i][0] : random_entry(r, windows[i] >= GUEST_RAM);
    for (unsigned i = 0; i < 3; i++) {
        struct guest *g = t->all[i];
        guest_reset(g, GUEST_64_CPL0, 1);
        memset(g->memory.host + ROOT, 0, 2 * (OTHER_ROOT - ROOT));
        memset(g->memory.host + TABLES_END, 0xf4, GUEST_RAM - TABLES_END); // hlt
        memset(g->memory.host + 0x9000, 0xf4, ROOT - 0x9000);
        make_tables(g);
        for (unsigned k = 0; k < PAGES; k++)
            guest_load(g, page_address(k), code[k], PAGE_SIZE);
        for (unsigned k = 0; k < WINDOWS; k++)
            for (unsigned space = 0; space < 2; space++)
                put64(g, entry_address(windows[k], space), entries[k][space]);
        mmu_set_a20(&g->cpu->mmu, true);
        g->cpu->counting = counting || g == &t->oracle;
        g->cpu->cr4 |= CR4_PGE | CR4_DE | (pcid ? CR4_PCIDE : 0);
        memset(g->cpu->dr, 0, sizeof g->cpu->dr);
        cpu_update_paging(g->cpu, true);
        debug_update(g->cpu);
        block_cache_flush(g->blocks);
        if (last_epoch)
            g->cpu->mmu.last_epoch = last_epoch;
    }
    translate_set_code_limit(t->jit.state, one_in(r, 3) ? 3 * CODE_REGION_LEAST : TRANSLATE_CODE_DEFAULT);
}

#define RUNS 120u

static void test_ways(void **state)
{
    struct trio *t = *state;
    unsigned worlds = getenv("DOPPEL_TEST_STATES") ? 200 : 12;
    for (unsigned world = 0; world < worlds; world++) {
        struct random r = {world};
        make_world(t, &r);
        translate_set_threshold(t->jit.state, one_in(&r, 3) ? 3 : 0);
        for (unsigned run = 0; run < RUNS; run++) {
            for (unsigned i = below(&r, 4); i > 0; i--)
                change(t, &r);
            start_run(t, &r);
            run_oracle(&t->oracle, t->jit.cpu->counting ? LONGEST : 20 * LONGEST);
            run_engine(&t->interp, r);
            t->jit.cpu->guard_patience = (int32_t)below(&r, 4);
            run_engine(&t->jit, r);
            compare(t, &t->interp, world, run);
            compare(t, &t->jit, world, run);
        }
    }
}

static int open_trio(void **state)
{
    struct trio *t = calloc(1, sizeof *t);
    guest_start(&t->oracle, &engine_interp);
    guest_start(&t->interp, &engine_interp);
    guest_start(&t->jit, &engine_jit);
    t->all[0] = &t->oracle;
    t->all[1] = &t->interp;
    t->all[2] = &t->jit;
    *state = t;
    return 0;
}

static int close_trio(void **state)
{
    struct trio *t = *state;
    for (unsigned i = 0; i < 3; i++)
        guest_end(t->all[i]);
    free(t);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ways)};
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests(tests, open_trio, close_trio);
}
