// What the soft TLB keeps and drops: CR3 writes, global entries, control bits, PCIDs, INVLPG and INVPCID, large pages,
// and the epochs by which jump caches know what they may still believe.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_board.h"
#include "support_random.h"

static void cr3_writes_keep_global_pages(void **state)
{
    struct board *b = board_create();
    uint64_t global = UINT64_C(0xffff880000000000), local = 0x405000;
    board_long_mode(b, CR4_PGE);
    board_map(b, global, 0x1000, P | RW | G | D);
    board_map(b, local, 0x2000, P | RW | D);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned kind = 0; kind < MMU_ACCESS_KINDS; kind++)
            assert_true(board_access(b, (enum mmu_access)kind, global) &&
                        board_access(b, (enum mmu_access)kind, local));
        unsigned flushes = b->flushes;
        uint64_t cr4 = CR4_PAE | CR4_PGE;
        if (round == 0)
            mmu_set_control(b->mmu, CR0_ON, b->cr3, cr4, EFER_LONG, true);
        else if (round == 1)
            mmu_set_control(b->mmu, CR0_ON, b->cr3, cr4 & ~CR4_PGE, EFER_LONG, false);
        else
            mmu_set_control(b->mmu, CR0_ON, b->cr3, cr4 & ~CR4_PGE, EFER_LONG, true); // G means nothing now
        for (unsigned kind = 0; kind < MMU_ACCESS_KINDS; kind++) {
            assert_int_equal(board_cached(b, (enum mmu_access)kind, global), round == 0);
            assert_false(board_cached(b, (enum mmu_access)kind, local));
        }
        assert_true(b->flushes > flushes);
    }
    // A local entry in a slot where a global one was is dropped, and the other way round kept.
    mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE | CR4_PGE, EFER_LONG, false);
    board_map(b, global + TLB_ENTRIES * PAGE_SIZE, 0x3000, P);
    assert_true(board_access(b, MMU_READ, global));
    assert_true(board_access(b, MMU_READ, global + TLB_ENTRIES * PAGE_SIZE));
    mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE | CR4_PGE, EFER_LONG, true);
    assert_false(board_cached(b, MMU_READ, global + TLB_ENTRIES * PAGE_SIZE));
    assert_true(board_access(b, MMU_READ, global + TLB_ENTRIES * PAGE_SIZE));
    assert_true(board_access(b, MMU_READ, global));
    mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE | CR4_PGE, EFER_LONG, true);
    assert_true(board_cached(b, MMU_READ, global));
    mmu_flush_page(b->mmu, global + 5);
    assert_false(board_cached(b, MMU_READ, global));
    board_destroy(b);
}

static void control_bits_drop_what_they_decide(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, 0);
    board_map(b, 0x1000, 0x1000, P | RW | US | D);
    static const struct {
        uint64_t cr0, cr4, efer;
        bool dropped;
    } changes[] = {
        {.cr0 = BIT(16), .dropped = true},
        {.cr4 = CR4_SMAP, .dropped = true},
        {.cr4 = BIT(20), .dropped = true},
        {.cr4 = CR4_PSE, .dropped = true},
        {.efer = BIT(11), .dropped = true},
        {.cr4 = BIT(9)},
        {.cr0 = BIT(3)},
        {.efer = BIT(0)},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        assert_true(board_access(b, MMU_READ, 0x1000));
        mmu_set_control(b->mmu, CR0_ON ^ changes[i].cr0, b->cr3, CR4_PAE ^ changes[i].cr4, EFER_LONG ^ changes[i].efer,
                        false);
        assert_int_equal(board_cached(b, MMU_READ, 0x1000), !changes[i].dropped);
        mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE, EFER_LONG, false);
    }
    board_destroy(b);
}

#define KEEP BIT(63)

static void load_cr3(struct board *b, uint64_t cr3)
{
    mmu_set_control(b->mmu, CR0_ON, cr3, CR4_PAE | CR4_PGE | CR4_PCIDE, EFER_LONG, true);
}

/// A local page, a global one, and a second local one in a large page.
#define LOCAL UINT64_C(0x1000)
#define LARGE UINT64_C(0x40000000)
#define GLOBAL UINT64_C(0xffff880000000000)
#define GLOBAL_USER UINT64_C(0x5000)
#define LOW UINT64_C(0x7000) // supervisor
static struct board *pcid_board(void)
{
    struct board *b = board_create();
    board_long_mode(b, CR4_PGE | CR4_PCIDE);
    board_map(b, LOCAL, 0x1000, P | RW | US | D);
    board_map(b, GLOBAL, 0x2000, P | RW | G | D);
    *board_table_entry(b, LARGE, 21) = 0 | P | RW | PS | D;
    return b;
}

static void touch(struct board *b)
{
    for (unsigned kind = 0; kind < MMU_ACCESS_KINDS; kind++) {
        assert_true(board_access(b, (enum mmu_access)kind, LOCAL) && board_access(b, (enum mmu_access)kind, GLOBAL) &&
                    board_access(b, (enum mmu_access)kind, LARGE + 0x3000));
    }
}

static void expect_cached(struct board *b, bool local, bool large, bool global)
{
    for (unsigned kind = 0; kind < MMU_ACCESS_KINDS; kind++) {
        assert_int_equal(board_cached(b, (enum mmu_access)kind, LOCAL), local);
        assert_int_equal(board_cached(b, (enum mmu_access)kind, LARGE + 0x3000), large);
        assert_int_equal(board_cached(b, (enum mmu_access)kind, GLOBAL), global);
    }
}

static void pcid_entries_come_back(void **state)
{
    struct board *b = pcid_board();
    load_cr3(b, b->cr3 | 1);
    touch(b);
    load_cr3(b, b->cr3 | 1 | KEEP);
    assert_true(b->mmu->cr3 == (b->cr3 | 1)); // bit 63 is not kept
    expect_cached(b, true, true, true);
    load_cr3(b, b->cr3 | 2 | KEEP);
    expect_cached(b, false, false, true);
    load_cr3(b, b->cr3 | 1 | KEEP);
    expect_cached(b, true, true, true);
    load_cr3(b, b->cr3 | 2);
    touch(b);
    load_cr3(b, b->cr3 | 1); // without bit 63 the new PCID's are dropped, and only those
    expect_cached(b, false, false, true);
    load_cr3(b, b->cr3 | 2 | KEEP);
    expect_cached(b, true, true, true);
    load_cr3(b, b->cr3 | 2);
    expect_cached(b, false, false, true);
    // What decides about rights, and CR4.PGE, drops those that wait, too.
    touch(b);
    load_cr3(b, b->cr3 | 1);
    mmu_set_control(b->mmu, CR0_ON, b->cr3 | 1, CR4_PAE | CR4_PCIDE, EFER_LONG, false);
    load_cr3(b, b->cr3 | 2 | KEEP);
    expect_cached(b, false, false, false);
    board_destroy(b);
}

static void nine_spaces_are_one_too_many(void **state)
{
    struct board *b = pcid_board();
    for (unsigned pcid = 1; pcid <= MMU_SPACES + 2; pcid++) {
        load_cr3(b, b->cr3 | pcid);
        touch(b);
    }
    // The last runs, MMU_SPACES wait; the first two (PCID 0 had nothing) had to go.
    load_cr3(b, b->cr3 | 1 | KEEP);
    expect_cached(b, false, false, true);
    for (unsigned pcid = 4; pcid <= MMU_SPACES + 2; pcid++) {
        load_cr3(b, b->cr3 | pcid | KEEP);
        expect_cached(b, true, true, true);
    }
    board_destroy(b);
}

static void invpcid_drops_what_its_type_says(void **state)
{
    static const struct {
        unsigned type, pcid;
        uint64_t linear;
        bool local[2], large[2], global; // of PCID 1 and 2
    } rows[] = {
        {0, 1, LOCAL + 5, {false, true}, {true, true}, true},
        {0, 2, LOCAL + 5, {true, false}, {true, true}, true},
        {0, 1, LARGE + 0x1fffff, {true, true}, {false, true}, true},
        {0, 2, LARGE + 0x1fffff, {true, true}, {true, false}, true},
        {0, 3, LOCAL, {true, true}, {true, true}, true},
        {1, 1, 0, {false, true}, {false, true}, true},
        {1, 2, 0, {true, false}, {true, false}, true},
        {1, 3, 0, {true, true}, {true, true}, true},
        {2, 0, 0, {false, false}, {false, false}, false},
        {3, 0, 0, {false, false}, {false, false}, true},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct board *b = pcid_board();
        load_cr3(b, b->cr3 | 1);
        touch(b);
        load_cr3(b, b->cr3 | 2);
        touch(b);
        mmu_invalidate_pcid(b->mmu, rows[i].type, (uint16_t)rows[i].pcid, rows[i].linear);
        expect_cached(b, rows[i].local[1], rows[i].large[1], rows[i].global);
        load_cr3(b, b->cr3 | 1 | KEEP);
        expect_cached(b, rows[i].local[0], rows[i].large[0], rows[i].global);
        load_cr3(b, b->cr3 | 2 | KEEP);
        expect_cached(b, rows[i].local[1], rows[i].large[1], rows[i].global);
        board_destroy(b);
    }
}

/// INVLPG knows the present PCID and global entries.
static void invlpg_leaves_other_pcids_alone(void **state)
{
    struct board *b = pcid_board();
    load_cr3(b, b->cr3 | 1);
    touch(b);
    load_cr3(b, b->cr3 | 2);
    touch(b);
    mmu_flush_page(b->mmu, LOCAL);
    mmu_flush_page(b->mmu, GLOBAL);
    expect_cached(b, false, true, false);
    load_cr3(b, b->cr3 | 1 | KEEP);
    expect_cached(b, true, true, false);
    board_destroy(b);
}

/// While a space waits a page may get code, or the map may change.
static void waiting_entries_are_not_believed_blindly(void **state)
{
    struct board *b = pcid_board();
    load_cr3(b, b->cr3 | 1);
    touch(b);
    load_cr3(b, b->cr3 | 2);
    b->memory.page_flags[1] = PAGE_HAS_CODE;
    mmu_protect_code_page(b->mmu, 1);
    load_cr3(b, b->cr3 | 1 | KEEP);
    assert_true(board_cached(b, MMU_READ, LOCAL) && !board_cached(b, MMU_WRITE, LOCAL));
    assert_true(board_cached(b, MMU_WRITE, LARGE + 0x3000));
    load_cr3(b, b->cr3 | 2 | KEEP);
    address_space_update(&b->space, b->rom, ROM_START, false, RANGE_MEMORY);
    mmu_poll(b->mmu);
    load_cr3(b, b->cr3 | 1 | KEEP);
    expect_cached(b, false, false, false);
    board_destroy(b);
}

static void fetch(struct board *b, enum mmu_mode mode, uint64_t linear)
{
    uint64_t backing;
    struct mmu_fault fault;
    assert_true(mmu_fetch_page(b->mmu, mode, linear, &backing, &fault));
}

/// What a jump cache may believe: supervisor code in global pages always, user code when its PCID comes back.
static void fetch_epochs(void **state)
{
    struct board *b = pcid_board();
    const uint32_t *epoch = b->mmu->fetch_epoch;
    board_map(b, LOCAL, 0x1000, P | US);
    board_map(b, GLOBAL_USER, 0x3000, P | US | G);
    board_map(b, LOW, 0x4000, P | G);
    load_cr3(b, b->cr3 | 1);
    fetch(b, MMU_KERNEL, GLOBAL);
    fetch(b, MMU_USER, LOCAL);
    uint32_t supervisor = epoch[0], user = epoch[1];
    load_cr3(b, b->cr3 | 2);
    assert_true(epoch[0] == supervisor && epoch[1] != user);
    load_cr3(b, b->cr3 | 1 | KEEP);
    assert_true(epoch[0] == supervisor && epoch[1] == user);
    mmu_flush_page(b->mmu, 0x77000); // nobody fetched there
    mmu_flush_page(b->mmu, GLOBAL + 0x5000);
    assert_true(epoch[0] == supervisor && epoch[1] == user);
    load_cr3(b, b->cr3 | 1);
    assert_true(epoch[0] == supervisor && epoch[1] != user);
    // A page that was fetched, and a global one for those who wait.
    user = epoch[1];
    mmu_flush_page(b->mmu, LOCAL);
    assert_true(epoch[1] != user);
    fetch(b, MMU_KERNEL, GLOBAL);
    user = epoch[1], supervisor = epoch[0];
    load_cr3(b, b->cr3 | 2);
    mmu_flush_page(b->mmu, GLOBAL + 12);
    assert_true(epoch[0] != supervisor);
    load_cr3(b, b->cr3 | 1 | KEEP);
    assert_true(epoch[1] == user); // user code was not there
    fetch(b, MMU_USER, LOCAL);
    fetch(b, MMU_USER, GLOBAL_USER);
    user = epoch[1], supervisor = epoch[0];
    load_cr3(b, b->cr3 | 2);
    mmu_flush_page(b->mmu, GLOBAL_USER);
    assert_true(epoch[0] == supervisor);
    load_cr3(b, b->cr3 | 1 | KEEP);
    assert_true(epoch[1] != user);
    // Supervisor code in the lower half, then none.
    fetch(b, MMU_KERNEL, LOW);
    supervisor = epoch[0];
    mmu_flush_page(b->mmu, LOW + 1);
    assert_true(epoch[0] != supervisor);
    // Supervisor code in a local page goes with its space.
    fetch(b, MMU_KERNEL, LARGE);
    supervisor = epoch[0];
    load_cr3(b, b->cr3 | 2 | KEEP);
    assert_true(epoch[0] != supervisor);
    // INVPCID for another PCID.
    load_cr3(b, b->cr3 | 1 | KEEP);
    fetch(b, MMU_USER, LOCAL);
    user = epoch[1];
    load_cr3(b, b->cr3 | 2 | KEEP);
    mmu_invalidate_pcid(b->mmu, 0, 1, LOCAL);
    load_cr3(b, b->cr3 | 1 | KEEP);
    assert_true(epoch[1] != user);
    // A large page, at any of its addresses, when code was fetched anywhere in it; not when only data is there.
    for (unsigned i = 0; i < 4; i++) {
        static const unsigned shifts[] = {21, 21, 30, 30};
        uint64_t page = UINT64_C(0x100000000000) + i * BIT(39), size = BIT(shifts[i]);
        *board_table_entry(b, page, shifts[i]) = P | RW | PS | US;
        assert_true(board_access(b, MMU_READ, page));
        if (i & 1)
            fetch(b, MMU_USER, page + 0x7000);
        supervisor = epoch[0], user = epoch[1];
        mmu_flush_page(b->mmu, page + size - 5);
        assert_int_equal(epoch[1] != user, i & 1);
        assert_int_equal(epoch[0], supervisor);
    }
    // The numbers begin anew: said once, and never 0 or one that was in use.
    b->mmu->last_epoch = UINT32_MAX - 1;
    b->mmu->epochs_restarted = false;
    for (unsigned i = 0; i < 3; i++)
        mmu_flush_all(b->mmu);
    assert_true(b->mmu->epochs_restarted && epoch[0] && epoch[1] && epoch[0] != epoch[1] && epoch[0] < 10);
    board_destroy(b);
}

/// More large pages than the list of ranges has places: INVLPG anywhere inside one drops all of its entries.
static void invlpg_drops_large_pages(void **state)
{
    static const unsigned shifts[] = {21, 30};
    for (unsigned s = 0; s < ARRAY_SIZE(shifts); s++) {
        struct board *b = board_create();
        struct random random = {.state = 6 + s};
        uint64_t size = BIT(shifts[s]), linear[40];
        unsigned count = s ? 20 : 40;
        board_long_mode(b, CR4_PGE);
        for (unsigned i = 0; i < count; i++) {
            linear[i] = (uint64_t)bits_sign_extend(random_next(&random) & ~(size - 1), 48);
            *board_table_entry(b, linear[i], shifts[s]) = P | RW | D | PS | (i % 2 ? G : 0);
        }
        for (unsigned step = 0; step < 400; step++) {
            uint64_t page = linear[random_below(&random, count)], inside[6];
            for (unsigned i = 0; i < 6; i++) {
                inside[i] = page + random_below(&random, RAM_SIZE < size ? RAM_SIZE : size);
                assert_true(board_access(b, (enum mmu_access)(i % MMU_ACCESS_KINDS), inside[i]));
                assert_true(board_cached(b, (enum mmu_access)(i % MMU_ACCESS_KINDS), inside[i]));
            }
            if (random_one_in(&random, 5))
                mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE | CR4_PGE, EFER_LONG, true);
            mmu_flush_page(b->mmu, page + random_below(&random, size));
            for (unsigned i = 0; i < 6; i++)
                assert_false(board_cached(b, (enum mmu_access)(i % MMU_ACCESS_KINDS), inside[i]));
        }
        board_destroy(b);
    }
}

/// Ranges of small and large pages that were put together: the larger size decides what INVLPG reaches.
static void invlpg_knows_the_larger_size(void **state)
{
    struct board *b = board_create();
    uint64_t base = UINT64_C(0x100000000000), huge = base + BIT(39);
    board_long_mode(b, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(b->mmu->large); i++) {
        *board_table_entry(b, base + i * BIT(30), 21) = P | PS;
        assert_true(board_access(b, MMU_READ, base + i * BIT(30)));
    }
    *board_table_entry(b, huge, 30) = P | PS;
    assert_true(board_access(b, MMU_READ, huge + 0x5000) && board_cached(b, MMU_READ, huge + 0x5000));
    mmu_flush_page(b->mmu, huge + BIT(30) - 1);
    assert_false(board_cached(b, MMU_READ, huge + 0x5000));
    board_destroy(b);
}

static void invlpg_spares_other_pages(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, 0);
    *board_table_entry(b, 0x40000000, 21) = P | PS;
    board_map(b, 0x80005000, 0x1000, P);
    board_map(b, 0x80006000, 0x1000, P);
    assert_true(board_access(b, MMU_READ, 0x40000000) && board_access(b, MMU_READ, 0x80005000) &&
                board_access(b, MMU_READ, 0x80006000));
    mmu_flush_page(b->mmu, 0x80006234);
    assert_true(board_cached(b, MMU_READ, 0x40000000) && board_cached(b, MMU_READ, 0x80005000));
    assert_false(board_cached(b, MMU_READ, 0x80006000));
    mmu_flush_page(b->mmu, 0x401fffff);
    assert_false(board_cached(b, MMU_READ, 0x40000000));
    assert_true(board_cached(b, MMU_READ, 0x80005000));
    board_destroy(b);
}
/// Reads by the entry for writing and by the one for reading lead to the same place, also while a page has moved and
/// nobody has told.
static void entries_of_a_page_agree(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, CR4_PGE);
    board_map(b, 0x1000, 0x1000, P | RW | D);
    assert_true(board_access(b, MMU_WRITE, 0x1000));
    assert_true(board_cached(b, MMU_READ, 0x1000) && board_cached(b, MMU_WRITE, 0x1000));
    assert_true(board_access(b, MMU_READ, 0x1000)); // walked anew: nothing has changed
    assert_true(board_cached(b, MMU_WRITE, 0x1000));
    board_map(b, 0x1000, 0x1000, P | RW | D | G);
    assert_true(board_access(b, MMU_READ, 0x1000)); // outlives the other now
    assert_false(board_cached(b, MMU_WRITE, 0x1000));
    assert_true(board_access(b, MMU_WRITE, 0x1000));
    board_map(b, 0x1000, 0x2000, P | RW | D | G);
    assert_true(board_access(b, MMU_READ, 0x1000));
    assert_true(board_cached(b, MMU_READ, 0x1000));
    assert_false(board_cached(b, MMU_WRITE, 0x1000));
    assert_true(board_access(b, MMU_WRITE, 0x1000));
    assert_ptr_equal(tlb_lookup(b->mmu, MMU_KERNEL, MMU_READ, 0x1000, 8),
                     tlb_lookup(b->mmu, MMU_KERNEL, MMU_WRITE, 0x1000, 8));
    board_destroy(b);
}

static void the_paranoid_check_sees_stale_entries(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, 0);
    board_map(b, 0x1000, 0x5000, P | RW);
    assert_true(board_access(b, MMU_READ, 0x1000) && board_access(b, MMU_WRITE, 0x1000));
    const uint8_t *host = b->memory.host + 0x5010;
    assert_true(mmu_paranoid_check(b->mmu, MMU_KERNEL, MMU_WRITE, 0x1010, host));
    board_map(b, 0x1000, 0x5000, P | RW);
    assert_false(mmu_paranoid_check(b->mmu, MMU_KERNEL, MMU_WRITE, 0x1010, host)); // not dirty
    assert_true(mmu_paranoid_check(b->mmu, MMU_KERNEL, MMU_READ, 0x1010, host));
    board_map(b, 0x1000, 0x5000, P | D);
    assert_false(mmu_paranoid_check(b->mmu, MMU_KERNEL, MMU_WRITE, 0x1010, host));
    board_map(b, 0x1000, 0x6000, P | RW | D);
    assert_false(mmu_paranoid_check(b->mmu, MMU_KERNEL, MMU_READ, 0x1010, host));
    board_map(b, 0x1000, 0x5000, 0);
    assert_false(mmu_paranoid_check(b->mmu, MMU_KERNEL, MMU_READ, 0x1010, host));
    board_destroy(b);
}
// Entries of a slot for reading and writing share the addend: pages that want the same slot, are mapped elsewhere and
// are watched for reads or writes never find each other's.
#define SHARERS 4u
static void entries_of_a_slot_lead_where_their_pages_are(void **state)
{
    struct board *b = board_create();
    struct random random = {20261121};
    uint64_t physical[SHARERS], hits = 0;
    board_long_mode(b, 0);
    for (unsigned i = 0; i < SHARERS; i++)
        board_map(b, 0x5000 + i * TLB_ENTRIES * PAGE_SIZE, physical[i] = 0x1000 * (i + 1), P | RW | D);
    for (unsigned round = 0; round < 4000; round++) {
        unsigned page = (unsigned)(random_next(&random) % SHARERS), what = (unsigned)(random_next(&random) % 16);
        uint64_t linear = 0x5000 + page * TLB_ENTRIES * PAGE_SIZE;
        if (what == 0) {
            physical[page] = 0x1000 * (1 + random_next(&random) % 16);
            board_map(b, linear, physical[page], P | RW | D);
            mmu_flush_page(b->mmu, linear);
        } else if (what == 1) {
            struct mmu_watch watch[MMU_WATCHES] = {{.page = linear, .kinds = (uint8_t)(random_next(&random) % 4)}};
            mmu_set_watches(b->mmu, watch);
        } else {
            board_access(b, what & 1 ? MMU_WRITE : MMU_READ, linear + what);
        }
        for (unsigned i = 0; i < 2 * SHARERS; i++) {
            uint64_t at = 0x5000 + i / 2 * TLB_ENTRIES * PAGE_SIZE;
            const void *host = tlb_lookup(b->mmu, MMU_KERNEL, i % 2 ? MMU_WRITE : MMU_READ, at, 8);
            if (host)
                assert_ptr_equal(host, b->memory.host + physical[i / 2]);
            hits += host != NULL;
        }
    }
    assert_true(hits > 4000);
    board_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_of_a_slot_lead_where_their_pages_are),
        cmocka_unit_test(cr3_writes_keep_global_pages),
        cmocka_unit_test(control_bits_drop_what_they_decide),
        cmocka_unit_test(pcid_entries_come_back),
        cmocka_unit_test(nine_spaces_are_one_too_many),
        cmocka_unit_test(invpcid_drops_what_its_type_says),
        cmocka_unit_test(invlpg_leaves_other_pcids_alone),
        cmocka_unit_test(waiting_entries_are_not_believed_blindly),
        cmocka_unit_test(fetch_epochs),
        cmocka_unit_test(invlpg_drops_large_pages),
        cmocka_unit_test(invlpg_knows_the_larger_size),
        cmocka_unit_test(invlpg_spares_other_pages),
        cmocka_unit_test(entries_of_a_page_agree),
        cmocka_unit_test(the_paranoid_check_sees_stale_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
