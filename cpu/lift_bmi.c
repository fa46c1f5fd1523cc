// Lifts of BMI1 and BMI2 (rows_bmi.c).
#include "cpu/lift.h"
#include "cpu/lift_common.h"

void lift_andn(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), source = lift_read(l, insn, 2), inverse = lift_temp(l);
    lift_op(l, UOP_NOT, width, inverse, insn->operand[1].reg, VAR_ZERO, false);
    lift_op(l, UOP_AND, width, insn->operand[0].reg, inverse, source, true);
}

void lift_lowest_bit(struct lift *l, const struct insn *insn)
{
    uint8_t source = lift_read(l, insn, 1);
    lift_op(l, (enum uop_op)insn->row->argument, width_of(insn->operand[0].bytes), insn->operand[0].reg, source,
            VAR_ZERO, true);
}

void lift_bit_field(struct lift *l, const struct insn *insn)
{
    uint8_t first = lift_read(l, insn, 1), second = lift_read(l, insn, 2);
    lift_op(l, (enum uop_op)insn->row->argument, width_of(insn->operand[0].bytes), insn->operand[0].reg, first, second,
            insn->row->flags_written != 0);
}

void lift_shiftx(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), source = lift_read(l, insn, 1), count;
    int64_t imm;
    count = lift_source(l, insn, 2, &imm);
    lift_op(l, (enum uop_op)insn->row->argument, width, insn->operand[0].reg, source, count, false);
    l->uops[l->uop_count - 1].imm = imm & (width == WIDTH_64 ? 63 : 31);
}

/// With one register for both halves it is the high one that stays.
void lift_mulx(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), source = lift_read(l, insn, 2);
    uint8_t low = lift_temp(l), high = lift_temp(l);
    lift_op(l, UOP_MUL, width, low, VAR_RDX, source, false);
    l->uops[l->uop_count - 1].c = high;
    lift_op(l, UOP_MOV, width, insn->operand[1].reg, VAR_ZERO, low, false);
    lift_op(l, UOP_MOV, width, insn->operand[0].reg, VAR_ZERO, high, false);
}
