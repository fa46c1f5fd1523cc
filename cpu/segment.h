// Segment checks for C code; the interpreter's SEG uop is the same function.
#ifndef DOPPEL_CPU_SEGMENT_H
#define DOPPEL_CPU_SEGMENT_H

#include "cpu/cpu.h"

/// Linear address of `bytes` at `offset` in segment 0..5 in the present mode (SDM vol. 3 sec. 5.3, vol. 1 sec. 3.3.7).
/// `offset` is cut to 32 bits outside 64-bit code. On a violation raises #GP(0) or #SS(0) and returns 0.
uint64_t cpu_segment_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned bytes, bool write);

/// Alignment that an access of `bytes` is checked for: its size, 8 for 80-bit numbers, at most 16 (SDM vol. 3 table
/// 6-7; for 16 bytes and more the manual leaves it open).
static inline unsigned cpu_alignment(unsigned bytes)
{
    return bytes >= 16 ? 16 : bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1;
}
/// #AC(0) when alignment checks are on and `linear` is no multiple of `align` (a power of two); false when raised. An
/// address that is not canonical is left to the access, which #GP or #SS comes from; page faults come later.
bool cpu_raise_alignment(struct cpu *cpu, uint64_t linear);
static inline bool cpu_check_alignment(struct cpu *cpu, uint64_t linear, unsigned align)
{
    if (LIKELY(!(cpu->mode & MODE_ALIGN) || !(linear & (align - 1))))
        return true;
    return cpu_raise_alignment(cpu, linear);
}

#endif
