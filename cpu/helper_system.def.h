// Helpers of the privileged machinery (lift_system.c, helper_*.c, smm.c). X(name, may_fault).
#ifndef DOPPEL_CPU_HELPER_SYSTEM_DEF_H
#define DOPPEL_CPU_HELPER_SYSTEM_DEF_H

#define HELPERS_SYSTEM(X)                                                                                              \
    X(load_segment, true) /* a = selector, imm = segment number (ES..GS), | 256: MOV or POP */                         \
    X(load_ldt, true)     /* a = selector */                                                                           \
    X(load_task, true)                                                                                                 \
    X(check_umip, true)                                                                                                \
    X(get_selector, false)      /* imm = segment */                                                                    \
    X(query_descriptor, true)   /* a = selector, imm = SYSTEM_LAR.. : result | 1 << 32 */                              \
    X(adjust_rpl, false)        /* ARPL: a, b; result | ZF << 32 */                                                    \
    X(interrupt, true)          /* a = next rip, imm = vector | 256: INT3, INTO | 512: INT1; returns rip */            \
    X(interrupt_overflow, true) /* INTO: a = next rip; returns rip */                                                  \
    X(iret, true)               /* a = next rip, imm = bytes; returns rip */                                           \
    X(far_return, true)         /* imm = bytes | released << 16; returns rip */                                        \
    X(far_direct, true)         /* a = offset | selector << 32, b = next rip, imm = bytes | call << 8 */               \
    X(far_indirect, true)       /* a = linear of the pointer, else as above */                                         \
    X(pushf, true)              /* imm = bytes; returns the image */                                                   \
    X(popf, true)               /* a = image, imm = bytes */                                                           \
    X(set_interrupts, true)     /* imm = 1: STI, 0: CLI */                                                             \
    X(set_ac, true)             /* imm = 1: STAC, 0: CLAC */                                                           \
    X(hlt, false)                                                                                                      \
    X(bound, true)        /* a = index, b = linear, imm = bytes */                                                     \
    X(get_control, false) /* imm = number */                                                                           \
    X(set_control, true)  /* a = value, imm = number */                                                                \
    X(lmsw, true)                                                                                                      \
    X(clts, false)                                                                                                     \
    X(get_debug, true)                                                                                                 \
    X(set_debug, true)                                                                                                 \
    X(load_table, true) /* a, b = linear of limit and base, imm = idt | operand bytes << 8 */                          \
    X(store_table, true)                                                                                               \
    X(invlpg, false) /* a = linear */                                                                                  \
    X(invpcid, true) /* a = type, b = linear */                                                                        \
    X(xgetbv, true)                                                                                                    \
    X(xsetbv, true)                                                                                                    \
    X(xsave_check, true) /* imm = XSAVE_* (xsave.h) */                                                                 \
    X(xsave, true)       /* a = linear, imm = XSAVE_* */                                                               \
    X(xrstor, true)                                                                                                    \
    X(in, true)        /* a = port, imm = bytes */                                                                     \
    X(out, true)       /* a = port, b = value, imm = bytes */                                                          \
    X(string_io, true) /* a, b = this, next rip, imm: helper_io.c; returns rip */                                      \
    X(rdmsr, true)                                                                                                     \
    X(wrmsr, true)                                                                                                     \
    X(cpuid, false)                                                                                                    \
    X(rdtsc, true) /* imm = 1: RDTSCP */                                                                               \
    X(rdpmc, true)                                                                                                     \
    X(rdpid, false)                                                                                                    \
    X(random, false)                                                                                                   \
    X(syscall, true) /* a = next rip, b = the six flags; returns rip */                                                \
    X(sysret, true)  /* imm = operand bytes; returns rip */                                                            \
    X(sysenter, true)                                                                                                  \
    X(sysexit, true)                                                                                                   \
    X(swapgs, false)                                                                                                   \
    X(check_fsgsbase, true) /* imm = 1: a will be written */                                                           \
    X(monitor, true)        /* a = linear, imm = 1: in SS */                                                           \
    X(mwait, true)                                                                                                     \
    X(rsm, true) /* returns rip */

#endif
