// Helpers of x87 and SIMD that are no ROW (FXSAVE, FRSTOR, pending #MF check). X(name, may_fault).
#ifndef DOPPEL_CPU_HELPER_FPU_DEF_H
#define DOPPEL_CPU_HELPER_FPU_DEF_H

#define HELPERS_FPU(X)                                                                                                 \
    X(x87_check, true) /* raises #MF when an unmasked x87 exception is pending */                                      \
    X(fxsave, true)    /* a = linear, imm = 1: REX.W */                                                                \
    X(fxrstor, true)                                                                                                   \
    X(x87_store, true)       /* FST, FIST, FBSTP: a = linear, b = effective address, imm as for x87 rows */            \
    X(fnstenv, true)         /* a = linear, imm = operand bytes | 8: FNSAVE */                                         \
    X(fldenv, true)          /* a = linear, imm = operand bytes | 8: FRSTOR */                                         \
    X(maskmov, true)         /* a = linear, imm = data vreg | mask vreg << 8 | bytes << 16 */                          \
    X(vector_set, false)     /* vreg imm = a, zero-extended */                                                         \
    X(avx_mask, true)        /* VMASKMOV: a = offset, imm = AVX_ACCESS_* (avx.h) */                                    \
    X(avx_gather, true)      /* a = base and displacement, imm = AVX_ACCESS_* */                                       \
    X(string_lengths, false) /* PCMPESTRx: a = RAX, b = RDX, imm = immediate | 0x100: REX.W; the rows' operand */

#endif
