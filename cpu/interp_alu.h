// The rarer arithmetic uops, one function with width as data. For executors.
#ifndef DOPPEL_CPU_INTERP_ALU_H
#define DOPPEL_CPU_INTERP_ALU_H

#include <stdbool.h>

#include "cpu/cpu.h"
#include "cpu/uop.h"

/// Executes one uop that neither touches memory nor leaves the block. False: a fault (#DE) is pending.
bool alu_execute(struct cpu *cpu, const struct uop *u);

#endif
