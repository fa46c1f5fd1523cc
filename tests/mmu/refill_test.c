// mmu_refill against mmu_access, what it leaves to that, the cache of page tables, and the vector registers that stay.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_board.h"
#include "support_random.h"

#define BASE UINT64_C(0x7f0000000000)
#define PAGES 24u
#define CODE_PAGE 0x9000u // physical

/// Rights of all sorts; RAM, ROM, a device, nothing.
static void random_page(struct board *b, struct random *random, uint64_t linear)
{
    static const uint64_t places[] = {0x5000, 0x6000, 0x7000, CODE_PAGE, DEVICE_START, ROM_START, HOLE_START};
    uint64_t physical = places[random_below(random, sizeof places / sizeof *places)];
    unsigned flags = (unsigned)(random_next(random) & (RW | US | A | D | G)) | (random_one_in(random, 5) ? 0 : P);
    board_map(b, linear, physical, flags);
    *board_table_entry(b, linear, 12) |= random_one_in(random, 4) ? BIT(63) : 0;
    if (random_one_in(random, 8)) // of 2 MiB
        *board_table_entry(b, linear, 21) &= ~(uint64_t)(random_one_in(random, 2) ? A : 0);
}

static void compare(struct board *b, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    struct mmu *mmu = b->mmu;
    bool code, crosses = (linear ^ (linear + size - 1)) & PAGE_MASK;
    uint8_t *host = mmu_refill(mmu, mode, kind, linear, size, &code);
    uint8_t *entry = tlb_lookup(mmu, mode, kind, linear, size);
    if (host) {
        assert_false(crosses);
        assert_true(mmu_paranoid_check(mmu, mode, kind, linear, host));
        assert_ptr_equal(entry, code ? NULL : host);
        assert_int_equal(code,
                         kind == MMU_WRITE && (uint64_t)(host - b->memory.host) / PAGE_SIZE == CODE_PAGE / PAGE_SIZE);
        return;
    }
    assert_null(entry);
    if (mmu_access(mmu, mode, kind, linear, size, &handle, &fault) && !crosses &&
        (handle.code || tlb_lookup(mmu, mode, kind, linear, size))) {
        // The MMU knows the pieces of RAM now.
        mmu_flush_all(mmu);
        host = mmu_refill(mmu, mode, kind, linear, size, &code);
        if (handle.piece[0].physical < RAM_SIZE)
            assert_ptr_equal(host, handle.piece[0].host);
        else
            assert_null(host);
    }
}

static void refill_does_what_the_access_does(void **state)
{
    struct random random = {3};
    struct board *b = board_create();
    board_long_mode(b, CR4_PGE | CR4_SMAP);
    b->memory.page_flags[CODE_PAGE >> PAGE_SHIFT] = PAGE_HAS_CODE;
    for (unsigned i = 0; i < 40000; i++) {
        uint64_t linear = BASE + random_below(&random, PAGES) * PAGE_SIZE * 64;
        random_page(b, &random, linear);
        if (random_one_in(&random, 2))
            mmu_flush_page(b->mmu, linear);
        else
            mmu_flush_all(b->mmu);
        if (random_one_in(&random, 50)) // not canonical
            linear ^= BIT(60);
        compare(b, (enum mmu_mode)random_below(&random, MMU_MODES), (enum mmu_access)random_below(&random, 3),
                linear + random_below(&random, PAGE_SIZE), 1u << random_below(&random, 4));
    }
    board_destroy(b);
}

static void watched_pages_are_left_alone(void **state)
{
    struct board *b = board_create();
    struct mmu_watch watch[MMU_WATCHES] = {{.page = BASE, .kinds = 1u << MMU_WRITE}};
    bool code;
    board_long_mode(b, 0);
    board_map(b, BASE, 0x5000, P | RW | A | D);
    assert_true(board_access(b, MMU_READ, BASE));
    mmu_set_watches(b->mmu, watch);
    assert_null(mmu_refill(b->mmu, MMU_KERNEL, MMU_WRITE, BASE, 1, &code));
    assert_false(board_cached(b, MMU_WRITE, BASE));
    assert_non_null(mmu_refill(b->mmu, MMU_KERNEL, MMU_READ, BASE, 1, &code));
    board_destroy(b);
}

static void dirty_bits_are_set(void **state)
{
    struct board *b = board_create();
    uint64_t *entry;
    bool code;
    board_long_mode(b, 0);
    board_map(b, BASE, 0x5000, P | RW);
    entry = board_table_entry(b, BASE, 12);
    assert_false(board_access(b, MMU_READ, BASE + PAGE_SIZE)); // the walk's RAM is known
    assert_non_null(mmu_refill(b->mmu, MMU_KERNEL, MMU_READ, BASE, 1, &code));
    assert_int_equal(*entry & (A | D), A);
    assert_non_null(mmu_refill(b->mmu, MMU_KERNEL, MMU_WRITE, BASE, 1, &code));
    assert_int_equal(*entry & (A | D), A | D);
    // Not where the entry shares its page with code: somebody has to be told.
    *entry &= ~(uint64_t)(A | D);
    mmu_flush_all(b->mmu);
    b->memory.page_flags[(uint64_t)((uint8_t *)entry - b->memory.host) >> PAGE_SHIFT] = PAGE_HAS_CODE;
    assert_null(mmu_refill(b->mmu, MMU_KERNEL, MMU_WRITE, BASE, 1, &code));
    assert_int_equal(b->code_calls, 0);
    assert_true(board_access(b, MMU_WRITE, BASE));
    assert_int_equal(b->code_calls, 1);
    board_destroy(b);
}

static uint8_t byte_at(struct board *b, uint64_t linear)
{
    uint64_t value = 0;
    struct mmu_fault fault;
    assert_true(mmu_read(b->mmu, MMU_KERNEL, linear, 1, &value, &fault));
    return (uint8_t)value;
}

/// Each way to invalidate drops page tables too, whatever page it names.
static void page_tables_are_forgotten(void **state)
{
    struct board *b = board_create();
    uint64_t table[2], at = BASE;
    board_long_mode(b, CR4_PCIDE);
    *board_table_entry(b, BASE, 21) = 0;
    for (unsigned i = 0; i < 2; i++) {
        table[i] = board_new_table(b);
        for (unsigned j = 0; j < 512; j++)
            *board_entry(b, table[i] + 8 * j) = (0x5000 + i * PAGE_SIZE) | P | RW | A | D;
        b->memory.host[0x5000 + i * PAGE_SIZE] = (uint8_t)i;
    }
    for (unsigned round = 0; round < 60; round++, at += PAGE_SIZE) {
        uint64_t *entry = board_table_entry(b, BASE, 21), physical;
        *entry = table[round & 1] | P | RW | US | A;
        assert_true(mmu_debug_translate(b->mmu, at, &physical)); // looks at memory
        assert_int_equal(physical, 0x5000 + (round & 1) * PAGE_SIZE);
        switch (round % 6) {
        case 0:
            mmu_flush_page(b->mmu, 0x1234567000); // any page
            break;
        case 1:
            mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE | CR4_PCIDE, EFER_LONG, true);
            break;
        case 2:
            mmu_set_control(b->mmu, CR0_ON, b->cr3 | 5, CR4_PAE | CR4_PCIDE, EFER_LONG, true);
            mmu_set_control(b->mmu, CR0_ON, b->cr3 | BIT(63), CR4_PAE | CR4_PCIDE, EFER_LONG, true);
            break;
        case 3:
            mmu_invalidate_pcid(b->mmu, 1, 0, 0);
            break;
        case 4:
            mmu_invalidate_pcid(b->mmu, 0, 0, 0x1234567000);
            break;
        default:
            mmu_invalidate_pcid(b->mmu, 3, 0, 0);
        }
        assert_int_equal(byte_at(b, at), round & 1); // `at` is new to the TLB
        assert_int_equal(byte_at(b, at + 100 * PAGE_SIZE), round & 1);
    }
    board_destroy(b);
}

static void generations_of_page_tables_restart(void **state)
{
    struct board *b = board_create();
    board_long_mode(b, 0);
    board_map(b, BASE, 0x5000, P | RW | A | D);
    board_map(b, BASE + PAGE_SIZE, 0x6000, P | RW | A | D);
    b->mmu->table_generation = 1;
    assert_true(board_access(b, MMU_READ, BASE));
    *board_table_entry(b, BASE, 21) ^= P;
    b->mmu->table_generation = MMU_TABLE_GENERATIONS - 1;
    mmu_flush_page(b->mmu, BASE);
    assert_int_equal(b->mmu->table_generation, 1);
    assert_false(board_access(b, MMU_READ, BASE + PAGE_SIZE));
    board_destroy(b);
}

#if defined(__x86_64__) && !defined(DOPPEL_SANITIZED)
typedef uint8_t registers[16][16];

/// Calls mmu_refill with all vector registers set; they are given back as it left them.
static void *call_with(registers *vectors, struct mmu *mmu, enum mmu_access kind, uint64_t linear)
{
    bool code;
    register uint64_t size __asm__("r8") = 8;
    register bool *out __asm__("r9") = &code;
    register registers *all __asm__("r12") = vectors;
    uint64_t host = (uint64_t)(uintptr_t)mmu_refill, mode = MMU_KERNEL, which = kind;
    __asm__ volatile("mov %%rsp, %%rbx\n sub $256, %%rsp\n and $-16, %%rsp\n"
                     "movups 0(%%r12), %%xmm0\n movups 16(%%r12), %%xmm1\n movups 32(%%r12), %%xmm2\n"
                     "movups 48(%%r12), %%xmm3\n movups 64(%%r12), %%xmm4\n movups 80(%%r12), %%xmm5\n"
                     "movups 96(%%r12), %%xmm6\n movups 112(%%r12), %%xmm7\n movups 128(%%r12), %%xmm8\n"
                     "movups 144(%%r12), %%xmm9\n movups 160(%%r12), %%xmm10\n movups 176(%%r12), %%xmm11\n"
                     "movups 192(%%r12), %%xmm12\n movups 208(%%r12), %%xmm13\n movups 224(%%r12), %%xmm14\n"
                     "movups 240(%%r12), %%xmm15\n"
                     "call *%%rax\n"
                     "movups %%xmm0, 0(%%r12)\n movups %%xmm1, 16(%%r12)\n movups %%xmm2, 32(%%r12)\n"
                     "movups %%xmm3, 48(%%r12)\n movups %%xmm4, 64(%%r12)\n movups %%xmm5, 80(%%r12)\n"
                     "movups %%xmm6, 96(%%r12)\n movups %%xmm7, 112(%%r12)\n movups %%xmm8, 128(%%r12)\n"
                     "movups %%xmm9, 144(%%r12)\n movups %%xmm10, 160(%%r12)\n movups %%xmm11, 176(%%r12)\n"
                     "movups %%xmm12, 192(%%r12)\n movups %%xmm13, 208(%%r12)\n movups %%xmm14, 224(%%r12)\n"
                     "movups %%xmm15, 240(%%r12)\n"
                     "mov %%rbx, %%rsp"
                     : "+a"(host), "+D"(mmu), "+S"(mode), "+d"(which), "+c"(linear), "+r"(size), "+r"(out)
                     : "r"(all)
                     : "rbx", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return (void *)(uintptr_t)host;
}

static void vector_registers_stay(void **state)
{
    struct random random = {9};
    struct board *b = board_create();
    unsigned found = 0;
    board_long_mode(b, CR4_PGE);
    *board_table_entry(b, BASE + BIT(30), 21) = 0x200000 | P | RW | PS;
    assert_false(board_access(b, MMU_READ, BASE));
    for (unsigned i = 0; i < 3000; i++) {
        registers before, after;
        uint64_t linear = BASE + random_below(&random, PAGES) * PAGE_SIZE * 64;
        for (unsigned j = 0; j < sizeof before; j++)
            before[j / 16][j % 16] = (uint8_t)random_next(&random);
        memcpy(after, before, sizeof after);
        random_page(b, &random, linear);
        if (random_one_in(&random, 2))
            mmu_flush_page(b->mmu, linear);
        if (random_one_in(&random, 20))
            linear = BASE + BIT(30) + random_below(&random, 512) * PAGE_SIZE;
        found += call_with(&after, b->mmu, (enum mmu_access)random_below(&random, 3), linear) != NULL;
        assert_memory_equal(before, after, sizeof before);
    }
    assert_in_range(found, 300, 2900);
    board_destroy(b);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refill_does_what_the_access_does),
        cmocka_unit_test(watched_pages_are_left_alone),
        cmocka_unit_test(dirty_bits_are_set),
        cmocka_unit_test(page_tables_are_forgotten),
        cmocka_unit_test(generations_of_page_tables_restart),
#if defined(__x86_64__) && !defined(DOPPEL_SANITIZED)
        cmocka_unit_test(vector_registers_stay),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
