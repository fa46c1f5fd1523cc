// Lift functions of x87, MMX and SSE rows.
#ifndef DOPPEL_CPU_LIFT_FPU_H
#define DOPPEL_CPU_LIFT_FPU_H

#include "cpu/lift.h"

lift_function lift_simd, lift_simd_one, lift_simd_to_gpr, lift_simd_to_flags, lift_simd_from_gpr;
lift_function lift_simd_insertps, lift_string_index, lift_string_mask;
lift_function lift_simd_move, lift_simd_store_high, lift_simd_extract, lift_mmx_store, lift_simd_maskmov;
lift_function lift_ldmxcsr, lift_stmxcsr;
lift_function lift_avx, lift_avx_move, lift_avx_mask, lift_avx_gather; // lift_avx.c
lift_function lift_x87, lift_x87_to_flags, lift_x87_cmov, lift_x87_store, lift_fldcw, lift_fnstcw;
lift_function lift_x87_environment, lift_fxsave, lift_fwait;

/// The handle of vector operand n, in memory, checked and aligned as the row asks.
uint8_t lift_vector_handle(struct lift *l, const struct insn *insn, unsigned n, bool write);
/// The uop is valid until the next one.
struct uop *lift_vload(struct lift *l, uint8_t vreg, uint8_t handle, unsigned bytes);
void lift_vstore(struct lift *l, uint8_t handle, uint8_t vreg, unsigned bytes);

#endif
