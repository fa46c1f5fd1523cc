// The walker and the TLB against the naive walker: random tables with random bits, in RAM, ROM, device and unassigned
// pages, in all paging modes and control settings. Result, error code, address, physical address and the bytes of the
// tables must agree after every access; each TLB hit must be what a fresh walk allows.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/host.h"
#include "mmu/mmu.h"
#include "support_naive.h"
#include "support_random.h"

#define MIB (UINT64_C(1) << 20)
#define HIGH_START (UINT64_C(1) << 32)
#define RAM_SIZE (2 * MIB)
#define HIGH_SIZE (64 * 1024)
#define ROM_START 0xc0000u
#define DEVICE_START 0xe0000u
#define UNASSIGNED_START 0x300000u

#define ROUNDS 700
#define STEPS 500

enum mode { NONE, BITS32, PAE, LEVEL4, LEVEL5, MODES };

/// Pages that entries point to; tables and data alike. The first table_pages hold random entries.
static const uint64_t page_pool[] = {
    0x10000,       0x11000,
    0x12000,       0x13000,
    0x14000,       0x15000,
    0x16000,       0x17000,
    MIB + 0x10000, MIB + 0x11000,
    HIGH_START,    HIGH_START + 0x1000,
    ROM_START,     ROM_START + 0x1000,
    DEVICE_START,  UNASSIGNED_START,
    0x20000,       0x21000,
    0x1ff000,
};
#define TABLE_PAGES 14u

struct world {
    struct memory memory;
    struct address_space space;
    struct mmu *mmu;
    uint8_t *shadow; // of the memory file, what it should hold
    struct naive naive;
    struct random random;
    enum mode mode;
    unsigned long accesses, translated, faults, hits, known;
};

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    // Entries that lead to RAM, so that walks go on from here.
    return size == 8 ? 0x20067 : 0x67 + (offset << 12 & 0xf000);
}

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    fail_msg("an entry in a device page was written");
}

static const struct region_ops device_ops = {.read = device_read, .write = device_write, .max_size = 8};

/// The memory file's offset of a physical address, by the map that world_create makes.
static bool shadow_offset(uint64_t physical, uint64_t *offset, bool *writable)
{
    *writable = true;
    if (physical >= HIGH_START && physical < HIGH_START + HIGH_SIZE) {
        *offset = RAM_SIZE + (physical - HIGH_START);
        return true;
    }
    if (physical >= DEVICE_START && physical < DEVICE_START + PAGE_SIZE)
        return false;
    if (physical >= RAM_SIZE)
        return false;
    *writable = physical < ROM_START || physical >= ROM_START + 0x10000;
    *offset = physical;
    return true;
}

static uint64_t naive_read(void *opaque, uint64_t physical, unsigned size)
{
    struct world *w = opaque;
    uint64_t offset, value = 0;
    bool writable;
    if (physical >= DEVICE_START && physical < DEVICE_START + PAGE_SIZE)
        return device_read(NULL, physical - DEVICE_START, size);
    if (!shadow_offset(physical, &offset, &writable))
        return size == 8 ? UINT64_MAX : UINT32_MAX;
    memcpy(&value, w->shadow + offset, size);
    return value;
}

static void world_create(struct world *w, uint64_t seed)
{
    struct error error = {0};
    memset(w, 0, sizeof *w);
    w->random.state = seed;
    assert_true(memory_create(&w->memory, RAM_SIZE + HIGH_SIZE, &error));
    assert_int_equal(memory_allocate(&w->memory, RAM_SIZE), 0);
    assert_int_equal(memory_allocate(&w->memory, HIGH_SIZE), RAM_SIZE);
    address_space_init(&w->space, "memory", &w->memory, UINT64_C(1) << 52, NULL);
    assert_non_null(address_space_map_memory(&w->space, "ram", 0, RAM_SIZE, 0, 0, false, &error));
    assert_non_null(address_space_map_memory(&w->space, "high", HIGH_START, HIGH_SIZE, 0, RAM_SIZE, false, &error));
    assert_non_null(address_space_map_memory(&w->space, "rom", ROM_START, 0x10000, 1, ROM_START, true, &error));
    assert_non_null(
        address_space_map_device(&w->space, "device", DEVICE_START, PAGE_SIZE, 1, &device_ops, NULL, &error));
    w->mmu = aligned_alloc(64, (sizeof *w->mmu + 63) & ~(size_t)63);
    assert_non_null(w->mmu);
    mmu_init(w->mmu, &w->space, 40, NULL);
    w->shadow = calloc(1, w->memory.size);
    assert_non_null(w->shadow);
}

static void world_destroy(struct world *w)
{
    mmu_destroy(w->mmu);
    free(w->mmu);
    free(w->shadow);
    address_space_destroy(&w->space);
    memory_destroy(&w->memory);
}

/// The guest (or the loader, for ROM) writes a table entry: memory and its shadow.
static void poke(struct world *w, uint64_t physical, uint64_t value, unsigned size)
{
    uint64_t offset;
    bool writable;
    if (!shadow_offset(physical, &offset, &writable))
        return;
    memcpy(w->memory.host + offset, &value, size);
    memcpy(w->shadow + offset, &value, size);
}

static uint64_t random_flags(struct random *r)
{
    uint64_t flags = 0;
    flags |= random_one_in(r, 16) ? 0 : 0x01;
    flags |= random_one_in(r, 4) ? 0 : 0x02;
    flags |= random_one_in(r, 4) ? 0 : 0x04;
    flags |= random_below(r, 4) << 3;
    flags |= random_below(r, 4) << 5;
    flags |= random_one_in(r, 5) ? 0x80 : 0;
    flags |= random_below(r, 16) << 8;
    return flags;
}

static uint64_t random_page(struct random *r)
{
    return page_pool[random_below(r, ARRAY_SIZE(page_pool))];
}

static uint64_t random_entry64(struct world *w)
{
    struct random *r = &w->random;
    uint64_t entry = random_page(r) | random_flags(r);
    if ((entry & 0x80) && !random_one_in(r, 4))
        entry &= ~UINT64_C(0x1fe000); // a well-formed large page
    if ((entry & 0x80) && random_one_in(r, 2))
        entry &= ~UINT64_C(0x3fffe000);
    if (random_one_in(r, 6))
        entry |= UINT64_C(1) << 63;
    if (random_one_in(r, 6))
        entry |= random_next(r) & UINT64_C(0x7ff) << 52;
    if (random_one_in(r, 24))
        entry ^= UINT64_C(1) << random_below(r, 64);
    return entry;
}

static uint32_t random_entry32(struct world *w)
{
    struct random *r = &w->random;
    uint32_t entry = (uint32_t)(random_page(r) | random_flags(r));
    if ((entry & 0x80) && !random_one_in(r, 3))
        entry &= ~UINT32_C(0x3fe000);
    if ((entry & 0x80) && random_one_in(r, 3))
        entry |= UINT32_C(1) << (13 + random_below(r, 9)); // PSE-36 bits
    if (random_one_in(r, 24))
        entry ^= UINT32_C(1) << random_below(r, 32);
    return entry;
}

static uint64_t random_pdpte(struct world *w)
{
    uint64_t entry = (random_page(&w->random) & ~UINT64_C(0xfff)) | 1;
    entry |= random_next(&w->random) & 0xe18;
    if (random_one_in(&w->random, 8))
        entry &= ~UINT64_C(1);
    if (random_one_in(&w->random, 40))
        entry ^= UINT64_C(1) << random_below(&w->random, 64);
    return entry;
}

/// Few indices are in use, so that walks meet entries.
static unsigned random_index(struct random *r, unsigned count)
{
    static const unsigned from_start[] = {0, 1, 2, 3};
    unsigned i = from_start[random_below(r, 4)];
    return random_one_in(r, 3) ? count - 1 - i : i;
}

static void random_table_entry(struct world *w)
{
    uint64_t page = page_pool[random_below(&w->random, TABLE_PAGES)];
    if (w->mode == BITS32)
        poke(w, page + 4 * random_index(&w->random, 1024), random_entry32(w), 4);
    else
        poke(w, page + 8 * random_index(&w->random, 512), random_entry64(w), 8);
}

static uint64_t random_linear(struct world *w)
{
    struct random *r = &w->random;
    uint64_t offset = random_one_in(r, 3) ? 4096 - random_below(r, 70) : random_below(r, 4096);
    offset &= 0xfff;
    if (w->mode == NONE)
        return random_one_in(r, 4) ? random_next(r) & UINT32_MAX : random_page(r) % (4 * MIB) + offset;
    if (w->mode == BITS32)
        return (uint64_t)random_index(r, 1024) << 22 | (uint64_t)random_index(r, 1024) << 12 | offset;
    uint64_t linear = (uint64_t)random_index(r, 512) << 21 | (uint64_t)random_index(r, 512) << 12 | offset;
    if (w->mode == PAE)
        return linear | (uint64_t)random_index(r, 4) << 30;
    linear |= (uint64_t)random_index(r, 512) << 30 | (uint64_t)random_index(r, 512) << 39;
    if (w->mode == LEVEL5)
        linear |= (uint64_t)random_index(r, 512) << 48;
    linear = (uint64_t)bits_sign_extend(linear, w->mode == LEVEL5 ? 57 : 48);
    if (random_one_in(r, 50))
        linear ^= UINT64_C(1) << (47 + random_below(r, 17));
    return linear;
}

/// A CR3 that the guest loads, in both walkers; PDPTEs before it where the mode has them.
static void load_control(struct world *w, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    uint64_t cr3 = page_pool[random_below(&w->random, TABLE_PAGES)];
    if (w->mode != NONE)
        cr3 |= random_next(&w->random) & 0x18;
    if (w->mode == PAE) {
        cr3 = page_pool[random_below(&w->random, 10)] | random_below(&w->random, 128) << 5;
        for (;;) {
            // Where the walkers will read them: with A20 off an odd megabyte's writes would never be seen.
            uint64_t table = w->naive.a20 ? cr3 : cr3 & ~BIT(20);
            for (unsigned i = 0; i < 4; i++)
                poke(w, table + 8 * i, random_pdpte(w), 8);
            uint64_t before[4];
            memcpy(before, w->mmu->pdpte, sizeof before);
            bool good = naive_load_pdptes(&w->naive, cr3);
            assert_int_equal(mmu_load_pdptes(w->mmu, cr3), good);
            if (good)
                break;
            assert_memory_equal(before, w->mmu->pdpte, sizeof before);
        }
    }
    w->naive.cr3 = cr3;
    mmu_set_control(w->mmu, cr0, cr3, cr4, efer, true);
}

static void random_control(struct world *w)
{
    struct random *r = &w->random;
    static const unsigned physical_bits[] = {36, 39, 40, 46, 52};
    struct naive *n = &w->naive;
    w->mode = (enum mode)random_below(r, MODES + 2) % MODES;
    bool a20 = !random_one_in(r, 5);
    *n = (struct naive){
        .paging = w->mode != NONE,
        .write_protect = random_one_in(r, 2),
        .pse = !random_one_in(r, 4),
        .pae = w->mode >= PAE,
        .pge = random_one_in(r, 2),
        .la57 = w->mode == LEVEL5,
        .smep = random_one_in(r, 2),
        .smap = random_one_in(r, 2),
        .long_mode = w->mode >= LEVEL4,
        .execute_disable = !random_one_in(r, 3),
        .gigabyte_pages = !random_one_in(r, 4),
        .pse36 = !random_one_in(r, 4),
        .physical_bits = physical_bits[random_below(r, ARRAY_SIZE(physical_bits))],
        .a20 = a20,
        .read = naive_read,
        .opaque = w,
    };
    // Bits outside mmu_set_control have no flush of their own; a new CPU model means a new mmu.
    if (w->mmu->physical_bits != n->physical_bits || w->mmu->no_1g_pages == n->gigabyte_pages ||
        w->mmu->no_pse36 == n->pse36) {
        mmu_destroy(w->mmu);
        mmu_init(w->mmu, &w->space, n->physical_bits, NULL);
        w->mmu->no_1g_pages = !n->gigabyte_pages;
        w->mmu->no_pse36 = !n->pse36;
    }
    mmu_set_a20(w->mmu, a20);
    for (unsigned i = 0; i < 2500; i++)
        random_table_entry(w);
    uint64_t cr0 = 1 | (n->paging ? BIT(31) : 0) | (n->write_protect ? BIT(16) : 0);
    uint64_t cr4 = (n->pse ? BIT(4) : 0) | (n->pae ? BIT(5) : 0) | (n->pge ? BIT(7) : 0) | (n->la57 ? BIT(12) : 0) |
                   (n->smep ? BIT(20) : 0) | (n->smap ? BIT(21) : 0);
    uint64_t efer = (n->long_mode ? BIT(10) | BIT(8) : 0) | (n->execute_disable ? BIT(11) : 0);
    load_control(w, cr0, cr4, efer);
    mmu_flush_all(w->mmu); // the tables above changed without an invalidation
}

static struct naive_access naive_kind(enum mmu_mode mode, enum mmu_access kind)
{
    return (struct naive_access){.user = mode == MMU_USER,
                                 .write = kind == MMU_WRITE,
                                 .fetch = kind == MMU_EXECUTE,
                                 .explicit_with_ac = mode == MMU_KERNEL_AC};
}

/// What a use of the translation does to the tables; true when something changed.
static bool apply(struct world *w, const struct naive_result *result)
{
    bool changed = false;
    for (unsigned i = 0; i < result->count; i++) {
        uint64_t offset;
        bool writable;
        if (!shadow_offset(result->used[i].physical, &offset, &writable) || !writable)
            continue;
        uint8_t old = w->shadow[offset];
        w->shadow[offset] |= (uint8_t)result->used[i].set_bits;
        changed |= old != w->shadow[offset];
    }
    return changed;
}

/// True when a use of the translation would find nothing left to set. In ROM, bits never get set.
static bool bits_are_set(const struct naive_result *result)
{
    for (unsigned i = 0; i < result->count; i++)
        if ((result->used[i].set_bits & 0x40) && !(result->used[i].value & 0x40))
            return false;
    return true;
}

static bool uses_device(const struct naive_result *result)
{
    for (unsigned i = 0; i < result->count; i++)
        if (align_down(result->used[i].physical, PAGE_SIZE) == DEVICE_START)
            return true;
    return false;
}

static const uint8_t *host_of(struct world *w, uint64_t physical, bool write)
{
    uint64_t offset;
    bool writable;
    if (!shadow_offset(physical, &offset, &writable) || (write && !writable))
        return NULL;
    return w->memory.host + offset;
}

static void expect_fault(const struct naive_result *expected, uint64_t linear, const struct mmu_fault *fault)
{
    if (expected->outcome == NAIVE_NOT_CANONICAL) {
        assert_int_equal(fault->kind, MMU_NON_CANONICAL);
        return;
    }
    assert_int_equal(fault->kind, MMU_PAGE_FAULT);
    assert_int_equal(fault->error_code, expected->error_code);
    assert_true(fault->linear == linear);
}

static void expect_piece(struct world *w, const struct naive_result *expected, enum mmu_access kind, uint32_t size,
                         const struct mmu_piece *piece, bool told)
{
    assert_true(!told || piece->physical == expected->physical);
    assert_int_equal(piece->size, size);
    assert_ptr_equal(piece->host, host_of(w, expected->physical, kind == MMU_WRITE));
}

static void check_entries(struct world *w, const struct naive_result *result)
{
    for (unsigned i = 0; i < result->count; i++) {
        uint64_t offset;
        bool writable;
        if (shadow_offset(result->used[i].physical, &offset, &writable))
            assert_memory_equal(w->memory.host + offset, w->shadow + offset, result->used[i].size);
    }
}

/// A hit must be allowed by a walk now, lead to the same byte, and need no A or D bit. (A page whose leaf lies in
/// ROM never gets its Dirty bit, so it never gets a write entry.)
static void check_hit(struct world *w, enum mmu_mode mode, enum mmu_access kind, uint64_t linear)
{
    const uint8_t *host = tlb_lookup(w->mmu, mode, kind, linear, 1);
    if (!host)
        return;
    w->hits++;
    struct naive_result now = naive_translate(&w->naive, naive_kind(mode, kind), linear);
    assert_int_equal(now.outcome, NAIVE_TRANSLATED);
    assert_ptr_equal(host, host_of(w, now.physical, kind == MMU_WRITE));
    assert_true(kind != MMU_WRITE || bits_are_set(&now));
    if (!uses_device(&now)) // a walk without side effects cannot look at a device
        assert_true(mmu_paranoid_check(w->mmu, mode, kind, linear, host));
}

/// The access by what executors call behind a miss. *told: the pieces' physical addresses are.
static bool access_missed(struct world *w, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size,
                          struct mmu_handle *handle, struct mmu_fault *fault, bool *told)
{
    uint64_t walks = w->mmu->fill_count, second = (linear + size - 1) & PAGE_MASK;
    unsigned low_size = (unsigned)(second - linear);
    uint8_t *host[2];
    bool good;
    *told = !((linear ^ second) & PAGE_MASK) ||
            !tlb_lookup_two(w->mmu, mode, kind, linear, low_size, second, size - low_size, host);
    good = mmu_access_missed(w->mmu, mode, kind, linear, size, handle, fault);
    if (!*told) {
        w->known++;
        assert_true(good && w->mmu->fill_count == walks);
    }
    return good;
}

static void check_access(struct world *w, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size)
{
    struct naive_access how = naive_kind(mode, kind);
    uint64_t last = linear + size - 1, second = last & PAGE_MASK;
    bool crosses = second != (linear & PAGE_MASK);
    unsigned low_size = crosses ? (unsigned)(second - linear) : size;
    if (w->mode < LEVEL4)
        second &= UINT32_MAX;
    struct naive_result low = naive_translate(&w->naive, how, linear), high = {0};
    if (crosses)
        high = naive_translate(&w->naive, how, second);

    struct mmu_handle handle;
    struct mmu_fault fault = {0};
    bool told = true, good;
    if (w->accesses++ & 1)
        good = access_missed(w, mode, kind, linear, size, &handle, &fault, &told);
    else
        good = mmu_access(w->mmu, mode, kind, linear, size, &handle, &fault);
    if (crosses && high.outcome == NAIVE_NOT_CANONICAL) {
        assert_false(good);
        assert_int_equal(fault.kind, MMU_NON_CANONICAL);
    } else if (low.outcome != NAIVE_TRANSLATED) {
        assert_false(good);
        expect_fault(&low, linear, &fault);
    } else if (crosses && high.outcome != NAIVE_TRANSLATED) {
        assert_false(good);
        expect_fault(&high, second, &fault);
        if (kind != MMU_WRITE)
            apply(w, &low);
    } else {
        assert_true(good);
        assert_int_equal(handle.crosses, crosses);
        expect_piece(w, &low, kind, low_size, &handle.piece[0], told);
        apply(w, &low);
        if (crosses) {
            expect_piece(w, &high, kind, size - low_size, &handle.piece[1], told);
            apply(w, &high);
        }
    }
    w->translated += good;
    w->faults += !good;
    check_entries(w, &low);
    check_entries(w, &high);
    check_hit(w, mode, kind, linear);
    uint64_t physical;
    bool there = mmu_debug_translate(w->mmu, linear, &physical);
    if (low.outcome == NAIVE_TRANSLATED && !uses_device(&low))
        assert_true(there && physical == low.physical);
}

/// Changes entries as a guest does, and invalidates as it must.
static void edit_tables(struct world *w)
{
    for (unsigned i = 0; i < 40; i++)
        random_table_entry(w);
    struct mmu *mmu = w->mmu;
    if (!w->naive.pge && random_one_in(&w->random, 2)) {
        load_control(w, mmu->cr0, mmu->cr4, mmu->efer); // drops all: nothing is global without CR4.PGE
        return;
    }
    uint64_t cr3 = mmu->cr3, cr4 = mmu->cr4;
    if (w->mode == PAE) // clearing PGE loads the PDPTEs again; they may have been edited
        load_control(w, mmu->cr0, cr4, mmu->efer), cr3 = mmu->cr3;
    mmu_set_control(mmu, mmu->cr0, cr3, cr4 ^ BIT(7), mmu->efer, false);
    mmu_set_control(mmu, mmu->cr0, cr3, cr4, mmu->efer, false);
}

static void random_tables_agree(void **state)
{
    struct world w;
    world_create(&w, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        random_control(&w);
        uint64_t recent[32] = {0};
        for (unsigned step = 0; step < STEPS; step++) {
            if (random_one_in(&w.random, 60))
                edit_tables(&w);
            if (random_one_in(&w.random, 20))
                mmu_flush_page(w.mmu, recent[random_below(&w.random, 32)]);
            enum mmu_mode mode = (enum mmu_mode)random_below(&w.random, MMU_MODES);
            enum mmu_access kind = (enum mmu_access)random_below(&w.random, MMU_ACCESS_KINDS);
            uint64_t linear = random_one_in(&w.random, 3) ? recent[random_below(&w.random, 32)] : random_linear(&w);
            recent[step % 32] = linear;
            check_hit(&w, mode, kind, linear);
            check_access(&w, mode, kind, linear, 1 + (unsigned)random_below(&w.random, 64));
        }
        assert_memory_equal(w.memory.host, w.shadow, w.memory.size);
    }
    print_message("%lu accesses: %lu translated, %lu faults; %lu hits checked; %lu on two known pages\n", w.accesses,
                  w.translated, w.faults, w.hits, w.known);
    assert_true(w.accesses >= 200000);
    assert_true(w.translated >= w.accesses / 10 && w.faults >= w.accesses / 10);
    assert_true(w.hits >= 20000);
    assert_true(w.known >= 100);
    world_destroy(&w);
}

/// Nanoseconds of a walk and fill: 4-level tables in RAM, pages in random order, each access misses. Printed only.
static void bench_walk(void **state)
{
    struct world w;
    world_create(&w, 2);
    enum { PAGES = 400 };
    uint64_t pml4 = 0x1000, pdpt = 0x2000, directory = 0x3000, table = 0x4000;
    poke(&w, pml4, pdpt | 0x63, 8);
    poke(&w, pdpt, directory | 0x63, 8);
    poke(&w, directory, table | 0x63, 8);
    for (unsigned i = 0; i < PAGES; i++)
        poke(&w, table + 8 * i, ((uint64_t)(0x10 + (i * 37) % PAGES) << 12) % (MIB / 2) | 0x63, 8);
    mmu_set_control(w.mmu, BIT(31) | 1, pml4, BIT(5), BIT(10) | BIT(8), true);
    enum { TURNS = 2000 };
    uint64_t walk_ns = 0, reload_ns = 0;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        uint64_t begin = host_monotonic_ns();
        mmu_set_control(w.mmu, BIT(31) | 1, pml4, BIT(5), BIT(10) | BIT(8), true);
        uint64_t middle = host_monotonic_ns();
        for (unsigned i = 0; i < PAGES; i++) {
            struct mmu_handle handle;
            struct mmu_fault fault;
            mmu_access(w.mmu, MMU_KERNEL, MMU_READ, (uint64_t)(i * 77 % PAGES) << 12, 8, &handle, &fault);
        }
        walk_ns += host_monotonic_ns() - middle;
        reload_ns += middle - begin;
    }
    assert_true(w.mmu->fill_count == (uint64_t)PAGES * TURNS);
    print_message("walk and fill %.1f ns; CR3 write with %d entries %.0f ns\n", (double)walk_ns / PAGES / TURNS, PAGES,
                  (double)reload_ns / TURNS);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_tables_agree),
        cmocka_unit_test(bench_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
