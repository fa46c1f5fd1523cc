// The loop around blocks that engines share.
#ifndef DOPPEL_CPU_RUN_H
#define DOPPEL_CPU_RUN_H

#include "cpu/block.h"
#include "cpu/engine.h"

/// Executes one block (or a chain of them); a fault stays in cpu->fault with VAR_RIP at the faulting instruction.
typedef void run_block(void *state, struct cpu *cpu, struct block *block);

/// Whether there may be something to do before the next instruction. The shadow of STI stays behind in runs that are
/// not counted: it matters to what comes only, and that comes with exit_request.
static inline bool run_boundary_is_due(const struct cpu *cpu)
{
    return atomic_load_explicit(&cpu->exit_request, memory_order_relaxed) || cpu->activity != ACTIVITY_RUN ||
           (cpu->shadow && (cpu->counting || cpu->shadow != SHADOW_STI));
}

/// Runs until something stops the vCPU: the body of engine->run.
enum engine_stop run_loop(struct cpu *cpu, run_block *execute, void *state);
/// Delivers cpu->fault.
void run_deliver_fault(struct cpu *cpu);

#endif
