// The x86-64 backend's flags while a block is translated: in the host's own flags from an operation to who reads them,
// and as a recipe, most words of which are pending (struct pending_flags) until it is dead.
#ifdef __x86_64__

#include "cpu/cc.h"
#include "translate/backend_x86_64.h"

#define HOST_CARRY 2u // the condition

/// The operation's form with the second operand as part of VAR_CC_OP; CC_OPS: it has none.
static enum cc_op with_immediate(enum cc_op op)
{
    switch (op) {
    case CC_TEST:
        return CC_TEST_IMM;
    case CC_ADD:
        return CC_ADD_IMM;
    case CC_SUB:
        return CC_SUB_IMM;
    case CC_CMP:
        return CC_CMP_IMM;
    default:
        return CC_OPS;
    }
}

/// No more than what counts: what is above it stays.
void x86_store_recipe_op(struct translation *t, int32_t op)
{
    bool more = (op & CC_CARRY_REPLACED) || cc_op_of((uint64_t)op) >= CC_TEST_IMM;
    if (t->recipe != op)
        emit_store_imm(&t->emit, more ? WIDTH_32 : WIDTH_8, x86_home(VAR_CC_OP), op); // the upper half is 0
    t->recipe = op;
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

/// The extra part = the carry of the recipe in memory. Keeps the host's flags if they are of use.
static void write_carry(struct translation *t)
{
    struct emit *e = &t->emit;
    bool pushed = e->depth != 0; // the number of a way to C; the routine finds the state without it
    if (t->host_flags) {
        emit_push_flags(e);
        emit_pop_memory(e, FIELD(host_word[WORD_LINEAR]));
    }
    if (pushed)
        emit_pop_memory(e, FIELD(host_word[WORD_FLAGS_VALUE]));
    emit_call_to(e, t->entries->flags);
    emit_set_memory(e, HOST_CARRY, x86_home(VAR_CC_EXTRA));
    if (pushed)
        emit_push_memory(e, FIELD(host_word[WORD_FLAGS_VALUE]));
    if (t->host_flags) {
        emit_push_memory(e, FIELD(host_word[WORD_LINEAR]));
        emit_pop_flags(e);
    }
}

void x86_store_host_words(struct translation *t)
{
    struct pending_flags *p = &t->pending;
    if (p->words & PENDING_HOST_RESULT)
        x86_store_home(&t->emit, VAR_CC_RESULT, p->host);
    if (p->words & PENDING_HOST_SOURCE)
        x86_store_home(&t->emit, VAR_CC_SRC, p->host);
    p->words &= (uint8_t) ~(PENDING_HOST_RESULT | PENDING_HOST_SOURCE);
}

void x86_keep_host_words(struct translation *t)
{
    const struct uop *first = t->passes[0].uops;
    unsigned effects = uop_effects(first);
    bool replaced = (first->aux & UOP_SETS_FLAGS) &&
                    (((effects & FLAGS_ALL) && !(effects & MAY_LEAVE)) ||
                     ((first->op == UOP_INC || first->op == UOP_DEC) && t->passes[0].facts[0].flags_live));
    if (!replaced)
        x86_store_host_words(t);
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
    if (p->words & PENDING_CARRY)
        write_carry(t);
    x86_store_host_words(t);
    if (p->words & PENDING_SHIFT)
        shift_source(t, p);
    if (p->words & PENDING_RESULT)
        x86_store_home(e, VAR_CC_RESULT, x86_value_of(t, p->a, S0));
    if ((p->words & PENDING_SOURCE) && p->b == VAR_IMM)
        emit_store_imm(e, WIDTH_64, x86_home(VAR_CC_SRC), p->imm);
    else if (p->words & PENDING_SOURCE)
        x86_store_home(e, VAR_CC_SRC, x86_value_of(t, p->b, S0));
    if (p->words & PENDING_OP)
        x86_store_recipe_op(t, p->op);
    t->pending.words = 0;
}

/// A guest register is about to change: what is pending of it goes to memory where that is `wanted`, and the rest stays
/// pending, because most flags die before anybody looks.
static void rescue(struct translation *t, unsigned var, bool wanted)
{
    struct pending_flags *p = &t->pending;
    bool result = (p->words & (PENDING_RESULT | PENDING_ROTATE)) && var == p->a;
    bool source = (p->words & PENDING_SOURCE) && var == p->b;
    if (!result && !source)
        return;
    if (!wanted) {
        p->words = 0;
        return;
    }
    if (p->words & (PENDING_ROTATE | PENDING_CARRY)) {
        x86_flush_flags(t);
        return;
    }
    if (result)
        x86_store_home(&t->emit, VAR_CC_RESULT, x86_value_of(t, var, S0));
    if (source)
        x86_store_home(&t->emit, VAR_CC_SRC, x86_value_of(t, var, S0));
    p->words &= (uint8_t) ~((result ? PENDING_RESULT : 0) | (source ? PENDING_SOURCE : 0));
}

/// Whether the uop leaves what counts of its guest register, which it extends in place.
static bool keeps_low_bits(const struct uop *u, unsigned width)
{
    return (u->op == UOP_SEXT || u->op == UOP_ZEXT) && u->a == u->dst && u->sub >= width;
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
        return !t->next && !t->killers && !((t->join.at || t->holds) && x86_may_loop(t, u, &which));
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
    // Most have to do neither with flags nor with what these are made from.
    if (!(effects & (FLAGS_ALL | FLAGS_SOME | FLAGS_READ | FLAGS_SET | DEFINE_C)) && u->op < UOP_VLOAD &&
        u->dst > VAR_R15)
        return;
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
        } else {
            bool wanted = vectors || (effects & MAY_LEAVE) || t->pass->facts[t->index].flags_after;
            if ((uop_effects(next) & DEFINE_DST) && !keeps_low_bits(next, (unsigned)t->pending.op & 3))
                rescue(t, next->dst, wanted);
            if (uop_effects(next) & DEFINE_C)
                rescue(t, next->c, wanted);
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

/// Whether the uop only changes a guest register: it takes no register for a temporary, and keeps the host's flags.
static bool is_plain_move(const struct uop *u)
{
    return u->op == UOP_NOP ||
           ((u->op == UOP_MOV || u->op == UOP_ZEXT || u->op == UOP_SEXT || u->op == UOP_EA) && x86_is_guest(u->dst));
}

/// Whether a word of the comparison's recipe can wait in its register for the branch that comes soon.
static bool word_waits(const struct translation *t, const struct uop *u, uint8_t reg)
{
    const struct uop *next = u + 1, *end = t->pass->uops + t->pass->count;
    unsigned which;
    if (u->dst != VAR_NONE || t->counting || t->pointers.pending)
        return false;
    while (next < end && is_plain_move(next))
        next++;
    if (next > u + 1 && (reg == S0 || reg == S1 || (t->registers.borrowed >> reg & 1)))
        return false;
    return next < end && next->op == UOP_EXIT_IF && (t->next || t->killers || x86_may_loop(t, next, &which));
}

/// The word of what waits: the branch gives borrowed registers back before.
static void word_pending(struct translation *t, unsigned word, uint8_t reg)
{
    if (t->registers.borrowed >> reg & 1) {
        emit_move(&t->emit, WIDTH_64, S0, reg);
        reg = S0;
    }
    t->pending.words |= (uint8_t)word;
    t->pending.host = reg;
}

void x86_recipe_pending(struct translation *t, enum cc_op op, unsigned width, unsigned var, uint8_t result)
{
    t->pending = (struct pending_flags){
        .words = PENDING_OP, .op = (int32_t)cc_pack(op, width), .a = (uint8_t)var, .b = VAR_NONE};
    if (x86_is_guest(var))
        t->pending.words |= PENDING_RESULT;
    else if (word_waits(t, &t->pass->uops[t->index], result))
        word_pending(t, PENDING_HOST_RESULT, result);
    else
        emit_store(&t->emit, WIDTH_64, x86_home(VAR_CC_RESULT), result);
}

bool x86_only_host_reads(const struct translation *t)
{
    bool kept = true;
    for (unsigned i = t->index + 1u; i < t->pass->count; i++) {
        const struct uop *u = &t->pass->uops[i];
        unsigned effects = uop_effects(u);
        if ((effects & (MAY_LEAVE | FLAGS_SET)) || t->pass->facts[i].refused || u->op > UOP_STORE)
            return false;
        if ((effects & FLAGS_READ) && (!kept || (u->op != UOP_SETCC && u->op != UOP_SELECT && !x86_uses_host_carry(u))))
            return false;
        if (u->aux & UOP_SETS_FLAGS)
            return effects & FLAGS_ALL;
        kept &= (t->backend->rules[u->op].constraints & KEEP_FLAGS) != 0;
    }
    return false;
}

void x86_made_flags_of(struct translation *t, enum cc_op op, unsigned width, unsigned var, uint8_t result,
                       uint32_t mask)
{
    if (!t->flags)
        return;
    x86_recipe_pending(t, op, width, var, result);
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
    return t->b == NO_REGISTER || (u->b != VAR_IMM && x86_is_guest(u->b) && u->b != u->dst);
}

void x86_source_pending(struct translation *t, const struct uop *u, enum cc_op op)
{
    struct pending_flags *p = &t->pending;
    if (u->b == VAR_IMM && t->b == NO_REGISTER && with_immediate(op) != CC_OPS &&
        (u->width <= WIDTH_16 || t->imm == (int16_t)t->imm)) {
        p->op = (int32_t)((uint32_t)t->imm << CC_IMM_SHIFT | cc_pack(with_immediate(op), u->width));
    } else if (is_later(t, u)) {
        p->words |= PENDING_SOURCE;
        p->b = u->b;
        p->imm = t->imm;
    } else if (!(p->words & PENDING_HOST_RESULT) && word_waits(t, u, t->b)) {
        word_pending(t, PENDING_HOST_SOURCE, t->b);
    } else
        store_recipe_source(t);
}

void x86_made_flags_of_two(struct translation *t, enum cc_op op, const struct uop *u, uint8_t result)
{
    t->made_flags = X86_CONDITION_FLAGS;
    if (!t->flags)
        return;
    x86_recipe_pending(t, op, u->width, u->dst, result);
    x86_source_pending(t, u, op);
}

void x86_literal_recipe(struct translation *t)
{
    t->pending.words = 0;
    x86_store_recipe_op(t, CC_LITERAL << 2);
}

/// Makes the host's flags from the recipe in memory, where this block has made it and it is a simple one.
static bool remake_flags(struct translation *t)
{
    x86_flush_flags(t);
    if (t->recipe == -1 || (t->recipe & CC_CARRY_REPLACED) ||
        !x86_emit_recipe_flags(&t->emit, cc_op_of((uint64_t)t->recipe), (unsigned)t->recipe & 3))
        return false;
    t->host_flags = X86_CONDITION_FLAGS;
    return true;
}

/// `op` of the pending result, or a copy of it that may change, and the pending source.
static void operate_on_pending(struct translation *t, enum emit_alu op)
{
    struct emit *e = &t->emit;
    const struct pending_flags *p = &t->pending;
    unsigned width = (unsigned)p->op & 3;
    uint8_t first = S0;
    if (!(p->words & PENDING_RESULT))
        x86_load_home(e, S0, VAR_CC_RESULT);
    else if (op == EMIT_CMP)
        first = x86_value_of(t, p->a, S0);
    else
        x86_fetch(t, S0, p->a);
    if (cc_op_of((uint64_t)p->op) >= CC_TEST_IMM)
        emit_alu_imm(e, op, width, first, p->op >> CC_IMM_SHIFT);
    else if ((p->words & PENDING_SOURCE) && p->b == VAR_IMM)
        emit_alu_imm(e, op, width, first, p->imm);
    else if (p->words & PENDING_SOURCE)
        emit_alu(e, op, width, first, x86_value_of(t, p->b, S1));
    else
        emit_alu_load(e, op, width, first, x86_home(VAR_CC_SRC));
}

/// The carry of pending sums and differences, alone.
static bool carry_of_pending(struct translation *t, unsigned op)
{
    if (op == CC_ADD || op == CC_ADD_IMM) // the sum is less than what was added
        operate_on_pending(t, EMIT_CMP);
    else if (op == CC_SUB || op == CC_SUB_IMM) // adding it again goes beyond
        operate_on_pending(t, EMIT_ADD);
    else
        return false;
    t->host_flags = FLAG_CF;
    return true;
}

/// Makes the host's flags that are needed from what is pending, which stays so: most of them die before anybody else
/// looks.
static bool flags_of_pending(struct translation *t, uint32_t needs)
{
    struct emit *e = &t->emit;
    const struct pending_flags *p = &t->pending;
    unsigned op = cc_op_of((uint64_t)p->op), width = (unsigned)p->op & 3;
    uint8_t result = S0;
    if (!(p->words & PENDING_OP) || (p->words & (PENDING_HOST_RESULT | PENDING_HOST_SOURCE)))
        return false;
    if (op == CC_CMP || op == CC_CMP_IMM || op == CC_TEST || op == CC_TEST_IMM) {
        operate_on_pending(t, op == CC_CMP || op == CC_CMP_IMM ? EMIT_CMP : EMIT_AND);
        t->host_flags = X86_CONDITION_FLAGS;
        return true;
    }
    if (needs == FLAG_CF && carry_of_pending(t, op))
        return true;
    if (op == CC_MUL || op == CC_LITERAL || (op != CC_LOGIC && (needs & ~(FLAG_ZF | FLAG_SF | FLAG_PF))))
        return false;
    if (p->words & PENDING_RESULT)
        result = x86_value_of(t, p->a, S0);
    else
        x86_load_home(e, S0, VAR_CC_RESULT);
    emit_test(e, width, result, result);
    t->host_flags = op == CC_LOGIC ? X86_CONDITION_FLAGS : FLAG_ZF | FLAG_SF | FLAG_PF;
    return true;
}

/// Makes them from whatever recipe there is.
static void make_flags(struct translation *t)
{
    emit_call_to(&t->emit, t->entries->flags);
    t->host_flags = X86_CONDITION_FLAGS;
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

static uint32_t condition_flags(unsigned condition)
{
    static const uint32_t needs[8] = {FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_CF | FLAG_ZF,
                                      FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_ZF | FLAG_SF | FLAG_OF};
    return needs[condition >> 1 & 7];
}

/// Whether the carry in the flags of the INC or DEC at work is likely asked for by nobody before they die: only by ways
/// out.
static bool carry_dies(const struct translation *t)
{
    unsigned which;
    for (unsigned i = t->index + 1u; i < t->pass->count; i++) {
        const struct uop *u = &t->pass->uops[i];
        unsigned effects = uop_effects(u);
        if (t->pass->facts[i].refused || u->op == UOP_CALL || u->op == UOP_EXIT_TO)
            return false;
        if (u->aux & UOP_SETS_FLAGS) {
            if (effects & FLAGS_ALL)
                return !(effects & MAY_LEAVE);
            if (u->op != UOP_INC && u->op != UOP_DEC)
                return false;
        }
        if ((effects & FLAGS_SET) ||
            ((effects & FLAGS_READ) && u->op != UOP_SETCC && u->op != UOP_SELECT && u->op != UOP_EXIT_IF))
            return false;
        if ((effects & FLAGS_READ) && (condition_flags(u->sub) & FLAG_CF))
            return false;
        if (u->op == UOP_EXIT || u->op == UOP_EXIT_IF || u->op == UOP_EXIT_IF_ZERO)
            return t->next || t->killers || ((t->join.at || t->holds) && x86_may_loop(t, u, &which));
    }
    return false;
}

/// The carry that INC and DEC keep: where it is, and what can be put off.
static void save_step_carry(struct translation *t, const struct uop *u)
{
    struct pending_flags *p = &t->pending;
    int32_t op = p->words & PENDING_OP ? p->op : p->words ? -1 : t->recipe; // of the recipe as it is
    unsigned kind = cc_op_of((uint64_t)op);
    t->step = STEP_KEPT;
    if (op != -1 && (op & CC_CARRY_REPLACED ? !(op & CC_CARRY_VALUE)
                                            : kind == CC_LOGIC || kind == CC_TEST || kind == CC_TEST_IMM)) {
        t->step = STEP_CLEAR;
    } else if (op != -1 && !(op & CC_CARRY_REPLACED) && !(p->words & PENDING_CARRY) &&
               (kind == CC_INC || kind == CC_DEC)) {
        // is there
    } else if (t->host_flags & FLAG_CF) {
        emit_set_memory(&t->emit, HOST_CARRY, x86_home(VAR_CC_EXTRA));
    } else if ((!p->words || (p->words & PENDING_CARRY)) && x86_is_guest(u->dst) && carry_dies(t)) {
        t->step = STEP_LATER;
    } else if (p->words & PENDING_CARRY) {
        x86_flush_flags(t);
    } else {
        if (!flags_of_pending(t, FLAG_CF) && !remake_flags(t) && !literal_condition(t, HOST_CARRY))
            make_flags(t);
        emit_set_memory(&t->emit, HOST_CARRY, x86_home(VAR_CC_EXTRA));
    }
    p->words = 0;
}

/// Of INC and DEC: see there. Else carry (0 or 1) to the slot, and to the recipe when the flags are wanted. It stays in
/// the host's flags too; ADC and SBB need it only there.
void x86_save_carry(struct translation *t)
{
    struct emit *e = &t->emit;
    const struct uop *u = &t->pass->uops[t->index];
    bool in_flags = x86_uses_host_carry(u);
    if (u->op == UOP_INC || u->op == UOP_DEC) {
        save_step_carry(t, u);
        return;
    }
    if (!(t->host_flags & FLAG_CF) && !flags_of_pending(t, FLAG_CF) && !remake_flags(t) && !literal_condition(t, 2))
        make_flags(t);
    if (in_flags && t->flags && x86_only_host_reads(t))
        t->flags = false;
    if (in_flags && !t->flags)
        return;
    if (in_flags) {
        emit_set_memory(e, HOST_CARRY, x86_home(VAR_CC_EXTRA));
        return;
    }
    emit_set(e, HOST_CARRY, S0);
    emit_extend(e, false, WIDTH_8, S0, S0);
    emit_store(e, WIDTH_64, x86_carry_slot(), S0);
    if (t->flags)
        emit_store(e, WIDTH_64, x86_home(VAR_CC_EXTRA), S0);
}

void x86_make_condition(struct translation *t, unsigned condition)
{
    uint32_t needs = condition_flags(condition);
    t->condition = (uint8_t)condition;
    if ((t->host_flags & needs) != needs && !flags_of_pending(t, needs) && !remake_flags(t) &&
        !literal_condition(t, condition))
        make_flags(t);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_recipe_is_empty;

#endif
