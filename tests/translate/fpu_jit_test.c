// Random blocks of x87, MMX and SSE instructions, with integer ones and faults between them, in both engines:
// registers, MXCSR, x87 state with its pointers, flags and memory must agree. Again with the host's newer features
// hidden, so that calls of C functions come between instructions in host registers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/fpu.h"
#include "cpu/row.h"
#include "support_guest.h"
#include "translate/translate.h"

#define MAX_CODE 256

// ---- instructions -------------------------------------------------------------------------------------------------
static bool in_chapter(const struct row *row, const struct row *rows, unsigned count)
{
    return row >= rows && row < rows + count;
}

static bool wanted(const struct row *row)
{
    return in_chapter(row, rows_sse, rows_sse_count) || in_chapter(row, rows_sse4, rows_sse4_count) ||
           in_chapter(row, rows_x87, rows_x87_count);
}

/// LDMXCSR or FLDCW of a word that is mostly legal, and now and then unmasks something.
static unsigned control_word(uint64_t r, uint8_t *bytes)
{
    static const uint8_t mxcsr[] = {0xc7, 0x07, 0, 0, 0, 0, 0x0f, 0xae, 0x17}; // mov dword [edi], ...; ldmxcsr [edi]
    static const uint8_t fcw[] = {0x66, 0xc7, 0x07, 0, 0, 0xd9, 0x2f};         // mov word [edi], ...; fldcw [edi]
    uint64_t masks = r >> 32 & 3 ? 0x3f : r >> 34 & 0x3f;
    if (r & 1) {
        memcpy(bytes, mxcsr, sizeof mxcsr);
        store_le32(bytes + 2, (uint32_t)(masks << 7 | (r >> 8 & (MXCSR_RC | MXCSR_FLAGS))));
        return sizeof mxcsr;
    }
    memcpy(bytes, fcw, sizeof fcw);
    store_le16(bytes + 3, (uint16_t)(masks | (r >> 8 & 0xf00)));
    return sizeof fcw;
}

/// Instructions that take and make what the others use: registers and flags.
static unsigned glue(uint64_t r, uint8_t *bytes)
{
    static const uint8_t plain[][4] = {
        {0x01, 0xc8, 0x90, 0x90}, // add eax, ecx
        {0x39, 0xd8, 0x90, 0x90}, // cmp eax, ebx
        {0x0f, 0x44, 0xc1, 0x90}, // cmove eax, ecx
        {0x0f, 0x47, 0xd3, 0x90}, // cmova edx, ebx
        {0x0f, 0x9a, 0xc0, 0x90}, // setp al
        {0x0f, 0x92, 0xc1, 0x90}, // setb cl
        {0x13, 0xd1, 0x90, 0x90}, // adc edx, ecx
        {0x89, 0x07, 0x90, 0x90}, // mov [edi], eax
        {0x8b, 0x16, 0x90, 0x90}, // mov edx, [esi]
        {0xc1, 0xc0, 0x05, 0x90}, // rol eax, 5
        {0xf7, 0xe1, 0x90, 0x90}, // mul ecx
        {0x75, 0x00, 0x90, 0x90}, // jne to the next: another block, same state in the host's registers
        {0xeb, 0x01, 0x90, 0x90}, // jmp over a byte
        {0x0f, 0xa2, 0x90, 0x90}, // cpuid
    };
    unsigned pick = (unsigned)(r % ARRAY_SIZE(plain));
    if (pick == ARRAY_SIZE(plain) - 1 && (r >> 8 & 3))
        pick = 1;
    memcpy(bytes, plain[pick], 4);
    return 4;
}

static unsigned random_instruction(const struct guest *g, uint32_t mode, uint64_t *random, uint8_t *bytes)
{
    bool code64 = (mode & MODE_CODE_MASK) == MODE_CODE64;
    uint64_t r = guest_random(random);
    struct insn insn;
    if ((r & 63) == 1 && (mode & MODE_CODE_MASK) != MODE_CODE16)
        return control_word(r >> 6, bytes);
    if ((r & 7) == 0)
        return glue(r >> 3, bytes);
    for (;;) {
        unsigned n = 0;
        r = guest_random(random);
        memset(bytes, 0, INSN_MAX_LENGTH + 1);
        if (r & 1) {
            static const uint8_t prefixes[] = {0, 0x66, 0x66, 0xf2, 0xf3, 0, 0x66, 0};
            if (prefixes[r >> 1 & 7])
                bytes[n++] = prefixes[r >> 1 & 7];
            if (code64 && (r >> 4 & 3) == 0)
                bytes[n++] = (uint8_t)(0x40 | (r >> 6 & 15));
            bytes[n++] = 0x0f;
            if ((r >> 10 & 7) < 3)
                bytes[n++] = r >> 10 & 1 ? 0x3a : 0x38;
            bytes[n++] = (uint8_t)(r >> 13);
        } else {
            bytes[n++] = 0xd8 | (r >> 13 & 7);
        }
        bytes[n++] = (uint8_t)(r >> 21);
        bytes[n++] = r >> 29 & 1 ? (uint8_t)(r >> 30) : 0;
        bytes[n++] = r >> 29 & 1 ? 0 : (uint8_t)(r >> 30);
        if (decode(block_cache_rows(g->blocks), &g->model, mode, bytes, INSN_MAX_LENGTH, &insn) == DECODE_OK &&
            wanted(insn.row))
            return insn.length;
    }
}

// ---- states -------------------------------------------------------------------------------------------------------
static uint64_t random_double(uint64_t *random)
{
    uint64_t r = guest_random(random), sign = r << 63;
    switch (r >> 1 & 15) {
    case 0:
        return guest_random(random);
    case 1:
        return sign;
    case 2:
        return sign | UINT64_C(0x7ff0000000000000);
    case 3:
        return sign | UINT64_C(0x7ff8000000000000) | (r >> 20);
    case 4:
        return sign | UINT64_C(0x7ff0000000000000) | (r >> 20);
    case 5:
        return sign | r >> 20;
    case 6: // singles of every kind
        return guest_random(random);
    case 7:
    case 8:
        return UINT64_C(0x3f8000003f800000) + ((r >> 40 & 0xff) << 52) + ((r >> 30 & 0xff) << 20);
    case 9:
        return r >> 40;
    default:
        return sign | (UINT64_C(1023) - 8 + (r >> 5 & 31)) << 52 | (r >> 10 & 0xfff) << 40;
    }
}

static struct f80 random_f80(uint64_t *random)
{
    uint64_t r = guest_random(random);
    struct f80 value = {.significand = guest_random(random) | BIT(63), .sign_exponent = (uint16_t)(r & 0x8000)};
    switch (r >> 20 & 15) {
    case 0:
        value.sign_exponent = (uint16_t)(r >> 24);
        value.significand = guest_random(random);
        break;
    case 1:
        value.significand = 0;
        break;
    case 2:
        value.sign_exponent |= 0x7fff;
        value.significand = BIT(63);
        break;
    case 3:
        value.sign_exponent |= 0x7fff;
        break;
    case 4:
        value.significand >>= 1;
        break;
    default:
        value.sign_exponent |= (uint16_t)(16383 - 20 + (r >> 24) % 84);
        if (r >> 50 & 1)
            value.significand &= UINT64_C(0xfff) << 52;
    }
    return value;
}

static void random_fpu(struct cpu *cpu, uint64_t *random)
{
    uint64_t r = guest_random(random);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 2; k++)
            cpu->vreg[i].u64[k] = random_double(random);
    cpu->mxcsr = (r & (MXCSR_RC | MXCSR_FTZ | MXCSR_DAZ | MXCSR_FLAGS)) | MXCSR_MASKS;
    if ((r >> 16 & 7) != 0)
        cpu->mxcsr &= ~(MXCSR_FTZ | MXCSR_DAZ);
    if ((r >> 20 & 15) == 0)
        cpu->mxcsr &= ~(r >> 24 & MXCSR_MASKS);
    r = guest_random(random);
    for (unsigned i = 0; i < 8; i++)
        cpu->x87.reg[i] = random_f80(random);
    cpu->x87.valid = (uint8_t)(r & r >> 8);
    if (r >> 16 & 3)
        cpu->x87.valid = (uint8_t)(0x3f << (r >> 18 & 3));
    x87_set_control(cpu, (uint16_t)(0x33f | (r >> 20 & 0xc00)));
    if (r >> 33 & 1)
        x87_set_control(cpu, (uint16_t)(0x3f | (r >> 20 & 0xf00)));
    if ((r >> 34 & 15) == 0)
        x87_set_control(cpu, (uint16_t)(r >> 20));
    x87_set_status_word(cpu, (uint16_t)(r >> 44));
}

static void random_state(struct guest *g, enum guest_mode mode, unsigned kind, uint64_t random)
{
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++) {
        uint64_t r = guest_random(&random);
        // Inside a page; at a page's end; mostly aligned.
        uint64_t value = GUEST_DATA + 0xa000 + (r >> 8) % (5 * PAGE_SIZE);
        if (kind && (r & 15) == 1)
            value = GUEST_DATA + (r >> 8) % (10 * PAGE_SIZE);
        if (kind && (r & 15) == 2)
            value = GUEST_DATA + ((r >> 8) % 10 + 1) * PAGE_SIZE - (r >> 40) % 20;
        if ((r & 0x30) != 0)
            value &= ~UINT64_C(15);
        if ((r & 0xf00) == 0)
            value = r >> 12 & 0x3f;
        if (mode == GUEST_16)
            value &= 0x7fff;
        g->cpu->var[i] = value;
    }
    cpu_set_rflags(g->cpu, 2 | (guest_random(&random) & FLAGS_ARITHMETIC));
    random_fpu(g->cpu, &random);
    g->cpu->x87_policy = random & 4 ? model_x87_policy(&g->model) : (random & 3) * X87_SELECTORS_ZERO;
    if (kind == 2 && (guest_random(&random) & 3) == 0)
        g->cpu->cr0 &= ~CR0_NE;
    if ((guest_random(&random) & 31) == 0) {
        g->cpu->cr0 |= guest_random(&random) & (CR0_TS | CR0_EM | CR0_MP);
        cpu_update_mode(g->cpu);
    }
    for (unsigned at = 0; at < GUEST_DATA_PAGES * PAGE_SIZE; at += 8)
        if (guest_random(&random) & 1) {
            uint64_t value = random_double(&random);
            guest_load(g, GUEST_DATA + at, &value, 8);
        }
}

// ---- comparison -----------------------------------------------------------------------------------------------------
static void differ(const char *name, uint64_t a, uint64_t b, char *text, size_t size)
{
    size_t used = strlen(text);
    if (a != b)
        snprintf(text + used, size - used, "%s %llx / %llx  ", name, (unsigned long long)a, (unsigned long long)b);
}

static bool fpu_equal(const struct cpu *a, const struct cpu *b, char *text, size_t size)
{
    char name[16];
    size_t before = strlen(text);
    for (unsigned i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "xmm%u", i);
        differ(name, a->vreg[i].u64[0], b->vreg[i].u64[0], text, size);
        differ(name, a->vreg[i].u64[1], b->vreg[i].u64[1], text, size);
    }
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "r%u", i);
        differ(name, a->x87.reg[i].significand, b->x87.reg[i].significand, text, size);
        differ(name, a->x87.reg[i].sign_exponent, b->x87.reg[i].sign_exponent, text, size);
    }
    differ("mxcsr", a->mxcsr, b->mxcsr, text, size);
    differ("fcw", a->x87.control, b->x87.control, text, size);
    differ("fsw", a->x87.status, b->x87.status, text, size);
    differ("top", a->x87.top, b->x87.top, text, size);
    differ("valid", a->x87.valid, b->x87.valid, text, size);
    differ("fop", a->x87.opcode, b->x87.opcode, text, size);
    differ("fip", a->x87.ip, b->x87.ip, text, size);
    differ("fdp", a->x87.dp, b->x87.dp, text, size);
    differ("fcs", a->x87.cs, b->x87.cs, text, size);
    differ("fds", a->x87.ds, b->x87.ds, text, size);
    return strlen(text) == before;
}

static void print_code(struct guest *g, uint32_t mode, const uint8_t *code, unsigned size)
{
    struct insn insn;
    char text[128];
    for (unsigned at = 0; at < size; at += insn.length) {
        if (decode(block_cache_rows(g->blocks), &g->model, mode, code + at, INSN_MAX_LENGTH, &insn) != DECODE_OK)
            break;
        disassemble(&insn, GUEST_CODE + at, text, sizeof text);
        print_message("    +%02x %s\n", at, text);
    }
}

static unsigned jump_back(const struct guest *g, unsigned distance, uint8_t *bytes)
{
    bool code16 = (g->cpu->mode & MODE_CODE_MASK) == MODE_CODE16;
    unsigned size = code16 ? 4 : 6;
    bytes[0] = 0x0f;
    bytes[1] = 0x85;
    store_le16(bytes + 2, (uint16_t) - (distance + size));
    if (!code16)
        store_le32(bytes + 2, (uint32_t) - (distance + size));
    return size;
}

static void run_cases(struct guest_pair *pair, enum guest_mode mode, uint64_t seed, unsigned cases)
{
    uint8_t code[MAX_CODE + INSN_MAX_LENGTH];
    char text[4096];
    unsigned failures = 0, halts = 0;
    const char *many = getenv("DOPPEL_FPU_CASES");

    if (many)
        cases = (unsigned)strtoul(many, NULL, 0);
    for (unsigned i = 0; i < cases; i++) {
        uint64_t random = seed * 1000003 + i;
        unsigned size = 0, count;
        enum engine_stop stop[2];
        bool equal;
        guest_reset(&pair->interp, mode, seed + i);
        guest_reset(&pair->jit, mode, seed + i);
        random_state(&pair->interp, mode, i % 3, random);
        random_state(&pair->jit, mode, i % 3, random);
        count = 1 + guest_random(&random) % 12;
        for (unsigned k = 0; k < count && size + 2 * INSN_MAX_LENGTH < MAX_CODE; k++)
            size += random_instruction(&pair->interp, pair->interp.cpu->mode, &random, code + size);
        if (i % 4 == 3) // again and again while ZF is clear
            size += jump_back(&pair->interp, size, code + size);
        code[size++] = 0xf4;
        guest_load(&pair->interp, GUEST_CODE, code, size);
        guest_load(&pair->jit, GUEST_CODE, code, size);
        stop[0] = guest_run(&pair->interp, 200);
        stop[1] = guest_run(&pair->jit, 200);
        halts += stop[0] == STOP_HALT;
        equal = guest_equal(&pair->interp, &pair->jit, text, sizeof text);
        equal &= fpu_equal(pair->interp.cpu, pair->jit.cpu, text, sizeof text);
        if (!equal || stop[0] != stop[1]) {
            print_message("mode %u case %u, interpreter / host code: %s stop %u / %u\n", mode, i, text, stop[0],
                          stop[1]);
            print_code(&pair->interp, pair->interp.cpu->mode, code, size);
            if (++failures == 5)
                break;
        }
        assert_int_equal(pair->jit.cpu->resident, 0);
    }
    assert_int_equal(failures, 0);
    assert_true(halts > cases / 2);
}

static void test_64(void **state)
{
    run_cases(*state, GUEST_64_CPL3, 1, 4000);
}

static void test_32(void **state)
{
    run_cases(*state, GUEST_32_CPL0, 2, 2000);
}

static void test_16(void **state)
{
    run_cases(*state, GUEST_16, 3, 500);
}

static void hide_from(struct guest_pair *pair, enum cpu_feature first)
{
    static const uint8_t order[] = {FEATURE_MMX,   FEATURE_SSE,   FEATURE_SSE2, FEATURE_SSE3,      FEATURE_SSSE3,
                                    FEATURE_SSE41, FEATURE_SSE42, FEATURE_AES,  FEATURE_PCLMULQDQ, FEATURE_SHA};
    uint64_t allowed[2] = {UINT64_MAX, UINT64_MAX};
    bool hide = false;
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        hide |= order[i] == first;
        if (hide)
            allowed[order[i] / 64] &= ~BIT(order[i] % 64);
    }
    translate_limit_host_features(pair->jit.state, allowed);
}

/// A host that has less: rows change between host instructions and calls.
static void test_hidden_features(void **state)
{
    static const enum cpu_feature first[] = {FEATURE_SSE41, FEATURE_SSE3, FEATURE_SSE2, FEATURE_SSE, FEATURE_MMX};
    for (unsigned i = 0; i < ARRAY_SIZE(first); i++) {
        hide_from(*state, first[i]);
        run_cases(*state, GUEST_64_CPL3, 10 + i, 500);
    }
    hide_from(*state, FEATURE_COUNT);
}

/// A damaged snapshot can hold any MXCSR: the host must not be given one that it refuses.
static void test_reserved_bits(void **state)
{
    static const uint8_t code[] = {0xf2, 0x0f, 0x58, 0xc1, 0xf4}; // addsd xmm0, xmm1; hlt
    struct guest_pair *pair = *state;
    struct guest *guests[] = {&pair->interp, &pair->jit};
    char text[4096];
    for (unsigned bit = 0; bit < 32; bit++) {
        for (unsigned i = 0; i < 2; i++) {
            guest_reset(guests[i], GUEST_64_CPL3, bit);
            guests[i]->cpu->mxcsr = MXCSR_DEFAULT | 1u << bit;
            guests[i]->cpu->vreg[0].f64[0] = guests[i]->cpu->vreg[1].f64[0] = 0.1;
            guest_load(guests[i], GUEST_CODE, code, sizeof code);
            guest_run(guests[i], 10);
        }
        assert_true(guest_equal(&pair->interp, &pair->jit, text, sizeof text));
        assert_true(fpu_equal(pair->interp.cpu, pair->jit.cpu, text, sizeof text));
        assert_true(pair->jit.cpu->vreg[0].f64[0] == 0.2);
    }
}

/// Host code must have done the work, or the tests above compare the interpreter with itself.
static void test_share(void **state)
{
    struct guest_pair *pair = *state;
    struct translate_statistics statistics;
    run_cases(pair, GUEST_64_CPL3, 20, 1000);
    translate_statistics(pair->jit.state, &statistics);
    print_message("%llu host, %llu interpreted\n", (unsigned long long)statistics.host_instructions,
                  (unsigned long long)statistics.interpreted_instructions);
    assert_true(statistics.host_instructions > 3 * statistics.interpreted_instructions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_64, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_32, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_16, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_hidden_features, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_reserved_bits, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_share, guest_pair_open, guest_pair_close),
    };
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests_name("translate: x87, MMX, SSE in host code", tests, NULL, NULL);
}
