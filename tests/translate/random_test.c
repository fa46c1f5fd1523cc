// Random blocks of instructions of all rows in both engines from equal states: everything architectural must agree
// afterwards. The guest has unmapped, read-only, device, supervisor and aliased pages, and its code is one
// of them, so that faults, slow accesses and self-modification happen all the time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "cpu/model.h"
#include "cpu/row.h"
#include "support_guest.h"
#include "translate/translate.h"

#define MAX_CODE 256

/// All rows. Those of the system chapter are rare, because most of them fault or lead away.
static bool wanted(const struct insn *insn, uint64_t random)
{
    const struct row *row = insn->row;
    bool system = row >= rows_system && row < rows_system + rows_system_count;
    return !system || (random & 15) == 0;
}

/// ADCX, ADOX, TZCNT, LZCNT, POPCNT, and what reads flags behind them: rare among random bytes.
static bool counting_instruction(const struct guest *g, uint32_t mode, uint64_t *random, uint8_t *bytes,
                                 struct insn *insn)
{
    static const uint8_t opcodes[] = {0xb8, 0xbc, 0xbd, 0x40, 0x90};
    uint64_t r = guest_random(random);
    unsigned n = 0, pick = r >> 32 & 7;
    uint8_t modrm = (uint8_t)(r >> 8 | (r >> 16 & 3 ? 0xc0 : 0));
    memset(bytes, 0, INSN_MAX_LENGTH + 1);
    if (pick != 3 && pick != 4)
        bytes[n++] = pick == 5 ? 0x66 : 0xf3;
    if ((mode & MODE_CODE_MASK) == MODE_CODE64)
        bytes[n++] = (uint8_t)(0x40 | (r >> 20 & 15));
    bytes[n++] = 0x0f;
    if (pick >= 5)
        bytes[n++] = 0x38;
    bytes[n++] = pick >= 5 ? 0xf6 : (uint8_t)(opcodes[pick] | (pick >= 3 ? r >> 24 & 15 : 0));
    bytes[n++] = modrm;
    return decode(block_cache_rows(g->blocks), &g->model, mode, bytes, INSN_MAX_LENGTH, insn) == DECODE_OK;
}

/// A VEX-encoded instruction on general registers; memory operands by a register.
static bool bmi_instruction(const struct guest *g, uint32_t mode, uint64_t *random, uint8_t *bytes, struct insn *insn)
{
    static const uint8_t opcodes[] = {0xf2, 0xf3, 0xf5, 0xf6, 0xf7, 0xf0};
    uint64_t r = guest_random(random);
    uint8_t opcode = opcodes[(r >> 48) % ARRAY_SIZE(opcodes)];
    memset(bytes, 0, INSN_MAX_LENGTH + 1);
    bytes[0] = 0xc4;
    bytes[1] = (uint8_t)((r & 0xe0) | (mode & MODE_CODE64 ? 0 : 0xe0) | (opcode == 0xf0 ? 3 : 2));
    bytes[2] = (uint8_t)((r >> 8 & 0x83) | (opcode == 0xf0 ? 0x78 : r >> 8 & 0x78));
    bytes[3] = opcode;
    bytes[4] = (uint8_t)(r >> 16 | (r >> 24 & 3 ? 0xc0 : 0));
    bytes[5] = (uint8_t)(r >> 32);
    return decode(block_cache_rows(g->blocks), &g->model, mode, bytes, INSN_MAX_LENGTH, insn) == DECODE_OK &&
           insn->row >= rows_bmi && insn->row < rows_bmi + rows_bmi_count;
}

static bool is_avx(const struct row *row)
{
    return row->attributes & ROW_AVX;
}

/// A VEX-encoded instruction on vector registers; memory operands by a register or the top of the stack.
static bool avx_instruction(const struct guest *g, uint32_t mode, uint64_t *random, uint8_t *bytes, struct insn *insn)
{
    for (unsigned i = 0; i < 64; i++) {
        uint64_t r = guest_random(random);
        const struct row *row = row_get(row_number(rows_avx) + r % (rows_avx_count + rows_fma_count));
        unsigned map = strstr(row->encoding, ".0F38") ? 2 : strstr(row->encoding, ".0F3A") ? 3 : 1;
        unsigned prefix = strstr(row->encoding, ".66") ? 1 : strstr(row->encoding, ".F3") ? 2 : 0;
        prefix = strstr(row->encoding, ".F2.") ? 3 : prefix;
        bool vvvv = strpbrk(row->operands, "H");
        memset(bytes, 0, INSN_MAX_LENGTH + 1);
        bytes[0] = 0xc4;
        bytes[1] = (uint8_t)((r >> 16 & 0xe0) | (mode & MODE_CODE64 ? 0 : 0xe0) | map);
        bytes[2] = (uint8_t)((r >> 24 & 0x84) | (vvvv ? r >> 24 & 0x78 : 0x78) | prefix);
        bytes[3] = (uint8_t)strtoul(strchr(row->encoding, ' ') + 1, NULL, 16);
        bytes[4] = (uint8_t)(r >> 32 | (r >> 40 & 3 ? 0xc0 : 0));
        bytes[5] = (uint8_t)(r >> 48);
        bytes[6] = (uint8_t)(r >> 56);
        if (decode(block_cache_rows(g->blocks), &g->model, mode, bytes, INSN_MAX_LENGTH, insn) == DECODE_OK &&
            is_avx(insn->row))
            return true;
    }
    return false;
}

/// One random instruction that the decoder takes; its length.
static unsigned random_instruction(const struct guest *g, uint32_t mode, uint64_t *random, uint8_t *bytes)
{
    struct insn insn;
    for (;;) {
        unsigned n = 0;
        uint64_t r = guest_random(random);
        if ((r & 0xf000000000000000) == 0x1000000000000000 && counting_instruction(g, mode, random, bytes, &insn))
            return insn.length;
        if ((r & 0xf000000000000000) == 0x2000000000000000 && avx_instruction(g, mode, random, bytes, &insn))
            return insn.length;
        if ((r & 0xf000000000000000) == 0 && bmi_instruction(g, mode, random, bytes, &insn))
            return insn.length;
        memset(bytes, 0, INSN_MAX_LENGTH + 1);
        if ((r & 7) == 0)
            bytes[n++] = 0x66;
        if ((r >> 3 & 31) == 0)
            bytes[n++] = r >> 8 & 1 ? 0xf2 : 0xf3;
        if ((r >> 9 & 31) == 0)
            bytes[n++] = 0xf0;
        if ((r >> 14 & 31) == 0)
            bytes[n++] = r >> 19 & 1 ? 0x64 : 0x65;
        if ((mode & MODE_CODE_MASK) == MODE_CODE64 && (r >> 20 & 1))
            bytes[n++] = (uint8_t)(0x40 | (r >> 21 & 15));
        if ((r >> 25 & 3) == 0)
            bytes[n++] = 0x0f;
        if (n && bytes[n - 1] == 0x0f && (r >> 57 & 7) == 0)
            bytes[n++] = r >> 60 & 1 ? 0x38 : 0x3a;
        bytes[n++] = (uint8_t)(r >> 27);
        bytes[n++] = (uint8_t)(r >> 35);
        // Displacements and immediates: small ones often, so that memory operands stay near the data.
        bytes[n++] = (uint8_t)(r >> 43);
        bytes[n++] = r >> 51 & 1 ? (uint8_t)(r >> 52) : 0;
        if ((r >> 60 & 7) == 0) {
            r = guest_random(random);
            memcpy(bytes + n, &r, 6);
        }
        if (decode(block_cache_rows(g->blocks), &g->model, mode, bytes, INSN_MAX_LENGTH, &insn) == DECODE_OK &&
            wanted(&insn, guest_random(random)))
            return insn.length;
    }
}

/// Three kinds of cases: everything faults now and then; memory operands mostly hit plain RAM, so that long blocks run
/// to their end; and in between.
static uint64_t random_value(uint64_t *random, unsigned kind)
{
    uint64_t r = guest_random(random);
    unsigned pick = r & 15, rare = kind == 0 ? 4 : kind == 1 ? 1 : 2;
    if (pick < rare)
        return guest_random(random);
    if (pick < 2 * rare)
        return (r >> 8 & 0xff) - 128;
    if (pick < 8)
        return r >> 8 & 0xff;
    if (kind == 1)
        return GUEST_DATA + 0xa000 + (r >> 8) % (5 * PAGE_SIZE);
    return GUEST_DATA + (r >> 8) % (10 * PAGE_SIZE);
}

static void random_state(struct guest *g, enum guest_mode mode, unsigned kind, uint64_t random)
{
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++) {
        g->cpu->var[i] = random_value(&random, kind);
        if (mode == GUEST_16)
            g->cpu->var[i] &= 0xffff;
        else if (mode == GUEST_32_CPL0)
            g->cpu->var[i] &= UINT32_MAX;
    }
    if (kind == 1 || (random & 8))
        g->cpu->var[VAR_RSP] = mode == GUEST_16 ? 0x800 : GUEST_STACK;
    if (kind == 1 || (random & 16))
        g->cpu->var[VAR_RSP] &= ~UINT64_C(0) << 4;
    cpu_set_rflags(g->cpu, 2 | (guest_random(&random) & (FLAGS_ARITHMETIC | FLAG_DF)));
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 4; k++)
            g->cpu->vreg[i].u64[k] = guest_random(&random);
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

/// `vectors`: mostly AVX, with SSE that leaves upper halves alone, and a little of everything between.
static unsigned random_code(struct guest_pair *pair, uint32_t mode, bool vectors, uint64_t *random, uint8_t *code)
{
    unsigned size = 0, count = 1 + guest_random(random) % 12;
    for (unsigned i = 0; i < count && size + 2 * INSN_MAX_LENGTH < MAX_CODE; i++) {
        struct insn insn;
        if (vectors && guest_random(random) % 4 && avx_instruction(&pair->interp, mode, random, code + size, &insn))
            size += insn.length;
        else
            size += random_instruction(&pair->interp, mode, random, code + size);
    }
    code[size] = 0xf4;
    return size + 1;
}

static void run_kind(struct guest_pair *pair, enum guest_mode mode, bool vectors, uint64_t seed, unsigned cases)
{
    uint8_t code[MAX_CODE + INSN_MAX_LENGTH];
    char text[1024];
    unsigned failures = 0, halts = 0;

    if (getenv("DOPPEL_TEST_STATES")) // the long form, for ./dev test --all
        cases *= 30;
    for (unsigned i = 0; i < cases; i++) {
        uint64_t random = seed * 1000003 + i, from;
        unsigned size;
        enum engine_stop stop[2];
        guest_reset(&pair->interp, mode, seed + i);
        guest_reset(&pair->jit, mode, seed + i);
        random_state(&pair->interp, mode, i % 3, random);
        random_state(&pair->jit, mode, i % 3, random);
        size = random_code(pair, pair->interp.cpu->mode, vectors, &random, code);
        // Sometimes over the end of the page.
        from = GUEST_CODE + (i % 8 ? 0 : PAGE_SIZE - guest_random(&random) % (size + 8));
        guest_load(&pair->interp, from, code, size);
        guest_load(&pair->jit, from, code, size);
        pair->interp.cpu->var[VAR_RIP] += from - GUEST_CODE;
        pair->jit.cpu->var[VAR_RIP] += from - GUEST_CODE;
        stop[0] = guest_run(&pair->interp, 200);
        stop[1] = guest_run(&pair->jit, 200);
        halts += stop[0] == STOP_HALT;
        if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text) || stop[0] != stop[1]) {
            print_message("mode %u case %u, interpreter / host code: %s stop %u / %u\n", mode, i, text, stop[0],
                          stop[1]);
            print_code(&pair->interp, pair->interp.cpu->mode, code, size);
            if (++failures == 5)
                break;
        }
    }
    assert_int_equal(failures, 0);
    assert_true(halts > cases / 4); // most cases come to an end of their own
}

static void run_cases(struct guest_pair *pair, enum guest_mode mode, uint64_t seed, unsigned cases)
{
    run_kind(pair, mode, false, seed, cases);
}

static void test_64_supervisor(void **state)
{
    run_cases(*state, GUEST_64_CPL0, 1, 6000);
}

static void test_64_user(void **state)
{
    run_cases(*state, GUEST_64_CPL3, 2, 6000);
}

static void test_32_flat(void **state)
{
    run_cases(*state, GUEST_32_CPL0, 3, 3000);
}

static void test_16(void **state)
{
    run_cases(*state, GUEST_16, 4, 1500);
}

/// Up to four features that the host has not, for all that host code knows.
static void hide_features(struct guest_pair *pair, const enum cpu_feature missing[4])
{
    uint64_t allowed[2] = {UINT64_MAX, UINT64_MAX};
    for (unsigned i = 0; i < 4 && missing[i]; i++)
        allowed[missing[i] / 64] &= ~BIT(missing[i] % 64);
    translate_limit_host_features(pair->jit.state, allowed);
}

/// The same on a host without the bit manipulation extensions, and without one of them.
static void test_without_bmi(void **state)
{
    static const enum cpu_feature missing[][4] = {
        {FEATURE_BMI1, FEATURE_BMI2, FEATURE_ABM, FEATURE_POPCNT}, {FEATURE_BMI1}, {FEATURE_BMI2}};
    struct guest_pair *pair = *state;
    for (unsigned i = 0; i < ARRAY_SIZE(missing); i++) {
        hide_features(pair, missing[i]);
        run_cases(pair, GUEST_64_CPL0, 20 + i, 1500);
    }
}

static void test_vectors(void **state)
{
    run_kind(*state, GUEST_64_CPL0, true, 30, 4000);
    run_kind(*state, GUEST_32_CPL0, true, 31, 2000);
}

/// On a host without some of what AVX rows want: C functions do it, between host code for the rest.
static void test_without_avx(void **state)
{
    static const enum cpu_feature missing[][4] = {{FEATURE_AVX, FEATURE_AVX2, FEATURE_FMA, FEATURE_F16C},
                                                  {FEATURE_AVX2, FEATURE_FMA},
                                                  {FEATURE_AVX, FEATURE_SSE41}};
    struct guest_pair *pair = *state;
    for (unsigned i = 0; i < ARRAY_SIZE(missing); i++) {
        hide_features(pair, missing[i]);
        run_kind(pair, GUEST_64_CPL0, true, 40 + i, 1500);
    }
}

/// Every recipe that a block may find at its start, read in every way: conditions, the carry alone, all six flags.
static void test_recipes(void **state)
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff, 0x0f, 0x10};
    struct guest_pair *pair = *state;
    uint8_t code[32];
    char text[1024];
    uint64_t random = 77;
    for (unsigned i = 0; i < 40000; i++) {
        uint64_t r = guest_random(&random), operand[3];
        unsigned n = 0, op = r % (CC_OPS + 1), width = r >> 8 & 3, last = 8u * (1u << width) - 8;
        struct guest *guests[] = {&pair->interp, &pair->jit};
        for (unsigned k = 0; k < 3; k++) {
            uint64_t edge = guest_random(&random);
            operand[k] = edge & 1 ? guest_random(&random) : values[(edge >> 8) % sizeof values];
            if (edge & 2)
                operand[k] ^= (uint64_t)values[(edge >> 16) % sizeof values] << last;
        }
        // A shift's result is what its last step makes of the source.
        if (op == CC_SHL)
            operand[0] = operand[1] << 1;
        else if (op == CC_SHR)
            operand[0] = (operand[1] & bits_mask(last + 8)) >> 1;
        else if (op == CC_SAR)
            operand[0] = (uint64_t)(bits_sign_extend(operand[1], last + 8) >> 1);
        switch (r >> 16 & 3) {
        case 0: // pushfq; pop rbx
            memcpy(code, "\x9c\x5b", 2), n = 2;
            break;
        case 1: // adc eax, ecx; lahf
            memcpy(code, "\x11\xc8\x9f", 3), n = 3;
            break;
        case 2: // the carry changed, others kept; then all of them
            code[n++] = (uint8_t) "\xf5\xf8\xf9\x9e"[r >> 20 & 3];
            code[n++] = 0x9c;
            break;
        default: // setcc dl; cmovcc esi, eax; a second condition without flags between
            memcpy(code, "\x0f\x90\xc2\x0f\x40\xf0\x70\x02\xff\xc3", 10), n = 10;
            code[1] |= r >> 24 & 15;
            code[4] |= r >> 28 & 15;
            code[6] |= r >> 32 & 15;
            break;
        }
        code[n++] = 0xf4;
        for (unsigned k = 0; k < ARRAY_SIZE(guests); k++) {
            struct cpu *cpu = guests[k]->cpu;
            guest_reset(guests[k], GUEST_64_CPL0, 5);
            cpu->var[VAR_RSP] = GUEST_STACK;
            // What does not count may be anything.
            cpu->var[VAR_CC_OP] = op << 2 | width | (r >> 46 & 15) << 8 | (operand[2] & 0xffff) << CC_IMM_SHIFT;
            if (r >> 40 & 1)
                cpu->var[VAR_CC_OP] |=
                    CC_CARRY_REPLACED | (r >> 41 & 3) << 8 | (r >> 43 & 1 ? CC_OVERFLOW_REPLACED : 0);
            cpu->var[VAR_CC_RESULT] = operand[0];
            cpu->var[VAR_CC_SRC] = operand[1];
            cpu->var[VAR_CC_EXTRA] = op == CC_LITERAL ? operand[2] & FLAGS_ARITHMETIC : operand[2] & 1;
            guest_load(guests[k], GUEST_CODE, code, n);
            guest_run(guests[k], 50);
        }
        if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text))
            print_message("recipe %u width %u of %llx %llx %llx: %s\n", op, width, (unsigned long long)operand[0],
                          (unsigned long long)operand[1], (unsigned long long)operand[2], text),
                print_code(&pair->interp, pair->interp.cpu->mode, code, n), fail();
    }
}

/// Host code must have done most of the work, or the tests above compare the interpreter with itself.
static void test_share(void **state)
{
    struct guest_pair *pair = *state;
    struct translate_statistics s;
    run_cases(pair, GUEST_64_CPL0, 9, 500);
    translate_statistics(pair->jit.state, &s);
    assert_true(s.translated_blocks > 500);
    assert_true(s.host_instructions > s.interpreted_instructions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_64_supervisor, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_64_user, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_32_flat, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_16, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_without_bmi, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_vectors, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_without_avx, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_recipes, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_share, guest_pair_open, guest_pair_close),
    };
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests_name("translate: random blocks", tests, NULL, NULL);
}
