// Debug registers, traps between instructions, RF and alignment checks of the privileged machinery.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/debug.h"
#include "cpu/engine.h"
#include "support_system.h"

#define TABLE 0x20000u // page table with 4 KiB pages for the first MiB
#define CODE 0x30000u
#define DATA 0x40000u
#define HANDLER 0x50000u

enum { ON_CODE, ON_WRITE, ON_PORT, ON_ACCESS };

struct bench {
    struct fixture f;
    struct block_cache *blocks;
};

/// Long mode, ring 0, #DB to a handler that halts.
static void start(struct bench *b)
{
    struct error error = {0};
    fixture_start(&b->f, "max");
    b->blocks = block_cache_create(&b->f.memory, &b->f.model, 1 << 20, NULL, &error);
    assert_non_null(b->blocks);
    b->f.cpu->blocks = b->blocks;
    block_cache_attach(b->blocks, b->f.cpu);
    enter_long(&b->f, 0);
    for (uint64_t page = 0; page < 0x100000; page += PAGE_SIZE)
        poke(&b->f, TABLE + (page >> 12) * 8, page | 7, 8);
    poke(&b->f, PAGES + 0x2000, TABLE | 7, 8);
    mmu_flush_all(&b->f.cpu->mmu);
    poke_gate64(&b->f, VECTOR_DB, SEL_CODE0, HANDLER, 0x8e, 0);
    poke_gate64(&b->f, VECTOR_DE, SEL_CODE0, HANDLER, 0x8e, 0);
    poke_gate64(&b->f, 0x40, SEL_CODE0, HANDLER, 0x8e, 0);
    poke(&b->f, HANDLER, 0xf4, 1);
}

static void end(struct bench *b)
{
    fixture_end(&b->f);
    block_cache_destroy(b->blocks);
}

static void put(struct bench *b, const void *code, unsigned size)
{
    address_space_write_bytes(&b->f.space, CODE, code, size, true);
    b->f.cpu->var[VAR_RIP] = CODE;
    b->f.cpu->activity = ACTIVITY_RUN;
}

static enum engine_stop run(struct bench *b, uint64_t count)
{
    b->f.cpu->instruction_limit = b->f.cpu->instructions + count;
    return engine_interp.run(b->f.cpu, b->f.cpu);
}

static void set_dr(struct bench *b, unsigned n, uint64_t value)
{
    helper_set_debug(b->f.cpu, value, 0, n);
    expect_fault(&b->f, -1, 0);
}

static uint64_t break_on(unsigned n, unsigned kind, unsigned bytes)
{
    static const uint8_t length[9] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
    return (uint64_t)(kind | length[bytes] << 2) << (16 + 4 * n) | BIT(2 * n);
}

/// Return address and flags of the frame that the handler finds.
static void expect_frame(struct bench *b, uint64_t rip, bool resume)
{
    uint64_t sp = b->f.cpu->var[VAR_RSP];
    assert_int_equal(b->f.cpu->var[VAR_RIP], HANDLER + 1);
    assert_int_equal(peek(&b->f, sp, 8), rip);
    assert_int_equal(!!(peek(&b->f, sp + 16, 8) & FLAG_RF), resume);
}

static void halt_is_left_by_single_step(void **state)
{
    static const uint8_t code[] = {0xf4, 0x90};
    struct bench b;
    start(&b);
    put(&b, code, sizeof code);
    cpu_set_rflags(b.f.cpu, 2 | FLAG_TF);
    assert_int_equal(run(&b, 10), STOP_HALT); // the handler's
    expect_frame(&b, CODE + 1, false);
    assert_int_equal(b.f.cpu->dr[6] & DR6_KNOWN, DR6_BS);
    end(&b);
}

static void interrupts_between_iterations_push_rf(void **state)
{
    struct bench b;
    struct cpu *cpu;
    start(&b);
    cpu = b.f.cpu;
    cpu->var[VAR_RIP] = CODE;
    cpu->var[VAR_RDI] = DATA;
    cpu->var[VAR_RCX] = 3000;
    cpu->instructions = 100;
    // STOSB, 64-bit addresses, REP: gives way after a number of elements.
    assert_int_equal(helper_string(cpu, CODE, CODE + 2, 2 | 1 << 4 | WIDTH_64 << 8 | 3 << 12 | 1 << 16), CODE);
    assert_in_range(cpu->var[VAR_RCX], 1, 2999);
    cpu_deliver_interrupt(cpu, 0x40);
    assert_true(peek(&b.f, cpu->var[VAR_RSP] + 16, 8) & FLAG_RF);
    assert_false(cpu_rflags(cpu) & FLAG_RF);
    // The frame's RF comes back and lasts until the next instruction begins.
    assert_int_equal(helper_iret(cpu, 0, 0, 8), CODE);
    assert_true(cpu_rflags(cpu) & FLAG_RF);
    poke(&b.f, CODE, 0xf4, 1);
    assert_int_equal(run(&b, 1), STOP_DEADLINE);
    assert_false(cpu_rflags(cpu) & FLAG_RF);
    end(&b);
}

static void trap_waits_over_a_deadline(void **state)
{
    static const uint8_t code[] = {0x89, 0x03, 0x90, 0xf4}; // mov [rbx], eax; nop; hlt
    struct bench b;
    start(&b);
    put(&b, code, sizeof code);
    b.f.cpu->var[VAR_RBX] = DATA;
    set_dr(&b, 1, DATA + 3);
    set_dr(&b, 7, break_on(1, ON_WRITE, 1));
    assert_int_equal(run(&b, 1), STOP_DEADLINE);
    assert_int_equal(b.f.cpu->var[VAR_RIP], CODE + 2);
    assert_int_equal(b.f.cpu->debug_traps, 2);
    assert_int_equal(b.f.cpu->dr[6] & DR6_KNOWN, 0);
    assert_int_equal(run(&b, 10), STOP_HALT);
    expect_frame(&b, CODE + 2, false);
    assert_int_equal(b.f.cpu->dr[6] & DR6_KNOWN, 2);
    assert_int_equal(b.f.cpu->debug_traps, 0);
    end(&b);
}

static void mov_ss_holds_a_trap_over_a_fault(void **state)
{
    static const uint8_t code[] = {0x8e, 0x13, 0x31, 0xc9, 0xf7, 0xf1}; // mov ss, [rbx]; xor ecx, ecx; div ecx
    static const uint8_t at_once[] = {0x8e, 0x13, 0xf7, 0xf1};          // mov ss, [rbx]; div ecx
    struct bench b;
    start(&b);
    poke(&b.f, DATA, SEL_DATA0, 2);
    b.f.cpu->var[VAR_RBX] = DATA;
    b.f.cpu->var[VAR_RCX] = 0;
    set_dr(&b, 0, DATA);
    set_dr(&b, 7, break_on(0, ON_ACCESS, 2));
    put(&b, code, sizeof code);
    assert_int_equal(run(&b, 10), STOP_HALT);
    expect_frame(&b, CODE + 4, false);
    // The next instruction faults: the trap comes before the first one of the handler.
    put(&b, at_once, sizeof at_once);
    assert_int_equal(run(&b, 10), STOP_HALT);
    expect_frame(&b, HANDLER, false);
    assert_int_equal(peek(&b.f, b.f.cpu->var[VAR_RSP] + 48, 8), CODE + 2); // frames begin at a multiple of 16
    end(&b);
}

/// The frame of #DB hits a breakpoint, always in the same place: the trap after the trap never ends.
static void endless_traps_can_be_stopped(void **state)
{
    static const uint8_t code[] = {0xcc, 0xf4};
    struct bench b;
    struct cpu *cpu;
    start(&b);
    cpu = b.f.cpu;
    poke_gate64(&b.f, VECTOR_DB, SEL_CODE0, HANDLER, 0x8e, 1);
    poke_gate64(&b.f, VECTOR_BP, SEL_CODE0, HANDLER, 0x8e, 1);
    poke(&b.f, TSS_BASE + 0x24, STACK1, 8);
    set_dr(&b, 0, STACK1 - 8);
    set_dr(&b, 7, break_on(0, ON_WRITE, 8));
    put(&b, code, sizeof code);
    assert_int_equal(run(&b, 1000), STOP_DEADLINE);
    cpu_set_pending(cpu, PENDING_STOP);
    assert_int_equal(run(&b, 1000000), STOP_REQUEST);
    assert_int_equal(cpu->debug_traps, 1);
    cpu_set_pending(cpu, PENDING_INIT);
    poke(&b.f, 0xffff0, 0xf4, 1);
    run(&b, 1);
    assert_int_equal(cpu->debug_traps, 0);
    assert_int_equal(cpu->dr[7], DR7_ONES);
    end(&b);
}

static void other_code_pays_nothing(void **state)
{
    static const uint8_t code[] = {0x8b, 0x03, 0xff, 0xc8, 0x75, 0xfc, 0xf4}; // mov eax, [rbx]; dec eax; jnz -4; hlt
    struct bench b;
    struct block_statistics before, after;
    struct cpu *cpu;
    start(&b);
    cpu = b.f.cpu;
    cpu->var[VAR_RBX] = DATA;
    poke(&b.f, DATA, 50, 4);
    put(&b, code, sizeof code);
    assert_int_equal(run(&b, 1000), STOP_HALT);
    block_cache_statistics(b.blocks, &before);
    set_dr(&b, 0, DATA + 0x1000);
    set_dr(&b, 1, CODE + 0x1000);
    for (unsigned i = 0; i < 10; i++) {
        set_dr(&b, 7, i & 1 ? 0 : break_on(0, ON_ACCESS, 8) | break_on(1, ON_CODE, 1));
        cpu->var[VAR_RIP] = CODE;
        cpu->activity = ACTIVITY_RUN;
        assert_int_equal(run(&b, 1000), STOP_HALT);
        assert_non_null(tlb_lookup(&cpu->mmu, MMU_KERNEL, MMU_READ, DATA, 4));
    }
    block_cache_statistics(b.blocks, &after);
    assert_int_equal(after.lifted_blocks, before.lifted_blocks);
    assert_int_equal(after.flushes, before.flushes);
    end(&b);
}

static void watched_pages_have_no_entries(void **state)
{
    struct bench b;
    struct mmu *mmu;
    struct mmu_fault fault;
    uint64_t value;
    start(&b);
    mmu = &b.f.cpu->mmu;
    assert_true(mmu_read(mmu, MMU_KERNEL, DATA, 4, &value, &fault));
    assert_true(mmu_write(mmu, MMU_KERNEL, DATA, 4, 1, &fault));
    set_dr(&b, 2, DATA + 0x800);
    set_dr(&b, 7, break_on(2, ON_WRITE, 4));
    assert_null(tlb_lookup(mmu, MMU_KERNEL, MMU_WRITE, DATA, 4));
    assert_non_null(tlb_lookup(mmu, MMU_KERNEL, MMU_READ, DATA, 4)); // reads do not matter
    assert_true(mmu_write(mmu, MMU_KERNEL, DATA, 4, 1, &fault));
    assert_null(tlb_lookup(mmu, MMU_KERNEL, MMU_WRITE, DATA, 4));
    set_dr(&b, 7, break_on(2, ON_ACCESS, 4));
    assert_true(mmu_read(mmu, MMU_USER, DATA, 4, &value, &fault));
    assert_null(tlb_lookup(mmu, MMU_USER, MMU_READ, DATA, 4));
    assert_null(tlb_lookup(mmu, MMU_KERNEL, MMU_READ, DATA, 4));
    assert_int_equal(b.f.cpu->debug_traps, 0);
    set_dr(&b, 7, 0);
    assert_true(mmu_write(mmu, MMU_KERNEL, DATA, 4, 1, &fault));
    assert_non_null(tlb_lookup(mmu, MMU_KERNEL, MMU_WRITE, DATA, 4));
    end(&b);
}

static void watched_pages_of_spaces_that_wait(void **state)
{
    struct bench b;
    struct cpu *cpu;
    struct mmu *mmu;
    struct mmu_fault fault;
    uint64_t value;
    start(&b);
    cpu = b.f.cpu;
    mmu = &cpu->mmu;
    for (unsigned watched = 0; watched < 2; watched++) {
        mmu_set_control(mmu, cpu->cr0, PAGES | 1, cpu->cr4 | CR4_PCIDE, cpu->efer, true);
        assert_true(mmu_read(mmu, MMU_KERNEL, DATA, 4, &value, &fault));
        mmu_set_control(mmu, cpu->cr0, PAGES | 2, cpu->cr4 | CR4_PCIDE, cpu->efer, true);
        if (watched) {
            set_dr(&b, 0, DATA);
            set_dr(&b, 7, break_on(0, ON_ACCESS, 1));
        }
        mmu_set_control(mmu, cpu->cr0, PAGES | 1 | BIT(63), cpu->cr4 | CR4_PCIDE, cpu->efer, true);
        assert_int_equal(tlb_lookup(mmu, MMU_KERNEL, MMU_READ, DATA, 4) != NULL, !watched);
    }
    end(&b);
}

static uint32_t random_number(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/// What the bits must be, byte by byte.
static uint64_t naive_bits(const struct cpu *cpu, uint64_t first, unsigned size, bool write, bool port)
{
    static const uint8_t lengths[4] = {1, 2, 8, 4};
    uint64_t bits = 0, enabled = 0;
    for (unsigned n = 0; n < 4; n++) {
        unsigned kind = cpu->dr[7] >> (16 + 4 * n) & 3, length = lengths[cpu->dr[7] >> (18 + 4 * n) & 3];
        if (port ? kind != ON_PORT : kind != ON_ACCESS && (kind != ON_WRITE || !write))
            continue;
        for (unsigned i = 0; i < size; i++) {
            if ((first + i) / length == cpu->dr[n] / length)
                bits |= BIT(n);
        }
        if (cpu->dr[7] >> 2 * n & 3)
            enabled |= BIT(n);
    }
    return bits & enabled ? bits : 0;
}

static void bytes_that_hit(void **state)
{
    static const uint8_t sizes[] = {1, 2, 4, 8, 10, 16, 32, 64};
    struct bench b;
    struct cpu *cpu;
    uint32_t seed = 1;
    unsigned hits = 0;
    start(&b);
    cpu = b.f.cpu;
    cpu->cr4 |= CR4_DE;
    for (unsigned i = 0; i < 20000; i++) {
        struct mmu_handle handle;
        struct mmu_fault fault;
        unsigned size = sizes[random_number(&seed) % ARRAY_SIZE(sizes)];
        bool write = random_number(&seed) & 1;
        // Around a page's end. Only pages with an enabled breakpoint are looked at, so all share one page or none.
        uint64_t first = DATA + 0xfd0 + random_number(&seed) % 96, bits;
        if (i % 50 == 0) {
            for (unsigned n = 0; n < 4; n++)
                set_dr(&b, n, DATA + 0xfe0 + random_number(&seed) % 32);
            set_dr(&b, 7, random_number(&seed) << 8 | (random_number(&seed) & 0xff));
            cpu->dr[7] &= ~DR7_GD;
        }
        assert_true(mmu_access(&cpu->mmu, MMU_KERNEL, write ? MMU_WRITE : MMU_READ, first, size, &handle, &fault));
        bits = naive_bits(cpu, first, size, write, false);
        if (cpu->debug_traps != bits)
            fail_msg("access of %u at %llx: %x instead of %llx", size, (unsigned long long)first, cpu->debug_traps,
                     (unsigned long long)bits);
        assert_int_equal(handle.code, bits != 0);
        hits += bits != 0;
        cpu->debug_traps = 0;
    }
    assert_in_range(hits, 2000, 18000);
    for (unsigned n = 0; n < 4; n++)
        set_dr(&b, n, 0x70 + n * 5);
    for (unsigned i = 0; i < 4000; i++) {
        uint16_t port = (uint16_t)(0x68 + random_number(&seed) % 32);
        unsigned size = sizes[random_number(&seed) % 3];
        set_dr(&b, 7, (random_number(&seed) << 8 | (random_number(&seed) & 0xff)) & ~DR7_GD);
        debug_port(cpu, port, size);
        assert_int_equal(cpu->debug_traps, naive_bits(cpu, port, size, false, true));
        cpu->debug_traps = 0;
    }
    end(&b);
}

static void registers(void **state)
{
    struct bench b;
    struct cpu *cpu;
    start(&b);
    cpu = b.f.cpu;
    set_dr(&b, 3, UINT64_C(0x123456789abcdef0));
    assert_int_equal(helper_get_debug(cpu, 0, 0, 3), UINT64_C(0x123456789abcdef0));
    for (unsigned n = 6; n < 8; n++) {
        helper_set_debug(cpu, BIT(32), 0, n);
        expect_fault(&b.f, VECTOR_GP, 0);
    }
    set_dr(&b, 4, 0xffffffff); // is DR6 without CR4.DE
    assert_int_equal(cpu->dr[6], 0xffffefff);
    set_dr(&b, 6, 0);
    assert_int_equal(cpu->dr[6], 0xffff0ff0);
    set_dr(&b, 5, 0xffffdfff);
    assert_int_equal(cpu->dr[7], 0xffff07ff);
    cpu->cr4 |= CR4_DE;
    helper_get_debug(cpu, 0, 0, 4);
    expect_fault(&b.f, VECTOR_UD, -1);
    set_dr(&b, 7, 0x2000);
    helper_get_debug(cpu, 0, 0, 0);
    expect_fault(&b.f, VECTOR_DB, -1);
    assert_int_equal(cpu->dr[6] & DR6_KNOWN, DR6_BD);
    cpu_raise(cpu, VECTOR_DB);
    cpu->debugctl = DEBUGCTL_LBR | DEBUGCTL_BTF;
    cpu_deliver_fault(cpu);
    assert_false(cpu->dr[7] & DR7_GD);
    assert_int_equal(cpu->debugctl, 0);
    end(&b);
}

/// Real mode: breakpoints are linear addresses, CS and DS have bases.
static void real_mode(void **state)
{
    static const uint8_t code[] = {0x90, 0x88, 0x47, 0x02, 0x90, 0xf4}; // nop; mov [bx + 2], al; nop; hlt
    static const struct {
        unsigned kind, bytes;
        uint64_t address, ip, bits, flags;
    } cases[] = {
        {ON_CODE, 1, CODE + 1, 1, 1, 0},     {ON_CODE, 1, 1, 5, 0, 0}, // the offset alone
        {ON_WRITE, 2, DATA + 0x12, 4, 1, 0}, {ON_WRITE, 2, DATA + 0x14, 5, 0, 0},
        {ON_CODE, 1, 1, 1, DR6_BS, FLAG_TF},
    };
    struct bench b;
    struct cpu *cpu;
    start(&b);
    cpu = b.f.cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        cpu_reset(cpu, true);
        cpu->idt = (struct descriptor_table){.base = 0, .limit = 0x3ff};
        segment_set_real(cpu, SEG_CS, CODE >> 4, false);
        segment_set_real(cpu, SEG_DS, DATA >> 4, false);
        segment_set_real(cpu, SEG_SS, 0x600, false);
        put(&b, code, sizeof code);
        poke(&b.f, 4, (HANDLER >> 4) << 16, 4);
        cpu->var[VAR_RIP] = 0;
        cpu->var[VAR_RSP] = 0x100;
        cpu->var[VAR_RBX] = 0x10;
        set_dr(&b, 0, cases[i].address);
        set_dr(&b, 7, break_on(0, cases[i].kind, cases[i].bytes));
        cpu_set_rflags(cpu, 2 | cases[i].flags);
        assert_int_equal(run(&b, 20), STOP_HALT);
        assert_int_equal(cpu->dr[6] & DR6_KNOWN, cases[i].bits);
        if (cases[i].bits) {
            assert_int_equal(cpu->segment[SEG_CS].selector, HANDLER >> 4);
            assert_int_equal(peek(&b.f, 0x60fa, 2), cases[i].ip);
            assert_int_equal(peek(&b.f, 0x60fc, 2), CODE >> 4);
            assert_int_equal(peek(&b.f, 0x60fe, 2), 2 | cases[i].flags);
        } else
            assert_int_equal(cpu->var[VAR_RIP], 6);
    }
    end(&b);
}

static void frames_of_ring_3_are_aligned(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 3);
    f.cpu->cr0 |= CR0_AM;
    cpu_set_rflags(f.cpu, 2 | FLAG_AC);
    poke(&f, STACK3, 0x9000, 4);
    poke(&f, STACK3 + 4, SEL_CODE3, 4);
    f.cpu->var[VAR_RSP] = STACK3 + 2;
    helper_far_return(f.cpu, 0, 0, 4);
    expect_fault(&f, VECTOR_AC, 0);
    f.cpu->var[VAR_RSP] = STACK3;
    assert_int_equal(helper_far_return(f.cpu, 0, 0, 4), 0x9000);
    // A call through a gate writes to the stack of ring 0, which is not checked.
    poke_call_gate(&f, SEL_GATE, SEL_CODE0, 0x9000, 0xec, 0);
    poke(&f, TSS_BASE + 4, STACK0 + 1, 4);
    assert_int_equal(helper_far_direct(f.cpu, (uint64_t)SEL_GATE << 32, 0x8005, 4 | 1 << 8), 0x9000);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 + 1 - 16);
    // A far call in ring 3 does.
    enter_protected(&f, 3);
    cpu_set_rflags(f.cpu, 2 | FLAG_AC);
    f.cpu->var[VAR_RSP] = STACK3 + 1;
    helper_far_direct(f.cpu, 0x9000 | (uint64_t)SEL_CODE3 << 32, 0x8005, 4 | 1 << 8);
    expect_fault(&f, VECTOR_AC, 0);
    fixture_end(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(halt_is_left_by_single_step),
        cmocka_unit_test(interrupts_between_iterations_push_rf),
        cmocka_unit_test(trap_waits_over_a_deadline),
        cmocka_unit_test(mov_ss_holds_a_trap_over_a_fault),
        cmocka_unit_test(endless_traps_can_be_stopped),
        cmocka_unit_test(other_code_pays_nothing),
        cmocka_unit_test(watched_pages_have_no_entries),
        cmocka_unit_test(watched_pages_of_spaces_that_wait),
        cmocka_unit_test(bytes_that_hit),
        cmocka_unit_test(registers),
        cmocka_unit_test(real_mode),
        cmocka_unit_test(frames_of_ring_3_are_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
