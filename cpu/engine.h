// The one interface to execute a vCPU. I/O and MMIO are no exits: engines call the address spaces.
#ifndef DOPPEL_CPU_ENGINE_H
#define DOPPEL_CPU_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cpu/cpu.h"

enum engine_stop {
    STOP_HALT,     // HLT with nothing pending: wait for a pin (or skip time, counting mode)
    STOP_SHUTDOWN, // triple fault
    STOP_DEBUG,    // a debugger's breakpoint (later)
    STOP_DEADLINE, // cpu->instructions reached cpu->instruction_limit exactly
    STOP_REQUEST,  // PENDING_STOP was set (and is cleared now)
    STOP_RESET,    // PENDING_RESET was set
};

struct engine {
    const char *name; // "interp", "jit", "kvm"
    const char *description;
    /// Private state for this vCPU; NULL and `error` when the host cannot.
    void *(*create)(struct cpu *cpu, struct error *error);
    void (*destroy)(void *state);
    /// Runs the vCPU from its present state, always returning at an instruction boundary. Takes interrupts, delivers
    /// faults. Other threads end it by cpu_set_pending.
    enum engine_stop (*run)(void *state, struct cpu *cpu);
};

extern const struct engine engine_interp; // cpu/interp.c
/// cpu/run.c, shared by engines: acts on pending pins, shadows, halts and traps at an instruction boundary. True: go on
/// executing; false: return *stop.
bool engine_poll(struct cpu *cpu, enum engine_stop *stop);

#endif
