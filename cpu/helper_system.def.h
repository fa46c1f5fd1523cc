// Helpers of the privileged machinery (lift_system.c, helper_system.c ...). X(name, may_fault).
#ifndef DOPPEL_CPU_HELPER_SYSTEM_DEF_H
#define DOPPEL_CPU_HELPER_SYSTEM_DEF_H

#define HELPERS_SYSTEM(X)                                                                                    \
    X(load_segment, true) /* a = selector, imm = segment number (ES..GS): MOV/POP to a segment register */   \
    X(cpuid, false)

#endif
