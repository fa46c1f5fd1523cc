// The x86-64 backend's arithmetic: results, the flags as recipe and in the host's own register, ALU and shift uops.
#ifdef __x86_64__

#include "cpu/cc.h"
#include "translate/backend_x86_64.h"

#define CONDITION_FLAGS (FLAG_CF | FLAG_ZF | FLAG_SF | FLAG_PF | FLAG_OF)

static struct emit_memory carry_slot(void)
{
    return FIELD(host_word[WORD_CARRY]);
}

/// Between x86_save_carry and its emitter nothing changes the host's flags.
static bool uses_host_carry(const struct uop *u)
{
    return (u->op == UOP_ADC || u->op == UOP_SBB) && (u->aux & UOP_SETS_FLAGS);
}

// ---- results ------------------------------------------------------------------------------------------------------
uint8_t x86_result_register(struct translation *t, const struct uop *u)
{
    uint8_t reg;
    if (u->dst == VAR_NONE)
        return S0;
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

// ---- flags --------------------------------------------------------------------------------------------------------
static void store_recipe_op(struct translation *t, int32_t op)
{
    if (t->recipe != op)
        emit_store_imm(&t->emit, WIDTH_32, x86_home(VAR_CC_OP), op); // the upper half is 0
    t->recipe = op;
}

/// S0 = a - b by instructions that keep the host's flags.
static void subtract(struct translation *t, const struct pending_flags *p)
{
    struct emit *e = &t->emit;
    struct emit_memory difference = x86_at_register(x86_value_of(t, p->a, S0));
    if (p->b == VAR_IMM) {
        difference.displacement = -p->imm;
        emit_lea(e, WIDTH_64, S0, difference);
        return;
    }
    x86_copy(t, WIDTH_64, S0, difference.base);
    emit_unary(e, EMIT_NOT, WIDTH_64, S0);
    emit_lea(e, WIDTH_64, S0, (struct emit_memory){.base = S0, .index = x86_value_of(t, p->b, S1)});
    emit_unary(e, EMIT_NOT, WIDTH_64, S0);
}

static bool is_arithmetic_shift(const struct pending_flags *p)
{
    return p->op >> 2 == CC_SAR;
}

/// The source in memory, which is a shift's operand yet, becomes the recipe's by instructions that keep the host's
/// flags.
static void shift_source(struct translation *t, const struct pending_flags *p)
{
    struct emit *e = &t->emit;
    uint8_t prefix = p->op >> 2 == CC_SHL ? 1 : is_arithmetic_shift(p) ? 2 : 3;
    emit_load(e, (unsigned)p->op & 3, S0, x86_home(VAR_CC_SRC));
    if (is_arithmetic_shift(p))
        emit_extend(e, true, (unsigned)p->op & 3, S0, S0);
    emit_move_imm(e, S1, (uint64_t)p->imm);
    emit_vex(e, (struct emit_vex){2, prefix, 0xf7}, WIDTH_64, S0, S1, S0);
    x86_store_home(e, VAR_CC_SRC, S0);
}

void x86_flush_flags(struct translation *t)
{
    struct emit *e = &t->emit;
    const struct pending_flags *p = &t->pending;
    if (p->words & PENDING_ROTATE) {
        x86_override_rotate_flags(t, p->a, (unsigned)p->op, p->imm);
        t->pending.words = 0;
        return;
    }
    if (p->words & PENDING_SCRATCH)
        x86_store_home(e, VAR_CC_RESULT, S0);
    if (p->words & PENDING_SHIFT)
        shift_source(t, p);
    if ((p->words & PENDING_RESULT) && p->compare) {
        subtract(t, p);
        x86_store_home(e, VAR_CC_RESULT, S0);
    } else if (p->words & PENDING_RESULT) {
        x86_store_home(e, VAR_CC_RESULT, x86_value_of(t, p->a, S0));
    }
    if ((p->words & PENDING_SOURCE) && p->b == VAR_IMM)
        emit_store_imm(e, WIDTH_64, x86_home(VAR_CC_SRC), p->imm);
    else if (p->words & PENDING_SOURCE)
        x86_store_home(e, VAR_CC_SRC, x86_value_of(t, p->b, S0));
    if (p->words & PENDING_OP)
        store_recipe_op(t, p->op);
    t->pending.words = 0;
}

/// Whether the uop changes a guest register that the pending words are made of.
static bool changes_pending(const struct pending_flags *p, const struct uop *u)
{
    unsigned effects = uop_effects(u);
    for (unsigned i = 0; i < 2; i++) {
        unsigned var = i ? u->c : u->dst;
        if (!(effects & (i ? DEFINE_C : DEFINE_DST)))
            continue;
        if ((p->words & (PENDING_RESULT | PENDING_ROTATE)) && var == p->a)
            return true;
        if (var == p->b && ((p->words & PENDING_SOURCE) || ((p->words & PENDING_RESULT) && p->compare)))
            return true;
    }
    return false;
}

/// Whether the uop reads or changes the recipe in memory. Conditions and carries are made elsewhere.
static bool wants_recipe(const struct translation *t, const struct uop *u)
{
    unsigned effects = uop_effects(u), which;
    switch (u->op) {
    case UOP_ADC:
    case UOP_SBB:
    case UOP_INC:
    case UOP_DEC:
    case UOP_SETCC:
    case UOP_SELECT:
        return false;
    case UOP_EXIT:
    case UOP_EXIT_IF:
    case UOP_EXIT_IF_ZERO:
        return !t->next && !t->killers && !(t->join.at && x86_may_loop(t, u, &which));
    case UOP_EXIT_TO:
    case UOP_CALL:
        return true;
    default:
        return (effects & (FLAGS_READ | FLAGS_SET)) || ((effects & FLAGS_SOME) && t->flags);
    }
}

/// Carry and overflow are new after it, if its flags are wanted at all.
static bool rotates_by_constant(const struct uop *u)
{
    return (u->op == UOP_ROL || u->op == UOP_ROR) && (u->aux & UOP_SETS_FLAGS) && u->b == VAR_IMM &&
           (u->imm & (u->width == WIDTH_64 ? 63 : 31)) && u->dst != VAR_NONE;
}

void x86_settle_flags(struct translation *t, const struct uop *u)
{
    unsigned effects = uop_effects(u);
    bool vectors = u->op == UOP_VLOAD || u->op == UOP_VMOV || u->op == UOP_ROW;
    if (((effects & FLAGS_ALL) && (u->aux & UOP_SETS_FLAGS) && !(effects & MAY_LEAVE)) ||
        (t->pending.words == PENDING_ROTATE && rotates_by_constant(u))) {
        t->pending.words = 0;
        return;
    }
    // Emitters of vectors do the rest of the instruction as well.
    for (unsigned i = t->index; i < t->pass->count && (i == t->index || vectors); i++) {
        const struct uop *next = &t->pass->uops[i];
        if (next->insn != u->insn)
            break;
        if (wants_recipe(t, next)) {
            x86_flush_flags(t);
        } else if (changes_pending(&t->pending, next)) {
            if (vectors || (effects & MAY_LEAVE) || t->pass->facts[t->index].flags_after)
                x86_flush_flags(t);
            t->pending.words = 0;
        }
    }
}

static void store_recipe_source(struct translation *t)
{
    if (t->b == NO_REGISTER)
        emit_store_imm(&t->emit, WIDTH_64, x86_home(VAR_CC_SRC), t->imm);
    else
        emit_store(&t->emit, WIDTH_64, x86_home(VAR_CC_SRC), t->b);
}

static bool is_guest(unsigned var)
{
    return var <= VAR_R15;
}

/// Whether the comparison's difference can wait in its register for the branch that comes next.
static bool difference_waits(const struct translation *t, const struct uop *u)
{
    unsigned which;
    return u->dst == VAR_NONE && t->index + 1u < t->pass->count && u[1].op == UOP_EXIT_IF && (t->next || t->killers) &&
           !t->counting && !t->pointers.pending && !x86_may_loop(t, u + 1, &which);
}

/// The recipe of an operation is pending: its result is in the variable, if that is a guest register; else it is stored
/// from `result` at once.
static void recipe_pending(struct translation *t, enum cc_op op, unsigned width, unsigned var, uint8_t result)
{
    t->pending = (struct pending_flags){
        .words = PENDING_OP, .op = (int32_t)cc_pack(op, width), .a = (uint8_t)var, .b = VAR_NONE};
    if (is_guest(var))
        t->pending.words |= PENDING_RESULT;
    else if (result == S0 && difference_waits(t, &t->pass->uops[t->index]))
        t->pending.words |= PENDING_SCRATCH;
    else
        emit_store(&t->emit, WIDTH_64, x86_home(VAR_CC_RESULT), result);
}

void x86_made_flags_of(struct translation *t, enum cc_op op, unsigned width, unsigned var, uint8_t result,
                       uint32_t mask)
{
    if (!t->flags)
        return;
    recipe_pending(t, op, width, var, result);
    t->made_flags = mask;
}

void x86_made_flags(struct translation *t, enum cc_op op, const struct uop *u, uint8_t result, uint32_t mask)
{
    x86_made_flags_of(t, op, u->width, u->dst, result, mask);
}

void x86_store_double_shift_flags(struct translation *t, unsigned width, unsigned operand)
{
    struct emit *e = &t->emit;
    uint8_t reg = registers_read(&t->registers, operand);
    _Static_assert(CC_OVERFLOW_VALUE == 1 << 8 && CC_CARRY_VALUE == 1 << 9, "bits 8 and 9");
    x86_store_home(e, VAR_CC_RESULT, S0);
    if (reg == NO_REGISTER)
        emit_alu_load(e, EMIT_XOR, width, S0, x86_home(operand));
    else
        emit_alu(e, EMIT_XOR, width, S0, reg);
    emit_shift_imm(e, EMIT_SHR, width, S0, (8u << width) - 1);
    emit_lea(e, WIDTH_32, S0, (struct emit_memory){.base = S0, .index = S1, .scale = 1});
    emit_shift_imm(e, EMIT_SHL, WIDTH_32, S0, 8);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0,
                 (int32_t)cc_pack(CC_CARRY, width) | CC_CARRY_REPLACED | CC_OVERFLOW_REPLACED);
    x86_store_home(e, VAR_CC_OP, S0);
    x86_load_home(e, S0, VAR_CC_RESULT);
    t->recipe = -1;
}

/// Whether the second operand can be stored later: an immediate, or a guest register that keeps it.
static bool is_later(const struct translation *t, const struct uop *u)
{
    return t->b == NO_REGISTER || (u->b != VAR_IMM && is_guest(u->b) && u->b != u->dst);
}

static void source_pending(struct translation *t, const struct uop *u)
{
    t->pending.words |= PENDING_SOURCE;
    t->pending.b = u->b;
    t->pending.imm = t->imm;
}

static void comparison_pending(struct translation *t, const struct uop *u)
{
    t->pending = (struct pending_flags){
        .words = PENDING_OP | PENDING_RESULT, .compare = true, .a = u->a, .op = (int32_t)cc_pack(CC_SUB, u->width)};
    source_pending(t, u);
}

/// x86_made_flags with a second operand, as t->b holds it.
static void made_flags_of_two(struct translation *t, enum cc_op op, const struct uop *u, uint8_t result)
{
    if (!t->flags)
        return;
    t->made_flags = CONDITION_FLAGS;
    if (!is_later(t, u))
        store_recipe_source(t);
    recipe_pending(t, op, u->width, u->dst, result);
    if (is_later(t, u))
        source_pending(t, u);
}

void x86_literal_recipe(struct translation *t)
{
    t->pending.words = 0;
    store_recipe_op(t, CC_LITERAL << 2);
}

/// Makes the host's flags from the recipe in memory, where this block has made it and it is a simple one.
static bool remake_flags(struct translation *t)
{
    x86_flush_flags(t);
    if (t->recipe < 0 || !x86_emit_recipe_flags(&t->emit, (unsigned)t->recipe >> 2, (unsigned)t->recipe & 3))
        return false;
    t->host_flags = CONDITION_FLAGS;
    return true;
}

/// Makes them from whatever recipe there is.
static void make_flags(struct translation *t)
{
    emit_call_to(&t->emit, t->entries->flags);
    t->host_flags = CONDITION_FLAGS;
}

/// A condition of flags that memory holds themselves.
static bool literal_condition(struct translation *t, unsigned condition)
{
    static const uint8_t bits[8] = {11, 0, 6, 0, 7, 2}; // of conditions that are one flag
    struct emit *e = &t->emit;
    bool negate = condition & 1;
    if (!x86_literal_flags(t))
        return false;
    t->host_flags = 0;
    if (condition >> 1 < 6 && condition >> 1 != 3) {
        emit_bit_memory(e, x86_home(VAR_CC_EXTRA), bits[condition >> 1]);
        t->condition = negate ? 3 : 2;
        return true;
    }
    x86_load_home(e, S0, VAR_CC_EXTRA);
    if (condition >> 1 == 3) {
        emit_test_imm(e, WIDTH_32, S0, FLAG_CF | FLAG_ZF);
    } else { // SF against OF
        emit_move(e, WIDTH_32, S1, S0);
        emit_shift_imm(e, EMIT_SHR, WIDTH_32, S1, 4);
        emit_alu(e, EMIT_XOR, WIDTH_32, S1, S0);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, FLAG_SF);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, condition >> 1 == 7 ? FLAG_ZF : 0);
        emit_alu(e, EMIT_OR, WIDTH_32, S1, S0);
    }
    t->condition = negate ? EMIT_EQUAL : EMIT_NOT_EQUAL;
    return true;
}

/// Carry (0 or 1) to the slot, and to the recipe when the flags are wanted. It stays in the host's flags too; ADC and
/// SBB need it only there.
void x86_save_carry(struct translation *t)
{
    struct emit *e = &t->emit;
    bool in_flags = uses_host_carry(&t->pass->uops[t->index]);
    if (!(t->host_flags & FLAG_CF) && !remake_flags(t) && !literal_condition(t, 2))
        make_flags(t);
    if (in_flags && !t->flags)
        return;
    emit_set(e, 2, S0);
    emit_extend(e, false, WIDTH_8, S0, S0);
    if (!in_flags)
        emit_store(e, WIDTH_64, carry_slot(), S0);
    if (t->flags)
        emit_store(e, WIDTH_64, x86_home(VAR_CC_EXTRA), S0);
}

static uint32_t condition_flags(unsigned condition)
{
    static const uint32_t needs[8] = {FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_CF | FLAG_ZF,
                                      FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_ZF | FLAG_SF | FLAG_OF};
    return needs[condition >> 1 & 7];
}

void x86_make_condition(struct translation *t, unsigned condition)
{
    uint32_t needs = condition_flags(condition);
    t->condition = (uint8_t)condition;
    if ((t->host_flags & needs) != needs && !remake_flags(t) && !literal_condition(t, condition))
        make_flags(t);
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

/// Whether the flags of the comparison at work are read by conditions only that find them in the host's, before all are
/// made anew.
static bool only_host_reads(const struct translation *t)
{
    bool kept = true;
    for (unsigned i = t->index + 1u; i < t->pass->count; i++) {
        const struct uop *u = &t->pass->uops[i];
        unsigned effects = uop_effects(u);
        if ((effects & (MAY_LEAVE | FLAGS_SET)) || t->pass->facts[i].refused || u->op > UOP_STORE)
            return false;
        if ((effects & FLAGS_READ) && (!kept || (u->op != UOP_SETCC && u->op != UOP_SELECT)))
            return false;
        if (u->aux & UOP_SETS_FLAGS)
            return effects & FLAGS_ALL;
        kept &= (t->backend->rules[u->op].constraints & KEEP_FLAGS) != 0;
    }
    return false;
}

/// Whether the uop is a comparison whose difference nobody stores at once: both operands are guest registers, or one is
/// a constant, and the flags stay pending. Before an exit that writes them the difference is made here.
static bool is_pure_comparison(const struct translation *t, const struct uop *u)
{
    const struct uop *next = u + 1;
    unsigned which;
    if (u->op != UOP_SUB || u->dst != VAR_NONE)
        return false;
    if (!t->flags)
        return true;
    if (!is_guest(u->a) || !is_later(t, u) || (t->b == NO_REGISTER && t->imm == INT32_MIN))
        return false;
    if (t->index + 1 >= t->pass->count)
        return true;
    return t->next || t->killers == 2 || (next->op != UOP_EXIT && next->op != UOP_EXIT_IF && next->op != UOP_EXIT_TO) ||
           x86_may_loop(t, next, &which);
}

/// In its place. The flags' recipe would want the operand as it was.
static bool adds_to_itself(const struct translation *t, const struct uop *u)
{
    return u->a == u->b && u->dst == u->a && u->width >= WIDTH_32 && !t->flags &&
           registers_read(&t->registers, u->a) == t->a;
}

static void emit_arithmetic(struct translation *t, const struct uop *u, enum emit_alu op, enum cc_op recipe)
{
    uint8_t to;
    if (u->op == UOP_SUB && u->dst == VAR_NONE && t->flags && only_host_reads(t))
        t->flags = false;
    if (is_pure_comparison(t, u)) {
        if (t->a_memory)
            operate_in_memory(t, u, EMIT_CMP);
        else
            operate(t, u, EMIT_CMP, t->a);
        if (t->flags)
            comparison_pending(t, u);
        t->made_flags = CONDITION_FLAGS;
        return;
    }
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
        x86_made_flags(t, recipe, u, to, CONDITION_FLAGS);
    else
        made_flags_of_two(t, recipe, u, to);
    if (!t->a_memory)
        x86_finish_result(t, u, to);
}

void x86_emit_add(struct translation *t, const struct uop *u)
{
    emit_arithmetic(t, u, EMIT_ADD, CC_ADD);
}

void x86_emit_sub(struct translation *t, const struct uop *u)
{
    emit_arithmetic(t, u, EMIT_SUB, CC_SUB);
}

/// TEST of a register with itself, the most frequent one: the register is the result.
static bool emit_test_self(struct translation *t, const struct uop *u)
{
    if (u->dst != VAR_NONE || u->a != u->b)
        return false;
    if (t->flags)
        recipe_pending(t, CC_LOGIC, u->width, u->a, t->a);
    t->made_flags = CONDITION_FLAGS;
    emit_test(&t->emit, u->width, t->a, t->a);
    return true;
}

void x86_emit_and(struct translation *t, const struct uop *u)
{
    if (emit_test_self(t, u))
        return;
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
    x86_made_flags(t, CC_LOGIC, u, to, CONDITION_FLAGS);
    x86_finish_result(t, u, to);
    return true;
}

void x86_emit_xor(struct translation *t, const struct uop *u)
{
    if (emit_zero(t, u))
        return;
    emit_arithmetic(t, u, EMIT_XOR, CC_LOGIC);
}

static void emit_with_carry(struct translation *t, const struct uop *u, enum emit_alu op, enum cc_op recipe)
{
    uint8_t to = x86_result_register(t, u);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    if (!uses_host_carry(u))
        emit_bit_memory(&t->emit, carry_slot(), 0);
    operate(t, u, op, to);
    made_flags_of_two(t, recipe, u, to);
    x86_finish_result(t, u, to);
}

void x86_emit_adc(struct translation *t, const struct uop *u)
{
    emit_with_carry(t, u, EMIT_ADC, CC_ADC);
}

void x86_emit_sbb(struct translation *t, const struct uop *u)
{
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
    x86_made_flags(t, CC_SUB, u, to, CONDITION_FLAGS);
    x86_finish_result(t, u, to);
}

static void emit_step(struct translation *t, const struct uop *u, bool decrement)
{
    uint8_t to = x86_result_register(t, u);
    x86_copy(t, x86_at_least_32(u->width), to, t->a);
    emit_increment(&t->emit, decrement, u->width, to);
    x86_made_flags(t, decrement ? CC_DEC : CC_INC, u, to, CONDITION_FLAGS & ~FLAG_CF);
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
    x86_made_flags(t, recipe_of_shift(u), u, S0, CONDITION_FLAGS);
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
    x86_made_flags(t, recipe_of_shift(u), u, to, count == 1 ? CONDITION_FLAGS : CONDITION_FLAGS & ~FLAG_OF);
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
        store_recipe_op(t, (int32_t)cc_pack(recipe_of_shift(u), u->width));
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
    else
        shift_by_register(t, u);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_alu_is_empty;

#endif
