// Every MMX, SSE and AVX row against the host processor, run from memory: all classes of operands, roundings, DAZ, FTZ,
// exceptions masked and not, register and memory forms; for MMX what becomes of tags, TOP and exponents.
// DOPPEL_TEST_STATES says how many states an encoding gets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/avx.h"
#include "cpu/lift_fpu.h"
#include "cpu/model.h"
#include "cpu/support_fpu.h"
#include "cpu/support_native.h"

enum { FAST_STATES = 250 };

/// 16 bytes: doubles, singles, or integers.
static void make_vector(unsigned kind, unsigned class, uint64_t *random, uint8_t *to)
{
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x81, 0x40};
    uint64_t r = support_random(random), other = support_random(random);
    switch (kind % 8) {
    case 0:
    case 1:
    case 2:
        for (unsigned i = 0; i < 2; i++)
            store_le64(to + 8 * i, fpu_class_double((i ? (unsigned)r & 63 : class), random));
        break;
    case 3:
    case 4:
    case 5:
        for (unsigned i = 0; i < 4; i++)
            store_le32(to + 4 * i, fpu_class_single(i ? (unsigned)(r >> 8 * i) & 63 : class, random));
        break;
    case 6: // bytes at the edges, small numbers
        for (unsigned i = 0; i < 16; i++)
            to[i] = edges[(i < 8 ? r : other) >> 3 * (i % 8) & 7];
        if (r >> 60 & 1)
            store_le64(to, r & 0x7f);
        break;
    default:
        store_le64(to, r);
        store_le64(to + 8, other);
    }
}

static uint32_t make_mxcsr(uint64_t r)
{
    uint32_t masks = r & 3 ? 0x3f : (r & 12) == 0 ? 0 : (uint32_t)(r >> 4 & 0x3f);
    uint32_t mxcsr = masks << 7 | (uint32_t)(r >> 10 & 3) << 13;
    mxcsr |= (r >> 12 & 1 ? MXCSR_DAZ : 0) | (r >> 13 & 1 ? MXCSR_FTZ : 0);
    return mxcsr | (r >> 14 & 1 ? (uint32_t)(r >> 16 & 0x3f) : 0);
}

static void make_state(unsigned number, uint64_t *random, struct fpu_state *state)
{
    uint64_t r = support_random(random);
    unsigned kind = (unsigned)r & 7, first = (unsigned)(r >> 8) & 63, second = (unsigned)(r >> 16) & 63;
    if (number % 2 && number / 2 < 2 * FPU_CLASSES * FPU_CLASSES) { // all pairs, if there are states for that
        kind = number / 2 % 2 ? 0 : 3;
        first = number / 4 % FPU_CLASSES;
        second = (number / 4 / FPU_CLASSES + first) % FPU_CLASSES;
    }
    fpu_state_init(state);
    state->mxcsr = make_mxcsr(support_random(random));
    for (unsigned i = 0; i < 8; i++)
        make_vector(kind, i == 1 ? first : i == 2 ? second : (unsigned)(r >> 4 * i) & 63, random, state->xmm[i]);
    for (unsigned i = 0; i < 16; i++)
        make_vector(kind, (unsigned)(r >> 3 * i) & 63, random, state->upper[i]);
    if ((r >> 24 & 7) == 0)
        memcpy(state->xmm[2], state->xmm[1], 16);
    make_vector(kind, second, random, state->memory);
    make_vector((unsigned)(r >> 27), second, random, state->memory + 16);
    // MMX: the same kinds in the significands, any exponents, TOP and tags; a pending x87 exception now and then.
    unsigned top = (unsigned)(r >> 32) & 7;
    for (unsigned i = 0; i < 8; i++)
        fpu_class_x87((unsigned)(r >> 5 * i) & 63, random, state->x87.st[i]);
    for (unsigned i = 1; i < 3; i++)
        memcpy(state->x87.st[(i - top) & 7], state->xmm[i], 8);
    state->x87.tag = r >> 35 & 1 ? 0 : (uint32_t)(r >> 36 & 0xffff);
    state->x87.status = top << 11 | (uint32_t)(r >> 20 & 0x4700);
    if ((r >> 52 & 31) == 0) {
        state->x87.control = 0x37b;
        state->x87.status |= X87_ZE | X87_ES | X87_BUSY;
    }
    state->x87.ip = (uint32_t)support_random(random);
    r = support_random(random);
    if ((r >> 40 & 31) == 0) // not canonical: a pending #MF comes first
        state->rdi = BIT(63);
    state->rax = r & 1 ? support_random(random) : (r >> 8) % 41 - 20;
    state->rdx = r & 2 ? support_random(random) : (r >> 16) % 41 - 20;
    state->rcx = r & 4 ? support_random(random) : load_le64(state->xmm[3]);
    state->rflags = r >> 32 & FLAGS_ARITHMETIC;
}

/// Strings: few different characters, some zeros, so that all comparisons find something.
static void make_strings(uint64_t *random, struct fpu_state *state, bool words)
{
    uint8_t *strings[] = {state->xmm[1], state->xmm[2], state->memory};
    for (unsigned n = 0; n < 3; n++) {
        uint64_t r = support_random(random), end = support_random(random) % 40;
        for (unsigned i = 0; i < 16; i++) {
            uint8_t value = (uint8_t)("aabcab\x80\xff"[r >> 3 * i & 7]);
            strings[n][i] = i >= end || (words && i % 2 && value < 0x80) ? 0 : value;
        }
    }
}

#ifdef DOPPEL_PORTABLE_FPU
static bool is_close(uint32_t a, uint32_t b)
{
    float x, y;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    float error = x > y ? x - y : y - x, limit = (x < 0 ? -x : x) * 3 / 4096;
    bool borders_on_denormals = (a & 0x7fffffff) <= 0x00801000 && (b & 0x7fffffff) <= 0x00801000;
    return a == b || error <= limit || borders_on_denormals;
}
#endif

/// RCPPS and RSQRTPS: a relative error of 1.5 * 2^-12 is allowed (SDM vol. 2); the portable ones use some of it.
static void forgive(const struct row *row, const struct fpu_state *host, struct fpu_state *ours)
{
#ifdef DOPPEL_PORTABLE_FPU
    for (unsigned i = 0; i < 16 && (row->attributes & ROW_APPROXIMATE); i += 4) {
        if (is_close(load_le32(host->xmm[1] + i), load_le32(ours->xmm[1] + i)))
            memcpy(ours->xmm[1] + i, host->xmm[1] + i, 4);
        if (is_close(load_le32(host->upper[1] + i), load_le32(ours->upper[1] + i)))
            memcpy(ours->upper[1] + i, host->upper[1] + i, 4);
    }
#endif
}

/// Runs one state on both sides. The kernel loses x87 pointers when it takes the processor away in between: only a
/// difference that stays is one.
static bool same(struct fpu_bench *bench, const struct row *row, const struct fpu_state *before, char *text,
                 size_t size)
{
    struct fpu_state host, ours;
    fpu_bench_run_guest(bench, before, &ours);
    for (unsigned round = 0; round < 3; round++) {
        fpu_bench_run_host(bench, before, &host);
        forgive(row, &host, &ours);
        if (fpu_state_equal(&host, &ours, false, text, size))
            return true;
    }
    return false;
}

static bool has(const struct row *row, const char *letters)
{
    return strpbrk(row->operands, letters);
}

/// How an encoding is put together, less its immediate.
struct form {
    bool memory, rex_w;
    bool wide;      // 32 bytes, where the row leaves that open
    unsigned alias; // of VEX-encoded rows: 1: the first source is the destination, 2: the second one is, 3: both are
};

static unsigned encode(const struct row *row, const struct form *form, uint8_t immediate, uint8_t bytes[16])
{
    unsigned reg = has(row, "G") ? 0 : 1, rm = has(row, "ER") ? 1 : 2;
    if (!(row->attributes & ROW_AVX))
        return native_encode(row, form->rex_w, reg, rm, form->memory, immediate, bytes);
    struct native_vex how = {.reg = (uint8_t)reg,
                             .vvvv = form->alias & 1 ? 1 : 3,
                             .rm = form->alias & 2 ? 1 : (uint8_t)rm,
                             .memory = form->memory,
                             .rex_w = form->rex_w,
                             .wide = form->wide,
                             .immediate = immediate};
    return native_encode_vex(row, &how, bytes);
}

/// What some rows want, so that they do something.
static void adjust_state(const struct row *row, unsigned number, uint64_t *random, struct fpu_state *before)
{
    bool string = row->lift == lift_string_index || row->lift == lift_string_mask;
    if (string && number % 4)
        make_strings(random, before, support_random(random) & 1);
    if (row->lift == lift_ldmxcsr && number % 4)
        store_le32(before->memory, load_le32(before->memory) & 0xffff);
    if (row->lift == lift_ldmxcsr)
        before->memory[2] &= 0xfd; // MM, of AMD's processors alone
    if (!(row->attributes & ROW_ALIGNED) && row->lift != lift_ldmxcsr && number % 8 == 7)
        before->rdi += 1 + number / 8 % 15;
    if (row->lift == lift_simd_maskmov && !(before->x87.status & X87_ES))
        before->rdi = FPU_DATA; // processors enter MMX state before they look at the address
    if (row->lift != lift_avx_gather)
        return;
    for (unsigned i = 0; i < 32; i += 8) // small indices of either size; and memory that they reach
        store_le64(i < 16 ? &before->xmm[5][i] : &before->upper[5][i - 16],
                   support_random(random) % 200 | (AVX_GATHER_INDEX(row->argument) == 4 ? UINT64_C(77) << 32 : 0));
    for (unsigned i = 0; i < FPU_DATA_BYTES; i += 8)
        store_le64(before->memory + i, support_random(random));
}

static unsigned check_form(struct fpu_bench *bench, const struct row *row, const struct form *form, unsigned states,
                           uint64_t *random)
{
    bool immediate = strstr(row->encoding, " ib"), shift = !strncmp(row->mnemonic + (row->mnemonic[0] == 'v'), "ps", 2);
    unsigned bad = 0;
    for (unsigned number = 0; number < states; number++) {
        struct fpu_state before;
        uint8_t bytes[16], value = (uint8_t)support_random(random);
        char text[256];
        if (shift && number % 2)
            value &= 0x1f;
        if (has(row, "L")) // a register that no form uses otherwise
            value = (uint8_t)((value & 15) | 4 << 4);
        unsigned length = encode(row, form, value, bytes);
        if (number == 0 || immediate)
            fpu_bench_set_code(bench, bytes, length);
        make_state(number, random, &before);
        adjust_state(row, number, random, &before);
        if (same(bench, row, &before, text, sizeof text) || bad++ >= 3)
            continue;
        print_message("%s %s %s %s%s %u %02x: %s (mxcsr %04x fcw %04x fsw %04x xmm1 %016llx%016llx xmm2 "
                      "%016llx%016llx xmm3 %016llx%016llx)\n",
                      row->encoding, row->mnemonic, row->operands, form->memory ? "memory" : "register",
                      form->wide ? " wide" : "", form->alias, value, text, before.mxcsr, before.x87.control,
                      before.x87.status, (unsigned long long)load_le64(before.xmm[1] + 8),
                      (unsigned long long)load_le64(before.xmm[1]), (unsigned long long)load_le64(before.xmm[2] + 8),
                      (unsigned long long)load_le64(before.xmm[2]), (unsigned long long)load_le64(before.xmm[3] + 8),
                      (unsigned long long)load_le64(before.xmm[3]));
    }
    return bad;
}

/// Whether the row's VEX encoding says nothing of the length, and its operands ask for it.
static bool is_any_length(const struct row *row)
{
    return (row->attributes & ROW_AVX) && has(row, "x") && !strstr(row->encoding, ".128.") &&
           !strstr(row->encoding, ".256.");
}

static unsigned check_row(struct fpu_bench *bench, const struct row *row, unsigned states, uint64_t *random)
{
    bool fixed = !strchr(row->encoding, '/') || row->lift == lift_simd_maskmov;
    bool memory_only = row->operands[0] == 'M' || strstr(row->operands, ",M");
    bool register_only = has(row, "UN"), wide = has(row, "y") || (row->argument && row->lift == lift_string_index);
    bool gather = row->attributes & ROW_VSIB, three = has(row, "H") && !gather;
    unsigned bad = 0;
    if (strchr(row->operands, '/')) // Mw/Rd
        memory_only = register_only = false;
    for (unsigned n = 0; n < 32; n++) {
        struct form form = {.memory = n & 1, .rex_w = n & 2, .wide = n & 4, .alias = n >> 3};
        if ((form.memory && (fixed || register_only)) || (!form.memory && memory_only) || (form.rex_w && !wide) ||
            (form.wide && !is_any_length(row)) || (form.alias && (!three || has(row, "ERG"))) ||
            (form.alias > 1 && form.memory))
            continue;
        bad += check_form(bench, row, &form, form.alias ? states / 4 : states, random);
    }
    return bad;
}

static void check_table(const struct row *rows, unsigned count)
{
    uint64_t random = 1;
    struct fpu_bench bench;
    unsigned bad = 0, states = fpu_wanted_states(FAST_STATES);
    if (!fpu_bench_open(&bench, fpu_host_policy())) {
        fpu_bench_close(&bench);
        skip();
    }
    for (unsigned n = 0; n < count; n++) {
        if (!fpu_host_has(rows[n].feature))
            continue;
        unsigned row_bad = check_row(&bench, &rows[n], states, &random);
        if (row_bad)
            print_message("%s %s: %u wrong\n", rows[n].encoding, rows[n].mnemonic, row_bad);
        bad += row_bad;
    }
    fpu_bench_close(&bench);
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

static void avx_rows_match_the_host(void **state)
{
    if (!fpu_host_has(FEATURE_AVX))
        skip();
    check_table(rows_avx, rows_avx_count);
}

static void fma_rows_match_the_host(void **state)
{
    if (!fpu_host_has(FEATURE_FMA) && !fpu_host_has(FEATURE_F16C))
        skip();
    check_table(rows_fma, rows_fma_count);
}

/// RCPPS and RSQRTPS, of either implementation: a relative error of at most 1.5 * 2^-12 (SDM vol. 2).
static void approximations_are_close(void **state)
{
    uint64_t random = 1;
    for (unsigned i = 0; i < 20000; i++) {
        union vreg source = {.u32 = {0x00800000 + (uint32_t)(support_random(&random) % 0x7e000000)}}, result;
        double x = source.f32[0], product;
        fpu_host_sse(SSE_RCPSS, &result, &source, MXCSR_DEFAULT, 0, NULL);
        product = result.f32[0] * x; // 1, but for the error
        assert_true(result.f32[0] < 1.2e-38 || (product > 1 - 1.5 / 4096 && product < 1 + 1.5 / 4096));
        fpu_host_sse(SSE_RSQRTSS, &result, &source, MXCSR_DEFAULT, 0, NULL);
        product = (double)result.f32[0] * result.f32[0] * x; // its square
        assert_true(product > (1 - 1.5 / 4096) * (1 - 1.5 / 4096) && product < (1 + 1.5 / 4096) * (1 + 1.5 / 4096));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_rows_match_the_host),  cmocka_unit_test(sse4_rows_match_the_host),
        cmocka_unit_test(avx_rows_match_the_host),  cmocka_unit_test(fma_rows_match_the_host),
        cmocka_unit_test(approximations_are_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
