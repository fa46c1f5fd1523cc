// The XSAVE feature set (SDM vol. 1 ch. 13): what CPUID reports of it, and how lifts tell its helpers what to do.
#ifndef DOPPEL_CPU_XSAVE_H
#define DOPPEL_CPU_XSAVE_H

#include "cpu/cpu.h"
#include "cpu/model.h"

#define XSAVE_LEGACY_AND_HEADER 576u // bytes
#define XSAVE_AVX_BYTES 256u         // of component 2, the upper halves of YMM registers; right behind the header

/// imm of the helpers xsave and xrstor.
#define XSAVE_WIDE 0x01u      // REX.W: 64-bit FIP and FDP
#define XSAVE_STACK 0x02u     // the operand is in SS
#define XSAVE_OPTIMIZED 0x04u // initial configurations are not written
#define XSAVE_COMPACTED 0x08u // XSAVEC, XSAVES
#define XSAVE_SUPERVISOR 0x10u

/// Bits that XCR0 can have.
uint64_t xsave_components(const struct cpu_model *model);
/// Bytes of an area, standard or compacted, with these components.
unsigned xsave_area_size(uint64_t components);

#endif
