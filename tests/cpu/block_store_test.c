// Packed uops come back as they were; uops of blocks stand in the ring while they may be asked for, also where its
// places are counted anew; parts of the memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "cpu/block_store.h"

static uint64_t random_bits(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

/// A number of some size, as often small as large.
static int64_t random_number(uint64_t *random)
{
    uint64_t all = random_bits(random) << 40 ^ random_bits(random) << 20 ^ random_bits(random);
    return (int64_t)all >> random_bits(random) % 64;
}

static uint8_t random_var(uint64_t *random, uint8_t unused)
{
    return (uint8_t)(random_bits(random) % 2 ? unused : random_bits(random));
}

static struct uop random_uop(uint64_t *random, unsigned insn)
{
    struct uop u = {.op = (uint8_t)(random_bits(random) % UOP_OPS),
                    .width = random_bits(random) % 4,
                    .dst = random_var(random, VAR_NONE),
                    .a = random_var(random, VAR_ZERO),
                    .b = random_var(random, VAR_ZERO),
                    .c = random_var(random, VAR_ZERO),
                    .imm = random_bits(random) % 2 ? random_number(random) : 0,
                    .insn = (uint8_t)insn,
                    .sub = random_var(random, 0),
                    .aux = random_var(random, 0),
                    .param = random_bits(random) % 2 ? (uint32_t)random_number(random) : 0};
    u.code = (uint16_t)UOP_CODE(u.op, u.width, u.b == VAR_IMM, u.aux & UOP_SETS_FLAGS);
    if (random_bits(random) % 4 == 0)
        u.code = (uint16_t)(UOP_CODE_PAIRS + random_bits(random) % (UOP_CODES - UOP_CODE_PAIRS));
    return u;
}

static void assert_same(const struct uop *a, const struct uop *b)
{
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->op, b->op);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->dst, b->dst);
    assert_int_equal(a->a, b->a);
    assert_int_equal(a->b, b->b);
    assert_int_equal(a->c, b->c);
    assert_true(a->imm == b->imm);
    assert_int_equal(a->insn, b->insn);
    assert_int_equal(a->sub, b->sub);
    assert_int_equal(a->aux, b->aux);
    assert_int_equal(a->param, b->param);
}

static void test_packing(void **state)
{
    static uint8_t bytes[BLOCK_PACKED_MAX];
    static struct uop uops[LIFT_MAX_UOPS], back[LIFT_MAX_UOPS];
    uint64_t random = 1;
    for (unsigned round = 0; round < 2000; round++) {
        unsigned count = 1 + (unsigned)(random_bits(&random) % (round % 16 ? 20 : LIFT_MAX_UOPS)), insn = 0;
        size_t size;
        for (unsigned i = 0; i < count; i++) {
            uops[i] = random_uop(&random, insn);
            if (random_bits(&random) % 50 == 0)
                uops[i].op = (uint8_t)random_bits(&random);
            if (random_bits(&random) % 50 == 0)
                uops[i].code = (uint16_t)random_bits(&random);
            insn += random_bits(&random) % 40 ? random_bits(&random) % 2 : random_bits(&random) % 4;
        }
        memset(bytes, 0x5a, sizeof bytes);
        size = uop_pack(uops, count, bytes);
        assert_true(size <= count * UOP_PACKED_MAX);
        assert_ptr_equal(uop_unpack(bytes, back, count), bytes + size);
        for (unsigned i = 0; i < count; i++)
            assert_same(&back[i], &uops[i]);
    }
}

/// Accesses and branches as lifts make them, of which several run as one, with all widths. Returns how many.
static unsigned memory_uops(struct uop *uops, uint64_t *random)
{
    unsigned count = 0;
    for (unsigned insn = 0; insn < 20; insn++) {
        uint8_t width = random_bits(random) % 4, temp = (uint8_t)(VAR_TEMP + 2 * insn);
        bool write = random_bits(random) % 2, imm = random_bits(random) % 2;
        const struct uop unused = {.insn = (uint8_t)insn, .dst = VAR_NONE, .a = VAR_ZERO, .b = VAR_ZERO, .c = VAR_ZERO};
        struct uop *u = &uops[count];
        for (unsigned i = 0; i < 3; i++)
            u[i] = unused;
        u[0].op = UOP_EA;
        u[0].width = WIDTH_64;
        u[0].dst = u[1].a = temp;
        u[0].a = VAR_RSP;
        u[0].imm = (int64_t)(random_bits(random) % 1000) - 500;
        u[1].op = UOP_XLAT;
        u[1].dst = u[2].a = (uint8_t)(temp + 1);
        u[1].param = random_bits(random) % 8 ? 1u << width : 16;
        u[1].aux = (write ? UOP_WRITE : 0) | UOP_STACK | (random_bits(random) % 8 ? 0 : UOP_ALIGNED);
        u[2].op = write ? UOP_STORE : UOP_LOAD;
        u[2].width = width;
        u[2].b = write && imm ? VAR_IMM : VAR_RAX;
        u[2].imm = imm ? -5 : 0;
        count += 3;
    }
    uops[count] = uops[count + 1] = (struct uop){.insn = 20, .dst = VAR_NONE, .b = VAR_IMM, .c = VAR_ZERO, .imm = 1};
    uops[count].op = random_bits(random) % 2 ? UOP_SUB : UOP_AND;
    uops[count].width = random_bits(random) % 4;
    uops[count++].aux = UOP_SETS_FLAGS;
    uops[count].op = UOP_EXIT_IF;
    uops[count].width = WIDTH_64;
    uops[count].insn = 21;
    uops[count].sub = random_bits(random) % 16;
    uops[count++].param = (uint32_t)random_bits(random);
    return count;
}

static void test_pairs(void **state)
{
    static uint8_t bytes[BLOCK_PACKED_MAX];
    static bool seen[UOP_CODES];
    struct uop uops[64], back[64];
    uint64_t random = 5;
    for (unsigned round = 0; round < 500; round++) {
        unsigned count = memory_uops(uops, &random);
        size_t size;
        interp_prepare(uops, count);
        size = uop_pack(uops, count, bytes);
        assert_in_range(size, 6 * count, 8 * count); // none as it is
        assert_ptr_equal(uop_unpack(bytes, back, count), bytes + size);
        for (unsigned i = 0; i < count; i++) {
            assert_same(&back[i], &uops[i]);
            seen[uops[i].code] = true;
        }
    }
    for (unsigned code = UOP_CODE_PAIRS; code < UOP_CODE_COMPARE_EXIT; code++)
        assert_true(seen[code]);
    for (unsigned width = 0; width < 4; width++)
        assert_true(seen[UOP_CODE_COMPARE_EXIT + 4 + width] && seen[UOP_CODE_TEST_EXIT + 4 + width]);
}

/// The uops that lifts make most take little.
static void test_size(void **state)
{
    struct uop uops[] = {
        {.op = UOP_EA, .width = WIDTH_64, .dst = VAR_TEMP, .a = VAR_RBP, .b = VAR_ZERO, .c = VAR_ZERO, .imm = -8},
        {.op = UOP_XLAT, .dst = VAR_TEMP + 1, .a = VAR_TEMP, .b = VAR_ZERO, .c = VAR_ZERO, .param = 8},
        {.op = UOP_LOAD, .width = WIDTH_64, .dst = VAR_RAX, .a = VAR_TEMP + 1, .b = VAR_ZERO, .c = VAR_ZERO},
        {.op = UOP_EXIT, .width = WIDTH_64, .dst = VAR_NONE, .a = VAR_ZERO, .b = VAR_ZERO, .c = VAR_ZERO, .imm = 300},
    };
    uint8_t bytes[4 * UOP_PACKED_MAX + UOP_PACKED_BEHIND];
    interp_prepare(uops, 4);
    assert_in_range(uop_pack(uops, 4, bytes), 1, 7 * 4);
}

// ---- blocks ---------------------------------------------------------------------------------------------------------
#define BLOCKS 8000u // more uops than the ring holds

static void lift_sample(struct lift *l, uint64_t random)
{
    l->insn_count = 1 + (unsigned)(random_bits(&random) % BLOCK_MAX_INSNS);
    l->uop_count = 0;
    for (unsigned i = 0; i < l->insn_count; i++) {
        unsigned uops = (i + 1 == l->insn_count) + (unsigned)(random_bits(&random) % 4);
        l->insn_offset[i + 1] = (uint16_t)(l->insn_offset[i] + 1 + random_bits(&random) % INSN_MAX_LENGTH);
        while (uops--)
            l->uops[l->uop_count++] = random_uop(&random, i);
    }
}

static struct block *add(struct block_store *store, struct lift *l, uint64_t random)
{
    static uint8_t bytes[BLOCK_PACKED_MAX];
    struct block *block;
    size_t size;
    lift_sample(l, random);
    size = block_pack(l, bytes);
    block = block_store_block(store, size);
    if (!block)
        return NULL;
    memcpy((uint8_t *)(uintptr_t)block_packed(block), bytes, size);
    block->insn_count = (uint8_t)l->insn_count;
    block->uop_count = (uint16_t)l->uop_count;
    if (random % 2)
        block_place(store, block, l->uops);
    return block;
}

static void assert_block(struct block_store *store, struct lift *l, const struct block *block, uint64_t random)
{
    const struct uop *uops = block_uops((struct block_cache *)(void *)store, block); // which begins with its store
    struct uop exit = block_exit(block);
    lift_sample(l, random);
    for (unsigned i = 0; i < l->uop_count; i++)
        assert_same(&uops[i], &l->uops[i]);
    assert_same(&exit, &l->uops[l->uop_count - 1]);
    for (unsigned i = 0; i <= l->insn_count; i++)
        assert_int_equal(block_insn_offset(block, i), l->insn_offset[i]);
    assert_ptr_equal(block_numbered(store, block_number(store, block)), block);
}

static void test_ring(void **state)
{
    static struct block *blocks[BLOCKS];
    struct lift *l = calloc(1, sizeof *l);
    struct block_store store = {0};
    struct error error = {0};
    uint64_t random = 3;
    assert_non_null(l);
    assert_true(block_store_create(&store, (size_t)128 << 20, &error));
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = add(&store, l, i);
        assert_non_null(blocks[i]);
        assert_block(&store, l, blocks[i], i);
    }
    for (unsigned round = 0; round < 100000; round++) {
        unsigned number = (unsigned)(random_bits(&random) % BLOCKS);
        if (round == 50000)
            store.ring.next = UINT32_MAX - 3 * (store.ring.mask + 1) - 7;
        if (round % 16)
            block_uops((struct block_cache *)(void *)&store, blocks[number]);
        else
            assert_block(&store, l, blocks[number], number);
    }
    assert_true(store.ring.next < UINT32_MAX / 2); // it began anew
    block_store_release(&store);
    free(l);
}

/// Uops stand where they are while so many other blocks are asked for theirs.
static void test_kept(void **state)
{
    static struct block *blocks[2 * BLOCK_UOPS_KEPT];
    struct lift *l = calloc(1, sizeof *l);
    struct block_store store = {0};
    struct error error = {0};
    assert_non_null(l);
    assert_true(block_store_create(&store, (size_t)128 << 20, &error));
    for (unsigned i = 0; i < 2 * BLOCK_UOPS_KEPT; i++) {
        blocks[i] = add(&store, l, 2 * i);
        blocks[i]->uop_count = LIFT_MAX_UOPS; // what is behind them does not matter
    }
    for (unsigned i = 0; i < BLOCK_UOPS_KEPT; i++) {
        const struct uop *uops = block_uops((struct block_cache *)(void *)&store, blocks[i]);
        const struct uop first = uops[0];
        for (unsigned k = 1; k <= BLOCK_UOPS_KEPT; k++)
            block_uops((struct block_cache *)(void *)&store, blocks[i + k]);
        assert_same(&uops[0], &first);
        assert_ptr_equal(block_uops((struct block_cache *)(void *)&store, blocks[i]), uops);
    }
    block_store_release(&store);
    free(l);
}

static void test_parts(void **state)
{
    struct lift *l = calloc(1, sizeof *l);
    struct block_store store = {0};
    struct error error = {0};
    struct block *first, *block;
    unsigned count = 0;
    assert_non_null(l);
    assert_true(block_store_create(&store, 1, &error)); // the least
    first = block = add(&store, l, 0);
    for (; block; block = add(&store, l, count)) {
        count++;
        assert_true((const uint8_t *)(block + 1) <= block_packed(block));
        assert_block(&store, l, block, count - 1);
    }
    assert_int_equal(store.part[0].count, count);
    assert_in_range(block_store_used(&store), BLOCK_STORE_LEAST / BLOCK_PARTS - 1000, BLOCK_STORE_LEAST / BLOCK_PARTS);
    assert_null(block_store_bytes(&store, BLOCK_STORE_LEAST / BLOCK_PARTS));
    for (unsigned i = 1; i <= BLOCK_PARTS; i++) {
        struct block_part *part = block_store_choose(&store, false);
        assert_ptr_equal(part, &store.part[i % BLOCK_PARTS]);
        block_store_renew(&store, part);
        block = add(&store, l, 1);
        assert_non_null(block);
        assert_true((uint8_t *)block >= store.arena && part->end <= store.arena + store.size);
        assert_non_null(block_store_bytes(&store, 100));
    }
    assert_ptr_equal(block, first);
    for (unsigned i = 0; i < 12; i++)
        add(&store, l, i); // 13 in the first part, one in each other
    for (unsigned i = 0; i < 10; i++)
        block_store_died(&store, first);
    assert_ptr_equal(block_store_choose(&store, false), &store.part[1]); // 3 of 13 live: the oldest
    block_store_died(&store, first);
    assert_ptr_equal(block_store_choose(&store, false), &store.part[0]);
    block_store_revived(&store, first);
    assert_ptr_equal(block_store_choose(&store, false), &store.part[1]);
    block_store_renew(&store, &store.part[5]);
    assert_ptr_equal(block_store_choose(&store, false), &store.part[5]); // nothing is there
    assert_ptr_equal(block_store_choose(&store, true), &store.part[1]);
    add(&store, l, 1);
    block_store_renew(&store, &store.part[1]);
    add(&store, l, 1);
    assert_ptr_equal(block_store_choose(&store, false), &store.part[2]);
    block_store_reset(&store);
    assert_int_equal(block_store_used(&store), 0);
    block_store_release(&store);
    free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packing), cmocka_unit_test(test_pairs), cmocka_unit_test(test_size),
        cmocka_unit_test(test_ring),    cmocka_unit_test(test_kept),  cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
