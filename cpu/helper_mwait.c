// MONITOR and MWAIT (SDM vol. 2, vol. 3 sec. 9.10.3). A waiting vCPU sleeps like a halted one: the engine returns
// STOP_HALT. Stores to the monitored line are seen by comparing it with what it held at MONITOR, when the vCPU looks:
// before it sleeps and whenever it is polled. So a store of what was there already does not wake, which software that
// looks at the line again cannot tell.
#include <string.h>

#include "cpu/privileged.h"

/// IA32_MISC_ENABLE can switch both instructions off.
static bool is_enabled(const struct cpu *cpu)
{
    return cpu->misc_enable & MISC_ENABLE_MONITOR;
}

/// The monitored line, or NULL.
static const uint8_t *line(const struct cpu *cpu)
{
    const struct memory *memory = cpu->mmu.space->memory;
    if (!cpu->monitor_armed || !memory || memory->size < MONITOR_LINE_BYTES ||
        cpu->monitor_address > memory->size - MONITOR_LINE_BYTES)
        return NULL;
    return memory->host + (cpu->monitor_address & ~(MONITOR_LINE_BYTES - UINT64_C(1)));
}

static bool line_changed(const struct cpu *cpu)
{
    const uint8_t *now = line(cpu);
    for (unsigned i = 0; now && i < MONITOR_LINE_BYTES; i += 8) {
        uint64_t value = __atomic_load_n((const uint64_t *)(const void *)(now + i), __ATOMIC_RELAXED), before;
        memcpy(&before, cpu->monitor_line + i, 8);
        if (value != before)
            return true;
    }
    return !now;
}

/// a = linear address, b = 1: in SS.
uint64_t helper_monitor(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    if (!is_enabled(cpu))
        return cpu_raise(cpu, VECTOR_UD);
    if ((uint32_t)cpu->var[VAR_RCX]) // no extensions
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!mmu_access(&cpu->mmu, cpu->data_mode, MMU_READ, a, 1, &handle, &fault))
        return cpu_raise_mmu(cpu, &fault, imm);
    // Only memory can be monitored: MWAIT after anything else goes on at once.
    const struct memory *memory = cpu->mmu.space->memory;
    cpu->monitor_armed = memory && handle.piece[0].host;
    if (!cpu->monitor_armed)
        return 0;
    cpu->monitor_address = (uint64_t)((const uint8_t *)handle.piece[0].host - memory->host);
    cpu->monitor_address &= ~(MONITOR_LINE_BYTES - UINT64_C(1));
    const uint8_t *from = line(cpu);
    if (from)
        memcpy(cpu->monitor_line, from, MONITOR_LINE_BYTES);
    return 0;
}

/// EAX is a hint. ECX bit 0: an interrupt ends the wait even if it is masked.
uint64_t helper_mwait(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (!is_enabled(cpu))
        return cpu_raise(cpu, VECTOR_UD);
    if ((uint32_t)cpu->var[VAR_RCX] & ~1u)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (line_changed(cpu)) {
        cpu->monitor_armed = false;
    } else {
        cpu->mwait_breaks = cpu->var[VAR_RCX] & 1;
        cpu->activity = ACTIVITY_MWAIT;
        cpu->shadow = SHADOW_NONE; // of a STI just before: it is over
    }
    cpu_request_poll(cpu);
    return 0;
}

bool cpu_mwait_ends(const struct cpu *cpu)
{
    return line_changed(cpu) || (cpu->mwait_breaks && (atomic_load(&cpu->pending) & PENDING_INTR));
}
