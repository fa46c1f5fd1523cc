// Host code that finds blocks the jump cache does not know: after an epoch, when a block died, when host code made room
// for other, at an alias where its branch leads to no canonical address.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/debug.h"
#include "support_guest.h"
#include "translate/code_cache.h"
#include "translate/translate.h"

#define PIECES_AT (GUEST_DATA + 0xb000) // pages that can be run
#define PIECE 32u
#define PIECES (4 * PAGE_SIZE / PIECE)
#define ADDEND 2u // in a piece

static const uint8_t start[] = {
    0xb8, 0,    0, 0, 0, // mov eax, PIECES_AT
    0xff, 0xe0,          // jmp rax
};
static const uint8_t piece[] = {
    0x83, 0xc3, 1,           // add ebx, 1
    0x48, 0x83, 0xc0, PIECE, // add rax, PIECE
    0xff, 0xe0,              // jmp rax
};

static void load(struct guest *g)
{
    static const uint8_t end[] = {0xf4};
    guest_reset(g, GUEST_64_CPL0, 1);
    guest_load(g, GUEST_CODE, start, sizeof start);
    guest_load(g, GUEST_CODE + 1, &(uint32_t){PIECES_AT}, 4);
    for (unsigned i = 0; i < PIECES; i++)
        guest_load(g, PIECES_AT + i * PIECE, i == PIECES - 1 ? end : piece,
                   i == PIECES - 1 ? sizeof end : sizeof piece);
}

/// Returns how often C entered host code or the interpreter a block.
static uint64_t run(struct guest *g, uint32_t sum)
{
    uint64_t before = g->cpu->stat_blocks;
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->activity = ACTIVITY_RUN;
    assert_int_equal(guest_run(g, 100000), STOP_HALT);
    assert_int_equal(g->cpu->activity, ACTIVITY_HALT);
    assert_int_equal(g->cpu->var[VAR_RBX], sum);
    return g->cpu->stat_blocks - before;
}

static void set_addend(struct guest *g, unsigned number, uint8_t addend)
{
    address_space_write_bytes(&g->space, PIECES_AT + number * PIECE + ADDEND, &addend, 1, true);
}

static void test_new_epochs(void **state)
{
    struct guest_pair *p = *state;
    struct guest *g = &p->jit;
    uint32_t sum = PIECES - 1;
    for (unsigned counting = 0; counting < 2; counting++) {
        sum = PIECES - 1;
        load(g);
        g->cpu->counting = counting;
        for (unsigned i = 0; i < 3; i++)
            run(g, sum);
        for (unsigned i = 0; i < 4; i++) {
            mmu_forget_fetches(&g->cpu->mmu);
            assert_in_range(run(g, sum), 1, PIECES / 16); // now and then for a guard
        }
        mmu_flush_all(&g->cpu->mmu); // a new TLB, too
        assert_in_range(run(g, sum), 1, PIECES / 16);
        for (unsigned i = 0; i < 40; i++) {
            set_addend(g, i * 7, (uint8_t)(2 + i));
            sum += 1 + i;
            if (i & 1)
                mmu_forget_fetches(&g->cpu->mmu);
            run(g, sum);
        }
    }
    g->cpu->counting = false;
}

static void test_breakpoint(void **state)
{
    struct guest_pair *p = *state;
    struct guest *g = &p->jit;
    unsigned number = PIECES / 2;
    load(g);
    for (unsigned i = 0; i < 3; i++)
        run(g, PIECES - 1);
    mmu_forget_fetches(&g->cpu->mmu);
    g->cpu->dr[0] = PIECES_AT + number * PIECE;
    g->cpu->dr[7] = 0x402; // G0: execution
    debug_update(g->cpu);
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->activity = ACTIVITY_RUN;
    assert_int_equal(guest_run(g, 100000), STOP_HALT);
    assert_int_equal(g->cpu->var[VAR_RIP], GUEST_HANDLERS + VECTOR_DB + 1);
    assert_int_equal(g->cpu->var[VAR_RBX], number);
    g->cpu->dr[7] = 0x400;
    debug_update(g->cpu);
}

/// Host code has room for part of the pieces only.
static void test_little_room(void **state)
{
    struct guest g;
    struct translate_statistics statistics;
    guest_start(&g, &engine_jit);
    translate_set_threshold(g.state, 0);
    translate_set_code_limit(g.state, 3 * CODE_REGION_LEAST);
    load(&g);
    for (unsigned i = 0; i < 20; i++) {
        if (i % 3)
            mmu_forget_fetches(&g.cpu->mmu);
        run(&g, PIECES - 1);
    }
    translate_statistics(g.state, &statistics);
    assert_true(statistics.evicted_blocks > PIECES);
    guest_end(&g);
}

#define EDGE UINT64_C(0x00007fffffe00000) // the last 2 MiB of the lower half
#define BRANCH (GUEST_DATA + 0xc000)
#define TO_BRANCH (BRANCH + 0x40) // a jump to it inside the page

/// A branch by 2 MiB, also mapped at the edge of linear addresses.
static void load_edge(struct guest *g)
{
    static const uint8_t call[] = {0xff, 0xd0, 0xf4};               // call rax; hlt
    static const uint8_t branch[] = {0xe9, 0xfb, 0xff, 0x1f, 0x00}; // jmp to 2 MiB on
    static const uint8_t to_branch[] = {0xeb, 0xbe};                // jmp BRANCH
    static const uint8_t back[] = {0xff, 0xc3, 0xc3};               // inc ebx; ret
    uint64_t tables;
    guest_reset(g, GUEST_64_CPL0, 1);
    tables = g->cpu->cr3;
    guest_load(g, tables + 255 * 8, &(uint64_t){(tables + 0x1000) | 7}, 8);
    guest_load(g, tables + 0x1000 + 511 * 8, &(uint64_t){(tables + 0x2000) | 7}, 8);
    guest_load(g, tables + 0x2000 + 511 * 8, &(uint64_t){(tables + 0x3000) | 7}, 8);
    guest_load(g, tables + 0x2000 + 8, &(uint64_t){(tables + 0x4000) | 7}, 8);
    guest_load(g, tables + 0x4000 + (BRANCH >> PAGE_SHIFT) % 512 * 8, &(uint64_t){(GUEST_DATA + 0xd000) | 7}, 8);
    guest_load(g, GUEST_CODE, call, sizeof call);
    guest_load(g, BRANCH, branch, sizeof branch);
    guest_load(g, TO_BRANCH, to_branch, sizeof to_branch);
    guest_load(g, GUEST_DATA + 0xd000, back, sizeof back);
}

/// The branch faults at the edge, not what it leads to.
static void call_branch(struct guest *g, uint64_t address, bool edge)
{
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RAX] = (edge ? EDGE : 0) + address;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->activity = ACTIVITY_RUN;
    assert_int_equal(guest_run(g, 1000), STOP_HALT);
    assert_int_equal(g->cpu->var[VAR_RBX], edge ? 0 : 1);
    assert_int_equal(g->cpu->var[VAR_RIP], edge ? GUEST_HANDLERS + VECTOR_GP + 1 : GUEST_CODE + 3);
    if (edge) {
        uint64_t rip;
        memcpy(&rip, g->memory.host + g->cpu->var[VAR_RSP] + 8, 8);
        assert_true(rip == EDGE + BRANCH);
    }
}

/// It is lifted where the branch is possible, then comes at the edge.
static void test_edge(void **state)
{
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    for (unsigned i = 0; i < 2; i++) {
        load_edge(guests[i]);
        for (unsigned round = 0; round < 20; round++) {
            call_branch(guests[i], BRANCH, round % 4 == 3);
            if (round % 8 > 4)
                mmu_forget_fetches(&guests[i]->cpu->mmu);
        }
    }
}

/// ... and is found by its page, because it runs too seldom for host code.
static void test_edge_in_page(void **state)
{
    struct guest g;
    guest_start(&g, &engine_jit);
    translate_set_threshold(g.state, 1000);
    load_edge(&g);
    for (unsigned round = 0; round < 8; round++)
        call_branch(&g, TO_BRANCH, round % 4 == 3);
    guest_end(&g);
}

/// ... and behind a jump inside the page, which knows it from another place of the page: by a link, or host code.
static void test_edge_behind_jump(void **state)
{
    static const uint8_t orders[] = {0xf8, 0x07, 0xaa, 0xe1}; // a bit per round: at the edge
    for (unsigned i = 0; i < 3 * ARRAY_SIZE(orders); i++) {
        struct guest g;
        guest_start(&g, i % 3 ? &engine_jit : &engine_interp);
        if (i % 3)
            translate_set_threshold(g.state, i % 3 == 1 ? 0 : 1000);
        load_edge(&g);
        for (unsigned round = 0; round < 24; round++)
            call_branch(&g, TO_BRANCH, orders[i / 3] >> round % 8 & 1);
        guest_end(&g);
    }
}

#define JUMPS (GUEST_DATA + 0xb000)   // a page that jumps inside
#define OTHER (GUEST_DATA + 0xc000)   // what is mapped there instead
#define SAME_SLOT UINT64_C(0x1000000) // so far apart two pages have the same slot of the TLB

static void run_at(struct guest *g, uint64_t address, uint64_t sum, unsigned limit)
{
    g->cpu->var[VAR_RIP] = address;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->activity = ACTIVITY_RUN;
    assert_int_equal(guest_run(g, limit), limit > 10 ? STOP_HALT : STOP_DEADLINE);
    assert_int_equal(g->cpu->var[VAR_RBX], sum);
}

/// Page tables change without INVLPG. So the jump cache knows a block of the page that was there, and what is behind it
/// is found in the new one: both are allowed. But at another address of the first page the two do not belong together.
static void test_remapped_without_a_word(void **state)
{
    static const uint8_t jump[] = {0xeb, 0x3e}, add[] = {0x83, 0xc3, 1, 0xf4}, add_two[] = {0x83, 0xc3, 2, 0xf4};
    for (unsigned i = 0; i < 3; i++) {
        struct guest g;
        uint64_t entries;
        guest_start(&g, i ? &engine_jit : &engine_interp);
        if (i)
            translate_set_threshold(g.state, i == 1 ? 0 : 1000);
        guest_reset(&g, GUEST_64_CPL0, 1);
        entries = g.cpu->cr3 + 0x3000;
        guest_load(&g, g.cpu->cr3 + 0x2000 + 8 * (SAME_SLOT >> 21), &(uint64_t){entries | 7}, 8);
        guest_load(&g, entries + 8 * (JUMPS >> PAGE_SHIFT), &(uint64_t){JUMPS | 7}, 8);
        guest_load(&g, JUMPS, jump, sizeof jump);
        guest_load(&g, JUMPS + 0x40, add, sizeof add);
        guest_load(&g, OTHER + 0x40, add_two, sizeof add_two);
        assert_int_equal(tlb_index(JUMPS), tlb_index(JUMPS + SAME_SLOT));
        run_at(&g, JUMPS, 0, 1);
        guest_load(&g, entries + 8 * (JUMPS >> PAGE_SHIFT), &(uint64_t){OTHER | 7}, 8);
        guest_load(&g, entries + 8 * (OTHER >> PAGE_SHIFT), &(uint64_t){JUMPS | 7}, 8);
        guest_load(&g, JUMPS + 0xfff, add + 3, 1);
        guest_load(&g, OTHER + 0xfff, add + 3, 1);
        run_at(&g, JUMPS + SAME_SLOT + 0xfff, 0, 1000);
        for (unsigned round = 0; round < 4; round++)
            run_at(&g, JUMPS, 2, 1000);
        for (unsigned round = 0; round < 4; round++)
            run_at(&g, OTHER, 1, 1000);
        guest_end(&g);
    }
}

/// What CS's limit cuts off is not fetched: #GP comes before the page fault behind the limit (SDM vol. 3 table 6-2).
static void test_limit_before_page(void **state)
{
    static const uint8_t crossing[] = {0x83, 0xc3};
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    for (unsigned i = 0; i < 2; i++) {
        struct guest *g = guests[i];
        for (unsigned round = 0; round < 4; round++) {
            bool crosses = round & 1, within = round & 2; // the page fault is within the limit
            uint64_t rip = crosses ? PAGE_SIZE - sizeof crossing : PAGE_SIZE, pushed;
            guest_reset(g, GUEST_32_CPL0, 1);
            memset(g->memory.host + GUEST_DATA + PAGE_SIZE, 0x90, PAGE_SIZE);
            if (crosses)
                guest_load(g, GUEST_DATA + 2 * PAGE_SIZE - sizeof crossing, crossing, sizeof crossing);
            cpu_set_segment_base(g->cpu, SEG_CS, GUEST_DATA + PAGE_SIZE); // page 2 is not present
            g->cpu->segment[SEG_CS].limit = within ? PAGE_SIZE : PAGE_SIZE - 1;
            cpu_update_mode(g->cpu);
            g->cpu->var[VAR_RIP] = PAGE_SIZE - 0x20;
            assert_int_equal(guest_run(g, 1000), STOP_HALT);
            assert_int_equal(g->cpu->var[VAR_RIP], GUEST_HANDLERS + (within ? VECTOR_PF : VECTOR_GP) + 1);
            memcpy(&pushed, g->memory.host + g->cpu->var[VAR_RSP] + 8, 8);
            assert_int_equal(pushed, rip);
        }
    }
}

#define TARGET (GUEST_DATA + 0xd000) // inc ebx; ret

/// Calls the two addresses in turn, by the same instruction.
static void call_in_turn(struct guest *g, unsigned calls, uint64_t one, uint64_t other)
{
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RAX] = one;
    g->cpu->var[VAR_RDX] = other;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->var[VAR_RCX] = calls;
    g->cpu->activity = ACTIVITY_RUN;
    assert_int_equal(guest_run(g, 10000), STOP_HALT);
    assert_int_equal(g->cpu->var[VAR_RBX], calls);
}

/// Two addresses that share a home in the jump cache: once both are known neither pushes the other out. What is called
/// much comes home.
static void test_same_home(void **state)
{
    static const uint8_t code[] = {0x0f, 0x1f, 0x40, 0x00, // nop: no two of these places share a home
                                   0xff, 0xd0,             // call rax
                                   0x48, 0x92,             // xchg rax, rdx
                                   0xff, 0xc9,             // dec ecx
                                   0x75, 0xf8,             // jnz to the call
                                   0xf4};
    struct guest g;
    const struct cpu_jump_entry *home, *victim;
    (void)state;
    guest_start(&g, &engine_jit);
    translate_set_threshold(g.state, 0);
    load_edge(&g);
    guest_load(&g, GUEST_CODE, code, sizeof code);
    assert_int_equal(jump_cache_index(TARGET), jump_cache_index(EDGE + TARGET));
    home = &g.cpu->jump_cache[jump_cache_index(TARGET)];
    call_in_turn(&g, 400, TARGET, EDGE + TARGET); // until the call has no guard any more
    for (unsigned round = 0; round < 4; round++) {
        uint64_t at_home = home->linear, other = at_home ^ EDGE;
        victim = &g.cpu->jump_cache[jump_victim_index(other)];
        assert_true(at_home == TARGET || at_home == EDGE + TARGET);
        assert_true(victim->linear == other);
        assert_ptr_not_equal(victim->chain, g.cpu->no_chain);
        call_in_turn(&g, 5, other, at_home);
        assert_true(home->linear == at_home); // C would have put the last one there
        call_in_turn(&g, 41, other, other);
        assert_true(home->linear == other);
        assert_true(g.cpu->jump_cache[jump_victim_index(at_home)].linear == at_home);
    }
    guest_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_epochs),        cmocka_unit_test(test_breakpoint),
        cmocka_unit_test(test_little_room),       cmocka_unit_test(test_edge),
        cmocka_unit_test(test_edge_in_page),      cmocka_unit_test(test_edge_behind_jump),
        cmocka_unit_test(test_same_home),         cmocka_unit_test(test_remapped_without_a_word),
        cmocka_unit_test(test_limit_before_page),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
