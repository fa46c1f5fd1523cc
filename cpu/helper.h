// The list of C helpers that CALL uops reach. Each chapter appends its own; names are functions helper_<name>.
#ifndef DOPPEL_CPU_HELPER_H
#define DOPPEL_CPU_HELPER_H

#include "cpu/uop.h"

// X(name, may_fault). The integer chapter: lift_integer.c with helper_integer.c.
#define HELPERS_INTEGER(X)                                                                                             \
    X(string, true) /* a = rip of the instruction, b = next rip, imm = see lift_string; returns next rip */            \
    X(bcd, true)    /* a = operand, imm = opcode byte | immediate << 8 */                                              \
    X(enter, true)  /* imm = size | level << 16 | bytes << 24 */                                                       \
    X(popa, true)   /* imm = bytes */                                                                                  \
    X(pusha, true)                                                                                                     \
    X(cmpxchg16b, true) /* a = linear */                                                                               \
    X(crc32, false)     /* a = crc, b = data, imm = bytes */

#include "cpu/helper_fpu.def.h"
#include "cpu/helper_system.def.h"

enum helper {
#define X(name, may_fault) HELPER_##name,
    HELPERS_INTEGER(X) HELPERS_SYSTEM(X) HELPERS_FPU(X)
#undef X
        HELPER_COUNT
};

#define X(name, may_fault) uop_helper helper_##name;
HELPERS_INTEGER(X)
HELPERS_SYSTEM(X)
HELPERS_FPU(X)
#undef X

#endif
