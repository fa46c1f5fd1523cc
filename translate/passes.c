// Passes over a block's uops: last uses, copies into guest registers made by the operation itself, dead flags.
#include "translate/passes.h"

#include <string.h>

const uint16_t uop_effects_by_op[UOP_OPS] = {
    [UOP_MOV] = USE_B | DEFINE_DST,
    [UOP_ZEXT] = USE_A | DEFINE_DST,
    [UOP_SEXT] = USE_A | DEFINE_DST,
    [UOP_GET_HIGH] = USE_A | DEFINE_DST,
    [UOP_SET_HIGH] = USE_A | DEFINE_DST,
    [UOP_ADD] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_ADC] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL | FLAGS_READ,
    [UOP_SUB] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_SBB] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL | FLAGS_READ,
    [UOP_AND] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_OR] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_XOR] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_NOT] = USE_A | DEFINE_DST,
    [UOP_NEG] = USE_A | DEFINE_DST | FLAGS_ALL,
    [UOP_INC] = USE_A | DEFINE_DST | FLAGS_SOME,
    [UOP_DEC] = USE_A | DEFINE_DST | FLAGS_SOME,
    [UOP_SHL] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME | BY_OPERANDS,
    [UOP_SHR] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME | BY_OPERANDS,
    [UOP_SAR] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME | BY_OPERANDS,
    [UOP_ROL] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME,
    [UOP_ROR] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME,
    [UOP_RCL] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME | FLAGS_READ,
    [UOP_RCR] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME | FLAGS_READ,
    [UOP_SHLD] = USE_A | USE_B | USE_C | DEFINE_DST | FLAGS_SOME | BY_OPERANDS,
    [UOP_SHRD] = USE_A | USE_B | USE_C | DEFINE_DST | FLAGS_SOME | BY_OPERANDS,
    [UOP_MUL] = USE_A | USE_B | DEFINE_DST | DEFINE_C | FLAGS_ALL,
    [UOP_IMUL] = USE_A | USE_B | DEFINE_DST | DEFINE_C | FLAGS_ALL,
    [UOP_IMUL_LOW] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_DIV] = USE_A | USE_B | USE_SUB | DEFINE_DST | DEFINE_C | MAY_LEAVE,
    [UOP_IDIV] = USE_A | USE_B | USE_SUB | DEFINE_DST | DEFINE_C | MAY_LEAVE,
    [UOP_BT] = USE_A | USE_B | FLAGS_SOME,
    [UOP_BTS] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME,
    [UOP_BTR] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME,
    [UOP_BTC] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME,
    [UOP_BSF] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_BSR] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_TZCNT] = USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_LZCNT] = USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_POPCNT] = USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_BLSI] = USE_A | DEFINE_DST | FLAGS_ALL,
    [UOP_BLSR] = USE_A | DEFINE_DST | FLAGS_ALL,
    [UOP_BLSMSK] = USE_A | DEFINE_DST | FLAGS_ALL,
    [UOP_BZHI] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_BEXTR] = USE_A | USE_B | DEFINE_DST | FLAGS_ALL,
    [UOP_PDEP] = USE_A | USE_B | DEFINE_DST,
    [UOP_PEXT] = USE_A | USE_B | DEFINE_DST,
    [UOP_ADX] = USE_A | USE_B | DEFINE_DST | FLAGS_SOME | FLAGS_READ,
    [UOP_BSWAP] = USE_A | DEFINE_DST,
    [UOP_SETCC] = DEFINE_DST | FLAGS_READ,
    [UOP_SELECT] = USE_A | USE_B | DEFINE_DST | FLAGS_READ,
    [UOP_SELECT_Z] = USE_A | USE_B | USE_C | DEFINE_DST | BY_OPERANDS,
    [UOP_CHECK_TARGET] = USE_A | MAY_LEAVE,
    [UOP_GET_FLAGS] = DEFINE_DST | FLAGS_READ,
    [UOP_SET_FLAGS] = USE_A | FLAGS_SET | FLAGS_READ | BY_OPERANDS,
    [UOP_EA] = USE_A | USE_B | DEFINE_DST,
    [UOP_SEG] = USE_A | DEFINE_DST | MAY_LEAVE,
    [UOP_XLAT] = USE_A | DEFINE_DST | MAY_LEAVE,
    [UOP_LOAD] = USE_A | DEFINE_DST,
    [UOP_STORE] = USE_A | USE_B,
    [UOP_VLOAD] = USE_A,
    [UOP_VSTORE] = USE_A,
    [UOP_ROW] = USE_C | DEFINE_DST | MAY_LEAVE | BY_OPERANDS,
    [UOP_CALL] = USE_A | USE_B | DEFINE_DST | MAY_LEAVE,
    [UOP_RAISE] = MAY_LEAVE,
    [UOP_EXIT] = MAY_LEAVE,
    [UOP_EXIT_IF] = FLAGS_READ | MAY_LEAVE,
    [UOP_EXIT_IF_ZERO] = USE_A | MAY_LEAVE,
    [UOP_EXIT_TO] = USE_A | MAY_LEAVE,
};

unsigned uop_effects_by_operands(const struct uop *u, unsigned effects)
{
    effects &= ~BY_OPERANDS;
    if (u->c == VAR_IMM)
        effects &= ~USE_C;
    // A shift by a constant makes all flags, or none.
    if ((u->op == UOP_SHL || u->op == UOP_SHR || u->op == UOP_SAR) && u->b == VAR_IMM) {
        effects &= ~FLAGS_SOME;
        if (u->imm & (u->width == WIDTH_64 ? 63 : 31))
            effects |= FLAGS_ALL;
    }
    if (u->op == UOP_SET_FLAGS && u->imm == (int64_t)FLAGS_ARITHMETIC)
        effects &= ~FLAGS_READ;
    return effects;
}

// Which operands a uop has is different from one to the next, and branches on it were mispredicted. An operand that it
// has not is VAR_NONE, of which nobody asks.

static unsigned operand(unsigned effects, unsigned bit, unsigned var)
{
    return effects & bit ? var : VAR_NONE;
}

static uint32_t guest_bit(unsigned var)
{
    return (uint32_t)(var <= VAR_R15) << (var & 15);
}

static void use(struct pass_block *pass, unsigned var, unsigned index)
{
    struct pass_variable *variable = &pass->variables[var];
    variable->last_use = (uint16_t)index;
    variable->uses += variable->uses < UINT8_MAX;
    pass->guest_used |= guest_bit(var);
}

/// A temporary has one definition, and no use before.
static void define(struct pass_block *pass, unsigned var, unsigned index)
{
    struct pass_variable *variable = &pass->variables[var];
    bool named = var < VAR_TEMP;
    variable->last_use = named ? variable->last_use : 0;
    variable->uses = named ? variable->uses : 0;
    variable->defined = (uint16_t)index;
    variable->writes += variable->writes < UINT8_MAX;
    pass->guest_used |= guest_bit(var);
}

static void find_uses(struct pass_block *pass)
{
    memset(pass->variables, 0, VAR_TEMP * sizeof pass->variables[0]);
    for (unsigned var = VAR_ANCHOR; var < VAR_COUNT; var++)
        pass->variables[var] = (struct pass_variable){.last_use = UINT16_MAX}; // perhaps in another block
    pass->guest_used = 0;
    pass->only_integers = true;
    pass->calls = false;
    for (unsigned i = 0; i < pass->count; i++) {
        const struct uop *u = &pass->uops[i];
        unsigned e = uop_effects(u);
        pass->facts[i] = (struct pass_facts){
            .refused = !pass_supports(pass->supported, u), .tlb_base = VAR_NONE, .leader = VAR_ZERO};
        pass->only_integers &= u->op < UOP_VLOAD || u->op > UOP_CALL;
        pass->calls |= u->op == UOP_CALL;
        use(pass, operand(e, USE_A, u->a), i);
        use(pass, operand(e, USE_B, u->b), i);
        if (e & DEFINE_C)
            define(pass, u->c, i);
        if (e & (USE_C | DEFINE_C))
            use(pass, u->c, i);
        if (e & USE_SUB)
            use(pass, u->sub, i);
        define(pass, operand(e, DEFINE_DST, u->dst), i);
    }
}

/// Whether the operation writes a guest register as a MOV of the same width from its temporary would.
static bool writes_like_move(const struct uop *u)
{
    switch (u->op) {
    case UOP_ADD:
    case UOP_ADC:
    case UOP_SUB:
    case UOP_SBB:
    case UOP_AND:
    case UOP_OR:
    case UOP_XOR:
    case UOP_NOT:
    case UOP_NEG:
    case UOP_INC:
    case UOP_DEC:
    case UOP_SHL:
    case UOP_SHR:
    case UOP_SAR:
    case UOP_ZEXT:
    case UOP_SEXT:
    case UOP_SELECT:
        return true;
    case UOP_EA:
    case UOP_LOAD:
    case UOP_ROW:
        return u->width >= WIDTH_32;
    default:
        return false;
    }
}

/// "t = op ...; reg = t" becomes "reg = op ...".
static void forward_copies(struct pass_block *pass)
{
    for (unsigned i = 0; i + 1 < pass->count; i++) {
        struct uop *u = &pass->uops[i], *move = u + 1;
        if (move->op != UOP_MOV || u->dst < VAR_TEMP || move->b != u->dst || move->dst > VAR_R15 ||
            (move->width != u->width && (u->op != UOP_ROW || move->width != WIDTH_32)) || move->insn != u->insn ||
            pass->variables[u->dst].last_use != i + 1 || !writes_like_move(u))
            continue;
        u->dst = move->dst;
        u->width = move->width; // a ROW's value is as wide as the MOV says
        *move = (struct uop){.op = UOP_NOP, .dst = VAR_NONE, .insn = u->insn};
    }
}

static bool stays(const struct pass_block *pass, unsigned index)
{
    const struct uop *u = &pass->uops[index];
    return (u->op == UOP_ROW || u->op == UOP_CALL) && pass->stays && pass->stays(pass, index);
}

/// After an instruction with a CALL the block may be left.
static bool leaves_after(const struct pass_block *pass, unsigned index)
{
    unsigned insn = pass->uops[index].insn;
    if (index + 1 < pass->count && pass->uops[index + 1].insn == insn)
        return false;
    for (unsigned i = index + 1; i-- > 0 && pass->uops[i].insn == insn;) {
        if (pass->uops[i].op == UOP_CALL && !stays(pass, i))
            return true;
    }
    return false;
}

/// Whether the interpreter, when it goes on at the block's first uop because the guest's exceptions are unmasked, may
/// raise one before all flags are new: rows that never leave host code fault there.
static bool may_fault_first(const struct pass_block *pass)
{
    for (unsigned i = 0; i < pass->count && !pass->only_integers; i++) {
        const struct uop *u = &pass->uops[i];
        unsigned e = uop_effects(u);
        if (e & (MAY_LEAVE | FLAGS_READ))
            return true;
        if ((u->aux & UOP_SETS_FLAGS) && (e & FLAGS_ALL))
            return false;
    }
    return false;
}

/// `live`: whether somebody may look at the flags behind the block; else its last uop is a jump that does not leave.
static void find_live_flags(struct pass_block *pass, bool live)
{
    bool goes_on = !live;
    for (unsigned i = pass->count; i-- > 0;) {
        const struct uop *u = &pass->uops[i];
        struct pass_facts *facts = &pass->facts[i];
        unsigned e = uop_effects(u);
        bool sets = u->aux & UOP_SETS_FLAGS, kills, keeps;
        if (goes_on && u->op == UOP_EXIT)
            e &= ~MAY_LEAVE;
        if (!pass->only_integers && stays(pass, i))
            e &= ~MAY_LEAVE;
        live |= pass->calls && leaves_after(pass, i);
        kills = (sets & ((e & FLAGS_ALL) != 0)) | ((e & (FLAGS_SET | FLAGS_READ)) == FLAGS_SET);
        facts->flags_after = live;
        facts->flags_live = live & (sets | ((e & FLAGS_SET) != 0));
        keeps = ((e & (FLAGS_READ | MAY_LEAVE)) != 0) | (((e & FLAGS_SOME) != 0) & facts->flags_live) | facts->refused;
        live = (!kills & live) | keeps;
    }
    pass->flags_before = live || may_fault_first(pass);
}

void pass_flags_die_behind(struct pass_block *pass)
{
    if (pass->count && pass->uops[pass->count - 1].op == UOP_EXIT)
        find_live_flags(pass, false);
}

bool pass_kills_flags(const struct uop *uops, unsigned count, const struct pass_support *supported)
{
    for (unsigned i = 0; i < count; i++) {
        const struct uop *u = &uops[i];
        unsigned e = uop_effects(u);
        if ((e & (MAY_LEAVE | FLAGS_READ | FLAGS_SET)) || u->op >= UOP_VLOAD || !pass_supports(supported, u))
            return false;
        if ((u->aux & UOP_SETS_FLAGS) && (e & FLAGS_ALL))
            return true;
    }
    return false;
}

bool pass_may_leave_at(const struct pass_block *pass, unsigned index)
{
    return (uop_effects(&pass->uops[index]) & MAY_LEAVE) || pass->facts[index].refused;
}

/// Whether the uop is "register += constant" of a guest register, in 64 bits and without flags.
static bool is_step(const struct uop *u)
{
    return u->op == UOP_EA && u->width == WIDTH_64 && u->dst == u->a && u->dst <= VAR_R15 && u->b == VAR_ZERO;
}

static bool touches(const struct uop *u, unsigned var)
{
    unsigned e = uop_effects(u);
    return ((e & USE_A) && u->a == var) || ((e & USE_B) && u->b == var) || ((e & (USE_C | DEFINE_C)) && u->c == var) ||
           ((e & USE_SUB) && u->sub == var) || ((e & DEFINE_DST) && u->dst == var);
}

/// Of the steps that PUSH and POP take with RSP, where nobody can see it in between, only the last is left.
static void fold_steps(struct pass_block *pass)
{
    for (unsigned i = 0; i < pass->count; i++) {
        struct uop *step = &pass->uops[i];
        unsigned next = i + 1;
        if (!is_step(step))
            continue;
        while (next < pass->count && !pass_may_leave_at(pass, next) && !touches(&pass->uops[next], step->dst))
            next++;
        if (next == pass->count || !is_step(&pass->uops[next]) || pass->uops[next].dst != step->dst)
            continue;
        pass->uops[next].imm = (int64_t)((uint64_t)pass->uops[next].imm + (uint64_t)step->imm);
        *step = (struct uop){.op = UOP_NOP, .dst = VAR_NONE, .insn = step->insn};
    }
}

/// The exit of a RET, or of a jump without guard, knows most targets, and those are canonical: the check goes. So
/// nothing leaves before the exit.
static void drop_target_check(struct pass_block *pass)
{
    struct uop *exit = &pass->uops[pass->count - 1], *check = exit - 1;
    pass->checks_late = false;
    pass->return_bytes = 0;
    if (pass->count < 3 || (pass->block->mode & MODE_CODE_MASK) != MODE_CODE64 || exit->op != UOP_EXIT_TO)
        return;
    if (exit->sub == 1 && is_step(check) && check->dst == VAR_RSP)
        pass->return_bytes = (int32_t)check--->imm;
    else if (exit->sub == 1 || !pass->no_guard)
        return;
    pass->checks_late = check->op == UOP_CHECK_TARGET && check->a == exit->a && check->insn == exit->insn;
    if (pass->checks_late)
        *check = (struct uop){.op = UOP_NOP, .dst = VAR_NONE, .insn = check->insn};
}

void passes_run(struct pass_block *pass, const struct block *block, const struct uop *uops,
                const struct pass_support *supported, struct pass_numbering *n)
{
    pass->block = block;
    pass->original = uops;
    pass->supported = supported;
    pass->count = block->uop_count < LIFT_MAX_UOPS ? block->uop_count : LIFT_MAX_UOPS;
    memcpy(pass->uops, uops, pass->count * sizeof pass->uops[0]);
    find_uses(pass);
    forward_copies(pass);
    drop_target_check(pass);
    pass->followers = 0;
    pass_reuse(pass, n);
    fold_steps(pass);
    find_live_flags(pass, true);
}
