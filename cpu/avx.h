// AVX, AVX2, FMA and F16C: how their rows tell their functions what to do, and those functions.
#ifndef DOPPEL_CPU_AVX_H
#define DOPPEL_CPU_AVX_H

#include "cpu/fpu.h"

// ---- Argument of a row whose function is avx_lanes: enum sse_operation in the low 16 bits, then ---------------------
/// The upper lane's source begins so many bytes behind the lower one's (16 without).
#define AVX_STEP(bytes) ((uint32_t)((bytes) + 1) << 16)
/// The upper lane's immediate is the byte shifted right by so many bits.
#define AVX_SHIFT(bits) ((uint32_t)(bits) << 24)
/// ... of VTESTPS, VTESTPD: bytes of an element, of a register.
#define AVX_TEST(element, bytes) ((element) | (bytes))
/// ... of gathers: bytes of an index, of an element.
#define AVX_GATHER(index, element) ((index) << 8 | (element))
#define AVX_GATHER_INDEX(argument) ((argument) >> 8)
#define AVX_GATHER_ELEMENT(argument) ((argument)&0xff)

/// Elements of a gather: as many as the wider of indices and elements fill a vector.
static inline unsigned avx_gather_count(uint32_t argument, unsigned vector_bytes)
{
    unsigned index = AVX_GATHER_INDEX(argument), element = AVX_GATHER_ELEMENT(argument);
    return vector_bytes / (index > element ? index : element);
}

// ---- ... of FMA rows: which operands are multiplied (SDM vol. 2, VFMADD132PD), signs, elements ----------------------
enum { AVX_FMA_132, AVX_FMA_213, AVX_FMA_231, AVX_FMA_FORM };
#define AVX_FMA_NEGATE 0x04u    // the product
#define AVX_FMA_SUBTRACT 0x08u  // the addend
#define AVX_FMA_ALTERNATE 0x10u // even elements do so where odd ones do not, and the other way round
#define AVX_FMA_DOUBLE 0x20u
#define AVX_FMA_SCALAR 0x40u

// ---- Operand of these rows' functions -------------------------------------------------------------------------------
#define AVX_WIDE BIT(10) // 32 bytes, else 16 and zeros above
#define AVX_FIRST_SHIFT 32
#define AVX_THIRD_SHIFT 40
#define AVX_ROW_SHIFT 48
/// The first source (VEX.vvvv; where there is none, the same as `src`), and the register in the immediate: vregs.
#define AVX_FIRST(operand) ((unsigned)((operand) >> AVX_FIRST_SHIFT) & 0xff)
#define AVX_THIRD(operand) ((unsigned)((operand) >> AVX_THIRD_SHIFT) & 0xff)
#define AVX_ROW(operand) ((unsigned)((operand) >> AVX_ROW_SHIFT))

static inline unsigned avx_bytes(uint64_t operand)
{
    return operand & AVX_WIDE ? 32 : 16;
}

// ---- avx_lanes.c ----------------------------------------------------------------------------------------------------
/// Runs the row's `lane` over each 16 bytes, on a copy of the first source.
row_execute avx_lanes;
/// Likewise, 8 bytes of each lane's result behind each other.
row_execute avx_narrow;
row_execute avx_cvtsi2ss, avx_cvtsi2sd, avx_compare; // for lanes

// ---- sse_horizontal.c -----------------------------------------------------------------------------------------------
row_execute avx_dpps, avx_dppd;

// ---- avx_shuffle.c --------------------------------------------------------------------------------------------------
row_execute avx_permilps, avx_permilpd, avx_permilpd_by; // for lanes
row_execute avx_psllvd, avx_psllvq, avx_psrlvd, avx_psrlvq, avx_psravd;
row_execute avx_blendv, avx_perm2, avx_insert, avx_extract, avx_broadcast, avx_permd, avx_permq;
row_execute avx_movmskps, avx_movmskpd, avx_pmovmskb, avx_ptest, avx_test_signs;
row_execute avx_zeroupper, avx_zeroall;

// ---- avx_fma.c ------------------------------------------------------------------------------------------------------
row_execute avx_fma, avx_cvtph2ps, avx_cvtps2ph;

// ---- Masked moves and gathers: imm of their helpers -----------------------------------------------------------------
#define AVX_ACCESS_VREG 0     // destination, or what is stored
#define AVX_ACCESS_MASK 8     // vreg
#define AVX_ACCESS_INDEX 16   // vreg
#define AVX_ACCESS_SEGMENT 24 // 4 bits
#define AVX_ACCESS_SCALE 28   // 2 bits
#define AVX_ACCESS_STORE 30   // 1 bit
#define AVX_ACCESS_ELEMENT 32 // bytes
#define AVX_ACCESS_STEP 40    // bytes of an index
#define AVX_ACCESS_COUNT 48   // elements
#define AVX_ACCESS_ADDRESS 56 // bytes of an address

#endif
