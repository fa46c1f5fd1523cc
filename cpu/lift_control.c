// Lifts of the integer chapter, second part: stack, near branches, strings.
#include "cpu/lift.h"
#include "cpu/lift_common.h"

static unsigned stack_bytes(const struct lift *l, const struct insn *insn)
{
    return lift_is_64(l) && insn->operand_bytes == 4 ? 8 : insn->operand_bytes;
}

void lift_push_operand(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_read(l, insn, 0);
    lift_push(l, value, stack_bytes(l, insn));
}

/// RSP of 64-bit code goes up.
static void move_sp(struct lift *l, int64_t bytes)
{
    struct uop *u = lift_emit(l, UOP_EA, WIDTH_64);
    u->dst = u->a = VAR_RSP;
    u->imm = bytes;
}

/// POP to memory addresses with the stack pointer already moved (SDM vol. 2, POP).
void lift_pop_operand(struct lift *l, const struct insn *insn)
{
    unsigned bytes = stack_bytes(l, insn);
    struct insn moved = *insn;
    uint8_t sp, value, handle;

    if (lift_is_64(l) && bytes == 8 && insn->operand[0].kind == OPERAND_GPR) {
        uint8_t reg = insn->operand[0].reg;
        lift_load_register(l, reg, lift_xlat(l, VAR_RSP, bytes, false, true), WIDTH_64);
        if (reg != VAR_RSP)
            move_sp(l, bytes);
        return;
    }
    value = lift_pop(l, bytes, &sp);
    if (insn->operand[0].kind != OPERAND_MEMORY) {
        lift_set_sp(l, sp);
        lift_rmw_end(l, insn, 0, VAR_NONE, value);
        return;
    }
    if (insn->base == VAR_RSP)
        moved.displacement += bytes;
    handle = lift_memory(l, &moved, 0, true);
    lift_store(l, handle, value, width_of(bytes));
    lift_set_sp(l, sp);
}

void lift_pusha(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_pusha, VAR_NONE, VAR_ZERO, VAR_ZERO, insn->operand_bytes);
}

void lift_popa(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_popa, VAR_NONE, VAR_ZERO, VAR_ZERO, insn->operand_bytes);
}

void lift_enter(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_enter, VAR_NONE, VAR_ZERO, VAR_ZERO,
              (insn->immediate & 0xffff) | (insn->immediate2 & 31) << 16 | (uint64_t)stack_bytes(l, insn) << 24);
}

void lift_leave(struct lift *l, const struct insn *insn)
{
    unsigned bytes = stack_bytes(l, insn);
    uint8_t width = lift_is_64(l) ? WIDTH_64 : l->mode & MODE_STACK32 ? WIDTH_32 : WIDTH_16, frame = VAR_RBP, value, sp;
    struct uop *u;

    if (width != WIDTH_64) {
        u = lift_emit(l, UOP_EA, width);
        u->a = VAR_RBP;
        u->dst = frame = lift_temp(l);
    }
    value =
        lift_load(l, lift_xlat(l, lift_segment(l, SEG_SS, frame, bytes, false), bytes, false, true), width_of(bytes));
    u = lift_emit(l, UOP_EA, width);
    u->a = frame;
    u->imm = bytes;
    u->dst = sp = lift_temp(l);
    lift_set_sp(l, sp);
    lift_op(l, UOP_MOV, width_of(bytes), VAR_RBP, VAR_ZERO, value, false);
}

/// dst = condition ? yes : no, by SELECT's condition `sub`, or by SELECT_Z when `test` is a variable.
struct choice {
    uint8_t sub, test, test_width;
    bool negate; // taken when the tested variable is not zero
};

static uint8_t choose(struct lift *l, const struct choice *c, uint8_t yes, uint8_t no)
{
    struct uop *u = lift_emit(l, c->test == VAR_NONE ? UOP_SELECT : UOP_SELECT_Z,
                              c->test == VAR_NONE ? (uint8_t)WIDTH_64 : c->test_width);
    u->a = c->negate ? yes : no;
    u->b = c->negate ? no : yes;
    if (c->test == VAR_NONE)
        u->sub = c->sub;
    else
        u->c = c->test;
    return u->dst = lift_temp(l);
}

/// Where a conditional branch that does not chain leads: the target is cut and, when taken, checked.
static uint8_t chosen_target(struct lift *l, const struct insn *insn, const struct choice *c)
{
    uint8_t target = lift_relative_target(l, insn);
    lift_check_target(l, choose(l, c, target, VAR_RIP));
    return choose(l, c, target, lift_next_rip(l));
}

void lift_jcc(struct lift *l, const struct insn *insn)
{
    struct choice c = {.sub = (uint8_t)insn->row->argument, .test = VAR_NONE};
    struct uop *u;
    if (!lift_chains(l, insn)) {
        lift_exit_to(l, chosen_target(l, insn, &c));
        return;
    }
    u = lift_emit(l, UOP_EXIT_IF, mode_code_width(l->mode));
    u->sub = c.sub;
    u->imm = lift_distance(l, insn);
    u->param = l->next_offset;
    l->ended = true;
}

/// A branch target from a register or memory, cut and checked.
static uint8_t branch_target(struct lift *l, const struct insn *insn)
{
    uint8_t target = lift_read(l, insn, 0), raw = target;
    if (!lift_is_64(l)) {
        struct uop *u = lift_emit(l, UOP_ZEXT, WIDTH_64);
        u->dst = target = lift_temp(l);
        u->a = raw;
        u->sub = width_of(insn->operand_bytes);
    } else if (raw == VAR_RSP) { // which a CALL changes
        target = lift_temp(l);
        lift_op(l, UOP_MOV, WIDTH_64, target, VAR_ZERO, raw, false);
    }
    lift_check_target(l, target);
    return target;
}

void lift_jmp(struct lift *l, const struct insn *insn)
{
    if (insn->operand[0].kind == OPERAND_RELATIVE)
        lift_exit_relative(l, insn);
    else
        lift_exit_to(l, branch_target(l, insn));
}

void lift_call_near(struct lift *l, const struct insn *insn)
{
    uint8_t target = VAR_NONE;
    if (insn->operand[0].kind != OPERAND_RELATIVE)
        target = branch_target(l, insn);
    else if (!lift_chains(l, insn)) {
        target = lift_relative_target(l, insn);
        lift_check_target(l, target);
    }
    lift_push(l, lift_next_rip(l), stack_bytes(l, insn));
    if (target == VAR_NONE) {
        lift_emit(l, UOP_EXIT, mode_code_width(l->mode))->imm = lift_distance(l, insn);
        l->ended = true;
    } else
        lift_exit_to(l, target);
}

/// Returns go to many places, other indirect jumps more often to one.
static void exit_return(struct lift *l, uint8_t target)
{
    lift_exit_to(l, target);
    l->uops[l->uop_count - 1].sub = 1;
}

void lift_ret_near(struct lift *l, const struct insn *insn)
{
    unsigned bytes = stack_bytes(l, insn);
    uint8_t sp, value;
    if (lift_is_64(l)) {
        value = lift_load(l, lift_xlat(l, VAR_RSP, bytes, false, true), width_of(bytes));
        lift_check_target(l, value);
        move_sp(l, bytes + (insn->operand_count ? (int64_t)(insn->immediate & 0xffff) : 0));
        exit_return(l, value);
        return;
    }
    value = lift_pop(l, bytes, &sp);
    lift_check_target(l, value);
    if (insn->operand_count) {
        // The stack pointer that lift_pop made, moved by the immediate.
        struct uop *u = lift_emit(l, UOP_EA, lift_is_64(l) ? WIDTH_64 : l->mode & MODE_STACK32 ? WIDTH_32 : WIDTH_16);
        u->a = sp;
        u->imm = (int64_t)(insn->immediate & 0xffff);
        u->dst = sp = lift_temp(l);
    }
    lift_set_sp(l, sp);
    exit_return(l, value);
}

void lift_loop(struct lift *l, const struct insn *insn)
{
    unsigned kind = insn->row->argument;
    uint8_t address = width_of(insn->address_bytes), count = VAR_RCX, test = VAR_RCX, test_width = address;
    uint8_t target = VAR_NONE;
    struct uop *u;

    if (kind != 3) {
        u = lift_emit(l, UOP_EA, address);
        u->a = VAR_RCX;
        u->imm = -1;
        u->dst = test = count = lift_temp(l);
    }
    if (kind < 2) {
        uint8_t flag = lift_temp(l), both = lift_temp(l);
        u = lift_emit(l, UOP_SETCC, WIDTH_8);
        u->sub = kind == 1 ? 4 : 5;
        u->dst = flag;
        u = lift_emit(l, UOP_SELECT_Z, address);
        u->dst = both;
        u->a = flag;
        u->b = VAR_ZERO;
        u->c = count;
        test = both;
        test_width = WIDTH_8;
    }
    if (!lift_chains(l, insn)) {
        struct choice c = {.test = test, .test_width = test_width, .negate = kind != 3};
        target = chosen_target(l, insn, &c);
    }
    if (kind != 3)
        lift_op(l, UOP_MOV, address, VAR_RCX, VAR_ZERO, count, false);
    if (target != VAR_NONE) {
        lift_exit_to(l, target);
        return;
    }
    u = lift_emit(l, UOP_EXIT_IF_ZERO, mode_code_width(l->mode));
    u->a = test;
    u->c = test_width;
    u->aux = kind == 3 ? 0 : UOP_NEGATE;
    u->imm = lift_distance(l, insn);
    u->param = l->next_offset;
    l->ended = true;
}

/// imm of the helper: op | bytes << 4 | address width << 8 | source segment << 12 | REP << 16 | REPNE << 17.
void lift_string(struct lift *l, const struct insn *insn)
{
    unsigned bytes = insn->operand[0].bytes,
             segment = insn->segment_override >= 0 ? (unsigned)insn->segment_override : SEG_DS;
    uint64_t imm;
    uint8_t next;
    if (lift_is_64(l) && segment < SEG_FS)
        segment = SEG_DS;
    imm = insn->row->argument | bytes << 4 | (unsigned)width_of(insn->address_bytes) << 8 | segment << 12 |
          (unsigned)insn->rep << 16 | (unsigned)insn->repne << 17;
    if (!insn->rep && !insn->repne) {
        lift_call(l, HELPER_string, VAR_NONE, VAR_ZERO, VAR_ZERO, imm);
        return;
    }
    next = lift_temp(l);
    {
        uint8_t here = lift_this_rip(l), after = lift_next_rip(l);
        lift_call(l, HELPER_string, next, here, after, imm);
    }
    lift_exit_to(l, next);
}

void lift_bcd(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_bcd, VAR_NONE, VAR_ZERO, VAR_ZERO, insn->row->argument | (insn->immediate & 0xff) << 8);
}
