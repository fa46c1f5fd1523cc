// Random instructions of a row and random states for them, for the tests that run every row: operands lie in the
// guest's data (support_user), sometimes at a page's end, values are often edge values.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_CASES_H
#define DOPPEL_TESTS_CPU_SUPPORT_CASES_H

#include "cpu/lift_system.h"
#include "cpu/support_user.h"

struct cases {
    const struct row_index *index;
    struct user_guest *guest;
    uint8_t *host_data; // the same pages on the host, or NULL
    uint64_t seed;
    bool code64;
    uint64_t aim; // operands are exactly here; 0: anywhere
};

/// Can the row run at CPL 3 with an outcome that depends on nothing but the state here? (Not: what reads the time, asks
/// the kernel, loads the C library's FS.)
bool cases_row_is_user(const struct row *row, bool code64);

/// Makes an instruction of the row; false: this draw is none. `*at`: where ModRM or what stands for it is in `bytes`.
bool cases_make_instruction(struct cases *cases, const struct row_form *form, uint8_t bytes[32], struct insn *insn);
/// Registers, flags and memory for it; cases.aim applies to memory operands, stack and strings alike.
void cases_draw_state(struct cases *cases, const struct insn *insn, struct user_state *before);

bool cases_has_memory(const struct insn *insn); // explicit
bool cases_touches_memory(const struct insn *insn);
/// Flags that must agree: what the row leaves undefined is not among them (with ROW_COUNT_FLAGS for this count).
uint64_t cases_defined_flags(const struct insn *insn, const struct user_state *before);
/// The SDM leaves the whole result undefined: 16-bit SHLD and SHRD by more than 16.
bool cases_result_is_undefined(const struct insn *insn, const struct user_state *before);

/// Writes to the guest's data and the host's.
void cases_store(struct cases *cases, uint64_t linear, uint64_t value, unsigned bytes);

#endif
