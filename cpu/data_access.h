// How C helpers reach guest data: alignment checks, faults, and the machine lock around devices.
#ifndef DOPPEL_CPU_DATA_ACCESS_H
#define DOPPEL_CPU_DATA_ACCESS_H

#include "cpu/segment.h"

/// Checks an access of the running code and describes where it goes. False: a fault was raised; `stack` makes it #SS
/// where the address is not canonical.
static inline bool data_access(struct cpu *cpu, uint64_t linear, unsigned bytes, bool write, struct mmu_handle *handle,
                               bool stack)
{
    struct mmu_fault fault;
    if (!cpu_check_alignment(cpu, linear, cpu_alignment(bytes)))
        return false;
    if (mmu_access_cached(&cpu->mmu, cpu->data_mode, write ? MMU_WRITE : MMU_READ, linear, bytes, handle, &fault))
        return true;
    cpu_raise_mmu(cpu, &fault, stack);
    return false;
}

static inline bool data_is_device(const struct mmu_handle *handle)
{
    return !handle->piece[0].host || (handle->crosses && !handle->piece[1].host);
}

/// 1, 2, 4 or 8 bytes.
static inline uint64_t data_load(struct cpu *cpu, const struct mmu_handle *handle)
{
    bool device = data_is_device(handle);
    uint64_t value;
    if (device && cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
    value = mmu_handle_load(&cpu->mmu, handle);
    if (device && cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
    return value;
}

static inline void data_store(struct cpu *cpu, const struct mmu_handle *handle, uint64_t value)
{
    bool device = data_is_device(handle);
    if (device && cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
    mmu_handle_store(&cpu->mmu, handle, value);
    if (device && cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
}

#endif
