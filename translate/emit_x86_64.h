// Encodes x86-64 instructions into memory, for the backend. Knows no uop and no guest. Compiles on any host.
#ifndef DOPPEL_TRANSLATE_EMIT_X86_64_H
#define DOPPEL_TRANSLATE_EMIT_X86_64_H

#include "translate/emit.h"

enum host_x86_register {
    HOST_RAX,
    HOST_RCX,
    HOST_RDX,
    HOST_RBX,
    HOST_RSP,
    HOST_RBP,
    HOST_RSI,
    HOST_RDI,
    HOST_R8,
    HOST_R9,
    HOST_R10,
    HOST_R11,
    HOST_R12,
    HOST_R13,
    HOST_R14,
    HOST_R15,
    HOST_NO_INDEX,
    HOST_GS,   // as a base: the GS segment's base
    HOST_STATE // as a base: where rsp points when nothing is pushed (struct emit's depth)
};

/// Widths are WIDTH_8 .. WIDTH_64 (0..3) everywhere.
enum emit_alu { EMIT_ADD, EMIT_OR, EMIT_ADC, EMIT_SBB, EMIT_AND, EMIT_SUB, EMIT_XOR, EMIT_CMP };
enum emit_shift { EMIT_ROL, EMIT_ROR, EMIT_RCL, EMIT_RCR, EMIT_SHL, EMIT_SHR, EMIT_SAR = 7 };
enum emit_unary { EMIT_NOT = 2, EMIT_NEG = 3, EMIT_DIV = 6, EMIT_IDIV = 7 }; // the last two: rdx:rax
enum emit_bit { EMIT_BT = 4, EMIT_BTS, EMIT_BTR, EMIT_BTC };
#define EMIT_BELOW 2u
#define EMIT_ABOVE 7u
#define EMIT_SIGN 8u
#define EMIT_GREATER 15u
#define EMIT_EQUAL 4u // condition numbers are x86's own
#define EMIT_NOT_EQUAL 5u

/// [base + (index << scale) + displacement]; index HOST_NO_INDEX: none (never RSP). LEA knows no segment.
struct emit_memory {
    uint8_t base, index, scale;
    int32_t displacement;
};

// ---- moves; none of them changes flags ----------------------------------------------------------------------------
/// 8 and 16 bits merge into the destination, 32 zero-extends.
void emit_move(struct emit *e, unsigned width, uint8_t to, uint8_t from);
void emit_move_imm(struct emit *e, uint8_t to, uint64_t value);
/// Of 8 bytes that are patched in later: the last ones of the instruction.
void emit_move_later(struct emit *e, uint8_t to);
/// Zero-extended to 64 bits.
void emit_load(struct emit *e, unsigned width, uint8_t to, struct emit_memory from);
void emit_store(struct emit *e, unsigned width, struct emit_memory to, uint8_t from);
/// The immediate is cut to 8 or 16 bits, sign-extended from 32 to 64.
void emit_store_imm(struct emit *e, unsigned width, struct emit_memory to, int32_t value);
/// to (64 bits) = low `from_width` bits of from, extended. `is_signed` of 32 bits is MOVSXD.
void emit_extend(struct emit *e, bool is_signed, unsigned from_width, uint8_t to, uint8_t from);
void emit_lea(struct emit *e, unsigned width, uint8_t to, struct emit_memory address);        // width 32 or 64
void emit_exchange(struct emit *e, uint8_t a, uint8_t b);                                     // 64 bits
void emit_bswap(struct emit *e, unsigned width, uint8_t reg);                                 // width 32 or 64
void emit_set(struct emit *e, unsigned condition, uint8_t to);                                // low 8 bits
void emit_set_memory(struct emit *e, unsigned condition, struct emit_memory to);              // 8 bits
void emit_cmov(struct emit *e, unsigned condition, unsigned width, uint8_t to, uint8_t from); // not 8 bits

// ---- arithmetic -----------------------------------------------------------------------------------------------------
void emit_alu(struct emit *e, enum emit_alu op, unsigned width, uint8_t to, uint8_t from);
void emit_alu_imm(struct emit *e, enum emit_alu op, unsigned width, uint8_t to, int32_t value);
void emit_alu_load(struct emit *e, enum emit_alu op, unsigned width, uint8_t to, struct emit_memory from);
void emit_alu_store(struct emit *e, enum emit_alu op, unsigned width, struct emit_memory to, uint8_t from);
void emit_alu_memory_imm(struct emit *e, enum emit_alu op, unsigned width, struct emit_memory to, int32_t value);
void emit_test(struct emit *e, unsigned width, uint8_t a, uint8_t b);
void emit_test_imm(struct emit *e, unsigned width, uint8_t a, int32_t value);
void emit_unary(struct emit *e, enum emit_unary op, unsigned width, uint8_t reg);
void emit_increment(struct emit *e, bool decrement, unsigned width, uint8_t reg);
void emit_shift_imm(struct emit *e, enum emit_shift op, unsigned width, uint8_t reg, unsigned count);
void emit_shift_cl(struct emit *e, enum emit_shift op, unsigned width, uint8_t reg);
/// SHLD, SHRD: `to` filled from `from`; the count an immediate, or CL where it is 0. 32 or 64 bits.
void emit_double_shift(struct emit *e, bool left, unsigned width, uint8_t to, uint8_t from, unsigned count);
void emit_multiply(struct emit *e, unsigned width, uint8_t to, uint8_t from);                    // IMUL, not 8 bits
void emit_multiply_load(struct emit *e, unsigned width, uint8_t to, struct emit_memory from);    // likewise
void emit_multiply_imm(struct emit *e, unsigned width, uint8_t to, uint8_t from, int32_t value); // likewise
void emit_bit(struct emit *e, enum emit_bit op, unsigned width, uint8_t reg, uint8_t index);     // not 8 bits
/// TZCNT, LZCNT, POPCNT (F3 0F BC, BD, B8); without F3: BSF, BSR. Not 8 bits.
enum emit_count { EMIT_POPCNT = 0xb8, EMIT_TZCNT = 0xbc, EMIT_LZCNT = 0xbd };
void emit_count(struct emit *e, enum emit_count op, bool scan, unsigned width, uint8_t to, uint8_t from);
/// MUL or IMUL: rdx:rax = rax * from.
void emit_multiply_wide(struct emit *e, bool is_signed, unsigned width, uint8_t from);
/// A VEX-encoded instruction on general registers, 32 or 64 bits. digit operations have it in place of reg.
struct emit_vex {
    uint8_t map, prefix, opcode; // 2: 0F38, 3: 0F3A; 0 none, 1 66, 2 F3, 3 F2
};
void emit_vex(struct emit *e, struct emit_vex op, unsigned width, uint8_t reg, uint8_t second, uint8_t rm);
/// RORX: no flags.
void emit_rotate_right(struct emit *e, unsigned width, uint8_t to, uint8_t from, unsigned count);
void emit_bit_imm(struct emit *e, enum emit_bit op, unsigned width, uint8_t reg, unsigned index);
/// CF = bit `index` of the 32 bits at `m`.
void emit_bit_memory(struct emit *e, struct emit_memory m, unsigned index);

// ---- vectors --------------------------------------------------------------------------------------------------------
/// xmm = 4, 8 or 16 bytes, zero-extended; and back.
void emit_vector_load(struct emit *e, unsigned bytes, uint8_t xmm, struct emit_memory from);
void emit_vector_store(struct emit *e, unsigned bytes, struct emit_memory to, uint8_t xmm);

/// An instruction of the vector opcode maps: 0x0fXX, 0x0f38XX or 0x0f3aXX; prefix 0, 0x66, 0xf2, 0xf3; wide: REX.W.
struct emit_vector_op {
    uint32_t opcode;
    uint8_t prefix;
    bool wide;
};
/// reg and rm are numbers of whatever registers the instruction has there. An immediate follows by emit_byte.
void emit_vector_registers(struct emit *e, struct emit_vector_op op, uint8_t reg, uint8_t rm);
void emit_vector_memory(struct emit *e, struct emit_vector_op op, uint8_t reg, struct emit_memory m);
void emit_vector_plain(struct emit *e, struct emit_vector_op op); // without ModRM

/// A VEX-encoded instruction on vector registers. map: 1: 0F, 2: 0F38, 3: 0F3A; prefix as in struct emit_vex; wide: W;
/// is_long: 32 bytes. `second` is VEX.vvvv; 0 where there is no such operand.
struct emit_avx_op {
    uint8_t map, prefix, opcode;
    bool wide, is_long;
};
void emit_avx_registers(struct emit *e, struct emit_avx_op op, uint8_t reg, uint8_t second, uint8_t rm);
void emit_avx_memory(struct emit *e, struct emit_avx_op op, uint8_t reg, uint8_t second, struct emit_memory m);
void emit_avx_plain(struct emit *e, struct emit_avx_op op); // without ModRM
/// ymm = 4, 8, 16 or 32 bytes, zero-extended; and back.
void emit_avx_load(struct emit *e, unsigned bytes, uint8_t ymm, struct emit_memory from);
void emit_avx_store(struct emit *e, unsigned bytes, struct emit_memory to, uint8_t ymm);
void emit_byte(struct emit *e, uint8_t value);
void emit_crc32(struct emit *e, unsigned width, uint8_t to, uint8_t from);

// ---- x87 and control words ----------------------------------------------------------------------------------------
/// escape: low three bits of the first byte (D8..DF).
void emit_x87_registers(struct emit *e, unsigned escape, uint8_t modrm);
void emit_x87_memory(struct emit *e, unsigned escape, unsigned digit, struct emit_memory m);
void emit_load_mxcsr(struct emit *e, struct emit_memory from);
void emit_store_mxcsr(struct emit *e, struct emit_memory to);

// ---- control --------------------------------------------------------------------------------------------------------
/// Their place is the 4 bytes of the relative target.
emit_place emit_jump_if(struct emit *e, unsigned condition);
emit_place emit_jump(struct emit *e);
void emit_patch(struct emit *e, emit_place place, const uint8_t *target);
static inline void emit_patch_here(struct emit *e, emit_place place)
{
    emit_patch(e, place, e->at);
}
void emit_jump_to(struct emit *e, const uint8_t *target);
/// Of 2 bytes where that reaches.
void emit_jump_shortest(struct emit *e, const uint8_t *target);
/// Of 2 bytes, over what is short; its place is a byte.
emit_place emit_jump_if_short(struct emit *e, unsigned condition);
void emit_patch_short(struct emit *e, emit_place place);
/// Of 2 bytes, to what is little above.
void emit_jump_back_if(struct emit *e, unsigned condition, const uint8_t *target);
void emit_jump_register(struct emit *e, uint8_t reg);
void emit_jump_memory(struct emit *e, struct emit_memory to);
void emit_call_register(struct emit *e, uint8_t reg);
void emit_call_to(struct emit *e, const uint8_t *target);
/// These keep e->depth. A jump over some of them wants it set at its target.
void emit_push(struct emit *e, uint8_t reg);
void emit_pop(struct emit *e, uint8_t reg);
void emit_push_imm(struct emit *e, int32_t value);              // sign-extended to 64 bits
void emit_push_memory(struct emit *e, struct emit_memory from); // 64 bits
void emit_pop_memory(struct emit *e, struct emit_memory to);
void emit_push_flags(struct emit *e);
void emit_pop_flags(struct emit *e);
void emit_set_carry(struct emit *e);        // STC
void emit_complement_carry(struct emit *e); // CMC
void emit_store_flags(struct emit *e);      // SAHF
/// reg = the address of what is patched in later, as a branch's target.
emit_place emit_lea_relative(struct emit *e, uint8_t reg);
emit_place emit_call(struct emit *e);                                           // relative
void emit_test_memory_imm(struct emit *e, struct emit_memory m, uint8_t value); // 8 bits
void emit_return(struct emit *e);
void emit_fence(struct emit *e); // MFENCE
void emit_trap(struct emit *e);  // UD2

#endif
