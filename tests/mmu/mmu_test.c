// The soft TLB and accesses through handles: what leads where, what stays cached, crossing accesses without partial
// stores, code pages, A20, map changes, large pages. Tables are built by hand; walk_test.c has the random ones.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_board.h"
#include "support_random.h"

static void shuffled_pages_lead_home(void **state)
{
    enum { PAGES = 1500 };
    struct board *b = board_create();
    struct random random = {.state = 4};
    unsigned order[PAGES];
    board_long_mode(b, 0);
    for (unsigned i = 0; i < PAGES; i++)
        order[i] = i;
    for (unsigned i = PAGES - 1; i > 0; i--) {
        unsigned j = (unsigned)random_below(&random, i + 1), t = order[i];
        order[i] = order[j], order[j] = t;
    }
    uint64_t first = UINT64_C(0xffff800000000000), second = UINT64_C(0x7f0000000000);
    for (unsigned i = 0; i < PAGES; i++) {
        *board_entry(b, (uint64_t)i * PAGE_SIZE + 8) = UINT64_C(0x1000000000) + i;
        board_map(b, first + (uint64_t)i * PAGE_SIZE, (uint64_t)order[i] * PAGE_SIZE, P | RW | A);
        board_map(b, second + (uint64_t)i * PAGE_SIZE, (uint64_t)order[i] * PAGE_SIZE, P | RW | A);
    }
    for (unsigned step = 0; step < 40000; step++) {
        unsigned i = (unsigned)random_below(&random, PAGES);
        uint64_t linear = (random_one_in(&random, 2) ? first : second) + (uint64_t)i * PAGE_SIZE, value;
        struct mmu_fault fault;
        assert_true(mmu_read(b->mmu, MMU_KERNEL, linear + 8, 8, &value, &fault));
        assert_int_equal(value, UINT64_C(0x1000000000) + order[i]);
        if (step % 4 == 0) { // seen at the other address too
            assert_true(mmu_write(b->mmu, MMU_KERNEL, linear + 16, 4, step, &fault));
            assert_true(mmu_read(b->mmu, MMU_KERNEL, (linear ^ first ^ second) + 16, 4, &value, &fault));
            assert_int_equal(value, step);
            assert_int_equal(*board_entry(b, (uint64_t)order[i] * PAGE_SIZE + 16), step);
        }
    }
    assert_true(b->mmu->fill_count > PAGES);
    board_destroy(b);
}

enum page_kind { PAGE_WRITABLE, PAGE_READ_ONLY, PAGE_MISSING, PAGE_DEVICE, PAGE_ROM, PAGE_HOLE, PAGE_CODE, PAGE_KINDS };

/// Maps a page of the kind; gives its bytes, NULL where there are none.
static uint8_t *map_kind(struct board *b, uint64_t linear, enum page_kind kind, uint64_t ram)
{
    b->memory.page_flags[ram >> PAGE_SHIFT] = kind == PAGE_CODE ? PAGE_HAS_CODE : 0;
    switch (kind) {
    case PAGE_WRITABLE:
    case PAGE_CODE:
        board_map(b, linear, ram, P | RW);
        return b->memory.host + ram;
    case PAGE_READ_ONLY:
        board_map(b, linear, ram, P);
        return b->memory.host + ram;
    case PAGE_DEVICE:
        board_map(b, linear, DEVICE_START, P | RW);
        return b->device;
    case PAGE_ROM:
        board_map(b, linear, ROM_START, P | RW);
        return b->memory.host + RAM_SIZE;
    case PAGE_HOLE:
        board_map(b, linear, HOLE_START, P | RW);
        return NULL;
    default:
        board_map(b, linear, 0, 0);
        return NULL;
    }
}

/// What bytes [offset, +size) over the two pages hold.
static void gather(uint8_t *const pages[2], unsigned offset, unsigned size, uint8_t *to)
{
    for (unsigned i = 0; i < size; i++) {
        const uint8_t *page = pages[(offset + i) / PAGE_SIZE];
        to[i] = page ? page[(offset + i) % PAGE_SIZE] : 0xff;
    }
}

static void store_through(struct board *b, const struct mmu_handle *handle, const uint8_t *data)
{
    uint64_t value = 0;
    if (handle->size > 8) {
        mmu_handle_store_bytes(b->mmu, handle, data);
        return;
    }
    memcpy(&value, data, handle->size);
    mmu_handle_store(b->mmu, handle, value);
}

static void load_through(struct board *b, const struct mmu_handle *handle, uint8_t *data)
{
    if (handle->size > 8) {
        mmu_handle_load_bytes(b->mmu, handle, data);
        return;
    }
    uint64_t value = mmu_handle_load(b->mmu, handle);
    memcpy(data, &value, handle->size);
}

static void check_crossing(struct board *b, const enum page_kind kinds[2], uint8_t *const pages[2], uint64_t linear,
                           unsigned offset, unsigned size, bool write, struct random *random)
{
    struct mmu_handle handle;
    struct mmu_fault fault = {0};
    uint8_t before[64], data[64], after[64];
    bool crosses = offset + size > PAGE_SIZE, good = true;
    uint64_t *leaf[2] = {board_table_entry(b, linear, 12), board_table_entry(b, linear + PAGE_SIZE, 12)};
    *leaf[0] &= ~(uint64_t)D, *leaf[1] &= ~(uint64_t)D;
    unsigned bad = 0;
    for (unsigned i = 0; i <= crosses && good; i++) {
        good = !(kinds[i] == PAGE_MISSING || (write && kinds[i] == PAGE_READ_ONLY));
        bad = i;
    }
    gather(pages, offset, size, before);
    for (unsigned i = 0; i < size; i++)
        data[i] = (uint8_t)random_next(random);
    b->code_calls = b->device_reads = b->device_writes = 0;
    assert_int_equal(
        mmu_access(b->mmu, MMU_KERNEL, write ? MMU_WRITE : MMU_READ, linear + offset, size, &handle, &fault), good);
    if (!good) {
        assert_int_equal(fault.kind, MMU_PAGE_FAULT);
        assert_true(fault.linear == (bad ? linear + PAGE_SIZE : linear + offset));
        assert_int_equal(fault.error_code, (kinds[bad] == PAGE_MISSING ? 0 : PF_PRESENT) | (write ? PF_WRITE : 0));
        assert_int_equal((*leaf[0] | *leaf[1]) & D, 0);
    } else if (write) {
        assert_true(*leaf[0] & D);
        assert_int_equal(!!(*leaf[1] & D), crosses);
        store_through(b, &handle, data);
        for (unsigned i = 0; i < size; i++) {
            enum page_kind kind = kinds[(offset + i) / PAGE_SIZE];
            if (kind != PAGE_ROM && kind != PAGE_HOLE)
                before[i] = data[i];
        }
    } else {
        load_through(b, &handle, data);
        assert_memory_equal(data, before, size);
    }
    gather(pages, offset, size, after);
    assert_memory_equal(after, before, size);
    if (good) {
        bool device = kinds[0] == PAGE_DEVICE || (crosses && kinds[1] == PAGE_DEVICE);
        bool code = kinds[0] == PAGE_CODE || (crosses && kinds[1] == PAGE_CODE);
        assert_int_equal(handle.crosses, crosses);
        assert_int_equal(handle.code, write && code);
        assert_int_equal(b->code_calls > 0, write && code);
        assert_int_equal(b->device_reads > 0, !write && device);
        assert_int_equal(b->device_writes > 0, write && device);
        assert_false(board_cached(b, MMU_WRITE, linear) && (kinds[0] != PAGE_WRITABLE || !(*leaf[0] & D)));
    } else {
        assert_int_equal(b->code_calls + b->device_reads + b->device_writes, 0);
    }
    mmu_flush_page(b->mmu, linear);
    mmu_flush_page(b->mmu, linear + PAGE_SIZE);
}

static void crossing_accesses_are_whole(void **state)
{
    static const unsigned sizes[] = {1, 2, 4, 8, 10, 16, 32, 64};
    struct board *b = board_create();
    struct random random = {.state = 5};
    uint64_t linear = UINT64_C(0x7fff12345000);
    board_long_mode(b, 0);
    for (unsigned i = 0; i < PAGE_SIZE; i++) {
        b->device[i] = (uint8_t)random_next(&random);
        b->memory.host[RAM_SIZE + i] = (uint8_t)random_next(&random);
    }
    for (unsigned first = 0; first < PAGE_KINDS; first++) {
        for (unsigned second = 0; second < PAGE_KINDS; second++) {
            enum page_kind kinds[2] = {(enum page_kind)first, (enum page_kind)second};
            uint8_t *pages[2] = {map_kind(b, linear, kinds[0], 0x5000),
                                 map_kind(b, linear + PAGE_SIZE, kinds[1], 0x3000)};
            for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
                for (unsigned offset = sizes[s] > 16 ? PAGE_SIZE - sizes[s] : 4081; offset < PAGE_SIZE; offset++)
                    for (unsigned write = 0; write < 2; write++)
                        check_crossing(b, kinds, pages, linear, offset, sizes[s], write, &random);
        }
    }
    board_destroy(b);
}

static void edges_of_the_linear_space(void **state)
{
    struct board *b = board_create();
    struct mmu_handle handle;
    struct mmu_fault fault;
    // No paging: 4 GiB wraps to 0.
    b->memory.host[0] = 0x34;
    assert_true(mmu_access(b->mmu, MMU_KERNEL, MMU_READ, 0xffffffff, 2, &handle, &fault));
    assert_true(handle.crosses && handle.piece[1].physical == 0);
    assert_int_equal(mmu_handle_load(b->mmu, &handle), 0x34ff);
    // Long mode: an access that leaves the canonical half faults before its first page is looked at.
    board_long_mode(b, 0);
    assert_false(mmu_access(b->mmu, MMU_KERNEL, MMU_READ, UINT64_C(0x7fffffffffff), 2, &handle, &fault));
    assert_int_equal(fault.kind, MMU_NON_CANONICAL);
    assert_false(mmu_access(b->mmu, MMU_USER, MMU_EXECUTE, UINT64_C(0x800000000000), 1, &handle, &fault));
    assert_int_equal(fault.kind, MMU_NON_CANONICAL);
    assert_false(mmu_access(b->mmu, MMU_USER, MMU_EXECUTE, UINT64_C(0x7ffffffffff0), 16, &handle, &fault));
    assert_int_equal(fault.kind, MMU_PAGE_FAULT);
    assert_int_equal(fault.error_code, PF_USER | PF_FETCH);
    board_destroy(b);
}

static void pse_pages_in_32bit_mode(void **state)
{
    struct board *b = board_create();
    uint32_t *directory = (uint32_t *)(b->memory.host + TABLES_START);
    directory[3] = 0x00400000 | P | RW | PS | D;
    mmu_set_control(b->mmu, CR0_ON, TABLES_START, CR4_PSE, 0, true);
    b->memory.host[0x412345] = 0x99;
    uint64_t value;
    struct mmu_fault fault;
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0xc12345, 1, &value, &fault));
    assert_int_equal(value, 0x99);
    assert_true(board_access(b, MMU_WRITE, 0xffffff));
    mmu_flush_page(b->mmu, 0xd00000);
    assert_false(board_cached(b, MMU_READ, 0xc12345) || board_cached(b, MMU_WRITE, 0xffffff));
    board_destroy(b);
}

static void code_pages_are_written_slowly(void **state)
{
    struct board *b = board_create();
    struct mmu_handle handle;
    struct mmu_fault fault;
    board_long_mode(b, 0);
    board_map(b, 0x1000, 0x5000, P | RW | D);
    board_map(b, 0x9000, 0x5000, P | RW | D);
    board_map(b, 0xa000, 0x6000, P | RW | D);
    assert_true(board_access(b, MMU_WRITE, 0x1000) && board_access(b, MMU_WRITE, 0x9000) &&
                board_access(b, MMU_WRITE, 0xa000) && board_access(b, MMU_READ, 0x1000));
    b->memory.page_flags[5] = PAGE_HAS_CODE;
    mmu_protect_code_page(b->mmu, 5);
    assert_false(board_cached(b, MMU_WRITE, 0x1000) || board_cached(b, MMU_WRITE, 0x9000));
    assert_true(board_cached(b, MMU_WRITE, 0xa000) && board_cached(b, MMU_READ, 0x1000));
    b->memory.host[0x5123] = 0x42;
    assert_true(mmu_access(b->mmu, MMU_KERNEL, MMU_WRITE, 0x1123, 2, &handle, &fault));
    assert_true(handle.code);
    assert_int_equal(b->code_calls, 0);
    mmu_handle_store(b->mmu, &handle, 0x1234);
    assert_int_equal(b->code_calls, 1);
    assert_int_equal(b->code_offset, 0x5123);
    assert_int_equal(b->code_size, 2);
    assert_int_equal(b->code_old, 0x42);
    assert_int_equal(b->memory.host[0x5123], 0x34);
    assert_false(board_cached(b, MMU_WRITE, 0x1000));
    b->memory.page_flags[5] = 0;
    assert_true(mmu_write(b->mmu, MMU_KERNEL, 0x1123, 2, 0, &fault));
    assert_int_equal(b->code_calls, 1);
    assert_true(board_cached(b, MMU_WRITE, 0x1000));
    mmu_protect_code_page(b->mmu, UINT64_MAX); // outside: nothing

    // A page table on a page with code: Accessed bits change it too.
    uint64_t *entry = board_table_entry(b, 0xb000, 12);
    *entry = 0x7000 | P | RW;
    uint64_t offset = (uint64_t)((uint8_t *)entry - b->memory.host);
    b->memory.page_flags[offset >> PAGE_SHIFT] = PAGE_HAS_CODE;
    assert_true(board_access(b, MMU_READ, 0xb000));
    assert_int_equal(b->code_calls, 2);
    assert_int_equal(b->code_offset, offset);
    assert_true(*entry & A);
    board_destroy(b);
}

static void the_dirty_bit_is_set_by_the_first_write(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, 0);
    board_map(b, 0x1000, 0x5000, P | RW);
    uint64_t *entry = board_table_entry(b, 0x1000, 12);
    assert_true(board_access(b, MMU_READ, 0x1000));
    assert_false(board_cached(b, MMU_WRITE, 0x1000));
    assert_int_equal(*entry & (A | D), A);
    assert_true(board_access(b, MMU_WRITE, 0x1000));
    assert_true(board_cached(b, MMU_WRITE, 0x1000));
    assert_int_equal(*entry & (A | D), A | D);
    board_destroy(b);
}

static void a20_moves_pages(void **state)
{
    struct board *b = board_create();
    struct mmu_fault fault;
    uint64_t value;
    b->memory.host[0x1234] = 1;
    b->memory.host[MIB + 0x1234] = 2;
    for (unsigned round = 0; round < 4; round++) {
        bool enabled = round % 2;
        mmu_set_a20(b->mmu, enabled);
        assert_true(mmu_read(b->mmu, MMU_KERNEL, MIB + 0x1234, 1, &value, &fault));
        assert_int_equal(value, enabled ? 2 : 1);
        assert_true(board_cached(b, MMU_READ, MIB + 0x1234));
        uint64_t physical;
        assert_true(mmu_debug_translate(b->mmu, MIB + 0x1234, &physical));
        assert_int_equal(physical, enabled ? MIB + 0x1234 : 0x1234);
    }
    board_destroy(b);
}

static void map_changes_act_at_the_poll(void **state)
{
    struct board *b = board_create();
    struct mmu_fault fault;
    uint64_t value, backing;
    board_long_mode(b, 0);
    board_map(b, 0x1000, ROM_START, P | RW);
    b->memory.host[RAM_SIZE] = 0x5a;
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0x1000, 1, &value, &fault));
    assert_int_equal(value, 0x5a);
    assert_true(mmu_fetch_page(b->mmu, MMU_KERNEL, 0x1abc, &backing, &fault));
    assert_int_equal(backing, RAM_SIZE + 0xabc);
    mmu_poll(b->mmu);
    assert_true(board_cached(b, MMU_READ, 0x1000));
    address_space_update(&b->space, b->rom, ROM_START, true, RANGE_MEMORY); // shadow RAM opened for writing
    assert_true(board_cached(b, MMU_READ, 0x1000));
    mmu_poll(b->mmu);
    assert_false(board_cached(b, MMU_READ, 0x1000));
    assert_true(mmu_write(b->mmu, MMU_KERNEL, 0x1000, 1, 0xa5, &fault));
    assert_int_equal(b->memory.host[RAM_SIZE], 0xa5);
    address_space_update(&b->space, b->rom, ROM_START, false, RANGE_MEMORY);
    mmu_poll(b->mmu);
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0x1000, 1, &value, &fault));
    assert_int_equal(value, 0xff);
    assert_true(mmu_fetch_page(b->mmu, MMU_KERNEL, 0x1abc, &backing, &fault));
    assert_true(backing == UINT64_MAX);

    // Another view, as SMM has it.
    struct address_space view;
    address_space_init(&view, "view", &b->memory, UINT64_C(1) << 52, NULL);
    address_space_map_memory(&view, "ram", 0, RAM_SIZE, 0, 0, false, NULL);
    struct range *cover = address_space_map_memory(&view, "cover", ROM_START, PAGE_SIZE, 0, 0x3000, false, NULL);
    b->memory.host[0x3000] = 0x77;
    mmu_set_space(b->mmu, &view);
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0x1000, 1, &value, &fault));
    assert_int_equal(value, 0x77);
    address_space_update(&view, cover, ROM_START, false, RANGE_MEMORY);
    mmu_poll(b->mmu);
    assert_false(board_cached(b, MMU_READ, 0x1000));
    mmu_set_space(b->mmu, &b->space);
    assert_null(view.listeners);
    address_space_destroy(&view);
    board_destroy(b);
}

/// Memory that begins or ends inside a page is used piece by piece and never cached.
static void part_pages_are_not_cached(void **state)
{
    struct board *b = board_create();
    struct mmu_handle handle;
    struct mmu_fault fault;
    uint64_t value, backing;
    assert_non_null(address_space_map_device(&b->space, "small", 0x3010, 0x10, 1, &board_device_ops, b, NULL));
    struct range *odd = address_space_map_memory(&b->space, "odd", 0x100000000, 0x2000, 0, 0x4000, false, NULL);
    address_space_update(&b->space, odd, 0x100000800, true, RANGE_MEMORY);
    mmu_poll(b->mmu);
    memset(b->device, 0xdd, sizeof b->device);
    memset(b->memory.host + 0x3000, 0x33, PAGE_SIZE);
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0x300e, 4, &value, &fault));
    assert_int_equal(value, 0xdddd3333);
    assert_true(mmu_write(b->mmu, MMU_KERNEL, 0x301e, 4, 0x11223344, &fault));
    assert_int_equal(b->device[0xe], 0x44);
    assert_int_equal(b->memory.host[0x3020], 0x22);
    assert_true(mmu_fetch_page(b->mmu, MMU_KERNEL, 0x3000, &backing, &fault));
    assert_true(backing == UINT64_MAX);
    assert_false(board_cached(b, MMU_READ, 0x3000) || board_cached(b, MMU_WRITE, 0x3000) ||
                 board_cached(b, MMU_EXECUTE, 0x3000));

    // An odd place: the guest page's bytes lie on two backing pages, and code on either counts.
    mmu_set_control(b->mmu, CR0_ON, TABLES_START, CR4_PAE, EFER_LONG, true);
    b->cr3 = board_new_table(b);
    board_map(b, 0x1000, 0x100001000, P | RW);
    b->memory.page_flags[5] = PAGE_HAS_CODE;
    assert_true(mmu_access(b->mmu, MMU_KERNEL, MMU_WRITE, 0x17fe, 4, &handle, &fault));
    assert_true(handle.code);
    mmu_handle_store(b->mmu, &handle, 0x44332211);
    assert_int_equal(b->code_calls, 1);
    assert_int_equal(b->code_offset, 0x5000);
    assert_int_equal(b->memory.host[0x5000], 0x33);
    assert_false(board_cached(b, MMU_WRITE, 0x1000));
    assert_true(mmu_fetch_page(b->mmu, MMU_KERNEL, 0x1000, &backing, &fault));
    assert_true(backing == UINT64_MAX);

    // The last page of RAM that also holds the tables.
    struct range *small = address_space_map_device(&b->space, "tail", RAM_SIZE - 8, 8, 1, &board_device_ops, b, NULL);
    assert_non_null(small);
    mmu_poll(b->mmu);
    board_map(b, 0x5000, RAM_SIZE - PAGE_SIZE, P);
    assert_true(mmu_fetch_page(b->mmu, MMU_KERNEL, 0x5000, &backing, &fault));
    assert_true(backing == UINT64_MAX);
    board_destroy(b);
}

/// Walks use the map of today: the tables' RAM is replaced by other RAM.
static void tables_move_with_the_map(void **state)
{
    struct board *b = board_create();
    struct mmu_fault fault;
    uint64_t value, high = UINT64_C(0x100000000);
    struct range *one = address_space_map_memory(&b->space, "one", high, 4 * PAGE_SIZE, 0, 0x10000, false, NULL);
    struct range *two = address_space_map_memory(&b->space, "two", high, 4 * PAGE_SIZE, -1, 0x20000, false, NULL);
    assert_true(one && two);
    mmu_poll(b->mmu);
    for (unsigned i = 1; i <= 2; i++) {
        for (unsigned level = 0; level < 3; level++)
            *board_entry(b, i * 0x10000 + level * PAGE_SIZE) = (high + (level + 1) * PAGE_SIZE) | P;
        *board_entry(b, i * 0x10000 + 3 * PAGE_SIZE) = (i * PAGE_SIZE) | P;
        b->memory.host[i * PAGE_SIZE] = (uint8_t)i;
    }
    mmu_set_control(b->mmu, CR0_ON, high, CR4_PAE, EFER_LONG, true);
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0, 1, &value, &fault));
    assert_int_equal(value, 1);
    address_space_update(&b->space, one, high, false, RANGE_MEMORY);
    mmu_poll(b->mmu);
    assert_true(mmu_read(b->mmu, MMU_KERNEL, 0, 1, &value, &fault));
    assert_int_equal(value, 2);
    board_destroy(b);
}

struct toggler {
    uint64_t *entry;
    atomic_bool stop;
    unsigned count;
};

static void *toggle_ignored_bit(void *opaque)
{
    struct toggler *t = opaque;
    while (!atomic_load(&t->stop)) {
        __atomic_fetch_xor(t->entry, BIT(9), __ATOMIC_SEQ_CST);
        t->count++;
    }
    return NULL;
}

/// Another processor changes the entry all the time: no change of it is lost, no A or D bit either.
static void accessed_and_dirty_are_set_atomically(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, 0);
    board_map(b, 0x1000, 0x5000, P | RW);
    struct toggler toggler = {.entry = board_table_entry(b, 0x1000, 12)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, toggle_ignored_bit, &toggler), 0);
    for (unsigned i = 0; i < 30000; i++) {
        __atomic_fetch_and(toggler.entry, ~(uint64_t)(A | D), __ATOMIC_SEQ_CST);
        assert_true(board_access(b, MMU_WRITE, 0x1000));
        assert_int_equal(__atomic_load_n(toggler.entry, __ATOMIC_SEQ_CST) & (A | D), A | D);
    }
    atomic_store(&toggler.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(*toggler.entry >> 9 & 1, toggler.count & 1);
    assert_int_equal(*toggler.entry & ~BIT(9), 0x5000 | P | RW | A | D);
    board_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffled_pages_lead_home),
        cmocka_unit_test(crossing_accesses_are_whole),
        cmocka_unit_test(edges_of_the_linear_space),
        cmocka_unit_test(pse_pages_in_32bit_mode),
        cmocka_unit_test(code_pages_are_written_slowly),
        cmocka_unit_test(the_dirty_bit_is_set_by_the_first_write),
        cmocka_unit_test(a20_moves_pages),
        cmocka_unit_test(map_changes_act_at_the_poll),
        cmocka_unit_test(part_pages_are_not_cached),
        cmocka_unit_test(tables_move_with_the_map),
        cmocka_unit_test(accessed_and_dirty_are_set_atomically),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
