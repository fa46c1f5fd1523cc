// Bytes of instructions made from rows, for the tests that go over all rows.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_ROWS_H
#define DOPPEL_TESTS_CPU_SUPPORT_ROWS_H

#include "cpu/model.h"
#include "cpu/row.h"
#include "cpu/row_index.h"

/// A model with every feature.
struct cpu_model support_full_model(void);

/// splitmix64: a fixed sequence for a seed.
uint64_t support_random(uint64_t *state);

struct support_encoding {
    const uint8_t *prefixes; // before the mandatory prefix
    unsigned prefix_count;
    uint8_t rex;        // 0: none, unless the row wants REX.W
    uint8_t modrm, sib; // bits that the row fixes are replaced
    uint64_t filler;    // what follows: displacement and immediates
};

/// Writes an instruction of this row, filled up to 32 bytes, to `bytes`; returns where ModRM (or what would follow
/// the opcode) stands.
unsigned support_encode(const struct row_form *form, const struct support_encoding *how, uint8_t bytes[32]);

#endif
