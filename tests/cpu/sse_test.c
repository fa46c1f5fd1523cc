// MMX and SSE rows against the host processor: random and special operands, all roundings, DAZ, FTZ, masked and
// unmasked exceptions; registers, MXCSR, flags and faults must agree bit by bit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/fpu.h"
#include "cpu/helper.h"
#include "cpu/lift_fpu.h"
#include "support_native.h"

enum { CASES = 2000 };

static struct cpu *new_cpu(void)
{
    struct cpu *cpu = NULL;
    if (posix_memalign((void **)&cpu, 64, sizeof *cpu))
        abort();
    memset(cpu, 0, sizeof *cpu);
    cpu->cr0 = CR0_NE;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    return cpu;
}

/// Operands are number 1 (ModRM reg) and 2 (ModRM rm), of every file of registers; rax and rcx for general ones.
static void random_state(struct random *random, struct native *native)
{
    struct fxsave_image *image = &native->before;
    uint64_t r = random_next(random);
    memset(image, 0, sizeof *image);
    image->control = 0x037f;
    image->status = (uint16_t)((r >> 40 & 7) << 11);
    image->valid = (uint8_t)(r >> 48);
    image->mxcsr = (r & 7) ? 0x1f80 : (uint32_t)(r >> 3 & 0x1f80);
    image->mxcsr |= (r >> 16 & 0x6000) | (r >> 56 & 1 ? 0x40 : 0) | (r >> 57 & 1 ? 0x8000 : 0);
    image->mxcsr |= r >> 58 & 1 ? (uint32_t)(r >> 32 & 0x3f & (image->mxcsr >> 7)) : 0;
    for (unsigned i = 0; i < 8; i++)
        random_x87(random, image->st[i]);
    for (unsigned i = 0; i < 16; i++)
        random_vector(random, image->xmm[i]);
    for (unsigned i = 0; i < 2; i++) {
        unsigned top = image->status >> 11 & 7;
        random_vector(random, image->st[(1 + i - top) & 7]);
        memset(image->st[(1 + i - top) & 7] + 8, 0xff, 2);
        memset(image->st[(1 + i - top) & 7] + 10, 0, 6);
    }
    if (r >> 59 & 1) // counts of shifts; equal operands
        memcpy(image->xmm[2], (uint64_t[]){r & 0x4f, r}, 16);
    else if (r >> 60 & 1)
        memcpy(image->xmm[2], image->xmm[1], 16);
    native->rax = random_next(random);
    native->rcx = random_next(random);
    native->rdx = random_next(random);
    if (r >> 62 & 1) { // lengths of strings
        native->rax = (uint64_t)((int64_t)(random_next(random) % 41) - 20);
        native->rdx = (uint64_t)((int64_t)(random_next(random) % 41) - 20);
    }
    if (r >> 61 & 1)
        memcpy(&native->rcx, image->xmm[3], 8);
    native->rflags = random_next(random);
    random_vector(random, native->memory);
}

static bool letter_is(const struct row *row, unsigned n, char letter)
{
    const char *at = row->operands;
    while (n-- > 0 && at) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return at && (*at == letter || (strchr("WQE", letter) == NULL && *at == letter));
}

static union vreg *vector_operand(struct cpu *cpu, const struct row *row, unsigned n)
{
    bool first = letter_is(row, n, 'P') || letter_is(row, n, 'V');
    bool mmx = letter_is(row, n, 'P') || letter_is(row, n, 'Q') || letter_is(row, n, 'N');
    return cpu_vreg(cpu, (mmx ? VREG_MM : 0) + (first ? 1 : 2));
}

static bool is_string(const struct row *row)
{
    return row->lift == lift_string_index || row->lift == lift_string_mask;
}

/// Strings: few different characters, some zeros, so that all comparisons find something.
static void make_strings(struct random *random, struct native *native, bool words)
{
    for (unsigned n = 1; n < 3; n++) {
        uint64_t r = random_next(random), end = random_next(random) % 40;
        for (unsigned i = 0; i < 16; i++) {
            uint8_t value = (uint8_t)("aabcab\x80\xff"[r >> 3 * i & 7]);
            native->before.xmm[n][i] = i >= end || (words && i % 2 && value < 0x80) ? 0 : value;
        }
    }
}

/// What the lifts do with a row between registers (memory: the bytes at [rdi]). False: it has its own test.
static bool run_row(struct cpu *cpu, const struct row *row, bool rex_w, bool memory, uint8_t immediate,
                    struct native *ours)
{
    bool mmx = false;
    for (unsigned i = 0; i < 3; i++)
        mmx |= letter_is(row, i, 'P') || letter_is(row, i, 'N') || (letter_is(row, i, 'Q') && !memory);
    uint64_t operand = simd_operand(row, mmx, immediate), value;
    union vreg source = {0};
    memcpy(&source, ours->memory, 16);
    if (row->lift == lift_simd && (strchr(row->operands, '/') || letter_is(row, 1, 'E'))) {
        source = (union vreg){.u64 = {ours->rcx}};
        row->execute(cpu, vector_operand(cpu, row, 0), &source, operand);
    } else if (row->lift == lift_simd || row->lift == lift_simd_insertps) {
        row->execute(cpu, vector_operand(cpu, row, 0), memory ? &source : vector_operand(cpu, row, 1), operand);
    } else if (row->lift == lift_simd_one) {
        row->execute(cpu, vector_operand(cpu, row, 0), vector_operand(cpu, row, 0), operand);
    } else if (row->lift == lift_simd_to_gpr) {
        if (row->execute == sse_to_integer)
            operand = simd_operand(row, false, rex_w ? 8 : 4);
        value = row->execute(cpu, vector_operand(cpu, row, 1), vector_operand(cpu, row, 1), operand);
        ours->rax = cpu->fault.pending ? ours->rax : rex_w ? value : (uint32_t)value;
    } else if (row->lift == lift_simd_to_flags) {
        value = row->execute(cpu, vector_operand(cpu, row, 0), vector_operand(cpu, row, 1), operand);
        if (!cpu->fault.pending)
            ours->rflags = (ours->rflags & ~FLAGS_ARITHMETIC) | value;
    } else if (is_string(row)) {
        union vreg copy = *vector_operand(cpu, row, 0);
        operand = immediate;
        if (row->argument)
            operand = helper_string_lengths(cpu, ours->rax, ours->rdx, immediate | (rex_w ? 0x100u : 0));
        value = row->execute(cpu, &copy, vector_operand(cpu, row, 1), operand);
        ours->rflags = (ours->rflags & ~FLAGS_ARITHMETIC) | (value & UINT32_MAX);
        if (row->lift == lift_string_index)
            ours->rcx = value >> 32;
        else
            cpu->vreg[0] = copy;
    } else if (row->lift == lift_simd_from_gpr) {
        bool sign = row->execute == sse_cvtsi2ss || row->execute == sse_cvtsi2sd;
        value = rex_w || strstr(row->encoding, "REX.W ") ? ours->rcx
                : sign                                   ? (uint64_t)(int32_t)ours->rcx
                                                         : (uint32_t)ours->rcx;
        row->execute(cpu, vector_operand(cpu, row, 0), vector_operand(cpu, row, 0), value);
    } else if (row->lift == lift_simd_extract) {
        value = row->execute(cpu, vector_operand(cpu, row, 1), vector_operand(cpu, row, 1), operand);
        ours->rcx = strstr(row->encoding, "REX.W ") ? value : (uint32_t)value;
    } else if (row->lift == lift_mmx_store && memory) {
        union vreg *stored = vector_operand(cpu, row, 1);
        row->execute(cpu, stored, stored, operand | SIMD_STORE);
        memcpy(ours->memory, stored, 8);
    } else if ((row->lift == lift_simd_move && row->execute) || row->lift == lift_mmx_store) {
        row->execute(cpu, vector_operand(cpu, row, 0), vector_operand(cpu, row, 1), operand);
    } else if (row->lift == lift_simd_store_high) {
        row->execute(cpu, &source, vector_operand(cpu, row, 1), operand);
        memcpy(ours->memory, &source, 8);
    } else if (row->lift == lift_ldmxcsr) {
        row->execute(cpu, &source, &source, load_le32(ours->memory));
    } else if (row->lift == lift_stmxcsr) {
        store_le32(ours->memory, (uint32_t)row->execute(cpu, &source, &source, 0));
    } else {
        return false;
    }
    return true;
}

static unsigned check_form(struct cpu *cpu, const struct row *row, bool rex_w, struct random *random, bool *untested)
{
    bool memory = letter_is(row, 0, 'M') || letter_is(row, 1, 'M');
    struct native native, ours;
    unsigned bad = 0;
    if (strchr(row->operands, '/'))
        memory = false;
    for (unsigned i = 0; i < CASES; i++) {
        uint8_t bytes[16], immediate = (uint8_t)random_next(random);
        char text[256];
        if ((strncmp(row->mnemonic, "ps", 2) == 0 || strcmp(row->mnemonic, "palignr") == 0) && i % 2)
            immediate &= 0x1f;
        unsigned reg = letter_is(row, 0, 'G') || letter_is(row, 1, 'G') ? 0 : 1;
        unsigned rm = letter_is(row, 0, 'E') || letter_is(row, 1, 'E') || strchr(row->operands, '/') ? 1 : 2;
        unsigned length = native_encode(row, rex_w, reg, rm, memory, immediate, bytes);
        random_state(random, &native);
        if (row->lift == lift_ldmxcsr)
            store_le32(native.memory, (uint32_t)random_next(random) & 0xffff);
        if (is_string(row) && i % 4)
            make_strings(random, &native, immediate & 1);
        ours = native;
        native_to_cpu(&native, cpu);
        *untested = !run_row(cpu, row, rex_w, memory, immediate, &ours);
        if (*untested)
            return 0;
        native_run(&native, bytes, length);
        bool same = native_equals_cpu(&native, cpu, text, sizeof text);
        if (same && native.faulted != cpu->fault.pending)
            same = snprintf(text, sizeof text, "fault: host %d, doppel %d", native.faulted, cpu->fault.pending) < 0;
        if (same && memcmp(native.memory, ours.memory, sizeof native.memory))
            same =
                snprintf(text, sizeof text, "memory: host %016llx, doppel %016llx",
                         (unsigned long long)load_le64(native.memory), (unsigned long long)load_le64(ours.memory)) < 0;
        if (same &&
            ((native.rflags ^ ours.rflags) & FLAGS_ARITHMETIC || native.rax != ours.rax || native.rcx != ours.rcx))
            same = snprintf(text, sizeof text, "flags rax rcx: host %llx %llx %llx, doppel %llx %llx %llx",
                            (unsigned long long)native.rflags, (unsigned long long)native.rax,
                            (unsigned long long)native.rcx, (unsigned long long)ours.rflags,
                            (unsigned long long)ours.rax, (unsigned long long)ours.rcx) < 0;
        if (same || bad++ >= 3)
            continue;
        print_message("%s %s %s %02x: %s (mxcsr %04x xmm1 %016llx%016llx xmm2 %016llx%016llx)\n", row->encoding,
                      row->mnemonic, row->operands, immediate, text, native.before.mxcsr,
                      (unsigned long long)load_le64(native.before.xmm[1] + 8),
                      (unsigned long long)load_le64(native.before.xmm[1]),
                      (unsigned long long)load_le64(native.before.xmm[2] + 8),
                      (unsigned long long)load_le64(native.before.xmm[2]));
    }
    return bad;
}

/// Rows that move whole registers or memory without a function of their own: their lifts are tested where blocks run.
static bool is_plain_move(const struct row *row)
{
    return (row->lift == lift_simd_move && !row->execute) || row->lift == lift_simd_maskmov;
}

static void check_table(const struct row *rows, unsigned count)
{
    struct random random = {.state = 2};
    struct cpu *cpu = new_cpu();
    unsigned bad = 0, untested_rows = 0;
    if (!native_available())
        skip();
    assert_true(native_open());
    for (unsigned i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        bool untested = false, wide = strchr(row->operands, 'y') || (row->argument && is_string(row));
        unsigned row_bad = check_form(cpu, row, false, &random, &untested);
        if (wide)
            row_bad += check_form(cpu, row, true, &random, &untested);
        if (row_bad)
            print_message("%s %s: %u of %u wrong\n", row->encoding, row->mnemonic, row_bad, CASES);
        if (untested && !is_plain_move(row)) {
            print_message("%s %s %s: untested\n", row->encoding, row->mnemonic, row->operands);
            untested_rows++;
        }
        bad += row_bad;
    }
    native_close();
    free(cpu);
    assert_int_equal(untested_rows, 0);
    assert_int_equal(bad, 0);
}

static void sse_rows_match_the_host(void **state)
{
    check_table(rows_sse, rows_sse_count);
}

static void sse4_rows_match_the_host(void **state)
{
    check_table(rows_sse4, rows_sse4_count);
}

static void ldmxcsr_refuses_reserved_bits(void **state)
{
    struct cpu *cpu = new_cpu();
    cpu->mxcsr = MXCSR_DEFAULT;
    sse_ldmxcsr(cpu, NULL, NULL, 0x10000);
    assert_true(cpu->fault.pending);
    assert_int_equal(cpu->fault.vector, VECTOR_GP);
    assert_int_equal(cpu->mxcsr, MXCSR_DEFAULT);
    free(cpu);
}

static void unmasked_exception_without_osxmmexcpt_is_ud(void **state)
{
    struct cpu *cpu = new_cpu();
    cpu->cr4 = CR4_OSFXSR;
    cpu->mxcsr = MXCSR_DEFAULT & ~(MXCSR_ZE << 7);
    cpu->vreg[0].f32[0] = 1;
    union vreg before = cpu->vreg[0];
    sse_float(cpu, &cpu->vreg[0], &cpu->vreg[1], (uint64_t)SSE_DIVSS << 16);
    assert_true(cpu->fault.pending);
    assert_int_equal(cpu->fault.vector, VECTOR_UD);
    assert_memory_equal(&before, &cpu->vreg[0], 16);
    assert_int_equal(cpu->mxcsr & MXCSR_FLAGS, MXCSR_ZE);
    free(cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_rows_match_the_host),
        cmocka_unit_test(sse4_rows_match_the_host),
        cmocka_unit_test(ldmxcsr_refuses_reserved_bits),
        cmocka_unit_test(unmasked_exception_without_osxmmexcpt_is_ud),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
