// What happens between blocks, the same for every engine: pins, interrupt shadow, halt, single-step traps, faults.
#include "cpu/run.h"

#include <inttypes.h>

#include "cpu/fpu.h"

bool engine_poll(struct cpu *cpu, enum engine_stop *stop)
{
    uint32_t pending;
    int vector;

    atomic_store(&cpu->exit_request, 0);
    pending = atomic_load(&cpu->pending);
    if (pending & PENDING_RESET) {
        cpu_clear_pending(cpu, PENDING_RESET);
        *stop = STOP_RESET;
        return false;
    }
    if (pending & PENDING_STOP) {
        cpu_clear_pending(cpu, PENDING_STOP);
        *stop = STOP_REQUEST;
        atomic_store(&cpu->exit_request, 1);
        return false;
    }
    if (pending & PENDING_MAP)
        cpu_clear_pending(cpu, PENDING_MAP);
    mmu_poll(&cpu->mmu);
    if (cpu->activity == ACTIVITY_SHUTDOWN) {
        *stop = STOP_SHUTDOWN;
        return false;
    }
    if (cpu->shadow) {
        atomic_store(&cpu->exit_request, 1);
        return true;
    }
    if ((pending & PENDING_SMI) && !cpu->in_smm) {
        cpu_clear_pending(cpu, PENDING_SMI);
        cpu->activity = ACTIVITY_RUN;
        cpu_enter_smm(cpu);
        cpu->instructions++;
    } else if ((pending & PENDING_INIT) && !cpu->in_smm) {
        cpu_clear_pending(cpu, PENDING_INIT);
        cpu_reset(cpu, true);
    } else if ((pending & PENDING_NMI) && !cpu->nmi_blocked) {
        cpu_clear_pending(cpu, PENDING_NMI);
        cpu->activity = ACTIVITY_RUN;
        cpu->stat_interrupts++;
        cpu_deliver_interrupt(cpu, VECTOR_NMI);
        cpu->instructions++;
    } else if ((pending & PENDING_INTR) && (cpu->var[VAR_FLAGS] & FLAG_IF)) {
        vector = cpu->outside.acknowledge ? cpu->outside.acknowledge(cpu->outside.opaque) : -1;
        if (vector >= 0) {
            log_print(cpu->log, LOG_INT, "interrupt %02x at %016" PRIx64 "\n", (unsigned)vector, cpu->var[VAR_RIP]);
            cpu->activity = ACTIVITY_RUN;
            cpu->stat_interrupts++;
            cpu_deliver_interrupt(cpu, (uint8_t)vector);
            cpu->instructions++;
        }
    }
    if (atomic_load(&cpu->pending))
        atomic_store(&cpu->exit_request, 1);
    if (cpu->activity == ACTIVITY_HALT) {
        *stop = STOP_HALT;
        return false;
    }
    return true;
}

/// #MF while CR0.NE is clear: the instruction waits for an interrupt.
static bool is_external_mf(const struct cpu *cpu)
{
    return cpu->fault.vector == VECTOR_MF && !cpu->fault.software && !(cpu->cr0 & CR0_NE);
}

void run_deliver_fault(struct cpu *cpu)
{
    log_print(cpu->log, LOG_INT, "exception %02x error %x at %016" PRIx64 " cr2 %016" PRIx64 "\n", cpu->fault.vector,
              cpu->fault.error_code, cpu->var[VAR_RIP], cpu->cr2);
    cpu->stat_faults++;
    cpu->shadow = 0;
    if (UNLIKELY(is_external_mf(cpu)))
        x87_wait_for_handler(cpu);
    else
        cpu_deliver_fault(cpu);
    cpu->fault.pending = false;
    // A delivery counts as an instruction, so that a guest that does nothing but fault still moves time.
    cpu->instructions++;
    atomic_store(&cpu->exit_request, 1);
}

void run_single_step_trap(struct cpu *cpu)
{
    cpu->dr[6] |= BIT(14); // BS
    cpu_raise(cpu, VECTOR_DB);
    run_deliver_fault(cpu);
}

static void log_block_entry(const struct cpu *cpu, const struct block *block)
{
    if (log_on_at(cpu->log, LOG_EXEC, cpu->var[VAR_RIP]))
        log_print(cpu->log, LOG_EXEC, "%" PRIu64 " %016" PRIx64 " mode %x, %u instructions\n", cpu->instructions,
                  cpu->var[VAR_RIP], block->mode, block->insn_count);
}

enum engine_stop run_loop(struct cpu *cpu, run_block *execute, void *state)
{
    enum engine_stop stop;
    for (;;) {
        uint32_t extra = 0, mode;
        struct block *block;

        if (cpu->instructions >= cpu->instruction_limit)
            return STOP_DEADLINE;
        if (UNLIKELY(atomic_load_explicit(&cpu->exit_request, memory_order_relaxed) | cpu->shadow) ||
            UNLIKELY(cpu->activity != ACTIVITY_RUN)) {
            if (!engine_poll(cpu, &stop))
                return stop;
            if (cpu->shadow) {
                cpu->shadow = 0;
                extra = MODE_ONE;
            }
            if (cpu->instructions >= cpu->instruction_limit)
                continue;
        }
        block = block_find(cpu, extra);
        if (block && UNLIKELY(cpu->instructions + block->insn_count > cpu->instruction_limit))
            block = block_find(cpu, MODE_ONE);
        if (block) {
            mode = cpu->mode;
            log_block_entry(cpu, block);
            cpu->trap_cancelled = false;
            execute(state, cpu, block);
            if (UNLIKELY(mode & MODE_TF) && !cpu->fault.pending && !cpu->trap_cancelled &&
                cpu->shadow != SHADOW_MOV_SS && cpu->activity != ACTIVITY_SHUTDOWN)
                run_single_step_trap(cpu);
        }
        if (UNLIKELY(cpu->fault.pending))
            run_deliver_fault(cpu);
    }
}
