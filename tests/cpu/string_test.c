// String instructions against a model that knows nothing but bytes: all operations, sizes, directions, overlaps,
// page ends, holes, wrapping offsets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/cc.h"
#include "cpu/helper.h"
#include "cpu/lift.h"
#include "support_rows.h"
#include "support_system.h"

#define TABLE 0x20000u // page table with 4 KiB pages for the first 2 MiB of linear space
#define AREA 0x40000u  // pages that strings work in
#define AREA_PAGES 8u
#define HOLE 5u     // of them, this one is missing
#define SHUFFLED 3u // and this one is elsewhere in RAM
#define ELSEWHERE 0x60000u

struct model {
    uint8_t area[AREA_PAGES * PAGE_SIZE];
    uint64_t si, di, cx, ax;
    uint64_t first, second;
    bool compared, fault;
    uint64_t address; // of the fault
};

struct operation {
    enum string_op op;
    unsigned bytes, address;
    bool rep, repne, down;
};

static bool present(uint64_t at, unsigned bytes, uint64_t *bad)
{
    for (unsigned i = 0; i < bytes; i++) {
        if ((at + i - AREA) / PAGE_SIZE == HOLE) {
            *bad = i ? at + i : at;
            return false;
        }
    }
    return true;
}

static uint64_t model_get(const struct model *m, uint64_t at, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, m->area + (at - AREA), bytes);
    return value;
}

static void model_merge(uint64_t *reg, uint64_t value, unsigned width)
{
    uint64_t mask = bits_mask(8u << width);
    *reg = (width < WIDTH_32 ? *reg & ~mask : 0) | (value & mask);
}

/// One element; false: stop.
static bool model_step(struct model *m, const struct operation *o)
{
    uint64_t mask = bits_mask(8u << o->address), si = m->si & mask, di = m->di & mask, value = m->ax;
    uint64_t step = o->down ? -(uint64_t)o->bytes : o->bytes;
    bool reads = o->op == STRING_MOVS || o->op == STRING_CMPS || o->op == STRING_LODS;
    if ((reads && !present(si, o->bytes, &m->address)) ||
        (o->op != STRING_LODS && !present(di, o->bytes, &m->address))) {
        m->fault = true;
        return false;
    }
    if (reads)
        value = model_get(m, si, o->bytes);
    if (o->op == STRING_MOVS || o->op == STRING_STOS)
        memcpy(m->area + (di - AREA), &value, o->bytes);
    else if (o->op == STRING_LODS)
        model_merge(&m->ax, value, width_of(o->bytes));
    else {
        m->first = value & bits_mask(8 * o->bytes);
        m->second = model_get(m, di, o->bytes);
        m->compared = true;
    }
    if (reads)
        model_merge(&m->si, si + step, o->address);
    if (o->op != STRING_LODS)
        model_merge(&m->di, di + step, o->address);
    if (o->rep || o->repne)
        model_merge(&m->cx, m->cx - 1, o->address);
    return !(m->compared && (m->first == m->second) == o->repne);
}

static void model_run(struct model *m, const struct operation *o)
{
    if (!o->rep && !o->repne) {
        model_step(m, o);
        return;
    }
    while ((m->cx & bits_mask(8u << o->address)) != 0 && model_step(m, o))
        ;
}

static uint8_t *area_page(struct fixture *f, unsigned page)
{
    return f->memory.host + (page == SHUFFLED ? ELSEWHERE : AREA + page * PAGE_SIZE);
}

static void start(struct fixture *f)
{
    fixture_start(f, "max");
    enter_long(f, 0);
    for (uint64_t page = 0; page < 0x200000; page += PAGE_SIZE)
        poke(f, TABLE + (page >> 12) * 8, page < 0x100000 ? page | 7 : 0, 8);
    poke(f, TABLE + ((AREA >> 12) + HOLE) * 8, 0, 8);
    poke(f, TABLE + ((AREA >> 12) + SHUFFLED) * 8, ELSEWHERE | 7, 8);
    poke(f, PAGES + 0x2000, TABLE | 7, 8);
    mmu_flush_all(&f->cpu->mmu);
}

static void run_helper(struct cpu *cpu, const struct operation *o)
{
    uint64_t imm =
        o->op | o->bytes << 4 | o->address << 8 | SEG_DS << 12 | (unsigned)o->rep << 16 | (unsigned)o->repne << 17;
    while (helper_string(cpu, 1, 2, imm) == 1)
        assert_true(atomic_load(&cpu->exit_request));
}

static uint64_t random_place(uint64_t *seed, unsigned bytes)
{
    uint64_t at = AREA + 64 + support_random(seed) % (AREA_PAGES * PAGE_SIZE - 128);
    if (support_random(seed) & 1) // near the end of a page
        at = (at & PAGE_MASK) + PAGE_SIZE - support_random(seed) % 40;
    if (at > AREA + AREA_PAGES * PAGE_SIZE - 64)
        at -= PAGE_SIZE;
    return support_random(seed) & 1 ? at : align_down(at, bytes);
}

/// How many elements from `at` on stay in the area.
static uint64_t room(const struct operation *o, uint64_t at)
{
    return (o->down ? at - AREA : AREA + AREA_PAGES * PAGE_SIZE - at) / o->bytes;
}

static void choose(uint64_t *seed, struct operation *o, struct model *m)
{
    uint64_t most;
    *o = (struct operation){.op = support_random(seed) % 5,
                            .bytes = 1u << support_random(seed) % 4,
                            .address = support_random(seed) % 3 ? WIDTH_64 : WIDTH_32,
                            .rep = support_random(seed) % 8 != 0,
                            .down = support_random(seed) % 3 == 0};
    if (o->op == STRING_CMPS || o->op == STRING_SCAS)
        o->repne = !(o->rep = o->rep && (support_random(seed) & 1)) && (support_random(seed) & 1);
    m->si = random_place(seed, o->bytes);
    m->di = support_random(seed) & 1 ? random_place(seed, o->bytes) : m->si + support_random(seed) % 40 - 20;
    if (o->address == WIDTH_32 && support_random(seed) % 2) {
        m->si |= BIT(40); // not looked at
        m->di |= BIT(41);
    }
    m->ax = support_random(seed) % 4 ? support_random(seed) : (support_random(seed) & 0xff) * 0x0101010101010101;
    most = room(o, (uint32_t)m->si) < room(o, (uint32_t)m->di) ? room(o, (uint32_t)m->si) : room(o, (uint32_t)m->di);
    m->cx = support_random(seed) % (support_random(seed) & 1 ? most : most < 20 ? most : 20);
}

static void fill_area(uint64_t *seed, struct model *m)
{
    unsigned kinds = support_random(seed) % 3; // comparisons go far in the plain ones
    for (unsigned i = 0; i < sizeof m->area; i++)
        m->area[i] = kinds == 0 ? (uint8_t)support_random(seed) : kinds == 1 ? 7 : (uint8_t)(i % 3000 == 0);
}

static void strings_do_what_bytes_say(void **state)
{
    uint64_t seed = 5;
    struct fixture f;
    static const unsigned rounds = 15000;
    struct model *m = test_malloc(sizeof *m);
    start(&f);
    for (unsigned i = 0; i < rounds; i++) {
        struct operation o;
        struct cpu *cpu = f.cpu;
        *m = (struct model){0};
        fill_area(&seed, m);
        choose(&seed, &o, m);
        if (o.op == STRING_CMPS || o.op == STRING_SCAS)
            m->ax = support_random(&seed) & 1 ? 0x0707070707070707 : 0;
        for (unsigned page = 0; page < AREA_PAGES; page++)
            memcpy(area_page(&f, page), m->area + page * PAGE_SIZE, PAGE_SIZE);
        if (support_random(&seed) & 1)
            mmu_flush_all(&cpu->mmu);
        cpu->counting = support_random(&seed) & 1;
        cpu->var[VAR_RSI] = m->si;
        cpu->var[VAR_RDI] = m->di;
        cpu->var[VAR_RCX] = m->cx;
        cpu->var[VAR_RAX] = m->ax;
        cpu_set_rflags(cpu, 2 | (o.down ? FLAG_DF : 0));
        atomic_store(&cpu->exit_request, support_random(&seed) & 1);

        run_helper(cpu, &o);
        model_run(m, &o);

        assert_int_equal(cpu->fault.pending, m->fault);
        if (m->fault)
            assert_int_equal(cpu->cr2, m->address);
        cpu->fault.pending = false;
        assert_int_equal(cpu->var[VAR_RSI], m->si);
        assert_int_equal(cpu->var[VAR_RDI], m->di);
        assert_int_equal(cpu->var[VAR_RCX], m->cx);
        assert_int_equal(cpu->var[VAR_RAX], m->ax);
        if (m->compared) {
            assert_int_equal((cc_all(cpu) & FLAG_ZF) != 0, m->first == m->second);
            assert_int_equal((cc_all(cpu) & FLAG_CF) != 0, m->first < m->second);
        }
        for (unsigned page = 0; page < AREA_PAGES; page++) {
            if (page != HOLE)
                assert_memory_equal(area_page(&f, page), m->area + page * PAGE_SIZE, PAGE_SIZE);
        }
    }
    test_free(m);
    fixture_end(&f);
}

/// A run that is not counted goes on until somebody waits; one that is gives way after a number of elements.
static void long_strings_give_way(void **state)
{
    struct fixture f;
    uint64_t imm = STRING_STOS | 1 << 4 | WIDTH_64 << 8 | SEG_DS << 12 | 1 << 16;
    start(&f);
    for (unsigned counting = 0; counting < 2; counting++) {
        for (unsigned waits = 0; waits < 2; waits++) {
            f.cpu->counting = counting;
            f.cpu->var[VAR_RDI] = AREA;
            f.cpu->var[VAR_RCX] = 3 * PAGE_SIZE;
            atomic_store(&f.cpu->exit_request, waits);
            assert_int_equal(helper_string(f.cpu, 1, 2, imm), counting || waits ? 1 : 2);
            if (counting)
                assert_int_equal(f.cpu->var[VAR_RCX], 3 * PAGE_SIZE - 1024);
            else if (waits)
                assert_in_range(f.cpu->var[VAR_RCX], 1, 3 * PAGE_SIZE - 1024);
            else
                assert_int_equal(f.cpu->var[VAR_RCX], 0);
        }
    }
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_do_what_bytes_say),
        cmocka_unit_test(long_strings_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
