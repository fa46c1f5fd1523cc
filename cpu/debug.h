// Debug registers and the traps that come between instructions (SDM vol. 3 ch. 17): breakpoints of DR0..DR3,
// single-step.
#ifndef DOPPEL_CPU_DEBUG_H
#define DOPPEL_CPU_DEBUG_H

#include "cpu/cpu.h"

struct block;

// Bits of DR6, and of cpu->debug_traps.
#define DR6_BREAKPOINTS UINT32_C(0xf)
#define DR6_BD BIT(13) // access to a debug register with DR7.GD
#define DR6_BS BIT(14) // single-step
#define DR6_BT BIT(15) // task switch to a TSS with T
#define DR6_KNOWN UINT64_C(0xe00f)
#define DR6_ONES UINT64_C(0xffff0ff0)
#define DR7_GD BIT(13)
#define DR7_KNOWN UINT64_C(0xffff27ff)
#define DR7_ONES UINT64_C(0x400)

#define DEBUGCTL_LBR BIT(0)
#define DEBUGCTL_BTF BIT(1)

/// Derives what is watched from DR0..DR3 and DR7: after any change of them.
void debug_update(struct cpu *cpu);
/// Adds traps, bits of DR6: they are delivered at the next instruction boundary that MOV SS does not hold off.
void debug_trap(struct cpu *cpu, uint64_t bits);
/// Delivers cpu->debug_traps.
void debug_deliver(struct cpu *cpu);
/// Raises #DB with a bit of DR6 for a fault.
void debug_fault(struct cpu *cpu, uint64_t bits);

/// Before an instruction, when cpu->code_breakpoints: false: #DB is raised. `resume`: RF or MOV SS lets it pass. Adds
/// to *extra_mode what makes the block of one instruction where breakpoints lie in its page.
bool debug_before(struct cpu *cpu, bool resume, uint32_t *extra_mode);
/// Whether the instruction at RIP is one that branches: for DEBUGCTL.BTF, which wants to know it before it runs.
bool debug_may_branch(struct cpu *cpu, uint64_t *next_rip);
/// A port access of `bytes`: I/O breakpoints (CR4.DE).
void debug_port(struct cpu *cpu, uint16_t port, unsigned bytes);
/// struct mmu's `watched`; opaque is the cpu.
bool debug_watched(void *opaque, enum mmu_access kind, uint64_t linear, unsigned size);

#endif
