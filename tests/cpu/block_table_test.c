// The table of live blocks: places that share a bucket, buckets that run over into the next, also over the table's end,
// the same place twice, and gaps that close.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/block_table.h"

#define SLOTS 64u
#define BLOCKS 60u
#define BYTES 256u // a block's

static _Alignas(BLOCK_ALIGNMENT) uint8_t arena[BLOCKS * BYTES];
static struct block_slot slots[SLOTS];

static struct block *block(unsigned number)
{
    return (struct block *)(void *)&arena[number * BYTES];
}

static uint64_t random_bits(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

/// Whether a search for the block's key finds it.
static bool is_found(const struct block_table *table, const struct block *wanted)
{
    uint64_t key = block_key(wanted->backing, wanted->mode);
    uint32_t at = block_home(table, key);
    bool found = false;
    for (const struct block *other; (other = block_next(table, key, &at)) != NULL;) {
        assert_int_equal(other->backing, wanted->backing);
        assert_int_equal(other->mode, wanted->mode);
        assert_false(found && other == wanted);
        found |= other == wanted;
    }
    return found;
}

/// As whoever looks for a block and finds none that fits.
static void miss(struct block_table *table, uint64_t key)
{
    uint32_t at = block_home(table, key);
    while (block_next(table, key, &at))
        ;
    block_table_missed(table, key, at);
}

/// `spread`: blocks begin at so many places.
static void change_often(unsigned spread, uint64_t random)
{
    struct block_table table = {.slots = slots, .slot_count = SLOTS, .arena = arena};
    bool inside[BLOCKS] = {0};
    unsigned most = 0, present = 0;
    memset(slots, 0, sizeof slots);
    for (unsigned round = 0; round < 4000; round++) {
        unsigned number = (unsigned)(random_bits(&random) % BLOCKS);
        // Fills, empties, fills.
        bool insert = random_bits(&random) % 100 < (round / 500 % 2 ? 20 : 80);
        if (insert && !inside[number]) {
            block(number)->backing = random_bits(&random) % spread;
            block(number)->mode = random_bits(&random) % 8 ? MODE_FLAT : MODE_FLAT | MODE_LIMIT_4G | 3;
            if (random_bits(&random) % 2)
                miss(&table, block_key(block(number)->backing, block(number)->mode));
            block_table_insert(&table, block(number));
            inside[number] = true;
            present++;
        } else if (!insert) {                  // or what is not in it
            if (random_bits(&random) % 4 == 0) // of what may be inserted next
                miss(&table, block_key(random_bits(&random) % spread, MODE_FLAT));
            block_table_remove(&table, block(number));
            present -= inside[number];
            inside[number] = false;
        }
        most = present > most ? present : most;
        for (unsigned i = 0; i < BLOCKS; i++)
            assert_int_equal(is_found(&table, block(i)), inside[i]);
    }
    assert_true(most > BLOCKS * 2 / 3);
}

static void test_changes(void **state)
{
    static const unsigned spreads[] = {1, 8, 100, 5000, 1u << 30};
    for (unsigned i = 0; i < ARRAY_SIZE(spreads); i++)
        change_often(spreads[i], i);
}

static void test_keys(void **state)
{
    static struct cpu cpu;
    assert_int_not_equal(block_key(0x1000, MODE_FLAT), block_key(0x1001, MODE_FLAT));
    assert_int_not_equal(block_key(0x1000, MODE_FLAT), block_key(0x1000, MODE_FLAT | 3));
    assert_int_not_equal(block_key(0x1000, MODE_LIMIT_4G), block_key(0x1000, MODE_LIMIT_64K));
    cpu.mmu.linear_bits = 48;
    assert_false(block_near_edge(&cpu, 0));
    assert_false(block_near_edge(&cpu, 0x400000));
    assert_false(block_near_edge(&cpu, 0xffffffff81000000));
    assert_false(block_near_edge(&cpu, 0x00007ffe00000000));
    assert_true(block_near_edge(&cpu, 0x00007fffffffe000));
    assert_true(block_near_edge(&cpu, 0x00007fff00000000));
    assert_true(block_near_edge(&cpu, 0xffff800000000000));
    assert_false(block_near_edge(&cpu, 0xffff800200000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
