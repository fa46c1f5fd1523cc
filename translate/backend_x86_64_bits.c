// The x86-64 backend's bit operations, rotates and wide multiplications: the host's own instructions, and calls of the
// interpreter's functions where the flags ask for more than those give or the host lacks an extension.
#ifdef __x86_64__

#include "translate/backend_x86_64.h"

#define VEX_NP_0F38 2, 0

/// Two words that are free between uops; the first is the carry's.
static struct emit_memory frame_slot(unsigned number)
{
    return FIELD(host_word[WORD_CARRY + number]);
}

static void keep_flags(struct translation *t)
{
    t->made_flags = t->host_flags;
}

// ---- shifts and rotates --------------------------------------------------------------------
void x86_emit_shift_no_flags(struct translation *t, const struct uop *u)
{
    uint8_t to = x86_result_register(t, u);
    uint8_t prefix = u->op == UOP_SHL ? 1 : u->op == UOP_SAR ? 2 : 3;
    emit_vex(&t->emit, (struct emit_vex){2, prefix, 0xf7}, u->width, to, t->b, t->a);
    keep_flags(t);
    x86_finish_result(t, u, to);
}

static void rotate_by_constant(struct translation *t, const struct uop *u)
{
    unsigned bits = 8u << u->width, count = (unsigned)u->imm & (u->width == WIDTH_64 ? 63 : 31);
    if (u->width >= WIDTH_32 && x86_host_has(t, FEATURE_BMI2)) {
        uint8_t to = x86_result_register(t, u);
        emit_rotate_right(&t->emit, u->width, to, t->a, (u->op == UOP_ROR ? count : bits - count) & (bits - 1));
        keep_flags(t);
        x86_finish_result(t, u, to);
        return;
    }
    x86_copy(t, WIDTH_64, S0, t->a);
    emit_shift_imm(&t->emit, u->op == UOP_ROL ? EMIT_ROL : EMIT_ROR, u->width, S0, count);
    x86_write_var(t, u->dst, u->width, S0);
}

/// CF and OF of a rotate's result to the recipe. With the result turned on until the carry is bit 1, bit 0 is what OF
/// compares it with.
void x86_override_rotate_flags(struct translation *t, unsigned var, unsigned width, bool left)
{
    struct emit *e = &t->emit;
    uint8_t result = registers_read(&t->registers, var);
    if (result == NO_REGISTER)
        x86_load_home(e, S0, var);
    else
        emit_move(e, WIDTH_64, S0, result);
    emit_shift_imm(e, EMIT_ROL, width, S0, left ? 1 : 2);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 3);
    emit_lea(e, WIDTH_32, S1, (struct emit_memory){.base = S0, .index = S0});
    emit_alu(e, EMIT_XOR, WIDTH_32, S1, S0);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, 6);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, S1, 1);
    x86_replace_carry_and_overflow(t);
    t->made_flags = 0;
}

/// S0 = S0 shifted or rotated by S1.
static void shift_scratch(struct translation *t, enum emit_shift op, unsigned width)
{
    emit_exchange(&t->emit, HOST_RCX, S1);
    emit_shift_cl(&t->emit, op, width, S0);
    emit_exchange(&t->emit, HOST_RCX, S1);
}

/// By a register, with flags, which stay if the count is 0.
static void rotate_with_flags(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    emit_place zero;
    x86_copy(t, WIDTH_32, S1, t->b);
    x86_copy(t, WIDTH_64, S0, t->a);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, u->width == WIDTH_64 ? 63 : 31);
    emit_store(e, WIDTH_64, frame_slot(0), S1);
    shift_scratch(t, u->op == UOP_ROL ? EMIT_ROL : EMIT_ROR, u->width);
    x86_write_var(t, u->dst, u->width, S0);
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, frame_slot(0), 0);
    zero = emit_jump_if(e, EMIT_EQUAL);
    x86_override_rotate_flags(t, u->dst, u->width, u->op == UOP_ROL);
    emit_patch_here(e, zero);
}

/// CF and OF of the flags in memory, which are literal: frame_slot(1) is the carry, `var` the result.
static void store_carry_rotate_flags(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    const struct emit_memory flags = x86_home(VAR_CC_EXTRA);
    x86_fetch(t, S0, u->dst);
    emit_alu_memory_imm(e, EMIT_AND, WIDTH_32, flags, (int32_t)(FLAGS_ARITHMETIC & ~(FLAG_CF | FLAG_OF)));
    emit_load(e, WIDTH_64, S1, frame_slot(1));
    emit_alu_load(e, EMIT_OR, WIDTH_32, S1, flags);
    emit_store(e, WIDTH_64, flags, S1);
    if (u->op == UOP_RCL) { // the top bit against the carry
        emit_shift_imm(e, EMIT_ROL, u->width, S0, 1);
        emit_alu(e, EMIT_XOR, WIDTH_32, S1, S0);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, 1);
        emit_shift_imm(e, EMIT_SHL, WIDTH_32, S1, 11);
    } else { // the two top bits
        emit_shift_imm(e, EMIT_ROL, u->width, S0, 2);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 3);
        emit_lea(e, WIDTH_32, S1, (struct emit_memory){.base = S0, .index = S0});
        emit_alu(e, EMIT_XOR, WIDTH_32, S1, S0);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, 2);
        emit_shift_imm(e, EMIT_SHL, WIDTH_32, S1, 10);
    }
    emit_alu_load(e, EMIT_OR, WIDTH_32, S1, flags);
    emit_store(e, WIDTH_64, flags, S1);
}

/// RCL, RCR. Where flags are wanted they become literal.
void x86_emit_rotate_carry(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    enum emit_shift op = u->op == UOP_RCL ? EMIT_RCL : EMIT_RCR;
    unsigned mask = u->width == WIDTH_64 ? 63 : 31, count = (unsigned)u->imm & mask;
    bool by_register = u->b != VAR_IMM;
    emit_place zero = NULL;
    emit_call_to(e, t->entries->flags_value);
    emit_store(e, WIDTH_64, frame_slot(1), S0);
    if (t->flags) {
        x86_store_home(e, VAR_CC_EXTRA, S0);
        x86_literal_recipe(t);
    }
    x86_fetch(t, S0, u->a);
    if (by_register) {
        x86_fetch(t, S1, u->b);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, (int32_t)mask);
        emit_store(e, WIDTH_64, frame_slot(0), S1);
        emit_bit_memory(e, frame_slot(1), 0);
        shift_scratch(t, op, u->width);
    } else if (count) {
        emit_bit_memory(e, frame_slot(1), 0);
        emit_shift_imm(e, op, u->width, S0, count);
    }
    emit_set(e, 2, S1);
    emit_extend(e, false, WIDTH_8, S1, S1);
    emit_store(e, WIDTH_64, frame_slot(1), S1);
    x86_write_var(t, u->dst, u->width, S0);
    if (!t->flags || (!by_register && !count))
        return;
    if (by_register) {
        emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, frame_slot(0), 0);
        zero = emit_jump_if(e, EMIT_EQUAL);
    }
    store_carry_rotate_flags(t, u);
    if (zero)
        emit_patch_here(e, zero);
}

void x86_emit_rotate(struct translation *t, const struct uop *u)
{
    if (t->flags && u->b == VAR_IMM && u->dst != VAR_NONE && (u->imm & (u->width == WIDTH_64 ? 63 : 31))) {
        rotate_by_constant(t, u);
        if (u->dst <= VAR_R15)
            t->pending = (struct pending_flags){
                .words = PENDING_ROTATE, .a = u->dst, .b = VAR_NONE, .op = u->width, .imm = u->op == UOP_ROL};
        else
            x86_override_rotate_flags(t, u->dst, u->width, u->op == UOP_ROL);
        t->made_flags = 0; // only those that the recipe in memory has not
    } else if (t->flags && u->b != VAR_IMM) {
        rotate_with_flags(t, u);
    } else if (u->b == VAR_IMM) {
        rotate_by_constant(t, u);
    } else {
        x86_copy(t, WIDTH_32, S1, t->b);
        x86_copy(t, WIDTH_64, S0, t->a);
        shift_scratch(t, u->op == UOP_ROL ? EMIT_ROL : EMIT_ROR, u->width);
        x86_write_var(t, u->dst, u->width, S0);
    }
}

/// SHLD, SHRD by a constant or CL, where guest RCX is in its place.
void x86_emit_double_shift(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    unsigned mask = u->width == WIDTH_64 ? 63 : 31, count = (unsigned)u->imm & mask;
    bool by_register = u->c != VAR_IMM;
    emit_place zero = NULL;
    if (u->width < WIDTH_32 || u->dst == VAR_NONE || (by_register && registers_read(&t->registers, u->c) != HOST_RCX)) {
        x86_emit_by_alu(t, u);
        return;
    }
    registers_define(&t->registers, &x86_file, e, u->dst);
    x86_fetch(t, S0, u->a);
    if (u->width == WIDTH_32)
        emit_move(e, WIDTH_32, S0, S0);
    if (by_register || count) {
        x86_fetch(t, S1, u->b);
        if (by_register && t->flags) {
            emit_test_imm(e, WIDTH_32, HOST_RCX, (int32_t)mask);
            zero = emit_jump_if(e, EMIT_EQUAL);
        }
        emit_double_shift(e, u->op == UOP_SHLD, u->width, S0, S1, by_register ? 0 : count);
        if (t->flags) {
            emit_set(e, 2, S1);
            emit_extend(e, false, WIDTH_8, S1, S1);
            x86_store_double_shift_flags(t, u->width, u->a);
        }
    }
    if (zero)
        emit_patch_here(e, zero);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

// ---- multiplication to twice the width --------------------------------------------------------------------------
/// S1:S0 = S0 * S1, all other registers as they were.
static void multiply_scratch(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    if (u->op == UOP_MUL && !t->flags && u->width >= WIDTH_32 && x86_host_has(t, FEATURE_BMI2)) {
        emit_exchange(e, HOST_RDX, S0);
        emit_vex(e, (struct emit_vex){2, 3, 0xf6}, u->width, S1, HOST_RDX, S1);
        emit_exchange(e, HOST_RDX, S0);
        keep_flags(t);
        return;
    }
    emit_exchange(e, HOST_RAX, S0);
    emit_store(e, WIDTH_64, frame_slot(0), HOST_RDX);
    emit_multiply_wide(e, u->op == UOP_IMUL, u->width, S1);
    if (t->flags)
        emit_set_memory(e, 2, x86_home(VAR_CC_EXTRA));
    emit_move(e, WIDTH_64, S1, u->width == WIDTH_8 ? HOST_RAX : HOST_RDX);
    emit_load(e, WIDTH_64, HOST_RDX, frame_slot(0));
    emit_exchange(e, HOST_RAX, S0);
}

void x86_emit_multiply(struct translation *t, const struct uop *u)
{
    if (t->b == NO_REGISTER) {
        x86_emit_by_alu(t, u);
        return;
    }
    if (u->op == UOP_MUL && !t->flags && u->width >= WIDTH_32 && t->a == HOST_RDX && x86_host_has(t, FEATURE_BMI2)) {
        emit_vex(&t->emit, (struct emit_vex){2, 3, 0xf6}, u->width, S1, S0, t->b); // MULX
        keep_flags(t);
    } else {
        x86_copy(t, WIDTH_64, S0, t->a);
        x86_copy(t, WIDTH_64, S1, t->b);
        multiply_scratch(t, u);
    }
    if (u->width == WIDTH_8)
        emit_shift_imm(&t->emit, EMIT_SHR, WIDTH_32, S1, 8);
    x86_made_flags(t, CC_MUL, u, S0, u->width == WIDTH_8 ? 0 : FLAG_CF | FLAG_OF);
    x86_write_var(t, u->dst, u->width, S0);
    x86_write_var(t, u->c, u->width, S1);
}

// ---- bits ---------------------------------------------------------------------------------------------------------
/// The flags of BMI1 and its like: as of a logical operation, with a carry. `mask`: those right in the host's flags.
static void carry_flags(struct translation *t, const struct uop *u, uint8_t result, uint32_t mask)
{
    if (!t->flags)
        return;
    emit_set_memory(&t->emit, 2, x86_home(VAR_CC_EXTRA));
    x86_made_flags(t, CC_CARRY, u, result, mask);
}

/// All clear but ZF, as the host's are.
static void population_flags(struct translation *t)
{
    struct emit *e = &t->emit;
    if (!t->flags)
        return;
    emit_set(e, EMIT_EQUAL, S1);
    emit_extend(e, false, WIDTH_8, S1, S1);
    emit_shift_imm(e, EMIT_SHL, WIDTH_32, S1, 6);
    x86_store_home(e, VAR_CC_EXTRA, S1);
    x86_literal_recipe(t);
}

void x86_emit_count(struct translation *t, const struct uop *u)
{
    enum cpu_feature feature = u->op == UOP_TZCNT ? FEATURE_BMI1 : u->op == UOP_LZCNT ? FEATURE_ABM : FEATURE_POPCNT;
    enum emit_count op = u->op == UOP_TZCNT ? EMIT_TZCNT : u->op == UOP_LZCNT ? EMIT_LZCNT : EMIT_POPCNT;
    uint8_t to;
    if (u->width < WIDTH_32 || t->b == NO_REGISTER || !x86_host_has(t, feature)) {
        x86_emit_by_alu(t, u);
        return;
    }
    to = x86_result_register(t, u);
    emit_count(&t->emit, op, false, u->width, to, t->b);
    if (u->op == UOP_POPCNT)
        population_flags(t);
    else
        carry_flags(t, u, to, FLAG_CF | FLAG_ZF);
    x86_finish_result(t, u, to);
}

/// BSF, BSR: nothing to find leaves the whole destination as it was.
void x86_emit_scan(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    if (u->width < WIDTH_32 || t->b == NO_REGISTER) {
        x86_emit_by_alu(t, u);
        return;
    }
    x86_made_flags_of(t, CC_LOGIC, u->width, u->b == u->dst ? VAR_NONE : u->b, t->b, FLAG_ZF);
    x86_copy(t, WIDTH_64, S0, t->a);
    emit_count(e, u->op == UOP_BSF ? EMIT_TZCNT : EMIT_LZCNT, true, u->width, S1, t->b);
    emit_cmov(e, EMIT_NOT_EQUAL, WIDTH_64, S0, S1);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

void x86_emit_lowest_bit(struct translation *t, const struct uop *u)
{
    uint8_t digit = u->op == UOP_BLSR ? 1 : u->op == UOP_BLSMSK ? 2 : 3, to;
    if (!x86_host_has(t, FEATURE_BMI1)) {
        x86_emit_by_alu(t, u);
        return;
    }
    to = x86_result_register(t, u);
    emit_vex(&t->emit, (struct emit_vex){VEX_NP_0F38, 0xf3}, u->width, digit, to, t->a);
    carry_flags(t, u, to, FLAG_CF | FLAG_ZF | FLAG_SF | FLAG_OF);
    x86_finish_result(t, u, to);
}

void x86_emit_bit_field(struct translation *t, const struct uop *u)
{
    bool extract = u->op == UOP_BEXTR;
    uint8_t to;
    if (t->b == NO_REGISTER || !x86_host_has(t, extract ? FEATURE_BMI1 : FEATURE_BMI2)) {
        x86_emit_by_alu(t, u);
        return;
    }
    to = x86_result_register(t, u);
    emit_vex(&t->emit, (struct emit_vex){VEX_NP_0F38, extract ? 0xf7 : 0xf5}, u->width, to, t->b, t->a);
    carry_flags(t, u, to, FLAG_CF | FLAG_ZF | FLAG_OF | (extract ? 0 : FLAG_SF));
    x86_finish_result(t, u, to);
}

void x86_emit_scatter_gather(struct translation *t, const struct uop *u)
{
    uint8_t to;
    if (t->b == NO_REGISTER || !x86_host_has(t, FEATURE_BMI2)) {
        x86_emit_by_alu(t, u);
        return;
    }
    to = x86_result_register(t, u);
    emit_vex(&t->emit, (struct emit_vex){2, u->op == UOP_PDEP ? 3 : 2, 0xf5}, u->width, to, t->a, t->b);
    keep_flags(t);
    x86_finish_result(t, u, to);
}

/// One flag in, the same out: in place where memory is known to hold the flags themselves, which a first ADX sees to.
void x86_emit_adx(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    const struct emit_memory flags = x86_home(VAR_CC_EXTRA);
    unsigned bit = u->sub ? 11 : 0;
    if (t->b == NO_REGISTER) {
        x86_emit_by_alu(t, u);
        return;
    }
    if (!x86_literal_flags(t)) { // in memory the flags themselves, and the operands once more
        emit_call_to(e, t->entries->flags_value);
        x86_store_home(e, VAR_CC_EXTRA, S0);
        x86_literal_recipe(t);
        if (t->a == S0)
            x86_load_home(e, S0, u->a);
        if (t->b == S1)
            x86_load_home(e, S1, u->b);
    }
    x86_copy(t, WIDTH_64, S0, t->a);
    emit_bit_memory(e, flags, bit);
    emit_alu(e, EMIT_ADC, u->width, S0, t->b);
    x86_write_var(t, u->dst, u->width, S0);
    if (!t->flags)
        return;
    emit_set(e, 2, S1);
    emit_extend(e, false, WIDTH_8, S1, S1);
    if (bit)
        emit_shift_imm(e, EMIT_SHL, WIDTH_32, S1, bit);
    emit_alu_memory_imm(e, EMIT_AND, WIDTH_32, flags, (int32_t) ~(1u << bit));
    emit_alu_load(e, EMIT_OR, WIDTH_32, S1, flags);
    emit_store(e, WIDTH_64, flags, S1);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_bits_is_empty;

#endif
