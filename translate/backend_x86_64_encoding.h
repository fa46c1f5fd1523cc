// Encodings of vector and x87 rows, as the x86-64 backend writes them for the host: what a row's text says, and what
// stands in ModRM. Between the files of the backend.
#ifndef DOPPEL_TRANSLATE_BACKEND_X86_64_ENCODING_H
#define DOPPEL_TRANSLATE_BACKEND_X86_64_ENCODING_H

#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

struct x86_encoding {
    struct emit_vector_op op; // without VEX; `wide` is of both
    bool vex;
    struct emit_avx_op avx;
    uint8_t second; // VEX.vvvv
    bool modrm, immediate;
    int8_t digit;  // of ModRM.reg; -1: a register
    bool rm_first; // the first operand stands in ModRM.rm
};

/// ModRM.rm: a register, or memory.
struct x86_place {
    bool memory;
    uint8_t reg;
    struct emit_memory m;
};

static inline struct x86_place x86_place_of_register(uint8_t reg)
{
    return (struct x86_place){.reg = reg};
}

static inline struct x86_place x86_place_of_memory(struct emit_memory m)
{
    return (struct x86_place){.memory = true, .m = m};
}

static inline struct emit_memory x86_vector_temporary(unsigned vreg)
{
    return x86_memory_at(offsetof(struct cpu, vtemp) + (vreg & (VREG_TEMPS - 1)) * sizeof(union vreg));
}

static inline bool x86_is_vector_temporary(unsigned vreg)
{
    return vreg >= VREG_TEMP && vreg < VREG_MM;
}

static inline bool x86_is_mmx(unsigned vreg)
{
    return vreg >= VREG_MM;
}

/// Where a vector register of a uop is: in the host's of the same number, or, a temporary, in memory.
struct x86_place x86_place_of(unsigned vreg);
/// Reads "66 0F 38 00 /r ib" (row.h has the grammar). Only for rows behind the escape 0F, or with VEX.
struct x86_encoding x86_encoding_of(const struct row *row);
/// The instruction with ModRM.reg and ModRM.rm, and an immediate where it has one.
void x86_emit_encoding(struct translation *t, const struct x86_encoding *encoding, uint8_t reg, struct x86_place rm,
                       uint64_t immediate);

#endif
