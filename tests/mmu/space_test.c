// PCIDs by random: several address spaces with tables of their own and shared global pages. Entries are edited and
// invalidated by any of the ways that the SDM says to be enough (vol. 3 sec. 4.10.4), in spaces that run and in those
// that wait. Each TLB hit must be what the naive walker finds now; so must whatever a jump cache would still believe.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_board.h"
#include "support_naive.h"
#include "support_random.h"

#define SPACES (MMU_SPACES + 3u)
#define STEPS 250000u
#define KEEP BIT(63)
#define NX BIT(63)
#define CR4_SMEP BIT(20)
#define CR0_WP BIT(16)

#define SMALL_BASE UINT64_C(0x7f0000000000) // small pages
#define LARGE_BASE UINT64_C(0x40000000)     // a large page, or small ones
#define GLOBAL_BASE UINT64_C(0xffff880000000000)
#define PAGES 6u
#define FAR 1024u // pages that share a TLB slot

struct fetched {
    uint64_t linear, backing;
    uint32_t epoch;
    bool user;
};

struct world {
    struct board *b;
    struct naive naive;
    struct random random;
    uint64_t top[SPACES];
    unsigned pcid; // that runs
    uint64_t cr0, cr4;
    struct fetched fetched[64];
    unsigned long accesses, hits, believed, returns;
};

static uint64_t naive_read(void *opaque, uint64_t physical, unsigned size)
{
    struct world *w = opaque;
    uint64_t value = 0;
    assert_true(physical + size <= RAM_SIZE);
    memcpy(&value, w->b->memory.host + physical, size);
    return value;
}

static unsigned below(struct world *w, unsigned limit)
{
    return (unsigned)random_below(&w->random, limit);
}

static uint64_t linear_of(uint64_t base, unsigned page)
{
    return base + ((page & 1 ? FAR : 0) + page) * PAGE_SIZE;
}

static uint64_t random_linear(struct world *w)
{
    static const uint64_t bases[] = {SMALL_BASE, LARGE_BASE, GLOBAL_BASE};
    return linear_of(bases[below(w, 3)], below(w, PAGES)) + below(w, PAGE_SIZE);
}

static uint64_t random_leaf(struct world *w)
{
    uint64_t leaf = (uint64_t)below(w, 64) * PAGE_SIZE;
    leaf |= random_next(&w->random) & (RW | US | A | D);
    leaf |= random_one_in(&w->random, 6) ? 0 : P;
    leaf |= random_one_in(&w->random, 5) ? NX : 0;
    return leaf;
}

static uint64_t *entry_in(struct world *w, unsigned space, uint64_t linear, unsigned shift)
{
    w->b->cr3 = w->top[space];
    return board_table_entry(w->b, linear, shift);
}

static void control(struct world *w, uint64_t cr3, bool cr3_written)
{
    w->naive.write_protect = w->cr0 & CR0_WP;
    w->naive.smep = w->cr4 & CR4_SMEP;
    w->naive.smap = w->cr4 & CR4_SMAP;
    w->naive.pge = w->cr4 & CR4_PGE;
    w->naive.cr3 = w->top[w->pcid];
    mmu_set_control(w->b->mmu, w->cr0, cr3, w->cr4, EFER_LONG, cr3_written);
}

static void run_space(struct world *w, unsigned pcid, bool keep)
{
    w->pcid = pcid;
    control(w, w->top[pcid] | pcid | (keep ? KEEP : 0), true);
    w->returns += keep;
}

static void change_bits(struct world *w, uint64_t cr0, uint64_t cr4)
{
    w->cr0 ^= cr0;
    w->cr4 ^= cr4;
    control(w, w->top[w->pcid] | w->pcid, false);
}

/// One of the ways to make an edit of a local entry known. `whole`: INVLPG of one address is not enough.
static void invalidate_local(struct world *w, unsigned space, uint64_t linear, bool whole)
{
    struct mmu *mmu = w->b->mmu;
    bool runs = space == w->pcid;
    switch (below(w, 8)) {
    case 0:
        mmu_invalidate_pcid(mmu, 2, 0, 0);
        return;
    case 1:
        mmu_invalidate_pcid(mmu, 3, 0, 0);
        return;
    case 2:
        mmu_invalidate_pcid(mmu, 1, (uint16_t)space, 0);
        return;
    case 3:
        run_space(w, space, false);
        return;
    case 4:
        change_bits(w, 0, CR4_PGE);
        change_bits(w, 0, CR4_PGE);
        return;
    default:
        if (whole)
            mmu_invalidate_pcid(mmu, 1, (uint16_t)space, 0);
        else if (runs && random_one_in(&w->random, 2))
            mmu_flush_page(mmu, linear);
        else
            mmu_invalidate_pcid(mmu, 0, (uint16_t)space, linear);
    }
}

static void edit_local(struct world *w)
{
    unsigned space = below(w, SPACES), page = below(w, PAGES);
    if (random_one_in(&w->random, 2)) {
        uint64_t linear = linear_of(SMALL_BASE, page);
        *entry_in(w, space, linear, 12) = random_leaf(w);
        invalidate_local(w, space, linear + below(w, PAGE_SIZE), false);
        return;
    }
    uint64_t linear = linear_of(LARGE_BASE, page), *directory = entry_in(w, space, linear, 21);
    bool was_large = *directory & PS;
    if (random_one_in(&w->random, 4)) {
        // Large, or a table: the new entries are small ones, so one INVLPG drops what was large.
        *directory =
            random_one_in(&w->random, 2) ? (random_leaf(w) & ~bits_mask(21)) | (random_leaf(w) & 0x67) | PS : 0;
        invalidate_local(w, space, was_large ? align_down(linear, BIT(21)) + below(w, 2 << 20) : linear, !was_large);
    } else if (!was_large) {
        *entry_in(w, space, linear, 12) = random_leaf(w);
        invalidate_local(w, space, linear, false);
    }
}

/// Global entries are the same in all spaces.
static void edit_global(struct world *w)
{
    uint64_t linear = linear_of(GLOBAL_BASE, below(w, PAGES)), leaf = random_leaf(w) | G | D; // dirty in every space
    for (unsigned i = 0; i < SPACES; i++)
        *entry_in(w, i, linear, 12) = leaf;
    switch (below(w, 4)) {
    case 0:
        mmu_invalidate_pcid(w->b->mmu, 2, 0, 0);
        break;
    case 1:
        change_bits(w, 0, CR4_PGE);
        change_bits(w, 0, CR4_PGE);
        break;
    default:
        mmu_flush_page(w->b->mmu, linear + below(w, PAGE_SIZE));
    }
}

static void change_code(struct world *w)
{
    unsigned page = below(w, 64);
    uint8_t *flags = &w->b->memory.page_flags[page];
    *flags ^= PAGE_HAS_CODE;
    if (*flags)
        mmu_protect_code_page(w->b->mmu, page);
}

static struct naive_result find(struct world *w, enum mmu_mode mode, enum mmu_access kind, uint64_t linear)
{
    struct naive_access how = {.user = mode == MMU_USER,
                               .write = kind == MMU_WRITE,
                               .fetch = kind == MMU_EXECUTE,
                               .explicit_with_ac = mode == MMU_KERNEL_AC};
    return naive_translate(&w->naive, how, linear);
}

static void check_hits(struct world *w, uint64_t linear)
{
    for (unsigned i = 0; i < MMU_MODES * MMU_ACCESS_KINDS; i++) {
        enum mmu_mode mode = (enum mmu_mode)(i / MMU_ACCESS_KINDS);
        enum mmu_access kind = (enum mmu_access)(i % MMU_ACCESS_KINDS);
        const uint8_t *host = tlb_lookup(w->b->mmu, mode, kind, linear, 1);
        if (!host)
            continue;
        struct naive_result now = find(w, mode, kind, linear);
        assert_int_equal(now.outcome, NAIVE_TRANSLATED);
        assert_ptr_equal(host, w->b->memory.host + now.physical);
        assert_true(kind != MMU_WRITE || (now.used[now.count - 1].value & D));
        assert_false(kind == MMU_WRITE && w->b->memory.page_flags[now.physical >> PAGE_SHIFT]);
        assert_true(mmu_paranoid_check(w->b->mmu, mode, kind, linear, host));
        w->hits++;
    }
}

static void access_one(struct world *w)
{
    enum mmu_mode mode = (enum mmu_mode)below(w, MMU_MODES);
    enum mmu_access kind = (enum mmu_access)below(w, MMU_ACCESS_KINDS);
    uint64_t linear = random_linear(w);
    struct mmu_handle handle;
    struct mmu_fault fault;
    check_hits(w, linear);
    struct naive_result expected = find(w, mode, kind, linear);
    bool good = mmu_access(w->b->mmu, mode, kind, linear, 1, &handle, &fault);
    assert_int_equal(good, expected.outcome == NAIVE_TRANSLATED);
    if (good) {
        assert_true(handle.piece[0].physical == expected.physical);
    } else {
        assert_int_equal(fault.error_code, expected.error_code);
        assert_true(fault.linear == linear);
    }
    w->accesses++;
}

/// As a jump cache does: looks up once, believes as long as the epoch stands.
static void fetch_one(struct world *w, unsigned step)
{
    struct fetched *f = &w->fetched[step % ARRAY_SIZE(w->fetched)];
    struct mmu_fault fault;
    f->user = random_one_in(&w->random, 2);
    f->linear = random_linear(w);
    f->epoch = 0;
    if (mmu_fetch_page(w->b->mmu, f->user ? MMU_USER : MMU_KERNEL, f->linear, &f->backing, &fault))
        f->epoch = w->b->mmu->fetch_epoch[f->user];
}

static void check_fetched(struct world *w)
{
    for (unsigned i = 0; i < ARRAY_SIZE(w->fetched); i++) {
        const struct fetched *f = &w->fetched[i];
        if (f->epoch != w->b->mmu->fetch_epoch[f->user])
            continue;
        struct naive_result now = find(w, f->user ? MMU_USER : MMU_KERNEL, MMU_EXECUTE, f->linear);
        assert_int_equal(now.outcome, NAIVE_TRANSLATED);
        assert_true(now.physical == f->backing);
        w->believed++;
    }
}

static void step(struct world *w, unsigned number)
{
    switch (below(w, 100)) {
    case 0:
    case 1:
        edit_local(w);
        break;
    case 2:
        edit_global(w);
        break;
    case 3:
        change_code(w);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        run_space(w, below(w, SPACES), !random_one_in(&w->random, 4));
        break;
    case 8:
        if (random_one_in(&w->random, 12))
            change_bits(w, random_one_in(&w->random, 3) ? CR0_WP : 0,
                        random_one_in(&w->random, 2) ? CR4_SMEP : CR4_SMAP);
        else if (random_one_in(&w->random, 6)) { // PCIDs off and on
            run_space(w, 0, false);
            change_bits(w, 0, CR4_PCIDE);
            change_bits(w, 0, CR4_PCIDE);
        }
        break;
    default:
        if (number % 8 == 0)
            fetch_one(w, number / 8);
        else
            access_one(w);
        return;
    }
    check_fetched(w);
}

static void random_spaces_agree(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->b = board_create();
    w->random.state = 11;
    w->naive = (struct naive){.paging = true,
                              .pae = true,
                              .long_mode = true,
                              .execute_disable = true,
                              .gigabyte_pages = true,
                              .physical_bits = 40,
                              .a20 = true,
                              .read = naive_read,
                              .opaque = w};
    w->cr0 = CR0_ON;
    w->cr4 = CR4_PAE | CR4_PGE | CR4_PCIDE;
    for (unsigned space = 0; space < SPACES; space++) {
        w->top[space] = board_new_table(w->b);
        for (unsigned page = 0; page < PAGES; page++) {
            *entry_in(w, space, linear_of(SMALL_BASE, page), 12) = random_leaf(w);
            *entry_in(w, space, linear_of(LARGE_BASE, page), 12) = random_leaf(w);
            *entry_in(w, space, linear_of(GLOBAL_BASE, page), 12) = (page * PAGE_SIZE) | P | RW | US | G | D;
        }
    }
    run_space(w, 0, false);
    for (unsigned i = 0; i < STEPS; i++)
        step(w, i);
    print_message("%lu accesses, %lu hits, %lu fetches believed, %lu switches that keep\n", w->accesses, w->hits,
                  w->believed, w->returns);
    assert_true(w->accesses > STEPS / 2 && w->hits > STEPS / 4 && w->believed > STEPS / 30 && w->returns > 1000);
    assert_true(w->b->mmu->space_count > 1000);
    board_destroy(w->b);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_spaces_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
