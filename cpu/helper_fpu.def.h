// Helpers of x87 and SIMD that are no ROW (FXSAVE, FRSTOR, pending #MF check). X(name, may_fault).
#ifndef DOPPEL_CPU_HELPER_FPU_DEF_H
#define DOPPEL_CPU_HELPER_FPU_DEF_H

#define HELPERS_FPU(X)                                                                                       \
    X(x87_check, true) /* raises #MF when an unmasked x87 exception is pending */                            \
    X(fxsave, true)    /* a = linear, imm = 1: REX.W */                                                      \
    X(fxrstor, true)

#endif
