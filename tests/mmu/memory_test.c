// Address spaces: priorities against a byte-wise model, batches and notifications, what accesses do at the edges of
// pieces and devices, and the listener for code.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "mmu/memory.h"
#include "support_random.h"

/// Remembers the accesses that it gets.
struct recorder {
    unsigned count;
    struct {
        bool write;
        unsigned size;
        uint64_t offset, value;
    } log[64];
};

static uint64_t recorder_read(void *opaque, uint64_t offset, unsigned size)
{
    struct recorder *r = opaque;
    if (r->count < ARRAY_SIZE(r->log)) {
        r->log[r->count].write = false;
        r->log[r->count].size = size;
        r->log[r->count].offset = offset;
    }
    r->count++;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (0x10 + ((offset + i) & 0xf)) << (8 * i);
    return value;
}

static void recorder_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct recorder *r = opaque;
    if (r->count < ARRAY_SIZE(r->log)) {
        r->log[r->count].write = true;
        r->log[r->count].size = size;
        r->log[r->count].offset = offset;
        r->log[r->count].value = value;
    }
    r->count++;
}

static void expect_record(const struct recorder *r, unsigned i, bool write, uint64_t offset, unsigned size,
                          uint64_t value)
{
    assert_true(r->count > i);
    assert_int_equal(r->log[i].write, write);
    assert_int_equal(r->log[i].offset, offset);
    assert_int_equal(r->log[i].size, size);
    if (write)
        assert_int_equal(r->log[i].value, value);
}

static const struct region_ops ops4 = {.read = recorder_read, .write = recorder_write};
static const struct region_ops ops1 = {.read = recorder_read, .write = recorder_write, .max_size = 1};
static const struct region_ops ops2 = {.read = recorder_read, .write = recorder_write, .max_size = 2};
static const struct region_ops ops8 = {.read = recorder_read, .write = recorder_write, .max_size = 8};
static const struct region_ops ops_wide = {.read = recorder_read, .write = recorder_write, .min_size = 4};
static const struct region_ops ops_none = {0};

static void the_memory_file_is_handed_out(void **state)
{
    struct memory memory;
    struct error error = {0};
    assert_false(memory_create(&memory, 0, &error));
    assert_true(error.text[0]);
    assert_false(memory_create(&memory, PAGE_SIZE + 1, NULL));
    assert_true(memory_create(&memory, 8 * PAGE_SIZE, &error));
    assert_int_equal(memory_allocate(&memory, 1), 0);
    assert_int_equal(memory_allocate(&memory, PAGE_SIZE + 1), PAGE_SIZE);
    assert_true(memory_allocate(&memory, 6 * PAGE_SIZE) == UINT64_MAX);
    assert_true(memory_allocate(&memory, UINT64_MAX) == UINT64_MAX);
    assert_int_equal(memory_allocate(&memory, 5 * PAGE_SIZE), 3 * PAGE_SIZE);
    assert_true(memory_allocate(&memory, 1) == UINT64_MAX);
    memory.host[8 * PAGE_SIZE - 1] = 1;
    memory_destroy(&memory);
}

static void count_change(void *opaque)
{
    ++*(unsigned *)opaque;
}

/// Random ranges, moved, switched and covered at random, against the definition, address by address.
static void priorities_decide(void **state)
{
    enum { LIMIT = 200, RANGES = 24 };
    struct random random = {.state = 3};
    struct recorder recorder = {0};
    for (unsigned round = 0; round < 40; round++) {
        struct address_space as;
        struct range *ranges[RANGES];
        address_space_init(&as, "ports", NULL, LIMIT, NULL);
        for (unsigned i = 0; i < RANGES; i++) {
            uint64_t size = 1 + random_below(&random, 40), start = random_below(&random, LIMIT - size + 1);
            ranges[i] = address_space_map_device(&as, "r", start, size, (int)random_below(&random, 5) - 2, &ops4,
                                                 &recorder, NULL);
            assert_non_null(ranges[i]);
        }
        for (unsigned step = 0; step < 30; step++) {
            struct range *moved = ranges[random_below(&random, RANGES)];
            uint64_t start = random_one_in(&random, 8) ? random_next(&random) : random_below(&random, LIMIT + 10);
            address_space_update(&as, moved, start, !random_one_in(&random, 3), RANGE_DEVICE);
            for (uint64_t address = 0; address < LIMIT + 20; address++) {
                const struct range *top = NULL;
                for (unsigned i = 0; i < RANGES; i++) {
                    const struct range *r = ranges[i];
                    bool inside = r->enabled && address < LIMIT && address >= r->start && address - r->start < r->size;
                    if (inside && (!top || r->priority >= top->priority))
                        top = r;
                }
                const struct flat_range *piece = address_space_find(&as, address);
                assert_true(piece->start <= address && address < piece->end);
                assert_ptr_equal(piece->range, top);
            }
            assert_null(address_space_find(&as, UINT64_MAX)->range);
        }
        address_space_destroy(&as);
    }
}

static void batches_notify_once(void **state)
{
    struct address_space as;
    struct recorder recorder = {0};
    unsigned changes = 0, other_changes = 0;
    struct address_space_listener listener = {.map_changed = count_change, .opaque = &changes};
    struct address_space_listener other = {.map_changed = count_change, .opaque = &other_changes};
    address_space_init(&as, "memory", NULL, 0x10000, NULL);
    assert_null(address_space_find(&as, 5)->range);
    address_space_listen(&as, &listener);
    address_space_listen(&as, &other);
    address_space_begin(&as);
    address_space_begin(&as);
    struct range *a = address_space_map_device(&as, "a", 0, 16, 0, &ops4, &recorder, NULL);
    struct range *b = address_space_map_device(&as, "b", 8, 16, 1, &ops4, &recorder, NULL);
    address_space_commit(&as);
    assert_int_equal(changes, 0);
    address_space_commit(&as);
    assert_int_equal(changes, 1);
    assert_ptr_equal(address_space_find(&as, 7)->range, a);
    assert_ptr_equal(address_space_find(&as, 8)->range, b);
    address_space_update(&as, b, 8, true, RANGE_DEVICE);
    address_space_begin(&as);
    address_space_commit(&as);
    assert_int_equal(changes, 1);
    address_space_update(&as, b, 8, false, RANGE_DEVICE);
    assert_int_equal(changes, 2);
    address_space_update(&as, b, 9, false, RANGE_DEVICE); // nobody sees it
    assert_int_equal(changes, 2);
    assert_ptr_equal(address_space_find(&as, 8)->range, a);
    assert_int_equal(other_changes, 2);
    address_space_unlisten(&as, &other);
    address_space_update(&as, b, 9, true, RANGE_DEVICE);
    assert_int_equal(changes, 3);
    assert_int_equal(other_changes, 2);

    struct error error = {0};
    assert_null(address_space_map_device(&as, "c", 0xfff8, 16, 0, &ops4, NULL, &error));
    assert_true(error.text[0]);
    assert_null(address_space_map_device(&as, "c", 0x10000, 1, 0, &ops4, NULL, NULL));
    assert_null(address_space_map_device(&as, "c", 16, UINT64_MAX, 0, &ops4, NULL, NULL));
    assert_null(address_space_map_device(&as, "c", 16, 0, 0, &ops4, NULL, NULL));
    assert_null(address_space_map_memory(&as, "c", 0, 16, 0, 0, false, NULL)); // ports have no memory
    address_space_destroy(&as);
}

static void devices_get_what_they_accept(void **state)
{
    static const struct {
        const struct region_ops *ops;
        unsigned unit;
    } cases[] = {{&ops1, 1}, {&ops2, 2}, {&ops4, 4}, {&ops8, 8}};
    for (unsigned c = 0; c < ARRAY_SIZE(cases); c++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            struct address_space as;
            struct recorder recorder = {0};
            address_space_init(&as, "ports", NULL, 0x10000, NULL);
            assert_non_null(address_space_map_device(&as, "d", 0x100, 16, 0, cases[c].ops, &recorder, NULL));
            unsigned unit = size < cases[c].unit ? size : cases[c].unit;
            uint64_t value = address_space_read(&as, 0x103, size);
            assert_true(value == (UINT64_C(0x1a19181716151413) & bits_mask(8 * size)));
            assert_int_equal(recorder.count, size / unit);
            for (unsigned i = 0; i < size / unit; i++)
                expect_record(&recorder, i, false, 3 + i * unit, unit, 0);
            recorder.count = 0;
            address_space_write(&as, 0x103, UINT64_C(0x8877665544332211), size);
            assert_int_equal(recorder.count, size / unit);
            for (unsigned i = 0; i < size / unit; i++)
                expect_record(&recorder, i, true, 3 + i * unit, unit,
                              UINT64_C(0x8877665544332211) >> (8 * i * unit) & bits_mask(8 * unit));
            address_space_destroy(&as);
        }
    }
}

static void narrow_reads_are_widened(void **state)
{
    struct address_space as;
    struct recorder recorder = {0};
    address_space_init(&as, "memory", NULL, 0x10000, NULL);
    address_space_map_device(&as, "d", 0x100, 14, 0, &ops_wide, &recorder, NULL);
    assert_int_equal(address_space_read(&as, 0x106, 1), 0x16);
    expect_record(&recorder, 0, false, 4, 4, 0);
    assert_int_equal(address_space_read(&as, 0x106, 2), 0x1716);
    expect_record(&recorder, 1, false, 4, 4, 0);
    assert_int_equal(address_space_read(&as, 0x10d, 1), 0x1d); // no room to widen
    expect_record(&recorder, 2, false, 13, 1, 0);
    address_space_write(&as, 0x106, 0x55, 1);
    expect_record(&recorder, 3, true, 6, 1, 0x55);
    address_space_destroy(&as);
}

struct board {
    struct memory memory;
    struct address_space as;
    struct recorder recorder, split;
    struct range *ram, *rom, *device, *flash;
};

/// ram 0-0x4000, device 0x4000-0x4100, rom 0x5000-0x6000, split 0x6000-0x7000, device without ops 0x7000-0x7010.
static void board_create(struct board *b)
{
    memset(b, 0, sizeof *b);
    assert_true(memory_create(&b->memory, 16 * PAGE_SIZE, NULL));
    address_space_init(&b->as, "memory", &b->memory, UINT64_C(1) << 40, NULL);
    b->ram = address_space_map_memory(&b->as, "ram", 0, 0x4000, 0, 0x1000, false, NULL);
    b->device = address_space_map_device(&b->as, "device", 0x4000, 0x100, 0, &ops4, &b->recorder, NULL);
    b->rom = address_space_map_memory(&b->as, "rom", 0x5000, 0x1000, 0, 0x8000, true, NULL);
    b->flash = address_space_map_device(&b->as, "flash", 0x6000, 0x1000, 0, &ops4, &b->split, NULL);
    address_space_set_backing(&b->as, b->flash, 0x9000, &ops4, &b->split);
    address_space_update(&b->as, b->flash, 0x6000, true, RANGE_SPLIT);
    assert_non_null(address_space_map_device(&b->as, "hole", 0x7000, 16, 0, &ops_none, NULL, NULL));
    assert_null(address_space_map_memory(&b->as, "x", 0, 0x4000, 0, 0xd000, false, NULL));
    assert_null(address_space_map_memory(&b->as, "x", 0, 0x4000, 0, UINT64_MAX, false, NULL));
}

static void board_destroy(struct board *b)
{
    address_space_destroy(&b->as);
    memory_destroy(&b->memory);
}

static void accesses_reach_the_kinds(void **state)
{
    struct board b;
    board_create(&b);
    struct address_space *as = &b.as;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (uint64_t address = 0x100; address < 0x108; address++) {
            address_space_write(as, address, UINT64_C(0xf1e2d3c4b5a69788), size);
            uint64_t stored = 0;
            memcpy(&stored, b.memory.host + 0x1000 + address, size);
            assert_true(stored == (UINT64_C(0xf1e2d3c4b5a69788) & bits_mask(8 * size)));
            assert_true(address_space_read(as, address, size) == stored);
        }
    }
    b.memory.host[0x8010] = 0xab;
    address_space_write(as, 0x5010, 0x11, 1);
    assert_int_equal(address_space_read(as, 0x5010, 1), 0xab);
    b.memory.host[0x9010] = 0xcd;
    address_space_write(as, 0x6010, 0x22, 1);
    assert_int_equal(address_space_read(as, 0x6010, 1), 0xcd);
    assert_int_equal(b.split.count, 1);
    expect_record(&b.split, 0, true, 0x10, 1, 0x22);

    assert_int_equal(as->unassigned_reads, 0);
    assert_true(address_space_read(as, 0x8000, 8) == UINT64_MAX);
    assert_int_equal(address_space_read(as, 0x7004, 2), 0xffff);
    assert_int_equal(address_space_read(as, UINT64_C(1) << 51, 4), 0xffffffff);
    address_space_write(as, 0x8000, 1, 8);
    address_space_write(as, 0x7000, 1, 8);
    assert_int_equal(as->unassigned_reads, 3);
    assert_int_equal(as->unassigned_writes, 2);

    // Over the ends of pieces: RAM | device, device | nothing, ROM | split.
    b.memory.host[0x4ffe] = 1, b.memory.host[0x4fff] = 2;
    assert_int_equal(address_space_read(as, 0x3ffe, 4), 0x11100201);
    expect_record(&b.recorder, 0, false, 0, 2, 0);
    address_space_write(as, 0x3ffd, UINT64_C(0x8877665544332211), 8);
    expect_record(&b.recorder, 1, true, 0, 4, 0x77665544);
    expect_record(&b.recorder, 2, true, 4, 1, 0x88);
    assert_int_equal(b.memory.host[0x4fff], 0x33);
    assert_int_equal(address_space_read(as, 0x40ff, 2), 0xff1f);
    b.memory.host[0x8fff] = 0x5a, b.memory.host[0x9000] = 0xa5;
    assert_int_equal(address_space_read(as, 0x5fff, 2), 0xa55a);
    address_space_write(as, 0x5fff, 0x1234, 2);
    expect_record(&b.split, 1, true, 0, 1, 0x12);
    board_destroy(&b);
}

static void bulk_copies_reach_the_kinds(void **state)
{
    struct board b;
    board_create(&b);
    struct random random = {.state = 9};
    uint8_t data[0x9000], back[0x9000];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)random_next(&random);
    address_space_write_bytes(&b.as, 3, data, 0x4000 - 7, false);
    assert_memory_equal(b.memory.host + 0x1003, data, 0x4000 - 7);
    address_space_read_bytes(&b.as, 5, back, 0x3000);
    assert_memory_equal(back, data + 2, 0x3000);

    address_space_write_bytes(&b.as, 0x5000, data, 0x1000, false);
    assert_int_equal(b.memory.host[0x8fff], 0);
    address_space_write_bytes(&b.as, 0x5000, data, 0x2000, true); // a loader fills ROM and flash
    assert_memory_equal(b.memory.host + 0x8000, data, 0x2000);
    assert_int_equal(b.split.count, 0);

    address_space_read_bytes(&b.as, 0x3fff, back, 0x102);
    assert_int_equal(back[0], b.memory.host[0x4fff]);
    assert_int_equal(back[1], 0x10);
    assert_int_equal(back[0x100], 0x1f);
    assert_int_equal(back[0x101], 0xff);
    b.recorder.count = 0;
    address_space_write_bytes(&b.as, 0x4001, data, 7, false); // naturally aligned pieces
    assert_int_equal(b.recorder.count, 3);
    expect_record(&b.recorder, 0, true, 1, 1, data[0]);
    expect_record(&b.recorder, 1, true, 2, 2, load_le16(data + 1));
    expect_record(&b.recorder, 2, true, 4, 4, load_le32(data + 3));
    uint64_t far = UINT64_C(1) << 45;
    address_space_read_bytes(&b.as, far, back, sizeof back);
    for (unsigned i = 0; i < sizeof back; i++)
        assert_int_equal(back[i], 0xff);
    address_space_write_bytes(&b.as, far, back, sizeof back, true);
    board_destroy(&b);
}

struct code_watch {
    struct memory *memory;
    unsigned calls;
    uint64_t offset[4];
    uint32_t size[4];
    uint8_t old[4]; // first byte at the time of the call
};

static void on_code_written(void *opaque, uint64_t offset, uint32_t size)
{
    struct code_watch *watch = opaque;
    assert_true(watch->calls < 4);
    assert_true(offset / PAGE_SIZE == (offset + size - 1) / PAGE_SIZE);
    watch->offset[watch->calls] = offset;
    watch->size[watch->calls] = size;
    watch->old[watch->calls++] = watch->memory->host[offset];
}

static void writes_to_code_are_told_before(void **state)
{
    struct board b;
    board_create(&b);
    struct code_watch watch = {.memory = &b.memory};
    b.memory.listener = (struct memory_listener){.code_written = on_code_written, .opaque = &watch};
    b.memory.page_flags[2] = PAGE_HAS_CODE; // physical 0x1000
    b.memory.page_flags[3] = PAGE_HAS_CODE;
    b.memory.host[0x2010] = 0x77;
    address_space_write(&b.as, 0x1010, 0x55, 1);
    assert_int_equal(watch.calls, 1);
    assert_int_equal(watch.offset[0], 0x2010);
    assert_int_equal(watch.size[0], 1);
    assert_int_equal(watch.old[0], 0x77);
    assert_int_equal(b.memory.host[0x2010], 0x55);
    address_space_write(&b.as, 0x0ffc, 0, 4);
    assert_int_equal(watch.calls, 1);
    address_space_write(&b.as, 0x0ffe, 0, 4);
    assert_int_equal(watch.calls, 2);
    assert_int_equal(watch.offset[1], 0x2000);
    assert_int_equal(watch.size[1], 2);
    watch.calls = 0;
    uint8_t bytes[0x3000] = {0};
    address_space_write_bytes(&b.as, 0x800, bytes, sizeof bytes, false);
    assert_int_equal(watch.calls, 2);
    assert_int_equal(watch.offset[0], 0x2000);
    assert_int_equal(watch.size[0], PAGE_SIZE);
    assert_int_equal(watch.old[0], 0);
    assert_int_equal(watch.offset[1], 0x3000);
    watch.calls = 0;
    b.memory.page_flags[8] = PAGE_HAS_CODE; // ROM: nothing changes, unless a loader does it
    address_space_write(&b.as, 0x5000, 1, 1);
    assert_int_equal(watch.calls, 0);
    address_space_write_bytes(&b.as, 0x5000, bytes, 16, true);
    assert_int_equal(watch.calls, 1);
    board_destroy(&b);
}

static void the_guest_moves_ranges_anywhere(void **state)
{
    struct board b;
    board_create(&b);
    static const uint64_t starts[] = {
        UINT64_MAX, UINT64_MAX - 8, (UINT64_C(1) << 40) - 1, UINT64_C(1) << 40, (UINT64_C(1) << 40) - 7, 0x123, 0x3fff};
    for (unsigned i = 0; i < ARRAY_SIZE(starts); i++) {
        for (unsigned kind = RANGE_MEMORY; kind <= RANGE_SPLIT; kind++) {
            address_space_update(&b.as, b.device, starts[i], true, (enum range_kind)kind);
            address_space_update(&b.as, b.ram, starts[i] + 3, true, (enum range_kind)kind);
            for (unsigned size = 1; size <= 8; size *= 2) {
                address_space_read(&b.as, starts[i] - 1, size);
                address_space_write(&b.as, starts[i] - 1, 1, size);
                address_space_write(&b.as, starts[i] + 0xfe, 1, size);
            }
        }
    }
    // The device has no memory behind it: unassigned then.
    address_space_update(&b.as, b.ram, 0, false, RANGE_MEMORY);
    address_space_update(&b.as, b.device, 0, true, RANGE_MEMORY);
    assert_int_equal(address_space_read(&b.as, 0, 4), 0xffffffff);
    board_destroy(&b);
}

/// A device that moves itself out of the way as soon as it is written.
struct mover {
    struct address_space *as;
    struct range *range;
    unsigned writes;
};

static void mover_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct mover *mover = opaque;
    assert_true(offset + size <= 0x100);
    mover->writes++;
    address_space_begin(mover->as);
    address_space_update(mover->as, mover->range, 0x8000 + 0x100 * (mover->writes % 5), true, RANGE_DEVICE);
    if (mover->writes % 3)
        address_space_commit(mover->as);
    else
        address_space_write(mover->as, 0x8000, 1, 1); // inside the batch the old map holds
    while (mover->as->batch)
        address_space_commit(mover->as);
}

static const struct region_ops mover_ops = {.write = mover_write, .max_size = 1};

static void devices_may_move_while_written(void **state)
{
    struct address_space as;
    struct mover mover = {.as = &as};
    uint8_t data[0x400] = {0};
    address_space_init(&as, "memory", NULL, 0x10000, NULL);
    mover.range = address_space_map_device(&as, "mover", 0x8080, 0x100, 0, &mover_ops, &mover, NULL);
    assert_non_null(mover.range);
    address_space_write_bytes(&as, 0x8000, data, sizeof data, false);
    assert_true(mover.writes >= 0x100);
    address_space_write(&as, 0x8101, 1, 8);
    address_space_destroy(&as);
}

static void the_map_is_printed(void **state)
{
    struct board b;
    char *text = NULL;
    size_t size = 0;
    board_create(&b);
    FILE *to = open_memstream(&text, &size);
    address_space_print(&b.as, to);
    fclose(to);
    assert_non_null(strstr(text, "0000000000000000-0000000000003fff ram   ram (file offset 0x1000)\n"));
    assert_non_null(strstr(text, "0000000000004000-00000000000040ff i/o   device\n"));
    assert_non_null(strstr(text, "0000000000006000-0000000000006fff split flash (file offset 0x9000)\n"));
    free(text);
    board_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_memory_file_is_handed_out),
        cmocka_unit_test(priorities_decide),
        cmocka_unit_test(batches_notify_once),
        cmocka_unit_test(devices_get_what_they_accept),
        cmocka_unit_test(narrow_reads_are_widened),
        cmocka_unit_test(accesses_reach_the_kinds),
        cmocka_unit_test(bulk_copies_reach_the_kinds),
        cmocka_unit_test(writes_to_code_are_told_before),
        cmocka_unit_test(the_guest_moves_ranges_anywhere),
        cmocka_unit_test(devices_may_move_while_written),
        cmocka_unit_test(the_map_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
