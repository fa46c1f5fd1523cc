// What the integer lifts share beyond lift.h.
#ifndef DOPPEL_CPU_LIFT_COMMON_H
#define DOPPEL_CPU_LIFT_COMMON_H

#include "cpu/lift.h"

/// A general register that uops can name: not AH CH DH BH, not memory.
static inline bool lift_plain_register(const struct operand *operand)
{
    return operand->kind == OPERAND_GPR && !operand->high;
}

/// Operand n as the second operand of a uop: a variable, or VAR_IMM with *imm.
static inline uint8_t lift_source(struct lift *l, const struct insn *insn, unsigned n, int64_t *imm)
{
    *imm = 0;
    if (insn->operand[n].kind != OPERAND_IMMEDIATE)
        return lift_read(l, insn, n);
    *imm = (int64_t)insn->immediate;
    return VAR_IMM;
}

/// Memory operand n straight into a general register, whose upper bits become zero: for moves that do that.
static inline void lift_load_register(struct lift *l, uint8_t reg, uint8_t handle, uint8_t width)
{
    struct uop *u = lift_emit(l, UOP_LOAD, width);
    u->dst = reg;
    u->a = handle;
}

/// Handle of memory operand n.
static inline uint8_t lift_memory(struct lift *l, const struct insn *insn, unsigned n, bool write)
{
    unsigned bytes = insn->operand[n].bytes;
    return lift_xlat(l, lift_linear(l, insn, bytes, write, 0), bytes, write, insn->segment == SEG_SS);
}

#endif
