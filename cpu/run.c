// What happens between blocks, the same for every engine: pins, interrupt shadow, halt, single-step traps, faults.
#include "cpu/run.h"

#include <inttypes.h>

#include "cpu/debug.h"
#include "cpu/fpu.h"
#include "cpu/privileged.h"

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
        cpu->monitor_armed = false;
        cpu_enter_smm(cpu);
        cpu->instructions++;
    } else if ((pending & PENDING_INIT) && !cpu->in_smm) {
        cpu_clear_pending(cpu, PENDING_INIT);
        cpu_reset(cpu, true);
    } else if ((pending & PENDING_NMI) && !cpu->nmi_blocked) {
        cpu_clear_pending(cpu, PENDING_NMI);
        cpu->activity = ACTIVITY_RUN;
        cpu->monitor_armed = false;
        cpu->stat_interrupts++;
        cpu_deliver_interrupt(cpu, VECTOR_NMI);
        cpu->instructions++;
    } else if ((pending & PENDING_INTR) && (cpu->var[VAR_FLAGS] & FLAG_IF)) {
        vector = cpu->outside.acknowledge ? cpu->outside.acknowledge(cpu->outside.opaque) : -1;
        if (vector >= 0) {
            log_print(cpu->log, LOG_INT, "interrupt %02x at %016" PRIx64 "\n", (unsigned)vector, cpu->var[VAR_RIP]);
            cpu->activity = ACTIVITY_RUN;
            cpu->monitor_armed = false;
            cpu->stat_interrupts++;
            cpu_deliver_interrupt(cpu, (uint8_t)vector);
            cpu->instructions++;
        }
    }
    if (atomic_load(&cpu->pending))
        atomic_store(&cpu->exit_request, 1);
    if (cpu->activity == ACTIVITY_SHUTDOWN) { // the delivery failed; no instruction follows
        *stop = STOP_SHUTDOWN;
        return false;
    }
    if (cpu->activity == ACTIVITY_MWAIT && cpu_mwait_ends(cpu)) {
        cpu->activity = ACTIVITY_RUN;
        cpu->monitor_armed = false;
    }
    if (cpu->activity == ACTIVITY_HALT || cpu->activity == ACTIVITY_MWAIT) {
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
    if (UNLIKELY(log_on(cpu->log, LOG_INT)))
        log_print(cpu->log, LOG_INT, "exception %02x error %x at %016" PRIx64 " cr2 %016" PRIx64 "\n",
                  cpu->fault.vector, cpu->fault.error_code, cpu->var[VAR_RIP], cpu->cr2);
    cpu->stat_faults++;
    cpu->monitor_armed = false;
    cpu->shadow = 0;
    if (UNLIKELY(is_external_mf(cpu)))
        x87_wait_for_handler(cpu);
    else
        cpu_deliver_fault(cpu);
    cpu->fault.pending = false;
    // A delivery counts as an instruction, so that a guest that does nothing but fault still moves time.
    cpu->instructions++;
    if (cpu->debug_traps || cpu->activity != ACTIVITY_RUN || (cpu->var[VAR_FLAGS] & (FLAG_RF | FLAG_TF)) ||
        atomic_load_explicit(&cpu->pending, memory_order_relaxed))
        atomic_store(&cpu->exit_request, 1);
}

static void log_block_entry(const struct cpu *cpu, const struct block *block)
{
    if (log_on_at(cpu->log, LOG_EXEC, cpu->var[VAR_RIP]))
        log_print(cpu->log, LOG_EXEC, "%" PRIu64 " %016" PRIx64 " mode %x, %u instructions\n", cpu->instructions,
                  cpu->var[VAR_RIP], block->mode, block->insn_count);
}

/// What a boundary between two instructions says about the next one.
struct boundary {
    uint32_t extra_mode;
    uint32_t held; // traps that MOV SS holds off until after the next instruction
    bool resume;   // code breakpoints do not hit
};

static bool trap_is_due(const struct cpu *cpu)
{
    return cpu->debug_traps && cpu->shadow != SHADOW_MOV_SS && cpu->activity != ACTIVITY_SHUTDOWN;
}

/// What stands between two instructions, by priority (SDM vol. 3 table 6-2): traps of the last one, pins. *again: the
/// next instruction does not begin yet. False: *stop says why.
static bool pass_boundary(struct cpu *cpu, struct boundary *b, bool *again, enum engine_stop *stop)
{
    bool hold;

    *again = true;
    // A guest can make the delivery of a trap cause the next one for ever: what ends a run is heard all the same.
    if (!trap_is_due(cpu) || (atomic_load(&cpu->pending) & (PENDING_RESET | PENDING_STOP | PENDING_INIT))) {
        if (!engine_poll(cpu, stop))
            return false;
        if (cpu->instructions >= cpu->instruction_limit) {
            cpu_request_poll(cpu); // RF and the like are still to be looked at
            return true;
        }
    }
    if (trap_is_due(cpu)) { // of the last instruction, or of what was delivered now
        debug_deliver(cpu);
        return true;
    }
    *again = false;
    hold = cpu->shadow == SHADOW_MOV_SS;
    b->held = cpu->debug_traps;
    if (cpu->shadow) {
        cpu->shadow = 0;
        b->extra_mode = MODE_ONE;
    }
    // AMD's processors let MOV SS hold off traps only.
    b->resume = (hold && !cpu_is_amd(cpu)) || (cpu->var[VAR_FLAGS] & FLAG_RF);
    cpu->var[VAR_FLAGS] &= ~FLAG_RF; // lasts for one instruction, which begins now
    return true;
}

/// Whether the instruction that ran with TF ends with a single-step trap.
static bool steps(const struct cpu *cpu, bool may_branch, uint64_t next_rip)
{
    if (cpu->fault.pending || cpu->trap_cancelled || cpu->shadow == SHADOW_MOV_SS || cpu->activity == ACTIVITY_SHUTDOWN)
        return false;
    return !(cpu->debugctl & DEBUGCTL_BTF) || (may_branch && cpu->var[VAR_RIP] != next_rip);
}

/// One instruction with TF set at its start.
static void single_step(struct cpu *cpu, struct block *block, run_block *execute, void *state)
{
    uint64_t next_rip = 0;
    bool may_branch = (cpu->debugctl & DEBUGCTL_BTF) && debug_may_branch(cpu, &next_rip);
    execute(state, cpu, block);
    if (steps(cpu, may_branch, next_rip))
        debug_trap(cpu, DR6_BS);
}

enum engine_stop run_loop(struct cpu *cpu, run_block *execute, void *state)
{
    enum engine_stop stop;
    for (;;) {
        struct boundary b = {0};
        struct block *block = NULL;
        bool again;

        if (cpu->instructions >= cpu->instruction_limit)
            return STOP_DEADLINE;
        if (UNLIKELY(run_boundary_is_due(cpu))) {
            if (!pass_boundary(cpu, &b, &again, &stop))
                return stop;
            if (again)
                continue;
        }
        if (LIKELY(!cpu->code_breakpoints) || debug_before(cpu, b.resume, &b.extra_mode))
            block = block_find(cpu, b.extra_mode);
        if (block && UNLIKELY(cpu->instructions + block->insn_count > cpu->instruction_limit))
            block = block_find(cpu, b.extra_mode | MODE_ONE);
        if (block) {
            log_block_entry(cpu, block);
            cpu->trap_cancelled = false;
            if (UNLIKELY(cpu->mode & MODE_TF))
                single_step(cpu, block, execute, state);
            else
                execute(state, cpu, block);
        }
        if (UNLIKELY(cpu->fault.pending)) {
            cpu->debug_traps = b.held; // those of an instruction that was not completed are lost
            run_deliver_fault(cpu);
        }
    }
}
