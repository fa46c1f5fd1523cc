// The encoder against Zydis: every function with every register, width and kind of address must decode, alone and
// whole, to what was asked for.
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#include "base/bits.h"
#include "translate/emit_x86_64.h"

static uint8_t area[32768];
static uint8_t *const buffer = area + 16384; // jumps reach both ways
#define BUFFER_SIZE 64
static struct emit e;
static ZydisDecodedInstruction insn;
static ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];

static void begin(void)
{
    memset(buffer, 0x90, BUFFER_SIZE);
    emit_start(&e, buffer, BUFFER_SIZE);
}

/// Decodes what was emitted: exactly one instruction.
static void decode_one(ZydisMnemonic mnemonic)
{
    ZydisDecoder decoder;
    assert_false(e.full);
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
    assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, buffer, BUFFER_SIZE, &insn, operand)));
    assert_int_equal(insn.length, emit_size(&e));
    assert_int_equal(insn.mnemonic, mnemonic);
}

static void is_register(unsigned n, unsigned width, unsigned number)
{
    static const ZydisRegister low[16] = {
        ZYDIS_REGISTER_AL,   ZYDIS_REGISTER_CL,   ZYDIS_REGISTER_DL,   ZYDIS_REGISTER_BL,
        ZYDIS_REGISTER_SPL,  ZYDIS_REGISTER_BPL,  ZYDIS_REGISTER_SIL,  ZYDIS_REGISTER_DIL,
        ZYDIS_REGISTER_R8B,  ZYDIS_REGISTER_R9B,  ZYDIS_REGISTER_R10B, ZYDIS_REGISTER_R11B,
        ZYDIS_REGISTER_R12B, ZYDIS_REGISTER_R13B, ZYDIS_REGISTER_R14B, ZYDIS_REGISTER_R15B};
    static const ZydisRegister first[4] = {0, ZYDIS_REGISTER_AX, ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_RAX};
    assert_int_equal(operand[n].type, ZYDIS_OPERAND_TYPE_REGISTER);
    assert_int_equal(operand[n].reg.value, width == 0 ? low[number] : first[width] + number);
}

static void is_immediate(unsigned n, int64_t value, unsigned bits)
{
    assert_int_equal(operand[n].type, ZYDIS_OPERAND_TYPE_IMMEDIATE);
    assert_int_equal((uint64_t)operand[n].imm.value.s & bits_mask(bits), (uint64_t)value & bits_mask(bits));
}

static void is_memory(unsigned n, unsigned bits, struct emit_memory m)
{
    assert_int_equal(operand[n].type, ZYDIS_OPERAND_TYPE_MEMORY);
    assert_int_equal(operand[n].size, bits);
    assert_int_equal(operand[n].mem.base, ZYDIS_REGISTER_RAX + m.base);
    if (m.index == HOST_NO_INDEX)
        assert_int_equal(operand[n].mem.index, ZYDIS_REGISTER_NONE);
    else {
        assert_int_equal(operand[n].mem.index, ZYDIS_REGISTER_RAX + m.index);
        assert_int_equal(operand[n].mem.scale, 1 << m.scale);
    }
    assert_int_equal(operand[n].mem.disp.value, m.displacement);
}

// Every base, with displacements of every size, with and without index.
static const int32_t displacements[] = {0, 1, -1, 127, 128, -128, -129, 0x12345, INT32_MIN, INT32_MAX};
#define ADDRESSES (16 * ARRAY_SIZE(displacements) * 5)

static struct emit_memory address(unsigned n)
{
    static const uint8_t indices[5] = {HOST_NO_INDEX, HOST_RAX, HOST_RBP, HOST_R12, HOST_R13};
    struct emit_memory m = {.base = n % 16, .displacement = displacements[n / 16 % ARRAY_SIZE(displacements)]};
    m.index = indices[n / 16 / ARRAY_SIZE(displacements)];
    m.scale = m.index == HOST_NO_INDEX ? 0 : n % 4;
    return m;
}

static const int32_t immediates[] = {0, 1, -1, 0x7f, 0x80, -0x80, -0x81, 0x1234, 0xffff, 0x12345678, INT32_MIN};

#define FOR_REGISTERS(a, b)                                                                                            \
    for (uint8_t a = 0; a < 16; a++)                                                                                   \
        for (uint8_t b = 0; b < 16; b++)
#define FOR_WIDTHS(w, from) for (unsigned w = (from); w < 4; w++)

static void test_moves(void **state)
{
    FOR_REGISTERS(a, b)
    {
        FOR_WIDTHS(w, 0)
        {
            begin();
            emit_move(&e, w, a, b);
            decode_one(ZYDIS_MNEMONIC_MOV);
            is_register(0, w, a);
            is_register(1, w, b);
            for (unsigned is_signed = 0; is_signed < 2; is_signed++) {
                begin();
                emit_extend(&e, is_signed, w, a, b);
                decode_one(w == 3 || (w == 2 && !is_signed) ? ZYDIS_MNEMONIC_MOV
                           : w == 2                         ? ZYDIS_MNEMONIC_MOVSXD
                           : is_signed                      ? ZYDIS_MNEMONIC_MOVSX
                                                            : ZYDIS_MNEMONIC_MOVZX);
                is_register(0, is_signed || w == 3 ? 3 : 2, a);
                is_register(1, w, b);
            }
        }
        begin();
        emit_exchange(&e, a, b);
        if (a || b) { // xchg rax, rax too is what it says
            decode_one(ZYDIS_MNEMONIC_XCHG);
            is_register(0, 3, b);
            is_register(1, 3, a);
        }
        for (unsigned condition = 0; condition < 16; condition++) {
            static const ZydisMnemonic moves[16] = {
                ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB,  ZYDIS_MNEMONIC_CMOVNB,
                ZYDIS_MNEMONIC_CMOVZ, ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE,
                ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP,  ZYDIS_MNEMONIC_CMOVNP,
                ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE, ZYDIS_MNEMONIC_CMOVNLE};
            static const ZydisMnemonic sets[16] = {
                ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB,  ZYDIS_MNEMONIC_SETNB,
                ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE,
                ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETP,  ZYDIS_MNEMONIC_SETNP,
                ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_SETNLE};
            FOR_WIDTHS(w, 1)
            {
                begin();
                emit_cmov(&e, condition, w, a, b);
                decode_one(moves[condition]);
                is_register(0, w, a);
                is_register(1, w, b);
            }
            begin();
            emit_set(&e, condition, a);
            decode_one(sets[condition]);
            is_register(0, 0, a);
        }
    }
    for (uint8_t a = 0; a < 16; a++) {
        static const uint64_t values[] = {0,
                                          1,
                                          UINT32_MAX,
                                          UINT64_MAX,
                                          UINT64_C(0xffffffff80000000),
                                          UINT64_C(0x80000000),
                                          UINT64_C(0x123456789abcdef0)};
        for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
            begin();
            emit_move_imm(&e, a, values[i]);
            decode_one(ZYDIS_MNEMONIC_MOV);
            is_register(0, values[i] <= UINT32_MAX ? 2 : 3, a);
            is_immediate(1, (int64_t)values[i], values[i] <= UINT32_MAX ? 32 : 64);
        }
        FOR_WIDTHS(w, 2)
        {
            begin();
            emit_bswap(&e, w, a);
            decode_one(ZYDIS_MNEMONIC_BSWAP);
            is_register(0, w, a);
        }
    }
}

static void test_memory(void **state)
{
    for (unsigned n = 0; n < ADDRESSES; n++) {
        struct emit_memory m = address(n);
        uint8_t reg = (uint8_t)(n * 7 % 16);
        FOR_WIDTHS(w, 0)
        {
            begin();
            emit_load(&e, w, reg, m);
            decode_one(w < 2 ? ZYDIS_MNEMONIC_MOVZX : ZYDIS_MNEMONIC_MOV);
            is_register(0, w < 2 ? 2 : w, reg);
            is_memory(1, 8u << w, m);
            begin();
            emit_store(&e, w, m, reg);
            decode_one(ZYDIS_MNEMONIC_MOV);
            is_memory(0, 8u << w, m);
            is_register(1, w, reg);
            for (unsigned i = 0; i < ARRAY_SIZE(immediates); i++) {
                begin();
                emit_store_imm(&e, w, m, immediates[i]);
                decode_one(ZYDIS_MNEMONIC_MOV);
                is_memory(0, 8u << w, m);
                is_immediate(1, immediates[i], 8u << w);
                begin();
                emit_alu_memory_imm(&e, EMIT_CMP, w, m, immediates[i]);
                decode_one(ZYDIS_MNEMONIC_CMP);
                is_memory(0, 8u << w, m);
                is_immediate(1, immediates[i], 8u << w);
            }
            if (w > 0) {
                begin();
                emit_multiply_load(&e, w, reg, m);
                decode_one(ZYDIS_MNEMONIC_IMUL);
                is_register(0, w, reg);
                is_memory(1, 8u << w, m);
            }
            begin();
            emit_alu_load(&e, EMIT_SUB, w, reg, m);
            decode_one(ZYDIS_MNEMONIC_SUB);
            is_register(0, w, reg);
            is_memory(1, 8u << w, m);
            begin();
            emit_alu_store(&e, EMIT_XOR, w, m, reg);
            decode_one(ZYDIS_MNEMONIC_XOR);
            is_memory(0, 8u << w, m);
            is_register(1, w, reg);
        }
        FOR_WIDTHS(w, 2)
        {
            begin();
            emit_lea(&e, w, reg, m);
            decode_one(ZYDIS_MNEMONIC_LEA);
            is_register(0, w, reg);
            assert_int_equal(operand[1].mem.base, ZYDIS_REGISTER_RAX + m.base);
            assert_int_equal(operand[1].mem.disp.value, m.displacement);
        }
        begin();
        emit_bit_memory(&e, m, 3);
        decode_one(ZYDIS_MNEMONIC_BT);
        is_memory(0, 32, m);
        for (unsigned bytes = 4; bytes <= 16; bytes *= 2) {
            ZydisMnemonic mnemonic = bytes == 16  ? ZYDIS_MNEMONIC_MOVUPS
                                     : bytes == 8 ? ZYDIS_MNEMONIC_MOVQ
                                                  : ZYDIS_MNEMONIC_MOVD;
            begin();
            emit_vector_load(&e, bytes, reg, m);
            decode_one(mnemonic);
            assert_int_equal(operand[0].reg.value, ZYDIS_REGISTER_XMM0 + reg);
            is_memory(1, 8 * bytes, m);
            begin();
            emit_vector_store(&e, bytes, m, reg);
            decode_one(mnemonic);
            is_memory(0, 8 * bytes, m);
            assert_int_equal(operand[1].reg.value, ZYDIS_REGISTER_XMM0 + reg);
        }
    }
}

static void test_arithmetic(void **state)
{
    static const ZydisMnemonic alu[8] = {ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_OR,  ZYDIS_MNEMONIC_ADC,
                                         ZYDIS_MNEMONIC_SBB, ZYDIS_MNEMONIC_AND, ZYDIS_MNEMONIC_SUB,
                                         ZYDIS_MNEMONIC_XOR, ZYDIS_MNEMONIC_CMP};
    static const ZydisMnemonic bit[8] = {
        0, 0, 0, 0, ZYDIS_MNEMONIC_BT, ZYDIS_MNEMONIC_BTS, ZYDIS_MNEMONIC_BTR, ZYDIS_MNEMONIC_BTC};
    FOR_REGISTERS(a, b)
    {
        FOR_WIDTHS(w, 0)
        {
            for (unsigned op = 0; op < 8; op++) {
                begin();
                emit_alu(&e, op, w, a, b);
                decode_one(alu[op]);
                is_register(0, w, a);
                is_register(1, w, b);
            }
            begin();
            emit_test(&e, w, a, b);
            decode_one(ZYDIS_MNEMONIC_TEST);
            is_register(0, w, a);
            is_register(1, w, b);
        }
        FOR_WIDTHS(w, 1)
        {
            begin();
            emit_multiply(&e, w, a, b);
            decode_one(ZYDIS_MNEMONIC_IMUL);
            is_register(0, w, a);
            is_register(1, w, b);
            for (unsigned op = EMIT_BT; op <= EMIT_BTC; op++) {
                begin();
                emit_bit(&e, op, w, a, b);
                decode_one(bit[op]);
                is_register(0, w, a);
                is_register(1, w, b);
                begin();
                emit_bit_imm(&e, op, w, a, b);
                decode_one(bit[op]);
                is_register(0, w, a);
                is_immediate(1, b, 8);
            }
        }
    }
    for (uint8_t a = 0; a < 16; a++) {
        FOR_WIDTHS(w, 0)
        {
            for (unsigned i = 0; i < ARRAY_SIZE(immediates); i++) {
                for (unsigned op = 0; op < 8; op++) {
                    begin();
                    emit_alu_imm(&e, op, w, a, immediates[i]);
                    decode_one(alu[op]);
                    is_register(0, w, a);
                    is_immediate(1, immediates[i], 8u << w);
                }
                begin();
                emit_test_imm(&e, w, a, immediates[i]);
                decode_one(ZYDIS_MNEMONIC_TEST);
                is_register(0, w, a);
                is_immediate(1, immediates[i], 8u << w);
            }
        }
    }
}

static void test_shifts(void **state)
{
    static const ZydisMnemonic shift[8] = {ZYDIS_MNEMONIC_ROL,
                                           ZYDIS_MNEMONIC_ROR,
                                           ZYDIS_MNEMONIC_RCL,
                                           ZYDIS_MNEMONIC_RCR,
                                           ZYDIS_MNEMONIC_SHL,
                                           ZYDIS_MNEMONIC_SHR,
                                           0,
                                           ZYDIS_MNEMONIC_SAR};
    for (uint8_t a = 0; a < 16; a++) {
        FOR_WIDTHS(w, 0)
        {
            for (unsigned op = 0; op < 8; op++) {
                if (op == 6)
                    continue;
                begin();
                emit_shift_imm(&e, op, w, a, 7);
                decode_one(shift[op]);
                is_register(0, w, a);
                is_immediate(1, 7, 8);
                begin();
                emit_shift_cl(&e, op, w, a);
                decode_one(shift[op]);
                is_register(0, w, a);
                is_register(1, 0, HOST_RCX);
            }
            begin();
            emit_unary(&e, EMIT_NOT, w, a);
            decode_one(ZYDIS_MNEMONIC_NOT);
            is_register(0, w, a);
            begin();
            emit_unary(&e, EMIT_NEG, w, a);
            decode_one(ZYDIS_MNEMONIC_NEG);
            is_register(0, w, a);
            begin();
            emit_unary(&e, EMIT_DIV, w, a);
            decode_one(ZYDIS_MNEMONIC_DIV);
            is_register(0, w, a);
            begin();
            emit_unary(&e, EMIT_IDIV, w, a);
            decode_one(ZYDIS_MNEMONIC_IDIV);
            is_register(0, w, a);
            begin();
            emit_increment(&e, false, w, a);
            decode_one(ZYDIS_MNEMONIC_INC);
            is_register(0, w, a);
            begin();
            emit_increment(&e, true, w, a);
            decode_one(ZYDIS_MNEMONIC_DEC);
            is_register(0, w, a);
        }
    }
}

static void is_target(const uint8_t *target)
{
    assert_int_equal(operand[0].type, ZYDIS_OPERAND_TYPE_IMMEDIATE);
    assert_int_equal(operand[0].imm.value.s, target - (buffer + insn.length));
}

static void test_control(void **state)
{
    for (uint8_t a = 0; a < 16; a++) {
        begin();
        emit_push(&e, a);
        decode_one(ZYDIS_MNEMONIC_PUSH);
        is_register(0, 3, a);
        begin();
        emit_pop(&e, a);
        decode_one(ZYDIS_MNEMONIC_POP);
        is_register(0, 3, a);
        begin();
        emit_call_register(&e, a);
        decode_one(ZYDIS_MNEMONIC_CALL);
        is_register(0, 3, a);
        begin();
        emit_jump_register(&e, a);
        decode_one(ZYDIS_MNEMONIC_JMP);
        is_register(0, 3, a);
    }
    begin();
    emit_patch(&e, emit_jump_if(&e, EMIT_EQUAL), buffer + 40);
    decode_one(ZYDIS_MNEMONIC_JZ);
    is_target(buffer + 40);
    begin();
    emit_patch(&e, emit_jump_if(&e, EMIT_NOT_EQUAL), buffer - 40);
    decode_one(ZYDIS_MNEMONIC_JNZ);
    is_target(buffer - 40);
    begin();
    emit_jump_to(&e, buffer + 10000);
    decode_one(ZYDIS_MNEMONIC_JMP);
    is_target(buffer + 10000);
    begin();
    emit_patch_here(&e, emit_jump(&e));
    decode_one(ZYDIS_MNEMONIC_JMP);
    is_target(buffer + 5);
    begin();
    emit_return(&e);
    decode_one(ZYDIS_MNEMONIC_RET);
    begin();
    emit_fence(&e);
    decode_one(ZYDIS_MNEMONIC_MFENCE);
    begin();
    emit_trap(&e);
    decode_one(ZYDIS_MNEMONIC_UD2);
    begin();
    emit_set_carry(&e);
    decode_one(ZYDIS_MNEMONIC_STC);
    begin();
    emit_complement_carry(&e);
    decode_one(ZYDIS_MNEMONIC_CMC);
    begin();
    emit_store_flags(&e);
    decode_one(ZYDIS_MNEMONIC_SAHF);
}

static void test_bits(void **state)
{
    static const struct {
        struct emit_vex op;
        ZydisMnemonic mnemonic;
        uint8_t order[3]; // operands: 0 reg, 1 second, 2 rm
    } vex[] = {
        {{2, 1, 0xf7}, ZYDIS_MNEMONIC_SHLX, {0, 2, 1}},  {{2, 2, 0xf7}, ZYDIS_MNEMONIC_SARX, {0, 2, 1}},
        {{2, 3, 0xf7}, ZYDIS_MNEMONIC_SHRX, {0, 2, 1}},  {{2, 3, 0xf6}, ZYDIS_MNEMONIC_MULX, {0, 1, 2}},
        {{2, 0, 0xf7}, ZYDIS_MNEMONIC_BEXTR, {0, 2, 1}}, {{2, 0, 0xf5}, ZYDIS_MNEMONIC_BZHI, {0, 2, 1}},
        {{2, 3, 0xf5}, ZYDIS_MNEMONIC_PDEP, {0, 1, 2}},  {{2, 2, 0xf5}, ZYDIS_MNEMONIC_PEXT, {0, 1, 2}},
    };
    static const ZydisMnemonic lowest[] = {ZYDIS_MNEMONIC_BLSR, ZYDIS_MNEMONIC_BLSMSK, ZYDIS_MNEMONIC_BLSI};
    static const struct {
        enum emit_count op;
        bool scan;
        ZydisMnemonic mnemonic;
    } counts[] = {{EMIT_POPCNT, false, ZYDIS_MNEMONIC_POPCNT},
                  {EMIT_TZCNT, false, ZYDIS_MNEMONIC_TZCNT},
                  {EMIT_LZCNT, false, ZYDIS_MNEMONIC_LZCNT},
                  {EMIT_TZCNT, true, ZYDIS_MNEMONIC_BSF},
                  {EMIT_LZCNT, true, ZYDIS_MNEMONIC_BSR}};
    FOR_REGISTERS(a, b)
    {
        FOR_WIDTHS(w, 2)
        {
            const unsigned registers[3] = {a, b, (a * 5u + b * 3u) % 16};
            for (unsigned i = 0; i < ARRAY_SIZE(vex); i++) {
                begin();
                emit_vex(&e, vex[i].op, w, (uint8_t)registers[0], (uint8_t)registers[1], (uint8_t)registers[2]);
                decode_one(vex[i].mnemonic);
                for (unsigned n = 0; n < 3; n++)
                    is_register(n, w, registers[vex[i].order[n]]);
            }
            for (unsigned i = 0; i < ARRAY_SIZE(lowest); i++) {
                begin();
                emit_vex(&e, (struct emit_vex){2, 0, 0xf3}, w, (uint8_t)(i + 1), a, b);
                decode_one(lowest[i]);
                is_register(0, w, a);
                is_register(1, w, b);
            }
            begin();
            emit_rotate_right(&e, w, a, b, 13);
            decode_one(ZYDIS_MNEMONIC_RORX);
            is_register(0, w, a);
            is_register(1, w, b);
            is_immediate(2, 13, 8);
            begin();
            emit_multiply_wide(&e, b & 1, w, a);
            decode_one(b & 1 ? ZYDIS_MNEMONIC_IMUL : ZYDIS_MNEMONIC_MUL);
            is_register(0, w, a);
            for (unsigned i = 0; i < 4; i++) {
                begin();
                emit_double_shift(&e, i & 1, w, a, b, i & 2 ? 11 : 0);
                decode_one(i & 1 ? ZYDIS_MNEMONIC_SHLD : ZYDIS_MNEMONIC_SHRD);
                is_register(0, w, a);
                is_register(1, w, b);
                if (i & 2)
                    is_immediate(2, 11, 8);
                else
                    is_register(2, 0, HOST_RCX);
            }
            begin();
            emit_multiply_imm(&e, w, a, b, -77777);
            decode_one(ZYDIS_MNEMONIC_IMUL);
            is_register(0, w, a);
            is_register(1, w, b);
            begin();
            emit_patch(&e, emit_lea_relative(&e, a), buffer + 100);
            decode_one(ZYDIS_MNEMONIC_LEA);
            is_register(0, 3, a);
        }
        FOR_WIDTHS(w, 1)
        {
            for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
                begin();
                emit_count(&e, counts[i].op, counts[i].scan, w, a, b);
                decode_one(counts[i].mnemonic);
                is_register(0, w, a);
                is_register(1, w, b);
            }
        }
    }
    for (unsigned n = 0; n < ADDRESSES; n++) {
        begin();
        emit_set_memory(&e, 2, address(n));
        decode_one(ZYDIS_MNEMONIC_SETB);
        is_memory(0, 8, address(n));
    }
}

static void is_vector(unsigned n, ZydisRegister first, unsigned number)
{
    assert_int_equal(operand[n].type, ZYDIS_OPERAND_TYPE_REGISTER);
    assert_int_equal(operand[n].reg.value, first + number);
}

static void test_avx(void **state)
{
    static const struct {
        struct emit_avx_op op;
        ZydisMnemonic mnemonic;
        bool immediate;
    } cases[] = {{{1, 1, 0xfc, false, false}, ZYDIS_MNEMONIC_VPADDB, false},
                 {{1, 0, 0x58, false, true}, ZYDIS_MNEMONIC_VADDPS, false},
                 {{2, 1, 0x98, true, true}, ZYDIS_MNEMONIC_VFMADD132PD, false},
                 {{3, 1, 0x0f, false, false}, ZYDIS_MNEMONIC_VPALIGNR, true}};
    static const ZydisMnemonic moves[] = {ZYDIS_MNEMONIC_VMOVD, ZYDIS_MNEMONIC_VMOVQ, ZYDIS_MNEMONIC_VMOVUPS,
                                          ZYDIS_MNEMONIC_VMOVUPS};
    FOR_REGISTERS(a, b)
    {
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
            unsigned first = cases[i].op.is_long ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0,
                     c = (a * 5u + b * 3u) % 16;
            begin();
            emit_avx_registers(&e, cases[i].op, a, b, (uint8_t)c);
            if (cases[i].immediate)
                emit_byte(&e, 0x1b);
            decode_one(cases[i].mnemonic);
            is_vector(0, first, a);
            is_vector(1, first, b);
            is_vector(2, first, c);
        }
    }
    for (unsigned n = 0; n < ADDRESSES; n++) {
        struct emit_memory m = address(n);
        begin();
        emit_avx_memory(&e, cases[n % 3].op, n % 16, 15 - n % 16, m);
        decode_one(cases[n % 3].mnemonic);
        is_memory(2, cases[n % 3].op.is_long ? 256 : 128, m);
        is_vector(1, cases[n % 3].op.is_long ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0, 15 - n % 16);
        for (unsigned i = 0; i < 4; i++) {
            unsigned first = i == 3 ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0;
            begin();
            emit_avx_load(&e, 4u << i, n % 16, m);
            decode_one(moves[i]);
            is_vector(0, first, n % 16);
            is_memory(1, 32u << i, m);
            begin();
            emit_avx_store(&e, 4u << i, m, n % 16);
            decode_one(moves[i]);
            is_memory(0, 32u << i, m);
            is_vector(1, first, n % 16);
        }
    }
    begin();
    emit_avx_plain(&e, (struct emit_avx_op){1, 0, 0x77, false, false});
    decode_one(ZYDIS_MNEMONIC_VZEROUPPER);
    begin();
    emit_avx_plain(&e, (struct emit_avx_op){1, 0, 0x77, false, true});
    decode_one(ZYDIS_MNEMONIC_VZEROALL);
}

static void test_vector_operations(void **state)
{
    static const struct emit_vector_op addsd = {.opcode = 0x0f58, .prefix = 0xf2},
                                       pshufb = {.opcode = 0x0f3800, .prefix = 0x66},
                                       palignr = {.opcode = 0x0f3a0f, .prefix = 0x66},
                                       movq = {.opcode = 0x0f6e, .prefix = 0x66, .wide = true},
                                       shufps = {.opcode = 0x0fc6}, emms = {.opcode = 0x0f77};
    FOR_REGISTERS(a, b)
    {
        static const struct {
            const struct emit_vector_op *op;
            ZydisMnemonic mnemonic;
            bool immediate;
        } cases[] = {{&addsd, ZYDIS_MNEMONIC_ADDSD, false},
                     {&pshufb, ZYDIS_MNEMONIC_PSHUFB, false},
                     {&palignr, ZYDIS_MNEMONIC_PALIGNR, true},
                     {&shufps, ZYDIS_MNEMONIC_SHUFPS, true}};
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
            begin();
            emit_vector_registers(&e, *cases[i].op, a, b);
            if (cases[i].immediate)
                emit_byte(&e, 0x1b);
            decode_one(cases[i].mnemonic);
            is_vector(0, ZYDIS_REGISTER_XMM0, a);
            is_vector(1, ZYDIS_REGISTER_XMM0, b);
        }
        begin();
        emit_vector_registers(&e, movq, a, b);
        decode_one(ZYDIS_MNEMONIC_MOVQ);
        is_vector(0, ZYDIS_REGISTER_XMM0, a);
        is_register(1, 3, b);
        FOR_WIDTHS(w, 0)
        {
            begin();
            emit_crc32(&e, w, a, b);
            decode_one(ZYDIS_MNEMONIC_CRC32);
            is_register(0, w == 3 ? 3 : 2, a);
            is_register(1, w, b);
        }
    }
    for (unsigned n = 0; n < ADDRESSES; n++) {
        struct emit_memory m = address(n);
        begin();
        emit_vector_memory(&e, addsd, 9, m);
        decode_one(ZYDIS_MNEMONIC_ADDSD);
        is_vector(0, ZYDIS_REGISTER_XMM0, 9);
        is_memory(1, 64, m);
        begin();
        emit_load_mxcsr(&e, m);
        decode_one(ZYDIS_MNEMONIC_LDMXCSR);
        is_memory(0, 32, m);
        begin();
        emit_store_mxcsr(&e, m);
        decode_one(ZYDIS_MNEMONIC_STMXCSR);
        is_memory(0, 32, m);
        begin();
        emit_x87_memory(&e, 4, 0, m);
        decode_one(ZYDIS_MNEMONIC_FADD);
        is_memory(operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? 0 : 1, 64, m);
        begin();
        emit_x87_memory(&e, 5, 6, m);
        decode_one(ZYDIS_MNEMONIC_FNSAVE);
        begin();
        emit_test_memory_imm(&e, m, 0x82);
        decode_one(ZYDIS_MNEMONIC_TEST);
        is_memory(0, 8, m);
        is_immediate(1, 0x82, 8);
    }
    for (uint8_t i = 0; i < 8; i++) {
        begin();
        emit_x87_registers(&e, 0, 0xc8 | i);
        decode_one(ZYDIS_MNEMONIC_FMUL);
        is_vector(1, ZYDIS_REGISTER_ST0, i);
    }
    begin();
    emit_vector_plain(&e, emms);
    decode_one(ZYDIS_MNEMONIC_EMMS);
    begin();
    emit_push_flags(&e);
    decode_one(ZYDIS_MNEMONIC_PUSHFQ);
    begin();
    emit_pop_flags(&e);
    decode_one(ZYDIS_MNEMONIC_POPFQ);
    begin();
    emit_patch(&e, emit_call(&e), buffer - 40);
    decode_one(ZYDIS_MNEMONIC_CALL);
    is_target(buffer - 40);
}

static void test_full_buffer(void **state)
{
    for (unsigned room = 0; room < 16; room++) {
        memset(buffer, 0x90, BUFFER_SIZE);
        emit_start(&e, buffer, room);
        emit_move_imm(&e, HOST_RAX, UINT64_C(0x123456789abcdef0)); // 10 bytes
        emit_jump_to(&e, buffer);                                  // 5
        assert_int_equal(e.full, room < 15);
        assert_true(emit_size(&e) <= room);
        assert_int_equal(buffer[room], 0x90);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),      cmocka_unit_test(test_memory),
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_shifts),
        cmocka_unit_test(test_control),    cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_bits),       cmocka_unit_test(test_vector_operations),
        cmocka_unit_test(test_avx),
    };
    return cmocka_run_group_tests_name("translate: encoder", tests, NULL, NULL);
}
