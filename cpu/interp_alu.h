// The rarer arithmetic uops, one function with width as data. For executors.
#ifndef DOPPEL_CPU_INTERP_ALU_H
#define DOPPEL_CPU_INTERP_ALU_H

#include <stdbool.h>

#include "cpu/cpu.h"
#include "cpu/uop.h"

/// Executes one uop that neither touches memory nor leaves the block. False: a fault (#DE) is pending.
bool alu_execute(struct cpu *cpu, const struct uop *u);

/// All of such a uop but its `imm`, for alu_execute_word, which does the same.
static inline uint64_t alu_word(const struct uop *u)
{
    return u->op | (uint64_t)u->width << 8 | (uint64_t)u->dst << 16 | (uint64_t)u->a << 24 | (uint64_t)u->b << 32 |
           (uint64_t)u->c << 40 | (uint64_t)u->sub << 48 | (uint64_t)u->aux << 56;
}
bool alu_execute_word(struct cpu *cpu, uint64_t word, uint64_t imm);

#endif
