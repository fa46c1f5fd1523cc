// Host code that is evicted by region: the bookkeeping, and a guest whose blocks jump to each other and change each
// other while room is short.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/code_cache.h"
#include "translate/translate.h"

// ---- bookkeeping ----------------------------------------------------------------------------------------------------
static void test_division(void **state)
{
    struct code_cache cache;
    size_t room;

    code_cache_divide(&cache, 4096, 4096 + CODE_REGION_LEAST);
    assert_int_equal(cache.count, 1);
    code_cache_divide(&cache, 4096, 4096 + 3 * CODE_REGION_LEAST + 1000);
    assert_int_equal(cache.count, 3);
    code_cache_divide(&cache, 4096, (size_t)64 << 20);
    assert_int_equal(cache.count, CODE_REGIONS);
    for (unsigned i = 0; i < cache.count; i++) {
        assert_int_equal(cache.region[i].start, i ? cache.region[i - 1].end : 4096);
        assert_int_equal(cache.region[i].start % CODE_ALIGNMENT, 0);
    }
    assert_in_range(cache.region[CODE_REGIONS - 1].end, ((size_t)64 << 20) - 200, (size_t)64 << 20);
    assert_int_equal(code_cache_place(&cache, &room), 4096);
    assert_int_equal(room, cache.region[0].end - 4096);
    assert_int_equal(code_cache_used(&cache), 0);
}

static void test_generations(void **state)
{
    struct code_cache cache;
    struct block block[9] = {{0}}, *list;
    size_t room;

    code_cache_divide(&cache, 0, 3 * CODE_REGION_LEAST);
    for (unsigned i = 0; i < 9; i++) { // three in each region; the last of each takes the rest
        if (i && i % 3 == 0)
            assert_false(code_cache_advance(&cache, &list));
        assert_int_equal(code_cache_region_empty(&cache), i % 3 == 0);
        code_cache_place(&cache, &room);
        code_cache_add(&cache, &block[i], i % 3 == 2 ? room : 100);
    }
    code_cache_place(&cache, &room);
    assert_int_equal(room, 0);
    assert_int_equal(code_cache_used(&cache), 3 * CODE_REGION_LEAST);
    for (unsigned region = 0; region < 3; region++) { // the oldest first
        assert_true(code_cache_advance(&cache, &list));
        assert_true(code_cache_region_empty(&cache));
        for (unsigned i = 3; i-- > 0;) {
            struct block *next = list->code_next;
            assert_ptr_equal(list, &block[region * 3 + i]);
            code_cache_remove(list);
            list = next;
        }
        assert_null(list);
        assert_int_equal(code_cache_used(&cache), (2 - region) * CODE_REGION_LEAST);
    }
    for (unsigned i = 0; i < 3; i++)
        code_cache_add(&cache, &block[i], 100);
    code_cache_remove(&block[1]);
    code_cache_remove(&block[1]);
    assert_ptr_equal(cache.region[cache.current].blocks, &block[2]);
    assert_ptr_equal(block[2].code_next, &block[0]);
    code_cache_remove(&block[2]);
    assert_ptr_equal(cache.region[cache.current].blocks, &block[0]);
    code_cache_remove(&block[0]);
    for (unsigned i = 0; i < 3; i++) // the block is gone, what jump caches know of its host code is not
        assert_int_equal(code_cache_advance(&cache, &list), i == 2);
    code_cache_add(&cache, &block[0], 100);
    code_cache_reset(&cache);
    assert_int_equal(code_cache_used(&cache), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(code_cache_advance(&cache, &list));
        assert_null(list);
    }
}

static void test_edges(void **state)
{
    struct host_edge edge[4] = {{0}};
    static _Alignas(struct block) struct block to[2];
    const struct block_store store = {.arena = (uint8_t *)to};
    const struct code_cache cache = {.memory = (uint8_t *)edge, .blocks = &store};
    uint32_t number[4];

    for (unsigned i = 0; i < 4; i++) {
        number[i] = code_edge_number(&cache, &edge[i]);
        assert_true(number[i] > 0 && !(number[i] & EDGE_OF_BLOCK));
        assert_ptr_equal(code_edge(&cache, number[i]), &edge[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        code_edge_connect(&cache, &edge[i], &to[0]);
    code_edge_disconnect(&cache, &edge[1]); // in the middle
    assert_int_equal(to[0].incoming, number[2]);
    assert_int_equal(edge[2].next, number[0]);
    assert_int_equal(edge[0].next, 0);
    code_edge_connect(&cache, &edge[2], &to[1]); // the first, to elsewhere
    assert_int_equal(to[0].incoming, number[0]);
    assert_int_equal(to[1].incoming, number[2]);
    code_edge_disconnect(&cache, &edge[0]);
    code_edge_disconnect(&cache, &edge[0]); // was none any more
    assert_int_equal(to[0].incoming, 0);
    code_edge_connect(&cache, &edge[3], &to[1]); // a loop
    code_edge_disconnect(&cache, &edge[2]);
    assert_int_equal(to[1].incoming, number[3]);
    code_edge_disconnect(&cache, &edge[3]);
    assert_int_equal(to[1].incoming, 0);
    edge[3].place = 1 + (uint32_t)((uint8_t *)&edge[3] - (uint8_t *)&edge[1]);
    assert_ptr_equal(code_edge_place(&edge[3]), (uint8_t *)&edge[1] - 1);
    assert_null(code_edge_place(&edge[0]));
}

// ---- a guest that has too little room ------------------------------------------------------------------------------
#define PIECE 48u // bytes
#define PIECES ((GUEST_DATA - GUEST_CODE) / PIECE)

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
    return at + 4;
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, unsigned size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/// Another piece; as often as not in the same page or near.
static unsigned choose(uint64_t *seed, unsigned from)
{
    uint64_t random = guest_random(seed);
    if (random & 1)
        return (unsigned)((random >> 8) % PIECES);
    return (unsigned)((from + (random >> 8) % 64) % PIECES);
}

static uint32_t distance(const uint8_t *code, const uint8_t *after, unsigned piece, unsigned offset)
{
    return (uint32_t)(code + piece * PIECE + offset - after);
}

/// The code pages are full of pieces that go on at one of two others, as rax says; each eighth of them changes the
/// constant that another one adds, or a bit of it forth and back.
static void make_pieces(uint8_t code[PIECES * PIECE], uint64_t seed)
{
    for (unsigned i = 0; i < PIECES; i++) {
        uint8_t *at = code + i * PIECE;
        at = put_bytes(at, "\x48\x69\xc0\x6d\x4e\xc6\x41", 7); // imul rax, rax, 0x41c64e6d
        at = put_bytes(at, "\x48\x05", 2);                     // add rax, a number
        at = put32(at, (uint32_t)guest_random(&seed));
        if (i % 8 == 0) {
            at = put_bytes(at, "\x89\x05", 2); // mov [rip + ...], eax
            at = put32(at, distance(code, at + 4, choose(&seed, i), 9));
        }
        if (i % 8 == 4) {
            at = put_bytes(at, "\x80\x35", 2); // xor byte [rip + ...], 1
            at = put32(at, distance(code, at + 5, choose(&seed, i), 9));
            *at++ = 1;
        }
        at = put_bytes(at, "\x48\x0f\xba\xe0\x25\x0f\x82", 7); // bt rax, 37; jc
        at = put32(at, distance(code, at + 4, choose(&seed, i), 0));
        *at++ = 0xe9; // jmp
        at = put32(at, distance(code, at + 4, choose(&seed, i), 0));
    }
}

static void compare(struct guest *interpreted, struct guest *translated)
{
    char text[512];
    if (!guest_equal(interpreted, translated, text, sizeof text))
        fail_msg("%s", text);
}

static void run_pieces(struct guest *interpreted, struct guest *translated, uint64_t seed, size_t limit)
{
    static uint8_t code[PIECES * PIECE];
    struct translate_statistics before, after;
    struct block_statistics blocks;

    make_pieces(code, seed);
    for (unsigned i = 0; i < 2; i++) {
        struct guest *g = i ? translated : interpreted;
        guest_reset(g, GUEST_64_CPL0, seed);
        guest_load(g, GUEST_CODE, code, sizeof code);
        g->cpu->var[VAR_RAX] = seed;
    }
    translate_set_code_limit(translated->state, limit);
    translate_statistics(translated->state, &before);
    for (unsigned i = 0; i < 75; i++) {
        uint64_t length = 1000 + guest_random(&seed) % 2000;
        assert_int_equal(guest_run(interpreted, length), STOP_DEADLINE);
        assert_int_equal(guest_run(translated, length), STOP_DEADLINE);
        compare(interpreted, translated);
    }
    translate_statistics(translated->state, &after);
    assert_true(after.code_evictions - before.code_evictions > 10);
    block_cache_statistics(translated->blocks, &blocks);
    assert_true(blocks.revived > 100);
    assert_true(after.evicted_blocks - before.evicted_blocks > 300);
    assert_true(after.host_instructions - before.host_instructions > 10000);
    assert_in_range(after.code_bytes, 1, limit < 65536 ? 65536 : limit);
}

static void test_little_room(void **state)
{
    static const unsigned regions[] = {1, 2, 3, 5};
    struct guest interpreted, translated;

    guest_start(&interpreted, &engine_interp);
    guest_start(&translated, &engine_jit);
    for (unsigned i = 0; i < 8; i++) {
        translate_set_threshold(translated.state, i / 4);
        run_pieces(&interpreted, &translated, i, regions[i % 4] * (CODE_REGION_LEAST + 4096));
    }
    guest_end(&interpreted);
    guest_end(&translated);
}

// ---- one mapping or two -------------------------------------------------------------------------------------------
/// Counts blocks whose host code runs where it is written.
static void note_place(void *opaque, const struct block *block, const uint8_t *code, size_t straight, size_t size)
{
    const uint8_t *runs = block_host_code(block);
    *(unsigned *)opaque += runs >= code && runs < code + size;
}

static void test_mappings(void **state)
{
    struct guest interpreted, translated;
    struct error error = {0};

    guest_start(&interpreted, &engine_interp);
    guest_start(&translated, &engine_jit);
    for (unsigned single = 0; single < 2; single++) {
        unsigned same = 0;
        struct translate_hooks hooks = {.made = note_place, .opaque = &same};
        assert_true(translate_set_code_memory(translated.state, TRANSLATE_CODE_MINIMUM, single, &error));
        translate_set_hooks(translated.state, &hooks);
        run_pieces(&interpreted, &translated, 99, 100000);
        assert_true(single ? same > 1000 : same == 0);
    }
    assert_false(translate_set_code_memory(translated.state, TRANSLATE_CODE_MINIMUM - 1, true, &error));
    guest_end(&interpreted);
    guest_end(&translated);
}

/// Room enough: nothing is evicted, and everything that is hot has host code.
static void test_much_room(void **state)
{
    static uint8_t code[PIECES * PIECE];
    struct translate_statistics statistics;
    struct guest g;

    guest_start(&g, &engine_jit);
    make_pieces(code, 1);
    guest_reset(&g, GUEST_64_CPL0, 1);
    guest_load(&g, GUEST_CODE, code, sizeof code);
    guest_run(&g, 50000);
    translate_statistics(g.state, &statistics);
    assert_int_equal(statistics.code_evictions, 0);
    assert_int_equal(statistics.evicted_blocks, 0);
    assert_int_equal(statistics.code_regions, CODE_REGIONS);
    assert_true(statistics.translated_blocks > 300);
    guest_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_division),    cmocka_unit_test(test_generations), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_little_room), cmocka_unit_test(test_much_room),   cmocka_unit_test(test_mappings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
