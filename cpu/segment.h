// Segment checks for C code; the interpreter's SEG uop is the same function.
#ifndef DOPPEL_CPU_SEGMENT_H
#define DOPPEL_CPU_SEGMENT_H

#include "cpu/cpu.h"

/// Linear address of `bytes` at `offset` in segment 0..5 in the present mode (SDM vol. 3 sec. 5.3, vol. 1 sec. 3.3.7).
/// `offset` is cut to 32 bits outside 64-bit code. On a violation raises #GP(0) or #SS(0) and returns 0.
uint64_t cpu_segment_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned bytes, bool write);

#endif
