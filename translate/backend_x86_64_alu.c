// The x86-64 backend's arithmetic: results, ALU and shift uops.
#ifdef __x86_64__

#include "cpu/cc.h"
#include "translate/backend_x86_64.h"

// ---- results ------------------------------------------------------------------------------------------------------
uint8_t x86_result_register(struct translation *t, const struct uop *u)
{
    uint32_t free = t->registers.free & x86_file.temporary;
    uint8_t reg;
    if (u->dst == VAR_NONE) // one that can wait longer
        return free ? (uint8_t)__builtin_ctz(free) : S0;
    if (u->dst < VAR_TEMP && u->width < WIDTH_32 && u->dst != u->a)
        return S0;
    if (u->a != u->b && x86_dies(t, u->a) && registers_inherit(&t->registers, u->a, u->dst))
        return t->registers.of[u->dst];
    reg = registers_define(&t->registers, &x86_file, &t->emit, u->dst);
    if (reg == NO_REGISTER || reg == t->b)
        return S0;
    return reg;
}

void x86_write_var(struct translation *t, unsigned var, unsigned width, uint8_t from)
{
    struct emit *e = &t->emit;
    uint8_t reg;
    if (var == VAR_NONE)
        return;
    reg = registers_define(&t->registers, &x86_file, e, var);
    if (reg == NO_REGISTER) {
        if (width == WIDTH_32) {
            emit_move(e, WIDTH_32, S0, from);
            emit_store(e, WIDTH_64, x86_home(var), S0);
        } else
            emit_store(e, width, x86_home(var), from);
        return;
    }
    if (var < VAR_TEMP && width < WIDTH_32)
        emit_move(e, width, reg, from);
    else if (reg != from || width == WIDTH_32)
        emit_move(e, x86_at_least_32(width), reg, from);
    registers_written(&t->registers, var);
}

void x86_finish_result(struct translation *t, const struct uop *u, uint8_t reg)
{
    if (u->dst == VAR_NONE)
        return;
    if (t->registers.of[u->dst] == reg)
        registers_written(&t->registers, u->dst);
    else if (u->dst < VAR_TEMP && u->width == WIDTH_32 && t->registers.of[u->dst] == NO_REGISTER)
        x86_store_home(&t->emit, u->dst, reg);
    else
        x86_write_var(t, u->dst, u->width, reg);
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------
static void operate(struct translation *t, const struct uop *u, enum emit_alu op, uint8_t to)
{
    if (t->b_memory)
        emit_alu_load(&t->emit, op, u->width, to, x86_home(u->b));
    else if (t->b == NO_REGISTER)
        emit_alu_imm(&t->emit, op, u->width, to, t->imm);
    else
        emit_alu(&t->emit, op, u->width, to, t->b);
}

static void operate_in_memory(struct translation *t, const struct uop *u, enum emit_alu op)
{
    if (t->b == NO_REGISTER)
        emit_alu_memory_imm(&t->emit, op, u->width, x86_home(u->a), t->imm);
    else
        emit_alu_store(&t->emit, op, u->width, x86_home(u->a), t->b);
}

static bool compares_with_zero(const struct translation *t, const struct uop *u)
{
    return u->b == VAR_IMM && t->b == NO_REGISTER && t->imm == 0;
}

/// The recipe of a comparison has the operands themselves: there is no difference to make. One with 0 is like TEST.
static void comparison_pending(struct translation *t, const struct uop *u)
{
    bool zero = compares_with_zero(t, u);
    x86_recipe_pending(t, zero ? CC_LOGIC : CC_CMP, u->width, u->a, t->a);
    if (!zero)
        x86_source_pending(t, u, CC_CMP);
}

static void emit_comparison(struct translation *t, const struct uop *u)
{
    if (t->flags && x86_only_host_reads(t))
        t->flags = false;
    if (t->a_memory)
        operate_in_memory(t, u, EMIT_CMP);
    else if (compares_with_zero(t, u))
        emit_test(&t->emit, u->width, t->a, t->a);
    else
        operate(t, u, EMIT_CMP, t->a);
    if (t->flags)
        comparison_pending(t, u);
    t->made_flags = X86_CONDITION_FLAGS;
}

/// In its place. The flags' recipe would want the operand as it was.
static bool adds_to_itself(const struct translation *t, const struct uop *u)
{
    return u->a == u->b && u->dst == u->a && u->width >= WIDTH_32 && !t->flags &&
           registers_read(&t->registers, u->a) == t->a;
}

static void emit_arithmetic(struct translation *t, const struct uop *u, enum emit_alu op, enum cc_op recipe)
{
    bool host_only = t->flags && x86_only_host_reads(t);
    uint8_t to;
    t->flags &= !host_only;
    if (t->a_memory && u->dst == VAR_NONE) {
        x86_load_home(&t->emit, t->a = S0, u->a);
        t->a_memory = false;
    }
    if (t->a_memory) {
        to = NO_REGISTER;
        operate_in_memory(t, u, op);
    } else {
        to = adds_to_itself(t, u) ? t->a : x86_result_register(t, u);
        x86_copy(t, x86_at_least_32(u->width), to, t->a);
        operate(t, u, op, to);
    }
    if (recipe == CC_LOGIC)
        x86_made_flags(t, recipe, u, to, X86_CONDITION_FLAGS);
    else
        x86_made_flags_of_two(t, recipe, u, to);
    if (host_only)
        t->made_flags = X86_CONDITION_FLAGS;
    if (!t->a_memory)
        x86_finish_result(t, u, to);
}

void x86_emit_add(struct translation *t, const struct uop *u)
{
    emit_arithmetic(t, u, EMIT_ADD, CC_ADD);
}

void x86_emit_sub(struct translation *t, const struct uop *u)
{
    if (u->dst == VAR_NONE)
        emit_comparison(t, u);
    else
        emit_arithmetic(t, u, EMIT_SUB, CC_SUB);
}

/// TEST of a register with itself, the most frequent one: the register is the result.
static bool emit_test_self(struct translation *t, const struct uop *u)
{
    if (u->dst != VAR_NONE || u->a != u->b)
        return false;
    if (t->flags)
        x86_recipe_pending(t, CC_LOGIC, u->width, u->a, t->a);
    t->made_flags = X86_CONDITION_FLAGS;
    emit_test(&t->emit, u->width, t->a, t->a);
    return true;
}

/// The host's flags of a & b.
static void operate_test(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    if (t->b_memory) {
        x86_load_home(e, S1, u->b);
        t->b = S1;
    }
    if (t->b != NO_REGISTER)
        emit_test(e, u->width, t->a, t->b);
    else // of what has no more than 7 bits all flags are the same in 8
        emit_test_imm(e, t->imm >= 0 && t->imm < 0x80 ? WIDTH_8 : u->width, t->a, t->imm);
}

/// TEST: its recipe has the operands themselves.
static void emit_test_operands(struct translation *t, const struct uop *u)
{
    if (t->flags && x86_only_host_reads(t))
        t->flags = false;
    if (t->a_memory)
        x86_load_home(&t->emit, t->a = S0, u->a);
    operate_test(t, u);
    if (t->flags) {
        x86_recipe_pending(t, CC_TEST, u->width, u->a, t->a);
        x86_source_pending(t, u, CC_TEST);
    }
    t->made_flags = X86_CONDITION_FLAGS;
}

void x86_emit_and(struct translation *t, const struct uop *u)
{
    if (emit_test_self(t, u))
        return;
    if (u->dst == VAR_NONE) {
        emit_test_operands(t, u);
        return;
    }
    emit_arithmetic(t, u, EMIT_AND, CC_LOGIC);
}

void x86_emit_or(struct translation *t, const struct uop *u)
{
    emit_arithmetic(t, u, EMIT_OR, CC_LOGIC);
}

/// XOR of a register with itself: the host knows that the result does not wait for it.
static bool emit_zero(struct translation *t, const struct uop *u)
{
    uint8_t to;
    if (u->a != u->b || u->dst != u->a || u->dst > VAR_R15 || u->width < WIDTH_32)
        return false;
    to = registers_define(&t->registers, &x86_file, &t->emit, u->dst);
    if (to == NO_REGISTER)
        to = S0;
    emit_alu(&t->emit, EMIT_XOR, WIDTH_32, to, to);
    x86_made_flags(t, CC_LOGIC, u, to, X86_CONDITION_FLAGS);
    x86_finish_result(t, u, to);
    return true;
}

void x86_emit_xor(struct translation *t, const struct uop *u)
{
    if (emit_zero(t, u))
        return;
    emit_arithmetic(t, u, EMIT_XOR, CC_LOGIC);
}

/// SBB of a register with itself: the carry everywhere. The flags are as of DEC, which has no second operand.
static bool emit_borrow(struct translation *t, const struct uop *u)
{
    uint8_t to;
    if (u->a != u->b || !x86_uses_host_carry(u))
        return false;
    to = u->dst == u->a && registers_read(&t->registers, u->a) == t->a ? t->a : x86_result_register(t, u);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    emit_alu(&t->emit, EMIT_SBB, u->width, to, to);
    x86_made_flags(t, CC_DEC, u, to, X86_CONDITION_FLAGS);
    t->made_flags = X86_CONDITION_FLAGS;
    x86_finish_result(t, u, to);
    return true;
}

static void emit_with_carry(struct translation *t, const struct uop *u, enum emit_alu op, enum cc_op recipe)
{
    uint8_t to = x86_result_register(t, u);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    if (!x86_uses_host_carry(u))
        emit_bit_memory(&t->emit, x86_carry_slot(), 0);
    operate(t, u, op, to);
    x86_made_flags_of_two(t, recipe, u, to);
    x86_finish_result(t, u, to);
}

void x86_emit_adc(struct translation *t, const struct uop *u)
{
    emit_with_carry(t, u, EMIT_ADC, CC_ADC);
}

void x86_emit_sbb(struct translation *t, const struct uop *u)
{
    if (!emit_borrow(t, u))
        emit_with_carry(t, u, EMIT_SBB, CC_SBB);
}

void x86_emit_not(struct translation *t, const struct uop *u)
{
    uint8_t to = x86_result_register(t, u);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    emit_unary(&t->emit, EMIT_NOT, u->width, to);
    x86_finish_result(t, u, to);
}

void x86_emit_neg(struct translation *t, const struct uop *u)
{
    uint8_t to = x86_result_register(t, u);
    if (t->flags)
        emit_store(&t->emit, WIDTH_64, x86_home(VAR_CC_SRC), t->a);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    emit_unary(&t->emit, EMIT_NEG, u->width, to);
    x86_made_flags(t, CC_SUB, u, to, X86_CONDITION_FLAGS);
    x86_finish_result(t, u, to);
}

static void emit_step(struct translation *t, const struct uop *u, bool decrement)
{
    uint8_t to = x86_result_register(t, u);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    emit_increment(&t->emit, decrement, u->width, to);
    x86_made_flags(t, decrement ? CC_DEC : CC_INC, u, to, (X86_CONDITION_FLAGS & ~FLAG_CF) | (t->host_flags & FLAG_CF));
    if (t->flags && t->step == STEP_CLEAR)
        t->pending.op |= CC_CARRY_REPLACED;
    if (t->flags && t->step == STEP_LATER)
        t->pending.words |= PENDING_CARRY;
    x86_finish_result(t, u, to);
}

void x86_emit_inc(struct translation *t, const struct uop *u)
{
    emit_step(t, u, false);
}

void x86_emit_dec(struct translation *t, const struct uop *u)
{
    emit_step(t, u, true);
}

/// The operand in S0 so that bits beyond its width are what a shift to the right brings in.
static void shift_operand(struct translation *t, const struct uop *u)
{
    emit_extend(&t->emit, u->op == UOP_SAR, u->width, S0, t->a);
}

static enum emit_shift shift_of(const struct uop *u)
{
    return u->op == UOP_SHL ? EMIT_SHL : u->op == UOP_SHR ? EMIT_SHR : EMIT_SAR;
}

static enum cc_op recipe_of_shift(const struct uop *u)
{
    return u->op == UOP_SHL ? CC_SHL : u->op == UOP_SHR ? CC_SHR : CC_SAR;
}

/// S0 holds the operand shifted by count - 1: the last step makes flags and recipe.
static void last_shift(struct translation *t, const struct uop *u)
{
    emit_store(&t->emit, WIDTH_64, x86_home(VAR_CC_SRC), S0);
    emit_shift_imm(&t->emit, shift_of(u), u->width, S0, 1);
    x86_made_flags(t, recipe_of_shift(u), u, S0, X86_CONDITION_FLAGS);
}

/// In the result's own register. The recipe's source is the operand yet, which whoever writes the recipe shifts.
static void shift_in_place(struct translation *t, const struct uop *u, unsigned count)
{
    uint8_t to;
    if (t->flags)
        x86_store_home(&t->emit, VAR_CC_SRC, t->a);
    to = x86_result_register(t, u);
    x86_copy(t, u->width, to, t->a);
    emit_shift_imm(&t->emit, shift_of(u), u->width, to, count);
    x86_made_flags(t, recipe_of_shift(u), u, to, count == 1 ? X86_CONDITION_FLAGS : X86_CONDITION_FLAGS & ~FLAG_OF);
    if (t->flags && count > 1) {
        t->pending.words |= PENDING_SHIFT;
        t->pending.imm = (int32_t)count - 1;
    }
    x86_finish_result(t, u, to);
}

static void shift_by_constant(struct translation *t, const struct uop *u, unsigned count)
{
    if (count && u->width >= WIDTH_32 && u->dst != VAR_NONE && (!t->flags || x86_host_has(t, FEATURE_BMI2))) {
        shift_in_place(t, u, count);
        return;
    }
    if (count && u->width < WIDTH_32 && !t->flags && u->dst == u->a && registers_read(&t->registers, u->a) == t->a) {
        emit_shift_imm(&t->emit, shift_of(u), u->width, t->a, count); // part of a guest register
        registers_written(&t->registers, u->dst);
        return;
    }
    shift_operand(t, u);
    if (t->flags && count) {
        if (count > 1)
            emit_shift_imm(&t->emit, shift_of(u), WIDTH_64, S0, count - 1);
        last_shift(t, u);
    } else if (count)
        emit_shift_imm(&t->emit, shift_of(u), WIDTH_64, S0, count);
    x86_write_var(t, u->dst, u->width, S0);
}

/// With flags, of operands in registers: the recipe unless the count is 0, then the result in any case.
static void shift_by_register_apart(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    uint8_t prefix = u->op == UOP_SHL ? 1 : u->op == UOP_SAR ? 2 : 3;
    emit_place zero;
    emit_move(e, WIDTH_32, S1, t->b);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, u->width == WIDTH_64 ? 63 : 31);
    zero = emit_jump_if_short(e, EMIT_EQUAL);
    emit_increment(e, true, WIDTH_32, S1);
    emit_vex(e, (struct emit_vex){2, prefix, 0xf7}, u->width, S0, S1, t->a); // SHLX, SARX, SHRX
    x86_store_home(e, VAR_CC_SRC, S0);
    emit_shift_imm(e, shift_of(u), u->width, S0, 1);
    x86_store_home(e, VAR_CC_RESULT, S0);
    t->recipe = -1;
    x86_store_recipe_op(t, (int32_t)cc_pack(recipe_of_shift(u), u->width));
    t->recipe = -1;
    emit_patch_short(e, zero);
    x86_emit_shift_no_flags(t, u);
    t->made_flags = 0;
}

static void shift_by_register(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    emit_place zero = NULL;

    x86_copy(t, WIDTH_32, S1, t->b);
    shift_operand(t, u);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, u->width == WIDTH_64 ? 63 : 31);
    if (t->flags) {
        zero = emit_jump_if(e, EMIT_EQUAL);
        emit_increment(e, true, WIDTH_32, S1);
    }
    emit_exchange(e, HOST_RCX, S1);
    emit_shift_cl(e, shift_of(u), WIDTH_64, S0);
    emit_exchange(e, HOST_RCX, S1);
    if (zero) {
        t->recipe = -1;
        emit_store(e, WIDTH_64, x86_home(VAR_CC_SRC), S0);
        emit_shift_imm(e, shift_of(u), u->width, S0, 1);
        emit_store(e, WIDTH_64, x86_home(VAR_CC_RESULT), S0);
        x86_store_recipe_op(t, (int32_t)cc_pack(recipe_of_shift(u), u->width));
        emit_patch_here(e, zero);
        t->recipe = -1;
    }
    x86_write_var(t, u->dst, u->width, S0);
}

void x86_emit_shift(struct translation *t, const struct uop *u)
{
    if (u->b == VAR_IMM)
        shift_by_constant(t, u, (unsigned)u->imm & (u->width == WIDTH_64 ? 63 : 31));
    else if (!t->flags && u->width >= WIDTH_32 && x86_host_has(t, FEATURE_BMI2))
        x86_emit_shift_no_flags(t, u);
    else if (u->width >= WIDTH_32 && u->dst != VAR_NONE && t->a != S0 && t->b != S1 && x86_host_has(t, FEATURE_BMI2))
        shift_by_register_apart(t, u);
    else
        shift_by_register(t, u);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_alu_is_empty;

#endif
