// The x86-64 backend's divisions and bit tests. A division that would fault, or whose operands the host's instruction
// does not take without a closer look, is the interpreter's.
#ifdef __x86_64__

#include "cpu/cc.h"
#include "translate/backend_x86_64.h"

#define HOST_BELOW_EQUAL 6u

// ---- division -------------------------------------------------------------------------------------------------------
/// cmp reg, variable
static void compare_with(struct translation *t, unsigned width, uint8_t reg, unsigned var)
{
    uint8_t other = registers_read(&t->registers, var);
    if (other == NO_REGISTER)
        emit_alu_load(&t->emit, EMIT_CMP, width, reg, x86_home(var));
    else
        emit_alu(&t->emit, EMIT_CMP, width, reg, other);
}

/// The divisor is in S1. The quotient of an unsigned division fits when the upper half is below the divisor.
static void check_unsigned(struct translation *t, const struct uop *u)
{
    compare_with(t, u->width, S1, u->b);
    x86_resume_if(t, HOST_BELOW_EQUAL);
}

/// That of a signed one when the dividend is no wider than the divisor, which is neither 0 nor -1.
static void check_signed(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    emit_test(e, u->width, S1, S1);
    x86_resume_if(t, EMIT_EQUAL);
    emit_alu_imm(e, EMIT_CMP, u->width, S1, -1);
    x86_resume_if(t, EMIT_EQUAL);
    x86_fetch(t, S0, u->a);
    emit_shift_imm(e, EMIT_SAR, u->width, S0, (8u << u->width) - 1);
    compare_with(t, u->width, S0, u->b);
    x86_resume_if(t, EMIT_NOT_EQUAL);
}

void x86_emit_divide(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    bool is_signed = u->op == UOP_IDIV;
    uint8_t high = registers_read(&t->registers, u->b);
    if (u->width < WIDTH_32) {
        x86_emit_by_alu(t, u);
        return;
    }
    x86_fetch(t, S1, u->sub);
    if (is_signed)
        check_signed(t, u);
    else
        check_unsigned(t, u);
    x86_fetch(t, S0, u->a);
    emit_exchange(e, HOST_RAX, S0);
    emit_store(e, WIDTH_64, FIELD(host_word[WORD_CARRY]), HOST_RDX); // free between uops
    if (high == NO_REGISTER)
        x86_load_home(e, HOST_RDX, u->b);
    else if (high != HOST_RDX)
        emit_move(e, WIDTH_64, HOST_RDX, high == HOST_RAX ? S0 : high);
    emit_unary(e, is_signed ? EMIT_IDIV : EMIT_DIV, u->width, S1);
    emit_move(e, WIDTH_64, S1, HOST_RDX);
    emit_load(e, WIDTH_64, HOST_RDX, FIELD(host_word[WORD_CARRY]));
    emit_exchange(e, HOST_RAX, S0);
    x86_write_var(t, u->dst, u->width, S0);
    x86_write_var(t, u->c, u->width, S1);
}

// ---- bit tests ------------------------------------------------------------------------------------------------------
/// The host's carry replaces that of the recipe in memory, and stays the host's.
static void override_carry(struct translation *t)
{
    emit_set(&t->emit, 2, S0);
    emit_extend(&t->emit, false, WIDTH_8, S0, S0);
    x86_replace_carry(t);
    t->made_flags = FLAG_CF;
}

void x86_emit_bit_test(struct translation *t, const struct uop *u)
{
    static const uint8_t ops[UOP_OPS] = {
        [UOP_BT] = EMIT_BT, [UOP_BTS] = EMIT_BTS, [UOP_BTR] = EMIT_BTR, [UOP_BTC] = EMIT_BTC};
    struct emit *e = &t->emit;
    enum emit_bit op = (enum emit_bit)ops[u->op];
    uint8_t to = t->a;
    if (op != EMIT_BT) {
        to = x86_result_register(t, u);
        x86_copy(t, WIDTH_64, to, t->a);
    }
    if (t->b == NO_REGISTER)
        emit_bit_imm(e, op, u->width, to, (unsigned)t->imm & ((8u << u->width) - 1));
    else
        emit_bit(e, op, u->width, to, t->b);
    if (op != EMIT_BT)
        x86_finish_result(t, u, to);
    if (t->flags)
        override_carry(t);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_divide_is_empty;

#endif
