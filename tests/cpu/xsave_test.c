// XSAVE, XSAVEOPT, XSAVEC, XRSTOR against the host processor, with random states, masks and areas; and what user code
// of the host cannot show: headers that are refused, features that are off, page ends, the supervisor forms, XCR0.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/fpu.h"
#include "cpu/support_rows.h"
#include "cpu/support_system.h"
#include "cpu/xsave.h"
#include "support_native.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static struct row_index *rows;

enum { AREA = 0x20000, GUARD = 0x30000, AREA_BYTES = XSAVE_LEGACY_AND_HEADER + XSAVE_AVX_BYTES };

// 48 0F AE 27 and the like: [rdi].
enum instruction { XSAVE, XRSTOR, XSAVEOPT, XSAVEC, XSAVES, XRSTORS, FIRST_SUPERVISOR = XSAVES };
static const struct {
    const char *name;
    uint8_t opcode, digit;
    uint64_t how;
    bool restore;
} instructions[] = {
    [XSAVE] = {"xsave", 0xae, 4, 0, false},
    [XRSTOR] = {"xrstor", 0xae, 5, 0, true},
    [XSAVEOPT] = {"xsaveopt", 0xae, 6, XSAVE_OPTIMIZED, false},
    [XSAVEC] = {"xsavec", 0xc7, 4, XSAVE_COMPACTED, false},
    [XSAVES] = {"xsaves", 0xc7, 5, XSAVE_COMPACTED | XSAVE_SUPERVISOR, false},
    [XRSTORS] = {"xrstors", 0xc7, 3, XSAVE_SUPERVISOR, true},
};

/// Decodes, lifts and runs the instruction on the area at linear `address`; the fault's vector, or -1.
static int run(struct fixture *f, enum instruction instruction, bool wide, uint64_t address, uint64_t mask)
{
    struct cpu *cpu = f->cpu;
    const uint8_t bytes[] = {0x48, 0x0f, instructions[instruction].opcode,
                             (uint8_t)(7 | instructions[instruction].digit << 3)};
    const uint8_t *at = bytes + !wide;
    struct insn insn;
    assert_int_equal(decode(rows, &f->model, cpu->mode, at, (unsigned)(bytes + 4 - at), &insn), DECODE_OK);
    uint64_t how = instructions[instruction].how | (wide ? XSAVE_WIDE : 0);
    assert_int_equal(insn.row->argument >> 16, instructions[instruction].how);
    cpu->var[VAR_RAX] = (uint32_t)mask | UINT64_C(0xabcd) << 32; // the upper half is ignored
    cpu->var[VAR_RDX] = mask >> 32;
    if (instructions[instruction].restore)
        helper_xrstor(cpu, address, 0, how);
    else
        helper_xsave(cpu, address, 0, how);
    int vector = cpu->fault.pending ? cpu->fault.vector : -1;
    cpu->fault.pending = false;
    return vector;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fixture_start(f, "max");
    enter_long(f, 0);
    f->cpu->cr4 |= CR4_OSXSAVE | CR4_OSFXSR;
    f->cpu->xcr0 = 3;
    cpu_update_mode(f->cpu);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

static uint8_t *area(struct fixture *f)
{
    return f->memory.host + AREA;
}

// ---- Against the host -----------------------------------------------------------------------------------------------

static void random_state(struct random *random, struct native *native)
{
    struct fxsave_image *image = &native->before;
    uint64_t r = random_next(random);
    memset(native, 0, sizeof *native);
    image->control = 0x037f;
    image->mxcsr = r & 1 ? MXCSR_DEFAULT : MXCSR_DEFAULT | MXCSR_DAZ | (uint32_t)(r >> 8 & (MXCSR_FLAGS | MXCSR_RC));
    if (r & 2) {
        image->status = (uint16_t)(r >> 16 & 0x7800);
        image->valid = (uint8_t)random_next(random);
        for (unsigned i = 0; i < 8; i++)
            random_x87(random, image->st[i]);
    }
    for (unsigned i = 0; (r & 4) && i < 16; i++)
        random_vector(random, image->xmm[i]);
    for (unsigned i = 0; (r & 0x20) && i < 16; i++)
        random_vector(random, native->upper_before[i]);
    for (unsigned i = 0; i < sizeof native->memory; i++)
        native->memory[i] = (uint8_t)(random_next(random) >> 8);
    native->rflags = random_next(random);
}

/// Of those that there are here.
#if defined(__x86_64__)
static uint64_t host_components(void)
{
    return __builtin_cpu_supports("avx") ? 7 : 3;
}
#else
static uint64_t host_components(void)
{
    return 3;
}
#endif

/// An area that XRSTOR takes: of any bytes, but for control words and the header.
static void fit_area(struct random *random, uint8_t *bytes, bool compacted)
{
    uint64_t r = random_next(random);
    store_le16(bytes, (uint16_t)(0x037f | (r & 0x0c00)));
    store_le16(bytes + 2, (uint16_t)(r >> 16 & 0x7800)); // no exception waits
    memset(bytes + 8, 0, 16);                            // pointers
    store_le16(bytes + 6, 0);
    store_le32(bytes + 24, MXCSR_DEFAULT | (uint32_t)(r >> 32 & (MXCSR_FLAGS | MXCSR_RC | MXCSR_FTZ)));
    memset(bytes + 512, 0, 64);
    uint64_t all = host_components(), have = compacted ? r >> 50 & all : all;
    bytes[512] = (uint8_t)(r >> 53 & have);
    if (compacted)
        store_le64(bytes + 520, have | BIT(63));
    else
        bytes[536 + (r >> 58)] = 0x55 * (r & 1); // after the first 24 bytes nobody looks
}

/// The image's bytes that hosts may fill in their own ways: pointers, opcode, reserved ones, the software's.
static void blank(uint8_t *bytes)
{
    memset(bytes + 5, 0, 19);
    store_le32(bytes + 28, 0); // MXCSR_MASK
}

#if defined(__x86_64__)
static bool host_has(enum instruction instruction)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx >> 27 & 1))
        return false;
    if (instruction == XSAVE || instruction == XRSTOR)
        return true;
    return __get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx) && (eax >> (instruction == XSAVEOPT ? 0 : 1) & 1);
}
#else
static bool host_has(enum instruction instruction)
{
    return false;
}
#endif

static void compare(struct fixture *f, struct random *random, enum instruction instruction)
{
    struct cpu *cpu = f->cpu;
    cpu->xcr0 = host_components();
    for (unsigned i = 0; i < 3000; i++) {
        struct native native;
        char text[256];
        random_state(random, &native);
        uint64_t r = random_next(random), mask = r & host_components();
        bool wide = r >> 4 & 1, restore = instructions[instruction].restore;
        uint8_t bytes[4] = {0x48, 0x0f, instructions[instruction].opcode,
                            (uint8_t)(7 | instructions[instruction].digit << 3)};
        if (restore)
            fit_area(random, native.memory, host_has(XSAVEC) && (r >> 5 & 1));
        native_to_cpu(&native, cpu);
        cpu->x87.ip = cpu->x87.dp = cpu->x87.opcode = cpu->x87.cs = cpu->x87.ds = 0;
        memcpy(area(f), native.memory, sizeof native.memory);
        native.rax = mask;
        native.rdx = 0;
        assert_int_equal(run(f, instruction, wide, AREA, mask), -1);
        native_run(&native, bytes + !wide, wide ? 4 : 3);
        assert_false(native.faulted);
        if (!native_equals_cpu(&native, cpu, text, sizeof text))
            fail_msg("%s mask %u, case %u: %s", instructions[instruction].name, (unsigned)mask, i, text);
        // A processor may take a state for used that is not: its bits in XSTATE_BV may be more than ours.
        uint8_t *theirs = native.memory, *ours = area(f);
        if (!restore) {
            assert_int_equal(ours[512] & ~theirs[512], 0);
            if (theirs[512] == ours[512]) {
                if ((mask & 1) && (ours[4] == theirs[4])) {
                    blank(ours);
                    blank(theirs);
                }
                store_le32(ours + 28, 0);
                store_le32(theirs + 28, 0);
                for (unsigned at = 0; at < sizeof native.memory; at++)
                    if (ours[at] != theirs[at])
                        fail_msg("%s mask %u, case %u: byte %u is %02x, host %02x", instructions[instruction].name,
                                 (unsigned)mask, i, at, ours[at], theirs[at]);
            }
        }
    }
}

static void test_host(void **state)
{
    struct fixture *f = *state;
    struct random random = {12};
    if (!native_available() || !host_has(XSAVE)) {
        printf("skip: the host has no XSAVE\n");
        skip();
    }
    assert_true(native_open());
    for (enum instruction n = XSAVE; n < FIRST_SUPERVISOR; n++) {
        if (host_has(n))
            compare(f, &random, n);
        else
            printf("the host does not have %s\n", instructions[n].name);
    }
    native_close();
}

// ---- Faults -------------------------------------------------------------------------------------------------------

static void test_conditions(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    for (unsigned n = XSAVE; n <= XRSTORS; n++) {
        memset(area(f), 0, 576);
        if (n == XRSTORS)
            store_le64(area(f) + 520, 3 | BIT(63));
        assert_int_equal(run(f, n, true, AREA, 3), -1);
        cpu->cr4 &= ~CR4_OSXSAVE;
        cpu->cr0 |= CR0_TS;
        assert_int_equal(run(f, n, true, AREA, 3), VECTOR_UD);
        cpu->cr4 |= CR4_OSXSAVE;
        assert_int_equal(run(f, n, true, AREA, 3), VECTOR_NM);
        cpu->cr0 &= ~CR0_TS;
        for (unsigned offset = 1; offset < 64; offset *= 2)
            assert_int_equal(run(f, n, true, AREA + offset, 3), VECTOR_GP);
        assert_int_equal(run(f, n, true, UINT64_C(0x800000000000), 3), VECTOR_GP);
        cpu->cpl = 3;
        assert_int_equal(run(f, n, true, AREA, 3), n >= FIRST_SUPERVISOR ? VECTOR_GP : -1);
        cpu->cpl = 0;
    }
}

/// Headers: SDM vol. 1 sec. 13.8.1 and 13.8.2.
static void test_headers(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    static const struct {
        uint64_t state, compaction, bytes16, bytes56;
        uint64_t xcr0;
        bool good, good_supervisor;
    } cases[] = {
        {0, 0, 0, 0, 3, true, false},
        {3, 0, 0, 0, 3, true, false},
        {3, 0, 0, 1, 3, true, false}, // beyond byte 23
        {3, 0, 0, 0, 1, false, false},
        {4, 0, 0, 0, 3, false, false},
        {BIT(62), 0, 0, 0, 3, false, false},
        {BIT(63), 0, 0, 0, 3, false, false},
        {1, 1, 0, 0, 3, false, false},
        {1, 0, 1, 0, 3, false, false},
        {1, 0, BIT(56), 0, 3, false, false},
        {3, BIT(63) | 3, 0, 0, 3, true, true},
        {0, BIT(63) | 3, 0, 0, 3, true, true},
        {0, BIT(63), 0, 0, 3, true, true},
        {2, BIT(63) | 1, 0, 0, 3, false, false},
        {1, BIT(63) | 3, 0, 0, 1, false, false},
        {1, BIT(63) | 7, 0, 0, 3, false, false},
        {1, BIT(63) | 1, 1, 0, 3, false, false},
        {1, BIT(63) | 1, 0, BIT(56), 3, false, false},
        {BIT(63) | 1, BIT(63) | 1, 0, 0, 3, false, false},
        {4, 0, 0, 0, 7, true, false},
        {7, 0, 0, 0, 7, true, false},
        {8, 0, 0, 0, 7, false, false},
        {4, BIT(63) | 4, 0, 0, 7, true, true},
        {4, BIT(63) | 3, 0, 0, 7, false, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        memset(area(f), 0, AREA_BYTES);
        store_le64(area(f) + 512, cases[i].state);
        store_le64(area(f) + 520, cases[i].compaction);
        store_le64(area(f) + 528, cases[i].bytes16);
        store_le64(area(f) + 568, cases[i].bytes56);
        cpu->xcr0 = cases[i].xcr0;
        // A bad header counts even if nothing is asked for.
        for (uint64_t mask = 0; mask < 8; mask++) {
            if (run(f, XRSTOR, true, AREA, mask) != (cases[i].good ? -1 : VECTOR_GP) ||
                run(f, XRSTORS, true, AREA, mask) != (cases[i].good_supervisor ? -1 : VECTOR_GP))
                fail_msg("header %u, mask %u", i, (unsigned)mask);
        }
    }
    cpu->xcr0 = 3;
    f->model.features[FEATURE_XSAVEC / 64] &= ~BIT(FEATURE_XSAVEC % 64);
    store_le64(area(f) + 512, 0);
    store_le64(area(f) + 520, BIT(63));
    memset(area(f) + 528, 0, 48);
    assert_int_equal(run(f, XRSTOR, true, AREA, 3), VECTOR_GP);
}

static void test_mxcsr(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    cpu->vreg[1].u64[0] = 5;
    cpu->mxcsr = 0x9fc0;
    memset(area(f), 0, 576);
    store_le32(area(f) + 24, 0x10000);
    // The standard form loads it for RFBM[1] and looks at its reserved bits, whether SSE is loaded or cleared.
    assert_int_equal(run(f, XRSTOR, true, AREA, 3), VECTOR_GP);
    assert_int_equal(cpu->vreg[1].u64[0], 5);
    assert_int_equal(run(f, XRSTOR, true, AREA, 1), -1);
    assert_int_equal(cpu->mxcsr, 0x9fc0);
    store_le32(area(f) + 24, 0x1f00);
    assert_int_equal(run(f, XRSTOR, true, AREA, 2), -1);
    assert_int_equal(cpu->mxcsr, 0x1f00);
    assert_int_equal(cpu->vreg[1].u64[0], 0);
    // The compacted form takes it from memory with SSE only, or else has the initial value.
    store_le64(area(f) + 520, BIT(63) | 3);
    store_le32(area(f) + 24, 0x10000);
    assert_int_equal(run(f, XRSTOR, true, AREA, 3), -1);
    assert_int_equal(cpu->mxcsr, MXCSR_DEFAULT);
    area(f)[512] = 2;
    assert_int_equal(run(f, XRSTOR, true, AREA, 3), VECTOR_GP);
    // XSAVEC: MXCSR alone makes SSE worth saving.
    memset(area(f), 0xee, 576);
    cpu->mxcsr = 0x1f81;
    assert_int_equal(run(f, XSAVEC, true, AREA, 3), -1);
    assert_int_equal(load_le64(area(f) + 512), 2);
    assert_int_equal(load_le64(area(f) + 520), BIT(63) | 3);
    assert_int_equal(load_le64(area(f) + 528), UINT64_C(0xeeeeeeeeeeeeeeee));
    assert_int_equal(load_le32(area(f) + 24), 0x1f81);
    assert_int_equal(area(f)[0], 0xee);
    // XSAVE and XSAVEOPT write MXCSR with RFBM[1] alone; XSTATE_BV follows the registers.
    memset(area(f), 0xee, 576);
    assert_int_equal(run(f, XSAVEOPT, true, AREA, 2), -1);
    assert_int_equal(load_le32(area(f) + 24), 0x1f81);
    assert_int_equal(load_le64(area(f) + 512), UINT64_C(0xeeeeeeeeeeeeeeec));
    assert_int_equal(area(f)[160], 0xee);
}

/// Outside 64-bit code there are eight registers.
static void test_32_bit(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    poke_descriptor(f, SEL_CODE0, 0, 0xfffff, 0x9a, 0xc); // compatibility mode
    enter_protected(f, 0);
    cpu->cr4 |= CR4_OSXSAVE;
    for (unsigned i = 0; i < 16; i++)
        cpu->vreg[i].u64[0] = i + 1;
    memset(area(f), 0xee, 576);
    assert_int_equal(run(f, XSAVE, false, AREA, 3), -1);
    assert_int_equal(area(f)[160 + 7 * 16], 8);
    assert_int_equal(area(f)[160 + 8 * 16], 0xee);
    memset(area(f), 0, 576);
    store_le32(area(f) + 24, MXCSR_DEFAULT);
    assert_int_equal(run(f, XRSTOR, false, AREA, 3), -1);
    assert_int_equal(cpu->vreg[7].u64[0], 0);
    assert_int_equal(cpu->vreg[8].u64[0], 9);
    area(f)[512] = 2;
    area(f)[160 + 8 * 16] = 0x77;
    assert_int_equal(run(f, XRSTOR, false, AREA, 3), -1);
    assert_int_equal(cpu->vreg[8].u64[0], 9);
    cpu->xcr0 = 7;
    for (unsigned i = 0; i < 16; i++)
        cpu->vreg[i].u64[2] = 0x20 + i;
    memset(area(f), 0, AREA_BYTES);
    assert_int_equal(run(f, XSAVE, false, AREA, 4), -1);
    assert_int_equal(load_le64(area(f) + 512), 4);
    assert_int_equal(load_le64(area(f) + 576 + 7 * 16), 0x27);
    assert_int_equal(load_le64(area(f) + 576 + 8 * 16), 0);
    area(f)[512] = 0;
    store_le32(area(f) + 24, MXCSR_DEFAULT);
    assert_int_equal(run(f, XRSTOR, false, AREA, 4), -1);
    assert_int_equal(cpu->vreg[7].u64[2], 0);
    assert_int_equal(cpu->vreg[8].u64[2], 0x28);
    // Selectors of pointers are kept there only, and by models that have them.
    cpu->x87_policy = 0;
    cpu->x87.cs = 0x1234;
    cpu->x87.ds = 0x5678;
    cpu->x87.ip = UINT64_C(0x123456789a);
    assert_int_equal(run(f, XSAVE, false, AREA, 3), -1);
    assert_int_equal(load_le64(area(f) + 8), UINT64_C(0x00001234) << 32 | 0x3456789a);
    assert_int_equal(load_le16(area(f) + 20), 0x5678);
}

/// The page behind is read-only, or the one in front: nothing is written or loaded, and CR2 is right.
static void test_pages(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    // 4 KiB pages for the second 2 MiB would be more; the fixture maps 2 MiB by one page, so split it here.
    const uint64_t table = 0x14000;
    for (unsigned i = 0; i < 512; i++)
        poke(f, table + i * 8, (uint64_t)i << 12 | 3, 8);
    uint64_t directory = peek(f, peek(f, PAGES, 8) & ~UINT64_C(0xfff), 8) & ~UINT64_C(0xfff);
    poke(f, directory, table | 3, 8);
    cpu_update_paging(cpu, true);
    mmu_flush_all(&cpu->mmu);
    cpu->cr0 |= CR0_WP;
    cpu_update_paging(cpu, true);
    for (unsigned i = 0; i < 16; i++)
        cpu->vreg[i].u64[0] = cpu->vreg[i].u64[3] = 1;
    cpu->xcr0 = 7;
    for (unsigned before = 64; before < AREA_BYTES; before += 64) {
        uint64_t at = GUARD - before;
        for (unsigned absent = 0; absent < 2; absent++) {
            uint64_t page = absent ? GUARD >> 12 : (GUARD >> 12) - 1;
            for (unsigned n = XSAVE; n <= XRSTORS; n++) {
                if (n == XRSTOR || n == XRSTORS)
                    poke(f, table + page * 8, page << 12, 8); // not present
                else
                    poke(f, table + page * 8, page << 12 | 1, 8); // read-only
                mmu_flush_all(&cpu->mmu);
                memset(f->memory.host + at, 0, AREA_BYTES);
                store_le64(f->memory.host + at + 512, 7);
                store_le64(f->memory.host + at + 520, n == XRSTORS ? BIT(63) | 7 : 0);
                store_le32(f->memory.host + at + 24, MXCSR_DEFAULT);
                uint8_t copy[AREA_BYTES];
                memcpy(copy, f->memory.host + at, sizeof copy);
                cpu->cr2 = 0;
                if (run(f, n, true, at, 7) != VECTOR_PF)
                    fail_msg("%s %u bytes before the page's end does not fault", instructions[n].name, before);
                assert_int_equal(cpu->cr2 >> 12, page);
                assert_memory_equal(copy, f->memory.host + at, sizeof copy);
                assert_int_equal(cpu->vreg[0].u64[0], 1);
                assert_int_equal(cpu->vreg[0].u64[3], 1);
                poke(f, table + page * 8, page << 12 | 3, 8);
                mmu_flush_all(&cpu->mmu);
            }
        }
    }
}

// ---- XCR0, XSS, CPUID ---------------------------------------------------------------------------------------------

static int set_xcr(struct fixture *f, uint32_t number, uint64_t value)
{
    f->cpu->var[VAR_RCX] = number;
    f->cpu->var[VAR_RAX] = (uint32_t)value;
    f->cpu->var[VAR_RDX] = value >> 32;
    helper_xsetbv(f->cpu, 0, 0, 0);
    int vector = f->cpu->fault.pending ? f->cpu->fault.vector : -1;
    f->cpu->fault.pending = false;
    return vector;
}

static int get_xcr(struct fixture *f, uint32_t number, uint64_t *value)
{
    f->cpu->var[VAR_RCX] = number;
    helper_xgetbv(f->cpu, 0, 0, 0);
    int vector = f->cpu->fault.pending ? f->cpu->fault.vector : -1;
    f->cpu->fault.pending = false;
    *value = (uint32_t)f->cpu->var[VAR_RAX] | f->cpu->var[VAR_RDX] << 32;
    return vector;
}

static void test_xcr0(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    uint64_t value;
    cpu_reset(cpu, false);
    assert_int_equal(cpu->xcr0, 1);
    assert_int_equal(set_xcr(f, 0, 3), VECTOR_UD);
    assert_int_equal(get_xcr(f, 0, &value), VECTOR_UD);
    cpu->cr4 |= CR4_OSXSAVE;
    assert_int_equal(set_xcr(f, 0, 3), -1);
    assert_int_equal(get_xcr(f, 0, &value), -1);
    assert_int_equal(value, 3);
    for (unsigned bit = 2; bit < 64; bit++)
        assert_int_equal(set_xcr(f, 0, BIT(bit) | 1), VECTOR_GP);
    assert_int_equal(set_xcr(f, 0, 2), VECTOR_GP);
    assert_int_equal(set_xcr(f, 0, 4), VECTOR_GP);
    assert_int_equal(set_xcr(f, 0, 5), VECTOR_GP); // not without SSE
    assert_int_equal(set_xcr(f, 0, 6), VECTOR_GP);
    assert_int_equal(set_xcr(f, 0, 15), VECTOR_GP);
    assert_int_equal(cpu->mode & MODE_AVX, 0);
    assert_int_equal(set_xcr(f, 0, 7), -1);
    assert_int_equal(cpu->mode & MODE_AVX, MODE_AVX);
    cpu->vreg[7].u64[3] = 1;
    assert_int_equal(get_xcr(f, 1, &value), -1);
    assert_int_equal(value & 6, 4);
    cpu->vreg[7].u64[3] = 0;
    f->model.features[FEATURE_AVX / 64] &= ~BIT(FEATURE_AVX % 64);
    assert_int_equal(set_xcr(f, 0, 7), VECTOR_GP);
    f->model.features[FEATURE_AVX / 64] |= BIT(FEATURE_AVX % 64);
    assert_int_equal(set_xcr(f, 0, 3), -1);
    assert_int_equal(cpu->mode & MODE_AVX, 0);
    assert_int_equal(set_xcr(f, 1, 1), VECTOR_GP);
    cpu->cpl = 3;
    assert_int_equal(set_xcr(f, 0, 1), VECTOR_GP);
    cpu->cpl = 0;
    assert_int_equal(cpu->xcr0, 3);
    assert_int_equal(get_xcr(f, 2, &value), VECTOR_GP);
    // XCR1 reads as what is in use.
    cpu->x87.control = 0x037f;
    assert_int_equal(get_xcr(f, 1, &value), -1);
    assert_int_equal(value, 0);
    cpu->x87.control = 0x027f;
    cpu->mxcsr = 0x1f81;
    assert_int_equal(get_xcr(f, 1, &value), -1);
    assert_int_equal(value, 3);
    cpu_reset(cpu, true);
    assert_int_equal(cpu->xcr0, 3); // INIT keeps it
}

static void test_cpuid(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    assert_int_equal(model_cpuid(cpu, 1, 0).ecx >> 26 & 3, 3);
    cpu->cr4 &= ~CR4_OSXSAVE;
    assert_int_equal(model_cpuid(cpu, 1, 0).ecx >> 26 & 3, 1);
    struct cpuid_result r = model_cpuid(cpu, 0xd, 0);
    assert_int_equal(r.eax, 7);
    assert_int_equal(r.ebx, 576);
    assert_int_equal(r.ecx, 832);
    assert_int_equal(r.edx, 0);
    r = model_cpuid(cpu, 0xd, 1);
    assert_int_equal(r.eax, 15);
    assert_int_equal(r.ebx, 576);
    assert_int_equal(r.ecx | r.edx, 0);
    r = model_cpuid(cpu, 0xd, 2); // size, offset, no supervisor state, not aligned in the compacted form
    assert_int_equal(r.eax, 256);
    assert_int_equal(r.ebx, 576);
    assert_int_equal(r.ecx | r.edx, 0);
    for (unsigned n = 3; n < 64; n++)
        assert_int_equal(model_cpuid(cpu, 0xd, n).eax, 0);
    cpu->xcr0 = 7;
    assert_int_equal(model_cpuid(cpu, 0xd, 0).ebx, 832);
    assert_int_equal(model_cpuid(cpu, 0xd, 1).ebx, 832);
    cpu->xcr0 = 3;
    f->model.features[FEATURE_AVX / 64] &= ~BIT(FEATURE_AVX % 64);
    assert_int_equal(model_cpuid(cpu, 0xd, 0).eax, 3);
    assert_int_equal(model_cpuid(cpu, 0xd, 0).ecx, 576);
    assert_int_equal(model_cpuid(cpu, 0xd, 2).eax | model_cpuid(cpu, 0xd, 2).ebx, 0);
    // IA32_XSS has no bits.
    cpu->var[VAR_RCX] = 0xda0;
    cpu->var[VAR_RAX] = cpu->var[VAR_RDX] = 0;
    helper_wrmsr(cpu, 0, 0, 0);
    expect_fault(f, -1, 0);
    cpu->var[VAR_RAX] = 1;
    helper_wrmsr(cpu, 0, 0, 0);
    expect_fault(f, VECTOR_GP, 0);
}

static int index_rows(void **state)
{
    struct error error = {{0}};
    (void)state;
    rows = row_index_build(&error);
    return rows ? 0 : -1;
}

static int free_rows(void **state)
{
    (void)state;
    row_index_free(rows);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_host, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_conditions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mxcsr, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_32_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_xcr0, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cpuid, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, index_rows, free_rows);
}
