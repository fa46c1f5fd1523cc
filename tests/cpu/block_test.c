// Block cache and interpreter: links inside a page, aliases, self-modifying code, exact counts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/engine.h"
#include "support_system.h"

#define TABLE 0x20000u // page table with 4 KiB pages for the first 2 MiB
#define CODE 0x30000u

struct bench {
    struct fixture f;
    struct block_cache *blocks;
};

static void map(struct bench *b, uint64_t linear, uint64_t physical)
{
    poke(&b->f, TABLE + (linear >> 12) * 8, physical | 7, 8);
    mmu_flush_page(&b->f.cpu->mmu, linear);
}

static void start_with(struct bench *b, size_t bytes)
{
    struct error error = {0};
    fixture_start(&b->f, "max");
    b->blocks = block_cache_create(&b->f.memory, &b->f.model, bytes, NULL, &error);
    assert_non_null(b->blocks);
    b->f.cpu->blocks = b->blocks;
    block_cache_attach(b->blocks, b->f.cpu);
    enter_long(&b->f, 0);
    for (uint64_t page = 0; page < 0x100000; page += PAGE_SIZE)
        map(b, page, page);
    poke(&b->f, PAGES + 0x2000, TABLE | 7, 8);
    mmu_flush_all(&b->f.cpu->mmu);
}

static void start(struct bench *b)
{
    start_with(b, 1 << 20);
}

static void end(struct bench *b)
{
    fixture_end(&b->f);
    block_cache_destroy(b->blocks);
}

static void put(struct bench *b, uint64_t at, const void *code, unsigned size)
{
    address_space_write_bytes(&b->f.space, at, code, size, true);
}

/// Runs from `at` for at most `count` instructions.
static enum engine_stop run(struct bench *b, uint64_t at, uint64_t count)
{
    struct cpu *cpu = b->f.cpu;
    cpu->var[VAR_RIP] = at;
    cpu->activity = ACTIVITY_RUN;
    cpu->instruction_limit = cpu->instructions + count;
    return engine_interp.run(cpu, cpu);
}

static void alias_is_no_successor(void **state)
{
    // jmp CODE + 0x1100, by way of a second linear page that leads to the same backing page
    static const uint8_t jump[] = {0xe9, 0xfb, 0x10, 0, 0};
    static const uint8_t one[] = {0xb8, 1, 0, 0, 0, 0xf4}, two[] = {0xb8, 2, 0, 0, 0, 0xf4};
    struct bench b;
    start(&b);
    put(&b, CODE, jump, sizeof jump);
    put(&b, CODE + 0x100, one, sizeof one);
    put(&b, CODE + 0x10100, two, sizeof two);
    map(&b, CODE + 0x1000, CODE);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(run(&b, CODE, 100), STOP_HALT);
        assert_int_equal(b.f.cpu->var[VAR_RAX], 1);
    }
    map(&b, CODE + 0x1000, CODE + 0x10000);
    assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 2);
    end(&b);
}

static void store_into_the_next_instruction(void **state)
{
    static const uint8_t code[] = {
        0xc6, 0x05, 1, 0, 0, 0, 2, // mov byte ptr [rip + 1], 2
        0xb0, 1,                   // mov al, 1
        0xf4,
    };
    struct bench b;
    struct block_statistics statistics;
    start(&b);
    put(&b, CODE, code, sizeof code);
    uint64_t before = b.f.cpu->instructions;
    assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX] & 0xff, 2);
    assert_int_equal(b.f.cpu->instructions - before, 3);
    block_cache_statistics(b.blocks, &statistics);
    assert_int_equal(statistics.invalidated, 1);
    end(&b);
}

static void data_in_another_granule_keeps_code(void **state)
{
    static const uint8_t code[] = {
        0xc6, 0x05, 0xf9, 0, 0, 0, 2, // mov byte ptr [rip + 0xf9], 2
        0xf4,
    };
    struct bench b;
    struct block_statistics statistics;
    start(&b);
    put(&b, CODE, code, sizeof code);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(peek(&b.f, CODE + 0x100, 1), 2);
    block_cache_statistics(b.blocks, &statistics);
    assert_int_equal(statistics.invalidated, 0);
    assert_int_equal(statistics.lifted_blocks, 1);
    end(&b);
}

/// Bytes decide, not granules: of `distance` bytes behind the store's instruction one is overwritten by what it is, in
/// each of three runs. Returns how many blocks died.
static uint64_t deaths(unsigned distance)
{
    uint8_t code[] = {0xc6, 0x05, (uint8_t)distance,
                      0,    0,    0,
                      0x90,             // mov byte ptr [rip + distance], 0x90
                      0x90, 0x90, 0xf4, // nop; nop; hlt
                      0x90, 0x90};
    struct bench b;
    struct block_statistics statistics;
    start(&b);
    put(&b, CODE, code, sizeof code);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RIP], CODE + 10);
    block_cache_statistics(b.blocks, &statistics);
    end(&b);
    return statistics.invalidated;
}

static void only_bytes_of_a_block_kill_it(void **state)
{
    assert_int_equal(deaths(0), 5); // what goes on behind the store is a block, too
    assert_int_equal(deaths(1), 5);
    assert_int_equal(deaths(3), 0);
    assert_int_equal(deaths(4), 0);
    assert_int_equal(deaths((unsigned)-8 & 0xff), 0); // +0xf8
}

/// Code that changes between two variants is lifted twice, however often it changes.
static void variants_live_again(void **state)
{
    static const uint8_t code[] = {
        0x80, 0x35, 1,    0,    0, 0, 1, // xor byte ptr [rip + 1], 1
        0x05, 0,    0,    0,    0,       // add eax, 0
        0xff, 0xc9, 0x75, 0xf0,          // dec ecx; jnz to the start
        0xf4,
    };
    struct bench b;
    struct block_statistics before, after;
    start(&b);
    put(&b, CODE, code, sizeof code);
    b.f.cpu->var[VAR_RCX] = 10;
    assert_int_equal(run(&b, CODE, 1000), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 5);
    block_cache_statistics(b.blocks, &before);
    b.f.cpu->var[VAR_RCX] = 1001;
    assert_int_equal(run(&b, CODE, 10000), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 5 + 501);
    block_cache_statistics(b.blocks, &after);
    assert_int_equal(after.lifted_blocks, before.lifted_blocks);
    assert_true(after.revived - before.revived > 1000);
    put(&b, CODE + 8, "\x07", 1); // a third
    b.f.cpu->var[VAR_RCX] = 2;
    assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 5 + 501 + 6 + 7);
    end(&b);
}

/// More variants than are remembered.
static void many_variants_are_all_right(void **state)
{
    static const uint8_t code[] = {
        0xfe, 0x05, 1,    0,    0, 0, // inc byte ptr [rip + 1]
        0x05, 0,    0,    0,    0,    // add eax, 0
        0xff, 0xc9, 0x75, 0xf1,       // dec ecx; jnz to the start
        0xf4,
    };
    struct bench b;
    start(&b);
    put(&b, CODE, code, sizeof code);
    b.f.cpu->var[VAR_RCX] = 2560; // the byte runs through all its values ten times
    assert_int_equal(run(&b, CODE, 100000), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 10 * 255 * 128);
    end(&b);
}

/// One illegal instruction is as long as any could be: it depends on bytes behind the ones that were looked at.
static void illegal_instruction_changes(void **state)
{
    static const uint8_t code[] = {0xc7, 0xc8, 1, 0, 0, 0, 0xf4}; // group 11, /1: none; with /0 mov eax, 1
    struct bench b;
    struct block_statistics statistics;
    start(&b);
    put(&b, CODE, code, sizeof code);
    run(&b, CODE, 1);
    put(&b, CODE + 1, "\xc0", 1);
    assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 1);
    block_cache_statistics(b.blocks, &statistics);
    assert_true(statistics.invalidated > 0);
    end(&b);
}

/// An instruction over the end of CS faults, and no more when the end moves.
static void code_limit_moves(void **state)
{
    static const uint8_t code[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4}; // mov eax; hlt
    struct bench b;
    struct cpu *cpu;
    start(&b);
    cpu = b.f.cpu;
    cpu->segment[SEG_CS].rights ^= SEGMENT_L | SEGMENT_DB; // 32-bit code
    put(&b, CODE, code, sizeof code);
    for (unsigned i = 0; i < 4; i++) {
        struct block *block;
        cpu->segment[SEG_CS].limit = CODE + (i & 1 ? 0xff : 3);
        cpu->var[VAR_RAX] = 0;
        cpu->var[VAR_RIP] = CODE;
        cpu_update_mode(cpu);
        block = block_find(cpu, 0);
        assert_non_null(block);
        interp_block(cpu, block);
        expect_fault(&b.f, i & 1 ? -1 : VECTOR_GP, 0);
        assert_int_equal(cpu->var[VAR_RAX], i & 1 ? 0x44332211 : 0);
    }
    end(&b);
}

static void crossing_instruction_sees_both_pages(void **state)
{
    static const uint8_t code[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4}; // mov eax over the page's end
    struct bench b;
    start(&b);
    put(&b, CODE + 0xffd, code, sizeof code);
    put(&b, CODE + 0x11000, (const uint8_t[]){0x55, 0x66, 0xf4}, 3);
    assert_int_equal(run(&b, CODE + 0xffd, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 0x44332211);
    map(&b, CODE + 0x1000, CODE + 0x11000); // only the second page changes
    assert_int_equal(run(&b, CODE + 0xffd, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 0x66552211);
    put(&b, CODE + 0x11000, (const uint8_t[]){0x77}, 1); // or is written
    assert_int_equal(run(&b, CODE + 0xffd, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 0x66772211);
    map(&b, CODE + 0x1000, CODE); // the second page is the first again
    put(&b, CODE, (const uint8_t[]){0x12, 0x34, 0xf4}, 3);
    assert_int_equal(run(&b, CODE + 0xffd, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 0x34122211);
    put(&b, CODE + 1, (const uint8_t[]){0x56}, 1);
    assert_int_equal(run(&b, CODE + 0xffd, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RAX], 0x56122211);
    end(&b);
}

static void limits_are_exact(void **state)
{
    static const uint8_t code[] = {
        0xb9, 100,  0, 0, 0, // mov ecx, 100
        0x01, 0xc8,          // add eax, ecx
        0xff, 0xc9,          // dec ecx
        0x75, 0xfa,          // jnz
        0xf4,
    };
    struct bench b;
    start(&b);
    put(&b, CODE, code, sizeof code);
    for (uint64_t piece = 1; piece < 40; piece++) {
        uint64_t at = CODE, begin = b.f.cpu->instructions, steps = 0;
        b.f.cpu->var[VAR_RAX] = 0;
        // The halt itself may be the last counted instruction.
        while (run(&b, at, piece) == STOP_DEADLINE && b.f.cpu->activity == ACTIVITY_RUN) {
            steps++;
            assert_int_equal(b.f.cpu->instructions - begin, steps * piece);
            at = b.f.cpu->var[VAR_RIP];
        }
        assert_int_equal(b.f.cpu->var[VAR_RAX], 5050);
        assert_int_equal(b.f.cpu->instructions - begin, 302);
    }
    end(&b);
}

static void near_branch_to_nowhere_faults_itself(void **state)
{
    static const uint8_t code[] = {
        0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, // mov rax, 0x8000000000000000
        0xff, 0xe0,                            // jmp rax
    };
    struct bench b;
    start(&b);
    put(&b, CODE, code, sizeof code);
    poke_gate64(&b.f, VECTOR_GP, SEL_CODE64, 0x9000, 0x8e, 0);
    put(&b, 0x9000, (const uint8_t[]){0x5b, 0x5b, 0xf4}, 3); // pop rbx: error code, then RIP
    assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RBX], CODE + 10);
    end(&b);
}

/// Code of many times the memory for blocks: a page full of "inc eax; jmp +0", run again and again with bytes that
/// differ each time, and a hot loop in between. Old blocks make room for new ones, what is new stays, nothing is mixed
/// up.
/// Runs straight code that was not there before until `evictions` parts of the memory were used anew.
static void fill_until(struct bench *b, uint64_t evictions, unsigned *round)
{
    struct block_statistics statistics;
    do {
        unsigned page = CODE + 0x2000 + *round % 40 * 0x1000, at;
        for (at = 0; at < 0xff0; at += 4) { // add al, n; jmp to the next
            const uint8_t step[] = {0x04, (uint8_t)(1 + *round % 200), 0xeb, 0};
            put(b, page + at, step, sizeof step);
        }
        put(b, page + at, (const uint8_t[]){0xf4}, 1);
        assert_int_equal(run(b, page, 10000), STOP_HALT);
        (*round)++;
        block_cache_statistics(b->blocks, &statistics);
    } while (statistics.evictions < evictions);
}

/// A younger block is linked to an older one, whose memory is used anew first.
static void links_to_old_blocks_go(void **state)
{
    static const uint8_t target[] = {0xff, 0xc3, 0xf4},
                         jump[] = {0xe9, 0xfb, 0xfe, 0xff, 0xff}; // inc ebx; hlt. jmp there
    struct block_statistics statistics;
    struct bench b;
    unsigned round = 0;
    start(&b);
    put(&b, CODE, target, sizeof target);
    put(&b, CODE + 0x100, jump, sizeof jump);
    fill_until(&b, 9, &round);
    assert_int_equal(run(&b, CODE, 100), STOP_HALT);
    block_cache_statistics(b.blocks, &statistics);
    fill_until(&b, statistics.evictions + 4, &round);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(run(&b, CODE + 0x100, 100), STOP_HALT);
    fill_until(&b, statistics.evictions + 9, &round);
    b.f.cpu->var[VAR_RBX] = 0;
    assert_int_equal(run(&b, CODE + 0x100, 100), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RBX], 1);
    end(&b);
}

static void old_blocks_make_room(void **state)
{
    static const uint8_t loop[] = {0xb9, 50, 0, 0, 0, 0xff, 0xc3, 0xe2, 0xfc, 0xf4}; // ecx = 50; ebx++; loop; hlt
    struct block_statistics before, after;
    struct bench b;
    uint64_t hot = 0;
    start(&b);
    put(&b, CODE, loop, sizeof loop);
    for (unsigned round = 0; round < 60; round++) {
        unsigned page = CODE + 0x1000 + round % 40 * 0x1000, count = 0, at;
        for (at = 0; at < 0xff0; at += 4, count++) { // add al, 1 or 2 or 3; jmp to the next
            const uint8_t step[] = {0x04, (uint8_t)(1 + round % 3), 0xeb, 0};
            put(&b, page + at, step, sizeof step);
        }
        put(&b, page + at, (const uint8_t[]){0xf4}, 1);
        b.f.cpu->var[VAR_RAX] = 0;
        assert_int_equal(run(&b, page, 10000), STOP_HALT);
        assert_int_equal(b.f.cpu->var[VAR_RAX], (uint8_t)(count * (1 + round % 3)));
        b.f.cpu->var[VAR_RBX] = 0;
        assert_int_equal(run(&b, CODE, 10000), STOP_HALT);
        assert_int_equal(b.f.cpu->var[VAR_RBX], 50);
        block_cache_statistics(b.blocks, &before);
        assert_int_equal(run(&b, page, 10000), STOP_HALT); // still known
        block_cache_statistics(b.blocks, &after);
        hot += after.lifted_blocks - before.lifted_blocks;
        assert_true(after.bytes_used <= 1 << 20);
    }
    assert_true(after.evictions > 16); // all memory was used anew more than once
    assert_int_equal(after.flushes, 0);
    assert_true(hot < after.lifted_blocks / 50);
    // A store finds the blocks that are there, and only those.
    put(&b, CODE + 5, (const uint8_t[]){0xff, 0xcb}, 2); // ebx--
    b.f.cpu->var[VAR_RBX] = 100;
    assert_int_equal(run(&b, CODE, 10000), STOP_HALT);
    assert_int_equal(b.f.cpu->var[VAR_RBX], 50);
    end(&b);
}

/// Small blocks that live fill the table's slots before the memory. Some go then, too: what is new is kept.
static void full_table_makes_room(void **state)
{
    struct block_statistics before, after;
    struct bench b;
    start_with(&b, (1 << 20) - (16 << 10)); // 4096 slots
    for (unsigned page = CODE; page < CODE + 24 * PAGE_SIZE; page += PAGE_SIZE) {
        unsigned at;
        for (at = 0; at < 0xff0; at += 2) // jmp to the next
            put(&b, page + at, (const uint8_t[]){0xeb, 0}, 2);
        put(&b, page + at, (const uint8_t[]){0xf4}, 1);
        for (unsigned part = 0; part < 0xff0; part += 0x330) {
            assert_int_equal(run(&b, page + part, 300), STOP_DEADLINE);
            block_cache_statistics(b.blocks, &before);
            assert_int_equal(run(&b, page + part, 300), STOP_DEADLINE);
            block_cache_statistics(b.blocks, &after);
            assert_true(after.lifted_blocks - before.lifted_blocks < 10);
        }
    }
    assert_true(after.evictions > 4);
    assert_true(after.bytes_used < 800 << 10);
    end(&b);
}

/// Stores here and there into a page of blocks, long and short ones that lie in each other, with bytes that they had
/// before or not: what runs is always what stands there.
static void stores_find_their_blocks(void **state)
{
    enum { LONG = 44, ROUNDS = 3000 }; // a long piece: 6 * 7 bytes, and a jump
    uint8_t page[PAGE_SIZE] = {0};
    uint64_t random = 1;
    struct block_statistics statistics;
    struct bench b;
    unsigned at = 0, places[PAGE_SIZE / 7], place_count = 0;
    start(&b);
    for (unsigned i = 0; at + LONG + 8 < PAGE_SIZE; i++) {
        for (unsigned k = 0; k < (i % 3 ? 1 : 6); k++) { // add ecx, n
            memcpy(page + at, (const uint8_t[]){0x67, 0x67, 0x67, 0x67, 0x83, 0xc1, 1}, 7);
            places[place_count++] = at;
            at += 7;
        }
        memcpy(page + at, (const uint8_t[]){0xeb, 0}, 2);
        at += 2;
    }
    page[at] = 0xf4;
    put(&b, CODE, page, sizeof page);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned from, sum = 0, place;
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        place = places[(random >> 33) % place_count];
        page[place + 6] = random >> 20 & 3;
        put(&b, CODE + place + 6, &page[place + 6], 1);
        from = (unsigned)(random >> 45) % place_count; // some blocks begin there, inside of others
        for (unsigned i = from; i < place_count; i++)
            sum += page[places[i] + 6];
        b.f.cpu->var[VAR_RCX] = 0;
        assert_int_equal(run(&b, CODE + places[from], 10000), STOP_HALT);
        assert_int_equal(b.f.cpu->var[VAR_RCX], sum);
    }
    block_cache_statistics(b.blocks, &statistics);
    assert_true(statistics.invalidated > ROUNDS / 2);
    assert_true(statistics.revived > ROUNDS / 50);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alias_is_no_successor),
        cmocka_unit_test(store_into_the_next_instruction),
        cmocka_unit_test(only_bytes_of_a_block_kill_it),
        cmocka_unit_test(variants_live_again),
        cmocka_unit_test(many_variants_are_all_right),
        cmocka_unit_test(code_limit_moves),
        cmocka_unit_test(illegal_instruction_changes),
        cmocka_unit_test(data_in_another_granule_keeps_code),
        cmocka_unit_test(crossing_instruction_sees_both_pages),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(old_blocks_make_room),
        cmocka_unit_test(full_table_makes_room),
        cmocka_unit_test(links_to_old_blocks_go),
        cmocka_unit_test(near_branch_to_nowhere_faults_itself),
        cmocka_unit_test(stores_find_their_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
