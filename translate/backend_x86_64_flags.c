// The x86-64 backend's subroutines that make one flag of the recipe in struct cpu, where a block does not know what the
// recipe is: cc_carry and its like of cpu/cc.h in host code, because a call of C costs all registers. They give their
// result in S0, change S1 and the host's flags and nothing else.
#ifdef __x86_64__

#include "cpu/cc.h"
#include "translate/backend_x86_64.h"

#define BIT_ZERO 6u // of FLAG_ZF
#define BIT_SIGN 7u
#define HOST_BELOW 2u

/// rcx, which is on the stack then, = 64 - the width's bits, so that a shift brings the value's top bit to bit 63. S0
/// holds VAR_CC_OP.
static void emit_shift_count(struct emit *e)
{
    emit_push(e, HOST_RCX);
    emit_move(e, WIDTH_32, HOST_RCX, S0);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, HOST_RCX, 3);
    emit_move_imm(e, S0, 8);
    emit_shift_cl(e, EMIT_SHL, WIDTH_32, S0);
    emit_move_imm(e, HOST_RCX, 64);
    emit_alu(e, EMIT_SUB, WIDTH_32, HOST_RCX, S0);
}

static emit_place jump_if_op(struct emit *e, enum cc_op op)
{
    emit_alu_imm(e, EMIT_CMP, WIDTH_32, S1, (int32_t)op);
    return emit_jump_if(e, EMIT_EQUAL);
}

/// S0 = bit 0 of a variable; ends the subroutine.
static void emit_low_bit(struct emit *e, unsigned var)
{
    x86_load_home(e, S0, var);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 1);
    emit_return(e);
}

/// S0 = carry of additions and subtractions: the result (of an addition) or the first operand (of a subtraction)
/// compared with the second. S1 holds the operation.
static void emit_carry_of_sum(struct emit *e)
{
    emit_place subtract[2], with_carry[2], join, strict, done;
    subtract[0] = jump_if_op(e, CC_SUB);
    subtract[1] = jump_if_op(e, CC_SBB);
    x86_load_home(e, S0, VAR_CC_RESULT);
    join = emit_jump(e);
    emit_patch_here(e, subtract[1]);
    x86_load_home(e, S0, VAR_CC_EXTRA);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 1);
    strict = emit_jump(e);
    emit_patch_here(e, subtract[0]);
    emit_move_imm(e, S0, 0);
    emit_patch_here(e, strict);
    emit_alu_load(e, EMIT_ADD, WIDTH_64, S0, x86_home(VAR_CC_RESULT));
    emit_alu_load(e, EMIT_ADD, WIDTH_64, S0, x86_home(VAR_CC_SRC));
    emit_patch_here(e, join);
    emit_shift_cl(e, EMIT_SHL, WIDTH_64, S0);
    with_carry[0] = jump_if_op(e, CC_ADC);
    with_carry[1] = jump_if_op(e, CC_SBB);
    x86_load_home(e, S1, VAR_CC_SRC);
    emit_shift_cl(e, EMIT_SHL, WIDTH_64, S1);
    strict = emit_jump(e);
    emit_patch_here(e, with_carry[0]);
    emit_patch_here(e, with_carry[1]);
    // With a carry in, equal is a carry out as well.
    x86_load_home(e, S1, VAR_CC_SRC);
    emit_shift_cl(e, EMIT_SHL, WIDTH_64, S1);
    emit_bit_memory(e, x86_home(VAR_CC_EXTRA), 0);
    emit_place no_carry = emit_jump_if(e, HOST_BELOW ^ 1);
    emit_alu(e, EMIT_CMP, WIDTH_64, S1, S0);
    emit_set(e, HOST_BELOW ^ 1, S0); // S0 <= S1
    done = emit_jump(e);
    emit_patch_here(e, no_carry);
    emit_patch_here(e, strict);
    emit_alu(e, EMIT_CMP, WIDTH_64, S0, S1);
    emit_set(e, HOST_BELOW, S0);
    emit_patch_here(e, done);
    emit_extend(e, false, WIDTH_8, S0, S0);
    emit_pop(e, HOST_RCX);
    emit_return(e);
}

/// S0 = CF.
static void emit_carry(struct emit *e)
{
    emit_place replaced, extra[5], logic, right[2], shift;
    x86_load_home(e, S0, VAR_CC_OP);
    emit_bit_imm(e, EMIT_BT, WIDTH_32, S0, 10);
    replaced = emit_jump_if(e, HOST_BELOW);
    emit_move(e, WIDTH_32, S1, S0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, S1, 2);
    extra[0] = jump_if_op(e, CC_LITERAL);
    extra[1] = jump_if_op(e, CC_INC);
    extra[2] = jump_if_op(e, CC_DEC);
    extra[3] = jump_if_op(e, CC_CARRY);
    extra[4] = jump_if_op(e, CC_MUL);
    logic = jump_if_op(e, CC_LOGIC);
    right[0] = jump_if_op(e, CC_SHR);
    right[1] = jump_if_op(e, CC_SAR);
    emit_shift_count(e);
    shift = jump_if_op(e, CC_SHL);
    emit_carry_of_sum(e);

    emit_patch_here(e, shift);
    x86_load_home(e, S0, VAR_CC_SRC);
    emit_shift_cl(e, EMIT_SHL, WIDTH_64, S0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S0, 63);
    emit_pop(e, HOST_RCX);
    emit_return(e);

    emit_patch_here(e, replaced);
    _Static_assert(CC_CARRY_REPLACED == 1 << 10 && CC_CARRY_VALUE == 1 << 9, "bits 10 and 9");
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, S0, 9);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 1);
    emit_return(e);
    for (unsigned i = 0; i < ARRAY_SIZE(extra); i++)
        emit_patch_here(e, extra[i]);
    emit_low_bit(e, VAR_CC_EXTRA);
    emit_patch_here(e, logic);
    emit_move_imm(e, S0, 0);
    emit_return(e);
    emit_patch_here(e, right[0]);
    emit_patch_here(e, right[1]);
    emit_low_bit(e, VAR_CC_SRC);
}

/// S0 = the result, its top bit at bit 63; of literal flags something with the same `bit` (ZF or SF).
static void emit_result(struct emit *e, unsigned bit)
{
    emit_place literal, multiplied = NULL;
    x86_load_home(e, S0, VAR_CC_OP);
    emit_test_imm(e, WIDTH_8, S0, 0xfc);
    literal = emit_jump_if(e, EMIT_EQUAL);
    if (bit == BIT_ZERO) { // never after a multiplication
        emit_move(e, WIDTH_32, S1, S0);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, 0xfc);
        emit_alu_imm(e, EMIT_CMP, WIDTH_32, S1, CC_MUL << 2);
        multiplied = emit_jump_if(e, EMIT_EQUAL);
    }
    emit_shift_count(e);
    x86_load_home(e, S0, VAR_CC_RESULT);
    emit_shift_cl(e, EMIT_SHL, WIDTH_64, S0);
    emit_pop(e, HOST_RCX);
    emit_return(e);
    emit_patch_here(e, literal);
    x86_load_home(e, S0, VAR_CC_EXTRA);
    if (bit == BIT_ZERO) {
        emit_unary(e, EMIT_NOT, WIDTH_32, S0);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 1 << BIT_ZERO);
    } else {
        emit_shift_imm(e, EMIT_SHL, WIDTH_64, S0, 63 - BIT_SIGN);
    }
    emit_return(e);
    if (multiplied) {
        emit_patch_here(e, multiplied);
        emit_move_imm(e, S0, 1);
        emit_return(e);
    }
}

void x86_flag_routines(struct emit *e, struct backend_entries *entries)
{
    entries->carry = e->at;
    emit_carry(e);
    entries->zero = e->at;
    emit_result(e, BIT_ZERO);
    entries->sign = e->at;
    emit_result(e, BIT_SIGN);
}

bool x86_condition_of_recipe(struct translation *t, unsigned condition)
{
    const uint8_t *routine;
    switch (condition >> 1) {
    case 1:
        routine = t->entries->carry;
        break;
    case 2:
        routine = t->entries->zero;
        break;
    case 4:
        routine = t->entries->sign;
        break;
    default:
        return false;
    }
    emit_call_to(&t->emit, routine);
    emit_test(&t->emit, WIDTH_64, S0, S0);
    t->condition = (uint8_t)(condition >> 1 == 1 ? EMIT_NOT_EQUAL ^ (condition & 1) : condition);
    t->host_flags = 0;
    return true;
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_flags_is_empty;

#endif
