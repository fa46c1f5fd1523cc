// The lifter's tools: uops for addresses, operands, stacks and exits. Chapters' lift functions use them.
#include "cpu/lift.h"

struct uop *lift_emit(struct lift *l, enum uop_op op, uint8_t width)
{
    // lift_block stops long before the end; one instruction never needs what is left.
    unsigned at = l->uop_count < LIFT_MAX_UOPS ? l->uop_count++ : LIFT_MAX_UOPS - 1;
    struct uop *u = &l->uops[at];
    *u = (struct uop){.op = (uint8_t)op,
                      .width = width,
                      .dst = VAR_NONE,
                      .a = VAR_ZERO,
                      .b = VAR_ZERO,
                      .c = VAR_ZERO,
                      .insn = (uint8_t)l->insn_count};
    return u;
}

uint8_t lift_temp(struct lift *l)
{
    return (uint8_t)(l->next_temp < VAR_ANCHOR - 1 ? l->next_temp++ : VAR_ANCHOR - 1);
}

void lift_op(struct lift *l, enum uop_op op, uint8_t width, uint8_t dst, uint8_t a, uint8_t b, bool flags)
{
    struct uop *u = lift_emit(l, op, width);
    u->dst = dst;
    u->a = a;
    u->b = b;
    u->aux = flags ? UOP_SETS_FLAGS : 0;
}

void lift_op_imm(struct lift *l, enum uop_op op, uint8_t width, uint8_t dst, uint8_t a, int64_t imm, bool flags)
{
    lift_op(l, op, width, dst, a, VAR_IMM, flags);
    l->uops[l->uop_count - 1].imm = imm;
}

uint8_t lift_const(struct lift *l, uint64_t value)
{
    uint8_t t = lift_temp(l);
    if (value == 0)
        return VAR_ZERO;
    lift_op_imm(l, UOP_MOV, WIDTH_64, t, VAR_ZERO, (int64_t)value, false);
    return t;
}

static uint8_t add(struct lift *l, uint8_t width, uint8_t a, uint8_t b, uint8_t scale, int64_t imm)
{
    struct uop *u = lift_emit(l, UOP_EA, width);
    u->a = a;
    u->b = b;
    u->sub = scale;
    u->imm = imm;
    return u->dst = lift_temp(l);
}

static uint8_t stack_width(const struct lift *l)
{
    if (lift_is_64(l))
        return WIDTH_64;
    return l->mode & MODE_STACK32 ? WIDTH_32 : WIDTH_16;
}

/// Offset of the memory operand plus `extra`, cut to the address size.
static uint8_t effective(struct lift *l, const struct insn *insn, int64_t extra)
{
    uint8_t width = width_of(insn->address_bytes);
    uint8_t base = insn->base >= 0 ? (uint8_t)insn->base : insn->base == -2 ? VAR_RIP : VAR_ZERO;
    uint8_t index = insn->index >= 0 ? (uint8_t)insn->index : VAR_ZERO;
    int64_t displacement = insn->displacement + extra;

    if (insn->base == -2)
        displacement += l->next_offset;
    if (width == WIDTH_64 && index == VAR_ZERO && displacement == 0)
        return base;
    return add(l, width, base, index, insn->scale, displacement);
}

uint8_t lift_effective(struct lift *l, const struct insn *insn)
{
    return effective(l, insn, 0);
}

uint8_t lift_segment(struct lift *l, unsigned segment, uint8_t offset, unsigned bytes, bool write)
{
    struct uop *u;
    if (lift_is_64(l)) {
        if (segment != SEG_FS && segment != SEG_GS)
            return offset;
        return add(l, WIDTH_64, (uint8_t)(VAR_ES_BASE + segment), offset, 0, 0);
    }
    if ((l->mode & MODE_FLAT) && segment != SEG_FS && segment != SEG_GS && !(segment == SEG_CS))
        return offset;
    u = lift_emit(l, UOP_SEG, WIDTH_32);
    u->a = offset;
    u->sub = (uint8_t)segment;
    u->param = bytes ? bytes : 1;
    u->aux = write ? UOP_WRITE : 0;
    return u->dst = lift_temp(l);
}

uint8_t lift_linear(struct lift *l, const struct insn *insn, unsigned bytes, bool write, int64_t extra)
{
    return lift_segment(l, insn->segment, effective(l, insn, extra), bytes, write);
}

uint8_t lift_xlat(struct lift *l, uint8_t linear, unsigned bytes, bool write, bool stack)
{
    struct uop *u = lift_emit(l, UOP_XLAT, WIDTH_8);
    u->a = linear;
    u->param = bytes;
    u->aux = (uint8_t)((write ? UOP_WRITE : 0) | (stack ? UOP_STACK : 0));
    return u->dst = lift_temp(l);
}

uint8_t lift_load(struct lift *l, uint8_t handle, uint8_t width)
{
    struct uop *u = lift_emit(l, UOP_LOAD, width);
    u->a = handle;
    return u->dst = lift_temp(l);
}

void lift_store(struct lift *l, uint8_t handle, uint8_t value, uint8_t width)
{
    struct uop *u = lift_emit(l, UOP_STORE, width);
    u->a = handle;
    u->b = value;
}

static uint8_t memory_handle(struct lift *l, const struct insn *insn, unsigned n, bool write)
{
    unsigned bytes = insn->operand[n].bytes;
    return lift_xlat(l, lift_linear(l, insn, bytes, write, 0), bytes, write, insn->segment == SEG_SS);
}

static bool is_memory(const struct insn *insn, unsigned n)
{
    return insn->operand[n].kind == OPERAND_MEMORY || insn->operand[n].kind == OPERAND_OFFSET;
}

uint8_t lift_read(struct lift *l, const struct insn *insn, unsigned n)
{
    const struct operand *o = &insn->operand[n];
    uint8_t t;
    if (is_memory(insn, n))
        return lift_load(l, memory_handle(l, insn, n, false), width_of(o->bytes));
    if (o->kind == OPERAND_IMMEDIATE)
        return lift_const(l, insn->immediate);
    if (!o->high)
        return o->reg;
    t = lift_temp(l);
    lift_op(l, UOP_GET_HIGH, WIDTH_8, t, o->reg, VAR_ZERO, false);
    return t;
}

void lift_write(struct lift *l, const struct insn *insn, unsigned n, uint8_t value)
{
    lift_rmw_end(l, insn, n, is_memory(insn, n) ? memory_handle(l, insn, n, true) : VAR_NONE, value);
}

uint8_t lift_rmw(struct lift *l, const struct insn *insn, unsigned n, uint8_t *handle)
{
    *handle = VAR_NONE;
    if (!is_memory(insn, n))
        return lift_read(l, insn, n);
    *handle = memory_handle(l, insn, n, true);
    return lift_load(l, *handle, width_of(insn->operand[n].bytes));
}

void lift_rmw_end(struct lift *l, const struct insn *insn, unsigned n, uint8_t handle, uint8_t value)
{
    const struct operand *o = &insn->operand[n];
    uint8_t width = width_of(o->bytes);
    if (handle != VAR_NONE)
        lift_store(l, handle, value, width);
    else if (o->high)
        lift_op(l, UOP_SET_HIGH, WIDTH_8, o->reg, value, VAR_ZERO, false);
    else
        lift_op(l, UOP_MOV, width, o->reg, VAR_ZERO, value, false);
}

void lift_call(struct lift *l, enum helper helper, uint8_t dst, uint8_t a, uint8_t b, uint64_t imm)
{
    struct uop *u = lift_emit(l, UOP_CALL, WIDTH_64);
    l->has_call = true;
    u->dst = dst;
    u->a = a;
    u->b = b;
    u->imm = (int64_t)imm;
    u->param = helper;
}

void lift_row(struct lift *l, const struct insn *insn, uint8_t dst, uint8_t vreg_a, uint8_t vreg_b, uint8_t c,
              uint64_t imm)
{
    struct uop *u = lift_emit(l, UOP_ROW, WIDTH_64);
    u->dst = dst;
    u->a = vreg_a;
    u->b = vreg_b;
    u->c = c;
    u->imm = (int64_t)imm;
    u->param = row_number(insn->row);
}

void lift_raise(struct lift *l, uint8_t vector)
{
    lift_emit(l, UOP_RAISE, WIDTH_8)->imm = vector;
    l->ended = true;
}

void lift_raise_error(struct lift *l, uint8_t vector, uint32_t error_code)
{
    struct uop *u = lift_emit(l, UOP_RAISE, WIDTH_8);
    u->imm = vector;
    u->aux = UOP_ERROR_CODE;
    u->param = error_code;
    l->ended = true;
}

uint8_t lift_this_rip(struct lift *l)
{
    return add(l, mode_code_width(l->mode), VAR_RIP, VAR_ZERO, 0, l->offset);
}

uint8_t lift_next_rip(struct lift *l)
{
    return add(l, mode_code_width(l->mode), VAR_RIP, VAR_ZERO, 0, l->next_offset);
}

void lift_exit_next(struct lift *l)
{
    lift_emit(l, UOP_EXIT, mode_code_width(l->mode))->imm = l->next_offset;
    l->ended = true;
}

void lift_exit_to(struct lift *l, uint8_t target)
{
    lift_emit(l, UOP_EXIT_TO, WIDTH_64)->a = target;
    l->ended = true;
}

void lift_check_target(struct lift *l, uint8_t target)
{
    if (lift_is_64(l) || !(l->mode & MODE_FLAT))
        lift_emit(l, UOP_CHECK_TARGET, WIDTH_64)->a = target;
}

int64_t lift_distance(const struct lift *l, const struct insn *insn)
{
    int64_t distance = l->next_offset + (int64_t)insn->immediate;
    if (lift_is_64(l) || (l->mode & MODE_FLAT))
        return distance;
    return (int64_t)((l->rip + (uint64_t)distance) & bits_mask(8 * insn->operand_bytes)) - (int64_t)l->rip;
}

static uint32_t code_limit(uint32_t mode)
{
    return mode & MODE_LIMIT_64K ? 0xffff : UINT32_MAX;
}

bool lift_chains(struct lift *l, const struct insn *insn)
{
    if (!lift_is_64(l) && !(l->mode & MODE_FLAT))
        return mode_links(l->mode) && l->rip + (uint64_t)lift_distance(l, insn) <= code_limit(l->mode);
    if (!lift_is_64(l))
        return insn->operand_bytes == 4;
    if (l->linear_bits) {
        uint64_t target = l->rip + (uint64_t)(l->branch = l->next_offset + (int64_t)insn->immediate);
        l->branch_faults = (uint64_t)bits_sign_extend(target, l->linear_bits) != target;
    }
    return !l->branch_faults;
}

uint8_t lift_relative_target(struct lift *l, const struct insn *insn)
{
    uint8_t width = lift_is_64(l) ? WIDTH_64 : width_of(insn->operand_bytes);
    return add(l, width, VAR_RIP, VAR_ZERO, 0, l->next_offset + (int64_t)insn->immediate);
}

void lift_exit_relative(struct lift *l, const struct insn *insn)
{
    uint8_t target;
    if (lift_chains(l, insn)) {
        lift_emit(l, UOP_EXIT, mode_code_width(l->mode))->imm = lift_distance(l, insn);
        l->ended = true;
        return;
    }
    target = lift_relative_target(l, insn);
    lift_check_target(l, target);
    lift_exit_to(l, target);
}

void lift_set_sp(struct lift *l, uint8_t new_sp)
{
    lift_op(l, UOP_MOV, stack_width(l), VAR_RSP, VAR_ZERO, new_sp, false);
}

void lift_push(struct lift *l, uint8_t value, unsigned bytes)
{
    uint8_t sp = add(l, stack_width(l), VAR_RSP, VAR_ZERO, 0, -(int64_t)bytes);
    uint8_t linear = lift_segment(l, SEG_SS, sp, bytes, true);
    lift_store(l, lift_xlat(l, linear, bytes, true, true), value, width_of(bytes));
    lift_set_sp(l, sp);
}

uint8_t lift_pop(struct lift *l, unsigned bytes, uint8_t *new_sp)
{
    uint8_t sp = stack_width(l) == WIDTH_64 ? VAR_RSP : add(l, stack_width(l), VAR_RSP, VAR_ZERO, 0, 0);
    uint8_t linear = lift_segment(l, SEG_SS, sp, bytes, false);
    uint8_t value = lift_load(l, lift_xlat(l, linear, bytes, false, true), width_of(bytes));
    *new_sp = add(l, stack_width(l), VAR_RSP, VAR_ZERO, 0, bytes);
    return value;
}
