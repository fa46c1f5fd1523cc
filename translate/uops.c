// Drives a backend over the uops of a part: their operands, the emitter, what is not needed behind it.
#include "translate/driver.h"

static int32_t immediate(const struct uop *u)
{
    return (int32_t)u->imm;
}

static bool immediate_fits(const struct uop *u)
{
    return u->width != WIDTH_64 || u->imm == (int32_t)u->imm;
}

/// A variable in a host register; the scratch register where it lives in memory.
static uint8_t operand(struct translation *t, unsigned var, unsigned scratch)
{
    const struct backend *backend = t->backend;
    uint8_t reg = registers_read(&t->registers, var);
    if (reg != NO_REGISTER)
        return reg;
    if (t->carried_to == t->index && t->carried == var)
        return backend->scratch[0];
    if (t->folded_to == t->index && t->folded == var)
        return registers_read(&t->registers, t->folded_base);
    backend->load_var(t, backend->scratch[scratch], var);
    return backend->scratch[scratch];
}

static void operands(struct translation *t, const struct uop *u, unsigned constraints)
{
    t->a = t->b = NO_REGISTER;
    t->imm = 0;
    // A result of 32 bits would have to clear the others. Comparing memory with a constant costs the host as much as
    // loading it first.
    t->a_memory = (constraints & A_MEMORY) && u->a <= VAR_R15 && u->b != u->a &&
                  (u->dst == VAR_NONE ? u->b != VAR_IMM : u->a == u->dst && u->width != WIDTH_32) &&
                  registers_read(&t->registers, u->a) == NO_REGISTER;
    t->b_memory = (constraints & B_MEMORY) && !t->a_memory && u->b <= VAR_R15 && u->b != u->dst &&
                  registers_read(&t->registers, u->b) == NO_REGISTER;
    if ((constraints & IN_A) && !t->a_memory) {
        t->a = t->backend->scratch[0];
        if (u->op != UOP_EA || u->a != VAR_RIP) // the emitter knows better
            t->a = operand(t, u->a, 0);
    }
    if (!(constraints & IN_B) || t->b_memory)
        return;
    if (u->b != VAR_IMM) {
        if (u->op != UOP_EA || u->b != VAR_ZERO) // no index
            t->b = operand(t, u->b, 1);
    } else if (immediate_fits(u) || u->op == UOP_MOV) {
        t->imm = immediate(u);
    } else {
        t->b = t->backend->scratch[1];
        t->backend->load_imm(&t->emit, t->b, (uint64_t)u->imm);
    }
}

static void release(struct translation *t, unsigned var)
{
    if (var >= VAR_TEMP && t->pass->variables[var].last_use <= t->index)
        registers_release(&t->registers, var);
}

static void release_dead(struct translation *t, const struct uop *u)
{
    unsigned e = uop_effects(u);
    if (e & USE_A)
        release(t, u->a);
    if (e & USE_B)
        release(t, u->b);
    if (e & (USE_C | DEFINE_C))
        release(t, u->c);
    if (e & USE_SUB)
        release(t, u->sub);
    if (e & DEFINE_DST)
        release(t, u->dst);
}

static void translate_uop(struct translation *t, const struct uop *u)
{
    const struct backend_rule *rule = &t->backend->rules[u->op];
    unsigned constraints = rule->constraints;

    if (!t->pass->only_integers || t->pointers.pending)
        t->backend->prepare(t, u);
    t->flags = t->pass->facts[t->index].flags_live;
    t->made_flags = 0;
    t->fused = 0;
    t->stayed = false;
    if ((constraints & NEED_CARRY) || ((constraints & CARRY_IF_LIVE) && t->flags))
        t->backend->save_carry(t);
    if (constraints & NEED_FLAGS)
        t->backend->condition(t, u->sub);
    if (t->pending.words)
        t->backend->settle_flags(t, u);
    operands(t, u, constraints);
    rule->emit(t, u);
    if (!(constraints & KEEP_FLAGS))
        t->host_flags = t->made_flags;
    if (t->carried_to == t->index)
        t->carried_to = UINT16_MAX;
    if (t->folded_to == t->index)
        t->folded_to = UINT16_MAX;
    release_dead(t, u);
}

/// Whether an instruction ends here that a CALL may have told to leave after.
static bool ends_call(const struct translation *t, bool called)
{
    return called && t->index + 1 < t->pass->count && t->pass->uops[t->index + 1].insn != t->pass->uops[t->index].insn;
}

/// Remembers the first place where all flags are new.
static void note_join(struct translation *t, const struct uop *u)
{
    struct loop_join *join = &t->join;
    unsigned effects;
    if (join->at || t->turns || t->block != t->head)
        return;
    effects = uop_effects(u);
    if (!(effects & FLAGS_ALL) || (effects & MAY_LEAVE) || !(u->aux & UOP_SETS_FLAGS) || t->called ||
        t->pointers.pending || t->recipe != -1)
        return;
    *join = (struct loop_join){.at = t->emit.at,
                               .index = t->index,
                               .registers = registers_keep(&t->registers),
                               .pending = t->pending,
                               .host_flags = t->host_flags,
                               .segments_checked = t->segments_checked,
                               .resident = t->resident};
}

void translate_until_join(struct translation *t)
{
    for (t->index = 0; t->index <= t->join.index; t->index++) {
        translate_uop(t, &t->pass->uops[t->index]);
        for (; t->fused; t->fused--)
            release_dead(t, &t->pass->uops[++t->index]);
    }
}

/// With debug checks, a handle that is held must be what the check gives.
static void check_held(struct translation *t, const struct uop *u)
{
#ifdef DOPPEL_DEBUG_CHECKS
    struct uop check = *u;
    check.dst = VAR_NONE;
    translate_uop(t, &check);
#endif
}

bool translate_uops(struct translation *t)
{
    bool called = false;
    for (t->index = 0; t->index < t->pass->count; t->index++) {
        const struct uop *u = &t->pass->uops[t->index];
        if (!t->backend->rules[u->op].emit || t->pass->facts[t->index].refused) {
            t->backend->resume(t);
            return false;
        }
        if (t->turns && t->pass->facts[t->index].held) {
            check_held(t, u);
            release_dead(t, u);
            continue;
        }
        translate_uop(t, u);
        called |= u->op == UOP_CALL && !t->stayed;
        for (; t->fused; t->fused--)
            release_dead(t, &t->pass->uops[++t->index]);
        note_join(t, u);
        if (ends_call(t, called)) {
            t->backend->check_leave(t, u->insn);
            called = false;
        }
    }
    return true;
}
